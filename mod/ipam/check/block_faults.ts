/** What can be wrong with one block by itself. The stored value is looked at, not what reading mends. */
import { show } from "../../model/show.ts";
import { formatPrefix, type Prefix } from "../../net/mod.ts";
import type { AllocationAttribute, AllocationBlock } from "../../model/ipam_block.ts";
import { deletionMark, isEmpty, isSequenceNumber, isTexts, readBlock } from "../block.ts";
import { isJsonObject } from "../../store/json.ts";
import { coolingSince } from "../cooling.ts";
import { isDamage } from "../damage.ts";
import type { IpamError } from "../errors.ts";
import type { Finding, FindingKind } from "./finding.ts";

/** Clocks of two machines may differ by so much without anybody's fault. */
const CLOCKS_DIFFER_MS = 3_600_000;

export function brokenBlock(prefix: Prefix, key: string, why: string): Finding {
  const cidr = formatPrefix(prefix);
  const message = `block ${cidr} (${key}) cannot be read: ${why}`;
  return { kind: "blockBroken", subject: cidr, message, key };
}

/** The block as IPAM reads it, where it can, and its faults. */
export function examineBlock(
  prefix: Prefix,
  key: string,
  value: unknown,
  now: number,
): { block?: AllocationBlock; findings: Finding[] } {
  const cidr = formatPrefix(prefix);
  let block: AllocationBlock;
  try {
    block = readBlock(value, prefix);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { findings: [{ kind: "blockBroken", subject: cidr, message: whatOf(error), key }] };
  }
  const raw = value as AllocationBlock;
  const findings: Finding[] = [];
  const say = (kind: FindingKind, what: string) =>
    findings.push({ kind, subject: cidr, message: `${cidr} ${what}` });
  const queue = queueFault(raw);
  if (queue) say("freeQueue", queue);
  for (const fault of attributeFaults(raw)) say(...fault);
  const sequence = sequenceFault(raw);
  if (sequence) say("sequence", sequence);
  const cooling = coolingFault(attributesOf(raw), now);
  if (cooling) say("coolingTime", cooling);
  const claimed = claimFault(raw, now);
  if (claimed) say("claimTime", claimed);
  const marked = markFault(raw);
  if (marked) say("halfDeleted", marked);
  if (!block.affinity && isEmpty(block)) say("blockOrphan", "has no owner and no addresses in use");
  return { block, findings };
}

/** Every free ordinal stands in the queue once, and nothing else does. */
function queueFault({ allocations, unallocated }: AllocationBlock): string | undefined {
  if (!Array.isArray(unallocated)) return "has no queue of free addresses";
  const counts = new Map<number, number>();
  // As it stands in the record, whatever whoever wrote it has put there.
  const isOrdinal = (o: unknown) => Number.isInteger(o) && (o as number) in allocations;
  for (const ordinal of unallocated) counts.set(ordinal, (counts.get(ordinal) ?? 0) + 1);
  const strange = [...counts.keys()].filter((o) => !isOrdinal(o));
  const taken = [...counts.keys()].filter((o) => isOrdinal(o) && allocations[o] !== null);
  const double = [...counts].filter(([, n]) => n > 1).map(([o]) => o);
  const lost = [...allocations.keys()].filter((o) => allocations[o] === null && !counts.has(o));
  const faults = [
    taken.length > 0 && `offers ${ordinals(taken)}, which are taken`,
    lost.length > 0 && `never offers ${ordinals(lost)}, which are free`,
    double.length > 0 && `offers ${ordinals(double)} more than once`,
    strange.length > 0 && `offers ${ordinals(strange)}, which it does not have`,
  ].filter((fault) => fault !== false);
  return faults.length > 0
    ? `has a wrong queue of free addresses: it ${faults.join("; it ")}`
    : undefined;
}

/** Without what helps, which is said otherwise here. */
function whatOf({ message }: IpamError): string {
  return message.split("; ").slice(0, -1).join("; ");
}

function attributesOf({ attributes }: AllocationBlock): AllocationAttribute[] {
  return Array.isArray(attributes) ? attributes : [];
}

function attributeFaults(block: AllocationBlock): [FindingKind, string][] {
  const { allocations } = block;
  const attributes = attributesOf(block);
  const count = attributes.length;
  const referred = new Set(allocations);
  const faults: [FindingKind, string][] = [];
  const missing = [...allocations.keys()].filter((o) => {
    const index = allocations[o];
    return index !== null && index !== undefined &&
      !(Number.isInteger(index) && index >= 0 && index < count);
  });
  if (missing.length > 0) {
    faults.push([
      "attributeMissing",
      `gave ${ordinals(missing)} to an attribute that is not there`,
    ]);
  }
  const broken = [...Array(count).keys()].filter((index) => !isAttribute(attributes[index]));
  if (broken.length > 0) {
    faults.push(["attributeMissing", `has attributes that say nothing: ${broken.join(", ")}`]);
  }
  const vague = attributes.flatMap((one, index) =>
    isAttribute(one) && !isTexts(one.secondary) ? [index] : []
  );
  if (vague.length > 0) {
    faults.push(["attributeBroken", `has attributes with other than texts: ${vague.join(", ")}`]);
  }
  const unused = [...Array(count).keys()].filter((index) => !referred.has(index));
  if (unused.length > 0) {
    faults.push([
      "attributeUnused",
      `has attributes that no address refers to: ${unused.join(", ")}`,
    ]);
  }
  return faults;
}

function isAttribute(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { handle_id: handle, secondary } = value as AllocationAttribute;
  const named = handle === undefined || handle === null || typeof handle === "string";
  const said = secondary === undefined || secondary === null || typeof secondary === "object";
  return named && said;
}

/** An allocation cannot be younger than the block. Blocks of old versions have no numbers at all. */
function sequenceFault(block: AllocationBlock): string | undefined {
  const { allocations, sequenceNumber, sequenceNumberForAllocation: numbers = {} } = block;
  if (numbers !== null && !isJsonObject(numbers)) {
    return `has ${show(numbers)} for the numbers of its allocations`;
  }
  const wrong = Object.entries(numbers ?? {}).filter(([ordinal, number]) =>
    !(Number(ordinal) in allocations) || !isSequenceNumber(number) ||
    BigInt(number) > BigInt(sequenceNumber ?? 0)
  );
  if (wrong.length === 0) return undefined;
  return `is at number ${sequenceNumber}, and has numbers of allocations that cannot be: ` +
    wrong.map(([ordinal, number]) => `${ordinal} at ${show(number)}`).join(", ");
}

function coolingFault(attributes: AllocationAttribute[], now: number): string | undefined {
  const since = attributes.filter(isAttribute).flatMap((one) => coolingSince(one) ?? []);
  const wrong = since.filter((time) => !(Date.parse(String(time)) <= now + CLOCKS_DIFFER_MS));
  return wrong.length > 0
    ? `has addresses that cool down since a time that cannot be: ${wrong.join(", ")}`
    : undefined;
}

function claimFault(
  { affinity_claim_time: time }: AllocationBlock,
  now: number,
): string | undefined {
  if (time === undefined || time === null) return undefined;
  if (typeof time === "string" && Date.parse(time) <= now + CLOCKS_DIFFER_MS) return undefined;
  return `was claimed at a time that cannot be: ${show(time)}`;
}

function ordinals(list: readonly number[]): string {
  const shown = list.slice(0, 8).map((o) => show(o)).join(", ");
  const more = list.length > 8 ? ` and ${list.length - 8} more` : "";
  return `ordinal${list.length === 1 ? "" : "s"} ${shown}${more}`;
}

/** Of Calico's mark of a deletion under way, which some old records have as a text. */
export function markFault(value: unknown): string | undefined {
  const { deleted } = (value ?? {}) as { deleted?: unknown };
  switch (deletionMark(deleted)) {
    case "none":
      return undefined;
    case "deleted":
      return "is marked as deleted";
    case "strange":
      return `has ${show(deleted)} for the mark of a deletion, which is none`;
  }
}
