import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPrefix, mustPrefix, prefixOf } from "../mod/net/mod.ts";
import { Writer } from "./message/bytes.ts";
import {
  compareKeys,
  keyFamily,
  keyLength,
  keyOf,
  prefixOfKey,
  readKeys,
  wireSize,
  writeKey,
} from "./prefix_key.ts";

const anyPrefix = fc.oneof(
  fc.tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.nat(32))
    .map(([bytes, length]) => prefixOf({ family: 4, bytes }, length)),
  fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128))
    .map(([bytes, length]) => prefixOf({ family: 6, bytes }, length)),
);

Deno.test("a key is its prefix, and nothing else's", () => {
  fc.assert(fc.property(anyPrefix, anyPrefix, (a, b) => {
    const key = keyOf(a);
    assert.equal(formatPrefix(prefixOfKey(key)), formatPrefix(a));
    assert.equal(keyLength(key), a.length);
    assert.equal(keyFamily(key), a.ip.family === 4 ? "ipv4" : "ipv6");
    assert.equal(key === keyOf(b), formatPrefix(a) === formatPrefix(b));
    assert.equal(compareKeys(key, keyOf(b)) === 0, key === keyOf(b));
  }));
});

Deno.test("prefixes on the wire", () => {
  fc.assert(fc.property(fc.array(anyPrefix), (prefixes) => {
    for (const family of ["ipv4", "ipv6"] as const) {
      const keys = prefixes.map(keyOf).filter((key) => keyFamily(key) === family);
      const out = new Writer();
      for (const key of keys) writeKey(out, key);
      const bytes = out.done();
      assert.equal(bytes.length, keys.reduce<number>((sum, key) => sum + wireSize(key), 0));
      assert.deepEqual(readKeys(bytes, 0, bytes.length, family), keys);
    }
  }));
  const out = new Writer();
  for (const text of ["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "203.0.113.7/32"]) {
    writeKey(out, keyOf(mustPrefix(text)));
  }
  assert.deepEqual([...out.done()], [0, 8, 10, 9, 10, 128, 32, 203, 0, 113, 7]);
});

Deno.test("bits beyond the length are cleared, lengths beyond the family are refused", () => {
  const text = (bytes: number[], family: "ipv4" | "ipv6" = "ipv4") => {
    const keys = readKeys(new Uint8Array(bytes), 0, bytes.length, family);
    return typeof keys === "string" ? keys : keys.map((key) => formatPrefix(prefixOfKey(key)));
  };
  assert.deepEqual(text([20, 203, 0, 0x7f]), ["203.0.112.0/20"]);
  assert.deepEqual(text([1, 0xff]), ["128.0.0.0/1"]);
  assert.deepEqual(text([13, 0xff, 0xff], "ipv6"), ["fff8::/13"]);
  assert.match(text([33, 1, 2, 3, 4, 5]) as string, /length 33/);
  assert.match(text([129, 1], "ipv6") as string, /length 129/);
  assert.match(text([24, 1, 2]) as string, /inside of a prefix/);
});
