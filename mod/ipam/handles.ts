/**
 * Handles: how many addresses an owner has in which block, so that all can be found without looking
 * into every block. The rule is that a handle may over-count and never under-counts:
 *
 *     give:     read block -> count up in the handle (`reserve`) -> write block, or both at once (`counted`)
 *     take:     read handle -> write block (even where there is nothing to take) -> `settle`
 *
 * Both block writes are compare-and-swap. Whoever counted up before a taker read the handle has, at
 * the taker's block write, either written the block already (the taker sees it) or will fail to write
 * it; whoever counts up later makes the taker's `settle` fail. So a settled count is exact, whatever
 * ran between, and whatever crashed between leaves a count too high, which the next taker mends.
 *
 * The last known record of a handle is remembered, which saves a read; compare-and-swap finds out
 * where it is out of date, as long as the store has not gone back (`remembered.ts`).
 *
 * A damaged record counts what the blocks hold, and is made anew by the next write. (Whoever had counted
 * up in what it was, and has not written his block yet, is forgotten with it.) A block that is damaged
 * too may hold some of it: it is counted, so that it is not forgotten when somebody mends it.
 */
import { formatPrefix, type Prefix } from "../net/mod.ts";
import type { IpamHandle } from "../model/ipam_handle.ts";
import { blockPrefix, handleKey, parseBlockKey } from "../model/keys.ts";
import {
  type BrokenEntry,
  type Entry,
  type JointWrite,
  type Revision,
  type Store,
  StoreError,
} from "../store/store.ts";
import { cleanHandle, ordinalsOf, readBlock } from "./block.ts";
import { isBroken, isDamage, readRaw } from "./damage.ts";
import { tooManyRetries } from "./errors.ts";
import { Epoch, Remembered } from "./remembered.ts";

export const RETRIES = 100;
const REMEMBERED = 4096;

/** A handle's record. */
export interface HandleRecord {
  readonly id: string;
  /** Addresses by block CIDR. */
  readonly counts: Readonly<Record<string, number>>;
  readonly revision: Revision;
  /** At which it was asked for. */
  readonly epoch: number;
}

/** Addresses that are counted and not in the block yet. */
export interface Reservation {
  readonly record: HandleRecord;
  readonly block: string;
  readonly count: number;
}

export interface CountedWrite {
  readonly write: JointWrite;
  done(revision: Revision): void;
  /** What stands there is not known any more. */
  forget(): void;
}

export class Handles {
  readonly #recent: Remembered<HandleRecord>;

  constructor(readonly store: Store, readonly epoch = new Epoch(store)) {
    this.#recent = new Remembered(epoch, REMEMBERED);
  }

  /** undefined: there is no such handle. */
  async read(handle: string): Promise<HandleRecord | undefined> {
    const id = cleanHandle(handle);
    const epoch = this.epoch.now;
    const entry = await readRaw<IpamHandle>(this.store, handleKey(id));
    this.#recent.forget(id);
    if (!entry) return undefined;
    const counts = countsOf(entry) ?? await countInBlocks(this.store, id);
    return this.#keep({ id, counts, revision: entry.revision, epoch });
  }

  /** As it was last seen by this process, else as it is. */
  async recent(handle: string): Promise<HandleRecord | undefined> {
    return this.#recent.get(cleanHandle(handle)) ?? await this.read(handle);
  }

  /**
   * Counts `count` addresses of a block up. `previous` is an earlier reservation of the same caller
   * that came to nothing: it is used up.
   */
  async reserve(
    handle: string,
    block: Prefix,
    count: number,
    previous?: Reservation,
  ): Promise<Reservation> {
    const id = cleanHandle(handle);
    const cidr = formatPrefix(block);
    // A container's handle is new: try to create it first.
    let record = previous?.record ?? this.#recent.get(id);
    for (let i = 0; i < RETRIES; i++) {
      const counts = { ...record?.counts };
      // Ours are in the record only where nobody has touched it since.
      const isOurs = record?.revision === previous?.record.revision &&
        record?.epoch === previous?.record.epoch;
      if (previous && record && isOurs) {
        counts[previous.block] = (counts[previous.block] ?? 0) - previous.count;
      }
      counts[cidr] = (counts[cidr] ?? 0) + count;
      const next = await this.#write(id, positive(counts), record);
      if (next) return { record: next, block: cidr, count };
      record = await this.read(id);
    }
    throw tooManyRetries(`IPAM handle ${id}`);
  }

  /**
   * The write by which the last known record would count `count` addresses of a block more, and what to
   * remember when it was done together with the block's, at a revision of the handle's own.
   */
  counted(handle: string, block: Prefix, count: number): CountedWrite {
    const id = cleanHandle(handle);
    const cidr = formatPrefix(block);
    const before = this.#recent.get(id);
    const epoch = this.epoch.now;
    const counts = positive({ ...before?.counts, [cidr]: (before?.counts[cidr] ?? 0) + count });
    const what = { key: handleKey(id), value: { block: counts, deleted: false } };
    return {
      write: before
        ? { op: "update", ...what, revision: before.revision }
        : { op: "create", ...what },
      done: (revision) => void this.#keep({ id, counts, revision, epoch }),
      forget: () => this.#recent.forget(id),
    };
  }

  /** Counts a reservation down again where the handle was not touched since; else leaves it too high. */
  async cancel(reservation: Reservation): Promise<void> {
    const { record, block, count } = reservation;
    const counts = { ...record.counts, [block]: (record.counts[block] ?? 0) - count };
    await this.#write(record.id, positive(counts), record);
  }

  /**
   * Sets the counts of blocks that the taker has written since it read `record`; 0 leaves a block
   * out, and a handle without blocks is deleted. False where the handle was changed since: then the
   * taker begins anew.
   */
  async settle(record: HandleRecord, counts: Readonly<Record<string, number>>): Promise<boolean> {
    return await this.#write(record.id, positive({ ...record.counts, ...counts }), record) !==
      undefined;
  }

  /** undefined where the record is not at `before`'s revision any more, or may be another's by now. */
  async #write(
    id: string,
    counts: Record<string, number>,
    before: HandleRecord | undefined,
  ): Promise<HandleRecord | undefined> {
    const key = handleKey(id);
    const value: IpamHandle = { block: counts, deleted: false };
    const epoch = this.epoch.now;
    this.#recent.forget(id);
    if (before && before.epoch !== epoch) return undefined;
    try {
      if (Object.keys(counts).length === 0) {
        if (before) await this.store.delete(key, before.revision);
        return { id, counts, revision: "", epoch };
      }
      const revision = before
        ? await this.store.update(key, value, before.revision)
        : await this.store.create(key, value);
      return this.#keep({ id, counts, revision, epoch });
    } catch (error) {
      if (!isRaced(error)) throw error;
      return undefined;
    }
  }

  #keep(record: HandleRecord): HandleRecord {
    this.#recent.keep(record.id, record, record.epoch);
    return record;
  }
}

/** undefined where the record is damaged. */
function countsOf(entry: Entry<IpamHandle> | BrokenEntry): Record<string, number> | undefined {
  if (isBroken(entry)) return undefined;
  const counts: unknown = (entry.value as Partial<IpamHandle> | null)?.block;
  if (typeof counts !== "object" || counts === null || Array.isArray(counts)) return undefined;
  const sound = Object.values(counts).every((count) => Number.isInteger(count));
  return sound ? counts as Record<string, number> : undefined;
}

/** What is counted in a block that cannot be read: whoever releases looks into each that is named. */
const PERHAPS = 1;

/** By block CIDR, what the handle has in blocks, or may have. */
async function countInBlocks(store: Store, id: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const family of [4, 6] as const) {
    const { entries, broken = [] } = await store.list(blockPrefix(family));
    for (const { key } of broken) {
      const prefix = parseBlockKey(key);
      if (prefix) counts[formatPrefix(prefix)] = PERHAPS;
    }
    for (const { key, value } of entries) {
      const prefix = parseBlockKey(key);
      if (!prefix) continue;
      try {
        const count = ordinalsOf(readBlock(value, prefix), id).length;
        if (count > 0) counts[formatPrefix(prefix)] = count;
      } catch (error) {
        if (!isDamage(error)) throw error;
        counts[formatPrefix(prefix)] = PERHAPS;
      }
    }
  }
  return counts;
}

/** Whether a write failed because another was first. */
export function isRaced(error: unknown): boolean {
  return error instanceof StoreError &&
    (error.kind === "exists" || error.kind === "conflict" || error.kind === "notFound");
}

/** Blocks with addresses, sorted as Go sorts the keys of a map. */
function positive(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(
    Object.keys(counts).filter((cidr) => counts[cidr] > 0).sort().map((c) => [c, counts[c]]),
  );
}
