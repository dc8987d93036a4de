/**
 * What creating and changing have in common: the namespace of path and body, pruning and defaults, the
 * judgement of the whole object, and who wrote it.
 */
import { type KubeObject, timestamp } from "./object.ts";
import type { ResourceKind } from "./resource_kind.ts";
import type { Cluster } from "./cluster.ts";
import type { Writer } from "./managed_fields.ts";
import { metadataFaults } from "./names.ts";
import { fillDefaults, prune, validate } from "./schema.ts";
import { badRequest, type FieldError, forbiddenField, invalid } from "./status.ts";

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
export function placeIn(kind: ResourceKind, object: KubeObject, namespace: string): void {
  if (!kind.namespaced) delete object.metadata.namespace;
  else if (object.metadata.namespace === undefined) object.metadata.namespace = namespace;
  else if (object.metadata.namespace !== namespace) {
    throw badRequest(
      "the namespace of the provided object does not match the namespace sent on the request",
    );
  }
}

function dropUnknown(object: KubeObject, known: readonly string[] | undefined): string[] {
  if (!known) return [];
  const all = ["apiVersion", "kind", "metadata", ...known];
  const unknown = Object.keys(object).filter((field) => !all.includes(field));
  for (const field of unknown) delete object[field];
  return unknown;
}

/** Prunes, fills in and judges. Throws 400 (strict) and 422. Gives warnings. */
export function settle(
  cluster: Cluster,
  kind: ResourceKind,
  object: KubeObject,
  old: KubeObject | undefined,
  options: WriteOptions,
): string[] {
  const warnings: string[] = [];
  const unknown = kind.custom ? prune(object, kind.custom.schema) : dropUnknown(object, kind.top);
  if (unknown.length > 0) {
    const gone = unknown.map((path) => `unknown field "${path}"`);
    if (options.fieldValidation === "Strict") {
      throw badRequest(
        `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict ` +
          `decoding error: ${gone.join(", ")}`,
      );
    }
    if (options.fieldValidation === "Warn") warnings.push(...gone);
  }
  if (kind.custom) fillDefaults(object, kind.custom.schema);
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

export const writerOf = (cluster: Cluster, options: WriteOptions): Writer => ({
  manager: options.manager,
  operation: "Update",
  subresource: options.subresource,
  time: timestamp(cluster.now()),
});
