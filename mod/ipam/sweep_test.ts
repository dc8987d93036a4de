/** Upkeep: what has cooled down, handles that count too much; and who is in the middle of something. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { handleKey } from "../model/keys.ts";
import type { IpamHandle } from "../model/ipam_handle.ts";
import { checkRecords } from "./testing/checks.ts";
import { coolDown, writtenByCalico332, writtenByCalico333 } from "./testing/cool_down.ts";
import { killEverywhere } from "./testing/crash.ts";
import { inWorld, World } from "./testing/world.ts";

inWorld("what has cooled down is free again in blocks that nobody asks", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("p", "10.0.0.0/29", { blockSize: 30 });
  await world.configure({ ipCooldownSeconds: 100 });
  await world.assign("n1", { num4: 4, handle: "h" });
  await world.ipam.releaseByHandle("h");
  assert.equal(await world.ipam.sweepCooled(), 0);
  world.now += 101_000;
  assert.equal(await world.ipam.sweepCooled(), 4);
  assert.equal(await world.ipam.sweepCooled(), 0);
  const [{ prefix, block }] = (await checkRecords(world.store)).blocks;
  assert.equal(block.unallocated.length, 4);
  assert.deepEqual(block.attributes, []);
  assert(prefix);
});

for (
  const [writer, rewritten] of [
    ["nobody else", undefined],
    ["Calico v3.32", writtenByCalico332],
    ["Calico v3.33", writtenByCalico333],
  ] as const
) {
  inWorld(
    `an address cools down, and no longer, where ${writer} writes to its block`,
    async (world) => {
      await world.node("n1");
      await world.pool("p", "10.9.0.0/29", { blockSize: 30 });
      await coolDown(world.store, rewritten);
    },
  );
}

inWorld("a block of nobody goes when its last address has cooled down", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/29", { blockSize: 30 });
  await world.configure({ ipCooldownSeconds: 100 });
  await world.assign("n1", { handle: "h" });
  await world.ipam.releaseHostAffinities("n1");
  await world.ipam.releaseByHandle("h");
  assert.equal((await world.blocks()).length, 1, "it must not be made anew with the address free");
  world.now += 101_000;
  await world.ipam.sweepCooled();
  assert.deepEqual(await world.blocks(), []);
});

inWorld("a block whose addresses have cooled down is taken over by another node", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("p", "10.0.0.0/30", { blockSize: 30 });
  await world.configure({ ipCooldownSeconds: 100, strictAffinity: true });
  await world.assign("n1", { num4: 4, handle: "h" });
  await world.ipam.releaseByHandle("h");
  world.now += 61_000;
  await assert.rejects(world.assign("n2"), /No more free affine blocks/);
  world.now += 61_000;
  assert.equal((await world.assign("n2", { num4: 4 })).length, 4);
});

inWorld("an empty block is released, unless it has changed since it was seen", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/30", { blockSize: 30 });
  await world.ipam.claimAffinity("10.0.0.0/30", "n1");
  const number = async () => (await world.block("10.0.0.0/30"))!.sequenceNumber;
  const seen = await number();
  await world.assign("n1", { handle: "h" });
  assert.equal(await world.ipam.releaseEmptyBlock("10.0.0.0/30", seen), false);
  assert.equal(await world.ipam.releaseEmptyBlock("10.0.0.0/30", await number()), false);
  await world.ipam.releaseByHandle("h");
  assert.equal(await world.ipam.releaseEmptyBlock("10.0.0.0/30", await number()), true);
  assert.deepEqual([await world.blocks(), await world.owned("n1")], [[], []]);
});

async function overcounted(world: World): Promise<void> {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/29", { blockSize: 30 });
  await world.assign("n1", { num4: 2, handle: "h" });
  const { entries } = await world.store.list<IpamHandle>(handleKey("h"));
  const [[cidr]] = Object.entries(entries[0].value.block);
  await world.store.put(handleKey("h"), { block: { [cidr]: 7, "10.0.9.0/30": 1 }, deleted: false });
  await world.store.put(handleKey("none"), { block: { [cidr]: 1 }, deleted: false });
}

inWorld("handles that count too much are mended", async (world) => {
  await overcounted(world);
  const stale = (await world.store.get(handleKey("none")))!.revision;
  assert.equal(await world.ipam.mendHandle("none", `${BigInt(stale) - 1n}`), "changed");
  assert.equal(await world.ipam.mendHandle("none", stale), "mended");
  assert.equal(await world.ipam.mendHandle("none"), "gone");
  assert.equal(await world.ipam.mendHandle("h"), "mended");
  const { handles } = await checkRecords(world.store);
  assert.deepEqual([...handles.keys()], ["h"]);
  assert.deepEqual(Object.values(handles.get("h")!), [2]);
});

Deno.test("a handle's mending that was cut off leaves no count too low", async () => {
  await killEverywhere(overcounted, async (ipam) => {
    await ipam.mendHandle("h");
    await ipam.mendHandle("none");
  }, async (world) => {
    await world.ipam.mendHandle("h");
    await world.ipam.mendHandle("none");
    assert.deepEqual(Object.values((await checkRecords(world.store)).handles.get("h")!), [2]);
  });
});

Deno.test("mending, giving and releasing by one handle side by side: no address is forgotten", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const world = new World();
      try {
        await overcounted(world);
        const gate = (label: string) => scheduler.schedule(Promise.resolve(), label);
        const [a, b, c, d] = Array.from({ length: 4 }, () => world.process({ gate }).ipam);
        const give = { num4: 1, host: "n1", handle: "h", use: "Workload" as const };
        await scheduler.waitFor(Promise.all([
          a.mendHandle("h"),
          b.autoAssign(give),
          c.autoAssign(give),
          d.releaseByHandle("h"),
        ]));
        // That no count is too low is a rule of checkRecords; so a release by handle finds everything.
        await checkRecords(world.store);
        await world.ipam.releaseByHandle("h");
        assert.deepEqual([...(await checkRecords(world.store)).allocated], []);
      } finally {
        await world.store.close();
      }
    }),
    { numRuns: 80 },
  );
});

Deno.test("settings that two change at once both count", async () => {
  const world = new World();
  try {
    const [a, b] = [world.process().ipam, world.process().ipam];
    await Promise.all([
      a.changeIpamConfig((config) => ({ ...config, strictAffinity: true })),
      b.changeIpamConfig((config) => ({ ...config, ipCooldownSeconds: 5 })),
    ]);
    const { strictAffinity, ipCooldownSeconds } = await world.ipam.getIpamConfig();
    assert.deepEqual([strictAffinity, ipCooldownSeconds], [true, 5]);
  } finally {
    await world.store.close();
  }
});
