/** A value for a message: JSON, cut short. */
export function show(value: unknown): string {
  if (typeof value === "bigint") return `${value}`;
  const text = JSON.stringify(value, (_, v) => typeof v === "bigint" ? String(v) : v) ??
    String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
