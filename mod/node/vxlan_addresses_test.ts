/** The node's tunnel addresses, on a store in memory that the state follows like the agent's. */
import assert from "node:assert/strict";
import { Ipam } from "../ipam/ipam.ts";
import { World } from "../ipam/testing/world.ts";
import { resourceKey } from "../model/keys.ts";
import { type Node, nodeKind } from "../model/node.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { formatIp } from "../net/mod.ts";
import { Resources } from "../store/resources.ts";
import type { Store } from "../store/store.ts";
import { ClusterState } from "./state.ts";
import { addressTasks, TunnelAddresses } from "./vxlan_addresses.ts";

const VXLAN = { vxlanMode: "Always" };

class Cluster extends World {
  readonly resources = new Resources(this.store);

  /** The state as an agent that has seen everything has it. */
  async state(name = "node1"): Promise<ClusterState> {
    const state = new ClusterState(name);
    const { entries, revision } = await this.store.list("/");
    for (const { key, value } of entries) state.apply(key, value, revision);
    return state;
  }

  async settle(store: Store = this.store, ipam = this.ipam): Promise<void> {
    const state = await this.state();
    await new TunnelAddresses(state, new Resources(store), ipam).settle();
  }

  async tasks(): Promise<string[]> {
    return addressTasks(await this.state()).map(({ family, task }) => `${task} ${family}`);
  }

  async spec(name = "node1"): Promise<Node["spec"]> {
    return (await this.resources.get(nodeKind, name))!.spec;
  }

  async held(handle = "vxlan-tunnel-addr-node1"): Promise<string[]> {
    return (await this.ipam.ipsByHandle(handle) ?? []).map(formatIp);
  }
}

function inCluster(name: string, test: (cluster: Cluster) => Promise<void>): void {
  Deno.test(name, async () => {
    const cluster = new Cluster();
    await cluster.node("node1", { rack: "r1" });
    try {
      await test(cluster);
    } finally {
      await cluster.store.close();
    }
  });
}

inCluster("a VXLAN pool gives the node an address, under Calico's records", async (c) => {
  await c.pool("plain", "10.9.0.0/16");
  await c.settle();
  assert.equal((await c.spec()).ipv4VXLANTunnelAddr, undefined);
  await c.pool("p", "10.0.0.0/16", VXLAN);
  await c.pool("six", "fd00::/48", VXLAN);
  assert.deepEqual(await c.tasks(), ["assign 4", "assign 6"]);
  await c.settle();
  const { ipv4VXLANTunnelAddr: four, ipv6VXLANTunnelAddr: six } = await c.spec();
  assert.match(four!, /^10\.0\./);
  assert.match(six!, /^fd00:/);
  assert.deepEqual(await c.held(), [four]);
  assert.deepEqual(await c.held("vxlan-v6-tunnel-addr-node1"), [six]);
  const { handle, attributes } = (await c.ipam.assignment(four!))!;
  assert.equal(handle, "vxlan-tunnel-addr-node1");
  assert.deepEqual(attributes, { node: "node1", type: "vxlanTunnelAddress" });
  assert.equal((await c.ipam.assignment(six!))!.attributes.type, "vxlanV6TunnelAddress");
  assert.deepEqual(await c.tasks(), [], "nothing more to do");
  await c.settle();
  assert.equal((await c.spec()).ipv4VXLANTunnelAddr, four);
});

inCluster("without a VXLAN pool the address goes, from the Node and from IPAM", async (c) => {
  await c.pool("p", "10.0.0.0/16", VXLAN);
  await c.settle();
  const { ipv4VXLANTunnelAddr: address } = await c.spec();
  await c.pool("p", "10.0.0.0/16", { vxlanMode: "Never" });
  assert.deepEqual(await c.tasks(), ["release 4"]);
  await c.settle();
  assert.equal((await c.spec()).ipv4VXLANTunnelAddr, undefined);
  assert.equal(await c.ipam.assignment(address!), undefined);
  assert.deepEqual(await c.tasks(), []);
});

inCluster("pools that are closed, for other nodes or not for tunnels give none", async (c) => {
  await c.pool("disabled", "10.1.0.0/16", { ...VXLAN, disabled: true });
  await c.pool("elsewhere", "10.2.0.0/16", { ...VXLAN, nodeSelector: "rack == 'r2'" });
  await c.pool("pods", "10.3.0.0/16", { ...VXLAN, allowedUses: ["Workload"] });
  assert.deepEqual(await c.tasks(), []);
  await c.pool("here", "10.4.0.0/16", { ...VXLAN, nodeSelector: "rack == 'r1'" });
  await c.settle();
  assert.match((await c.spec()).ipv4VXLANTunnelAddr!, /^10\.4\./);
  // Its pool gives no more: another one takes its place.
  await c.pool("here", "10.4.0.0/16", { ...VXLAN, disabled: true });
  await c.pool("next", "10.5.0.0/16", VXLAN);
  await c.settle();
  const { ipv4VXLANTunnelAddr: address } = await c.spec();
  assert.match(address!, /^10\.5\./);
  assert.deepEqual(await c.held(), [address], "the former one is free");
});

inCluster("a pool keeps the address that it gave while the node has pods of it", async (c) => {
  const pod = resourceKey(workloadEndpointKind, "node1-k8s-a-eth0", "default");
  const endpoint = {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "node1-k8s-a-eth0", namespace: "default" },
    spec: { node: "node1", interfaceName: "cali1", ipNetworks: ["10.0.5.5/32"] },
  };
  const changes: Record<string, object> = {
    "for pods alone": { ...VXLAN, allowedUses: ["Workload"] },
    "for other nodes": { ...VXLAN, nodeSelector: "rack == 'r2'" },
    "disabled, too": { ...VXLAN, nodeSelector: "rack == 'r2'", disabled: true },
  };
  for (const [name, spec] of Object.entries(changes)) {
    await c.pool("p", "10.0.0.0/16", VXLAN);
    await c.settle();
    assert.equal((await c.held()).length, 1);
    await c.store.put(pod, endpoint);
    await c.pool("p", "10.0.0.0/16", spec);
    assert.deepEqual(await c.tasks(), [], name);
    await c.store.delete(pod);
    assert.deepEqual(await c.tasks(), ["release 4"], `${name}, without pods`);
    await c.settle();
    assert.deepEqual(await c.held(), [], name);
    // Kept is what was given; who has none gets none by it.
    await c.store.put(pod, endpoint);
    assert.deepEqual(await c.tasks(), [], name);
    await c.store.delete(pod);
  }
});

inCluster("an address that is not on record as ours is replaced", async (c) => {
  await c.pool("p", "10.0.0.0/16", VXLAN);
  await c.settle();
  const { ipv4VXLANTunnelAddr: address } = await c.spec();
  await c.ipam.releaseByHandle("vxlan-tunnel-addr-node1");
  await c.ipam.assignIp({ address: address!, host: "node1", handle: "a-pod" });
  assert.deepEqual(await c.tasks(), ["assign 4"]);
  await c.settle();
  const { ipv4VXLANTunnelAddr: other } = await c.spec();
  assert.notEqual(other, address);
  assert.deepEqual(await c.held(), [other]);
  assert.equal((await c.ipam.assignment(address!))!.handle, "a-pod", "the pod keeps it");
});

inCluster("what a former run gave and could not write down is taken up", async (c) => {
  await c.pool("p", "10.0.0.0/16", VXLAN);
  const give = () =>
    c.ipam.assign({
      num4: 1,
      host: "node1",
      handle: "vxlan-tunnel-addr-node1",
      attributes: { node: "node1", type: "vxlanTunnelAddress" },
      use: "Tunnel",
    });
  const [{ ip }] = await give();
  await c.settle();
  assert.equal((await c.spec()).ipv4VXLANTunnelAddr, formatIp(ip));
  assert.deepEqual(await c.held(), [formatIp(ip)]);
  // Two: the one that the Node names stays, the other goes back.
  await give();
  await c.ipam.releaseIps([{ address: formatIp(ip) }]);
  await c.settle();
  const { ipv4VXLANTunnelAddr: address } = await c.spec();
  assert.deepEqual(await c.held(), [address]);
});

Deno.test("cut off before any write, the next run ends where an undisturbed one does", async () => {
  for (const change of ["gain", "lose"]) {
    for (let left = 0;; left++) {
      const c = new Cluster();
      await c.node("node1");
      await c.pool("p", "10.0.0.0/16", change === "gain" ? VXLAN : { vxlanMode: "Always" });
      if (change === "lose") {
        await c.settle();
        await c.pool("p", "10.0.0.0/16", { vxlanMode: "Never" });
      }
      // The store takes so many writes more, then nothing.
      let writes = left;
      const cut: Store = new Proxy(c.store, {
        get(store, name) {
          const value = Reflect.get(store, name);
          if (typeof value !== "function") return value;
          return (...args: unknown[]) => {
            if (/^(create|update|put|delete|write)/.test(String(name)) && writes-- <= 0) {
              return Promise.reject(new Error("the process has ended"));
            }
            return value.apply(store, args);
          };
        },
      });
      const done = await c.settle(cut, new Ipam(cut)).then(() => true, () => false);
      await c.settle();
      const { ipv4VXLANTunnelAddr: address } = await c.spec();
      const want = change === "gain" ? [address] : [];
      assert.deepEqual(await c.held(), want, `${change}, cut after ${left} writes`);
      assert.equal(address !== undefined, change === "gain");
      await c.store.close();
      if (done) {
        assert.ok(left >= 2, "there were writes to be cut off");
        break;
      }
    }
  }
});

inCluster("a node that was deleted gets nothing, and keeps nothing", async (c) => {
  await c.pool("p", "10.0.0.0/16", VXLAN);
  const state = await c.state();
  await c.resources.delete(nodeKind, "node1");
  await new TunnelAddresses(state, c.resources, c.ipam).settle();
  assert.deepEqual(await c.held(), []);
  assert.deepEqual(await c.tasks(), []);
});

inCluster("a full pool is named", async (c) => {
  await c.pool("p", "10.0.0.0/30", { ...VXLAN, blockSize: 30 });
  for (let i = 0; i < 4; i++) await c.assign("node1", { handle: `pod-${i}` });
  await assert.rejects(c.settle(), /0 out of 1 requested IPv4 addresses/);
  assert.equal((await c.spec()).ipv4VXLANTunnelAddr, undefined);
});

Deno.test("with USE_POD_CIDR the tunnel address is the first of the node's own network", () => {
  const tasks = (podCIDRs: string[], spec: Record<string, unknown> = {}) => {
    const state = new ClusterState("n1", true);
    const calico = "/calico/resources/v3/projectcalico.org";
    state.apply(`${calico}/ippools/p`, {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/16", vxlanMode: "Always" },
    }, "1");
    state.apply(`${calico}/nodes/n1`, {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "n1" },
      spec,
      status: { podCIDRs },
    }, "2");
    return addressTasks(state).map((t) => t.task === "set" ? formatIp(t.address) : t.task);
  };
  assert.deepEqual(tasks(["fd00::/64", "10.244.3.0/24"]), ["10.244.3.1"]);
  assert.deepEqual(tasks(["10.244.3.0/24"], { ipv4VXLANTunnelAddr: "10.244.3.1" }), []);
  // A network outside of all pools has no tunnel: then IPAM gives the address, as without it.
  assert.deepEqual(tasks(["10.9.3.0/24"]), ["assign"]);
});
