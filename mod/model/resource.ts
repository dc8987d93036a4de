/**
 * What every object of the datastore looks like: Kubernetes' envelope (apiVersion, kind, metadata)
 * around a spec and, for some kinds, a status. The kinds themselves stand one a file beside this one;
 * `kind.ts` says what a kind is, `keys.ts` under which key an object is kept.
 *
 * Objects are plain JSON values, as they are read from a file or from the store. Fields that a newer
 * version wrote and that we do not know stay in the object, untyped, and are written back.
 */
import * as v from "valibot";
import { stringMap, text, timeText, zeroText } from "./fields.ts";

/** Kubernetes' ObjectMeta, members in the order in which Go writes them. */
export const metadataSchema = v.object({
  name: v.optional(text, ""),
  generateName: v.optional(text),
  namespace: v.optional(text),
  selfLink: v.optional(text),
  uid: v.optional(text),
  resourceVersion: v.optional(text),
  generation: v.optional(v.number()),
  /** RFC 3339, UTC, whole seconds. */
  creationTimestamp: v.optional(timeText),
  deletionTimestamp: v.optional(timeText),
  deletionGracePeriodSeconds: v.optional(v.number()),
  labels: v.optional(stringMap),
  annotations: v.optional(stringMap),
  ownerReferences: v.optional(v.array(v.object({
    apiVersion: v.optional(text, ""),
    kind: v.optional(text, ""),
    name: v.optional(text, ""),
    uid: v.optional(text, ""),
    controller: v.optional(v.boolean()),
    blockOwnerDeletion: v.optional(v.boolean()),
  }))),
  finalizers: v.optional(v.array(text)),
  managedFields: v.optional(v.array(v.unknown())),
});

/** Name, namespace, labels and what the store adds. `resourceVersion` is never kept in the store. */
export type Metadata = v.InferOutput<typeof metadataSchema>;

/** An object of some kind. The kinds' own types (IPPool, Node, …) are narrower. */
export interface Resource {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  spec?: unknown;
  status?: unknown;
}

/** `ns/name`, or the name alone where there is no namespace: for messages and maps. */
export function resourceId(resource: { metadata: { name: string; namespace?: string } }): string {
  const { name, namespace } = resource.metadata;
  return namespace ? `${namespace}/${name}` : name;
}

/** The schema of a whole object, members in Calico's order. */
export function objectSchema<
  const K extends string,
  const A extends string,
  Entries extends v.ObjectEntries,
>(kind: K, apiVersion: A, entries: Entries) {
  return v.object({
    kind: v.literal(kind),
    apiVersion: v.literal(apiVersion),
    metadata: metadataSchema,
    ...entries,
  });
}

/** Kubernetes' status condition. */
export const conditionSchema = v.object({
  type: text,
  status: text,
  observedGeneration: v.optional(v.number()),
  lastTransitionTime: v.optional(timeText),
  reason: v.optional(text),
  message: zeroText,
});
export type Condition = v.InferOutput<typeof conditionSchema>;
