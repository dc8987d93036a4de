/**
 * Walks a value and its schema side by side, for what valibot itself does not do: absent values in
 * Go's sense, fields that the schema does not know, Calico's form for storage. A schema with a pipe
 * carries the members of its first schema, so that `entries` (of an object), `item` (of a list) and
 * `wrapped` (of an optional field) are found on it.
 */
import type { Issue } from "./kind.ts";
import { nearest } from "./nearest.ts";
import { show } from "./show.ts";

/** A field that the schema does not know. Its message is made only when it is told. */
export interface UnknownField {
  readonly path: string;
  readonly key: string;
  readonly fields: object;
}

export function toUnknownIssue({ path, key, fields }: UnknownField): Issue {
  const near = nearest(key, Object.keys(fields));
  return { path, message: `unknown field${near ? ` (did you mean ${near}?)` : ""}` };
}

/** Whether the field differs from a known one by case alone. */
export function isInOtherCase({ key, fields }: UnknownField): boolean {
  const lower = key.toLowerCase();
  return Object.keys(fields).some((name) => name.toLowerCase() === lower);
}

export function unwrap(schema: any): any {
  while (schema.wrapped) schema = schema.wrapped;
  return schema;
}

export function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a member also where its name is `__proto__`. */
function put(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

/** Lists that stand where an object belongs: to valibot they are objects too. */
export function listIssues(
  schema: any,
  value: unknown,
  path: string,
): (Issue & { tolerable: boolean })[] {
  schema = unwrap(schema);
  if (Array.isArray(value)) {
    if (schema.item) {
      return value.flatMap((item, i) => listIssues(schema.item, item, `${path}[${i}]`));
    }
    return schema.entries || schema.type === "record"
      ? [{ path, message: `${show(value)} is not an object`, tolerable: false }]
      : [];
  }
  if (!schema.entries || !isPlain(value)) return [];
  return Object.entries(value).flatMap(([key, member]) =>
    Object.hasOwn(schema.entries, key)
      ? listIssues(schema.entries[key], member, path === "" ? key : `${path}.${key}`)
      : []
  );
}

/**
 * Texts that are "" where Calico's reader knows no such: of a new file they are refused; of what is stored they
 * are the same as nothing.
 */
export function emptyIssues(
  schema: any,
  value: unknown,
  path: string,
  anyCase: boolean,
): (Issue & { tolerable: boolean })[] {
  schema = unwrap(schema);
  if (schema.item && Array.isArray(value)) {
    return value.flatMap((item, i) => emptyIssues(schema.item, item, `${path}[${i}]`, anyCase));
  }
  if (!schema.entries || !isPlain(value)) return [];
  return Object.entries(value).flatMap(([written, member]) => {
    const key = anyCase ? fieldName(schema.entries, written, value) : written;
    if (!Object.hasOwn(schema.entries, key)) return [];
    const at = path === "" ? key : `${path}.${key}`;
    const entry = schema.entries[key];
    if (member !== "") return emptyIssues(entry, member, at, anyCase);
    return entry.type === "optional" && isMarked(entry, "neverEmpty")
      ? [{ path: at, message: '"" is not allowed: leave the field away', tolerable: true }]
      : [];
  });
}

/**
 * A copy without optional members that are null, texts that are "", and what Go leaves out of storage (a
 * zero that is marked so, an empty list that is no pointer): to Go all of it is the same as nothing. What is
 * null in a list or map of texts or objects is the empty one, as Go's reader has it; an unknown field stays
 * null, to be told like any other. A number that the schema knows
 * is a double, as it is to Calico, also where the datastore's reader gave an integer beyond 2^53 (1e16
 * is written with all its digits); in a field that nobody knows it stays exact. `anyCase`: names of
 * fields are read in any case.
 */
export function prune(schema: any, value: unknown, anyCase: boolean): unknown {
  schema = unwrap(schema);
  if (schema.entries && isPlain(value)) {
    const copy: Record<string, unknown> = {};
    for (const [written, member] of Object.entries(value)) {
      const key = anyCase ? fieldName(schema.entries, written, value) : written;
      const entry = Object.hasOwn(schema.entries, key) ? schema.entries[key] : undefined;
      if (entry && (member === null || isNothing(entry, member, anyCase))) continue;
      put(copy, key, entry ? prune(entry, member, anyCase) : member);
    }
    return copy;
  }
  if (schema.item && Array.isArray(value)) {
    return value.map((item) => prune(schema.item, item ?? zeroOf(schema.item), anyCase));
  }
  if (schema.type === "record" && isPlain(value)) {
    const members = Object.entries(value);
    return Object.fromEntries(
      members.map(([key, m]) => [key, prune(schema.value, m ?? zeroOf(schema.value), anyCase)]),
    );
  }
  return typeof value === "bigint" && takesNumber(schema) ? Number(value) : value;
}

/** Whether a known member says no more than its absence. `calicos`: of one of Calico's kinds. */
function isNothing(entry: any, member: unknown, calicos: boolean): boolean {
  if (entry.type !== "optional") return false;
  if (member === "" && mayBeText(entry)) return true;
  if (member !== "" && isZeroOf(entry, member) && isMarked(entry, "omitZero")) return true;
  return calicos && isEmptyList(member) && unwrap(entry).item && !isMarked(entry, "pointer");
}

/** What Go makes of null where a list or map has an element; null where that has no use. */
function zeroOf(schema: any): unknown {
  schema = unwrap(schema);
  if (schema.entries || schema.type === "record") return {};
  return schema.type === "string" || schema.type === "picklist" ? "" : null;
}

function takesNumber(schema: any): boolean {
  if (schema.type === "union") return schema.options.some((s: any) => takesNumber(unwrap(s)));
  return schema.type === "number";
}

/** Levels of an object; none of ours has more than twenty. */
const DEEPEST = 200;

/**
 * Numbers that JSON has no form for (stored as null, they would be no number at all), and what is
 * nested so deeply that it can only be meant to harm.
 */
export function endlessIssues(value: unknown, path = "", depth = 0): Issue[] {
  if (typeof value === "number") {
    return Number.isFinite(value) ? [] : [{ path, message: `${value} is not a finite number` }];
  }
  if (typeof value !== "object" || value === null) return [];
  if (depth > DEEPEST) return [{ path, message: `is nested deeper than ${DEEPEST} levels` }];
  return Object.entries(value).flatMap(([key, member]) =>
    endlessIssues(
      member,
      Array.isArray(value) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`,
      depth + 1,
    )
  );
}

/** To Go, "" is no list, object, number or truth value; and where a pointer leads to it, it is there. */
function mayBeText(schema: any): boolean {
  const { entries, item, type } = unwrap(schema);
  return !entries && !item && !["record", "number", "boolean"].includes(type) &&
    !isMarked(schema, "pointer");
}

/** The field that a key means: Go's JSON reader takes `Order` for `order`. */
export function fieldName(entries: object, key: string, object: object): string {
  if (Object.hasOwn(entries, key)) return key;
  const lower = key.toLowerCase();
  const field = Object.keys(entries).find((name) => name.toLowerCase() === lower);
  return field !== undefined && !Object.hasOwn(object, field) ? field : key;
}

/** Puts the fields that the schema does not know behind the known ones of the output, and tells them. */
export function attachUnknown(
  schema: any,
  input: unknown,
  output: unknown,
  path: string,
  unknown: UnknownField[],
): void {
  schema = unwrap(schema);
  if (schema.entries && isPlain(input) && isPlain(output)) {
    for (const [key, member] of Object.entries(input)) {
      const at = path === "" ? key : `${path}.${key}`;
      if (Object.hasOwn(schema.entries, key)) {
        attachUnknown(schema.entries[key], member, output[key], at, unknown);
        continue;
      }
      put(output, key, member);
      unknown.push({ path: at, key, fields: schema.entries });
    }
  } else if (schema.item && Array.isArray(input) && Array.isArray(output)) {
    input.forEach((item, i) =>
      attachUnknown(schema.item, item, output[i], `${path}[${i}]`, unknown)
    );
  }
}

/**
 * Puts what the schema does not know of an old object into a new one that says nothing of it: a newer
 * version wrote it, and an older file must not take it away. Lists are replaced whole.
 */
export function carryUnknown(schema: any, old: unknown, next: unknown): void {
  schema = unwrap(schema);
  if (!schema.entries || !isPlain(old) || !isPlain(next)) return;
  for (const [key, member] of Object.entries(old)) {
    if (Object.hasOwn(schema.entries, key)) carryUnknown(schema.entries[key], member, next[key]);
    else if (!Object.hasOwn(next, key)) put(next, key, structuredClone(member));
  }
}

/**
 * A copy in the order of the schema, without zero values that Go leaves out; maps sorted by key. `lists`:
 * empty lists are such, but where Go has a pointer to the list.
 */
export function dropZero(schema: any, value: unknown, lists: boolean): unknown {
  schema = unwrap(schema);
  if (schema.entries && isPlain(value)) {
    const copy: Record<string, unknown> = {};
    const keys = new Set([...Object.keys(schema.entries), ...Object.keys(value)]);
    for (const key of keys) {
      const member = Object.hasOwn(value, key) ? value[key] : undefined;
      if (member === undefined) continue;
      const entry = Object.hasOwn(schema.entries, key) ? schema.entries[key] : undefined;
      if (entry && isZero(member) && isMarked(entry, "omitZero")) continue;
      // A map without entries is no map, to Go.
      if (
        entry && unwrap(entry).type === "record" && isEmptyMap(member) &&
        !isMarked(entry, "pointer")
      ) continue;
      if (lists && entry && isEmptyList(member) && unwrap(entry).item) {
        if (!isMarked(entry, "pointer")) continue;
      }
      put(copy, key, entry ? dropZero(entry, member, lists) : member);
    }
    return copy;
  }
  if (schema.item && Array.isArray(value)) {
    return value.map((item) => dropZero(schema.item, item, lists));
  }
  if (schema.type === "record" && isPlain(value)) {
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1));
  }
  return value;
}

function isEmptyMap(value: unknown): boolean {
  return isPlain(value) && Object.keys(value).length === 0;
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

function isZero(value: unknown): boolean {
  return value === false || value === 0 || value === "";
}

/** `disabled: 0` is no zero of a truth value, but a slip. */
function isZeroOf(schema: any, value: unknown): boolean {
  const { type } = unwrap(schema);
  const plain = ["boolean", "number", "string"].includes(type);
  return isZero(value) && (!plain || typeof value === type);
}

function isMarked(schema: any, mark: "omitZero" | "pointer" | "neverEmpty"): boolean {
  return markOf(schema, mark) === true;
}

/** What a schema is marked with; of marks one within the other the outermost. */
export function markOf(schema: any, mark: string): any {
  // A pipe that was put into another is its first member.
  for (let pipe: any[] | undefined = unwrap(schema).pipe; pipe; pipe = pipe[0].pipe) {
    const found = pipe.findLast((item) => item.type === "metadata" && mark in item.metadata);
    if (found) return found.metadata[mark];
  }
  return undefined;
}
