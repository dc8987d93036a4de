/**
 * The newest record of every key, ordered by key. A sorted array beside a map: finding a prefix is a
 * binary search and the listing a slice, and at the size of a cluster (tens of thousands of keys)
 * moving the array's tail on insertion takes microseconds, so a tree would buy nothing.
 */

import { compareKeys } from "./limits.ts";
import type { PutRecord } from "./change_log.ts";

export class KeyIndex {
  readonly #records = new Map<string, PutRecord>();
  #keys: string[] = [];

  get size(): number {
    return this.#records.size;
  }

  get(key: string): PutRecord | undefined {
    return this.#records.get(key);
  }

  set(record: PutRecord): void {
    if (!this.#records.has(record.key)) {
      const at = this.#search(record.key);
      if (at === this.#keys.length) this.#keys.push(record.key);
      else this.#keys.splice(at, 0, record.key);
    }
    this.#records.set(record.key, record);
  }

  delete(key: string): void {
    if (this.#records.delete(key)) this.#keys.splice(this.#search(key), 1);
  }

  /** Takes many records at once, in any order: for loading. */
  load(records: Iterable<PutRecord>): void {
    for (const record of records) this.#records.set(record.key, record);
    this.#keys = [...this.#records.keys()].sort(compareKeys);
  }

  /** The records whose key begins with the prefix, ordered by key. */
  withPrefix(prefix: string): PutRecord[] {
    const found: PutRecord[] = [];
    for (let i = this.#search(prefix); i < this.#keys.length; i++) {
      if (!this.#keys[i].startsWith(prefix)) break;
      found.push(this.#records.get(this.#keys[i])!);
    }
    return found;
  }

  values(): IterableIterator<PutRecord> {
    return this.#records.values();
  }

  /** Where the key stands or would stand. */
  #search(key: string): number {
    let low = 0, high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle], key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
