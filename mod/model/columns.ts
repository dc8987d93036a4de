/** Columns that many kinds share, and how values are written in tables (as calicoctl writes them). */
import type { Column } from "./kind.ts";
import type { Resource } from "./resource.ts";

/** Values of calicoctl's table are what Go prints: nothing for "", `<nil>` for an absent pointer. */
export function goPointer(value: unknown): string {
  return value === undefined ? "<nil>" : goNumber(value);
}

/** As Go prints a float64 with %v: 999999, but 1e+06; an exponent below 0.0001 too. */
export function goNumber(value: unknown): string {
  if (typeof value !== "number" || value === 0) return String(value);
  const [mantissa, exponent] = value.toExponential().split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(value);
  const digits = String(Math.abs(power)).padStart(2, "0");
  return `${mantissa}e${power < 0 ? "-" : "+"}${digits}`;
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
