/**
 * Keeps somebody's picture of a part of the store up to date, for as long as it is wanted: list,
 * watch, and list again when the log has moved on or the connection to the store was lost. A new list
 * is compared with what was told before, so the follower hears of what vanished meanwhile as deletions
 * and of nothing that is as it was.
 *
 *     list -> delete…, put…, synced -> watch -> put, delete, … -> lost -> list -> …
 *
 * The comparison is by revision and by value. A store that was put back from a backup counts from an
 * older revision, and may come by all those that we know before we look again: then the same revision
 * stands for another value, and a log that goes on from there says nothing of what we were told. No
 * driver can see that, so each ends its watch when the connection was lost, and what was told is
 * compared here, the same way for all (`fingerprint.ts` keeps that cheap).
 *
 * Between `unavailable` and the next `synced` the follower keeps what it knows: fail static. Whatever
 * the store says, it is told and tried again: what cannot be read today (a proxy's page in place of an
 * answer, a certificate that is being exchanged) may be read in a minute, and nobody begins a follower
 * anew that has ended.
 */

import { type Clock, sleep, systemClock } from "./clock.ts";
import { fingerprint } from "./fingerprint.ts";
import { type Entry, type Revision, type Store, StoreError, type WatchEvent } from "./store.ts";

/** What the follower hears. A promise that a handler returns is awaited before the next is called. */
export interface FollowHandlers<T = unknown> {
  /** The key is new, or has another value than it had. */
  put(entry: Entry<T>): void | Promise<void>;
  /** The key is gone. The revision is of the store, not before the deletion. */
  delete(key: string, revision: Revision): void | Promise<void>;
  /** All that the store held at this revision has been told; called after each list. */
  synced?(revision: Revision): void | Promise<void>;
  /**
   * What lies under the key cannot be read: it was left out, or is told as deleted. Told once for each
   * write, and by each new list again.
   */
  broken?(key: string, reason: string): void | Promise<void>;
  /** The store cannot be read now, and is being tried again; called for each failed attempt. */
  unavailable?(error: StoreError): void | Promise<void>;
}

export interface FollowOptions {
  /** Ends the following. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** 0 to 1, as Math.random: spreads what many followers do at the same time. */
  readonly random?: () => number;
}

/** Pauses between failed attempts, growing from the first to the second. */
const FIRST_PAUSE_MS = 100, LONGEST_PAUSE_MS = 10_000;
/** A watch that lasted so long was a good one: the next failure is a first one. */
const LASTED_MS = 5000;

/** Marks what a handler threw, which is not the store's trouble but goes to our caller. */
class HandlerFailure {
  constructor(readonly error: unknown) {}
}

/**
 * Follows all keys that begin with the prefix. Resolves when the signal is aborted; rejects only with
 * what a handler threw.
 */
export async function follow<T = unknown>(
  store: Store,
  prefix: string,
  handlers: FollowHandlers<T>,
  options: FollowOptions = {},
): Promise<void> {
  const { signal, clock = systemClock, random = Math.random } = options;
  const told: Told = new Map();
  let failures = 0;
  while (!signal?.aborted) {
    const began = clock.monotonicMs();
    try {
      const revision = await relist(store, prefix, handlers, told, signal);
      await watch(store, prefix, revision, handlers, told, signal, () => failures = 0);
      if (signal?.aborted) return;
      throw new StoreError("unavailable", `the watch of ${prefix} ended`);
    } catch (error) {
      if (signal?.aborted && !(error instanceof HandlerFailure)) return;
      if (error instanceof HandlerFailure) throw error.error;
      const failure = asStoreError(error, prefix);
      if (clock.monotonicMs() - began >= LASTED_MS) failures = 0;
      if (failure.kind !== "compacted") await handled(() => handlers.unavailable?.(failure));
      // The first relist that the store asks for waits for nothing.
      if (failure.kind !== "compacted" || failures > 0) {
        const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 20));
        await sleep(clock, longest * (0.5 + random() / 2), signal);
      }
      failures++;
    }
  }
}

/** What a driver throws that is no StoreError: it could not make sense of what it was answered. */
function asStoreError(error: unknown, prefix: string): StoreError {
  if (error instanceof StoreError) return error;
  const why = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new StoreError(
    "unavailable",
    `what the store answers for ${prefix} cannot be used: ${why}`,
  );
}

/** What was told last of each key. */
type Told = Map<string, { readonly revision: Revision; readonly print: number } | typeof BROKEN>;

/** What was told is that it cannot be read. */
const BROKEN = "broken";

/** Tells the difference between the store and what was told before. */
async function relist<T>(
  store: Store,
  prefix: string,
  handlers: FollowHandlers<T>,
  told: Told,
  signal: AbortSignal | undefined,
): Promise<Revision> {
  const { entries, revision, broken = [] } = await store.list<T>(prefix);
  if (signal?.aborted) return revision;
  const there = new Set(entries.map((entry) => entry.key));
  const unreadable = new Set(broken.map(({ key }) => key));
  for (const [key, was] of [...told]) {
    if (there.has(key) || (was === BROKEN && unreadable.has(key))) continue;
    told.delete(key);
    await handled(() => handlers.delete(key, revision));
    if (signal?.aborted) return revision;
  }
  for (const entry of entries) {
    const { key, revision, value } = entry;
    const was = told.get(key), print = fingerprint(value);
    const same = was !== undefined && was !== BROKEN && was.print === print;
    if (same && was.revision === revision) continue;
    told.set(key, { revision, print });
    await handled(() => handlers.put(entry));
    if (signal?.aborted) return revision;
  }
  for (const { key, reason } of broken) {
    told.set(key, BROKEN);
    await handled(() => handlers.broken?.(key, reason));
  }
  await handled(() => handlers.synced?.(revision));
  return revision;
}

async function watch<T>(
  store: Store,
  prefix: string,
  from: Revision,
  handlers: FollowHandlers<T>,
  told: Told,
  signal: AbortSignal | undefined,
  onProgress: () => void,
): Promise<void> {
  if (signal?.aborted) return;
  for await (const event of store.watch<T>(prefix, { from, signal })) {
    onProgress();
    await tell(event, handlers, told);
    if (signal?.aborted) return;
  }
}

async function tell<T>(
  event: WatchEvent<T>,
  handlers: FollowHandlers<T>,
  told: Told,
): Promise<void> {
  switch (event.type) {
    case "put": {
      const { key, value, revision } = event;
      told.set(key, { revision, print: fingerprint(value) });
      return await handled(() => handlers.put({ key, value, revision }));
    }
    case "delete": {
      const { key, revision, broken } = event;
      told.delete(key);
      await handled(() => handlers.delete(key, revision));
      if (broken === undefined) return;
      told.set(key, BROKEN);
      await handled(() => handlers.broken?.(key, broken));
    }
  }
}

/** Runs a handler; awaits only where there is something to wait for. */
function handled(run: () => void | Promise<void>): void | Promise<void> {
  try {
    const result = run();
    if (!(result instanceof Promise)) return;
    return result.catch((error) => {
      throw new HandlerFailure(error);
    });
  } catch (error) {
    throw new HandlerFailure(error);
  }
}
