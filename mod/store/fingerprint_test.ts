import assert from "node:assert/strict";
import fc from "fast-check";
import { fingerprint } from "./fingerprint.ts";

Deno.test("a fingerprint is of the value: equal for equal ones, and exact beyond 2^53", () => {
  assert.equal(fingerprint({ a: [1, "x"] }), fingerprint({ a: [1, "x"] }));
  assert.notEqual(fingerprint({ n: 2n ** 60n }), fingerprint({ n: 2n ** 60n + 1n }));
  fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
    const same = JSON.stringify(a) === JSON.stringify(b);
    assert.equal(fingerprint(a) === fingerprint(b), same);
    assert(Number.isSafeInteger(fingerprint(a)));
  }));
});
