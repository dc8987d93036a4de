/**
 * Server-side apply: the body says what its manager wants, the server merges it into the object and
 * keeps who owns which field. A field that another manager owns and that would change is a conflict
 * (409), unless forced; a field that the manager owned and names no more is removed where nobody else
 * owns it. Lists are taken whole.
 */
import { copy, isMap, type KubeObject, same } from "./object.ts";
import {
  entryOf,
  type FieldSet,
  fieldsOf,
  leaves,
  union,
  without,
  type Writer,
} from "./managed_fields.ts";
import { failure } from "./status.ts";
import type { ResourceKind } from "./resource_kind.ts";

const at = (value: unknown, path: string[]): unknown => {
  for (const step of path) value = isMap(value) ? value[step] : undefined;
  return value;
};

function removeAt(value: any, path: string[]): void {
  const last = path.at(-1)!;
  const container = at(value, path.slice(0, -1));
  if (isMap(container)) delete container[last];
}

function merge(target: any, wanted: unknown): unknown {
  if (!isMap(wanted) || !isMap(target)) return copy(wanted);
  for (const [field, value] of Object.entries(wanted)) target[field] = merge(target[field], value);
  return target;
}

/** The leaves of `a` that `b` has too, or lies within, or above. */
function overlap(a: FieldSet, b: FieldSet): string[][] {
  return leaves(a).filter((path) => {
    let node: FieldSet | undefined = b;
    for (const step of path) {
      if (node === undefined) return false;
      if (Object.keys(node).length === 0 && node !== b) return true;
      node = node[`f:${step}`];
    }
    return node !== undefined;
  });
}

/** What the object becomes, with its new managedFields. `live` is absent on creation. */
export function applied(
  kind: ResourceKind,
  wanted: KubeObject,
  live: KubeObject | undefined,
  writer: Writer,
  force: boolean,
): KubeObject {
  const set = fieldsOf(wanted);
  const next = live ? merge(copy(live), wanted) as KubeObject : copy(wanted);
  const entries = live?.metadata.managedFields ?? [];
  const mine = entries.find((e) =>
    e.manager === writer.manager && e.operation === "Apply" && e.subresource === writer.subresource
  );
  const others = entries.filter((e) => e !== mine);
  const causes = [];
  const taken: FieldSet[] = [];
  for (const other of others) {
    const changed = overlap(set, other.fieldsV1 as FieldSet)
      .filter((path) => !same(at(live, path), at(wanted, path)));
    for (const path of changed) {
      causes.push({
        reason: "FieldManagerConflict",
        message: `conflict with "${other.manager}" using ${other.apiVersion}`,
        field: `.${path.join(".")}`,
      });
    }
    taken.push(setOf(changed));
  }
  if (causes.length > 0 && !force) {
    const lines = causes.map((c) => `${c.message}: ${c.field}`);
    throw failure(
      409,
      "Conflict",
      `Apply failed with ${causes.length} conflict${causes.length > 1 ? "s" : ""}: ${
        lines.join(", ")
      }`,
      { causes },
    );
  }
  const left = others.map((other, i) => ({
    ...other,
    fieldsV1: without(other.fieldsV1 as FieldSet, taken[i]),
  })).filter((other) => Object.keys(other.fieldsV1).length > 0);
  if (mine) {
    const owned = left.reduce((all, e) => union(all, e.fieldsV1 as FieldSet), set);
    for (const path of leaves(without(mine.fieldsV1 as FieldSet, owned))) removeAt(next, path);
  }
  const entry = entryOf(wanted.apiVersion, set, { ...writer, operation: "Apply" });
  // The same wish again is no change: it keeps its time.
  const unchanged = mine && same(mine.fieldsV1, set) && same(live, next);
  next.metadata.managedFields = [...left, unchanged ? mine : entry];
  next.kind = kind.kind;
  return next;
}

function setOf(paths: string[][]): FieldSet {
  let set: FieldSet = {};
  for (const path of paths) {
    set = union(set, path.reduceRight<FieldSet>((below, step) => ({ [`f:${step}`]: below }), {}));
  }
  return set;
}
