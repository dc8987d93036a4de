import assert from "node:assert/strict";
import fc from "fast-check";
import { firstGap, gaps, intervalAt, sizeOf, union, within } from "./intervals.ts";

const interval = fc.tuple(fc.nat(40), fc.nat(8)).map(([start, length]) => ({
  start: BigInt(start),
  end: BigInt(start + length),
}));
const bounds = fc.tuple(fc.nat(20), fc.nat(30)).map(([start, length]) => ({
  start: BigInt(start),
  end: BigInt(start + length),
}));

Deno.test("sets of intervals agree with sets of numbers", () => {
  fc.assert(fc.property(fc.array(interval), bounds, fc.nat(29), (intervals, box, offset) => {
    const set = union(intervals);
    const has = (n: number) => intervals.some((i) => i.start <= BigInt(n) && BigInt(n) < i.end);
    const numbers = Array.from({ length: 60 }, (_, n) => n);
    const inside = numbers.filter((n) => box.start <= BigInt(n) && BigInt(n) < box.end);
    for (const n of numbers) assert.equal(intervalAt(set, BigInt(n)) !== undefined, has(n));
    assert.equal(sizeOf(set), BigInt(numbers.filter(has).length));
    assert.equal(sizeOf(within(set, box)), BigInt(inside.filter(has).length));
    assert.equal(sizeOf(gaps(set, box)), BigInt(inside.filter((n) => !has(n)).length));
    for (let i = 1; i < set.length; i++) assert(set[i - 1].end < set[i].start);
    if (inside.length === 0) return assert.equal(firstGap(set, box, box.start), undefined);
    const from = inside[offset % inside.length];
    const round = [...inside.filter((n) => n >= from), ...inside.filter((n) => n < from)];
    const want = round.find((n) => !has(n));
    assert.equal(
      firstGap(set, box, BigInt(from)),
      want === undefined ? undefined : BigInt(want),
    );
  }));
});
