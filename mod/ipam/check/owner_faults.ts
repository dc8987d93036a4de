/** Blocks beside affinities, nodes and pools: who owns a block, and whether anybody may give its addresses. */
import {
  comparePrefix,
  formatPrefix,
  type Prefix,
  prefixCovers,
  prefixesOverlap,
} from "../../net/mod.ts";
import {
  type AffinityOwner,
  formatAffinity,
  hostMarkerKey,
  parseAffinityKey,
} from "../../model/keys.ts";
import type { BrokenEntry, Entry } from "../../store/store.ts";
import { affinityState } from "../affinities.ts";
import { ownerOf } from "../block.ts";
import type { BlockRecord } from "../block_table.ts";
import { isBroken } from "../damage.ts";
import type { Pool } from "../pools.ts";
import type { Allocation } from "./allocations.ts";
import { markFault } from "./block_faults.ts";
import { type Facts, leaseOf } from "./evidence.ts";
import type { Finding, Passing } from "./finding.ts";

type Block = Pick<BlockRecord, "prefix" | "block">;

interface Affinity {
  readonly owner: AffinityOwner;
  readonly block: Prefix;
  readonly state: string;
  /** What is wrong with its mark of a deletion. */
  readonly marked?: string;
  /** Why it cannot be read. */
  readonly damage?: string;
}

export function affinityFaults(
  entries: readonly (Entry | BrokenEntry)[],
  blocks: readonly Block[],
  /** Blocks that are there, and cannot be read. */
  lost: readonly Prefix[] = [],
): Finding[] {
  const unknown = new Set(lost.map(formatPrefix));
  const findings: Finding[] = [];
  const byCidr = new Map(blocks.map((record) => [formatPrefix(record.prefix), record]));
  const known = new Set<string>();
  for (const entry of entries) {
    const affinity = affinityOf(entry);
    if (!affinity) {
      const host = isBroken(entry)
        ? undefined
        : /^\/calico\/ipam\/v2\/host\/([^/]+)$/.exec(entry.key)?.[1];
      if (host !== undefined && entry.key === hostMarkerKey(host)) continue;
      findings.push({
        kind: "strangeRecord",
        subject: entry.key,
        message: `${entry.key} is no affinity`,
      });
      continue;
    }
    const cidr = formatPrefix(affinity.block);
    const owner = formatAffinity(affinity.owner);
    known.add(`${owner} ${cidr}`);
    if (affinity.damage !== undefined) {
      const subject = `${owner} ${cidr}`, { key } = entry;
      const message =
        `the affinity of ${owner} for ${cidr} (${key}) cannot be read: ${affinity.damage}`;
      findings.push({ kind: "affinityBroken", subject, message, key });
      continue;
    }
    if (unknown.has(cidr)) continue;
    findings.push(...faultsOf(affinity, owner, cidr, byCidr.get(cidr)));
  }
  for (const { prefix, block } of blocks) {
    if (!block.affinity) continue;
    const cidr = formatPrefix(prefix);
    if (!ownerOf(block)) {
      findings.push({
        kind: "ownerUnknown",
        subject: cidr,
        message: `${cidr} has the owner "${block.affinity}", which is none that we know`,
      });
    } else if (!known.has(`${block.affinity} ${cidr}`)) {
      findings.push({
        kind: "blockWithoutAffinity",
        subject: cidr,
        message: `${cidr} is ${block.affinity}'s by its own word, and no affinity says so`,
      });
    }
  }
  return findings;
}

function affinityOf(entry: Entry | BrokenEntry): Affinity | undefined {
  const parsed = parseAffinityKey(entry.key);
  if (!parsed) return undefined;
  const value = isBroken(entry) ? undefined : entry.value;
  const marked = isBroken(entry) ? undefined : markFault(value);
  const state = isBroken(entry) ? undefined : affinityState(value);
  const damage = isBroken(entry) ? entry.reason : "it says no state that we know";
  return {
    ...parsed,
    ...(state === undefined && { damage }),
    state: state || "confirmed",
    ...(marked !== undefined && { marked }),
  };
}

/** The state first: an affinity that is on its way need not agree with the block yet. */
function faultsOf(
  { state, marked }: Affinity,
  owner: string,
  cidr: string,
  record: Block | undefined,
): Finding[] {
  const subject = `${owner} ${cidr}`;
  const affinity = `the affinity of ${owner} for ${cidr}`;
  const held = record?.block.affinity;
  if (marked !== undefined) {
    return [{ kind: "halfDeleted", subject, message: `${affinity} ${marked}` }];
  }
  if (record && held !== owner) {
    const whose = held ? `${held}'s` : "nobody's";
    return [{
      kind: "affinityWrongOwner",
      subject,
      message: `${affinity} is ${state}, while the block is ${whose}`,
    }];
  }
  if (state !== "confirmed") {
    return [{
      kind: "affinityPending",
      subject,
      message: `${affinity} is ${state}, not confirmed`,
    }];
  }
  if (record) return [];
  const message = `${affinity} is confirmed, and there is no such block`;
  return [{ kind: "affinityWithoutBlock", subject, message }];
}

/** Nodes that hold blocks or addresses and have no Node object. */
export function nodeFaults(
  facts: Facts,
  affinities: readonly Entry[],
  blocks: readonly Block[],
  allocations: readonly Allocation[],
): Finding[] {
  const gone = new Map<string, { blocks: Set<string>; addresses: number }>();
  const of = (node: string) => {
    if (!gone.has(node)) gone.set(node, { blocks: new Set(), addresses: 0 });
    return gone.get(node)!;
  };
  const held = [
    ...affinities.map(affinityOf).flatMap((a) => a ? [{ owner: a.owner, cidr: a.block }] : []),
    ...blocks.flatMap(({ prefix, block }) => {
      const owner = ownerOf(block);
      return owner ? [{ owner, cidr: prefix }] : [];
    }),
  ];
  for (const { owner, cidr } of held) {
    if (owner.type === "host" && !facts.hasNode(owner.name)) {
      of(owner.name).blocks.add(formatPrefix(cidr));
    }
  }
  for (const allocation of allocations) {
    const { node } = allocation;
    const lease = leaseOf(allocation);
    // Between two pods it is no node's: the one that it names only had it last.
    if (lease && lease.container === undefined) continue;
    if (node !== "" && !facts.hasNode(node)) of(node).addresses++;
  }
  return [...gone].map(([node, has]) => ({
    kind: "nodeGone" as const,
    subject: node,
    message:
      `node ${node} has no Node object, and still has ${counted(has.blocks.size, "block")} and ` +
      counted(has.addresses, "address", "addresses"),
  }));
}

function counted(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/**
 * Blocks that no pool gives addresses from, and blocks in each other's way. A block of another size than
 * the pool's that gives addresses there is left from a pool before it, and drains.
 */
export function placeFaults(
  blocks: readonly Block[],
  pools: readonly Pool[],
): { findings: Finding[]; passing: Passing[] } {
  const findings: Finding[] = [];
  const passing: Passing[] = [];
  for (const { prefix, block } of blocks) {
    const cidr = formatPrefix(prefix);
    const near = pools.filter((pool) => prefixesOverlap(pool.prefix, prefix));
    if (near.length === 0) {
      findings.push({
        kind: "blockOutsidePools",
        subject: cidr,
        message: `${cidr} lies in no pool`,
      });
      continue;
    }
    const open = near.filter((pool) => pool.closed === undefined);
    const givers = open.length > 0 ? open : near;
    const fits = (pool: Pool) =>
      pool.blockSize === prefix.length && prefixCovers(pool.prefix, prefix);
    if (givers.some(fits)) continue;
    const left = block.allocations.filter((index) => index !== null && index !== undefined).length;
    const names = givers.map((p) =>
      `pool ${p.name} (${formatPrefix(p.prefix)}, blocks of /${p.blockSize})`
    );
    passing.push({
      kind: "blockSize",
      subject: cidr,
      message: `${cidr} is no block of ${names.join(" nor of ")} and still has ${
        counted(left, "address", "addresses")
      }`,
    });
  }
  for (const [wide, narrow] of overlaps(blocks)) {
    const [a, b] = [formatPrefix(wide.prefix), formatPrefix(narrow.prefix)];
    findings.push({
      kind: "blocksOverlap",
      subject: `${a} ${b}`,
      message: `${a} and ${b} are both there and overlap`,
    });
  }
  return { findings, passing };
}

/**
 * Pairs of blocks of which the first covers the second. Prefixes overlap only where one covers the other:
 * in the order of their addresses, the wider first, those that cover one stand open before it.
 */
function overlaps(blocks: readonly Block[]): [Block, Block][] {
  const pairs: [Block, Block][] = [];
  for (const family of [4, 6]) {
    const open: Block[] = [];
    const sorted = blocks.filter(({ prefix }) => prefix.ip.family === family)
      .sort((a, b) => comparePrefix(a.prefix, b.prefix));
    for (const record of sorted) {
      while (open.length > 0 && !prefixCovers(open.at(-1)!.prefix, record.prefix)) open.pop();
      for (const wide of open) {
        if (wide.prefix.length < record.prefix.length) pairs.push([wide, record]);
      }
      open.push(record);
    }
  }
  return pairs;
}
