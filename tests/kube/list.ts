/**
 * Lists: all objects of a resource (in a namespace) that the selectors match, in the order of their
 * keys, at one revision. With `limit` a list comes in pages that all show the state of the first; when
 * that state is compacted away meanwhile the answer is 410 with a token that goes on in the latest state.
 */
import type { KubeObject } from "./object.ts";
import type { Cluster } from "./cluster.ts";
import { apiVersionOf, bucketOf, type ResourceKind } from "./resource_kind.ts";
import {
  type ContinueToken,
  decodeContinue,
  encodeContinue,
  type ListOptions,
} from "./list_options.ts";
import { Compacted } from "./revisions.ts";
import { renderItem } from "./render.ts";
import { parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { ApiError, badRequest, expired } from "./status.ts";

interface Start {
  from: string;
  /** Undefined: the latest. */
  at?: number;
  /** As the list's resourceVersion. */
  shown: number;
}

function startOf(cluster: Cluster, options: ListOptions, prefix: string): Start {
  const now = cluster.revisions.revision;
  const { resourceVersion, match } = options;
  if (options.continue !== "") {
    if (resourceVersion !== undefined && resourceVersion !== 0) {
      throw badRequest("specifying resource version is not allowed when using continue");
    }
    const token = decodeContinue(options.continue);
    const from = prefix + token.start;
    return token.revision < 0
      ? { from, shown: now }
      : { from, at: token.revision, shown: token.revision };
  }
  const exact = match === "Exact" || (match === "" && options.limit > 0 && resourceVersion);
  if (exact) return { from: prefix, at: resourceVersion, shown: resourceVersion! };
  const at = resourceVersion === 0 ? cluster.anyRevision : undefined;
  return { from: prefix, at, shown: at ?? now };
}

/** The body of the answer. Throws 400 and 410. */
export function list(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  options: ListOptions,
): string {
  const prefix = namespace === "" ? "" : `${namespace}/`;
  const start = startOf(cluster, options, prefix);
  const labels = parseLabelSelector(options.labelSelector);
  const fields = parseFieldSelector(options.fieldSelector, kind.fields);
  const selects = Boolean(options.labelSelector || options.fieldSelector);
  // The cache that serves "any" state has all objects at hand and knows no pages.
  const limit = options.resourceVersion === 0 && options.continue === "" ? 0 : options.limit;
  const items: string[] = [];
  let next: string | undefined;
  let remaining = 0;
  try {
    const all = cluster.revisions.list(bucketOf(kind), prefix, start.from, start.at);
    for (const [key, object] of all) {
      if (limit > 0 && items.length === limit) {
        next ??= key;
        remaining++;
        if (selects) break;
      } else if (fields.matches(object) && labels(object)) items.push(renderItem(kind, object));
    }
  } catch (error) {
    if (error instanceof Compacted) throw gone(options, start, prefix);
    throw error;
  }
  const metadata: Record<string, unknown> = { resourceVersion: String(start.shown) };
  if (next !== undefined) {
    metadata.continue = encodeContinue({ revision: start.shown, start: next.slice(prefix.length) });
    if (!selects) metadata.remainingItemCount = remaining;
  }
  return `{"kind":"${kind.kind}List","apiVersion":"${apiVersionOf(kind)}","metadata":` +
    `${JSON.stringify(metadata)},"items":[${items.join(",")}]}\n`;
}

function gone(options: ListOptions, start: Start, prefix: string): ApiError {
  if (options.continue === "") {
    return expired(`The resourceVersion for the provided list is too old.`);
  }
  const again: ContinueToken = { revision: -1, start: start.from.slice(prefix.length) };
  const error = expired(
    "The provided continue parameter is too old to display a consistent list result. You can start " +
      "a new list without the continue parameter, or use the continue token in this response to " +
      "retrieve the remainder of the results. Continuing with the provided token results in an " +
      "inconsistent list - objects that were created, modified, or deleted between the time the " +
      "first chunk was returned and now may show up in the list.",
  );
  return new ApiError({ ...error.status, metadata: { continue: encodeContinue(again) } });
}

/** Objects that a deletecollection is for; a limit is of one request, which tells nobody to go on. */
export function select(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  options: ListOptions,
): KubeObject[] {
  const prefix = namespace === "" ? "" : `${namespace}/`;
  const labels = parseLabelSelector(options.labelSelector);
  const fields = parseFieldSelector(options.fieldSelector, kind.fields);
  return [...cluster.revisions.list(bucketOf(kind), prefix, "")].map(([, object]) => object)
    .filter((object) => fields.matches(object) && labels(object))
    .slice(0, options.limit || undefined);
}
