/** The JSON merge patch (RFC 7386) that makes one value of another. */
import { isJsonObject, printJson } from "../json.ts";

/** Names are those of anybody's labels: `constructor` is one that an object has, or has not. */
export function difference(from: unknown, to: unknown): unknown {
  if (!isJsonObject(from) || !isJsonObject(to)) return to;
  const patch: [string, unknown][] = [];
  for (const [name, value] of Object.entries(to)) {
    if (value === undefined) continue;
    const before = member(from, name);
    if (isJsonObject(before) && isJsonObject(value)) {
      const inner = difference(before, value) as object;
      if (Object.keys(inner).length > 0) patch.push([name, inner]);
    } else if (before === undefined || printJson(before) !== printJson(value)) {
      patch.push([name, value]);
    }
  }
  for (const name of Object.keys(from)) {
    if (member(to, name) === undefined) patch.push([name, null]);
  }
  return Object.fromEntries(patch);
}

function member(object: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}
