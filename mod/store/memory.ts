/**
 * The datastore in memory, for tests and simulations: the very same store as kv, without a file. What
 * it holds goes with the process.
 */

import { ChangeLog, DEFAULT_LOG_BOUNDS, type LogBounds } from "./change_log.ts";
import { type Clock, systemClock } from "./clock.ts";
import { noJournal } from "./journal.ts";
import { KeyIndex } from "./key_index.ts";
import { FIRST_REVISION, LocalStore } from "./local.ts";

export interface MemoryOptions {
  readonly clock?: Clock;
  /** How much of its history a watch can ask for. */
  readonly log?: Partial<LogBounds>;
}

/** An empty store. `await store.close()` when done: timers of entries with a TTL end then. */
export function memoryStore(options: MemoryOptions = {}): LocalStore {
  return new LocalStore({
    id: crypto.randomUUID(),
    index: new KeyIndex(),
    log: new ChangeLog({ ...DEFAULT_LOG_BOUNDS, ...options.log }, FIRST_REVISION),
    journal: noJournal,
    clock: options.clock ?? systemClock,
  });
}
