/**
 * Patches: a merge patch (RFC 7386: objects are joined, null removes, everything else replaces) and a
 * JSON patch (RFC 6902: a list of operations). `strategic_patch.ts` has Kubernetes' own form. Pure; the
 * argument is not changed.
 */
import { isJsonObject } from "../store/json.ts";

/** A patch that cannot be applied; the message says which operation and why. */
export class PatchError extends Error {
  override readonly name = "PatchError";
}

export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  let result: Record<string, unknown> = isJsonObject(target) ? target : {};
  for (const [key, value] of Object.entries(patch)) {
    const own = Object.hasOwn(result, key) ? result[key] : undefined;
    result = mergeOne(result, key, value === null ? null : mergePatch(own, value));
  }
  return result === target ? { ...result } : result;
}

/** A copy in which a member has a new value; without it where that is null. */
export function mergeOne(target: unknown, key: string, value: unknown): Record<string, unknown> {
  const copy: Record<string, unknown> = isJsonObject(target) ? { ...target } : {};
  if (value === null) delete copy[key];
  else {
    Object.defineProperty(copy, key, {
      value,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return copy;
}

/** RFC 6901, section 4. */
const LIST_INDEX = /^(0|[1-9][0-9]*)$/;

export function jsonPatch(target: unknown, operations: unknown): unknown {
  if (!Array.isArray(operations)) throw new PatchError("a JSON patch is a list of operations");
  let document = structuredClone(target);
  operations.forEach((operation, i) => {
    if (!isJsonObject(operation) || typeof operation.op !== "string") {
      throw new PatchError(`operation ${i + 1} has no op`);
    }
    try {
      document = applyOne(document, operation);
    } catch (error) {
      if (!(error instanceof PatchError)) throw error;
      throw new PatchError(`operation ${i + 1} (${operation.op}): ${error.message}`);
    }
  });
  return document;
}

function applyOne(document: unknown, operation: Record<string, unknown>): unknown {
  const path = pointer(operation.path, "path");
  switch (operation.op) {
    case "add":
      return edit(document, path, "add", needValue(operation));
    case "replace":
      return edit(document, path, "replace", needValue(operation));
    case "remove":
      return edit(document, path, "remove");
    case "move": {
      const from = pointer(operation.from, "from");
      const value = look(document, from);
      return edit(edit(document, from, "remove"), path, "add", value);
    }
    case "copy":
      return edit(
        document,
        path,
        "add",
        structuredClone(look(document, pointer(operation.from, "from"))),
      );
    case "test":
      if (same(look(document, path), needValue(operation))) return document;
      throw new PatchError(`the value at ${operation.path} is another one`);
    default:
      throw new PatchError("want add, remove, replace, move, copy or test");
  }
}

function needValue(operation: Record<string, unknown>): unknown {
  if (!Object.hasOwn(operation, "value")) throw new PatchError("value is missing");
  return structuredClone(operation.value);
}

function pointer(text: unknown, field: string): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) {
    throw new PatchError(`${field} is missing or does not begin with /`);
  }
  return text === ""
    ? []
    : text.slice(1).split("/").map((t) => t.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function look(document: unknown, path: readonly string[]): unknown {
  let value = document;
  for (const key of path) {
    if (Array.isArray(value) && LIST_INDEX.test(key) && Number(key) < value.length) {
      value = value[Number(key)];
    } else if (isJsonObject(value) && Object.hasOwn(value, key)) value = value[key];
    else throw new PatchError(`there is nothing at /${path.join("/")}`);
  }
  return value;
}

function edit(
  document: unknown,
  path: readonly string[],
  how: "add" | "replace" | "remove",
  value?: unknown,
): unknown {
  if (path.length === 0) return how === "remove" ? null : value;
  const parent = look(document, path.slice(0, -1));
  const key = path[path.length - 1];
  if (how !== "add") look(document, path);
  if (Array.isArray(parent)) {
    const at = key === "-" && how === "add"
      ? parent.length
      : LIST_INDEX.test(key)
      ? Number(key)
      : -1;
    if (at < 0 || at > parent.length) {
      throw new PatchError(`"${key}" is no place in a list of ${parent.length}`);
    }
    if (how === "add") parent.splice(at, 0, value);
    else if (how === "replace") parent[at] = value;
    else parent.splice(at, 1);
  } else if (isJsonObject(parent)) {
    if (how === "remove") delete parent[key];
    else {
      Object.defineProperty(parent, key, {
        value,
        writable: true,
        enumerable: true,
        configurable: true,
      });
    }
  } else throw new PatchError(`/${path.slice(0, -1).join("/")} is neither object nor list`);
  return document;
}

function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, i) => same(value, b[i]));
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
  }
  return a === b;
}
