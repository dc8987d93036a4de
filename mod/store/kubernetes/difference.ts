/** The JSON merge patch (RFC 7386) that makes one value of another. */

type Members = Record<string, unknown>;

export function difference(from: unknown, to: unknown): unknown {
  if (!isObject(from) || !isObject(to)) return to;
  const patch: Members = {};
  for (const [name, value] of Object.entries(to)) {
    if (value === undefined) continue;
    const before = from[name];
    if (before !== undefined && isObject(before) && isObject(value)) {
      const inner = difference(before, value) as Members;
      if (Object.keys(inner).length > 0) patch[name] = inner;
    } else if (JSON.stringify(before) !== JSON.stringify(value)) patch[name] = value;
  }
  for (const name of Object.keys(from)) if (to[name] === undefined) patch[name] = null;
  return patch;
}

function isObject(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
