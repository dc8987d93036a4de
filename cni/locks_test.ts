import assert from "node:assert/strict";
import { KeyedLocks } from "./locks.ts";

Deno.test("locks: holders of one key follow each other, others do not wait", async () => {
  const locks = new KeyedLocks();
  const log: string[] = [];
  const first = Promise.withResolvers<void>();
  const a = locks.hold(["x", "y"], async () => {
    log.push("a in");
    await first.promise;
    log.push("a out");
  });
  const b = locks.hold(["y", "z"], async () => void log.push("b"));
  const c = locks.hold(["z"], async () => void log.push("c"));
  await locks.hold(["w"], async () => void log.push("w"));
  assert.equal(locks.held("y"), true);
  first.resolve();
  await Promise.all([a, b, c]);
  assert.ok(log.indexOf("w") < log.indexOf("a out"));
  assert.ok(log.indexOf("a out") < log.indexOf("b"));
  for (const key of ["w", "x", "y", "z"]) assert.equal(locks.held(key), false);
});

Deno.test("locks: keys in any order never wait for each other in a ring; errors let go", async () => {
  const locks = new KeyedLocks();
  let inside = 0;
  const runs = Array.from(
    { length: 50 },
    (_, i) =>
      locks.hold(i % 2 ? ["a", "b", "c"] : ["c", "a"], async () => {
        assert.equal(++inside, 1);
        await Promise.resolve();
        inside--;
        if (i % 5 === 0) throw new Error("x");
      }).catch(() => {}),
  );
  await Promise.all(runs);
  assert.equal(locks.held("a") || locks.held("b") || locks.held("c"), false);
});
