/**
 * The store's methods on the local socket: what goes over the wire, for `serve.ts` and `remote.ts`.
 *
 *     store.hello  {client}                          -> {store, revision}
 *     store.ping   {}                                -> {revision}
 *     store.get    {key}                             -> entry or null
 *     store.list   {prefix}                          -> stream of {entries} … {revision}
 *     store.create {key, value, ttlSeconds?, …}      -> {revision}
 *     store.update {key, value, revision, …}         -> {revision}
 *     store.put    {key, value, ttlSeconds?, …}      -> {revision}
 *     store.delete {key, revision?, …}               -> {revision}
 *     store.watch  {prefix, from, store?}            -> stream of {events, revision}
 *
 * An entry is {key, value, revision}, an event {type, key, value?, revision}. A watch tells the
 * revision up to which it has looked, first at once, then with every batch, so that it can be taken
 * up again from there.
 *
 * Every write carries a `writeId` of its own, and the change log keeps it. A client that lost the
 * answer sends the very same write again, with `repeatedSince` (a revision of the store that it knew
 * before the first try) and `store` (the store's id): if the write was done, its revision is in the
 * log and is the answer; if not, it is done now. So a write is carried out once whatever breaks. (To
 * read the object back would not tell: it may have been changed again since, or been what was
 * written before.) Where the log has moved on, or the store is another one, the answer is
 * "unavailable", outcome unknown.
 *
 * `client` names a client across its connections: a new hello ends its former connection, so that a
 * request from there cannot be carried out after its repetition was answered.
 */

import { RpcError } from "../rpc/method.ts";
import { type Entry, StoreError, type StoreErrorKind } from "./store.ts";

export interface Hello {
  /** The id of the data that is served. */
  readonly store: string;
  readonly revision: string;
}

const KINDS: Record<StoreErrorKind, true> = {
  exists: true,
  conflict: true,
  notFound: true,
  compacted: true,
  unavailable: true,
  denied: true,
  invalid: true,
};

/** A store's error as the wire carries it. */
export function toRpcError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  return new RpcError(error.kind, error.message, { key: error.key, current: error.current });
}

/** The store's error that the wire carried; "unavailable" for any other trouble of the server. */
export function toStoreError(error: RpcError, method: string): StoreError {
  if (!Object.hasOwn(KINDS, error.kind)) {
    return new StoreError(
      "unavailable",
      `the datastore's server could not answer ${method}: ${error.message}`,
    );
  }
  const { key, current } = (error.detail ?? {}) as { key?: string; current?: Entry };
  return new StoreError(error.kind as StoreErrorKind, error.message, key, current);
}
