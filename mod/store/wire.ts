/**
 * The store's methods on the local socket: what goes over the wire, for `serve.ts` and `remote.ts`.
 *
 *     store.hello  {client}                          -> {store, opening, revision}
 *     store.ping   {}                                -> {revision}
 *     store.get    {key}                             -> entry or null
 *     store.list   {prefix}                          -> stream of {entries} … {revision}
 *     store.create {key, value, ttlSeconds?, …}      -> {revision}
 *     store.update {key, value, revision, …}         -> {revision}
 *     store.put    {key, value, ttlSeconds?, …}      -> {revision}
 *     store.delete {key, revision?, …}               -> {revision}
 *     store.together {writes: [{op, key, …}], …}     -> {revisions}
 *     store.watch  {prefix, from, store?, opening?}  -> stream of {events, revision}
 *
 * An entry is {key, value, revision}, an event {type, key, value?, revision}. Where a value holds
 * integers that JSON.parse would round (`json.ts`), `text`, its JSON as a string, stands for `value`;
 * so the conversation itself is plain JSON, and only such values pay for the careful reader. A watch tells the
 * revision up to which it has looked, first at once, then with every batch, so that it can be taken
 * up again from there, as long as the same process has the file open: `opening` names that, and a watch
 * that was told of another one is answered "compacted". While nobody had it open, the file may have
 * been put back from a copy, whose `store` is the same.
 *
 * `store.together` does all its writes, each a create or an update, or none; its first write's name is
 * that of the whole.
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
import { parseJson, printJson } from "./json.ts";
import { checkText, encodeValue } from "./limits.ts";
import {
  type Entry,
  type Revision,
  StoreError,
  type StoreErrorKind,
  type WatchEvent,
} from "./store.ts";

export interface Hello {
  /** The id of the data that is served. */
  readonly store: string;
  /** Of the time for which one process has it open; an older server tells none. */
  readonly opening?: string;
  readonly revision: string;
}

/** A value as a member of a JSON object: `"value":…`, or `"text":"…"`. */
export function valueMember(text: string): string {
  // Sixteen digits in a row are needed before JSON.parse can round.
  return /[0-9]{16}/.test(text) ? `"text":${JSON.stringify(text)}` : `"value":${text}`;
}

/** Reads such a member; StoreError "invalid" where the text is no JSON. */
export function memberValue(object: { value?: unknown; text?: unknown }): unknown {
  return typeof object.text === "string" ? parsed(object.text, parseJson) : object.value;
}

/** The same as text to be stored; StoreError "invalid" for what is no JSON, or too large. */
export function memberText(key: string, object: { value?: unknown; text?: unknown }): string {
  const { text } = object;
  // A line break would end the line of whoever is told of it.
  if (typeof text !== "string" || /[\r\n]/.test(text)) {
    return encodeValue(key, memberValue(object));
  }
  // It was written as values are; whether it is JSON is told without the reader that is careful.
  parsed(text, JSON.parse);
  checkText(key, text);
  return text;
}

function parsed(text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new StoreError("invalid", `the text of a value is not JSON: ${(error as Error).message}`);
  }
}

export function wireEntry(entry: Entry): unknown {
  const member = valueMember(printJson(entry.value));
  return { key: entry.key, ...JSON.parse(`{${member}}`), revision: entry.revision };
}

export function readEntry<T>(wire: unknown): Entry<T> {
  const { key, revision, ...member } = wire as Entry;
  return { key, value: memberValue(member) as T, revision };
}

export function readEvent<T>(wire: unknown): WatchEvent<T> {
  const { type, key, revision, ...member } = wire as WatchEvent & { text?: string };
  if (type === "delete") return { type, key, revision };
  return { type, key, value: memberValue(member) as T, revision };
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
  const { kind, message, key, current, damaged, reason } = error;
  const entry = current && wireEntry(current);
  return new RpcError(kind, message, { key, current: entry, damaged, reason });
}

/** The store's error that the wire carried; "unavailable" for any other trouble of the server. */
export function toStoreError(error: RpcError, method: string): StoreError {
  if (!Object.hasOwn(KINDS, error.kind)) {
    return new StoreError(
      "unavailable",
      `the datastore's server could not answer ${method}: ${error.message}`,
    );
  }
  const { key, current, damaged, reason } = (error.detail ?? {}) as {
    key?: string;
    current?: unknown;
    damaged?: Revision;
    reason?: string;
  };
  const entry = current ? readEntry(current) : undefined;
  return new StoreError(error.kind as StoreErrorKind, error.message, key, entry, {
    damaged,
    reason,
  });
}
