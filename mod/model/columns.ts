/** Columns that many kinds share, and how values are written in tables (as calicoctl writes them). */
import type { Column } from "./kind.ts";
import type { Resource } from "./resource.ts";

/** Values of calicoctl's table are what Go prints: nothing for "", `<nil>` for an absent pointer. */
export function goPointer(value: unknown): string {
  return value === undefined ? "<nil>" : goNumber(value);
}

/** As Go prints a float64 with %v: an exponent (of two digits) from 21 digits on or below 0.0001. */
export function goNumber(value: unknown): string {
  if (typeof value !== "number" || value === 0) return String(value);
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent >= -4 && exponent < 21) return String(value);
  return value.toExponential().replace(/e([+-])([0-9])$/, "e$10$2");
}

export function joined(values: readonly unknown[] | undefined): string {
  return (values ?? []).join(",");
}

/** Joined with commas; cut with `...` at 80 characters. */
export function joinedShort(values: readonly unknown[] | undefined): string {
  const text = joined(values);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

export const nameColumn: Column<Resource> = {
  heading: "NAME",
  value: (object) => object.metadata.name,
};

export function column<T>(heading: string, value: Column<T>["value"]): Column<T> {
  return { heading, value };
}
