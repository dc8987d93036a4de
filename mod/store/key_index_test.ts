import assert from "node:assert/strict";
import fc from "fast-check";
import type { PutRecord } from "./change_log.ts";
import { KeyIndex } from "./key_index.ts";
import { compareKeys } from "./limits.ts";

const record = (key: string, revision: number): PutRecord => ({
  type: "put",
  key,
  revision,
  text: "1",
  ttlMs: 0,
  expires: 0,
});

Deno.test("the index holds what a map holds, and finds every prefix in order", () => {
  const key = fc.string({ unit: fc.constantFrom("a", "b", "/", "-", "é", "𝒳", "\uffee") });
  const step = fc.tuple(key, fc.boolean());
  fc.assert(fc.property(fc.array(step), fc.boolean(), key, (steps, loaded, prefix) => {
    const index = new KeyIndex();
    const model = new Map<string, PutRecord>();
    const half = loaded ? steps.slice(0, steps.length / 2) : [];
    for (const [i, [k]] of half.entries()) model.set(k, record(k, i));
    index.load(model.values());
    for (const [i, [k, put]] of steps.slice(half.length).entries()) {
      if (put) {
        model.set(k, record(k, i));
        index.set(record(k, i));
      } else {
        model.delete(k);
        index.delete(k);
      }
    }
    assert.equal(index.size, model.size);
    for (const wanted of ["", prefix]) {
      const keys = [...model.keys()].filter((k) => k.startsWith(wanted)).sort(compareKeys);
      assert.deepEqual(index.withPrefix(wanted), keys.map((k) => model.get(k)));
    }
    for (const k of model.keys()) assert.deepEqual(index.get(k), model.get(k));
  }));
});
