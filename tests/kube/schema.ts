/**
 * Structural schemas of CustomResourceDefinitions, as "Extend the Kubernetes API with
 * CustomResourceDefinitions" describes them: unknown fields are pruned, defaults are filled in (a null
 * in a field that is not nullable and has a default counts as absent), and then the object is validated.
 * Expressions of the common expression language (`x-kubernetes-validations`) are not evaluated.
 */
import { copy, isMap, same } from "./object.ts";
import { type FieldError, invalidValue, notSupported, required, typeInvalid } from "./status.ts";

export interface StructuralSchema {
  type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  description?: string;
  format?: string;
  nullable?: boolean;
  default?: unknown;
  enum?: unknown[];
  properties?: Record<string, StructuralSchema>;
  additionalProperties?: boolean | StructuralSchema;
  items?: StructuralSchema;
  required?: string[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: boolean;
  exclusiveMaximum?: boolean;
  multipleOf?: number;
  minItems?: number;
  maxItems?: number;
  uniqueItems?: boolean;
  minProperties?: number;
  maxProperties?: number;
  allOf?: StructuralSchema[];
  anyOf?: StructuralSchema[];
  oneOf?: StructuralSchema[];
  not?: StructuralSchema;
  "x-kubernetes-preserve-unknown-fields"?: boolean;
  "x-kubernetes-int-or-string"?: boolean;
  "x-kubernetes-embedded-resource"?: boolean;
  "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  "x-kubernetes-list-map-keys"?: string[];
  "x-kubernetes-map-type"?: "granular" | "atomic";
}

/** Fields that each object has, whatever its schema says. */
const COMMON = new Set(["apiVersion", "kind", "metadata"]);

const schemaOfValues = (schema: StructuralSchema) =>
  isMap(schema.additionalProperties) ? schema.additionalProperties as StructuralSchema : undefined;

/** Removes fields that the schema does not know; gives their paths. Changes `value`. */
export function prune(value: unknown, schema: StructuralSchema, root = true): string[] {
  const gone: string[] = [];
  walk(value, schema, "", root || schema["x-kubernetes-embedded-resource"] === true);
  return gone;

  function walk(at: unknown, schema: StructuralSchema, path: string, whole: boolean): void {
    if (Array.isArray(at)) {
      if (schema.items) at.forEach((x, i) => walk(x, schema.items!, `${path}[${i}]`, false));
      return;
    }
    if (!isMap(at)) return;
    const keep = schema["x-kubernetes-preserve-unknown-fields"] === true ||
      schema.additionalProperties === true;
    for (const [field, inner] of Object.entries(at)) {
      if (whole && COMMON.has(field)) continue;
      const place = path === "" ? field : `${path}.${field}`;
      const known = schema.properties?.[field] ?? schemaOfValues(schema);
      if (known) walk(inner, known, place, known["x-kubernetes-embedded-resource"] === true);
      else if (!keep) {
        gone.push(place);
        delete at[field];
      }
    }
  }
}

/** Fills in defaults where a field is absent. Changes `value`. */
export function fillDefaults(value: unknown, schema: StructuralSchema): void {
  if (Array.isArray(value)) {
    if (schema.items) { for (const inner of value) fillDefaults(inner, schema.items); }
    return;
  }
  if (!isMap(value)) return;
  for (const [field, known] of Object.entries(schema.properties ?? {})) {
    const absent = value[field] === undefined || (value[field] === null && !known.nullable);
    if (absent && known.default !== undefined) value[field] = copy(known.default);
    if (value[field] !== undefined) fillDefaults(value[field], known);
  }
  const values = schemaOfValues(schema);
  if (values) {
    for (const [field, inner] of Object.entries(value)) {
      if (!schema.properties || !(field in schema.properties)) fillDefaults(inner, values);
    }
  }
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value === "bigint" ? "integer" : typeof value;
}

const DATE_TIME = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** All faults of the value; `path` is that of the value, "" for the object itself. */
export function validate(value: unknown, schema: StructuralSchema, path = ""): FieldError[] {
  const faults: FieldError[] = [];
  const name = path === "" ? "<root>" : path;
  const say = (detail: string) =>
    faults.push(invalidValue(name, value, `${name} in body ${detail}`));
  const join = (field: string) => path === "" ? field : `${path}.${field}`;
  if (value === null && schema.nullable) return [];
  const type = typeOf(value);
  if (schema["x-kubernetes-int-or-string"]) {
    if (type !== "integer" && type !== "string") {
      return [
        typeInvalid(name, type, `${name} in body must be of type integer or string: "${type}"`),
      ];
    }
  } else if (
    schema.type && schema.type !== type && !(schema.type === "number" && type === "integer")
  ) {
    return [
      typeInvalid(name, type, `${name} in body must be of type ${schema.type}: "${type}"`),
    ];
  }
  if (schema.enum && !schema.enum.some((allowed) => same(allowed, value))) {
    faults.push(notSupported(name, value, schema.enum));
  }
  if (typeof value === "string") {
    const length = [...value].length;
    if (schema.minLength !== undefined && length < schema.minLength) {
      say(`should be at least ${schema.minLength} chars long`);
    }
    if (schema.maxLength !== undefined && length > schema.maxLength) {
      faults.push({
        reason: "FieldValueTooLong",
        field: name,
        message: `Too long: may not be more than ${schema.maxLength} bytes`,
      });
    }
    if (schema.pattern && !new RegExp(schema.pattern, "u").test(value)) {
      say(`should match '${schema.pattern}'`);
    }
    if (schema.format === "date-time" && !DATE_TIME.test(value)) {
      say(`must be of type date-time: "${value}"`);
    }
  } else if (typeof value === "number") {
    const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
    if (minimum !== undefined && (exclusiveMinimum ? value <= minimum : value < minimum)) {
      say(`should be greater than${exclusiveMinimum ? "" : " or equal to"} ${minimum}`);
    }
    if (maximum !== undefined && (exclusiveMaximum ? value >= maximum : value > maximum)) {
      say(`should be less than${exclusiveMaximum ? "" : " or equal to"} ${maximum}`);
    }
    if (multipleOf !== undefined && value % multipleOf !== 0) {
      say(`should be a multiple of ${multipleOf}`);
    }
    if (schema.format === "int32" && (value < -(2 ** 31) || value > 2 ** 31 - 1)) {
      say(`must be of type int32: "${value}"`);
    }
  } else if (Array.isArray(value)) {
    validateList(value, schema, name, faults, say);
    value.forEach((x, i) => {
      if (schema.items) faults.push(...validate(x, schema.items, `${path}[${i}]`));
    });
  } else if (isMap(value)) {
    for (const field of schema.required ?? []) {
      if (value[field] === undefined) faults.push(required(join(field)));
    }
    const count = Object.keys(value).length;
    if (schema.minProperties !== undefined && count < schema.minProperties) {
      say(`should have at least ${schema.minProperties} properties`);
    }
    if (schema.maxProperties !== undefined && count > schema.maxProperties) {
      say(`should have at most ${schema.maxProperties} properties`);
    }
    for (const [field, inner] of Object.entries(value)) {
      if (path === "" && COMMON.has(field)) continue;
      const known = schema.properties?.[field] ?? schemaOfValues(schema);
      if (known) faults.push(...validate(inner, known, join(field)));
    }
  }
  const fits = (s: StructuralSchema) => validate(value, s, path).length === 0;
  for (const part of schema.allOf ?? []) faults.push(...validate(value, part, path));
  if (schema.anyOf && !schema.anyOf.some(fits)) say("must validate at least one schema (anyOf)");
  if (schema.oneOf && schema.oneOf.filter(fits).length !== 1) {
    say("must validate one and only one schema (oneOf)");
  }
  if (schema.not && fits(schema.not)) say("must not validate the schema (not)");
  return faults;
}

function validateList(
  list: unknown[],
  schema: StructuralSchema,
  name: string,
  faults: FieldError[],
  say: (detail: string) => void,
): void {
  if (schema.minItems !== undefined && list.length < schema.minItems) {
    say(`should have at least ${schema.minItems} items`);
  }
  if (schema.maxItems !== undefined && list.length > schema.maxItems) {
    faults.push({
      reason: "FieldValueTooMany",
      field: name,
      message: `Too many: ${list.length}: must have at most ${schema.maxItems} items`,
    });
  }
  const keys = schema["x-kubernetes-list-map-keys"];
  const kind = schema["x-kubernetes-list-type"];
  if (kind !== "set" && kind !== "map" && !schema.uniqueItems) return;
  const seen = new Set<string>();
  list.forEach((item, i) => {
    const id = JSON.stringify(
      kind === "map" && isMap(item) ? (keys ?? []).map((key) => item[key]) : item,
    );
    if (seen.has(id)) {
      faults.push({
        reason: "FieldValueDuplicate",
        field: `${name}[${i}]`,
        message: `Duplicate value: ${id}`,
      });
    }
    seen.add(id);
  });
}

/** Why a schema is not structural; each fault names the place in the schema. */
export function structureFaults(schema: StructuralSchema, path: string): FieldError[] {
  const faults: FieldError[] = [];
  const open = schema["x-kubernetes-int-or-string"] ||
    schema["x-kubernetes-preserve-unknown-fields"];
  if (!schema.type && !open) {
    faults.push(required(`${path}.type`, "must not be empty for specified object fields"));
  }
  // Beside no properties, false is taken by the server, whatever its documentation says.
  const closed = schema.additionalProperties !== undefined && schema.additionalProperties !== true;
  if (closed && Object.keys(schema.properties ?? {}).length > 0) {
    faults.push({
      reason: "FieldValueForbidden",
      field: `${path}.additionalProperties`,
      message: "Forbidden: additionalProperties and properties are mutual exclusive",
    });
  }
  if (schema.type === "array" && !schema.items) {
    faults.push(required(`${path}.items`, "must be specified"));
  }
  for (const [field, inner] of Object.entries(schema.properties ?? {})) {
    faults.push(...structureFaults(inner, `${path}.properties[${field}]`));
  }
  const values = schemaOfValues(schema);
  if (values) faults.push(...structureFaults(values, `${path}.additionalProperties`));
  if (schema.items) faults.push(...structureFaults(schema.items, `${path}.items`));
  return faults;
}
