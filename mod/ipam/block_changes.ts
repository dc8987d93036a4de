/**
 * What can happen to a block, as pure functions from block to block: addresses are taken and given
 * back, and cool down between. Nothing here changes its argument.
 *
 * After Calico's libcalico-go/lib/ipam/ipam_block.go. Released addresses are free at once, as in
 * v3.32; where IPAMConfiguration says so they cool down first, as in v3.33 (`cooling.ts`).
 */
import type { AllocationAttribute, AllocationBlock } from "../model/ipam_block.ts";
import {
  attributeOf,
  cleanHandle,
  handleOf,
  holderOf,
  nothingReserved,
  ordinalsOf,
  type Reserved,
  sequenceOf,
} from "./block.ts";
import { type Cooldown, coolingMark, coolingSince, cools } from "./cooling.ts";
import type { Holder } from "./errors.ts";
import { isWithin, rfc3339 } from "./time.ts";

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

/** Takes one certain address; the holder where somebody has it, or where it cools down. */
export function takeOrdinal(
  block: AllocationBlock,
  ordinal: number,
  claimant: Claimant,
  { seconds }: Pick<Cooldown, "seconds"> = { seconds: 0 },
): { block: AllocationBlock } | { holder: Holder } {
  if (block.allocations[ordinal] !== null) {
    const coolsUntil = coolingUntil(block, ordinal, seconds);
    return { holder: holderOf(block, ordinal) ?? { attributes: {}, coolsUntil } };
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

/**
 * Gives an allocation other attributes. It counts as made anew: whoever decided something on the number
 * that it had is refused.
 */
export function reattribute(
  block: AllocationBlock,
  ordinal: number,
  claimant: Claimant,
): AllocationBlock {
  const { attributes, index } = shareAttribute(block.attributes, attributeFor(claimant));
  const allocations = block.allocations.slice();
  allocations[ordinal] = index;
  const sequence = {
    ...block.sequenceNumberForAllocation,
    [String(ordinal)]: block.sequenceNumber,
  };
  return packed({
    ...block,
    allocations,
    attributes,
    sequenceNumberForAllocation: sequence,
  });
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
  if (coolingSince(a) || coolingSince(b) || a.alternateOwnerAttrs || b.alternateOwnerAttrs) {
    return false;
  }
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
    if (cools(block, cooldown)) sequence[String(ordinal)] = block.sequenceNumber;
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
  if (cools(block, cooldown)) {
    for (const ordinal of ordinals) allocations[ordinal] = block.attributes.length;
    const attributes = [...block.attributes, coolingMark(cooldown.now)];
    return packed({ ...block, allocations, attributes });
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

/** Until when a released address is kept back; undefined where it is somebody's, or free. */
export function coolingUntil(
  block: AllocationBlock,
  ordinal: number,
  seconds: number,
): string | undefined {
  const index = block.allocations[ordinal];
  const said = index === null ? undefined : coolingSince(block.attributes[index] ?? {});
  if (said === undefined) return undefined;
  const since = Date.parse(said);
  return Number.isNaN(since) ? undefined : rfc3339(since + seconds * 1000);
}

/** Frees what has cooled down, in the order of ordinals; the same block where there is nothing. */
export function collectCooled(block: AllocationBlock, cooldown: Cooldown): AllocationBlock {
  // A time that cannot be read, or has not come yet, counts as long ago.
  const { seconds, now } = cooldown;
  const cooled = block.attributes.map((attribute) => {
    const since = coolingSince(attribute);
    return since !== undefined &&
      !(seconds > 0 && isWithin(seconds * 1000, Date.parse(since), now));
  });
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
