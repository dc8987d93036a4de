/**
 * What makes a local store durable. LocalStore decides writes in memory and hands each group of them
 * to its journal as one commit; only when the journal says that it is on disk do readers, watchers
 * and the callers see it. The kv driver's journal is a Deno KV file; the memory driver has none.
 */

import type { ChangeRecord, PutRecord } from "./change_log.ts";

/** One atomic step of the store: some writes, and what they push out of the log. */
export interface Commit {
  /** The new records; revisions are consecutive and follow the last commit's. At least one. */
  readonly records: readonly ChangeRecord[];
  /** Records that leave the log, oldest first. */
  readonly dropped: readonly ChangeRecord[];
  /** Records that were the newest of their key until this commit. */
  readonly replaced: readonly PutRecord[];
  /** The store's counter after the commit. */
  readonly revision: number;
  /** The newest revision that is no longer in the log after the commit. */
  readonly compacted: number;
}

export interface Journal {
  /** What one commit may weigh. */
  readonly capacity: number;
  /** What this record takes of the capacity; never more than all of it. */
  weight(record: ChangeRecord): number;
  /**
   * Puts the commit on disk, all of it or nothing. Throws StoreError "unavailable" where nothing was
   * written; JournalLost where this process may not write any more.
   */
  commit(commit: Commit): Promise<void>;
  close(): Promise<void>;
}

/** The journal can no longer tell what is on disk: the store must be opened again. */
export class JournalLost extends Error {
  override readonly name = "JournalLost";
}

/** For the memory driver: nothing outlives the process. */
export const noJournal: Journal = {
  capacity: 1000,
  weight: () => 1,
  commit: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
