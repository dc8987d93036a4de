/** Handles beside blocks: what a handle counts, and what the blocks say that it has. */
import { formatPrefix, parseStrictPrefix } from "../../net/mod.ts";
import { parseHandleKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
import type { BrokenEntry, Entry, Revision } from "../../store/store.ts";
import { cleanHandle } from "../block.ts";
import { isBroken } from "../damage.ts";
import { markFault } from "./block_faults.ts";
import { type Allocation, WINDOWS_RESERVED } from "./allocations.ts";
import type { Finding, FindingKind } from "./finding.ts";

/** A handle that has no address. */
export interface LeakedHandle {
  readonly id: string;
  readonly revision: Revision;
}

export interface HandleCheck {
  readonly findings: Finding[];
  readonly leaked: LeakedHandle[];
  /** Handles that have addresses, by their own records. */
  readonly good: number;
  /** Ids that blocks name and that have no record. */
  readonly missing: string[];
}

export function examineHandles(
  entries: readonly (Entry | BrokenEntry)[],
  allocations: readonly Allocation[],
  blocks: ReadonlySet<string>,
  /** Blocks that are there, and cannot be read: what they hold may be as the handles say. */
  lost: ReadonlySet<string> = new Set(),
): HandleCheck {
  const held = heldByHandle(allocations);
  const check = { findings: [] as Finding[], leaked: [] as LeakedHandle[], good: 0 };
  const known = new Set<string>();
  for (const entry of entries) {
    const { key, revision } = entry;
    const id = parseHandleKey(key) ?? key;
    known.add(cleanHandle(id));
    const has = held.get(cleanHandle(id));
    const counts = isBroken(entry) ? undefined : countsOf(entry.value);
    const say = (kind: FindingKind, what: string) =>
      check.findings.push({ kind, subject: id, message: `handle ${id} ${what}` });
    if (!counts) {
      if (has) check.good++;
      const why = isBroken(entry) ? entry.reason : "it has no readable counts";
      const message = `handle ${id} (${key}) cannot be read: ${why}`;
      check.findings.push({ kind: "handleBroken", subject: id, message, key });
      continue;
    }
    const { handleID } = (entry as Entry).value as { handleID?: unknown };
    const marked = markFault((entry as Entry).value);
    if (marked) say("handleMarked", marked);
    if (handleID !== undefined && handleID !== id) {
      say("handleOther", `says that it is handle ${show(handleID)}`);
    }
    if ([...counts].some(([cidr, n]) => n > 0 && lost.has(cidr))) {
      check.good++;
      continue;
    }
    if (!has) {
      check.leaked.push({ id, revision });
      say("handleLeaked", "has no address in any block");
      continue;
    }
    check.good++;
    const { over, under, uncounted } = differences(counts, has, blocks);
    if (over.length > 0) say("handleOvercount", over.join("; "));
    if (under.length > 0) say("handleUndercount", under.join("; "));
    if (uncounted.length > 0) say("handleUncounted", uncounted.join("; "));
  }
  const missing = [...held.keys()].filter((id) => !known.has(id) && id !== WINDOWS_RESERVED);
  for (const id of missing) {
    const cidrs = [...held.get(id)!].map(([cidr, n]) => `${n} in ${cidr}`).join(", ");
    check.findings.push({
      kind: "handleMissing",
      subject: id,
      message: `handle ${id} has addresses (${cidrs}) and no record`,
    });
  }
  return { ...check, missing };
}

/** What the counts say too much and too little, and blocks of which they do not speak, in words. */
function differences(
  counts: ReadonlyMap<string, number>,
  has: ReadonlyMap<string, number>,
  blocks: ReadonlySet<string>,
): Record<"over" | "under" | "uncounted", string[]> {
  const [over, under, uncounted]: string[][] = [[], [], []];
  for (const cidr of new Set([...counts.keys(), ...has.keys()])) {
    const [counted, held] = [counts.get(cidr) ?? 0, has.get(cidr) ?? 0];
    const what = `counts ${counted} in ${cidr}, ${
      blocks.has(cidr) ? `where it has ${held}` : "a block that is not there"
    }`;
    if (counted > held) over.push(what);
    // A release looks into all blocks that the record names, whatever it counts there.
    if (!counts.has(cidr)) uncounted.push(`says nothing of ${cidr}, where it has ${held}`);
    else if (counted < held) under.push(what);
  }
  return { over, under, uncounted };
}

function heldByHandle(allocations: readonly Allocation[]): Map<string, Map<string, number>> {
  const held = new Map<string, Map<string, number>>();
  for (const { handle, block } of allocations) {
    if (!handle) continue;
    const cidrs = held.get(handle) ?? new Map<string, number>();
    held.set(handle, cidrs);
    const cidr = formatPrefix(block);
    cidrs.set(cidr, (cidrs.get(cidr) ?? 0) + 1);
  }
  return held;
}

/** undefined where the record is none. */
export function countsOf(value: unknown): Map<string, number> | undefined {
  const block = (value as { block?: unknown } | null)?.block;
  if (typeof block !== "object" || block === null || Array.isArray(block)) return undefined;
  const counts = new Map<string, number>();
  for (const [cidr, count] of Object.entries(block)) {
    if (!Number.isInteger(count)) return undefined;
    const prefix = parseStrictPrefix(cidr);
    counts.set(prefix ? formatPrefix(prefix) : cidr, count);
  }
  return counts;
}
