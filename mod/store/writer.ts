/**
 * Group commit. Writes queue here; one after the other they are decided against what was committed
 * plus what the group already holds, and the whole group goes to the journal as one atomic commit.
 * While the disk works, the next group gathers, so thirty-two writers cost little more than one and
 * every one of them still has its own revision and its own answer.
 *
 * Writes that were given together are one in a group: all of them are in it, or none.
 *
 * Nobody hears of a write before it is durable, not even through the refusal of another: a "conflict"
 * against a write of the same group is answered after the group is on disk. When the journal fails,
 * the whole group is refused and memory is as it was.
 */

import type { ChangeLog, ChangeRecord, PutRecord } from "./change_log.ts";
import type { Clock } from "./clock.ts";
import type { Commit, Journal } from "./journal.ts";
import type { KeyIndex } from "./key_index.ts";
import { StoreError } from "./store.ts";
import { decide, type Write } from "./write.ts";

/** Log records that one commit takes away at most, so that it stays a small transaction. */
const MAX_DROP = 300;

interface Pending {
  /** All or none. */
  readonly writes: readonly Write[];
  /** With the revisions, in the order of the writes. */
  readonly resolve: (revisions: number[]) => void;
  readonly reject: (error: Error) => void;
}

/** What became of one write of a group, told when the group is durable. */
type Outcome = { pending: Pending; revisions: number[] } | { pending: Pending; error: StoreError };

/** What a group holds while it gathers. */
interface Staged {
  readonly records: ChangeRecord[];
  readonly replaced: PutRecord[];
  /** What stands under a key after it. */
  readonly byKey: Map<string, PutRecord | undefined>;
  readonly byId: Map<string, number>;
}

/** What one request makes. */
interface Decided {
  readonly records: readonly ChangeRecord[];
  readonly replaced: readonly PutRecord[];
  readonly revisions: number[];
}

interface Group {
  readonly outcomes: Outcome[];
  readonly records: ChangeRecord[];
  readonly replaced: PutRecord[];
  /** How many of the queue were taken. */
  readonly taken: number;
}

export interface WriterState {
  readonly index: KeyIndex;
  readonly log: ChangeLog;
  readonly journal: Journal;
  readonly clock: Clock;
  /** Called with each group's records, once they are durable and in index and log. */
  onCommit(records: readonly ChangeRecord[]): void;
}

export class Writer {
  #queue: Pending[] = [];
  #running: Promise<void> | undefined;
  /** Why no write can be taken any more. */
  #stopped: StoreError | undefined;

  constructor(readonly state: WriterState) {}

  /**
   * Resolves with the new revisions when the writes are durable, all of them; rejects with the StoreError
   * of the first that is refused.
   */
  submit(writes: readonly Write[]): Promise<number[]> {
    if (this.#stopped) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => {
      this.#queue.push({ writes, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Takes no more writes, and resolves when those taken have been answered. */
  async stop(reason: StoreError): Promise<void> {
    this.#stopped ??= reason;
    await this.#running;
  }

  async #run(): Promise<void> {
    // Whoever writes in the same turn of the event loop belongs to the same group.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#gather();
      this.#queue.splice(0, group.taken);
      const failure = group.records.length === 0 ? undefined : await this.#commit(group);
      for (const outcome of group.outcomes) {
        if (failure) outcome.pending.reject(failure);
        else if ("error" in outcome) outcome.pending.reject(outcome.error);
        else outcome.pending.resolve(outcome.revisions);
      }
    }
    this.#running = undefined;
  }

  #gather(): Group {
    const { journal } = this.state;
    const staged: Staged = { records: [], replaced: [], byKey: new Map(), byId: new Map() };
    const outcomes: Outcome[] = [];
    let weight = 0, taken = 0;
    for (const pending of this.#queue) {
      const known = this.#answered(pending.writes, staged);
      if (known !== undefined) {
        taken++;
        outcomes.push(
          known instanceof StoreError ? { pending, error: known } : { pending, revisions: known },
        );
        continue;
      }
      const decided = this.#decide(pending.writes, staged);
      if (decided instanceof StoreError) {
        outcomes.push({ pending, error: decided });
      } else {
        const own = decided.records.reduce((sum, record) => sum + journal.weight(record), 0);
        if (own > journal.capacity) {
          outcomes.push({ pending, error: tooMuch(pending.writes) });
        } else {
          if (weight + own > journal.capacity) break;
          weight += own;
          stage(decided, staged);
          outcomes.push({ pending, revisions: decided.revisions });
        }
      }
      taken++;
    }
    return { outcomes, records: staged.records, replaced: staged.replaced, taken };
  }

  /** What writes of different keys make, on top of what is staged; the error of the first that is refused. */
  #decide(writes: readonly Write[], staged: Staged): Decided | StoreError {
    const { index, log, clock } = this.state;
    const wallMs = clock.wallMs();
    const records: ChangeRecord[] = [], replaced: PutRecord[] = [], revisions: number[] = [];
    for (const write of writes) {
      const { key } = write;
      const current = staged.byKey.has(key) ? staged.byKey.get(key) : index.get(key);
      const last = log.newest + staged.records.length + records.length;
      const decision = decide(write, current, last + 1, wallMs);
      if (decision instanceof StoreError) return decision;
      revisions.push(decision ? decision.revision : last);
      if (!decision) continue;
      records.push(decision);
      if (current) replaced.push(current);
    }
    return { records, replaced, revisions };
  }

  /** The answer to a request that was seen before, or that can no longer be told from one. */
  #answered(writes: readonly Write[], staged: Staged): number[] | StoreError | undefined {
    const [write] = writes;
    if (write.writeId === undefined) return undefined;
    const { log } = this.state;
    const revision = staged.byId.get(write.writeId) ?? log.byWriteId(write.writeId)?.revision;
    // Those that were done together have followed upon each other.
    if (revision !== undefined) return writes.map((_, i) => revision + i);
    if (write.repeatedSince !== undefined && write.repeatedSince < log.compacted) {
      return new StoreError(
        "unavailable",
        `the outcome of a ${write.op} of ${write.key} is unknown: the connection to the datastore ` +
          `broke, and since then more was written than its change log holds; read the object again`,
        write.key,
      );
    }
    return undefined;
  }

  /** Makes the group durable and visible; the error of all its writes where that failed. */
  async #commit(group: Group): Promise<StoreError | undefined> {
    const { index, log, journal } = this.state;
    const dropped = log.overflow(group.records).slice(0, MAX_DROP);
    const commit: Commit = {
      records: group.records,
      replaced: group.replaced,
      dropped,
      revision: log.newest + group.records.length,
      compacted: log.compacted + dropped.length,
    };
    try {
      await journal.commit(commit);
    } catch (error) {
      if (error instanceof StoreError) return error;
      // JournalLost, or a bug: memory and disk may differ, so this process writes no more.
      const lost = new StoreError("unavailable", (error as Error).message);
      this.#stopped ??= lost;
      // Nothing that waits behind this group can be written either.
      for (const pending of this.#queue.splice(0)) pending.reject(lost);
      return lost;
    }
    log.drop(dropped.length);
    for (const record of group.records) {
      log.append(record);
      if (record.type === "put") index.set(record);
      else index.delete(record.key);
    }
    this.state.onCommit(group.records);
    return undefined;
  }
}

function stage({ records, replaced }: Decided, staged: Staged): void {
  staged.records.push(...records);
  staged.replaced.push(...replaced);
  for (const record of records) {
    staged.byKey.set(record.key, record.type === "put" ? record : undefined);
    if (record.writeId !== undefined) staged.byId.set(record.writeId, record.revision);
  }
}

function tooMuch(writes: readonly Write[]): StoreError {
  return new StoreError(
    "invalid",
    `${writes.length} objects are too much to be written together; write them one by one`,
    writes[0].key,
  );
}
