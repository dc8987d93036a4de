import assert from "node:assert/strict";
import { AttributeCursor } from "../netlink/decoder.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import { type Expression, putExpressions } from "./expr.ts";
import { fingerprint } from "./fingerprint.ts";
import { cmp, daddr, drop, meta } from "./testing.ts";

/** As the kernel lists it. */
const lookup = (set: string, flags = 0): Expression => ({ kind: "lookup", sreg: 1, set, flags });

function view(expressions: readonly Expression[]): DataView {
  const encoder = new MessageEncoder().begin(0, 0, 0);
  putExpressions(encoder, 4, expressions);
  const cursor = new AttributeCursor(encoder.end().finish().slice(16));
  assert(cursor.next());
  return cursor.peek();
}
const contents: Record<string, number> = { __set0: 1, __set1: 2, __set2: 2 ** 40 + 2 };
const of = (...expressions: Expression[]) => fingerprint(view(expressions), (set) => contents[set]);
const counter = (packets: number): Expression => ({
  kind: "counter",
  bytes: packets * 60,
  packets,
});

Deno.test("what counters count makes no difference, whether there is one does", () => {
  assert.equal(of(daddr, counter(1), drop), of(daddr, counter(7), drop));
  assert.notEqual(of(daddr, counter(1), drop), of(daddr, drop));
  assert.notEqual(of(daddr, counter(1), drop), of(counter(1), daddr, drop));
});

Deno.test("anonymous sets count by what is in them, others by their names", () => {
  assert.equal(of(lookup("__set0"), drop), of(lookup("__set0"), drop));
  assert.notEqual(of(lookup("__set0"), drop), of(lookup("__set1"), drop));
  assert.notEqual(of(lookup("__set1"), drop), of(lookup("__set2"), drop));
  const renamed = (set: string) => fingerprint(view([lookup(set), drop]), () => 5);
  assert.equal(renamed("__set0"), renamed("__set123456"));
  assert.notEqual(renamed("cali40s-x"), renamed("cali40s-y"));
  assert.notEqual(of(lookup("__set0")), of(lookup("__set0", 1)), "negated");
});

Deno.test("every byte makes a difference", () => {
  const data = view([meta("iifname"), cmp("eq", new Uint8Array(16)), lookup("cali40s-x"), drop]);
  const seen = new Set<number>([fingerprint(data, () => undefined)]);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      bytes[at] ^= 1 << bit;
      seen.add(fingerprint(data, () => undefined));
      bytes[at] ^= 1 << bit;
    }
  }
  // Lengths that lie end the walk: of those some are alike.
  assert(seen.size > bytes.length * 8 * 0.9, `${seen.size} of ${bytes.length * 8}`);
});

Deno.test("what is cut off anywhere is read without a fault", () => {
  const whole = view([counter(3), lookup("__set0"), drop]);
  for (let length = 0; length < whole.byteLength; length++) {
    fingerprint(new DataView(whole.buffer, whole.byteOffset, length), () => 1);
  }
});
