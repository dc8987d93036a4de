/** Splits of pools: what becomes of addresses, cut off anywhere, beside assignments in any order. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, formatPrefix, mustPrefix } from "../net/mod.ts";
import { ippoolKind } from "../model/ippool.ts";
import { resourceKey } from "../model/keys.ts";
import { Resources } from "../store/resources.ts";
import type { Store } from "../store/store.ts";
import { check } from "./check/check.ts";
import { readRecords } from "./check/records.ts";
import {
  SPLIT_ANNOTATION,
  splitMark,
  splitName,
  splitPool,
  splitPrefix,
  undoSplit,
} from "./split.ts";
import { checkRecords } from "./testing/checks.ts";
import { killEverywhere } from "./testing/crash.ts";
import { inWorld, World } from "./testing/world.ts";

const parts = (cidr: string, n: number) => splitPrefix(mustPrefix(cidr), n).map(formatPrefix);

Deno.test("the parts of a network", () => {
  assert.deepEqual(parts("10.0.1.0/24", 4), [
    "10.0.1.0/26",
    "10.0.1.64/26",
    "10.0.1.128/26",
    "10.0.1.192/26",
  ]);
  assert.deepEqual(parts("fd00::/64", 2), ["fd00::/65", "fd00::8000:0:0:0/65"]);
  assert.equal(parts("10.0.1.0/24", 256).at(-1), "10.0.1.255/32");
  for (const n of [0, 1, 3, 6, -2, 0.5]) {
    assert.throws(() => parts("10.0.0.0/24", n), /is not a valid power of 2/);
  }
  assert.throws(() => parts("10.0.1.0/24", 512), /is not large enough to be split into 512 parts$/);
  assert.throws(() => splitPrefix(mustPrefix("10.0.1.0/24"), 8, 26), /must hold a block of \/26/);
  assert.equal(splitName("p", 3), "split-p-3");
  assert.equal(splitName("p".repeat(253), 3), `split-${"p".repeat(245)}-3`);
});

async function pools(store: Store): Promise<string[]> {
  const { items } = await new Resources(store).list(ippoolKind);
  return items.map((pool) =>
    `${pool.metadata.name} ${pool.spec.cidr}${pool.spec.disabled ? " off" : ""}`
  );
}

const AFTER = [
  "split-p-0 10.0.0.0/30",
  "split-p-1 10.0.0.4/30",
  "split-p-2 10.0.0.8/30",
  "split-p-3 10.0.0.12/30",
];

async function cluster(world: World): Promise<void> {
  await world.node("n1");
  // What a client's first write makes, so that the splits' writes alone are counted.
  await new Resources(world.store).ensureInitialized();
  await world.pool("p", "10.0.0.0/28", { blockSize: 30 });
  await world.assign("n1", { num4: 6, handle: "h" });
}

/** Nothing is wrong but that nobody uses what the test has assigned. */
async function sound(store: Store): Promise<void> {
  const { findings } = check(await readRecords(store), Date.now());
  assert.deepEqual(findings.filter(({ kind }) => kind !== "leak" && kind !== "unproven"), []);
}

inWorld("a pool is split; its blocks and addresses are those of the new pools", async (world) => {
  await cluster(world);
  const before = (await checkRecords(world.store)).allocated;
  await splitPool(new Resources(world.store), "p", 4);
  assert.deepEqual(await pools(world.store), AFTER);
  assert.deepEqual((await checkRecords(world.store)).allocated, before);
  await sound(world.store);
  assert.equal((await world.assign("n1", { num4: 10 })).length, 10);
});

Deno.test("a split that was cut off is ended by the same command", async () => {
  const writes = await killEverywhere(
    cluster,
    (_ipam, store) => splitPool(new Resources(store), "p", 4),
    async (world) => {
      const before = (await checkRecords(world.store)).allocated;
      // Addresses are released and given meanwhile as ever.
      if ((await pools(world.store)).some((pool) => !pool.endsWith("off"))) {
        await world.assign("n1");
      }
      const resources = new Resources(world.store);
      if (await resources.get(ippoolKind, "p")) await splitPool(resources, "p", 4);
      assert.deepEqual(await pools(world.store), AFTER);
      for (const [address, handle] of before) {
        assert.equal((await checkRecords(world.store)).allocated.get(address), handle);
      }
      await sound(world.store);
    },
  );
  // The old pool is disabled, four are made, the old one goes.
  assert.equal(writes, 6);
});

Deno.test("a split that was cut off is taken back, or another is made of it", async () => {
  for (const then of ["undo", "two"] as const) {
    await killEverywhere(
      cluster,
      (_ipam, store) => splitPool(new Resources(store), "p", 4),
      async (world) => {
        const resources = new Resources(world.store);
        const pool = await resources.get(ippoolKind, "p");
        if (!pool || !splitMark(pool)) return; // all was done, or nothing
        if (then === "undo") {
          await undoSplit(resources, "p");
          assert.deepEqual(await pools(world.store), ["p 10.0.0.0/28"]);
          assert.equal((await resources.get(ippoolKind, "p"))!.metadata.annotations, undefined);
        } else {
          await splitPool(resources, "p", 2);
          assert.deepEqual(await pools(world.store), [
            "split-p-0 10.0.0.0/29",
            "split-p-1 10.0.0.8/29",
          ]);
        }
        await sound(world.store);
        await world.assign("n1");
      },
    );
  }
});

inWorld(
  "a pool that was disabled is disabled again when its split is taken back",
  async (world) => {
    await cluster(world);
    await world.pool("p", "10.0.0.0/28", { blockSize: 30, disabled: true });
    await world.pool("split-p-1", "10.9.0.0/30", { blockSize: 30 });
    const resources = new Resources(world.store);
    await assert.rejects(
      splitPool(resources, "p", 4),
      /split-p-1 exists with 10\.9\.0\.0\/30; rename/,
    );
    await undoSplit(resources, "p");
    assert.deepEqual(await pools(world.store), ["p 10.0.0.0/28 off", "split-p-1 10.9.0.0/30"]);
  },
);

inWorld("a pool of another version is not split, and no split of it taken back", async (world) => {
  await cluster(world);
  const resources = new Resources(world.store), key = resourceKey(ippoolKind, "p");
  const { value } = (await world.store.get<any>(key))!;
  const mark = { [SPLIT_ANNOTATION]: JSON.stringify({ parts: 2, disabled: false }) };
  for (const annotations of [{}, mark]) {
    const metadata = { ...value.metadata, annotations };
    await world.store.put(key, { ...value, apiVersion: "projectcalico.org/v4", metadata });
    if (annotations === mark) await world.pool("split-p-0", "10.0.0.0/29", { blockSize: 30 });
    const before = await world.store.list("/");
    const refused = /IPPool "p" is stored with apiVersion "projectcalico.org\/v4", .*newer client/;
    await assert.rejects(splitPool(resources, "p", 4), refused);
    if (annotations === mark) await assert.rejects(undoSplit(resources, "p"), refused);
    assert.deepEqual(await world.store.list("/"), before);
  }
});

Deno.test("a split beside assignments and releases, in any order: all is given once, nothing lost", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 4 }), async (scheduler, rounds) => {
      const world = new World();
      try {
        await cluster(world);
        const gate = (label: string) => scheduler.schedule(Promise.resolve(), label);
        const held = new Map((await checkRecords(world.store)).allocated);
        const work = Array.from({ length: rounds }, async (_, i) => {
          const { ipam } = world.process({ gate });
          const handle = `r${i}`;
          const { v4 } = await ipam.autoAssign({ num4: 2, host: "n1", handle, use: "Workload" });
          const got = v4.addresses.map(({ ip }) => formatIp(ip));
          for (const address of got) held.set(address, handle);
          if (i % 2 > 0) return;
          // Before it is released: afterwards it may be another's.
          for (const address of got) held.delete(address);
          await ipam.releaseByHandle(handle);
        });
        const { store } = world.process({ gate });
        const split = splitPool(new Resources(store), "p", 4);
        await scheduler.waitFor(Promise.all([split, ...work]));
        assert.deepEqual(await pools(world.store), AFTER);
        const { allocated } = await checkRecords(world.store);
        assert.deepEqual([...allocated].sort(), [...held].sort());
        await sound(world.store);
      } finally {
        await world.store.close();
      }
    }),
    { numRuns: 60 },
  );
});
