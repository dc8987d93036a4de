/**
 * One block of addresses as Calico's JSON: how it is made, read, written, and what it says. What can
 * happen to it stands in `block_changes.ts`.
 *
 * `allocations[o]` is an index into `attributes`, or null where ordinal o is free; the free ordinals
 * stand in `unallocated`, which is a queue: taken at the head, given back at the tail, so that an
 * address is used again as late as possible. Allocations with the same handle and attributes share
 * one attribute. `sequenceNumber` grows by one with every write (`written`); an allocation keeps the
 * number that the block had when it was made.
 *
 * After Calico's libcalico-go/lib/backend/model/block.go; the bytes are those of v3.32.
 */
import { addressBits, formatPrefix, parseStrictPrefix, type Prefix } from "../net/mod.ts";
import type { AllocationAttribute, AllocationBlock } from "../model/ipam_block.ts";
import { type AffinityOwner, formatAffinity, parseAffinity } from "../model/keys.ts";
import { isJsonObject } from "../store/json.ts";
import { coolingSince } from "./cooling.ts";
import { damagedBlock } from "./damage.ts";
import type { Holder } from "./errors.ts";
import { nanoseconds, rfc3339 } from "./time.ts";

export type { AllocationAttribute, AllocationBlock } from "../model/ipam_block.ts";

/** The handle of addresses that Windows nodes keep for themselves: they never make a block used. */
const WINDOWS_HANDLE = "windows-reserved-ipam-handle";

/** Whether automatic assignment must leave an ordinal alone. */
export type Reserved = (ordinal: number) => boolean;

export const nothingReserved: Reserved = () => false;

/** Addresses in a block of this prefix. */
export function blockSizeOf(block: Prefix): number {
  return 2 ** (addressBits(block.ip.family) - block.length);
}

/** A new block of an owner, all free. `now` in milliseconds. */
export function newBlock(prefix: Prefix, owner: AffinityOwner, now: number): AllocationBlock {
  const size = blockSizeOf(prefix);
  return {
    cidr: formatPrefix(prefix),
    affinity: formatAffinity(owner),
    affinity_claim_time: rfc3339(now),
    allocations: new Array<null>(size).fill(null),
    unallocated: Array.from({ length: size }, (_, i) => i),
    attributes: [],
    // The time, so that a block which was deleted and made again does not repeat its numbers.
    sequenceNumber: nanoseconds(now),
    sequenceNumberForAllocation: {},
    deleted: false,
  };
}

/**
 * Reads a stored block. Old forms are brought to the present one; a free queue that contradicts the
 * allocations is made anew from them, so that no address that is somebody's can be handed out; an
 * allocation whose attribute is missing stays taken, by nobody known. IpamError "badRecord" where
 * it is no block of this CIDR at all.
 */
export function readBlock(value: unknown, prefix: Prefix): AllocationBlock {
  const { block, fault } = legibleBlock(value, prefix);
  if (fault !== undefined) throw damagedBlock(prefix, fault);
  return block!;
}

/**
 * The same, of a damaged block as far as it can be read: for who gives nothing of it, and only has to
 * know where its addresses are. Every member has its form, whatever stands in the store; nothing at all
 * is believed of what is no object, or of another CIDR than its key's.
 */
export function legibleBlock(
  value: unknown,
  prefix: Prefix,
): { block?: AllocationBlock; fault?: string } {
  if (!isJsonObject(value)) return { fault: "it is not an object" };
  const raw = value as Partial<AllocationBlock>;
  const cidr = typeof raw.cidr === "string" ? parseStrictPrefix(raw.cidr) : undefined;
  if (!cidr || formatPrefix(cidr) !== formatPrefix(prefix)) {
    return { fault: typeof raw.cidr === "string" ? `its cidr is ${raw.cidr}` : "it has no cidr" };
  }
  const earlier = isText(raw.hostAffinity) ? `host:${raw.hostAffinity}` : raw.hostAffinity;
  const owner: unknown = raw.affinity ?? (raw.hostAffinity ? earlier : null);
  const isOwner = owner === null || typeof owner === "string";
  const number = raw.sequenceNumber ?? 0;
  const size = blockSizeOf(prefix);
  const listed = Array.isArray(raw.allocations) ? raw.allocations : [];
  let attributes = (Array.isArray(raw.attributes) ? raw.attributes : []).map(readAttribute);
  const known = attributes.length;
  const allocations = listed.slice(0, size).map((index) => {
    if (index === null || index === undefined) return null;
    if (Number.isInteger(index) && index >= 0 && index < known) return index;
    if (attributes.length === known) attributes = [...attributes, {}];
    return known;
  });
  const block: AllocationBlock = {
    ...raw,
    cidr: formatPrefix(prefix),
    affinity: isOwner ? owner : null,
    hostAffinity: undefined,
    allocations,
    unallocated: soundQueue(raw.unallocated, allocations),
    attributes,
    sequenceNumber: isWhole(number) ? BigInt(number) : 0n,
    sequenceNumberForAllocation: readNumbers(raw.sequenceNumberForAllocation),
    deleted: raw.deleted ?? false,
  };
  const fault = !isOwner
    ? "its affinity is no text"
    : !isWhole(number)
    ? "its sequenceNumber is no whole number"
    : listed.length !== size
    ? `it does not have ${size} allocations`
    : undefined;
  return { block, ...(fault !== undefined && { fault }) };
}

export function isWhole(value: unknown): value is number | bigint {
  return typeof value === "bigint" || Number.isInteger(value);
}

/** The number of a block or an allocation: a uint64 at Calico's. */
export function isSequenceNumber(value: unknown): value is number | bigint {
  return isWhole(value) && value >= 0;
}

/** What is under `deleted` of a block, handle or affinity; a text in some old records. */
export function deletionMark(deleted: unknown): "none" | "deleted" | "strange" {
  if (deleted === undefined || deleted === null) return "none";
  if (deleted === false || deleted === "false") return "none";
  return deleted === true || deleted === "true" ? "deleted" : "strange";
}

/** What is no number says nothing of its allocation. */
function readNumbers(value: unknown): AllocationBlock["sequenceNumberForAllocation"] {
  if (!isJsonObject(value)) return {};
  const numbers = Object.entries(value);
  if (numbers.every(([, number]) => isSequenceNumber(number))) {
    return value as AllocationBlock["sequenceNumberForAllocation"];
  }
  return Object.fromEntries(
    numbers.filter(([, number]) => isSequenceNumber(number)),
  ) as AllocationBlock[
    "sequenceNumberForAllocation"
  ];
}

/** An attribute that is none says nothing about whose the address is. */
export function readAttribute(value: unknown): AllocationAttribute {
  if (!isJsonObject(value)) return {};
  const attribute = value as AllocationAttribute;
  const { handle_id: handle, secondary, releasedAt } = attribute;
  const sound = isText(handle) && isText(releasedAt) && isTexts(secondary);
  if (sound) return attribute;
  return {
    ...attribute,
    handle_id: isText(handle) ? handle : null,
    secondary: isTexts(secondary) ? secondary : undefined,
    releasedAt: isText(releasedAt) ? releasedAt : undefined,
  };
}

function isText(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

/** Texts by name, or nothing. */
export function isTexts(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return isJsonObject(value) && Object.values(value).every((text) => typeof text === "string");
}

/** The queue as it is where it holds every free ordinal once, else mended, its order kept. */
function soundQueue(queue: unknown, allocations: (number | null)[]): number[] {
  const seen = new Set<number>();
  for (const ordinal of Array.isArray(queue) ? queue : []) {
    if (Number.isInteger(ordinal) && allocations[ordinal] === null) seen.add(ordinal);
  }
  allocations.forEach((index, ordinal) => index === null && seen.add(ordinal));
  return [...seen];
}

/**
 * The value to store: members in Calico's order, the number one higher. Not marked as deleted: who had
 * marked it deletes at the revision of his mark, and fails.
 */
export function written(block: AllocationBlock): AllocationBlock {
  const {
    cidr,
    affinity,
    affinity_claim_time,
    allocations,
    unallocated,
    attributes,
    sequenceNumber,
    sequenceNumberForAllocation,
    deleted: _,
    ...others
  } = block;
  return {
    cidr,
    affinity: affinity ?? null,
    ...(affinity_claim_time && { affinity_claim_time }),
    allocations,
    unallocated,
    attributes,
    sequenceNumber: BigInt(sequenceNumber) + 1n,
    sequenceNumberForAllocation,
    deleted: false,
    ...others,
  };
}

export function ownerOf(block: AllocationBlock): AffinityOwner | undefined {
  return parseAffinity(block.affinity);
}

export function isOwnedBy(block: AllocationBlock, owner: AffinityOwner): boolean {
  return block.affinity === formatAffinity(owner);
}

export function withoutOwner(block: AllocationBlock): AllocationBlock {
  return { ...block, affinity: null, affinity_claim_time: undefined };
}

/** Some handles were once stored with a carriage return and rubbish behind it (cni-plugin #821). */
export function cleanHandle(handle: string): string {
  const end = handle.indexOf("\r");
  return end < 0 ? handle : handle.slice(0, end);
}

/** The handle of an attribute, cleaned. */
export function handleOf(attribute: AllocationAttribute): string | undefined {
  return attribute.handle_id ? cleanHandle(attribute.handle_id) : undefined;
}

/** The attribute of an ordinal that somebody has; undefined where it is free or cooling down. */
export function attributeOf(
  block: AllocationBlock,
  ordinal: number,
): AllocationAttribute | undefined {
  const index = block.allocations[ordinal];
  if (index === null || index === undefined) return undefined;
  const attribute = block.attributes[index];
  return coolingSince(attribute) === undefined ? attribute : undefined;
}

export function holderOf(block: AllocationBlock, ordinal: number): Holder | undefined {
  const attribute = attributeOf(block, ordinal);
  return attribute && { handle: handleOf(attribute), attributes: attribute.secondary ?? {} };
}

/** Number of the allocation; 0 where it has none. */
export function sequenceOf(block: AllocationBlock, ordinal: number): bigint {
  return BigInt(block.sequenceNumberForAllocation[String(ordinal)] ?? 0);
}

/** Ordinals that the handle has, ascending. */
export function ordinalsOf(block: AllocationBlock, handle: string): number[] {
  const mine = block.attributes.map((a) => coolingSince(a) === undefined && handleOf(a) === handle);
  if (!mine.includes(true)) return [];
  const ordinals: number[] = [];
  block.allocations.forEach((index, ordinal) => {
    if (index !== null && mine[index]) ordinals.push(ordinal);
  });
  return ordinals;
}

/** Whether nobody has an address of it (what Windows keeps for itself does not count). */
export function isEmpty(block: AllocationBlock): boolean {
  const used = block.attributes.map((a) => a.handle_id?.toLowerCase() !== WINDOWS_HANDLE);
  return !block.allocations.some((index) => index !== null && used[index]);
}

/** Addresses that automatic assignment can still give. */
export function freeCount(block: AllocationBlock, reserved: Reserved = nothingReserved): number {
  if (reserved === nothingReserved) return block.unallocated.length;
  return block.unallocated.filter((ordinal) => !reserved(ordinal)).length;
}
