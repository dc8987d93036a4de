/**
 * IPReservations: addresses that automatic assignment leaves alone, wherever they lie. An explicit
 * request for such an address is not refused, and what was given before stays given.
 */
import {
  type Family,
  type Ip,
  ipToBigInt,
  parsePrefix,
  type Prefix,
  prefixSize,
} from "../net/mod.ts";
import { nothingReserved, type Reserved } from "./block.ts";
import { type Interval, intervalAt, type IntervalSet, sizeOf, union, within } from "./intervals.ts";

/** The addresses of a network as numbers. */
export function rangeOf(prefix: Prefix): Interval {
  const start = ipToBigInt(prefix.ip);
  return { start, end: start + prefixSize(prefix) };
}

export class Reservations {
  readonly #sets: Readonly<Record<Family, IntervalSet>>;

  /** CIDRs that cannot be read are left out: they reserve nothing. */
  constructor(cidrs: Iterable<unknown>) {
    const prefixes = [...cidrs].flatMap((text) =>
      typeof text === "string" ? parsePrefix(text.trim()) ?? [] : []
    );
    const of = (family: Family) =>
      union(prefixes.filter((p) => p.ip.family === family).map(rangeOf));
    this.#sets = { 4: of(4), 6: of(6) };
  }

  /** All reserved ranges of a family. */
  ranges(family: Family): IntervalSet {
    return this.#sets[family];
  }

  has(ip: Ip): boolean {
    return intervalAt(this.#sets[ip.family], ipToBigInt(ip)) !== undefined;
  }

  /** How many addresses of a network are reserved. */
  countIn(prefix: Prefix): bigint {
    return sizeOf(within(this.#sets[prefix.ip.family], rangeOf(prefix)));
  }

  coversAll(prefix: Prefix): boolean {
    return this.#sets[prefix.ip.family].length > 0 && this.countIn(prefix) === prefixSize(prefix);
  }

  /** The test for one block's ordinals: `nothingReserved` itself where nothing of it is. */
  inBlock(block: Prefix): Reserved {
    const base = rangeOf(block);
    const parts = within(this.#sets[block.ip.family], base);
    if (parts.length === 0) return nothingReserved;
    return (ordinal) => intervalAt(parts, base.start + BigInt(ordinal)) !== undefined;
  }
}
