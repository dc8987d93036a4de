import assert from "node:assert/strict";
import fc from "fast-check";
import { checkKey, compareKeys, MAX_KEY_BYTES, MAX_VALUE_BYTES, utf8Length } from "./limits.ts";
import { checkText, ttlMs } from "./limits.ts";
import { StoreError } from "./store.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const text = fc.string({ unit: "binary" }).map((t) => t.toWellFormed());

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

Deno.test("lengths and order of keys are those of their UTF-8 bytes", () => {
  fc.assert(fc.property(text, text, (a, b) => {
    assert.equal(utf8Length(a), encode(a).length);
    assert.equal(Math.sign(compareKeys(a, b)), Math.sign(compareBytes(encode(a), encode(b))));
  }));
  const tricky = ["a", "a\uffff", "a\ue000", "a\ud800\udc00", "a\u{10ffff}", "ab", ""];
  for (const a of tricky) {
    for (const b of tricky) {
      assert.equal(
        Math.sign(compareKeys(a, b)),
        Math.sign(compareBytes(encode(a), encode(b))),
        JSON.stringify([a, b]),
      );
    }
  }
});

Deno.test("the limits are exact", () => {
  const refused = (run: () => void) =>
    assert.throws(run, (error: Error) => error instanceof StoreError && error.kind === "invalid");
  for (const [unit, bytes] of [["k", 1], ["é", 2], ["☃", 3], ["𝒳", 4], ["\0", 2]] as const) {
    const most = Math.floor(MAX_KEY_BYTES / bytes);
    checkKey(unit.repeat(most));
    refused(() => checkKey(unit.repeat(most + 1)));
  }
  checkText("k", "x".repeat(MAX_VALUE_BYTES));
  refused(() => checkText("k", "[".repeat(1001) + "]".repeat(1001)));
  refused(() => checkText("k", "x".repeat(MAX_VALUE_BYTES + 1)));
  checkText("k", "☃".repeat(MAX_VALUE_BYTES / 3));
  refused(() => checkText("k", "☃".repeat(MAX_VALUE_BYTES / 3) + "x"));
  assert.equal(ttlMs("k", undefined), 0);
  assert.equal(ttlMs("k", 0.0001), 1);
  assert.equal(ttlMs("k", 90), 90_000);
});
