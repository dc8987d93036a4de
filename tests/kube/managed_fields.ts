/**
 * Who manages which field ("Server-Side Apply"): sets of fields in the form FieldsV1, nested maps whose
 * keys are `f:<field>`; a leaf is an empty map. Lists are leaves here: their elements are not owned one
 * by one. An update gives the fields that it changed to its manager and takes them from the others; an
 * apply owns what it names, and conflicts where another manager owns a field that it would change.
 */
import type { KubeObject, ManagedFieldsEntry } from "./object.ts";
import { isMap, same } from "./object.ts";

export type FieldSet = { [step: string]: FieldSet };

/** Fields of metadata that nobody manages. */
const UNMANAGED = new Set([
  "name",
  "generateName",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "managedFields",
]);

const managed = (path: string[], field: string) =>
  path.length === 0
    ? field !== "apiVersion" && field !== "kind"
    : !(path.length === 1 && path[0] === "metadata" && UNMANAGED.has(field));

/** All fields that the value has, or those alone whose value differs from `old`. */
export function fieldsOf(value: object, old?: unknown, path: string[] = []): FieldSet {
  const set: FieldSet = {};
  for (const [field, inner] of Object.entries(value)) {
    if (inner === undefined || !managed(path, field)) continue;
    const before = isMap(old) ? old[field] : undefined;
    if (old !== undefined && same(before, inner)) continue;
    if (!isMap(inner) || Object.keys(inner).length === 0) set[`f:${field}`] = {};
    else {
      const below = fieldsOf(
        inner,
        old === undefined ? undefined : before ?? {},
        [...path, field],
      );
      if (Object.keys(below).length > 0) set[`f:${field}`] = below;
    }
  }
  return set;
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const out = { ...a };
  for (const [step, below] of Object.entries(b)) {
    out[step] = step in out ? union(out[step], below) : below;
  }
  return out;
}

/** Leaves of `a` that are no leaves of `b`. */
export function without(a: FieldSet, b: FieldSet): FieldSet {
  const out: FieldSet = {};
  for (const [step, below] of Object.entries(a)) {
    if (!(step in b)) out[step] = below;
    else if (Object.keys(below).length > 0) {
      const rest = without(below, b[step]);
      if (Object.keys(rest).length > 0) out[step] = rest;
    }
  }
  return out;
}

/** Paths of the leaves, as lists of field names. */
export function leaves(set: FieldSet, path: string[] = []): string[][] {
  return Object.entries(set).flatMap(([step, below]) => {
    const here = [...path, step.slice(2)];
    return Object.keys(below).length === 0 ? [here] : leaves(below, here);
  });
}

const isEmpty = (set: FieldSet) => Object.keys(set).length === 0;

const sameManager = (
  entry: ManagedFieldsEntry,
  manager: string,
  operation: string,
  subresource: string | undefined,
) =>
  entry.manager === manager && entry.operation === operation && entry.subresource === subresource;

export interface Writer {
  manager: string;
  operation: "Apply" | "Update";
  subresource?: string;
  /** RFC 3339. */
  time: string;
}

/** The entries after an update by `writer`. */
export function afterUpdate(
  next: KubeObject,
  old: KubeObject | undefined,
  entries: ManagedFieldsEntry[],
  writer: Writer,
): ManagedFieldsEntry[] {
  const changed = fieldsOf(next, old ?? undefined);
  // Fields that are gone belong to nobody.
  const gone = old ? without(fieldsOf(old), fieldsOf(next)) : {};
  if (isEmpty(changed) && isEmpty(gone)) return entries;
  const lost = union(changed, gone);
  let own: FieldSet = {};
  const others: ManagedFieldsEntry[] = [];
  for (const entry of entries) {
    const fields = entry.fieldsV1 as FieldSet;
    if (sameManager(entry, writer.manager, "Update", writer.subresource)) {
      own = without(fields, gone);
    } else {
      const rest = without(fields, lost);
      if (!isEmpty(rest)) others.push({ ...entry, fieldsV1: rest });
    }
  }
  own = union(own, changed);
  if (isEmpty(own)) return others;
  return [...others, entryOf(next.apiVersion, own, { ...writer, operation: "Update" })];
}

export function entryOf(apiVersion: string, set: FieldSet, writer: Writer): ManagedFieldsEntry {
  return {
    manager: writer.manager,
    operation: writer.operation,
    apiVersion,
    time: writer.time,
    fieldsType: "FieldsV1",
    fieldsV1: set,
    ...(writer.subresource ? { subresource: writer.subresource } : {}),
  };
}
