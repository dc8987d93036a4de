/** One leader at a time: taken, kept, lost, given up; and by any order of any number of processes. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { FaultyStore } from "../ipam/testing/faulty_store.ts";
import { HALF_WRITTEN, halfWritable } from "../ipam/testing/half_written.ts";
import { memoryStore } from "../store/memory.ts";
import { type Store, StoreError } from "../store/store.ts";
import { Lease, LEASE_KEY } from "./lease.ts";

const SECONDS = 15;

class Clocked {
  now = 0;
  readonly store = memoryStore();

  lease(holder: string, store: Store = this.store, skew = 0): Lease {
    const now = () => this.now + skew;
    return new Lease(store, {
      holder,
      seconds: SECONDS,
      now,
      wall: () => 1_700_000_000_000 + this.now,
    });
  }
}

async function clocked(run: (world: Clocked) => Promise<void>): Promise<void> {
  const world = new Clocked();
  try {
    await run(world);
  } finally {
    await world.store.close();
  }
}

Deno.test("the first leads, the second stands by and says who leads", () =>
  clocked(async (world) => {
    const [a, b] = [world.lease("a"), world.lease("b")];
    assert.deepEqual(await a.turn(), { is: "leader" });
    assert.deepEqual(await b.turn(), { is: "standby", leader: "a" });
    const { value } = (await world.store.get<any>(LEASE_KEY))!;
    assert.equal(value.kind, "Lease");
    assert.deepEqual(
      [value.spec.holderIdentity, value.spec.leaseDurationSeconds, value.spec.leaseTransitions],
      ["a", 15, 0],
    );
    assert.match(value.spec.renewTime, /^2023-11-14T22:13:20\.000000Z$/);
  }));

Deno.test("a leader that renews is left alone, one that does not is followed", () =>
  clocked(async (world) => {
    const [a, b] = [world.lease("a"), world.lease("b", world.store, 1e9)];
    await a.turn();
    for (let i = 0; i < 10; i++) {
      world.now += 5000;
      await a.turn();
      assert.equal((await b.turn()).is, "standby");
    }
    world.now += SECONDS * 1000 * 2 / 3;
    assert.equal(a.state.is, "standby", "it stops by itself before another begins");
    assert.equal((await b.turn()).is, "standby");
    world.now += SECONDS * 1000;
    assert.equal((await b.turn()).is, "leader");
    assert.deepEqual(await a.turn(), { is: "standby", leader: "b" });
    assert.equal((await world.store.get<any>(LEASE_KEY))!.value.spec.leaseTransitions, 1);
  }));

Deno.test("a leader that resigns is followed at once; one who does not lead resigns nothing", () =>
  clocked(async (world) => {
    const [a, b] = [world.lease("a"), world.lease("b")];
    await a.turn();
    await b.turn();
    await b.resign();
    assert.equal((await world.store.get<any>(LEASE_KEY))!.value.spec.holderIdentity, "a");
    await a.resign();
    assert.equal(await world.store.get(LEASE_KEY), undefined);
    assert.equal((await b.turn()).is, "leader");
  }));

Deno.test("without a time to live in the store, and without any place for a lease", () =>
  clocked(async (world) => {
    const refusing = (message: RegExp | undefined): Store => {
      const faulty = new FaultyStore(world.store);
      faulty.create = (key, value, options?: object) =>
        options || !message
          ? Promise.reject(new StoreError("invalid", message ? "no time to live" : "no such key"))
          : world.store.create(key, value);
      return faulty;
    };
    assert.equal((await world.lease("a", refusing(/./)).turn()).is, "leader");
    await world.store.delete(LEASE_KEY);
    assert.deepEqual(await world.lease("a", refusing(undefined)).turn(), {
      is: "unled",
      why: "no such key",
    });
  }));

Deno.test("a lease that is half-written, or none, is written anew, and then kept as any", () =>
  clocked(async (world) => {
    const store = halfWritable(world.store);
    const spec = { holderIdentity: 5, leaseTransitions: "x", acquireTime: {} };
    for (const bad of [HALF_WRITTEN, null, [], "text", {}, { spec: null }, { spec: 5 }, { spec }]) {
      await world.store.put(LEASE_KEY, bad);
      const [a, b] = [world.lease("a", store), world.lease("b", store)];
      assert.deepEqual(await a.turn(), { is: "leader" }, JSON.stringify(bad));
      assert.deepEqual(await b.turn(), { is: "standby", leader: "a" });
      const { value } = (await world.store.get<any>(LEASE_KEY))!;
      assert.deepEqual([value.kind, value.spec.leaseTransitions], ["Lease", 0]);
      assert.equal(typeof value.spec.acquireTime, "string");
    }
  }));

Deno.test("many processes, any order of their operations: two never believe that they lead", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.record({ who: fc.nat(2), wait: fc.constantFrom(0, 1000, 5000, 15_000) }), {
        minLength: 3,
        maxLength: 25,
      }),
      (scheduler, steps) =>
        clocked(async (world) => {
          const leases = ["a", "b", "c"].map((holder, i) => {
            const gate = (label: string) => scheduler.schedule(Promise.resolve(), label);
            return world.lease(holder, new FaultyStore(world.store, { gate }), i * 777);
          });
          const running = leases.map(() => Promise.resolve() as Promise<unknown>);
          for (const { who, wait } of steps) {
            running[who] = running[who].then(() => leases[who].turn());
            await Promise.resolve();
            if (scheduler.count() > 0) await scheduler.waitOne();
            world.now += wait;
            const leaders = leases.filter((lease) => lease.state.is === "leader");
            assert(leaders.length <= 1, "two leaders");
          }
          await scheduler.waitFor(Promise.all(running));
          assert(leases.filter((lease) => lease.state.is === "leader").length <= 1);
        }),
    ),
    { numRuns: 150 },
  );
});
