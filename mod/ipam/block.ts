/**
 * One block of addresses as Calico's JSON, and everything that can happen to it, as pure functions
 * from block to block. Nothing here changes its argument.
 *
 * `allocations[o]` is an index into `attributes`, or null where ordinal o is free; the free ordinals
 * stand in `unallocated`, which is a queue: taken at the head, given back at the tail, so that an
 * address is used again as late as possible. Allocations with the same handle and attributes share
 * one attribute. `sequenceNumber` grows by one with every write (`written`); an allocation keeps the
 * number that the block had when it was made.
 *
 * After Calico's libcalico-go/lib/ipam/ipam_block.go and lib/backend/model/block.go; the bytes are
 * those of v3.32 (v3.33's cooling down, `releasedAt`, is read, and written where it is configured).
 */
import { addressBits, formatPrefix, parseStrictPrefix, type Prefix } from "../net/mod.ts";
import type { AllocationAttribute, AllocationBlock } from "../model/ipam_block.ts";
import { type AffinityOwner, formatAffinity, parseAffinity } from "../model/keys.ts";
import { type Holder, IpamError } from "./errors.ts";
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
  const bad = (why: string) =>
    new IpamError("badRecord", `the stored IPAM block ${formatPrefix(prefix)} is damaged: ${why}`);
  if (typeof value !== "object" || value === null) throw bad("it is not an object");
  const raw = value as Partial<AllocationBlock>;
  const cidr = typeof raw.cidr === "string" ? parseStrictPrefix(raw.cidr) : undefined;
  if (!cidr || formatPrefix(cidr) !== formatPrefix(prefix)) throw bad(`its cidr is ${raw.cidr}`);
  const size = blockSizeOf(prefix);
  if (!Array.isArray(raw.allocations) || raw.allocations.length !== size) {
    throw bad(`it does not have ${size} allocations`);
  }
  let attributes: AllocationAttribute[] = Array.isArray(raw.attributes) ? raw.attributes : [];
  const known = attributes.length;
  const allocations = raw.allocations.map((index) => {
    if (index === null || index === undefined) return null;
    if (Number.isInteger(index) && index >= 0 && index < known) return index;
    if (attributes.length === known) attributes = [...attributes, {}];
    return known;
  });
  return {
    ...raw,
    cidr: formatPrefix(prefix),
    affinity: raw.affinity ?? (raw.hostAffinity ? `host:${raw.hostAffinity}` : null),
    hostAffinity: undefined,
    allocations,
    unallocated: soundQueue(raw.unallocated, allocations),
    attributes,
    sequenceNumber: BigInt(raw.sequenceNumber ?? 0),
    sequenceNumberForAllocation: raw.sequenceNumberForAllocation ?? {},
    deleted: raw.deleted ?? false,
  };
}

/** The queue as it is where it holds every free ordinal once, else mended, its order kept. */
function soundQueue(queue: unknown, allocations: (number | null)[]): number[] {
  const seen = new Set<number>();
  for (const ordinal of Array.isArray(queue) ? queue : []) {
    if (allocations[ordinal] === null) seen.add(ordinal);
  }
  allocations.forEach((index, ordinal) => index === null && seen.add(ordinal));
  return [...seen];
}

/** The value to store: members in Calico's order, the number one higher. */
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
    deleted,
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
    deleted,
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

function handleOf(attribute: AllocationAttribute): string | undefined {
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
  return attribute.releasedAt ? undefined : attribute;
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
  const mine = block.attributes.map((a) => !a.releasedAt && handleOf(a) === handle);
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

/** Who an allocation is for. */
export interface Claimant {
  readonly handle?: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

/** Takes up to `count` addresses from the head of the queue; reserved ones keep their place there. */
export function take(
  block: AllocationBlock,
  count: number,
  claimant: Claimant,
  reserved: Reserved = nothingReserved,
): { block: AllocationBlock; ordinals: number[] } {
  const ordinals: number[] = [];
  const left: number[] = [];
  for (const ordinal of block.unallocated) {
    if (ordinals.length < count && !reserved(ordinal)) ordinals.push(ordinal);
    else left.push(ordinal);
  }
  if (ordinals.length === 0) return { block, ordinals };
  return { block: allocate(block, ordinals, left, claimant), ordinals };
}

/** Takes one certain address; the holder where somebody has it. */
export function takeOrdinal(
  block: AllocationBlock,
  ordinal: number,
  claimant: Claimant,
): { block: AllocationBlock } | { holder: Holder } {
  if (block.allocations[ordinal] !== null) {
    return { holder: holderOf(block, ordinal) ?? { attributes: { note: "cooling down" } } };
  }
  const left = block.unallocated.filter((o) => o !== ordinal);
  return { block: allocate(block, [ordinal], left, claimant) };
}

function allocate(
  block: AllocationBlock,
  ordinals: readonly number[],
  unallocated: number[],
  claimant: Claimant,
): AllocationBlock {
  const { attributes, index } = shareAttribute(block.attributes, attributeFor(claimant));
  const allocations = block.allocations.slice();
  const sequence = { ...block.sequenceNumberForAllocation };
  for (const ordinal of ordinals) {
    allocations[ordinal] = index;
    sequence[String(ordinal)] = block.sequenceNumber;
  }
  return { ...block, allocations, unallocated, attributes, sequenceNumberForAllocation: sequence };
}

function attributeFor({ handle, attributes = {} }: Claimant): AllocationAttribute {
  // Go writes a map with its keys sorted, and leaves an empty one out.
  const names = Object.keys(attributes).sort();
  return {
    ...(handle !== undefined && { handle_id: handle }),
    ...(names.length > 0 && {
      secondary: Object.fromEntries(names.map((name) => [name, attributes[name]])),
    }),
  };
}

function shareAttribute(
  attributes: AllocationAttribute[],
  wanted: AllocationAttribute,
): { attributes: AllocationAttribute[]; index: number } {
  const index = attributes.findIndex((a) => sameAttribute(a, wanted));
  if (index >= 0) return { attributes, index };
  return { attributes: [...attributes, wanted], index: attributes.length };
}

function sameAttribute(a: AllocationAttribute, b: AllocationAttribute): boolean {
  if ((a.handle_id ?? undefined) !== (b.handle_id ?? undefined)) return false;
  if (a.releasedAt || b.releasedAt || a.alternateOwnerAttrs || b.alternateOwnerAttrs) return false;
  const [x, y] = [a.secondary ?? {}, b.secondary ?? {}];
  const names = Object.keys(x);
  return names.length === Object.keys(y).length && names.every((name) => x[name] === y[name]);
}

/** One address to give back; handle and number, where given, must be the allocation's. */
export interface Return {
  readonly ordinal: number;
  readonly handle?: string;
  readonly sequenceNumber?: bigint;
}

/** Configured by IPAMConfiguration.ipCooldownSeconds: 0 frees at once. */
export interface Cooldown {
  readonly seconds: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface Returned {
  readonly block: AllocationBlock;
  readonly ordinals: readonly number[];
  /** Asked for, but free already. */
  readonly unallocated: readonly number[];
}

/** A return that names another handle or number than the allocation has. */
export interface Mismatch {
  readonly ordinal: number;
  readonly what: "handle" | "sequenceNumber";
  readonly expected: string;
}

/** Gives addresses back. One mismatch refuses all: whoever asks knows the past only. */
export function giveBack(
  block: AllocationBlock,
  returns: readonly Return[],
  cooldown: Cooldown,
): Returned | { mismatch: Mismatch } {
  const ordinals = new Set<number>();
  const unallocated = new Set<number>();
  for (const { ordinal, handle, sequenceNumber } of returns) {
    const attribute = attributeOf(block, ordinal);
    if (!attribute) {
      unallocated.add(ordinal);
      continue;
    }
    const number = sequenceOf(block, ordinal);
    if (sequenceNumber !== undefined && sequenceNumber !== number) {
      return { mismatch: { ordinal, what: "sequenceNumber", expected: String(number) } };
    }
    const holder = handleOf(attribute) ?? "";
    if (handle !== undefined && cleanHandle(handle) !== holder) {
      return { mismatch: { ordinal, what: "handle", expected: holder } };
    }
    ordinals.add(ordinal);
  }
  const freed = free(block, [...ordinals], cooldown);
  const sequence = { ...freed.sequenceNumberForAllocation };
  for (const ordinal of ordinals) {
    if (cooldown.seconds > 0) sequence[String(ordinal)] = block.sequenceNumber;
    else delete sequence[String(ordinal)];
  }
  return {
    block: { ...freed, sequenceNumberForAllocation: sequence },
    ordinals: [...ordinals],
    unallocated: [...unallocated],
  };
}

/**
 * Gives back all that a handle has, in the order of ordinals. Their sequence numbers stay in the
 * block, as Calico 3.32 leaves them: a free ordinal's number means nothing.
 */
export function giveBackHandle(
  block: AllocationBlock,
  handle: string,
  cooldown: Cooldown,
): Returned {
  const ordinals = ordinalsOf(block, handle);
  return { block: free(block, ordinals, cooldown), ordinals, unallocated: [] };
}

function free(
  block: AllocationBlock,
  ordinals: readonly number[],
  cooldown: Cooldown,
): AllocationBlock {
  if (ordinals.length === 0) return block;
  const allocations = block.allocations.slice();
  if (cooldown.seconds > 0) {
    const cooling: AllocationAttribute = { releasedAt: rfc3339(cooldown.now) };
    for (const ordinal of ordinals) allocations[ordinal] = block.attributes.length;
    return packed({ ...block, allocations, attributes: [...block.attributes, cooling] });
  }
  for (const ordinal of ordinals) allocations[ordinal] = null;
  return packed({ ...block, allocations, unallocated: [...block.unallocated, ...ordinals] });
}

/** Drops attributes that nothing refers to any more. */
function packed(block: AllocationBlock): AllocationBlock {
  const used = new Set(block.allocations);
  if (block.attributes.every((_, index) => used.has(index))) return block;
  const moved = new Map<number | null, number>();
  const attributes = block.attributes.filter((_, index) => {
    if (used.has(index)) moved.set(index, moved.size);
    return used.has(index);
  });
  const allocations = block.allocations.map((index) => moved.get(index) ?? null);
  return { ...block, attributes, allocations };
}

/** Frees what has cooled down, in the order of ordinals; the same block where there is nothing. */
export function collectCooled(block: AllocationBlock, cooldown: Cooldown): AllocationBlock {
  const before = cooldown.now - cooldown.seconds * 1000;
  // A time that cannot be read counts as long ago.
  const cooled = block.attributes.map((a) =>
    !!a.releasedAt && !(Date.parse(a.releasedAt) > before)
  );
  if (!cooled.includes(true)) return block;
  const freed = block.allocations.flatMap((index, o) => index !== null && cooled[index] ? [o] : []);
  const sequence = { ...block.sequenceNumberForAllocation };
  for (const ordinal of freed) delete sequence[String(ordinal)];
  return packed({
    ...block,
    allocations: block.allocations.map((index) => index !== null && cooled[index] ? null : index),
    unallocated: [...block.unallocated, ...freed],
    sequenceNumberForAllocation: sequence,
  });
}
