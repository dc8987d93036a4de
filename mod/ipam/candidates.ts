/**
 * In which order a node looks through the blocks of a pool, and which block it would claim next.
 *
 * A node starts at an index that hangs on its name (FNV-1, 32 bits, of the name, spread, modulo the
 * number of blocks) and goes round: so nodes spread over the pool and rarely fight for the same
 * block, and one node's requests of the same moment meet at the same block. Calico draws its start
 * from a generator seeded with the same hash; any start that is stable for a host works beside it.
 * Blocks of a single address start anywhere: there is nothing to share in them.
 */
import {
  addressBits,
  ipFromBigInt,
  ipToBigInt,
  type Prefix,
  prefixCovers,
  prefixesOverlap,
} from "../net/mod.ts";
import { firstGap, type Interval, type IntervalSet, union } from "./intervals.ts";
import type { Pool } from "./pools.ts";
import { rangeOf } from "./reservations.ts";

/** FNV-1 (multiply, then xor) of the UTF-8 bytes, 32 bits. */
export function fnv1(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    hash = Math.imul(hash, 0x01000193) ^ byte;
  }
  return hash >>> 0;
}

/** Spreads a 32-bit number: every bit of it moves every bit of the result (MurmurHash3's last step). */
function spread(n: number): number {
  n = Math.imul(n ^ n >>> 16, 0x85ebca6b);
  n = Math.imul(n ^ n >>> 13, 0xc2b2ae35);
  return (n ^ n >>> 16) >>> 0;
}

/** Bits by which an address is shifted to give its block's number in the family's space. */
function shiftOf(pool: Pool): bigint {
  return BigInt(addressBits(pool.prefix.ip.family) - pool.blockSize);
}

/** Block numbers of the pool: `numberOf` of its first to that of its last block. */
export function boundsOf(pool: Pool): Interval {
  const { start, end } = rangeOf(pool.prefix);
  const shift = shiftOf(pool);
  return { start: start >> shift, end: end >> shift };
}

export function numberOf(pool: Pool, block: Prefix): bigint {
  return ipToBigInt(block.ip) >> shiftOf(pool);
}

export function blockAt(pool: Pool, number: bigint): Prefix {
  return {
    ip: ipFromBigInt(pool.prefix.ip.family, number << shiftOf(pool)),
    length: pool.blockSize,
  };
}

/** The number at which a node begins. `random` gives [0, 1). */
export function startOf(pool: Pool, host: string, random: () => number): bigint {
  const { start, end } = boundsOf(pool);
  const single = pool.blockSize === addressBits(pool.prefix.ip.family);
  const seed = single ? Math.floor(random() * 2 ** 48) : spread(fnv1(host));
  return start + BigInt(seed) % (end - start);
}

/** The numbers of the pool's blocks that a network overlaps. */
export function shadowOf(pool: Pool, network: Prefix): Interval {
  const { start, end } = rangeOf(network);
  const shift = shiftOf(pool);
  return { start: start >> shift, end: ((end - 1n) >> shift) + 1n };
}

/** The numbers of the pool's blocks that lie wholly in a range of addresses. */
export function coveredBy(pool: Pool, range: Interval): Interval {
  const shift = shiftOf(pool);
  const up = (1n << shift) - 1n;
  return { start: (range.start + up) >> shift, end: range.end >> shift };
}

/**
 * The first block of the pool, from `start` on and round, that overlaps none of the networks (blocks
 * that exist, ranges that other pools own) and is not wholly reserved.
 */
export function nextFreeBlock(
  pool: Pool,
  start: bigint,
  taken: Iterable<Prefix>,
  reserved: IntervalSet,
): Prefix | undefined {
  const bounds = boundsOf(pool);
  const closed: Interval[] = reserved.map((range) => coveredBy(pool, range));
  for (const network of taken) {
    if (prefixesOverlap(pool.prefix, network)) closed.push(shadowOf(pool, network));
  }
  const number = firstGap(union(closed), bounds, start);
  return number === undefined ? undefined : blockAt(pool, number);
}

/** Blocks of the pool in the order in which a node looks at them. */
export function inWalkOrder<T extends { readonly prefix: Prefix }>(
  pool: Pool,
  start: bigint,
  blocks: readonly T[],
): T[] {
  const { start: first, end } = boundsOf(pool);
  const distance = (block: T) => {
    const d = numberOf(pool, block.prefix) - start;
    return d >= 0n ? d : d + end - first;
  };
  return blocks
    .filter((b) => b.prefix.length === pool.blockSize && prefixCovers(pool.prefix, b.prefix))
    .map((block) => ({ block, d: distance(block) }))
    .sort((a, b) => a.d < b.d ? -1 : a.d > b.d ? 1 : 0)
    .map(({ block }) => block);
}
