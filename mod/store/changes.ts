/**
 * A reader of the change log: the records after a revision whose key begins with a prefix, in order,
 * in batches, for ever. It holds nothing but the revision up to which it has read.
 *
 * A reader that found nothing of its own in a long stretch of log says so with an empty batch, so
 * that whoever may have to go on from here later (a remote watch after a reconnect) does not hold a
 * revision that is long compacted.
 */

import type { ChangeLog, ChangeRecord } from "./change_log.ts";
import { StoreError } from "./store.ts";

export interface ChangeBatch {
  readonly records: readonly ChangeRecord[];
  /** All of the log up to this revision has been looked at: go on from here. */
  readonly upTo: number;
}

/** Records in one batch, and the stretch of foreign records after which an empty one is told. */
const BATCH = 256;
const PROGRESS = 1000;

/** Wakes all readers that wait for the next commit, or for the end of the store. */
export class Bell {
  #waiting = new Set<() => void>();

  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const wake of waiting) wake();
  }

  /** Calls `wake` at the next ring; the function that it returns takes that back. */
  onRing(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  get waiting(): number {
    return this.#waiting.size;
  }
}

export class ChangeReader implements AsyncIterableIterator<ChangeBatch> {
  #read: number;
  #told: number;
  #ended = false;
  #wake: (() => void) | undefined;

  /** `failure` says why the store is no more, if so; it is asked before each wait. */
  constructor(
    readonly log: ChangeLog,
    readonly bell: Bell,
    readonly prefix: string,
    from: number,
    readonly failure: () => StoreError | undefined,
    readonly signal?: AbortSignal,
  ) {
    this.#read = this.#told = from;
    signal?.addEventListener("abort", this.#end);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<ChangeBatch>> {
    while (!this.#ended && !this.signal?.aborted) {
      try {
        const batch = this.#scan();
        if (batch) return { done: false, value: batch };
        const failure = this.failure();
        if (failure) throw failure;
      } catch (error) {
        this.#end();
        throw error;
      }
      await new Promise<void>((resolve) => {
        const forget = this.bell.onRing(resolve);
        this.#wake = () => {
          forget();
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#end();
    return { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<ChangeBatch>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #end = (): void => {
    this.#ended = true;
    this.signal?.removeEventListener("abort", this.#end);
    this.#wake?.();
  };

  /** What the log has for us now; undefined when there is nothing to tell. */
  #scan(): ChangeBatch | undefined {
    const { log } = this;
    if (this.#read < log.compacted) {
      throw new StoreError(
        "compacted",
        `the datastore's change log begins after revision ${log.compacted}; ` +
          `changes since ${this.#read} of ${
            this.prefix || "all keys"
          } are no longer there: list again`,
      );
    }
    const records: ChangeRecord[] = [];
    while (this.#read < log.newest && records.length < BATCH) {
      const record = log.at(++this.#read);
      if (record.key.startsWith(this.prefix)) records.push(record);
    }
    if (records.length === 0 && this.#read - this.#told < PROGRESS) return undefined;
    this.#told = this.#read;
    return { records, upTo: this.#read };
  }
}
