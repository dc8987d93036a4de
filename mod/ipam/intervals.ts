/**
 * Sets of numbers as sorted, disjoint, half-open intervals [start, end). Addresses and block indexes
 * are such numbers; so a pool of 2^64 blocks costs what is in it, not what it could hold.
 */

export interface Interval {
  readonly start: bigint;
  readonly end: bigint;
}

export type IntervalSet = readonly Interval[];

/** The union of intervals in any order, empty ones left out. */
export function union(intervals: Iterable<Interval>): IntervalSet {
  const sorted = [...intervals].filter((i) => i.start < i.end).sort(byStart);
  const merged: Interval[] = [];
  for (const next of sorted) {
    const last = merged.at(-1);
    if (last && next.start <= last.end) {
      if (next.end > last.end) merged[merged.length - 1] = { start: last.start, end: next.end };
    } else merged.push(next);
  }
  return merged;
}

function byStart(a: Interval, b: Interval): number {
  return a.start < b.start ? -1 : a.start > b.start ? 1 : 0;
}

/** How many numbers are in it. */
export function sizeOf(set: IntervalSet): bigint {
  return set.reduce((sum, i) => sum + i.end - i.start, 0n);
}

/** The part of it within one interval. */
export function within(set: IntervalSet, bounds: Interval): IntervalSet {
  return set.flatMap((i) => {
    const start = i.start > bounds.start ? i.start : bounds.start;
    const end = i.end < bounds.end ? i.end : bounds.end;
    return start < end ? [{ start, end }] : [];
  });
}

/** What of `bounds` is not in the set. */
export function gaps(set: IntervalSet, bounds: Interval): IntervalSet {
  const free: Interval[] = [];
  let at = bounds.start;
  for (const i of within(set, bounds)) {
    if (at < i.start) free.push({ start: at, end: i.start });
    at = i.end;
  }
  if (at < bounds.end) free.push({ start: at, end: bounds.end });
  return free;
}

/** The interval that holds the number; by bisection. */
export function intervalAt(set: IntervalSet, n: bigint): Interval | undefined {
  let low = 0, high = set.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (set[middle].end <= n) low = middle + 1;
    else high = middle;
  }
  return low < set.length && set[low].start <= n ? set[low] : undefined;
}

/** The first number at or after `from` in `bounds` that is not in the set, going round once. */
export function firstGap(set: IntervalSet, bounds: Interval, from: bigint): bigint | undefined {
  if (bounds.start >= bounds.end) return undefined;
  const at = intervalAt(set, from)?.end ?? from;
  if (at < bounds.end) return at;
  const again = intervalAt(set, bounds.start)?.end ?? bounds.start;
  return again < from ? again : undefined;
}
