/** Reading what may be no JSON: a half-written value is told with its revision, at which it can be mended. */
import { type BrokenEntry, type Entry, type Store, StoreError } from "./store.ts";

/** What stands under the key, also where it cannot be read. undefined: there is nothing. */
export async function readRaw<T>(
  store: Store,
  key: string,
): Promise<Entry<T> | BrokenEntry | undefined> {
  try {
    return await store.get<T>(key);
  } catch (error) {
    if (!(error instanceof StoreError && error.kind === "invalid")) throw error;
    const { damaged: revision, reason } = error;
    if (revision !== undefined && reason !== undefined) return { key, revision, reason };
    // Where only a list tells them.
    const { entries, broken = [] } = await store.list<T>(key);
    const found = broken.find((one) => one.key === key) ?? entries.find((one) => one.key === key);
    if (!found) throw error;
    return found;
  }
}

export function isBroken(entry: Entry | BrokenEntry | undefined): entry is BrokenEntry {
  return entry !== undefined && "reason" in entry;
}
