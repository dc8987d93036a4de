/**
 * Strategic merge patch ("Update API Objects in Place Using kubectl patch"): as a merge patch, but the
 * lists of the table below are merged, element by element by their key or, lists of plain values, as
 * sets. All other lists are replaced. Directives: `$patch: delete|replace`, `$deleteFromPrimitiveList/…`
 * and `$retainKeys`; `$setElementOrder/…` puts the result in order. For our own kinds alone: custom
 * resources have no such table, and the server refuses the type for them (415).
 */
import { copy, isMap, same } from "./object.ts";
import { badRequest } from "./status.ts";

/** Lists that are merged: how the path ends, and the key ("" for a list of plain values). */
const MERGED: [RegExp, string][] = [
  [/(^|\.)metadata\.ownerReferences$/, "uid"],
  [/(^|\.)metadata\.finalizers$/, ""],
  [/(^|\.)spec\.finalizers$/, ""],
  [/\.(containers|initContainers|ephemeralContainers)$/, "name"],
  [/\.(containers|initContainers|ephemeralContainers)\.ports$/, "containerPort"],
  [/\.(containers|initContainers|ephemeralContainers)\.env$/, "name"],
  [/\.(containers|initContainers|ephemeralContainers)\.volumeMounts$/, "mountPath"],
  [/(^|\.)spec\.volumes$/, "name"],
  [/(^|\.)spec\.imagePullSecrets$/, "name"],
  [/(^|\.)spec\.hostAliases$/, "ip"],
  [/(^|\.)spec\.topologySpreadConstraints$/, "topologyKey"],
  [/^status\.conditions$/, "type"],
  [/^status\.addresses$/, "type"],
  [/^status\.podIPs$/, "ip"],
  [/^status\.hostIPs$/, "ip"],
  [/^spec\.podCIDRs$/, ""],
  [/^spec\.taints$/, "key"],
];

function keyOfList(path: string, kind: string): string | undefined {
  if (kind === "Service" && path === "spec.ports") return "port";
  if (kind === "ServiceAccount" && path === "secrets") return "name";
  if (kind === "ServiceAccount" && path === "imagePullSecrets") return "name";
  return MERGED.find(([pattern]) => pattern.test(path))?.[1];
}

/** Changes `target`. Throws 400. */
export function strategicMerge(
  target: Record<string, unknown>,
  patch: unknown,
  kind: string,
): Record<string, unknown> {
  if (!isMap(patch)) throw badRequest("a strategic merge patch is an object");
  return mergeMap(target, patch, "", kind);
}

function mergeMap(
  target: Record<string, unknown>,
  patch: Record<string, unknown>,
  path: string,
  kind: string,
): Record<string, unknown> {
  if (patch.$patch === "replace") {
    const { $patch: _, ...rest } = patch;
    return copy(rest);
  }
  if (patch.$patch === "delete") return {};
  for (const [field, value] of Object.entries(patch)) {
    const at = path === "" ? field : `${path}.${field}`;
    if (field.startsWith("$deleteFromPrimitiveList/")) {
      const list = field.slice("$deleteFromPrimitiveList/".length);
      const gone = value as unknown[];
      if (Array.isArray(target[list])) {
        target[list] = (target[list] as unknown[]).filter((x) => !gone.some((g) => same(g, x)));
      }
    } else if (field === "$retainKeys") {
      for (const key of Object.keys(target)) {
        if (!(value as string[]).includes(key)) delete target[key];
      }
    } else if (field.startsWith("$")) continue;
    else if (value === null) delete target[field];
    else if (Array.isArray(value)) {
      const key = keyOfList(at, kind);
      target[field] = key === undefined || !Array.isArray(target[field])
        ? withoutDirectives(value)
        : mergeList(target[field] as unknown[], value, key, at, kind);
    } else if (isMap(value)) {
      if (isMap(target[field])) target[field] = mergeMap(target[field] as any, value, at, kind);
      else target[field] = mergeMap({}, value, at, kind);
    } else target[field] = value;
  }
  for (const [field, order] of Object.entries(patch)) {
    if (!field.startsWith("$setElementOrder/") || !Array.isArray(order)) continue;
    const list = field.slice("$setElementOrder/".length);
    if (Array.isArray(target[list])) {
      const key = keyOfList(path === "" ? list : `${path}.${list}`, kind);
      target[list] = inOrder(target[list] as unknown[], order, key ?? "");
    }
  }
  return target;
}

const withoutDirectives = (list: unknown[]) =>
  copy(list.filter((x) => !(isMap(x) && x.$patch !== undefined)));

function mergeList(
  target: unknown[],
  patch: unknown[],
  key: string,
  path: string,
  kind: string,
): unknown[] {
  if (key === "") {
    return [...target, ...patch.filter((x) => !target.some((t) => same(t, x)))];
  }
  if (patch.some((x) => isMap(x) && x.$patch === "replace")) return withoutDirectives(patch);
  const out = [...target];
  for (const element of patch) {
    if (!isMap(element) || element[key] === undefined) {
      throw badRequest(
        `map: ${JSON.stringify(element)} does not contain declared merge key: ${key}`,
      );
    }
    const i = out.findIndex((x) => isMap(x) && same(x[key], element[key]));
    if (element.$patch === "delete") {
      if (i >= 0) out.splice(i, 1);
    } else if (i >= 0) out[i] = mergeMap(out[i] as Record<string, unknown>, element, path, kind);
    else out.push(mergeMap({}, element, path, kind));
  }
  return out;
}

function inOrder(list: unknown[], order: unknown[], key: string): unknown[] {
  const place = (x: unknown) => {
    const found = order.findIndex((o) =>
      key === "" ? same(o, x) : isMap(o) && isMap(x) && same(o[key], x[key])
    );
    return found < 0 ? order.length : found;
  };
  return list.map((x, i) => ({ x, i, at: place(x) }))
    .sort((a, b) => a.at - b.at || a.i - b.i).map(({ x }) => x);
}
