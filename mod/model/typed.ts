/**
 * Types of values, as Calico's programs have them in Go: a text where a number belongs, a fraction in a
 * whole number, one that its field has not the bits for, a duration that is none. There the reader of JSON
 * stops, before any rule of the kind is looked at; calicoctl reads all of a file before it writes anything,
 * so that one such value keeps the whole file from being written. What is broken beyond that is a matter of
 * the one object.
 *
 * Most leaves are read as their schema's type. Others are marked with what reads them (`read` of
 * `fields.ts`).
 */
import type { Issue, Kind } from "./kind.ts";
import { fieldName, isPlain, markOf, unwrap } from "./shape.ts";
import { show } from "./show.ts";

/** What Calico's own reader of a leaf takes. */
export interface Reader {
  takes(value: unknown): boolean;
  readonly want: string;
}

const BITS = {
  uint8: [0n, 0xffn],
  uint16: [0n, 0xffffn],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 0xffff_ffffn],
  int: [-(2n ** 63n), 2n ** 63n - 1n],
} as const;
export type GoInteger = keyof typeof BITS;

export function isGoInteger(value: unknown, type: GoInteger): boolean {
  const whole = typeof value === "bigint" || typeof value === "number" && Number.isInteger(value);
  if (!whole) return false;
  const [least, most] = BITS[type];
  return BigInt(value) >= least && BigInt(value) <= most;
}

/** `a whole number from 0 to 255` */
export function rangeOf(type: GoInteger): string {
  const [least, most] = BITS[type];
  return type === "int" ? "a whole number" : `a whole number from ${least} to ${most}`;
}

/** The values of an object that are not of their field's type. */
export function typeIssues(kind: Kind<any, any>, value: unknown): Issue[] {
  // Which kind it is has been read already.
  const { kind: _, apiVersion: __, ...entries } = (kind.schema as any).entries;
  return issuesOf({ entries }, value, "");
}

function issuesOf(schema: any, value: unknown, path: string): Issue[] {
  schema = unwrap(schema);
  // To Go, null is nothing, in a field of any type.
  if (value === null || value === undefined) return [];
  const wrong = (want: string) => [{ path, message: `${show(value)} is not ${want}` }];
  const reader: Reader | undefined = markOf(schema, "reader");
  if (reader) return reader.takes(value) ? [] : wrong(reader.want);
  if (schema.entries) {
    if (!isPlain(value)) return wrong("an object");
    return Object.entries(value).flatMap(([written, member]) => {
      const key = fieldName(schema.entries, written, value);
      if (!Object.hasOwn(schema.entries, key)) return [];
      return issuesOf(schema.entries[key], member, path === "" ? key : `${path}.${key}`);
    });
  }
  if (schema.item) {
    if (!Array.isArray(value)) return wrong("a list");
    return value.flatMap((item, i) => issuesOf(schema.item, item, `${path}[${i}]`));
  }
  switch (schema.type) {
    case "record":
      if (!isPlain(value)) return wrong("an object");
      return Object.entries(value).flatMap(([key, member]) =>
        issuesOf(schema.value, member, `${path}.${key}`)
      );
    case "string":
      return isText(value) ? [] : wrong("a text");
    case "picklist":
      return typeof schema.options[0] === "number"
        ? isGoInteger(value, "int") ? [] : wrong(rangeOf("int"))
        : isText(value)
        ? []
        : wrong("a text");
    case "number":
      return isGoInteger(value, "int") ? [] : wrong(rangeOf("int"));
    case "boolean":
      return typeof value === "boolean" ? [] : wrong("true or false");
    default:
      return [];
  }
}

/** In YAML, a number or truth value is a text where one belongs (mod/cli/scalars.ts). */
function isText(value: unknown): boolean {
  return typeof value !== "object";
}
