/** The process dies at each write in turn, before or after the store has done it. */
import assert from "node:assert/strict";
import { checkRecords } from "./testing/checks.ts";
import { killEverywhere } from "./testing/crash.ts";
import type { World } from "./testing/world.ts";

async function cluster(world: World): Promise<void> {
  await world.node("n1");
  await world.node("n2");
  await world.pool("four", "10.0.0.0/28", { blockSize: 30 });
  await world.pool("six", "fd00::/120", { blockSize: 124 });
}

async function allocations(world: World): Promise<string[]> {
  return [...(await checkRecords(world.store)).allocated.values()];
}

Deno.test("an ADD that was cut off: DEL takes all back, and the next ADD succeeds", async () => {
  const add = { num4: 1, num6: 1, host: "n1", handle: "net.c1", use: "Workload" as const };
  const writes = await killEverywhere(cluster, (ipam) => ipam.assign(add), async (world) => {
    await world.ipam.releaseByHandle("net.c1");
    assert.deepEqual(await allocations(world), []);
    assert.deepEqual([...(await checkRecords(world.store)).handles.keys()], []);
    await world.ipam.assign(add);
    assert.deepEqual(await allocations(world), ["net.c1", "net.c1"]);
    // The half-made blocks were taken up, not left beside new ones.
    assert.equal((await world.blocks()).length, 2);
  });
  assert.equal(writes, 10);
});

Deno.test("a DEL that was cut off: the next DEL takes the rest back", async () => {
  const writes = await killEverywhere(
    async (world) => {
      await cluster(world);
      await world.ipam.assign({
        num4: 5,
        num6: 1,
        host: "n1",
        handle: "net.c1",
        use: "Workload",
      });
    },
    (ipam) => ipam.releaseByHandle("net.c1"),
    async (world) => {
      await world.ipam.releaseByHandle("net.c1");
      assert.deepEqual(await allocations(world), []);
      assert.deepEqual([...(await checkRecords(world.store)).handles.keys()], []);
    },
  );
  assert.equal(writes, 4);
});

Deno.test("a release by address that was cut off: the handle's release clears the rest", async () => {
  await killEverywhere(
    async (world) => {
      await cluster(world);
      await world.ipam.assignIp({ address: "10.0.0.1", host: "n1", handle: "h" });
      await world.ipam.assignIp({ address: "10.0.0.2", host: "n1", handle: "h" });
    },
    (ipam) => ipam.releaseIps([{ address: "10.0.0.1", handle: "h" }]),
    async (world) => {
      assert((await world.ipam.ipsByHandle("h"))!.length >= 1);
      await world.ipam.releaseByHandle("h");
      assert.equal(await world.ipam.releaseByHandle("h"), undefined);
      assert.deepEqual(await allocations(world), []);
    },
  );
});

Deno.test("a block that was half released is released, or used again", async () => {
  await killEverywhere(
    async (world) => {
      await cluster(world);
      await world.ipam.claimAffinity("10.0.0.0/29", "n1");
      await world.ipam.assignIp({ address: "10.0.0.1", host: "n1", handle: "h" });
    },
    (ipam) => ipam.releaseHostAffinities("n1"),
    async (world) => {
      const [address] = await world.assign("n1", { handle: "again" });
      assert(address);
      assert((await world.owned("n1")).some((block) => block.endsWith("confirmed")));
      await world.ipam.releaseHostAffinities("n1");
      assert.deepEqual(await world.owned("n1"), []);
      await world.ipam.releaseByHandle("h");
      await world.ipam.releaseByHandle("again");
      assert.deepEqual(await world.blocks(), []);
    },
  );
});

Deno.test("a take-over of another node's block that was cut off is finished by anyone", async () => {
  await killEverywhere(
    async (world) => {
      await cluster(world);
      await world.configure({ strictAffinity: true });
      await world.ipam.claimAffinity("10.0.0.0/28", "n1");
      world.now += 61_000;
    },
    (ipam) => ipam.assign({ num4: 1, host: "n2", handle: "h", use: "Workload" }),
    async (world) => {
      world.now += 61_000;
      await world.ipam.releaseByHandle("h");
      assert.equal((await world.assign("n2", { num4: 16, handle: "i" })).length, 16);
    },
  );
});
