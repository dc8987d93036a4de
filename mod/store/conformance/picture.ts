/**
 * What a follower makes of what it is told. It is told nothing twice, and of no key that is gone that it
 * did not know; in the end its picture is the store's.
 */

import assert from "node:assert/strict";
import { follow } from "../follow.ts";
import type { Entry, Store, StoreError } from "../store.ts";

export class Picture {
  readonly entries = new Map<string, Entry>();
  /** Lists that it was told in full, and what failed. */
  lists = 0;
  readonly failures: StoreError[] = [];
  /** Keys that were told as gone, in this order. */
  readonly gone: string[] = [];
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wrong: unknown;

  constructor(readonly store: Store, readonly prefix: string) {
    this.#done = follow(store, prefix, {
      put: (entry) => {
        const { key, value, revision } = entry;
        const before = this.entries.get(key);
        this.entries.set(key, entry);
        if (before?.revision !== revision) return;
        assert.notDeepEqual(before.value, value, `${key} at ${revision} was told twice`);
      },
      delete: (key) => {
        assert(this.entries.delete(key), `${key} was told as gone, and had not been there`);
        this.gone.push(key);
      },
      synced: () => void this.lists++,
      unavailable: (error) => void this.failures.push(error),
    }, { signal: this.#abort.signal }).catch((error) => this.#wrong = error);
  }

  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + 30_000;
    while (!await isSo()) {
      if (this.#wrong) throw this.#wrong;
      assert(performance.now() < end, `not within 30 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Waits until it is what the store holds; says where it differs if that does not come. */
  async mustBeTrue(): Promise<void> {
    let there: readonly Entry[] = [];
    const told = () => [...this.entries.values()].sort((a, b) => a.key < b.key ? -1 : 1);
    const isSo = async () => {
      there = (await this.store.list(this.prefix)).entries;
      return JSON.stringify(told()) === JSON.stringify(there);
    };
    await this.until("what was told is what the store holds", isSo).catch((error) => {
      assert.deepEqual(told(), there);
      throw error;
    });
  }

  async end(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    if (this.#wrong) throw this.#wrong;
  }
}
