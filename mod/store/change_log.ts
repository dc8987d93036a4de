/**
 * The bounded change log: one record for each revision of the store, the newest N of them or those
 * that fit a number of bytes. Revisions have no gaps, so a record is found by its number. Watchers
 * keep no queue of their own: each holds the revision up to which it has read and reads on from here
 * when its reader asks, so a slow reader costs nothing and learns "compacted" when the log has moved
 * past it.
 */

/** A written value. The text is JSON and never changes; index, log and readers share it. */
export interface PutRecord {
  readonly type: "put";
  readonly key: string;
  readonly revision: number;
  readonly text: string;
  /** Milliseconds that it was given to live; 0 for ever. */
  readonly ttlMs: number;
  /** When it goes away, in wall-clock milliseconds; 0 for never. */
  readonly expires: number;
  /** Names the request that wrote it, so that a repeated request finds itself. */
  readonly writeId?: string;
}

export interface DeleteRecord {
  readonly type: "delete";
  readonly key: string;
  readonly revision: number;
  readonly writeId?: string;
}

export type ChangeRecord = PutRecord | DeleteRecord;

export interface LogBounds {
  /** Records kept at most. */
  readonly entries: number;
  /** Bytes of keys and values kept at most; the newest record stays in any case. */
  readonly bytes: number;
}

export const DEFAULT_LOG_BOUNDS: LogBounds = { entries: 10_000, bytes: 16 * 1024 * 1024 };

/** What a record counts for in the log's bytes. */
export function recordBytes(record: ChangeRecord): number {
  return 64 + record.key.length + (record.type === "put" ? record.text.length : 0);
}

export class ChangeLog {
  #records: ChangeRecord[] = [];
  /** Index of the oldest record in #records; what lies before it is dropped now and then. */
  #head = 0;
  #bytes = 0;
  readonly #byWriteId = new Map<string, ChangeRecord>();

  /** `compacted`: the newest revision that is no longer in the log. */
  constructor(readonly bounds: LogBounds, public compacted: number) {}

  get length(): number {
    return this.#records.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The newest revision in the log, or the compacted one where it is empty. */
  get newest(): number {
    return this.compacted + this.length;
  }

  /** Adds the record of the next revision. */
  append(record: ChangeRecord): void {
    if (record.revision !== this.newest + 1) {
      throw new Error(`change ${record.revision} does not follow ${this.newest}`);
    }
    this.#records.push(record);
    this.#bytes += recordBytes(record);
    if (record.writeId !== undefined) this.#byWriteId.set(record.writeId, record);
  }

  /** The record of a revision that is in the log. */
  at(revision: number): ChangeRecord {
    return this.#records[this.#head + (revision - this.compacted - 1)];
  }

  /** The record that this request wrote, if it is still in the log. */
  byWriteId(writeId: string): ChangeRecord | undefined {
    return this.#byWriteId.get(writeId);
  }

  /**
   * The oldest records that must go so that these coming ones fit the bounds. When some must, a few
   * more go with them, so that not every commit has to drop one.
   */
  overflow(coming: readonly ChangeRecord[]): ChangeRecord[] {
    const { bounds } = this;
    let entries = this.length + coming.length;
    let bytes = this.#bytes + coming.reduce((sum, record) => sum + recordBytes(record), 0);
    if (entries <= bounds.entries && bytes <= bounds.bytes) return [];
    const mostEntries = bounds.entries - Math.floor(bounds.entries / 64);
    const mostBytes = bounds.bytes - Math.floor(bounds.bytes / 64);
    const drop: ChangeRecord[] = [];
    while (drop.length < this.length && (entries > mostEntries || bytes > mostBytes)) {
      const record = this.#records[this.#head + drop.length];
      drop.push(record);
      entries--;
      bytes -= recordBytes(record);
    }
    return drop;
  }

  /** Takes the oldest `count` records away. */
  drop(count: number): void {
    for (let i = 0; i < count; i++) {
      const record = this.#records[this.#head + i];
      this.#bytes -= recordBytes(record);
      if (record.writeId !== undefined && this.#byWriteId.get(record.writeId) === record) {
        this.#byWriteId.delete(record.writeId);
      }
      this.#records[this.#head + i] = GONE;
    }
    this.#head += count;
    this.compacted += count;
    if (this.#head > 1024 && this.#head * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#head);
      this.#head = 0;
    }
  }
}

/** Stands where a dropped record stood, so that its text can be freed at once. */
const GONE: ChangeRecord = { type: "delete", key: "", revision: 0 };
