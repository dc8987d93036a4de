import assert from "node:assert/strict";
import { Locks, SharedReads } from "./turns.ts";

Deno.test("a lock has one holder at a time, first come, first served, whatever fails", async () => {
  const locks = new Locks();
  const log: string[] = [];
  const hold = (name: string, fail = false) =>
    locks.hold("k", async () => {
      log.push(`${name} in`);
      await Promise.resolve();
      log.push(`${name} out`);
      if (fail) throw new Error(name);
      return name;
    });
  const results = await Promise.allSettled([hold("a"), hold("b", true), hold("c")]);
  assert.deepEqual(log, ["a in", "a out", "b in", "b out", "c in", "c out"]);
  assert.deepEqual(results.map((r) => r.status), ["fulfilled", "rejected", "fulfilled"]);
  assert.equal(await hold("d"), "d");
});

Deno.test("locks of other keys do not wait", async () => {
  const locks = new Locks();
  let open!: () => void;
  const held = locks.hold("a", () => new Promise<void>((resolve) => open = resolve));
  assert.equal(await locks.hold("b", () => Promise.resolve(1)), 1);
  open();
  await held;
});

Deno.test("a read is shared by those who asked before it began, never by later ones", async () => {
  const reads = new SharedReads();
  let value = 0;
  const waiting: (() => void)[] = [];
  const begun = () => waiting.length;
  const read = () =>
    reads.read("k", async () => {
      const seen = value;
      await new Promise<void>((resolve) => waiting.push(resolve));
      return seen;
    });
  const first = read();
  value = 1;
  const burst = [read(), read(), read()];
  value = 2;
  assert.equal(begun(), 1);
  waiting.shift()!();
  assert.equal(await first, 0);
  while (begun() === 0) await Promise.resolve();
  assert.equal(begun(), 1);
  waiting.shift()!();
  assert.deepEqual(await Promise.all(burst), [2, 2, 2]);
});

Deno.test("a read that fails fails those who shared it, and the next one is new", async () => {
  const reads = new SharedReads();
  const broken = reads.read("k", () => Promise.reject(new Error("no")));
  const next = reads.read("k", () => Promise.resolve(7));
  await assert.rejects(broken, /no/);
  assert.equal(await next, 7);
  assert.equal(await reads.read("k", () => Promise.resolve(8)), 8);
});
