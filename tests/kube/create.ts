/**
 * Creating objects. A write is one step without waiting, so nothing can come between reading what is
 * there and storing what shall be. The object gets a name (or one generated), lies in a namespace that
 * exists and is not being deleted, and has uid, creationTimestamp and generation from the server.
 */
import { type KubeObject, timestamp } from "./object.ts";
import type { ResourceKind } from "./resource_kind.ts";
import { type Cluster, NAMESPACES, PODS } from "./cluster.ts";
import { afterUpdate } from "./managed_fields.ts";
import { generatedName } from "./names.ts";
import { placeIn, settle, type WriteOptions, writerOf, type Written } from "./settle.ts";
import { alreadyExists, failure, forbidden, notFound } from "./status.ts";

/** Stores a new object. `object` is the caller's no more. */
export function create(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  object: KubeObject,
  options: WriteOptions,
): Written {
  const { metadata } = object;
  placeIn(kind, object, namespace);
  if (metadata.resourceVersion !== undefined) {
    throw failure(500, "", "resourceVersion should not be set on objects to be created");
  }
  if (kind.namespaced) admitToNamespace(cluster, kind, object, namespace);
  if (metadata.name === "" && metadata.generateName) {
    metadata.name = generatedName(metadata.generateName);
  }
  for (const field of ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] as const) {
    delete metadata[field];
  }
  metadata.uid = crypto.randomUUID();
  metadata.creationTimestamp = timestamp(cluster.now());
  if (kind.generation) metadata.generation = 1;
  const keepsStatus = kind.plural === "nodes" && kind.group === "";
  if (kind.status && !keepsStatus) delete object.status;
  const warnings = settle(cluster, kind, object, undefined, options);
  if (kind === PODS) admitPod(cluster, object);
  if (cluster.get(kind, namespace, metadata.name)) throw alreadyExists(kind, metadata.name);
  const given = metadata.managedFields ?? [];
  metadata.managedFields = given.length > 0
    ? given
    : afterUpdate(object, undefined, [], writerOf(cluster, options));
  return {
    object: options.dryRun ? object : cluster.store(kind, object),
    created: true,
    warnings,
  };
}

function admitToNamespace(
  cluster: Cluster,
  kind: ResourceKind,
  object: KubeObject,
  namespace: string,
): void {
  const place = cluster.get(NAMESPACES, "", namespace);
  if (!place) throw notFound(NAMESPACES, namespace);
  if (!place.metadata.deletionTimestamp) return;
  const why =
    `unable to create new content in namespace ${namespace} because it is being terminated`;
  throw forbidden(kind, object.metadata.name, why, [{
    reason: "NamespaceTerminating",
    message: `namespace ${namespace} is being terminated`,
    field: "metadata.namespace",
  }]);
}

/** Admission of service accounts: a pod's account must be there. */
function admitPod(cluster: Cluster, pod: KubeObject): void {
  const { namespace = "", name } = pod.metadata;
  const account = pod.spec.serviceAccountName;
  if (!cluster.exists("", "serviceaccounts", namespace, account)) {
    throw forbidden(
      PODS,
      name,
      `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`,
    );
  }
}
