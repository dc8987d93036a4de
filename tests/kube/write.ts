/**
 * Creating and changing objects: the API conventions' rules that hold for all kinds. A write is one step
 * without waiting, so nothing can come between reading what is there and storing what shall be.
 *
 * create: a name (or one generated), a namespace that exists and is not being deleted, uid,
 *   creationTimestamp and generation from the server.
 * update: the resourceVersion, if given, must be the current one (409); what the server owns stays; the
 *   status is written under /status alone; generation counts changes of what is desired; a write that
 *   changes nothing makes no new revision; the last finalizer's removal ends a deletion.
 */
import { copy, type KubeObject, same, timestamp } from "./object.ts";
import { apiVersionOf, bucketOf, keyOf, type ResourceKind } from "./resource_kind.ts";
import { type Cluster, NAMESPACES, PODS } from "./cluster.ts";
import { afterUpdate, type Writer } from "./managed_fields.ts";
import { generatedName, metadataFaults } from "./names.ts";
import { fillDefaults, prune, validate } from "./schema.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  failure,
  type FieldError,
  forbidden,
  forbiddenField,
  invalid,
  invalidValue,
  notFound,
  stale,
} from "./status.ts";

export interface WriteOptions {
  dryRun: boolean;
  manager: string;
  /** What to do with fields that the schema does not know. */
  fieldValidation: "Ignore" | "Warn" | "Strict";
  subresource?: "status";
  /** The object comes with its managedFields (server-side apply). */
  applies?: boolean;
}

export interface Written {
  object: KubeObject;
  created: boolean;
  warnings: string[];
}

/** Namespace of the path and of the body must be the same. */
function placeIn(kind: ResourceKind, object: KubeObject, namespace: string): void {
  if (!kind.namespaced) delete object.metadata.namespace;
  else if (object.metadata.namespace === undefined) object.metadata.namespace = namespace;
  else if (object.metadata.namespace !== namespace) {
    throw badRequest(
      "the namespace of the provided object does not match the namespace sent on the request",
    );
  }
}

/** Prunes, fills in and judges. Throws 400 (strict) and 422. Gives warnings. */
function settle(
  cluster: Cluster,
  kind: ResourceKind,
  object: KubeObject,
  old: KubeObject | undefined,
  options: WriteOptions,
): string[] {
  const warnings: string[] = [];
  if (kind.custom) {
    const gone = prune(object, kind.custom.schema).map((path) => `unknown field "${path}"`);
    if (gone.length > 0 && options.fieldValidation === "Strict") {
      throw badRequest(
        `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict ` +
          `decoding error: ${gone.join(", ")}`,
      );
    }
    if (options.fieldValidation === "Warn") warnings.push(...gone);
    fillDefaults(object, kind.custom.schema);
  }
  kind.prepare?.(object, old, cluster);
  const faults: FieldError[] = metadataFaults(object.metadata, kind.names);
  if (kind.custom) faults.push(...validate(object, kind.custom.schema));
  faults.push(...kind.check?.(object, old, cluster) ?? []);
  if (old?.metadata.deletionTimestamp) {
    const had = old.metadata.finalizers ?? [];
    const more = (object.metadata.finalizers ?? []).filter((f) => !had.includes(f));
    if (more.length > 0) {
      faults.push(
        forbiddenField(
          "metadata.finalizers",
          "no new finalizers can be added if the object is being deleted, found new finalizers " +
            JSON.stringify(more),
        ),
      );
    }
  }
  if (faults.length > 0) throw invalid(kind.group, kind.kind, object.metadata.name, faults);
  return warnings;
}

const writerOf = (cluster: Cluster, options: WriteOptions): Writer => ({
  manager: options.manager,
  operation: "Update",
  subresource: options.subresource,
  time: timestamp(cluster.now()),
});

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
