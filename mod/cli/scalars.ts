/**
 * Scalars where a text belongs: `labels: {rack: 1, gpu: true}`, `name: 12`. YAML reads a number and a
 * boolean there; the reader that calicoctl and Kubernetes' own programs share (sigs.k8s.io/yaml) knows
 * which field is a text and makes one, in Go's spelling: `1`, `true`, `0.5`, `1e-05`. So do we, by the
 * kind's schema; a field that is no text, may be one of several things or has a reader of its own (a
 * duration, a time) stays as it is. (A whole number that was written as a float, `1e6`, is `1000000`: what it
 * was written as is not known here.)
 */
import { resolveKind } from "../model/manifest.ts";
import { markOf } from "../model/shape.ts";
import { ModelError } from "../model/validate.ts";
import { fitsGo } from "./yaml_numbers.ts";

/** The object with texts where its kind has texts. What is of no known kind comes back as it is. */
export function withTexts(value: unknown): unknown {
  let schema: unknown;
  try {
    schema = resolveKind(value).kind.schema;
  } catch (error) {
    if (error instanceof ModelError) return value;
    throw error;
  }
  return convert(schema, value);
}

function convert(schema: any, value: unknown): unknown {
  while (schema?.wrapped) schema = schema.wrapped;
  if (Array.isArray(value)) {
    return schema?.item ? value.map((item) => convert(schema.item, item)) : value;
  }
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value);
    if (schema?.type === "record") {
      return Object.fromEntries(members.map(([key, m]) => [key, convert(schema.value, m)]));
    }
    if (!schema?.entries) return value;
    return Object.fromEntries(members.map(([key, member]) => {
      const known = Object.hasOwn(schema.entries, key);
      return [key, known ? convert(schema.entries[key], member) : member];
    }));
  }
  return schema?.type === "string" && !markOf(schema, "reader") ? textOf(value) : value;
}

function textOf(value: unknown): unknown {
  switch (typeof value) {
    case "boolean":
      return String(value);
    case "bigint":
      return fitsGo(value) ? String(value) : floatText(Number(value));
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0)
        ? String(value)
        : floatText(value);
    default:
      return value;
  }
}

/**
 * As strconv.FormatFloat has it with 'g' and 32 bits: as few digits as tell it from its neighbours, and an
 * exponent, of two digits, below 1e-4 and from 1e6 on.
 */
function floatText(value: number): string {
  const single = Math.fround(value);
  if (Number.isNaN(single)) return "NaN";
  if (!Number.isFinite(single)) return single < 0 ? "-Inf" : "+Inf";
  if (single === 0) return Object.is(single, -0) ? "-0" : "0";
  let digits = 1;
  while (digits < 9 && Math.fround(Number(single.toPrecision(digits))) !== single) digits++;
  const shortest = Number(single.toPrecision(digits));
  const size = Math.abs(shortest);
  const text = size < 1e-4 || size >= 1e6 ? shortest.toExponential() : String(shortest);
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}
