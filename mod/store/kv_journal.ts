/**
 * The journal of the kv driver: every commit is one atomic operation on a Deno KV file, which SQLite
 * has written and synced (WAL, synchronous FULL) when the promise resolves. The operation checks the
 * counter's row, so a foreign writer, should there be one, is noticed and never overwritten.
 *
 * A commit that failed is not a commit that did not happen: what became of it is read from the
 * counter's row, which carries the name of this session.
 */

import type { ChangeRecord, PutRecord } from "./change_log.ts";
import { type Clock, sleep } from "./clock.ts";
import { type Commit, type Journal, JournalLost } from "./journal.ts";
import {
  chunkKey,
  CHUNKS_A_COMMIT,
  chunksOf,
  COUNTER_KEY,
  type CounterRow,
  isLarge,
  logKey,
  logRow,
  objectKey,
  objectRow,
} from "./kv_layout.ts";
import { StoreError } from "./store.ts";

/** Another program that reads the file (a backup, sqlite3) may hold it for so long. */
const LOCKED_PATIENCE_MS = 5000;

/**
 * Deno KV takes 819,200 bytes and 1,000 mutations in a transaction. A record is two rows, and 300
 * rows of the log may go with them, which leaves room for 340 records; the weight counts the bytes of
 * a record twice over, since a text outside Latin-1 takes two bytes a unit.
 */
const CAPACITY = 700_000;
const LEAST_WEIGHT = Math.ceil(CAPACITY / 340);

/** Who still refers to a value in chunks. */
interface LargeValue {
  readonly chunks: number;
  inObject: boolean;
  inLog: boolean;
}

export interface KvJournalParts {
  readonly path: string;
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly session: string;
  /** The counter row's, as it was read when the file was opened. */
  readonly versionstamp: string;
  readonly large: Map<number, LargeValue>;
  /** Gives the file's lock back. */
  release(): void;
}

export class KvJournal implements Journal {
  readonly capacity = CAPACITY;
  #versionstamp: string;

  constructor(readonly parts: KvJournalParts) {
    this.#versionstamp = parts.versionstamp;
  }

  weight(record: ChangeRecord): number {
    const text = record.type === "put" && !isLarge(record) ? record.text.length : 0;
    return Math.min(CAPACITY, Math.max(LEAST_WEIGHT, 4 * text + 6 * record.key.length + 400));
  }

  async commit(commit: Commit): Promise<void> {
    const { kv, session } = this.parts;
    const large = await this.#writeChunks(commit.records);
    const operation = kv.atomic().check({ key: COUNTER_KEY, versionstamp: this.#versionstamp });
    const counter: CounterRow = {
      revision: commit.revision,
      compacted: commit.compacted,
      session,
    };
    operation.set(COUNTER_KEY, counter);
    // Of several writes to one key in a group, the object's row gets the last alone.
    const newest = new Map(commit.records.map((record) => [record.key, record]));
    for (const record of commit.records) {
      operation.set(logKey(record.revision), logRow(record, large.get(record.revision) ?? 0));
    }
    for (const [key, record] of newest) {
      if (record.type === "delete") operation.delete(objectKey(key));
      else operation.set(objectKey(key), objectRow(record, large.get(record.revision) ?? 0));
    }
    for (const record of commit.dropped) operation.delete(logKey(record.revision));
    await this.#carryOut(operation, counter);
    for (const [revision, chunks] of large) {
      this.parts.large.set(revision, { chunks, inObject: true, inLog: true });
    }
    await this.#forget(commit);
  }

  async close(): Promise<void> {
    this.parts.kv.close();
    this.parts.release();
  }

  /** Runs the operation, again and again while the file is locked, and learns what became of it. */
  async #carryOut(operation: Deno.AtomicOperation, counter: CounterRow): Promise<void> {
    try {
      const result = await this.#unlocked(() => operation.commit());
      if (result.ok) {
        this.#versionstamp = result.versionstamp;
        return;
      }
    } catch (error) {
      if (await this.#written(counter, error as Error)) return;
      throw error instanceof StoreError ? error : this.#unavailable(error as Error);
    }
    // The counter's row was not as we left it: either an earlier try did it after all, or somebody.
    if (await this.#written(counter)) return;
    throw new JournalLost(
      `another process writes to the datastore ${this.parts.path}; nothing more is written to it ` +
        `from here: let one process own the file, and restart`,
    );
  }

  /** Whether the commit with this counter is on disk. */
  async #written(counter: CounterRow, cause?: Error): Promise<boolean> {
    let row: Deno.KvEntryMaybe<CounterRow>;
    try {
      row = await this.#unlocked(() => this.parts.kv.get<CounterRow>(COUNTER_KEY));
    } catch (error) {
      throw new JournalLost(
        `the datastore ${this.parts.path} can neither be written nor read ` +
          `(${(cause ?? error as Error).message}); see to its disk and restart`,
      );
    }
    if (row.value?.session !== counter.session || row.value.revision !== counter.revision) {
      return false;
    }
    this.#versionstamp = row.versionstamp!;
    return true;
  }

  #unavailable(error: Error): StoreError {
    return new StoreError(
      "unavailable",
      `the datastore ${this.parts.path} cannot be written: ${error.message}; nothing was changed`,
    );
  }

  /** Tries again while another program holds the file. */
  async #unlocked<T>(run: () => Promise<T>): Promise<T> {
    const { clock, path } = this.parts;
    const until = clock.monotonicMs() + LOCKED_PATIENCE_MS;
    for (let pause = 2;; pause = Math.min(100, pause * 2)) {
      try {
        return await run();
      } catch (error) {
        if (!isLocked(error)) throw error;
        if (clock.monotonicMs() > until) {
          throw new StoreError(
            "unavailable",
            `another program has held the datastore ${path} for ${LOCKED_PATIENCE_MS / 1000} s; ` +
              `nothing was changed: end that program, or give it a copy of the file`,
          );
        }
        await sleep(clock, pause);
      }
    }
  }

  /** Writes the pieces of large values; how many each revision has. */
  async #writeChunks(records: readonly ChangeRecord[]): Promise<Map<number, number>> {
    const counts = new Map<number, number>();
    for (const record of records) {
      if (!isLarge(record)) continue;
      const chunks = chunksOf(record as PutRecord);
      counts.set(record.revision, chunks.length);
      for (let first = 0; first < chunks.length; first += CHUNKS_A_COMMIT) {
        const operation = this.parts.kv.atomic();
        chunks.slice(first, first + CHUNKS_A_COMMIT).forEach((chunk, i) => {
          operation.set(chunkKey(record.revision, first + i), chunk);
        });
        try {
          await this.#unlocked(() => operation.commit());
        } catch (error) {
          throw error instanceof StoreError ? error : this.#unavailable(error as Error);
        }
      }
    }
    return counts;
  }

  /** Removes the pieces of values to which nobody refers any more. */
  async #forget(commit: Commit): Promise<void> {
    const { large } = this.parts;
    if (large.size === 0) return;
    const touched = new Set<number>();
    for (const record of commit.dropped) {
      const value = large.get(record.revision);
      if (value) value.inLog = false;
      if (value) touched.add(record.revision);
    }
    for (const record of commit.replaced) {
      const value = large.get(record.revision);
      if (value) value.inObject = false;
      if (value) touched.add(record.revision);
    }
    for (const revision of touched) {
      const { chunks, inObject, inLog } = large.get(revision)!;
      if (inObject || inLog) continue;
      large.delete(revision);
      const operation = this.parts.kv.atomic();
      for (let n = 0; n < chunks; n++) operation.delete(chunkKey(revision, n));
      // What stays behind harms nobody, and the next opening sweeps it.
      await operation.commit().catch(() => {});
    }
  }
}

/** SQLite's answer where another program has the file: SQLITE_BUSY or SQLITE_LOCKED. */
export function isLocked(error: unknown): boolean {
  return error instanceof Error && /database (table |schema )?is locked/i.test(error.message);
}
