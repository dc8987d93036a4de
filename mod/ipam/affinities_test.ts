import assert from "node:assert/strict";
import { mustPrefix } from "../net/mod.ts";
import { affinityKey, blockKey } from "../model/keys.ts";
import { newBlock } from "./block.ts";
import { Room } from "./room.ts";
import { inWorld, type World } from "./testing/world.ts";

const BLOCK = mustPrefix("10.0.0.0/26");
const N1 = { type: "host", name: "n1" } as const;
const N2 = { type: "host", name: "n2" } as const;

const room = (world: World) => new Room(world.store, { now: () => world.now });

async function state(world: World, owner: typeof N1 | typeof N2): Promise<unknown> {
  return (await world.store.get(affinityKey(owner, BLOCK)))?.value;
}

inWorld("a claim of another's block leaves no affinity", async (world) => {
  const { affinities } = room(world);
  assert.equal((await affinities.claim(N1, BLOCK)).is, "claimed");
  assert.equal((await affinities.claim(N2, BLOCK)).is, "taken");
  assert.equal(await state(world, N2), undefined);
});

inWorld(
  "what a claim left behind is taken up: pending, being deleted, without block",
  async (world) => {
    for (const left of ["pending", "pendingDeletion", "confirmed", ""]) {
      const { affinities } = room(world);
      await world.store.put(affinityKey(N1, BLOCK), left && { state: left, deleted: false });
      assert.equal((await affinities.load(N1, BLOCK)).is, "claimed", left);
      assert.deepEqual(await state(world, N1), { state: "confirmed", deleted: false });
      assert.equal(await affinities.release(N1, BLOCK), "released");
    }
  },
);

inWorld("the oldest form, an empty value, is confirmed", async (world) => {
  await world.store.create(blockKey(BLOCK), newBlock(BLOCK, N1, 1));
  await world.store.create(affinityKey(N1, BLOCK), "");
  const { affinities } = room(world);
  assert.equal((await affinities.load(N1, BLOCK)).is, "claimed");
  assert.equal(await state(world, N1), "");
  assert.deepEqual(await world.owned("n1"), ["10.0.0.0/26 confirmed"]);
});

inWorld("a block that confirms a pending affinity gets a new revision first", async (world) => {
  await world.store.create(affinityKey(N1, BLOCK), { state: "pending", deleted: false });
  await world.store.create(blockKey(BLOCK), newBlock(BLOCK, N1, 1));
  const { affinities } = room(world);
  const outcome = await affinities.load(N1, BLOCK);
  assert(outcome.is === "claimed");
  assert.equal(outcome.record.block.sequenceNumber, 1_000_001n);
});

inWorld("an affinity that is gone is not made by loading it", async (world) => {
  assert.equal((await room(world).affinities.load(N1, BLOCK)).is, "gone");
  assert.equal(await state(world, N1), undefined);
});

inWorld("a new block that overlaps another is given up", async (world) => {
  const { affinities } = room(world);
  await affinities.claim(N1, mustPrefix("10.0.0.16/28"));
  const outcome = await affinities.claim(N2, BLOCK);
  assert.equal(outcome.is, "overlaps");
  assert.equal(await world.block("10.0.0.0/26"), undefined);
  assert.equal(await state(world, N2), undefined);
});

inWorld("releases keep their conditions, and take their mark off again", async (world) => {
  const { affinities } = room(world);
  await affinities.claim(N1, BLOCK);
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.assignIp({ address: "10.0.0.1", host: "n1" });
  assert.equal(await affinities.release(N2, BLOCK), "notOwner");
  assert.equal(await affinities.release(N1, BLOCK, { mustBeEmpty: true }), "notEmpty");
  assert.equal(await affinities.release(N1, BLOCK, { sequenceNumber: 1 }), "changed");
  assert.deepEqual(await state(world, N1), { state: "confirmed", deleted: false });
  assert.equal(await affinities.release(N1, BLOCK), "released");
  assert.equal((await world.block("10.0.0.0/26"))?.affinity, null);
  assert.equal(await state(world, N1), undefined);
});

inWorld("an address given while its block is being released keeps the block", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.claimAffinity("10.0.0.0/26", "n1");
  // Between the mark and the block's deletion an address is given.
  let done = false;
  const { ipam } = world.process({
    gate: async (label) => {
      if (done || !label.startsWith("delete /calico/ipam/v2/assignment/")) return;
      done = true;
      await world.ipam.assignIp({ address: "10.0.0.1", host: "n1", handle: "h" });
    },
  });
  await assert.rejects(ipam.releaseHostAffinities("n1", { mustBeEmpty: true }), /must be empty/);
  assert(done);
  assert.deepEqual(await state(world, N1), { state: "confirmed", deleted: false });
  assert.equal((await world.ipam.assignment("10.0.0.1"))?.handle, "h");
});
