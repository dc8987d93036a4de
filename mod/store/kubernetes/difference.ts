/** The JSON merge patch (RFC 7386) that makes one value of another. */
import { isJsonObject } from "../json.ts";

type Members = Record<string, unknown>;

export function difference(from: unknown, to: unknown): unknown {
  if (!isJsonObject(from) || !isJsonObject(to)) return to;
  const patch: Members = {};
  for (const [name, value] of Object.entries(to)) {
    if (value === undefined) continue;
    const before = from[name];
    if (before !== undefined && isJsonObject(before) && isJsonObject(value)) {
      const inner = difference(before, value) as Members;
      if (Object.keys(inner).length > 0) patch[name] = inner;
    } else if (JSON.stringify(before) !== JSON.stringify(value)) patch[name] = value;
  }
  for (const name of Object.keys(from)) if (to[name] === undefined) patch[name] = null;
  return patch;
}
