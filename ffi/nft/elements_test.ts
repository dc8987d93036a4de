import assert from "node:assert/strict";
import fc from "fast-check";
import { MessageCursor } from "../netlink/decoder.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import type { Data } from "./data.ts";
import {
  compareKeys,
  getElements,
  intervalElements,
  keyBefore,
  keyBehind,
  type NftElement,
  putElements,
  readIntervals,
} from "./elements.ts";
import { getExpressions, putExpressions } from "./expr.ts";
import { getRule } from "./objects.ts";
import { set } from "./testing.ts";
import { NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM } from "./wire.ts";

const key = fc.uint8Array({ minLength: 4, maxLength: 4 });

Deno.test("the key behind and the key before are each other's inverse", () => {
  fc.assert(fc.property(key, (k) => {
    const behind = keyBehind(k);
    if (behind) {
      assert.deepEqual(keyBefore(behind), k);
      assert(compareKeys(k, behind) < 0);
    } else assert(k.every((b) => b === 255));
  }));
  assert.equal(keyBefore(new Uint8Array(4)), undefined);
});

Deno.test("disjoint intervals are read as they were written, in any order of elements", () => {
  // Ends of intervals: an even number of different keys, sorted, taken by pairs.
  const ends = fc.uniqueArray(key, { selector: (k) => k.join(), minLength: 2, maxLength: 20 })
    .map((keys) => keys.sort(compareKeys).slice(0, keys.length & ~1));
  const shuffle = fc.array(fc.nat(), { minLength: 20, maxLength: 20 });
  fc.assert(fc.property(ends, shuffle, (keys, order) => {
    const intervals = [];
    for (let i = 0; i < keys.length; i += 2) intervals.push({ first: keys[i], last: keys[i + 1] });
    const elements = intervals.flatMap((i) => intervalElements(i.first, i.last));
    const mixed = elements.map((e, i) => [order[i % 20], e] as const)
      .sort((a, b) => a[0] - b[0]).map(([, e]) => e);
    assert.deepEqual(readIntervals(mixed), intervals);
    assert.deepEqual(readIntervals([...elements].reverse()), intervals);
  }));
});

Deno.test("intervals that touch, and one to the top", () => {
  const k = (...bytes: number[]) => new Uint8Array(bytes);
  const elements = [
    ...intervalElements(k(10, 0), k(10, 9)),
    ...intervalElements(k(10, 10), k(10, 19)),
    ...intervalElements(k(255, 0), k(255, 255)),
  ];
  assert.equal(elements.length, 5);
  assert.deepEqual(readIntervals(elements).map((i) => [...i.first, ...i.last]), [
    [10, 0, 10, 9],
    [10, 10, 10, 19],
    [255, 0, 255, 255],
  ]);
  // What nft puts before the first interval of a set ends nothing.
  assert.deepEqual(readIntervals([{ key: k(0, 0), flags: 1 }]), []);
});

function readBack(elements: NftElement[]): NftElement[] {
  const encoder = new MessageEncoder().begin(NFT_MSG_NEWSETELEM, 0, 1);
  putElements(encoder, set("s"), elements, 0);
  const message = new MessageCursor(encoder.end().finish());
  message.next();
  const read: NftElement[] = [];
  getElements(message, (e) => read.push(e));
  return read;
}

Deno.test("elements of every kind are read as they were written", () => {
  const optional = <T>(a: fc.Arbitrary<T>) => fc.option(a, { nil: undefined });
  const data: fc.Arbitrary<Data> = fc.oneof(
    key.map((value) => ({ value })),
    fc.constantFrom<Data>(
      { verdict: { code: "drop" } },
      { verdict: { code: "goto", chain: "cali-fw-cali1" } },
    ),
  );
  const element = fc.record({
    key: fc.uint8Array({ minLength: 1, maxLength: 24 }),
    keyEnd: optional(key),
    flags: optional(fc.constant(1)),
    data: optional(data),
    userdata: optional(fc.uint8Array({ minLength: 1, maxLength: 9 })),
  }, { noNullPrototype: true });
  fc.assert(fc.property(fc.array(element, { maxLength: 5 }), (elements) => {
    assert.deepEqual(readBack(elements), elements);
  }));
});

Deno.test("damaged messages are read without an error", () => {
  const encoder = new MessageEncoder().begin(NFT_MSG_NEWSETELEM, 0, 1);
  putElements(encoder, set("s"), [
    { key: new Uint8Array(4) },
    { key: new Uint8Array(4), flags: 1 },
    { key: new Uint8Array(16), data: { verdict: { code: "jump", chain: "c" } } },
  ], 0);
  const whole = encoder.end().finish().slice();
  const rule = new MessageEncoder().begin(NFT_MSG_NEWRULE, 0, 1).putU32(2);
  putExpressions(rule, 4, [
    { kind: "meta", key: "mark", dreg: 1 },
    { kind: "cmp", sreg: 1, op: "eq", data: new Uint8Array(4) },
    { kind: "immediate", dreg: 0, data: { verdict: { code: "goto", chain: "c" } } },
  ]);
  const wholeRule = rule.end().finish().slice();
  fc.assert(
    fc.property(
      fc.constantFrom(whole, wholeRule),
      fc.array(fc.tuple(fc.nat({ max: 255 }), fc.nat({ max: 255 })), { maxLength: 6 }),
      (bytes, changes) => {
        const damaged = bytes.slice();
        for (const [at, value] of changes) damaged[20 + at % (damaged.length - 20)] = value;
        const message = new MessageCursor(damaged);
        while (message.next()) {
          if (message.type === NFT_MSG_NEWRULE) getRule(message);
          else getElements(message, () => {});
        }
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("an expression that we do not know is kept as it came", () => {
  const data = new Uint8Array([8, 0, 1, 0, 0, 0, 0, 7]);
  const expressions = [
    { kind: "unknown" as const, name: "synproxy", data },
    // A key and a base that have no name here.
    { kind: "meta" as const, key: 29, dreg: 1 },
    { kind: "payload" as const, dreg: 1, base: 3, offset: 0, length: 2 },
  ];
  const encoder = new MessageEncoder().begin(NFT_MSG_NEWRULE, 0, 1);
  putExpressions(encoder, 4, expressions);
  const message = new MessageCursor(encoder.end().finish());
  message.next();
  const attributes = message.attributes(0);
  attributes.next();
  assert.deepEqual(getExpressions(attributes), expressions);
});
