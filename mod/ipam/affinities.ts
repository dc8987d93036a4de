/**
 * Which node owns which block. Two records say so: the affinity under the node's name and the block
 * itself; a node owns a block only where the block says so, and routes it only where the affinity is
 * confirmed. Every step can be the last before a crash, and the next who comes goes on from there:
 *
 *     claim      affinity pending -> block created (or touched) -> nothing overlaps -> confirmed
 *     release    affinity pendingDeletion -> block deleted, or made nobody's -> affinity deleted
 *
 * "Nothing overlaps" is what keeps blocks of different sizes apart, which have different keys and so
 * never meet in a compare-and-swap: whoever has created a block lists all blocks before he gives the
 * first address, and gives the block up where he sees another that overlaps. Of two who create at the
 * same time at least one sees the other. So addresses are given only from a block whose affinity is
 * confirmed, or of which the giver has himself seen, in a list made since, that nothing overlaps it. (A
 * list of the blocks that could: a store may have tens of thousands.)
 *
 * After Calico's ipam_block_reader_writer.go; the check for overlaps is ours.
 */
import { type Family, type Prefix, prefixesOverlap, samePrefix } from "../net/mod.ts";
import type { AffinityState, BlockAffinity } from "../model/block_affinity.ts";
import {
  affinitiesPrefix,
  affinityKey,
  type AffinityOwner,
  affinityPrefix,
  formatAffinity,
  parseAffinityKey,
} from "../model/keys.ts";
import type { BrokenEntry, Entry, Listing, Revision, Store } from "../store/store.ts";
import { deletionMark, isEmpty, isOwnedBy, newBlock, ownerOf, withoutOwner } from "./block.ts";
import { type BlockRecord, type BlockTable, isSameLife } from "./block_table.ts";
import { isBroken, readRaw } from "./damage.ts";
import { tooManyRetries } from "./errors.ts";
import { isRaced, RETRIES } from "./handles.ts";
import { Remembered } from "./remembered.ts";

export const LOAD_BALANCER: AffinityOwner = { type: "virtual", name: "load-balancer" };

/** An affinity as it was at a revision. */
export interface AffinityRecord {
  readonly owner: AffinityOwner;
  readonly block: Prefix;
  readonly state: AffinityState;
  readonly revision: Revision;
}

export type ClaimOutcome =
  | { readonly is: "claimed"; readonly record: BlockRecord }
  | { readonly is: "taken" } // another's block
  | { readonly is: "overlaps"; readonly others: readonly BlockRecord[] }
  | { readonly is: "gone" }; // the affinity was taken away while it was looked at

export type ReleaseOutcome = "released" | "notOwner" | "notEmpty" | "changed";

export interface ReleaseConditions {
  readonly mustBeEmpty?: boolean;
  /** The block must still have this number. */
  readonly sequenceNumber?: number | bigint;
}

export class Affinities {
  /** Blocks of which this process knows that they are sound, by affinity key: as first seen so. */
  readonly #sound: Remembered<BlockRecord>;

  constructor(
    readonly store: Store,
    readonly blocks: BlockTable,
    readonly now: () => number,
  ) {
    this.#sound = new Remembered(blocks.handles.epoch);
  }

  /** An owner's affinities of a family, in the order of keys. */
  async list(owner: AffinityOwner, family: Family): Promise<AffinityRecord[]> {
    return recordsOf(await this.store.list(affinityPrefix(owner, family)));
  }

  /** Everybody's affinities. */
  async listAll(): Promise<AffinityRecord[]> {
    const lists = await Promise.all(
      [affinitiesPrefix, affinityPrefix(LOAD_BALANCER)].map((prefix) => this.store.list(prefix)),
    );
    return lists.flatMap(recordsOf);
  }

  /** The block as it was when it was found sound; undefined where this process does not know. */
  proof(owner: AffinityOwner, block: Prefix): BlockRecord | undefined {
    return this.#sound.get(affinityKey(owner, block));
  }

  /** The proof was wrong: the block is gone, or another's. */
  forget(owner: AffinityOwner, block: Prefix): void {
    this.#sound.forget(affinityKey(owner, block));
  }

  /** Sound blocks that are the owner's, or were when they were last seen. */
  known(owner: AffinityOwner): BlockRecord[] {
    return [...this.#sound.values()]
      .map((proof) => this.blocks.known(proof.prefix) ?? proof)
      .filter(({ block }) => isOwnedBy(block, owner));
  }

  /** Makes the block the owner's, creating it where it is missing. */
  claim(owner: AffinityOwner, block: Prefix): Promise<ClaimOutcome> {
    return this.#load(owner, block, true);
  }

  /** The block of an affinity that is there; the affinity is confirmed, or deleted as stale. */
  load(owner: AffinityOwner, block: Prefix): Promise<ClaimOutcome> {
    return this.#load(owner, block, false);
  }

  async #load(owner: AffinityOwner, prefix: Prefix, make: boolean): Promise<ClaimOutcome> {
    const key = affinityKey(owner, prefix);
    for (let i = 0; i < RETRIES; i++) {
      // The block first: an affinity that is confirmed later vouches for it, or for no block at all.
      let record = await this.blocks.read(prefix);
      let affinity = recordOf(await readRaw(this.store, key));
      if (!affinity) {
        if (!make) return { is: "gone" };
        affinity = await this.#write(key, { owner, block: prefix, state: "pending", revision: "" });
        if (!affinity) continue;
      }
      if (record && !isOwnedBy(record.block, owner)) {
        await this.#delete(key, affinity.revision);
        return { is: "taken" };
      }
      if (record && isConfirmed(affinity.state)) return this.#claimed(key, record);
      // A new revision of both stops whoever is about to release them. One that is pending is left:
      // who releases it marks it first, and two who claim side by side must not stop each other.
      if (affinity.state !== "pending") {
        affinity = await this.#write(key, { ...affinity, state: "pending" });
        if (!affinity) continue;
      }
      record = record
        ? await this.blocks.update(record, record.block)
        : await this.blocks.create(prefix, newBlock(prefix, owner, this.now()));
      if (!record) continue;
      const others = await this.overlapping(prefix);
      if (others.length > 0 || this.damagedOver(prefix)) {
        // Deleted before the affinity, so that a crash between leaves something to go on from.
        if (isEmpty(record.block) && !await this.blocks.delete(record)) continue;
        await this.#delete(key, affinity.revision);
        return { is: "overlaps", others };
      }
      if (!await this.#write(key, { ...affinity, state: "confirmed" })) continue;
      this.blocks.remember(record);
      return this.#claimed(key, record);
    }
    throw tooManyRetries(`the affinity of ${formatAffinity(owner)}`);
  }

  #claimed(key: string, record: BlockRecord): ClaimOutcome {
    this.#sound.keep(key, record, record.epoch);
    return { is: "claimed", record };
  }

  /** Other blocks that overlap a network, as of now. */
  async overlapping(prefix: Prefix): Promise<BlockRecord[]> {
    const near = await this.blocks.listNear(prefix);
    return near.filter((r) => !samePrefix(r.prefix, prefix) && prefixesOverlap(r.prefix, prefix));
  }

  /** A damaged block that overlaps a network, as of the last list: nobody knows who is in it. */
  damagedOver(prefix: Prefix): Prefix | undefined {
    return this.blocks.damaged(prefix.ip.family)
      .find((other) => !samePrefix(other, prefix) && prefixesOverlap(other, prefix));
  }

  /** Whether addresses of a block that was just read may be given: as the head of this file says. */
  async isSound(record: BlockRecord): Promise<boolean> {
    const owner = ownerOf(record.block);
    if (owner) {
      const key = affinityKey(owner, record.prefix);
      const proof = this.#sound.get(key);
      if (proof && isSameLife(proof, record)) return true;
      const affinity = recordOf(await readRaw(this.store, key));
      if (affinity && isConfirmed(affinity.state)) {
        this.#sound.keep(key, record, record.epoch);
        return true;
      }
    }
    return (await this.overlapping(record.prefix)).length === 0 && !this.damagedOver(record.prefix);
  }

  /** Ends an owner's claim on a block: deletes it where it is empty, else makes it nobody's. */
  async release(
    owner: AffinityOwner,
    prefix: Prefix,
    conditions: ReleaseConditions = {},
  ): Promise<ReleaseOutcome> {
    const key = affinityKey(owner, prefix);
    /** What the affinity was before we marked it. */
    let before: AffinityState | undefined;
    for (let i = 0; i < RETRIES; i++) {
      let affinity = recordOf(await readRaw(this.store, key));
      const record = await this.blocks.read(prefix);
      this.#sound.forget(key);
      const keep = record && refusal(record, owner, conditions);
      if (keep === "notOwner") {
        if (affinity) await this.#delete(key, affinity.revision);
        return keep;
      }
      if (keep) {
        // The mark is taken off again: routes hang on a confirmed affinity.
        if (before !== undefined && affinity?.state === "pendingDeletion") {
          await this.#write(key, { ...affinity, state: before });
        }
        return keep;
      }
      if (affinity && record) {
        before ??= affinity.state;
        affinity = await this.#write(key, { ...affinity, state: "pendingDeletion" });
        if (!affinity) continue;
      }
      if (record) {
        const done = isEmpty(record.block)
          ? await this.blocks.delete(record)
          : await this.blocks.update(record, withoutOwner(record.block));
        if (!done) continue;
      }
      if (affinity && !await this.#delete(key, affinity.revision)) continue;
      return "released";
    }
    throw tooManyRetries(`the affinity of ${formatAffinity(owner)}`);
  }

  /** Ends whoever's claim on a block that is empty, and still as it was read. */
  async releaseEmpty(record: BlockRecord): Promise<boolean> {
    const owner = ownerOf(record.block);
    if (!owner) return await this.blocks.delete(record);
    const { sequenceNumber } = record.block;
    const conditions = { mustBeEmpty: true, sequenceNumber };
    return await this.release(owner, record.prefix, conditions) === "released";
  }

  /** undefined where another wrote first. An empty revision creates. */
  async #write(key: string, record: AffinityRecord): Promise<AffinityRecord | undefined> {
    const value: BlockAffinity = { state: record.state, deleted: false };
    try {
      const revision = record.revision === ""
        ? await this.store.create(key, value)
        : await this.store.update(key, value, record.revision);
      return { ...record, revision };
    } catch (error) {
      if (!isRaced(error)) throw error;
      return undefined;
    }
  }

  async #delete(key: string, revision: Revision): Promise<boolean> {
    this.#sound.forget(key);
    try {
      await this.store.delete(key, revision);
      return true;
    } catch (error) {
      if (!isRaced(error)) throw error;
      return false;
    }
  }
}

export function isConfirmed(state: AffinityState): boolean {
  return state === "confirmed" || state === "";
}

function refusal(
  { block }: BlockRecord,
  owner: AffinityOwner,
  { mustBeEmpty, sequenceNumber }: ReleaseConditions,
): Exclude<ReleaseOutcome, "released"> | undefined {
  if (sequenceNumber !== undefined && BigInt(sequenceNumber) !== BigInt(block.sequenceNumber)) {
    return "changed";
  }
  if (block.affinity && !isOwnedBy(block, owner)) return "notOwner";
  if (mustBeEmpty && !isEmpty(block)) return "notEmpty";
  return undefined;
}

/** By key, damaged ones among them: they are made anew like a claim that was cut off. */
function recordsOf({ entries, broken = [] }: Listing): AffinityRecord[] {
  const all: (Entry | BrokenEntry)[] = [...entries, ...broken];
  if (broken.length > 0) all.sort((a, b) => a.key < b.key ? -1 : 1);
  return all.flatMap((entry) => recordOf(entry) ?? []);
}

function recordOf(entry: Entry | BrokenEntry | undefined): AffinityRecord | undefined {
  const parsed = entry && parseAffinityKey(entry.key);
  if (!parsed) return undefined;
  const state = isBroken(entry) ? undefined : affinityState(entry.value);
  return { ...parsed, state: state ?? "pending", revision: entry.revision };
}

const STATES: readonly unknown[] = ["", "confirmed", "pending", "pendingDeletion"];

/**
 * undefined where the record is damaged. The oldest form has an empty value, and is confirmed. One that is
 * marked as deleted, or with a mark that is none, counts as pending, so that the next who needs it writes
 * it anew, without the mark.
 */
export function affinityState(value: unknown): AffinityState | undefined {
  if (value === "" || value === null || value === undefined) return "";
  if (typeof value !== "object" || Array.isArray(value)) return undefined;
  const { state = "", deleted } = value as { state?: AffinityState; deleted?: unknown };
  if (!STATES.includes(state)) return undefined;
  const isMarked = deletionMark(deleted) !== "none";
  return isMarked && isConfirmed(state) ? "pending" : state;
}
