/**
 * The two patch types that know no schema: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386). A JSON
 * patch that is no patch is a 400; one that does not fit the object (a path that is not there, a `test`
 * that fails) is a 422.
 */
import { copy, isMap, same } from "./object.ts";
import { badRequest, unprocessable } from "./status.ts";

/** RFC 7386: null deletes, objects are merged, everything else replaces. Changes `target`. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return copy(patch);
  const out: Record<string, unknown> = isMap(target) ? target : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete out[field];
    else out[field] = mergePatch(out[field], value);
  }
  return out;
}

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

const MOST_OPERATIONS = 10_000;

/** Changes `target`, which is the root. Throws 400 and 422. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest("a JSON patch is an array of operations");
  if (patch.length > MOST_OPERATIONS) {
    throw badRequest(`The allowed maximum operations in a JSON patch is ${MOST_OPERATIONS}`);
  }
  const root = { "": target };
  for (const operation of patch as Operation[]) step(root, operation);
  return root[""];
}

function pointer(text: unknown): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) throw unprocessable();
  return text.split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The container of a place and the last step to it. */
function place(root: unknown, path: string[]): [any, string] {
  let at: any = root;
  for (const part of path.slice(0, -1)) {
    const next = Array.isArray(at) ? at[index(at, part, false)] : isMap(at) ? at[part] : undefined;
    if (next === undefined || next === null) throw unprocessable();
    at = next;
  }
  if (!Array.isArray(at) && !isMap(at)) throw unprocessable();
  return [at, path.at(-1)!];
}

function index(list: unknown[], part: string, end: boolean): number {
  if (part === "-" && end) return list.length;
  const n = /^(0|[1-9]\d*)$/.test(part) ? Number(part) : NaN;
  if (!(n < list.length || (end && n === list.length))) throw unprocessable();
  return n;
}

function read(root: unknown, path: string[]): unknown {
  const [at, last] = place(root, path);
  const value = Array.isArray(at) ? at[index(at, last, false)] : at[last];
  if (value === undefined) throw unprocessable();
  return value;
}

function add(root: unknown, path: string[], value: unknown): void {
  const [at, last] = place(root, path);
  if (Array.isArray(at)) at.splice(index(at, last, true), 0, value);
  else at[last] = value;
}

function take(root: unknown, path: string[]): unknown {
  const [at, last] = place(root, path);
  const value = read(root, path);
  if (Array.isArray(at)) at.splice(index(at, last, false), 1);
  else delete at[last];
  return value;
}

function step(root: unknown, operation: Operation): void {
  if (!isMap(operation)) throw badRequest("an operation of a JSON patch is an object");
  const path = pointer(operation.path);
  switch (operation.op) {
    case "add":
      return add(root, path, copy(operation.value));
    case "remove":
      take(root, path);
      return;
    case "replace": {
      read(root, path);
      const [at, last] = place(root, path);
      at[last] = copy(operation.value);
      return;
    }
    case "move":
      return add(root, path, take(root, pointer(operation.from)));
    case "copy":
      return add(root, path, copy(read(root, pointer(operation.from))));
    case "test":
      if (!same(read(root, path), operation.value)) throw unprocessable();
      return;
    default:
      throw badRequest(`Unexpected kind: ${operation.op}`);
  }
}
