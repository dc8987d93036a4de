/**
 * One write as a value, and the rule that decides it: given what stands under the key now, either
 * the record to append or the StoreError to answer. Pure; the group commit (`writer.ts`) runs it for
 * one write after the other, so each sees those before it.
 */

import type { ChangeRecord, PutRecord } from "./change_log.ts";
import { parseJson } from "./json.ts";
import { type Entry, type Revision, StoreError } from "./store.ts";

interface Common {
  readonly key: string;
  /** Names the request: a second request of that name does nothing and has the first one's answer. */
  readonly writeId?: string;
  /**
   * Set when the request is sent again because its first answer was lost: the store's revision
   * before it was first sent. If the log no longer reaches back so far, nobody can tell whether it
   * was done.
   */
  readonly repeatedSince?: number;
}

export type Write =
  | Common & { readonly op: "create" | "put"; readonly text: string; readonly ttlMs: number }
  | Common & {
    readonly op: "update";
    readonly text: string;
    readonly ttlMs: number;
    readonly revision: Revision;
  }
  | Common & { readonly op: "delete"; readonly revision?: Revision }
  /** The store's own: the record of that revision has outlived its time. */
  | Common & { readonly op: "expire"; readonly revision: number };

export function entryOf<T>(record: PutRecord): Entry<T> {
  return {
    key: record.key,
    value: parseJson(record.text) as T,
    revision: String(record.revision),
  };
}

/**
 * The record that the write makes, with the revision `next`; StoreError "exists", "notFound" or
 * "conflict" otherwise. `undefined`: nothing to do (an entry that was renewed before it expired).
 */
export function decide(
  write: Write,
  current: PutRecord | undefined,
  next: number,
  wallMs: number,
): ChangeRecord | StoreError | undefined {
  const { key } = write;
  switch (write.op) {
    case "create":
      if (current) {
        return new StoreError("exists", `${key} exists already`, key, entryOf(current));
      }
      return put(write, next, wallMs);
    case "put":
      return put(write, next, wallMs);
    case "update":
      if (!current) return notFound(key);
      if (String(current.revision) !== write.revision) return conflict(current, write.revision);
      return put(write, next, wallMs);
    case "delete":
      if (!current) return notFound(key);
      if (write.revision !== undefined && String(current.revision) !== write.revision) {
        return conflict(current, write.revision);
      }
      return { type: "delete", key, revision: next, writeId: write.writeId };
    case "expire":
      if (current?.revision !== write.revision) return undefined;
      return { type: "delete", key, revision: next };
  }
}

function put(
  write: Write & { op: "create" | "put" | "update" },
  revision: number,
  wallMs: number,
): PutRecord {
  const { key, text, ttlMs, writeId } = write;
  const expires = ttlMs === 0 ? 0 : wallMs + ttlMs;
  return { type: "put", key, revision, text, ttlMs, expires, writeId };
}

function notFound(key: string): StoreError {
  return new StoreError("notFound", `${key} does not exist`, key);
}

function conflict(current: PutRecord, revision: Revision): StoreError {
  return new StoreError(
    "conflict",
    `${current.key} was changed meanwhile: it is at revision ${current.revision}, not ${revision}; ` +
      `read it again and repeat the change`,
    current.key,
    entryOf(current),
  );
}
