/**
 * Deleting: preconditions, finalizers, and pods that end gracefully. An object with finalizers, or a pod
 * on a node that has still to stop it, is only marked (deletionTimestamp) and stays until the finalizers
 * are gone, or until the kubelet deletes the pod with a grace period of 0.
 */
import { type KubeObject } from "./object.ts";
import { type Cluster, FIRST_NAMESPACES, markDeleted, NAMESPACES, PODS } from "./cluster.ts";
import { isDryRun } from "./dry_run.ts";
import type { ResourceKind } from "./resource_kind.ts";
import { isMap } from "./object.ts";
import { badRequest, conflict, deleted, forbidden, notFound, type Status } from "./status.ts";

export interface DeleteOptions {
  uid?: string;
  resourceVersion?: string;
  gracePeriodSeconds?: number;
  dryRun: boolean;
}

/** Reads a DeleteOptions body beside the query. Throws 400 and 422. */
export function deleteOptions(body: unknown, query: URLSearchParams): DeleteOptions {
  const options: Record<string, unknown> = {};
  if (body !== undefined) {
    if (!isMap(body)) throw badRequest("a DeleteOptions object is wanted in the body");
    if (body.kind !== undefined && body.kind !== "DeleteOptions") {
      throw badRequest(`${body.kind} cannot be handled as a DeleteOptions`);
    }
    Object.assign(options, body);
  }
  const grace = query.get("gracePeriodSeconds") ?? options.gracePeriodSeconds;
  if (grace !== undefined && grace !== null && !/^-?\d+$/.test(String(grace))) {
    throw badRequest(`gracePeriodSeconds: ${JSON.stringify(grace)} is no number`);
  }
  const stated = options.dryRun ?? [];
  if (!Array.isArray(stated)) throw badRequest("dryRun of DeleteOptions is a list");
  const preconditions = isMap(options.preconditions) ? options.preconditions : {};
  return {
    uid: preconditions.uid as string | undefined,
    resourceVersion: preconditions.resourceVersion as string | undefined,
    gracePeriodSeconds: grace === undefined || grace === null
      ? undefined
      : Math.max(0, Number(grace)),
    dryRun: isDryRun([...query.getAll("dryRun"), ...stated], "DeleteOptions"),
  };
}

export interface Removed {
  /** The object as it was last, or as it waits for its end. */
  object: KubeObject;
  /** It is gone, or will be without more ado. */
  done: boolean;
}

/** Throws 403, 404 and 409. */
export function remove(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  name: string,
  options: DeleteOptions,
): Removed {
  const old = cluster.get(kind, namespace, name);
  if (!old) throw notFound(kind, name);
  const { metadata } = old;
  if (options.uid !== undefined && options.uid !== metadata.uid) {
    throw conflict(
      kind,
      name,
      `the UID in the precondition (${options.uid}) does not match the UID in record ` +
        `(${metadata.uid}). The object might have been deleted and then recreated`,
    );
  }
  const wanted = options.resourceVersion;
  if (wanted !== undefined && wanted !== metadata.resourceVersion) {
    throw conflict(
      kind,
      name,
      `the ResourceVersion in the precondition (${wanted}) does not match the ResourceVersion in ` +
        `record (${metadata.resourceVersion}). The object might have been modified`,
    );
  }
  if (kind === NAMESPACES) return removeNamespace(cluster, old, options);
  const grace = graceOf(kind, old, options);
  const waits = grace > 0 || (metadata.finalizers?.length ?? 0) > 0;
  if (!waits) {
    return { object: options.dryRun ? old : cluster.erase(kind, old), done: true };
  }
  // A deletion that has begun can be shortened, never lengthened.
  const begun = metadata.deletionTimestamp !== undefined;
  if (begun && grace >= (metadata.deletionGracePeriodSeconds ?? 0)) {
    return { object: old, done: false };
  }
  const marked = markDeleted(old, grace, cluster.now());
  return { object: options.dryRun ? marked : cluster.store(kind, marked), done: false };
}

/** Seconds that the object has; only a pod that a kubelet must stop gets any. */
function graceOf(kind: ResourceKind, object: KubeObject, options: DeleteOptions): number {
  if (kind !== PODS || !object.spec.nodeName) return 0;
  if (["Succeeded", "Failed"].includes(object.status?.phase)) return 0;
  return options.gracePeriodSeconds ?? object.spec.terminationGracePeriodSeconds ?? 30;
}

function removeNamespace(cluster: Cluster, old: KubeObject, options: DeleteOptions): Removed {
  const { name } = old.metadata;
  if (FIRST_NAMESPACES.includes(name)) {
    throw forbidden(NAMESPACES, name, "this namespace may not be deleted");
  }
  if (old.metadata.deletionTimestamp) return { object: old, done: false };
  const { metadata } = markDeleted(old, 0, cluster.now());
  delete metadata.deletionGracePeriodSeconds;
  const marked = { ...old, metadata, status: { ...old.status, phase: "Terminating" } };
  return { object: options.dryRun ? marked : cluster.store(NAMESPACES, marked), done: false };
}

/** What DELETE answers: the object for kinds that say so and while it waits, else a Status. */
export function removalAnswer(kind: ResourceKind, removed: Removed): KubeObject | Status {
  if (!removed.done || kind.deleteAnswersObject) return removed.object;
  return deleted(kind, removed.object.metadata.name, removed.object.metadata.uid);
}
