/**
 * The blocks in the store: reading, creating, deleting, and changing them by compare-and-swap.
 *
 * Changes to one block are committed in groups. A change is a pure function from block to block; all
 * that are waiting when a commit begins are applied one after the other and written at once. So a
 * burst of a hundred pods on one node costs a few writes of its block, while each caller sees his own
 * simple call. Where another process was first, the block is read again and all are applied anew. A
 * datastore that can gets the handles and the block in one step, as long as nobody else writes them, and
 * with them what a caller wants beside his address (`Beside`).
 *
 * The last known copy of a block is remembered and changed without reading it first: the write's
 * revision decides whether it was still true. An answer that changes nothing (taken already, free
 * already) has no write to prove it, so it is only believed on a copy that was read for it, unless
 * the change calls itself a guess. Nor is a copy believed that is older than what a caller has seen
 * (`life`): another process may have written the block many times since we last dealt with it. Where the
 * store may have gone back in time, no copy from before is believed or written (`remembered.ts`).
 */
import { type Family, formatPrefix, type Prefix } from "../net/mod.ts";
import { blockKey, blockPrefix, parseBlockKey } from "../model/keys.ts";
import {
  type BrokenEntry,
  compareRevisions,
  type Entry,
  type JointWrite,
  MOST_TOGETHER,
  type Revision,
  type Store,
  StoreError,
} from "../store/store.ts";
import { type AllocationBlock, isEmpty, readBlock, written } from "./block.ts";
import { damagedBlock, isBroken, isDamage, readRaw } from "./damage.ts";
import { tooManyRetries } from "./errors.ts";
import { type Handles, isRaced, type Reservation, RETRIES } from "./handles.ts";
import { Remembered } from "./remembered.ts";
import { SharedReads } from "./turns.ts";

const REMEMBERED = 1024;

/** A block as it was at a revision. */
export interface StoredBlock {
  readonly prefix: Prefix;
  readonly block: AllocationBlock;
  readonly revision: Revision;
}

/** The same, to be written over. */
export interface BlockRecord extends StoredBlock {
  /** At which it was asked for (`remembered.ts`). */
  readonly epoch: number;
}

/** What a change makes of a block. The very same block means that there is nothing to write. */
export interface Changed<R> {
  readonly block: AllocationBlock;
  readonly result: R;
  /** Addresses that the change gave to a handle: counted there before the block is written, or with it. */
  readonly reserve?: { readonly handle: string; readonly count: number };
  /** An object that may be written with all of it: asked when it is about to be (`Beside`). */
  readonly beside?: {
    readonly plan: () => Promise<JointWrite | undefined>;
    readonly written: (write: JointWrite) => void;
  };
}

/** Pure: it may run several times. What it throws is the answer, as a result is. */
export type Change<R> = (block: AllocationBlock) => Changed<R>;

export interface ChangeOptions {
  /** Content with the last known copy where it changes nothing. */
  readonly guess?: boolean;
  /** The block must be this one still, not one that was made anew in its place. */
  readonly life?: BlockRecord;
}

interface Job extends ChangeOptions {
  readonly change: Change<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly job: Job; readonly changed?: Changed<unknown>; readonly error?: unknown };

export class BlockTable {
  readonly #known: Remembered<{ readonly record: BlockRecord; readonly at: number }>;
  /** Counts what was learned. */
  #learned = 0;
  readonly #queues = new Map<string, Job[]>();
  readonly #reads = new SharedReads();
  readonly #listings = new Map<Family, BlockRecord[]>();
  readonly #damaged = new Map<Family, Prefix[]>();

  constructor(readonly store: Store, readonly handles: Handles) {
    this.#known = new Remembered(handles.epoch, REMEMBERED);
  }

  /** The last known copy; it may be out of date. */
  known(prefix: Prefix): BlockRecord | undefined {
    return this.#known.get(blockKey(prefix))?.record;
  }

  /** As it is now; undefined where there is no such block. IpamError "badRecord" where it is damaged. */
  read(prefix: Prefix): Promise<BlockRecord | undefined> {
    const key = blockKey(prefix);
    return this.#reads.read(key, async () => {
      const began = { at: this.#learned, epoch: this.#epoch };
      return this.#learn(key, prefix, await readRaw(this.store, key), began);
    });
  }

  /** All blocks of a family, as of one moment, by key. Damaged ones are left out (`damaged`). */
  list(family: Family): Promise<BlockRecord[]> {
    return this.#reads.read(`list ${family}`, async () => {
      const { records, damaged } = await this.#listed(blockPrefix(family));
      this.#listings.set(family, records);
      this.#damaged.set(family, damaged);
      return records;
    });
  }

  /** The same of those that could overlap a network, and of some others. */
  listNear(prefix: Prefix): Promise<BlockRecord[]> {
    const { family } = prefix.ip;
    const near = keysNear(prefix);
    if (near === undefined) return this.list(family);
    return this.#reads.read(`list ${near}`, async () => {
      const { records, damaged } = await this.#listed(near);
      const others = this.damaged(family).filter((one) => !blockKey(one).startsWith(near));
      this.#damaged.set(family, [...others, ...damaged]);
      return records;
    });
  }

  async #listed(keys: string): Promise<{ records: BlockRecord[]; damaged: Prefix[] }> {
    const epoch = this.#epoch;
    const { entries, broken = [] } = await this.store.list(keys);
    const records: BlockRecord[] = [];
    const damaged = broken.flatMap(({ key }) => parseBlockKey(key) ?? []);
    for (const entry of entries) {
      const record = recordOf(entry, epoch);
      if (record === "damaged") damaged.push(parseBlockKey(entry.key)!);
      else if (record) records.push(record);
    }
    return { records, damaged };
  }

  /** The blocks that were damaged in the last listing: they are there, with nobody knows what in them. */
  damaged(family: Family): readonly Prefix[] {
    return this.#damaged.get(family) ?? [];
  }

  /** The last listing, which may be long out of date: good for guessing where nothing is. */
  lastListing(family: Family): BlockRecord[] | undefined {
    return this.#listings.get(family);
  }

  /** The new block's record; undefined where there is one already. Not remembered (see `remember`). */
  async create(prefix: Prefix, block: AllocationBlock): Promise<BlockRecord | undefined> {
    const epoch = this.#epoch;
    const revision = await this.#race(() => this.store.create(blockKey(prefix), block));
    return revision === undefined ? undefined : { prefix, block, revision, epoch };
  }

  /** Writes one block; undefined where it was changed since. */
  async update(record: BlockRecord, block: AllocationBlock): Promise<BlockRecord | undefined> {
    const { prefix, epoch } = record;
    const key = blockKey(prefix);
    this.#known.forget(key);
    if (epoch !== this.#epoch) return undefined;
    const value = written(block);
    const revision = await this.#race(() => this.store.update(key, value, record.revision));
    return revision === undefined ? undefined : { prefix, block: value, revision, epoch };
  }

  /** False where it was changed since. */
  async delete(record: BlockRecord): Promise<boolean> {
    const key = blockKey(record.prefix);
    this.#known.forget(key);
    this.#listings.delete(record.prefix.ip.family);
    if (record.epoch !== this.#epoch) return false;
    return await this.#race(() => this.store.delete(key, record.revision)) !== undefined;
  }

  /** Unless a younger copy is known already. */
  remember(record: BlockRecord): void {
    const key = blockKey(record.prefix);
    const known = this.#known.get(key)?.record;
    if (known && (record.epoch !== known.epoch || isYounger(known, record))) return;
    this.#known.keep(key, { record, at: ++this.#learned }, record.epoch);
  }

  get #epoch(): number {
    return this.handles.epoch.now;
  }

  /**
   * Applies a change to a block, together with all others that are waiting for it, and deletes the
   * block where that leaves it empty and nobody's. undefined where there is no such block; what the
   * change throws is thrown.
   */
  change<R>(
    prefix: Prefix,
    change: Change<R>,
    options: ChangeOptions = {},
  ): Promise<R | undefined> {
    const key = blockKey(prefix);
    return new Promise((resolve, reject) => {
      const job: Job = { ...options, change, resolve: resolve as Job["resolve"], reject };
      const queue = this.#queues.get(key);
      if (queue) queue.push(job);
      else {
        this.#queues.set(key, [job]);
        this.#drain(key, prefix);
      }
    });
  }

  async #drain(key: string, prefix: Prefix): Promise<void> {
    // Lets callers of this same moment join the first group.
    await Promise.resolve();
    for (;;) {
      const jobs = this.#queues.get(key)!.splice(0);
      if (jobs.length === 0) break;
      try {
        await this.#commit(key, prefix, jobs);
      } catch (error) {
        // Whether the write was done is not known: handles stay counted up, which is allowed.
        this.#known.forget(key);
        for (const job of jobs) job.reject(error);
      }
    }
    this.#queues.delete(key);
  }

  async #commit(key: string, prefix: Prefix, all: Job[]): Promise<void> {
    let jobs = all;
    const reserved = new Map<string, Reservation>();
    for (let i = 0; i < RETRIES && jobs.length > 0; i++) {
      // What a caller has seen is a copy as good as ours, and better where it is younger.
      if (this.#known.get(key)) { for (const { life } of jobs) if (life) this.remember(life); }
      const known = this.#known.get(key)?.record;
      const record = known ?? await this.read(prefix);
      if (!record) {
        await this.#cancel(reserved, new Set());
        for (const job of jobs) job.resolve(undefined);
        return;
      }
      const dead = jobs.filter(({ life }) =>
        life && (life.epoch !== record.epoch || !isSameLife(life, record))
      );
      for (const job of dead) job.resolve(undefined);
      jobs = jobs.filter((job) => !dead.includes(job));
      const { block, outcomes } = applyAll(record.block, jobs);
      if (block === record.block) {
        if (known && outcomes.some((o) => !o.job.guess)) {
          this.#known.forget(key);
          continue;
        }
        await this.#cancel(reserved, new Set());
        outcomes.forEach(settle);
        return;
      }
      const gone = isEmpty(block) && !block.affinity;
      if (reserved.size === 0 && !gone) {
        const wrote = await this.#together(record, block, outcomes);
        if (wrote === "done") return outcomes.forEach(settle);
        if (wrote === "block changed") continue;
      }
      const failed = await this.#reserve(prefix, outcomes, reserved);
      if (failed.size > 0) {
        for (const [job, error] of failed) job.reject(error);
        jobs = jobs.filter((job) => !failed.has(job));
        continue;
      }
      if (gone) {
        if (!await this.delete(record)) continue;
      } else {
        const next = await this.update(record, block);
        if (!next) continue;
        this.remember(next);
      }
      outcomes.forEach(settle);
      return;
    }
    await this.#cancel(reserved, new Set());
    for (const job of jobs) job.reject(tooManyRetries(`IPAM block ${formatPrefix(prefix)}`));
  }

  /**
   * Handles and block in one step, with what is to stand beside them, where the datastore can. Unless it
   * is done or unknown, nothing was written: another was first at the block, or what is wrong is to be
   * told to whom it concerns alone.
   */
  async #together(
    record: BlockRecord,
    block: AllocationBlock,
    outcomes: readonly Outcome[],
  ): Promise<"done" | "block changed" | "one by one"> {
    const counts = reservations(outcomes);
    if (!this.store.together || counts.size === 0 || counts.size >= MOST_TOGETHER) {
      return "one by one";
    }
    const besides = await plannedBesides(outcomes, MOST_TOGETHER - 1 - counts.size);
    const wrote = await this.#writeTogether(record, block, counts, besides);
    if (wrote !== "not with these") return wrote;
    const alone = await this.#writeTogether(record, block, counts, []);
    return alone === "not with these" ? "one by one" : alone;
  }

  async #writeTogether(
    { prefix, revision, epoch }: BlockRecord,
    block: AllocationBlock,
    counts: ReadonlyMap<string, number>,
    besides: readonly PlannedBeside[],
  ): Promise<"done" | "block changed" | "not with these" | "one by one"> {
    if (epoch !== this.#epoch) return "block changed";
    const { store, handles } = this;
    const ofStore = store.epoch;
    const key = blockKey(prefix);
    const value = written(block);
    const counted = [...counts].map(([handle, count]) => handles.counted(handle, prefix, count));
    this.#known.forget(key);
    try {
      const revisions = await store.together!([
        { op: "update", key, value, revision },
        ...counted.map(({ write }) => write),
        ...besides.map(({ write }) => write),
      ], ofStore);
      if (!revisions) return "one by one";
      this.remember({ prefix, block: value, revision: revisions[0], epoch });
      counted.forEach(({ done }, i) => done(revisions[i + 1]));
      for (const { write, beside } of besides) beside.written(write);
      return "done";
    } catch (error) {
      const known = error instanceof StoreError ? error : undefined;
      if (known?.key === key && isRaced(known)) return "block changed";
      const isUnknown = !known || known.kind === "unavailable";
      // One of these stands in the way, or it is too much with them.
      const isTheirs = !isRaced(error) || besides.some(({ write }) => write.key === known?.key);
      if (!isUnknown && besides.length > 0 && isTheirs) return "not with these";
      for (const { forget } of counted) forget();
      if (isUnknown) throw error;
      return "one by one";
    }
  }

  /** Counts up in the handles; the jobs whose handle could not be written, with the reason. */
  async #reserve(
    prefix: Prefix,
    outcomes: readonly Outcome[],
    reserved: Map<string, Reservation>,
  ): Promise<Map<Job, unknown>> {
    const counts = reservations(outcomes);
    const errors = new Map<string, unknown>();
    await Promise.all([...counts].map(async ([handle, count]) => {
      try {
        const previous = reserved.get(handle);
        reserved.set(handle, await this.handles.reserve(handle, prefix, count, previous));
      } catch (error) {
        reserved.delete(handle);
        errors.set(handle, error);
      }
    }));
    await this.#cancel(reserved, new Set(counts.keys()));
    const failed = new Map<Job, unknown>();
    for (const { job, changed } of outcomes) {
      const handle = changed?.reserve?.handle;
      if (handle !== undefined && errors.has(handle)) failed.set(job, errors.get(handle));
    }
    return failed;
  }

  /** Takes back what was counted up for changes that came to nothing. */
  async #cancel(reserved: Map<string, Reservation>, keep: ReadonlySet<string>): Promise<void> {
    for (const [handle, reservation] of [...reserved]) {
      if (keep.has(handle)) continue;
      reserved.delete(handle);
      await this.handles.cancel(reservation);
    }
  }

  /** Of a read that began when so much was learned, in that epoch. */
  #learn(
    key: string,
    prefix: Prefix,
    entry: Entry | BrokenEntry | undefined,
    began: { readonly at: number; readonly epoch: number },
  ): BlockRecord | undefined {
    if (isBroken(entry)) {
      this.#known.forget(key);
      throw damagedBlock(prefix, entry.reason);
    }
    if (!entry) {
      this.#known.forget(key);
      return undefined;
    }
    const { revision } = entry;
    let { epoch } = began;
    const known = this.#known.get(key);
    if (known && compareRevisions(known.record.revision, revision) > 0) {
      // A write of ours may have finished while this read was on its way.
      if (known.at > began.at) return known.record;
      // What was known before we asked is older than the answer, or of a past that is no more.
      this.handles.epoch.over();
      epoch = this.#epoch;
    }
    const record = { prefix, block: readBlock(entry.value, prefix), revision, epoch };
    this.remember(record);
    return record;
  }

  async #race<T>(write: () => Promise<T>): Promise<T | undefined> {
    try {
      return await write();
    } catch (error) {
      if (!isRaced(error)) throw error;
      return undefined;
    }
  }
}

/**
 * Whether two records, in whatever order, are of one block, not of one that was deleted and made
 * again. Each write adds one to the block's number and at least one to the store's revision; a new
 * block begins at the time in nanoseconds, which is far from any number of writes: ahead, or behind
 * where the clock of the node that made it is.
 */
export function isSameLife(a: StoredBlock, b: StoredBlock): boolean {
  const [before, after] = isYounger(a, b) ? [b, a] : [a, b];
  const writes = BigInt(after.block.sequenceNumber) - BigInt(before.block.sequenceNumber);
  return writes >= 0n && writes <= BigInt(after.revision) - BigInt(before.revision);
}

/**
 * With what the keys of all blocks begin that could overlap a network. IPv4's blocks are /20 to /32, so
 * they have the first two numbers of it; IPv6's texts leave out zeros, and have no such beginning.
 */
function keysNear({ ip, length }: Prefix): string | undefined {
  if (ip.family !== 4 || length < 16) return undefined;
  return `${blockPrefix(4)}${ip.bytes[0]}.${ip.bytes[1]}.`;
}

function isYounger(a: StoredBlock, b: StoredBlock): boolean {
  return compareRevisions(a.revision, b.revision) > 0;
}

function recordOf(entry: Entry, epoch: number): BlockRecord | "damaged" | undefined {
  const prefix = parseBlockKey(entry.key);
  if (!prefix) return undefined;
  try {
    return { prefix, block: readBlock(entry.value, prefix), revision: entry.revision, epoch };
  } catch (error) {
    // The owner of a damaged block hears of it; others must not fail for it.
    if (isDamage(error)) return "damaged";
    throw error;
  }
}

function applyAll(
  before: AllocationBlock,
  jobs: readonly Job[],
): { block: AllocationBlock; outcomes: Outcome[] } {
  let block = before;
  const outcomes = jobs.map((job): Outcome => {
    try {
      const changed = job.change(block);
      block = changed.block;
      return { job, changed };
    } catch (error) {
      return { job, error };
    }
  });
  return { block, outcomes };
}

/** How many addresses the changes gave to which handle. */
function reservations(outcomes: readonly Outcome[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { changed } of outcomes) {
    const reserve = changed?.reserve;
    if (reserve) counts.set(reserve.handle, (counts.get(reserve.handle) ?? 0) + reserve.count);
  }
  return counts;
}

interface PlannedBeside {
  readonly write: JointWrite;
  readonly beside: NonNullable<Changed<unknown>["beside"]>;
}

/** As many of them as there is room for. */
async function plannedBesides(
  outcomes: readonly Outcome[],
  room: number,
): Promise<PlannedBeside[]> {
  const besides = outcomes.flatMap(({ changed }) => changed?.beside ?? []).slice(0, room);
  const writes = await Promise.all(besides.map(({ plan }) => plan()));
  return besides.flatMap((beside, i) => writes[i] ? [{ write: writes[i], beside }] : []);
}

function settle({ job, changed, error }: Outcome): void {
  if (changed) job.resolve(changed.result);
  else job.reject(error);
}
