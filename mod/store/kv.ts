/**
 * The kv driver: the store of one machine in one Deno KV file (SQLite). This process owns the file,
 * holds all of it in memory (`local.ts`) and serves it to others over the local socket (`serve.ts`).
 * Every acknowledged write is on disk; opening reads objects and log back, ten thousand of each in
 * about a fifth of a second.
 *
 *     openKv: lock -> file -> objects, log, chunks -> LocalStore over a KvJournal
 *
 * Limits: keys of 2,000 bytes, values of 1.5 MiB (`limits.ts`); the change log holds the newest 10,000
 * changes or 16 MiB; all of it lies in memory, about the size of its JSON.
 */

import { ChangeLog, DEFAULT_LOG_BOUNDS, type LogBounds, type PutRecord } from "./change_log.ts";
import { type Clock, systemClock } from "./clock.ts";
import { KeyIndex } from "./key_index.ts";
import { KvJournal, type KvJournalParts } from "./kv_journal.ts";
import {
  chunkKey,
  CHUNKS,
  COUNTER_KEY,
  type CounterRow,
  FORMAT,
  LOG,
  type LogRow,
  type ObjectRow,
  OBJECTS,
  recordOf,
  STORE_KEY,
  type StoreRow,
} from "./kv_layout.ts";
import { type Lock, lockKv } from "./kv_lock.ts";
import { FIRST_REVISION, LocalStore } from "./local.ts";
import { StoreError } from "./store.ts";

export interface KvOptions {
  readonly clock?: Clock;
  /** How much of its history a watch can ask for. Default 10,000 changes, 16 MiB. */
  readonly log?: Partial<LogBounds>;
  /** The socket at which this process serves the store: told to whoever tries to open the file too. */
  readonly socket?: string;
  /** How long to wait for a former owner that is about to end. Default 0. */
  readonly waitMs?: number;
}

/**
 * Opens the datastore in the file at this path, and makes it (mode 0600, its directory 0700) where
 * there is none. StoreError "unavailable" where another process owns the file or it cannot be read.
 */
export async function openKv(path: string, options: KvOptions = {}): Promise<LocalStore> {
  const clock = options.clock ?? systemClock;
  const { lock, file } = await prepare(path, { ...options, clock });
  let kv: Deno.Kv | undefined;
  try {
    kv = await Deno.openKv(file);
    const loaded = await load(kv, file, { ...DEFAULT_LOG_BOUNDS, ...options.log });
    const parts: KvJournalParts = {
      ...loaded,
      path: file,
      kv,
      clock,
      release: () => lock.release(),
    };
    return new LocalStore({ ...loaded, journal: new KvJournal(parts), clock });
  } catch (error) {
    kv?.close();
    lock.release();
    if (error instanceof StoreError) throw error;
    throw unreadable(file, (error as Error).message);
  }
}

/** The file and its lock, under its one true name. */
async function prepare(
  path: string,
  options: KvOptions & { clock: Clock },
): Promise<{ lock: Lock; file: string }> {
  if (path === "" || path.startsWith(":")) {
    throw new StoreError("invalid", `"${path}" is not the path of a datastore file`);
  }
  try {
    const slash = path.lastIndexOf("/");
    if (slash > 0) await Deno.mkdir(path.slice(0, slash), { recursive: true, mode: 0o700 });
    // SQLite takes an empty file for a new database, and gives its journals the file's mode.
    (await Deno.open(path, { create: true, read: true, write: true, mode: 0o600 })).close();
    const file = await Deno.realPath(path);
    const { clock, socket, waitMs = 0 } = options;
    return { file, lock: await lockKv(file, { clock, socket, waitMs }) };
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw unreadable(path, (error as Error).message);
  }
}

function unreadable(path: string, reason: string): StoreError {
  return new StoreError("unavailable", `the datastore ${path} cannot be opened: ${reason}`);
}

/** What is in the file; a new file gets its name and counter. */
async function load(kv: Deno.Kv, path: string, bounds: LogBounds) {
  const session = crypto.randomUUID();
  const { id } = await identify(kv, path);
  const counter = await kv.get<CounterRow>(COUNTER_KEY);
  if (!counter.value) throw unreadable(path, "it has no counter; restore it from a copy");
  const { revision, compacted } = counter.value;

  const chunks = await readChunks(kv);
  const large: KvJournalParts["large"] = new Map();
  const refer = (from: "inObject" | "inLog") => (at: number, count: number) => {
    const value = large.get(at) ?? { chunks: count, inObject: false, inLog: false };
    large.set(at, { ...value, [from]: true });
    return textOf(chunks.get(at), count) ??
      fail(path, `the value that was written at revision ${at} is not whole`);
  };

  const objects: PutRecord[] = [];
  for await (const row of kv.list<ObjectRow>({ prefix: OBJECTS }, { batchSize: 500 })) {
    const key = row.key[1] as string;
    objects.push(recordOf(key, row.value.revision, row.value, refer("inObject")) as PutRecord);
  }
  const index = new KeyIndex();
  index.load(objects);

  const log = new ChangeLog(bounds, compacted);
  for await (const row of kv.list<LogRow>({ prefix: LOG }, { batchSize: 500 })) {
    const at = row.key[1] as number;
    if (at !== log.newest + 1) fail(path, `change ${at} follows change ${log.newest} in its log`);
    const record = recordOf(row.value.key, at, row.value, refer("inLog"));
    log.append(record);
    // One copy in memory of what the object and the log both hold.
    if (record.type === "put" && index.get(record.key)?.revision === at) index.set(record);
  }
  if (log.newest !== revision) {
    fail(path, `its log ends at revision ${log.newest}, its counter at ${revision}`);
  }
  await sweep(kv, chunks, large);
  return { id, index, log, large, session, versionstamp: counter.versionstamp };
}

function fail(path: string, reason: string): never {
  throw unreadable(path, `it is damaged: ${reason}; restore it from a copy`);
}

async function identify(kv: Deno.Kv, path: string): Promise<StoreRow> {
  const row = await kv.get<StoreRow>(STORE_KEY);
  if (row.value) {
    if (row.value.format === FORMAT) return row.value;
    throw unreadable(
      path,
      `it has format ${row.value.format}, and this version knows ${FORMAT}; use the newer version`,
    );
  }
  for await (const { key } of kv.list({ prefix: [] }, { limit: 1 })) {
    throw unreadable(path, `it is a Deno KV file of something else (it holds ${key.join("/")})`);
  }
  const store: StoreRow = { format: FORMAT, id: crypto.randomUUID() };
  const counter: CounterRow = { revision: FIRST_REVISION, compacted: FIRST_REVISION, session: "" };
  await kv.atomic().set(STORE_KEY, store).set(COUNTER_KEY, counter).commit();
  return store;
}

type Chunks = Map<number, Uint8Array[]>;

async function readChunks(kv: Deno.Kv): Promise<Chunks> {
  const chunks: Chunks = new Map();
  for await (const row of kv.list<Uint8Array>({ prefix: CHUNKS }, { batchSize: 20 })) {
    const [, revision, n] = row.key as [string, number, number];
    const pieces = chunks.get(revision) ?? [];
    pieces[n] = row.value;
    chunks.set(revision, pieces);
  }
  return chunks;
}

function textOf(pieces: Uint8Array[] | undefined, count: number): string | undefined {
  if (!pieces || count === 0) return undefined;
  const decoder = new TextDecoder();
  let text = "";
  for (let n = 0; n < count; n++) {
    if (!pieces[n]) return undefined;
    text += decoder.decode(pieces[n], { stream: true });
  }
  return text + decoder.decode();
}

/** Removes pieces to which nothing refers: a crash came between them and their commit. */
async function sweep(kv: Deno.Kv, chunks: Chunks, large: KvJournalParts["large"]): Promise<void> {
  for (const [revision, pieces] of chunks) {
    const kept = large.get(revision)?.chunks ?? 0;
    if (pieces.length <= kept) continue;
    const operation = kv.atomic();
    for (let n = kept; n < pieces.length; n++) operation.delete(chunkKey(revision, n));
    await operation.commit();
  }
}
