/**
 * Changing objects that are there. The resourceVersion, if given, must be the current one (409); what the
 * server owns stays; the status is written under /status alone; generation counts changes of what is
 * desired; a write that changes nothing makes no new revision; the last finalizer's removal ends a
 * deletion.
 */
import { copy, type KubeObject, same } from "./object.ts";
import { apiVersionOf, bucketOf, keyOf, type ResourceKind } from "./resource_kind.ts";
import { type Cluster, NAMESPACES } from "./cluster.ts";
import { afterUpdate } from "./managed_fields.ts";
import { placeIn, settle, type WriteOptions, writerOf, type Written } from "./settle.ts";
import { badRequest, conflict, invalid, invalidValue, notFound, stale } from "./status.ts";

export interface UpdateRequest {
  /** What the object shall be; gets a copy of what is there. May throw. */
  change(current: KubeObject): KubeObject;
  /** Whether a resourceVersion must be given where the kind asks for it (PUT). */
  replaces: boolean;
}

/** Changes an object that is there. Throws 404 where it is not. */
export function update(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  name: string,
  request: UpdateRequest,
  options: WriteOptions,
): Written {
  const old = cluster.get(kind, namespace, name);
  if (!old) throw notFound(kind, name);
  const current = copy(old);
  current.apiVersion = apiVersionOf(kind);
  let next = request.change(current);
  checkIdentity(kind, next, old, namespace, name, request.replaces);
  const meta = next.metadata;
  const forgetManagers = meta.managedFields !== undefined &&
    meta.managedFields.every((entry) => Object.keys(entry).length === 0);
  if (options.subresource === "status") next = withStatus(kind, next, old);
  else if (kind.status) {
    if (old.status === undefined) delete next.status;
    else next.status = copy(old.status);
  }
  carryOver(next, old);
  const warnings = settle(cluster, kind, next, old, options);
  const changesDesired = kind.generation && !same(desired(kind, next), desired(kind, old));
  if (changesDesired) next.metadata.generation = (old.metadata.generation ?? 0) + 1;
  const entries = next.metadata.managedFields ?? old.metadata.managedFields ?? [];
  next.metadata.managedFields = options.applies
    ? entries
    : forgetManagers
    ? []
    : afterUpdate(next, old, entries, writerOf(cluster, options));
  if (next.metadata.managedFields.length === 0) delete next.metadata.managedFields;
  return finish(cluster, kind, next, old, options, warnings);
}

/** The last step of each change: nothing to do, the end of a deletion, or a new revision. */
function finish(
  cluster: Cluster,
  kind: ResourceKind,
  next: KubeObject,
  old: KubeObject,
  options: WriteOptions,
  warnings: string[],
): Written {
  next.metadata.resourceVersion = old.metadata.resourceVersion;
  next.apiVersion = old.apiVersion;
  if (same(next, old)) return { object: old, created: false, warnings };
  if (options.dryRun) return { object: next, created: false, warnings };
  const { metadata } = next;
  const ends = metadata.deletionTimestamp !== undefined && !metadata.finalizers?.length &&
    metadata.deletionGracePeriodSeconds === 0 && kind !== NAMESPACES;
  const object = ends ? cluster.erase(kind, old, next) : cluster.store(kind, next);
  return { object, created: false, warnings };
}

/** A uid in a body that replaces is a precondition, also where nothing is there to have one. */
export const wrongUid = (
  kind: ResourceKind,
  namespace: string,
  name: string,
  wanted: string,
  found = "",
) =>
  conflict(
    kind,
    name,
    `StorageError: invalid object, Code: 4, Key: /registry/${bucketOf(kind)}/` +
      `${
        keyOf(namespace, name)
      }, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID ` +
      `in precondition: ${wanted}, UID in object meta: ${found}`,
  );

function checkIdentity(
  kind: ResourceKind,
  next: KubeObject,
  old: KubeObject,
  namespace: string,
  name: string,
  replaces: boolean,
): void {
  const { metadata } = next;
  if (metadata.name === "" && replaces) metadata.name = name;
  if (metadata.name !== name) {
    throw badRequest(
      `the name of the object (${metadata.name}) does not match the name on the URL (${name})`,
    );
  }
  placeIn(kind, next, namespace);
  if (metadata.uid !== undefined && metadata.uid !== old.metadata.uid) {
    if (replaces) throw wrongUid(kind, namespace, name, metadata.uid, old.metadata.uid);
    throw invalid(kind.group, kind.kind, name, [
      invalidValue("metadata.uid", metadata.uid, "field is immutable"),
    ]);
  }
  if (metadata.deletionTimestamp !== undefined && !old.metadata.deletionTimestamp) {
    throw invalid(kind.group, kind.kind, name, [
      invalidValue("metadata.deletionTimestamp", metadata.deletionTimestamp, "field is immutable"),
    ]);
  }
  const version = metadata.resourceVersion;
  if (version === undefined || version === "0") {
    if (replaces && !kind.unconditionalUpdate) {
      // Said by the store, which knows the resource and not its kind.
      throw invalid(kind.group, kind.plural, name, [{
        reason: "FieldValueInvalid",
        field: "metadata.resourceVersion",
        message: "Invalid value: 0x0: must be specified for an update",
      }]);
    }
  } else if (version !== old.metadata.resourceVersion) throw stale(kind, name);
}

/** What the server owns of an object stays as it is. */
function carryOver(next: KubeObject, old: KubeObject): void {
  const { metadata } = next;
  const was = old.metadata;
  const keep = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
  ] as const;
  for (const field of keep) {
    if (was[field] === undefined) delete metadata[field];
    else (metadata as any)[field] = was[field];
  }
}

/**
 * An update under /status. Of a custom resource it changes the status alone; of the other kinds also
 * labels, annotations and finalizers, which is how CNI plugins and kubelets annotate pods and nodes.
 */
function withStatus(kind: ResourceKind, next: KubeObject, old: KubeObject): KubeObject {
  const result = copy(old);
  if (!kind.custom) {
    const { labels, annotations, finalizers, ownerReferences, managedFields } = next.metadata;
    Object.assign(result.metadata, {
      labels,
      annotations,
      finalizers,
      ownerReferences,
      managedFields: managedFields ?? result.metadata.managedFields,
    });
    for (const field of ["labels", "annotations", "finalizers", "ownerReferences"] as const) {
      if (result.metadata[field] === undefined) delete result.metadata[field];
    }
  }
  if (next.status === undefined) delete result.status;
  else result.status = next.status;
  return result;
}

/** The part of an object whose changes `generation` counts. */
function desired(kind: ResourceKind, object: KubeObject): unknown {
  const { metadata: _m, apiVersion: _a, kind: _k, status, ...rest } = object;
  return kind.status ? rest : { ...rest, status };
}
