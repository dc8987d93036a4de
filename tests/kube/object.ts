/**
 * A Kubernetes object as the server holds it: plain JSON with typed metadata. Objects in the store are
 * never changed in place: a write puts a new object, so that a reader, a watch and the history may all
 * hold the same one, and its JSON text is made once (`jsonOf`).
 */

export interface ManagedFieldsEntry {
  manager: string;
  operation: "Apply" | "Update";
  apiVersion: string;
  time?: string;
  fieldsType: "FieldsV1";
  fieldsV1: Record<string, unknown>;
  subresource?: string;
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface Metadata {
  name: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  /** RFC 3339, whole seconds. */
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFieldsEntry[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  spec?: any;
  status?: any;
  [field: string]: any;
}

export type Json = null | boolean | number | string | Json[] | { [field: string]: Json };

/**
 * JSON with integers of 64 bits: those beyond 2^53 are read as bigint and written as they were, as a
 * server does that keeps int64.
 */
export function fromJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const exact = (_: string, value: unknown, context?: { source: string }) =>
    typeof value === "number" && !Number.isSafeInteger(value) &&
      /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context!.source)
      : value;
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
}

export function toJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    // There are big integers in it.
    const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
    return JSON.stringify(value, (_, v) => typeof v === "bigint" ? rawJSON(String(v)) : v);
  }
}

const texts = new WeakMap<object, string>();

/** The object's JSON, made once for each object. */
export function jsonOf(object: object): string {
  let text = texts.get(object);
  if (text === undefined) {
    text = toJson(object);
    texts.set(object, text);
  }
  return text;
}

/** A deep copy of plain JSON. */
export function copy<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copy) as T;
  if (!isMap(value)) return value;
  const out: Record<string, unknown> = {};
  for (const key in value) out[key] = copy(value[key]);
  return out as T;
}

/** Whether the value is a JSON object. */
export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Equality of JSON; the order of members does not count. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((x, i) => same(x, b[i]));
  }
  if (!isMap(a) || !isMap(b)) return false;
  const keys = Object.keys(a).filter((k) => a[k] !== undefined);
  return keys.length === Object.keys(b).filter((k) => b[k] !== undefined).length &&
    keys.every((k) => k in b && same(a[k], b[k]));
}

/** A time as Kubernetes writes it: RFC 3339 without fractions. */
export function timestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}
