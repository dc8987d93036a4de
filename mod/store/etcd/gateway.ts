/**
 * The messages of etcd's JSON gateway (etcdserverpb as proto3 JSON), as far as we send and read them.
 * Keys and values are base64, 64-bit numbers are decimal text, and what is zero, false or empty is left
 * out of an answer: no `type` means PUT, no `kvs` none, no `succeeded` false.
 */

import { parseAffinityKey } from "../../model/keys.ts";
import { parseJson, TOO_DEEP } from "../json.ts";
import type { Json } from "../store.ts";

export interface Header {
  readonly cluster_id?: string;
  readonly member_id?: string;
  readonly revision?: string;
  readonly raft_term?: string;
}

export interface KeyValue {
  readonly key: string;
  readonly value?: string;
  readonly mod_revision: string;
  readonly create_revision?: string;
  readonly version?: string;
}

export interface RangeRequest {
  readonly key: string;
  readonly range_end?: string;
  readonly revision?: string;
  readonly limit?: number;
  readonly count_only?: boolean;
  readonly keys_only?: boolean;
}

export interface RangeResponse {
  readonly header?: Header;
  readonly kvs?: readonly KeyValue[];
  readonly more?: boolean;
  readonly count?: string;
}

export interface Compare {
  readonly key: string;
  readonly target: "MOD" | "VERSION";
  readonly result: "EQUAL";
  readonly mod_revision?: string;
  readonly version?: string;
}

export type Operation =
  | { readonly requestRange: RangeRequest }
  | { readonly requestPut: { key: string; value: string; lease?: string } }
  | { readonly requestDeleteRange: { key: string; prev_kv?: boolean } };

export interface TxnRequest {
  readonly compare?: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure?: readonly Operation[];
}

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded?: boolean;
  readonly responses?: readonly {
    readonly response_range?: RangeResponse;
    readonly response_delete_range?: { readonly deleted?: string };
  }[];
}

export interface Event {
  readonly type?: "PUT" | "DELETE";
  readonly kv: KeyValue;
}

export interface WatchResponse {
  readonly header?: Header;
  readonly created?: boolean;
  readonly canceled?: boolean;
  readonly compact_revision?: string;
  readonly cancel_reason?: string;
  readonly events?: readonly Event[];
}

const encoder = new TextEncoder();
const keyDecoder = new TextDecoder();
const valueDecoder = new TextDecoder("utf-8", { fatal: true });

export function encodeText(text: string): string {
  return encoder.encode(text).toBase64();
}

export function decodeKey(base64: string): string {
  return keyDecoder.decode(Uint8Array.fromBase64(base64));
}

/** The end of the range of keys that begin with this prefix: the first key behind them all. */
export function rangeEnd(prefix: string): string {
  const bytes = encoder.encode(prefix);
  // UTF-8 has no byte 0xff, so that the last one can always be one more.
  bytes[bytes.length - 1]++;
  return bytes.toBase64();
}

/** The key right behind this one. */
export function keyAfter(key: string): string {
  const bytes = Uint8Array.fromBase64(key);
  const next = new Uint8Array(bytes.length + 1);
  next.set(bytes);
  return next.toBase64();
}

/**
 * A value, or why it is none. Where nothing was written it is the empty text: very old Calico versions
 * wrote affinities so. Of an affinity a JSON text that is empty is not the same: Calico cannot read it.
 */
export function decodeValue(
  key: string,
  base64: string | undefined,
): { value: Json } | { broken: string } {
  if (!base64) return { value: "" };
  try {
    const value = parseJson(valueDecoder.decode(Uint8Array.fromBase64(base64)));
    if (value === "" && parseAffinityKey(key)) return { broken: "it is an empty JSON text" };
    return { value };
  } catch (error) {
    const { message } = error as Error;
    return { broken: message === TOO_DEEP ? message : `it is not JSON: ${message.slice(0, 200)}` };
  }
}

/**
 * Our part of a keyspace that others may share: Calico's keys and our own. A prefix that takes in more
 * stands for those of the two that lie below it.
 */
export const OWN_PREFIXES = ["/calico/", "/tortie/"] as const;

/** The ranges that a prefix means. */
export function ownRanges(prefix: string): string[] {
  const below = OWN_PREFIXES.filter((own) => own.startsWith(prefix));
  return below.length > 0 ? below : [prefix];
}
