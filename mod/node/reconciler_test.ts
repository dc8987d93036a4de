import assert from "node:assert/strict";
import fc from "fast-check";
import { Reconciler } from "./reconciler.ts";

/** A kernel with one kind of object, which others may change behind our back. */
function world(own: (key: string) => boolean = () => true) {
  const kernel = new Map<string, string>();
  const log: string[] = [];
  let refuse: string | undefined;
  const clock = { now: 0, monotonicMs: () => clock.now };
  /** What the kernel makes of what is put there. */
  let kept = (value: string) => value;
  const tries: string[] = [];
  const reconciler = new Reconciler<string>({
    name: "thing",
    read: () => new Map(kernel),
    same: (a, b) => a === b,
    put(key, value) {
      tries.push(key);
      if (key === refuse) throw new Error("refused");
      log.push(`put ${key}`);
      kernel.set(key, kept(value));
    },
    remove(key) {
      log.push(`remove ${key}`);
      kernel.delete(key);
    },
    ours: own,
  }, clock);
  return {
    ...{ kernel, log, tries, clock, reconciler },
    refuse: (key?: string) => refuse = key,
    keep: (make: typeof kept) => kept = make,
  };
}

const map = (o: Record<string, string>) => new Map(Object.entries(o));

Deno.test("what differs is mended, what agrees is left alone", async () => {
  const { kernel, log, reconciler } = world((key) => key !== "foreign");
  kernel.set("a", "1").set("b", "old").set("gone", "x").set("foreign", "y");
  reconciler.setDesired(map({ a: "1", b: "2", c: "3" }));
  assert.deepEqual(await reconciler.apply(), []);
  assert.deepEqual(log, ["remove gone", "put b", "put c"]);
  assert.deepEqual(kernel, map({ a: "1", b: "2", foreign: "y", c: "3" }));
  await reconciler.apply();
  assert.equal(log.length, 3);
});

Deno.test("a change made by hand is mended when it is seen, or at the next resync", async () => {
  const { kernel, reconciler } = world();
  reconciler.setDesired(map({ a: "1", b: "2" }));
  await reconciler.apply();
  kernel.delete("a");
  reconciler.observed("a", undefined);
  kernel.set("b", "hand");
  await reconciler.apply();
  assert.equal(kernel.get("a"), "1");
  assert.equal(kernel.get("b"), "hand");
  reconciler.resync();
  await reconciler.apply();
  assert.equal(kernel.get("b"), "2");
});

Deno.test("what failed is told, and tried again", async () => {
  const { kernel, reconciler, refuse, clock } = world();
  refuse("a");
  reconciler.setDesired(map({ a: "1", b: "2" }));
  assert.deepEqual((await reconciler.apply()).map((f) => `${f.kind} ${f.key}`), ["thing a"]);
  assert.ok(reconciler.pending);
  refuse();
  clock.now += 100;
  assert.deepEqual(await reconciler.apply(), []);
  assert.deepEqual(kernel, map({ a: "1", b: "2" }));
});

/** Applies each millisecond, as a kernel makes us whose every refusal is an event. */
async function echoing(w: ReturnType<typeof world>, milliseconds: number, key = "a") {
  const tried: number[] = [];
  for (let at = 0; at <= milliseconds; at++) {
    const before = w.tries.length;
    w.reconciler.observed(key, w.kernel.get(key));
    const failures = await w.reconciler.apply();
    if (w.tries.length > before) tried.push(at);
    if (failures.length > 0) {
      assert.ok(failures[0].due! > w.clock.monotonicMs(), "said when it is tried again");
    }
    w.clock.now += 1;
  }
  return tried;
}

Deno.test("what fails waits ever longer, whatever is heard of it and done beside it", async () => {
  const w = world();
  w.kernel.set("a", "0");
  w.refuse("a");
  w.reconciler.setDesired(map({ a: "1", b: "2" }));
  assert.deepEqual(await echoing(w, 25_000), [0, 100, 600, 2600, 12_600, 22_600]);
  // What others change is mended meanwhile, at once.
  w.kernel.set("b", "hand");
  w.reconciler.observed("b", "hand");
  await w.reconciler.apply();
  assert.equal(w.kernel.get("b"), "2");
  // Another wish has its own chance.
  const before = w.tries.length;
  w.reconciler.want("a", "3");
  await w.reconciler.apply();
  assert.deepEqual(w.tries.slice(before), ["a"]);
  // Where something may have gone out of the way, it is not waited for long; nor is it done at once.
  w.refuse();
  w.reconciler.hasten();
  assert.equal((await w.reconciler.apply()).length, 1);
  w.clock.now += 500;
  assert.deepEqual(await w.reconciler.apply(), []);
  assert.equal(w.kernel.get("a"), "3");
});

Deno.test("what somebody mends himself is no failure any more", async () => {
  const { kernel, reconciler, refuse } = world();
  refuse("a");
  reconciler.setDesired(map({ a: "1" }));
  assert.equal((await reconciler.apply()).length, 1);
  kernel.set("a", "1");
  reconciler.observed("a", "1");
  assert.deepEqual(await reconciler.apply(), []);
});

Deno.test("what is undone each time is done at once, and in the end once a second", async () => {
  const w = world();
  w.keep(() => "otherwise");
  w.reconciler.setDesired(map({ a: "1" }));
  const tried = await echoing(w, 10_000);
  assert.ok(tried.length >= 30 && tried.length <= 42, `${tried.length} times`);
  assert.deepEqual(tried.slice(0, 20), [...Array(20).keys()]);
  w.reconciler.observed("a", "otherwise");
  await w.reconciler.apply();
  w.reconciler.observed("a", "otherwise");
  assert.match((await w.reconciler.apply())[0].error.message, /somebody changes it back each time/);
  w.keep((value) => value);
  w.clock.now += 1000;
  assert.deepEqual(await w.reconciler.apply(), []);
  assert.equal(w.kernel.get("a"), "1");
});

Deno.test("so is what somebody puts again each time that we remove it", async () => {
  const { kernel, log, reconciler, clock } = world();
  reconciler.setDesired(new Map());
  for (let at = 0; at < 10_000; at++) {
    kernel.set("x", "stray");
    reconciler.observed("x", "stray");
    await reconciler.apply();
    clock.now += 1;
  }
  assert.ok(log.length >= 30 && log.length <= 42, `${log.length} times`);
});

Deno.test("from any state to any other, whatever happened between", async () => {
  const state = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), fc.constantFrom("1", "2"));
  await fc.assert(fc.asyncProperty(
    fc.array(fc.record({ hand: state, desired: state, resync: fc.boolean() }), { minLength: 1 }),
    async (steps) => {
      const { kernel, reconciler } = world();
      for (const { hand, desired, resync } of steps) {
        for (const [key, value] of Object.entries(hand)) {
          kernel.set(key, value);
          if (!resync) reconciler.observed(key, value);
        }
        if (resync) reconciler.resync();
        reconciler.setDesired(map(desired));
        assert.deepEqual(await reconciler.apply(), []);
        assert.deepEqual(kernel, map(desired));
      }
    },
  ));
});

Deno.test("single keys are wanted and given up beside the whole", async () => {
  const { kernel, log, reconciler } = world();
  reconciler.setDesired(map({ a: "1", b: "2" }));
  await reconciler.apply();
  reconciler.want("a", "1");
  reconciler.want("nobody's", undefined);
  assert.equal(reconciler.pending, false);
  reconciler.want("b", undefined);
  reconciler.want("c", "3");
  assert.deepEqual(await reconciler.apply(), []);
  assert.deepEqual(kernel, map({ a: "1", c: "3" }));
  assert.deepEqual(log, ["put a", "put b", "remove b", "put c"]);
});

Deno.test("thousands are changed in bulk, and others have their turn between", async () => {
  const kernel = new Map<string, string>();
  let bulks = 0, turns = 0;
  const many = new Reconciler<string>({
    name: "thing",
    read: () => new Map(kernel),
    same: (a, b) => a === b,
    put: () => assert.fail("one by one"),
    putMany(items) {
      bulks++;
      for (const [key, value] of items) if (key !== "7") kernel.set(key, value);
      return items.filter(([key]) => key === "7").map(([key]) => [key, new Error("refused")]);
    },
    remove: () => assert.fail("one by one"),
    removeMany(items) {
      bulks++;
      for (const [key] of items) if (key !== "8") kernel.delete(key);
      return items.filter(([key]) => key === "8").map(([key]) => [key, new Error("refused")]);
    },
  });
  const all = Array.from({ length: 3500 }, (_, i): [string, string] => [`${i}`, "x"]);
  many.setDesired(new Map(all));
  const timer = setInterval(() => turns++, 0);
  const applying = many.apply();
  many.want("3499", "y"); // after the apply has begun: it counts all the same
  assert.deepEqual((await applying).map((f) => f.key), ["7"]);
  assert.equal(kernel.size, 3499);
  assert.equal(kernel.get("3499"), "y");
  assert.equal(bulks, 4);
  many.setDesired(new Map());
  assert.deepEqual((await many.apply()).map((f) => f.key), ["8"]);
  clearInterval(timer);
  assert.deepEqual([...kernel.keys()], ["8"]);
  assert.ok(turns > 0, "a timer has fired meanwhile");
});

Deno.test("after a failure that leaves all in the dark, the kernel is read again", async () => {
  const kernel = new Map<string, string>();
  let lost = true;
  const many = new Reconciler<string>({
    name: "thing",
    read: () => new Map(kernel),
    same: (a, b) => a === b,
    put: () => assert.fail("one by one"),
    putMany(items) {
      kernel.set(items[0][0], items[0][1]);
      if (lost) throw new Error("the answers were lost");
      for (const [key, value] of items) kernel.set(key, value);
      return [];
    },
    remove: (key) => void kernel.delete(key),
  });
  many.setDesired(map({ a: "1", b: "2", c: "3" }));
  await assert.rejects(many.apply(), /were lost/);
  lost = false;
  assert.deepEqual(await many.apply(), []);
  assert.deepEqual(kernel, map({ a: "1", b: "2", c: "3" }));
});
