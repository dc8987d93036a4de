/**
 * How the store lies in a Deno KV file.
 *
 *     ["store"]                 {format, id}: what the file is, and which
 *     ["revision"]              {revision, compacted, session}: the counter; every commit checks and sets it
 *     ["object", key]           the newest value of each key
 *     ["log", revision]         the bounded change log, one row for each write
 *     ["chunk", revision, n]    pieces of a value that is too large to lie in its rows
 *
 * A value of up to INLINE units lies in its object row and in its log row. A larger one is cut into
 * chunks, which are written before the commit that refers to them: until then nobody does, and pieces
 * that a crash left behind are swept at the next opening. They go when neither the object nor the log
 * refers to their revision any more.
 */

import type { ChangeRecord, PutRecord } from "./change_log.ts";

export const FORMAT = 1;

/** Deno KV's limits for one value and one transaction, and what we use of them. */
export const CHUNK_BYTES = 60_000;
export const CHUNKS_A_COMMIT = 10;
/** JSON text, in UTF-16 units, that lies in the rows themselves. */
export const INLINE = 16 * 1024;

export const STORE_KEY: Deno.KvKey = ["store"];
export const COUNTER_KEY: Deno.KvKey = ["revision"];
export const OBJECTS: Deno.KvKey = ["object"];
export const LOG: Deno.KvKey = ["log"];
export const CHUNKS: Deno.KvKey = ["chunk"];

export const objectKey = (key: string): Deno.KvKey => ["object", key];
export const logKey = (revision: number): Deno.KvKey => ["log", revision];
export const chunkKey = (revision: number, n: number): Deno.KvKey => ["chunk", revision, n];

export interface StoreRow {
  readonly format: number;
  readonly id: string;
}

export interface CounterRow {
  readonly revision: number;
  readonly compacted: number;
  /** The process that wrote it last, so that it knows its own commit again. */
  readonly session: string;
}

interface ValueRow {
  /** JSON, or the number of chunks that hold it. */
  readonly text?: string;
  readonly chunks?: number;
  readonly ttlMs?: number;
  readonly expires?: number;
}

export interface ObjectRow extends ValueRow {
  readonly revision: number;
}

export type LogRow = { readonly key: string } & (ValueRow | { readonly deleted: true }) & {
  readonly writeId?: string;
};

/** Whether the value of this record lies in chunks. */
export function isLarge(record: ChangeRecord): boolean {
  return record.type === "put" && record.text.length > INLINE;
}

/** The pieces of a large value. */
export function chunksOf(record: PutRecord): Uint8Array[] {
  const bytes = new TextEncoder().encode(record.text);
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    chunks.push(bytes.subarray(at, at + CHUNK_BYTES));
  }
  return chunks;
}

/** `chunks`: how many hold the value; 0 for one that lies in the row. */
function valueRow(record: PutRecord, chunks: number): ValueRow {
  return {
    ...(chunks > 0 ? { chunks } : { text: record.text }),
    ...(record.ttlMs > 0 && { ttlMs: record.ttlMs, expires: record.expires }),
  };
}

export function objectRow(record: PutRecord, chunks: number): ObjectRow {
  return { revision: record.revision, ...valueRow(record, chunks) };
}

export function logRow(record: ChangeRecord, chunks: number): LogRow {
  const { key, writeId } = record;
  return {
    key,
    ...(writeId !== undefined && { writeId }),
    ...(record.type === "put" ? valueRow(record, chunks) : { deleted: true }),
  };
}

/** The record in an object's or the log's row; `large` gives the text of a value in chunks. */
export function recordOf(
  key: string,
  revision: number,
  row: ObjectRow | LogRow,
  large: (revision: number, chunks: number) => string,
): ChangeRecord {
  const writeId = "writeId" in row ? row.writeId : undefined;
  if ("deleted" in row) return { type: "delete", key, revision, writeId };
  const { ttlMs = 0, expires = 0 } = row;
  const text = row.text ?? large(revision, row.chunks ?? 0);
  return { type: "put", key, revision, text, ttlMs, expires, writeId };
}
