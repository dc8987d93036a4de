/**
 * The store in this process, behind the drivers kv and memory. Everything is in memory: an index of
 * the newest record of each key and a bounded log of the newest changes; a journal makes writes
 * durable before anybody hears of them (`writer.ts`). Values are held as JSON text, so that what a
 * caller does to an object that it got changes nothing here.
 *
 *     write -> queue -> decide -> journal (one atomic commit) -> index, log -> answer, watchers
 *     get, list -> index            watch -> log, from a revision on
 *
 * A list is a snapshot for free: it takes the records at one turn of the event loop, and records
 * never change. Large lists are parsed in slices, so that the event loop stays live.
 *
 * Besides `Store` there is the textual interface (`record`, `records`, `write`, `writeAll`, `changes`) for
 * `serve.ts`, which sends values on without parsing them.
 */

import { type ChangeLog, type ChangeRecord, type PutRecord } from "./change_log.ts";
import { Bell, ChangeReader } from "./changes.ts";
import type { Clock } from "./clock.ts";
import { Expiry } from "./expiry.ts";
import type { Journal } from "./journal.ts";
import type { KeyIndex } from "./key_index.ts";
import { parseJson } from "./json.ts";
import { checkKey, encodeValue, mustBeJoint, ttlMs } from "./limits.ts";
import {
  type Entry,
  type JointWrite,
  type Listing,
  type Revision,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "./store.ts";
import { entryOf, type Write } from "./write.ts";
import { Writer } from "./writer.ts";

/** The revision of a store into which nothing was written yet, as etcd's. */
export const FIRST_REVISION = 1;

/** Entries of a list that are parsed between two turns of the event loop. */
const PARSE_SLICE = 500;

/** An expired entry whose deletion failed is tried again after so long. */
const EXPIRE_RETRY_MS = 1000;

export interface LocalStoreParts {
  /** Names this set of data: another file, or one that was made anew, has another id. */
  readonly id: string;
  readonly index: KeyIndex;
  readonly log: ChangeLog;
  readonly journal: Journal;
  readonly clock: Clock;
}

export class LocalStore implements Store {
  readonly id: string;
  /** Names this opening of it: until it is closed, nobody puts other data under it. */
  readonly opening = crypto.randomUUID();
  readonly epoch = 0;
  readonly #index: KeyIndex;
  readonly #log: ChangeLog;
  readonly #journal: Journal;
  readonly #writer: Writer;
  readonly #expiry: Expiry;
  readonly #bell = new Bell();
  #closed: StoreError | undefined;

  constructor(parts: LocalStoreParts) {
    this.id = parts.id;
    this.#index = parts.index;
    this.#log = parts.log;
    this.#journal = parts.journal;
    this.#expiry = new Expiry(parts.clock, (key, revision) => this.#expire(key, revision));
    this.#writer = new Writer({
      ...parts,
      onCommit: (records) => {
        for (const record of records) this.#expiry.apply(record);
        this.#bell.ring();
      },
    });
    for (const record of this.#index.values()) this.#expiry.load(record);
    this.#expiry.check();
  }

  /** The store's counter: of the last write that is durable. */
  get revision(): number {
    return this.#log.newest;
  }

  /** How much is kept, for status and tests. */
  get size(): { entries: number; logEntries: number; logBytes: number; watchers: number } {
    return {
      entries: this.#index.size,
      logEntries: this.#log.length,
      logBytes: this.#log.bytes,
      watchers: this.#bell.waiting,
    };
  }

  async get<T = unknown>(key: string): Promise<Entry<T> | undefined> {
    const record = this.record(key);
    return record && entryOf<T>(record);
  }

  async list<T = unknown>(prefix: string): Promise<Listing<T>> {
    const { records, revision } = this.records(prefix);
    const entries: Entry<T>[] = [];
    for (let i = 0; i < records.length; i++) {
      if (i > 0 && i % PARSE_SLICE === 0) await nextTurn();
      entries.push(entryOf<T>(records[i]));
    }
    return { entries, revision: String(revision) };
  }

  async create(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return String(await this.write({ op: "create", ...checked(key, value, options) }));
  }

  async update(
    key: string,
    value: unknown,
    revision: Revision,
    options: WriteOptions = {},
  ): Promise<Revision> {
    return String(await this.write({ op: "update", revision, ...checked(key, value, options) }));
  }

  async put(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return String(await this.write({ op: "put", ...checked(key, value, options) }));
  }

  async delete(key: string, revision?: Revision): Promise<Revision> {
    checkKey(key);
    return String(await this.write({ op: "delete", key, revision }));
  }

  async together(writes: readonly JointWrite[]): Promise<Revision[]> {
    const all = writes.map(({ value, ...write }) => ({
      ...write,
      ...checked(write.key, value, {}),
    }));
    return (await this.writeAll(all)).map(String);
  }

  async *watch<T = unknown>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const changes = this.changes(prefix, options.from, options.signal);
    for await (const batch of changes) {
      for (const record of batch.records) {
        if (options.signal?.aborted) return;
        yield eventOf<T>(record);
      }
    }
  }

  /** Answers what is under way, ends all watches and gives the file up. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = new StoreError("unavailable", "the datastore was closed by this process");
    this.#expiry.stop();
    await this.#writer.stop(this.#closed);
    this.#bell.ring();
    await this.#journal.close();
  }

  /** The newest record of the key. */
  record(key: string): PutRecord | undefined {
    this.#mustBeOpen();
    checkKey(key);
    return this.#index.get(key);
  }

  /** The records whose key begins with the prefix, ordered by key, as of one revision. */
  records(prefix: string): { records: PutRecord[]; revision: number } {
    this.#mustBeOpen();
    return { records: this.#index.withPrefix(prefix), revision: this.revision };
  }

  /** One write, whose key, text and time to live have been checked. Resolves when it is durable. */
  async write(write: Write): Promise<number> {
    const [revision] = await this.#writer.submit([write]);
    return revision;
  }

  /** Several such, all or none; StoreError "invalid" for more than may be, or two of one key. */
  async writeAll(writes: readonly Write[]): Promise<number[]> {
    mustBeJoint(writes.map(({ key }) => key));
    return writes.length === 0 ? [] : await this.#writer.submit(writes);
  }

  /** The records after a revision; StoreError "compacted" where the log does not reach back to it. */
  changes(prefix: string, from: Revision, signal?: AbortSignal): ChangeReader {
    this.#mustBeOpen();
    if (!/^(0|[1-9][0-9]{0,15})$/.test(from)) {
      throw new StoreError("invalid", `"${from}" is not a revision to watch from`);
    }
    const revision = Number(from);
    if (revision > this.revision) {
      throw new StoreError(
        "compacted",
        `the datastore is at revision ${this.revision} and has never been at ${from}; ` +
          `it was made anew or restored: list again`,
      );
    }
    // Before the first revision there was nothing, so 0 asks for everything there ever was.
    const after = Math.max(revision, FIRST_REVISION);
    return new ChangeReader(this.#log, this.#bell, prefix, after, () => this.#closed, signal);
  }

  #mustBeOpen(): void {
    if (this.#closed) throw this.#closed;
  }

  #expire(key: string, revision: number): void {
    this.write({ op: "expire", key, revision }).catch(() => {
      this.#expiry.retry(key, revision, EXPIRE_RETRY_MS);
    });
  }
}

function checked(key: string, value: unknown, options: WriteOptions) {
  checkKey(key);
  return { key, text: encodeValue(key, value), ttlMs: ttlMs(key, options.ttlSeconds) };
}

export function eventOf<T>(record: ChangeRecord): WatchEvent<T> {
  const { key } = record;
  const revision = String(record.revision);
  return record.type === "put"
    ? { type: "put", key, value: parseJson(record.text) as T, revision }
    : { type: "delete", key, revision };
}

/** Lets timers and sockets have their turn. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
