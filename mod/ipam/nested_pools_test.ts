/** Pools that overlap or nest: no address twice, and every rule of who gives what. */
import assert from "node:assert/strict";
import { formatIp, mustPrefix, parseIp, prefixContains } from "../net/mod.ts";
import { fails, inWorld, texts, type World } from "./testing/world.ts";

const inside = (cidr: string, addresses: string[]) =>
  addresses.filter((a) => prefixContains(mustPrefix(cidr), parseIp(a)!));

/** All that a pool still gives to a node, taken for a handle. */
async function drain(world: World, pool: string, handle: string): Promise<string[]> {
  const request = { num4: 300, host: "n1", handle, use: "Workload" as const };
  const { v4 } = await world.ipam.autoAssign({ ...request, pools4: [pool], maxBlocksPerHost: 999 });
  return texts(v4.addresses);
}

inWorld("the narrow pool owns its range from the start", async (world) => {
  await world.node("n1");
  await world.pool("wide", "10.0.0.0/24");
  await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 });
  const wide = await drain(world, "wide", "w");
  const narrow = await drain(world, "narrow", "n");
  assert.equal(wide.length, 192);
  assert.equal(narrow.length, 64);
  assert.deepEqual(inside("10.0.0.64/26", wide), []);
  assert.equal(inside("10.0.0.64/26", narrow).length, 64);
});

inWorld(
  "a narrow pool that comes later: the wide block keeps, gives no more, goes",
  async (world) => {
    await world.node("n1");
    await world.pool("wide", "10.0.0.0/24");
    await world.ipam.assignIp({ address: "10.0.0.70", host: "n1", handle: "old" });
    await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 });
    // The wide pool gives nothing there, not even from its own block; a certain address neither.
    assert.deepEqual(inside("10.0.0.64/26", await drain(world, "wide", "w")), []);
    await fails(
      world.ipam.assignIp({ address: "10.0.0.71", host: "n1" }),
      "draining",
      /block 10\.0\.0\.64\/26, .* still has 1 address in use/,
    );
    await fails(world.ipam.assignIp({ address: "10.0.0.70", host: "n1" }), "addressTaken");
    assert.equal((await world.ipam.assignment("10.0.0.70"))?.handle, "old");
    // All of the narrow pool lies under that block, so it gives nothing yet.
    assert.deepEqual(await drain(world, "narrow", "n"), []);
    await world.ipam.releaseByHandle("old");
    assert.equal(await world.block("10.0.0.64/26"), undefined);
    assert.equal((await drain(world, "narrow", "n")).length, 64);
  },
);

inWorld("the narrow pool claims around blocks of the wide one", async (world) => {
  await world.node("n1");
  await world.pool("wide", "10.0.0.0/24", { blockSize: 28 });
  await world.ipam.assignIp({ address: "10.0.0.70", host: "n1", handle: "old" });
  await world.pool("narrow", "10.0.0.64/26", { blockSize: 30 });
  const narrow = await drain(world, "narrow", "n");
  assert.equal(narrow.length, 48);
  assert.deepEqual(inside("10.0.0.64/28", narrow), []);
  await world.ipam.releaseIps([{ address: "10.0.0.70" }]);
  assert.equal((await drain(world, "narrow", "n")).length, 16);
});

inWorld("a wide block with a narrow pool inside gives no more until it is gone", async (world) => {
  await world.node("n1");
  await world.pool("wide", "10.0.0.0/26");
  await world.assign("n1", { handle: "old" });
  await world.pool("narrow", "10.0.0.16/28", { blockSize: 28 });
  assert.deepEqual(await drain(world, "wide", "w"), []);
  assert.deepEqual(await drain(world, "narrow", "n"), []);
  await world.ipam.releaseByHandle("old");
  assert.equal((await drain(world, "narrow", "n")).length, 16);
  // No block of the wide pool lies wholly outside of the narrow one.
  await fails(
    world.ipam.assignIp({ address: "10.0.0.1", host: "n1" }),
    "draining",
    /overlaps the range 10\.0\.0\.16\/28 of a narrower pool/,
  );
});

inWorld("an empty wide block of another node makes way for the narrow pool", async (world) => {
  await world.node("n1");
  await world.pool("wide", "10.0.0.0/24");
  await world.ipam.claimAffinity("10.0.0.64/26", "n2");
  await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 });
  assert.equal((await drain(world, "narrow", "n")).length, 64);
  assert.deepEqual(await world.owned("n2"), []);
});

inWorld("an empty wide block makes way for a certain address, too", async (world) => {
  await world.pool("wide", "10.0.0.0/24");
  await world.ipam.claimAffinity("10.0.0.64/26", "n2");
  await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 });
  const { pool } = await world.ipam.assignIp({ address: "10.0.0.70", host: "n1" });
  assert.equal(pool, "narrow");
  assert.deepEqual(await world.blocks(), ["10.0.0.64/28"]);
});

inWorld("a certain address belongs to the longest enabled pool", async (world) => {
  await world.pool("wide", "10.0.0.0/16");
  await world.pool("middle", "10.0.0.0/24", { blockSize: 28 });
  await world.pool("narrow", "10.0.0.0/28", { blockSize: 30, disabled: true });
  const pool = async (address: string) => (await world.ipam.assignIp({ address, host: "n1" })).pool;
  assert.equal(await pool("10.0.0.1"), "middle");
  assert.equal(await pool("10.0.1.1"), "wide");
  await world.pool("narrow", "10.0.0.0/28", { blockSize: 30 });
  await fails(pool("10.0.0.2"), "draining");
  assert.equal(await pool("10.0.0.200"), "middle");
});

inWorld("blocks of the narrow pool never serve the wide one, by no way", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("wide", "10.0.0.0/25");
  await world.pool("narrow", "10.0.0.0/26");
  await world.assign("n1", { pools4: ["narrow"] });
  await world.assign("n2", { pools4: ["narrow"] }); // borrowed
  assert.equal((await drain(world, "wide", "w")).length, 64);
  await fails(world.assign("n2", { pools4: ["wide"] }), "noFreeAddresses");
  await fails(world.assign("n1", { pools4: ["wide"] }), "noFreeAddresses");
  assert.equal((await world.assign("n2", { pools4: ["narrow"] })).length, 1);
});

inWorld("a pool with Allocatable=False gives nothing and owns nothing", async (world) => {
  await world.node("n1");
  await world.pool("wide", "10.0.0.0/24");
  const status = { status: { conditions: [{ type: "Allocatable", status: "False" }] } };
  await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 }, status);
  await fails(world.assign("n1", { pools4: ["narrow"] }), "poolDisabled", /not allocatable/);
  assert.equal((await drain(world, "wide", "w")).length, 256);
});

inWorld("a pool made anew with another block size drains the old blocks", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/26", { blockSize: 28 });
  await world.assign("n1", { num4: 20, handle: "old" });
  await world.deletePool("p");
  await world.pool("p", "10.0.0.0/26", { blockSize: 30 });
  const now = await drain(world, "p", "new");
  assert.equal(now.length, 32);
  await world.ipam.releaseByHandle("old");
  assert.equal((await drain(world, "p", "new")).length, 32);
});

inWorld("two who create overlapping blocks at the same time: one gives way", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("wide", "10.0.0.0/26");
  // n1 has read the pools, before the narrow one exists, and is about to create its block.
  let go: (() => void) | undefined;
  const slow = world.process({
    gate: async (label) => {
      if (go || !label.startsWith("create /calico/ipam/v2/assignment/")) return;
      await new Promise<void>((resolve) => go = resolve);
    },
  });
  const request = { num4: 1, host: "n1", handle: "slow", use: "Workload" as const };
  const late = slow.ipam.autoAssign(request);
  while (!go) await new Promise((resolve) => setTimeout(resolve));
  await world.pool("narrow", "10.0.0.0/27", { blockSize: 28 });
  const [quick] = await world.assign("n2", { pools4: ["narrow"], handle: "quick" });
  go();
  const { v4 } = await late;
  assert.equal(v4.addresses.length, 1);
  assert.notEqual(formatIp(v4.addresses[0].ip), quick);
  assert.notEqual(v4.addresses[0].pool, "");
  assert.equal(await world.block("10.0.0.0/26"), undefined);
});
