/**
 * For tests: a store in which values can be half-written, as they can be in etcd. What is put as
 * HALF_WRITTEN cannot be got, is left out of lists and named there, and can be written over or deleted
 * at its revision.
 */
import {
  type BrokenEntry,
  type Entry,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
} from "../../store/store.ts";

export const HALF_WRITTEN = { "the rest of it": "is not there" };

const REASON = "it is not JSON: Unexpected end of JSON input";

export function halfWritable(store: Store): Store {
  const [[mark]] = Object.entries(HALF_WRITTEN);
  const isHalf = (value: unknown) => typeof value === "object" && value !== null && mark in value;
  return {
    get epoch() {
      return store.epoch;
    },
    async get<T>(key: string) {
      const entry = await store.get<T>(key);
      if (!entry || !isHalf(entry.value)) return entry;
      const message = `the value of ${key} cannot be read: ${REASON}; delete it, or write it anew`;
      throw new StoreError("invalid", message, key, undefined, { damaged: entry.revision });
    },
    async list<T>(prefix: string) {
      const { entries, revision } = await store.list<T>(prefix);
      const sound: Entry<T>[] = [], broken: BrokenEntry[] = [];
      for (const entry of entries) {
        const { key, revision } = entry;
        if (isHalf(entry.value)) broken.push({ key, revision, reason: REASON });
        else sound.push(entry);
      }
      return { entries: sound, revision, ...(broken.length > 0 && { broken }) };
    },
    create: store.create.bind(store),
    update: store.update.bind(store),
    put: store.put.bind(store),
    delete: store.delete.bind(store),
    together: store.together?.bind(store),
    async *watch<T>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
      for await (const event of store.watch<T>(prefix, options)) {
        if (event.type === "delete" || !isHalf(event.value)) yield event;
        else yield { type: "delete", key: event.key, revision: event.revision, broken: REASON };
      }
    },
    close: () => store.close(),
  };
}
