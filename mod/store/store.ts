/**
 * The datastore: one small interface over keys and JSON values, with Calico's etcdv3 key layout
 * (`mod/model/keys.ts`). Drivers: kv (Deno KV in this process), remote (a kv served over a local
 * socket), etcd, kubernetes. All pass one conformance suite (`conformance.ts`).
 *
 * Every write is a compare-and-swap or says that it is not (`put`). Revisions are decimal numbers of
 * one counter for the whole store, as etcd's: a higher number was written later, whatever the key (in
 * etcd, what was written together has one number).
 * A value is JSON; its members keep the order in which they were written, so that an etcd value is
 * Calico's byte for byte.
 */

/** A decimal number, as text: revisions outgrow 2^53 in no store we know, but they are compared only here. */
export type Revision = string;

/** A JSON value. Integers beyond 2^53 are bigint (`json.ts` reads and prints them exactly). */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };

export interface Entry<T = unknown> {
  readonly key: string;
  readonly value: T;
  /** Of the last write to this key. */
  readonly revision: Revision;
}

/** What lies under a key and is no JSON value: half-written, or somebody else's. */
export interface BrokenEntry {
  readonly key: string;
  readonly revision: Revision;
  readonly reason: string;
  /** An object of Kubernetes whose name is not that of what it says: the key of that. */
  readonly speaksOf?: string;
}

export interface Listing<T = unknown> {
  readonly entries: Entry<T>[];
  /** Left out of `entries`: they count as not there. */
  readonly broken?: readonly BrokenEntry[];
  /** Of the store, when the list was read: watch from here to miss nothing. */
  readonly revision: Revision;
}

export type WatchEvent<T = unknown> =
  | {
    readonly type: "put";
    readonly key: string;
    readonly value: T;
    readonly revision: Revision;
  }
  | {
    readonly type: "delete";
    readonly key: string;
    readonly revision: Revision;
    /** Something was written that cannot be read, and counts as not there: why. */
    readonly broken?: string;
  };

/** What kept a store operation from being done. */
export type StoreErrorKind =
  | "exists" // create: the key is there; `current` is what stands there
  | "conflict" // update, delete: the revision is not the latest; `current` is what stands there
  | "notFound" // update, delete: the key is not there
  | "compacted" // watch: the log does not reach back so far, or may be another; list again
  | "unavailable" // the store cannot be reached now; trying again may help
  | "denied" // the store refuses us
  | "invalid"; // a key or value that the store cannot hold

export class StoreError extends Error {
  override readonly name = "StoreError";
  constructor(
    readonly kind: StoreErrorKind,
    message: string,
    readonly key?: string,
    readonly current?: Entry,
    more: { damaged?: Revision; reason?: string } = {},
  ) {
    super(message);
    this.damaged = more.damaged;
    this.reason = more.reason;
  }

  /** With "invalid", of a get: what stands there is no JSON value, and has this revision. */
  readonly damaged?: Revision;
  /** Why that cannot be read, as a list tells it (`BrokenEntry`). */
  readonly reason?: string;
}

export interface WriteOptions {
  /**
   * The entry goes away by itself this many seconds after the last write with a TTL, which watchers
   * see as a deletion. A later write without it takes the limit away, as a put without lease in etcd.
   */
  ttlSeconds?: number;
}

/** One of several writes that are done together. */
export type JointWrite =
  & { readonly key: string; readonly value: unknown }
  & ({ readonly op: "create" } | { readonly op: "update"; readonly revision: Revision });

/** Writes that can be done together: within what etcd takes (128). */
export const MOST_TOGETHER = 100;

/** Why several writes are refused that name revisions of another epoch (`Store.together`). */
export const OTHER_EPOCH =
  "the datastore may have been put back since it was read; read it again and repeat the change";

export interface WatchOptions {
  /** Events after this revision, in the order of revisions, none left out. */
  from: Revision;
  signal?: AbortSignal;
}

export interface Store {
  /**
   * Another number than before where the data may have been put back from a backup meanwhile: from then on
   * revisions are given anew, and what was read or written earlier says nothing of what stands there now,
   * though it has the same revision. A restoration ends the server's connections, and is noticed by those
   * that are in use: so whoever remembers what he read has a watch open beside it.
   */
  readonly epoch: number;
  get<T = unknown>(key: string): Promise<Entry<T> | undefined>;
  /** All entries whose key begins with the prefix, ordered by key. */
  list<T = unknown>(prefix: string): Promise<Listing<T>>;
  /** StoreError "exists" where the key is there. */
  create(key: string, value: unknown, options?: WriteOptions): Promise<Revision>;
  /** StoreError "notFound", or "conflict" where `revision` is not the key's. */
  update(
    key: string,
    value: unknown,
    revision: Revision,
    options?: WriteOptions,
  ): Promise<Revision>;
  /** Writes whatever stands there (Calico uses this for the IPAM configuration and statuses). */
  put(key: string, value: unknown, options?: WriteOptions): Promise<Revision>;
  /** StoreError "notFound", or "conflict" where a revision is given and is not the key's. Returns the new revision. */
  delete(key: string, revision?: Revision): Promise<Revision>;
  /**
   * All of these writes, of different keys, or none of them; their revisions in the same order. It rejects
   * as the first that is refused would, with that one's key. Absent, or undefined: this datastore writes one
   * object at a time. At most `MOST_TOGETHER` of them.
   *
   * `epoch`: in which the caller has read the revisions that it names. Where another has begun by the time
   * at which the request is sent, they say nothing, and it is refused as "conflict" of the first write.
   */
  together?(writes: readonly JointWrite[], epoch?: number): Promise<Revision[] | undefined>;
  /**
   * Events of keys that begin with the prefix. Ends when the signal is aborted; throws StoreError
   * "compacted" or "unavailable", after which the caller lists again (`follow.ts` does all that). A
   * watch whose connection to the server was lost ends so, as soon as the server is there again: it
   * may have been put back from a backup meanwhile, and gone on to revisions that were there before.
   */
  watch<T = unknown>(prefix: string, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
  close(): Promise<void>;
}

/** Negative, zero or positive as a is older than, the same as or newer than b. */
export function compareRevisions(a: Revision, b: Revision): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
