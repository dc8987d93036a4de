/**
 * How full pools and blocks are, after Calico's GetUtilization. A block counts in the longest pool
 * that holds it, whatever that pool's state; what lies in no pool is listed on its own. Capacity is
 * all of a pool's CIDR; `available` is what automatic assignment could still give: not taken, not
 * reserved, and not in the range of another pool within.
 */
import {
  type Family,
  parsePrefix,
  type Prefix,
  prefixCovers,
  prefixSize,
  samePrefix,
} from "../net/mod.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { collectCooled } from "./block_changes.ts";
import type { BlockRecord } from "./block_table.ts";
import { coolingSince } from "./cooling.ts";
import { damagedBlock } from "./damage.ts";
import type { Facts } from "./facts.ts";
import { type Interval, sizeOf, union, within } from "./intervals.ts";
import type { Pool, PoolMap } from "./pools.ts";
import { rangeOf } from "./reservations.ts";
import type { Room } from "./room.ts";

/** Numbers of addresses. */
export interface Usage {
  readonly cidr: Prefix;
  readonly capacity: bigint;
  readonly inUse: bigint;
  /** Covered by IPReservations, taken or not. */
  readonly reserved: bigint;
  readonly available: bigint;
  /** Released, and not to be used again yet: part of `inUse`, as in Calico. */
  readonly cooling: bigint;
}

export interface BlockUtilization extends Usage {
  /** `host:n1`, or null: nobody's. */
  readonly affinity: string | null;
}

export interface PoolUtilization {
  /** undefined: blocks that lie in no pool. */
  readonly name?: string;
  /** Of the pool; undefined for blocks in no pool. */
  readonly usage?: Usage;
  readonly blocks: readonly BlockUtilization[];
}

export async function utilization(
  room: Room,
  wanted: readonly string[],
): Promise<PoolUtilization[]> {
  const [facts, four, six] = await Promise.all([
    room.facts.read(),
    room.blocks.list(4),
    room.blocks.list(6),
  ]);
  if (facts.configDamage) room.warn(facts.configDamage.message);
  for (const prefix of [...room.blocks.damaged(4), ...room.blocks.damaged(6)]) {
    room.warn(damagedBlock(prefix, "it counts as nothing here").message);
  }
  const cooldown = room.cooldown(facts.config);
  const records = [...four, ...six].map((record) => ({
    ...record,
    block: collectCooled(record.block, cooldown),
  }));
  const { pools } = facts;
  const home = new Map(records.map((r) => [r, homeOfBlock(pools, r.prefix)]));
  const result: PoolUtilization[] = pools.all.filter((pool) => isWanted(pool, wanted))
    .map((pool) => {
      const own = records.filter((record) => home.get(record) === pool);
      return {
        name: pool.name,
        usage: usageOfPool(facts, pool, records, own),
        blocks: own.map((record) => usageOfBlock(facts, record)),
      };
    });
  const orphans = records.filter((record) => home.get(record) === undefined);
  if (wanted.length === 0 && orphans.length > 0) {
    result.push({ blocks: orphans.map((record) => usageOfBlock(facts, record)) });
  }
  return result;
}

/** The longest pool that holds all of the block, else the one in which it begins. */
function homeOfBlock(pools: PoolMap, block: Prefix): Pool | undefined {
  return pools.all.filter((pool) => prefixCovers(pool.prefix, block))
    .sort((a, b) => b.prefix.length - a.prefix.length)[0] ?? pools.homeOf(block.ip);
}

function isWanted(pool: Pool, wanted: readonly string[]): boolean {
  return wanted.length === 0 || wanted.some((text) => {
    const cidr = text.includes("/") ? parsePrefix(text) : undefined;
    return cidr ? samePrefix(cidr, pool.prefix) : text === pool.name;
  });
}

function taken({ prefix, block }: BlockRecord): Interval[] {
  const { start } = rangeOf(prefix);
  return block.allocations.flatMap((index, ordinal) => {
    const at = start + BigInt(ordinal);
    return index === null ? [] : [{ start: at, end: at + 1n }];
  });
}

function coolingIn({ allocations, attributes }: AllocationBlock): bigint {
  const marked = attributes.map((attribute) => coolingSince(attribute) !== undefined);
  return BigInt(allocations.filter((i) => i !== null && marked[i]).length);
}

function usageOfBlock(facts: Facts, record: BlockRecord): BlockUtilization {
  const { prefix, block } = record;
  const reserved = facts.reservations.inBlock(prefix);
  return {
    cidr: prefix,
    affinity: block.affinity ?? null,
    capacity: prefixSize(prefix),
    inUse: prefixSize(prefix) - BigInt(block.unallocated.length),
    reserved: facts.reservations.countIn(prefix),
    available: BigInt(block.unallocated.filter((ordinal) => !reserved(ordinal)).length),
    cooling: coolingIn(block),
  };
}

function usageOfPool(
  facts: Facts,
  pool: Pool,
  all: readonly BlockRecord[],
  own: readonly BlockRecord[],
): Usage {
  const cidr = pool.prefix;
  const family: Family = cidr.ip.family;
  const range = rangeOf(cidr);
  const closed = union([
    ...within(facts.reservations.ranges(family), range),
    ...within(union(facts.pools.ceded(pool).map(rangeOf)), range),
    ...within(union(all.filter((r) => r.prefix.ip.family === family).flatMap(taken)), range),
  ]);
  return {
    cidr,
    capacity: prefixSize(cidr),
    inUse: own.reduce(
      (sum, r) => sum + prefixSize(r.prefix) - BigInt(r.block.unallocated.length),
      0n,
    ),
    reserved: facts.reservations.countIn(cidr),
    available: prefixSize(cidr) - sizeOf(closed),
    cooling: own.reduce((sum, { block }) => sum + coolingIn(block), 0n),
  };
}
