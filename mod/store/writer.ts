/**
 * Group commit. Writes queue here; one after the other they are decided against what was committed
 * plus what the group already holds, and the whole group goes to the journal as one atomic commit.
 * While the disk works, the next group gathers, so thirty-two writers cost little more than one and
 * every one of them still has its own revision and its own answer.
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
  readonly write: Write;
  readonly resolve: (revision: number) => void;
  readonly reject: (error: Error) => void;
}

/** What became of one write of a group, told when the group is durable. */
type Outcome = { pending: Pending; revision: number } | { pending: Pending; error: StoreError };

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

  /** Resolves with the new revision when the write is durable; rejects with a StoreError. */
  submit(write: Write): Promise<number> {
    if (this.#stopped) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => {
      this.#queue.push({ write, resolve, reject });
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
        else outcome.pending.resolve(outcome.revision);
      }
    }
    this.#running = undefined;
  }

  #gather(): Group {
    const { index, log, journal, clock } = this.state;
    const wallMs = clock.wallMs();
    const records: ChangeRecord[] = [];
    const replaced: PutRecord[] = [];
    const outcomes: Outcome[] = [];
    const staged = new Map<string, PutRecord | undefined>();
    const stagedIds = new Map<string, number>();
    let weight = 0, taken = 0;
    for (const pending of this.#queue) {
      const { write } = pending;
      const known = this.#answered(write, stagedIds);
      if (known !== undefined) {
        taken++;
        outcomes.push(
          known instanceof StoreError ? { pending, error: known } : { pending, revision: known },
        );
        continue;
      }
      const current = staged.has(write.key) ? staged.get(write.key) : index.get(write.key);
      const next = log.newest + records.length + 1;
      const decision = decide(write, current, next, wallMs);
      if (decision === undefined) {
        outcomes.push({ pending, revision: log.newest + records.length });
      } else if (decision instanceof StoreError) {
        outcomes.push({ pending, error: decision });
      } else {
        weight += journal.weight(decision);
        if (weight > journal.capacity && records.length > 0) break;
        records.push(decision);
        if (current) replaced.push(current);
        staged.set(write.key, decision.type === "put" ? decision : undefined);
        if (write.writeId !== undefined) stagedIds.set(write.writeId, next);
        outcomes.push({ pending, revision: next });
      }
      taken++;
    }
    return { outcomes, records, replaced, taken };
  }

  /** The answer to a request that was seen before, or that can no longer be told from one. */
  #answered(write: Write, staged: Map<string, number>): number | StoreError | undefined {
    if (write.writeId === undefined) return undefined;
    const { log } = this.state;
    const revision = staged.get(write.writeId) ?? log.byWriteId(write.writeId)?.revision;
    if (revision !== undefined) return revision;
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
