import assert from "node:assert/strict";
import fc from "fast-check";
import { Reconciler } from "./reconciler.ts";

/** A kernel with one kind of object, which others may change behind our back. */
function world(own: (key: string) => boolean = () => true) {
  const kernel = new Map<string, string>();
  const log: string[] = [];
  let refuse: string | undefined;
  const reconciler = new Reconciler<string>({
    name: "thing",
    read: () => new Map(kernel),
    same: (a, b) => a === b,
    put(key, value) {
      if (key === refuse) throw new Error("refused");
      log.push(`put ${key}`);
      kernel.set(key, value);
    },
    remove(key) {
      log.push(`remove ${key}`);
      kernel.delete(key);
    },
    ours: own,
  });
  return { kernel, log, reconciler, refuse: (key?: string) => refuse = key };
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
  const { kernel, reconciler, refuse } = world();
  refuse("a");
  reconciler.setDesired(map({ a: "1", b: "2" }));
  assert.deepEqual((await reconciler.apply()).map((f) => `${f.kind} ${f.key}`), ["thing a"]);
  assert.ok(reconciler.pending);
  refuse();
  assert.deepEqual(await reconciler.apply(), []);
  assert.deepEqual(kernel, map({ a: "1", b: "2" }));
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
