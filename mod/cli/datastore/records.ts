/**
 * The last part of an export: IPAM's records as `{Key, Value, TTL}`, and what tortie adds. Every record is
 * judged before any is written, and a member that nobody knows is a fault: it is a slip in the name of one that
 * is known, or something that would be lost.
 */
import { nearest } from "../../model/nearest.ts";
import { show } from "../../model/show.ts";
import { isJsonObject } from "../../store/json.ts";
import type { SourceObject } from "../documents.ts";
import { noRecords, type Part, partOfKey, recordValue } from "./content.ts";
import { recordFault } from "./record_fault.ts";

/** Members of the last part. */
export const IPAM_MEMBERS: readonly (readonly [Part, string])[] = [
  ["affinities", "block_affinities"],
  ["blocks", "blocks"],
  ["handles", "handles"],
];

interface KeyValue {
  Key?: unknown;
  Value?: unknown;
}

/** The records of the last part, and objects that only an export of tortie has; faults are added. */
export function readRecords(value: Record<string, unknown>, name: string, faults: string[]) {
  const records = noRecords();
  const keys = new Set<string>();
  const take = (part: Part, pair: KeyValue | null, where: string) => {
    const key = pair?.Key;
    if (typeof key !== "string" || partOfKey(key) !== part) {
      faults.push(`${name}: ${where} is no such record: ${JSON.stringify(key) ?? "no Key"}`);
      return;
    }
    const fault = keys.has(key) ? "there are two of it" : recordFault(part, key, pair?.Value);
    keys.add(key);
    if (fault !== undefined) faults.push(`${name}: ${where} (${key}): ${fault}`);
    else records[part].push({ key, value: recordValue(part, pair?.Value) });
  };
  const known = [...IPAM_MEMBERS.map(([, member]) => member), "config", "tortie"];
  faults.push(...strangeMembers(value, known, name, ""));
  const own = value.tortie;
  if (own !== undefined && !isJsonObject(own)) faults.push(`${name}: tortie is ${show(own)}`);
  const ours: Record<string, unknown> = isJsonObject(own) ? own : {};
  faults.push(...strangeMembers(ours, ["resources", "entries"], name, "tortie."));
  const listOf = (value: unknown, member: string): unknown[] => {
    if (value === undefined) return [];
    if (Array.isArray(value)) return value;
    faults.push(`${name}: ${member} is ${show(value)}, and not a list`);
    return [];
  };
  for (const [part, member] of IPAM_MEMBERS) {
    listOf(value[member], member).forEach((pair, i) =>
      take(part, pair as KeyValue, `${member}[${i}]`)
    );
  }
  if (value.config !== undefined) take("config", value.config as KeyValue, "config");
  listOf(ours.entries, "tortie.entries").forEach((pair, i) =>
    take("kubernetes", pair as KeyValue, `tortie.entries[${i}]`)
  );
  const list = listOf(ours.resources, "tortie.resources");
  const more = list.map((object, i): SourceObject => {
    const where = `${name}: tortie.resources[${i}]`;
    return { value: object, where, at: () => where };
  });
  return { records, more };
}

/** What nobody here knows would be lost, and is mostly a slip in the name of what is known. */
function strangeMembers(
  object: Record<string, unknown>,
  known: readonly string[],
  name: string,
  above: string,
): string[] {
  return Object.keys(object).filter((member) => !known.includes(member)).map((member) => {
    const near = nearest(member, known);
    return `${name}: the part of IPAM has the unknown member ${above}${member}` +
      (near ? ` (did you mean ${near}?)` : "");
  });
}
