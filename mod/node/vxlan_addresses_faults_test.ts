/**
 * Tunnel addresses in bad times: pools that close, services that die at any write.
 */
import assert from "node:assert/strict";
import { World } from "../ipam/testing/world.ts";
import { checkRecords } from "../ipam/testing/checks.ts";
import type { Faults } from "../ipam/testing/faulty_store.ts";
import { nodeKind } from "../model/node.ts";
import { Resources } from "../store/resources.ts";
import { ClusterState } from "./state.ts";
import { addressTasks, TunnelAddresses, tunnelHandle } from "./vxlan_addresses.ts";

const FOUR = "10.0.0.0/24";
const HANDLE = { 4: tunnelHandle(4, "n1"), 6: tunnelHandle(6, "n1") };

/** A cluster with the nodes n1 and n2, seen by n1. */
class Cluster {
  readonly world = new World();

  async state(): Promise<ClusterState> {
    const state = new ClusterState("n1");
    const { entries } = await this.world.store.list("/");
    for (const { key, value, revision } of entries) state.apply(key, value, revision);
    return state;
  }

  /** One go of the node's service; it may end in the middle. */
  async settle(faults: Faults = {}, state?: ClusterState): Promise<void> {
    const { ipam, store } = this.world.process(faults);
    const service = new TunnelAddresses(state ?? await this.state(), new Resources(store), ipam);
    const died = store.died.then(() => Promise.reject(new Error("died")));
    await Promise.race([service.settle(), died]);
  }

  async addresses() {
    const { spec } = (await new Resources(this.world.store).get(nodeKind, "n1"))!;
    return { 4: spec.ipv4VXLANTunnelAddr, 6: spec.ipv6VXLANTunnelAddr };
  }

  /** What the Node names, after seeing that IPAM's records say just the same. */
  async checked() {
    const named = await this.addresses();
    const { allocated } = await checkRecords(this.world.store);
    for (const family of [4, 6] as const) {
      const held = [...allocated].filter(([, handle]) => handle === HANDLE[family])
        .map(([address]) => address);
      assert.deepEqual(held, named[family] ? [named[family]] : [], `IPv${family}`);
    }
    assert.deepEqual(addressTasks(await this.state()), []);
    return named;
  }
}

function cluster(name: string, run: (cluster: Cluster) => Promise<void>): void {
  Deno.test(name, async () => {
    const cluster = new Cluster();
    try {
      await cluster.world.node("n1", { zone: "a" });
      await cluster.world.node("n2");
      await run(cluster);
    } finally {
      await cluster.world.store.close();
    }
  });
}

cluster("it moves to another pool when its own is closed to this node", async (c) => {
  await c.world.pool("one", FOUR, { vxlanMode: "Always" });
  await c.settle();
  const first = (await c.checked())[4];
  // Nowhere else to go: pods of a disabled pool go on, and with them its tunnels.
  await c.world.pool("one", FOUR, { vxlanMode: "Always", disabled: true });
  await c.settle();
  assert.equal((await c.checked())[4], first);
  await c.world.pool("two", "10.1.0.0/24", { vxlanMode: "Always" });
  await c.settle();
  assert.match((await c.checked())[4]!, /^10\.1\.0\./);
  await c.world.pool("two", "10.1.0.0/24", { vxlanMode: "Always", nodeSelector: "zone == 'b'" });
  await c.world.pool("three", "10.2.0.0/24", { vxlanMode: "Always", allowedUses: ["Workload"] });
  await c.settle();
  assert.equal((await c.checked())[4], undefined);
});

cluster("a pool that is being deleted is given its address back", async (c) => {
  await c.world.pool("one", FOUR, { vxlanMode: "Always" });
  await c.settle();
  await c.world.pool("one", FOUR, { vxlanMode: "Always", disabled: true }, {
    metadata: { name: "one", deletionTimestamp: "2026-01-01T00:00:00Z" },
  });
  await c.settle();
  assert.equal((await c.checked())[4], undefined);
});

cluster("of two that a crash has left one is kept", async (c) => {
  await c.world.pool("four", FOUR, { vxlanMode: "Always" });
  const two = await c.world.assign("n1", { handle: HANDLE[4], num4: 2, use: "Tunnel" });
  await c.settle();
  assert.ok(two.includes((await c.checked())[4]!));
});

Deno.test("cut off at any write, the next go finds what the last one left", async () => {
  for (const reached of [false, true]) {
    let cuts = 0;
    for (let at = 0, whole = false; !whole; at++) {
      const c = new Cluster();
      try {
        await c.world.node("n1");
        whole = true;
        for (const vxlanMode of ["Always", "Never", "Always"]) {
          await c.world.pool("four", FOUR, { vxlanMode });
          try {
            await c.settle({ crash: { at, reached } });
          } catch (error) {
            assert.equal((error as Error).message, "died");
            whole = false;
            cuts++;
            await c.settle();
          }
          assert.equal((await c.checked())[4] !== undefined, vxlanMode === "Always");
        }
      } finally {
        await c.world.store.close();
      }
    }
    assert.ok(cuts > 8, `${cuts} times cut off`);
  }
});
