/**
 * The etcd driver: Calico's etcdv3 layout in an etcd cluster, so that Calico's tools and we share one
 * datastore. Keys and values are `store.ts`'s own, byte for byte; a revision is etcd's mod_revision.
 *
 *     create   txn: version(key) = 0 ? put : get            -> "exists" with what stands there
 *     update   txn: mod_revision(key) = r ? put : get       -> "conflict", "notFound"
 *     delete   txn: [mod_revision(key) = r] ? delete : get
 *     together txn: all of their conditions ? all puts : gets; one revision for all
 *     get      with what else is read in the same turn (`turn_reads.ts`)
 *     list     pages at one revision, a consistent snapshot, in slices that keep the loop live
 *     watch    one HTTP stream a range (`watch.ts`), resumed wherever it broke
 *     TTL      a lease for each write, as Calico's; the former one runs out with nothing on it
 *
 * It speaks to the JSON gateway by fetch (`client.ts`): TLS with client certificates, users, several
 * endpoints. Of a keyspace that others share only `/calico/` and `/tortie/` are read; events of these
 * two are each in the order of revisions, and told as they come.
 *
 * Whether it is an etcd of a Calico before v3 is looked at before it is used, and again wherever it may
 * be another than before (`Store.epoch`): the first v3 object in it would hide that for good. So a write
 * looks once more each time that it is about to be sent, since what it waited for may have been lost.
 *
 * A value that is not JSON (half-written, or somebody else's) is no entry: `get` of it is StoreError
 * "invalid", lists and watches leave it out and say so (`broken`), as Calico's.
 */

import { type Clock, systemClock } from "../clock.ts";
import { DELETE_OR_WRITE } from "../damaged.ts";
import { checkKey, encodeValue, mustBeJoint, ttlMs } from "../limits.ts";
import type { EtcdLocation } from "../location.ts";
import {
  type BrokenEntry,
  type Entry,
  type JointWrite,
  type Listing,
  OTHER_EPOCH,
  type Revision,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "../store.ts";
import { type Ask, type CallOptions, EtcdClient } from "./client.ts";
import { EtcdFailure, toStoreError } from "./failure.ts";
import {
  type Compare,
  decodeKey,
  decodeValue,
  encodeText,
  keyAfter,
  type KeyValue,
  type Operation,
  ownRanges,
  rangeEnd,
  type RangeRequest,
  type RangeResponse,
  type TxnRequest,
  type TxnResponse,
} from "./gateway.ts";
import { TurnReads } from "./turn_reads.ts";
import { merged, watchRange } from "./watch.ts";

export interface EtcdOptions {
  /** How long an operation may take while no member serves. Default 10,000 ms. */
  readonly patienceMs?: number;
  /** Not to ask anything yet: the cluster may be away. */
  readonly lazily?: boolean;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** Entries of one page of a list. */
const PAGE = 500;
/**
 * Of keys and values that are written together; the request says each key three times. etcd takes 1.5 MiB, and
 * answers what is far beyond it as if it were lost.
 */
const MOST_JOINT_BYTES = 1024 * 1024;
/** A list whose revision is compacted while it is read is begun anew so often. */
const LIST_TRIES = 5;
const PATIENCE_MS = 10_000;

/** The datastore in this etcd; StoreError "unavailable" or "denied" where it cannot be used now. */
export async function openEtcd(
  location: EtcdLocation,
  options: EtcdOptions = {},
): Promise<EtcdStore> {
  const store = new EtcdStore(location, options);
  if (options.lazily) return store;
  try {
    await store.mustServe({ once: true });
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export class EtcdStore implements Store {
  readonly #client: EtcdClient;
  readonly #reads: TurnReads;
  readonly #patienceMs: number;
  /** The epoch in which the datastore was last seen to be of our layout. */
  #servedIn: number | undefined;
  /** A look that is under way, for all who wait for it. */
  #looking: Promise<void> | undefined;

  constructor(location: EtcdLocation, options: EtcdOptions = {}) {
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#client = new EtcdClient(location, { clock: systemClock, ...options });
    this.#reads = new TurnReads(this.#client);
  }

  /** Asks for what a Calico datastore of this layout holds; `once`: every member at most once. */
  async mustServe({ once = false } = {}): Promise<void> {
    const options = { what: "a look at its layout", once };
    await this.#look((path, body) => this.#call(path, body, options));
  }

  async #look(ask: Ask): Promise<void> {
    const { epoch } = this;
    const count = (key: string): Operation => ({
      requestRange: { key: encodeText(key), range_end: rangeEnd(key), count_only: true },
    });
    const request: TxnRequest = { success: [count("/calico/resources/v3/"), count("/calico/v1/")] };
    const { responses } = await ask<TxnResponse>("/v3/kv/txn", request);
    if (responses?.length !== 2) {
      const where = this.#client.where;
      throw new StoreError("unavailable", `etcd at ${where}: it answers half of what it was asked`);
    }
    const [now, old] = responses.map((one) => Number(one.response_range?.count ?? 0));
    if (now === 0 && old > 0) {
      throw new StoreError(
        "denied",
        `etcd at ${this.#client.where}: it holds data in the layout of Calico before v3 (/calico/v1) ` +
          "and none of v3; upgrade it with Calico's calico-upgrade, or name another datastore",
      );
    }
    // One that began earlier may end later.
    this.#servedIn = Math.max(this.#servedIn ?? epoch, epoch);
  }

  /** As `mustServe`, and for nothing where that was seen already of this very datastore. */
  async #mustBeOurs(): Promise<void> {
    if (this.#servedIn === this.epoch) return;
    // It was begun before we came, and so may give up before our own patience is at its end.
    await this.#looking?.catch(() => {});
    try {
      await this.#untilOurs(
        () => this.#looking ??= this.mustServe().finally(() => this.#looking = undefined),
        this.#deadline(),
      );
    } catch (error) {
      if (!(error instanceof EtcdFailure)) throw error;
      throw new StoreError("unavailable", `etcd at ${this.#client.where}: ${error.message}`);
    }
  }

  #deadline(): number {
    return this.#client.clock.monotonicMs() + this.#patienceMs;
  }

  /**
   * Looks until the datastore is the one that was looked at: while a member fails, each request that is lost
   * makes that doubtful again.
   */
  async #untilOurs(look: () => Promise<void>, deadline: number): Promise<void> {
    while (this.#servedIn !== this.epoch) {
      await look();
      if (this.#servedIn === this.epoch || this.#client.clock.monotonicMs() < deadline) continue;
      throw new EtcdFailure("member", "it is lost, or another, with each look at its layout");
    }
  }

  get epoch(): number {
    return this.#client.doubts;
  }

  async get<T = unknown>(key: string): Promise<Entry<T> | undefined> {
    checkKey(key);
    await this.#mustBeOurs();
    const { kvs } = await this.#read({ key: encodeText(key) }, `get of ${key}`);
    return kvs?.[0] && entryOf<T>(kvs[0]);
  }

  async list<T = unknown>(prefix: string): Promise<Listing<T>> {
    await this.#mustBeOurs();
    for (let tries = 1;; tries++) {
      try {
        return await this.#listOnce<T>(prefix);
      } catch (error) {
        const moved = error instanceof StoreError && error.kind === "compacted";
        if (!moved) throw error;
        if (tries === LIST_TRIES) throw new StoreError("unavailable", error.message);
      }
    }
  }

  async #listOnce<T>(prefix: string): Promise<Listing<T>> {
    const entries: Entry<T>[] = [], broken: BrokenEntry[] = [];
    let revision: string | undefined, losses = 0;
    for (const range of ownRanges(prefix)) {
      const range_end = rangeEnd(range);
      for (let key = encodeText(range);;) {
        const what = `list of ${prefix}`;
        const request = { key, range_end, limit: PAGE, revision };
        const page = revision === undefined
          ? await this.#read(request, what)
          : await this.#call<RangeResponse>("/v3/kv/range", request, { what });
        if (revision === undefined) {
          revision = page.header!.revision!;
          losses = this.#client.losses;
        } else if (losses !== this.#client.losses) {
          // The rest may be of another past (`watch.ts`).
          throw new StoreError(
            "compacted",
            `etcd at ${this.#client.where} was lost in the middle of a list of ${prefix}`,
          );
        }
        const kvs = page.kvs ?? [];
        for (const kv of kvs) {
          const read = readEntry<T>(kv);
          if ("reason" in read) broken.push(read);
          else entries.push(read);
        }
        if (!page.more || kvs.length === 0) break;
        key = keyAfter(kvs[kvs.length - 1].key);
      }
    }
    return { entries, revision: revision!, ...(broken.length > 0 && { broken }) };
  }

  async create(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    const write = checked(key, value, options);
    const answer = await this.#put(write, absent(write.key), read(write.key), `create of ${key}`);
    if (answer.succeeded) return answer.header.revision!;
    throw there(key, answer);
  }

  async update(
    key: string,
    value: unknown,
    revision: Revision,
    options: WriteOptions = {},
  ): Promise<Revision> {
    const write = checked(key, value, options);
    const compare = atRevision(write.key, revision);
    const answer = compare
      ? await this.#put(write, compare, read(write.key), `update of ${key}`)
      : await this.#txn({ success: [read(write.key)] }, { what: `update of ${key}` });
    if (compare && answer.succeeded) return answer.header.revision!;
    throw refused(key, revision, answer);
  }

  async put(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    const write = checked(key, value, options);
    const answer = await this.#put(write, undefined, undefined, `put of ${key}`);
    return answer.header.revision!;
  }

  async delete(key: string, revision?: Revision): Promise<Revision> {
    checkKey(key);
    const at = encodeText(key);
    const what = `delete of ${key}`;
    const remove: Operation = { requestDeleteRange: { key: at } };
    const compare = revision === undefined ? undefined : atRevision(at, revision);
    await this.#mustBeOurs();
    if (revision !== undefined && !compare) {
      throw refused(key, revision, await this.#txn({ success: [read(at)] }, { what }));
    }
    let doubt = false;
    const onDoubt = () => void (doubt = true);
    const answer = await this.#txn({
      compare: compare && [compare],
      success: [remove],
      failure: [read(at)],
    }, { what, write: true, ...(compare && { onDoubt }) });
    if (!answer.succeeded) throw doubt ? doubtful(what, key) : refused(key, revision!, answer);
    const deleted = answer.responses?.[0].response_delete_range?.deleted;
    if (!deleted) throw new StoreError("notFound", `${key} does not exist`, key);
    return answer.header.revision!;
  }

  async together(writes: readonly JointWrite[], epoch?: number): Promise<Revision[]> {
    mustBeJoint(writes.map(({ key }) => key));
    if (writes.length === 0) return [];
    const all = writes.map((write) => {
      const { key, value } = checked(write.key, write.value, {});
      const compare = write.op === "create" ? absent(key) : atRevision(key, write.revision);
      return { write, key, value, compare };
    });
    const what = `write of ${writes.length} objects, ${writes[0].key} the first`;
    const letters = all.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    if (letters * 3 / 4 > MOST_JOINT_BYTES) {
      throw new StoreError(
        "invalid",
        `a ${what}, is too much for etcd in one step; write them one by one`,
        writes[0].key,
      );
    }
    await this.#mustBeOurs();
    const conditions = all.flatMap(({ compare }) => compare ?? []);
    const reads = all.map(({ key }) => read(key));
    let doubt = false;
    // Of a try that may have been carried out the answer is waited for, whatever has begun since.
    const mustBeOfEpoch = () => {
      if (doubt || epoch === undefined || epoch === this.epoch) return;
      throw new StoreError("conflict", OTHER_EPOCH, writes[0].key);
    };
    // What no write can have made is at no revision: then the answer is only what stands there.
    const can = conditions.length === all.length;
    let answer: TxnResponse;
    try {
      answer = can
        ? await this.#txn({
          compare: conditions,
          success: all.map(({ key, value }) => ({ requestPut: { key, value } })),
          failure: reads,
        }, {
          what,
          write: true,
          onDoubt: () => void (doubt = true),
        }, mustBeOfEpoch)
        : await this.#txn({ success: reads }, { what });
    } catch (error) {
      // Another member may refuse us, after one that has carried it out.
      throw doubt ? doubtful(what, writes[0].key) : error;
    }
    if (can && answer.succeeded) {
      const revision = answer.header.revision!;
      for (const { key } of writes) this.#client.wrote(key, BigInt(revision));
      return writes.map(() => revision);
    }
    if (doubt) throw doubtful(what, writes[0].key);
    for (const [i, { write }] of all.entries()) {
      const kv = answer.responses?.[i]?.response_range?.kvs?.[0];
      if (write.op === "create" && kv) throw there(write.key, answer, i);
      if (write.op === "update" && kv?.mod_revision !== write.revision) {
        throw refused(write.key, write.revision, answer, i);
      }
    }
    const where = this.#client.where;
    throw new StoreError("unavailable", `etcd at ${where}: it refuses a ${what}, and not why`);
  }

  async *watch<T = unknown>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const { signal } = options;
    if (!/^(0|[1-9][0-9]{0,18})$/.test(options.from)) {
      throw new StoreError("invalid", `"${options.from}" is not a revision to watch from`);
    }
    const end = new AbortController();
    const stop = () => end.abort();
    if (signal?.aborted) return;
    signal?.addEventListener("abort", stop);
    const own = {
      from: BigInt(options.from),
      signal: end.signal,
      patienceMs: this.#patienceMs,
    };
    try {
      const streams = ownRanges(prefix).map((range) => watchRange<T>(this.#client, range, own));
      for await (const event of streams.length === 1 ? streams[0] : merged(streams, stop)) {
        if (end.signal.aborted) return;
        yield event;
      }
    } finally {
      stop();
      signal?.removeEventListener("abort", stop);
    }
  }

  close(): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }

  async #put(
    { key, value, ttlMs }: Checked,
    compare: Compare | undefined,
    otherwise: Operation | undefined,
    what: string,
  ): Promise<TxnResponse> {
    await this.#mustBeOurs();
    for (let tries = 1;; tries++) {
      const lease = ttlMs > 0 ? await this.#lease(ttlMs) : undefined;
      const request: TxnRequest = {
        compare: compare && [compare],
        success: [{ requestPut: { key, value, lease } }],
        failure: otherwise && [otherwise],
      };
      let doubt = false;
      const onDoubt = () => void (doubt = true);
      try {
        const options = { what, write: true, ...(compare && { onDoubt }) };
        const answer = await this.#txn(request, options);
        if (answer.succeeded) {
          this.#client.wrote(decodeKey(key), BigInt(answer.header.revision ?? 0));
          return answer;
        }
        if (doubt) throw doubtful(what, decodeKey(key));
        if (lease) this.#revoke(lease);
        return answer;
      } catch (error) {
        // It ran out between the two requests: somebody was held up.
        const gone = error instanceof LeaseGone && tries < 3;
        if (!gone) throw error;
      }
    }
  }

  /** `lastly`: called before each time that it is sent, and may keep it from that. */
  async #txn(
    request: TxnRequest,
    options: Told,
    lastly = () => {},
  ): Promise<TxnResponse> {
    const deadline = this.#deadline();
    const before = async (ask: Ask) => {
      await this.#untilOurs(() => this.#look(ask), deadline);
      lastly();
    };
    const all = { ...options, ...(options.write && { before }) };
    return await this.#call<TxnResponse>("/v3/kv/txn", request, all);
  }

  async #lease(ttlMs: number): Promise<string> {
    const seconds = Math.ceil(ttlMs / 1000);
    const { ID } = await this.#call<{ ID: string }>("/v3/lease/grant", { TTL: String(seconds) }, {
      what: "grant of a lease",
    });
    return ID;
  }

  /** Nobody waits for it: a lease without keys runs out by itself. */
  #revoke(ID: string): void {
    this.#call("/v3/lease/revoke", { ID }, { what: "revocation of a lease", once: true })
      .catch(() => {});
  }

  #read(request: RangeRequest, what: string): Promise<RangeResponse> {
    return this.#told(this.#reads.read(request), what);
  }

  #call<T>(path: string, body: unknown, options: Told): Promise<T> {
    return this.#told(this.#client.call<T>(path, body, options), options.what);
  }

  async #told<T>(answer: Promise<T>, what: string): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof EtcdFailure)) throw error;
      if (error.kind === "lease") throw new LeaseGone("unavailable", error.message);
      throw toStoreError(error, this.#client.where, what);
    }
  }
}

interface Told extends CallOptions {
  /** In words, for messages: `update of /calico/…`. */
  readonly what: string;
}

class LeaseGone extends StoreError {}

interface Checked {
  /** Both in base64. */
  readonly key: string;
  readonly value: string;
  readonly ttlMs: number;
}

function checked(key: string, value: unknown, options: WriteOptions): Checked {
  checkKey(key);
  return {
    key: encodeText(key),
    value: encodeText(encodeValue(key, value)),
    ttlMs: ttlMs(key, options.ttlSeconds),
  };
}

function absent(key: string): Compare {
  return { key, target: "VERSION", result: "EQUAL", version: "0" };
}

function read(key: string): Operation {
  return { requestRange: { key } };
}

/** undefined for what no write can have made: 0 would mean that there is no such key. */
function atRevision(key: string, revision: Revision): Compare | undefined {
  if (!/^[1-9][0-9]{0,17}$/.test(revision)) return undefined;
  return { key, target: "MOD", result: "EQUAL", mod_revision: revision };
}

/** What stands under the key that was read `at` this place, where it can be read. */
function standing(answer: TxnResponse, at = 0): Entry | undefined {
  const kv = answer.responses?.[at].response_range?.kvs?.[0];
  const entry = kv && readEntry(kv);
  return entry && "value" in entry ? entry : undefined;
}

function there(key: string, answer: TxnResponse, at = 0): StoreError {
  return new StoreError("exists", `${key} exists already`, key, standing(answer, at));
}

function refused(key: string, revision: Revision, answer: TxnResponse, at = 0): StoreError {
  const kv = answer.responses?.[at]?.response_range?.kvs?.[0];
  if (!kv) return new StoreError("notFound", `${key} does not exist`, key);
  return new StoreError(
    "conflict",
    `${key} was changed meanwhile: it is at revision ${kv.mod_revision}, not ${revision}; ` +
      "read it again and repeat the change",
    key,
    standing(answer, at),
  );
}

/** A second try was refused: because the first was carried out, or because somebody was quicker. */
function doubtful(what: string, key: string): StoreError {
  return new StoreError(
    "unavailable",
    `the outcome of ${what} is unknown: the connection to etcd broke and the object was changed ` +
      "meanwhile; read it again",
    key,
  );
}

function readEntry<T>(kv: KeyValue): Entry<T> | BrokenEntry {
  const key = decodeKey(kv.key), revision = kv.mod_revision;
  const decoded = decodeValue(key, kv.value);
  if ("broken" in decoded) return { key, revision, reason: decoded.broken };
  return { key, value: decoded.value as T, revision };
}

function entryOf<T>(kv: KeyValue): Entry<T> {
  const entry = readEntry<T>(kv);
  if ("value" in entry) return entry;
  throw new StoreError(
    "invalid",
    `the value of ${entry.key} in etcd cannot be read: ${entry.reason}; ${DELETE_OR_WRITE}`,
    entry.key,
    undefined,
    { damaged: entry.revision, reason: entry.reason },
  );
}
