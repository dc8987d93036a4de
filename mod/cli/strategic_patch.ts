/**
 * Kubernetes' strategic merge patch: a merge patch with directives, in which two lists of the metadata are
 * merged as Kubernetes' ObjectMeta says, by their members or by a key of these. Fields of Calico's kinds have
 * no merge keys: there a list replaces a list. Pure; the argument is not changed.
 *
 *     $patch: replace | delete | merge          in an object, or in a member of a list with a key
 *     $deleteFromPrimitiveList/finalizers: []   takes members out
 *     $setElementOrder/…                        an order of members, which has no meaning in these lists
 */
import { isJsonObject } from "../store/json.ts";
import { mergeOne, PatchError } from "./json_patch.ts";

/** The lists that are merged, and the key of their members; undefined: the members are texts. */
const MERGED: Readonly<Record<string, { readonly key?: string }>> = {
  "metadata.finalizers": {},
  "metadata.ownerReferences": { key: "uid" },
};
const DELETE_FROM = "$deleteFromPrimitiveList/", ORDER_OF = "$setElementOrder/";
const REMOVED: unique symbol = Symbol();

export function strategicPatch(target: unknown, patch: unknown): unknown {
  const whole = join(target, patch, "");
  if (whole === REMOVED) throw new PatchError("$patch: delete of the whole object; delete it");
  return whole;
}

function join(old: unknown, change: unknown, path: string): unknown {
  if (!isJsonObject(change)) return change;
  const { $patch, ...rest } = change;
  if ($patch === "delete") return REMOVED;
  if (!["merge", "replace", undefined].includes($patch as string | undefined)) {
    throw new PatchError(`$patch: ${JSON.stringify($patch)}: want merge, replace or delete`);
  }
  let result: unknown = isJsonObject(old) && $patch !== "replace" ? old : {};
  for (const [key, value] of Object.entries(rest)) {
    if (key.startsWith("$")) {
      result = direct(result, key, value, path);
      continue;
    }
    const own = isJsonObject(result) && Object.hasOwn(result, key) ? result[key] : undefined;
    const at = path === "" ? key : `${path}.${key}`;
    const merged = Object.hasOwn(MERGED, at) ? MERGED[at] : undefined;
    const next = merged && Array.isArray(value)
      ? joinLists(own, value, merged.key, at)
      : isJsonObject(value)
      ? join(own, value, at)
      : value;
    result = mergeOne(result, key, next === REMOVED ? null : next);
  }
  return result;
}

/** A directive beside the fields, about one of the lists that are merged. */
function direct(target: unknown, directive: string, value: unknown, path: string): unknown {
  const word = [DELETE_FROM, ORDER_OF].find((one) => directive.startsWith(one));
  const field = directive.slice(word?.length ?? 0);
  const at = `${path}.${field}`;
  if (word === undefined || !Object.hasOwn(MERGED, at)) {
    throw new PatchError(`the directive ${directive} is not supported`);
  }
  if (!Array.isArray(value)) throw new PatchError(`${path}.${directive} is not a list`);
  if (word === ORDER_OF) return target;
  const own = isJsonObject(target) ? target[field] : undefined;
  if (!Array.isArray(own)) return target;
  return mergeOne(target, field, own.filter((member) => !value.includes(member)));
}

function joinLists(
  old: unknown,
  change: readonly unknown[],
  key: string | undefined,
  path: string,
): unknown[] {
  const list = Array.isArray(old) ? [...old] : [];
  if (key === undefined) return ordered([...new Set([...list, ...change])], list, change);
  const isReplaced = change.some((member) => isJsonObject(member) && member.$patch === "replace");
  const result = isReplaced ? [] : [...list];
  for (const member of change) {
    if (!isJsonObject(member)) throw new PatchError(`${path}: a member is not an object`);
    if (member.$patch === "replace" && Object.keys(member).length === 1) continue;
    if (typeof member[key] !== "string") throw new PatchError(`${path}: a member has no ${key}`);
    const at = result.findIndex((one) => isJsonObject(one) && one[key] === member[key]);
    const next = join(at < 0 ? undefined : result[at], member, "[]");
    if (next !== REMOVED) result.splice(at < 0 ? result.length : at, 1, next);
    else if (at >= 0) result.splice(at, 1);
  }
  const name = (member: unknown) => isJsonObject(member) ? member[key] : undefined;
  return ordered(result, list.map(name), change.map(name), name);
}

/**
 * In Kubernetes' order: members of the patch stand as they do there, each of the others stands before
 * the first of these before which it stood.
 */
function ordered(
  members: readonly unknown[],
  old: readonly unknown[],
  change: readonly unknown[],
  name = (member: unknown) => member,
): unknown[] {
  const others = members.filter((member) => !change.includes(name(member)));
  const own = members.filter((member) => change.includes(name(member)))
    .toSorted((a, b) => change.indexOf(name(a)) - change.indexOf(name(b)));
  const result: unknown[] = [];
  while (others.length > 0 || own.length > 0) {
    const [l, r] = [old.indexOf(name(others[0])), old.indexOf(name(own[0]))];
    const first = own.length === 0 || others.length > 0 && r >= 0 && l < r;
    result.push((first ? others : own).shift());
  }
  return result;
}
