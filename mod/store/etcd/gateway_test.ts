import assert from "node:assert/strict";
import { decodeKey, decodeValue, encodeText, keyAfter, ownRanges, rangeEnd } from "./gateway.ts";

Deno.test("the end of a prefix is the first key behind it, in bytes", () => {
  const end = (prefix: string) => Array.from(Uint8Array.fromBase64(rangeEnd(prefix)));
  assert.deepEqual(end("/calico/"), Array.from(new TextEncoder().encode("/calico0")));
  // The last byte of a character outside ASCII.
  assert.deepEqual(end("é"), [0xc3, 0xaa]);
  assert.deepEqual(end("\u{10ffff}"), [0xf4, 0x8f, 0xbf, 0xc0]);
});

Deno.test("a page ends before the key right behind its last", () => {
  assert.equal(decodeKey(keyAfter(encodeText("/a"))), "/a\0");
});

Deno.test("of a shared keyspace a wide prefix means what is ours", () => {
  assert.deepEqual(ownRanges("/"), ["/calico/", "/tortie/"]);
  assert.deepEqual(ownRanges(""), ["/calico/", "/tortie/"]);
  assert.deepEqual(ownRanges("/cal"), ["/calico/"]);
  assert.deepEqual(ownRanges("/calico/"), ["/calico/"]);
  assert.deepEqual(ownRanges("/calico/ipam/"), ["/calico/ipam/"]);
  assert.deepEqual(ownRanges("/registry/"), ["/registry/"]);
});

Deno.test("a value is JSON, nothing, or broken with the reason", () => {
  const text = (t: string, key = "/calico/x") => decodeValue(key, encodeText(t));
  const affinity = "/calico/ipam/v2/host/n1/ipv4/block/10.0.0.0-26";
  assert.deepEqual(text('{"a":1795355067781922939}'), { value: { a: 1795355067781922939n } });
  assert.deepEqual(decodeValue(affinity, undefined), { value: "" });
  assert.deepEqual(text('""'), { value: "" });
  assert("broken" in text('""', affinity));
  for (const bad of ['{"kind":"IPPool","metada', "k8s\0\x01", "{}x"]) {
    const decoded = text(bad);
    assert("broken" in decoded, bad);
    assert.match(decoded.broken, /^it is not JSON: ./);
  }
  // JSON, but not in UTF-8.
  assert("broken" in decodeValue("/calico/x", Uint8Array.from([0x22, 0xff, 0x22]).toBase64()));
});
