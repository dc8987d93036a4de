/**
 * The metadata of a v3 object and that of the custom resource which holds it (Calico's
 * backend/k8s/resources/resources.go, v3.32). The resource itself bears name, namespace, and only
 * labels and annotations whose name speaks of `projectcalico.org/` or `operator.tigera.io/`; all else
 * stands as JSON in the annotation `projectcalico.org/metadata`. An object made by kubectl has no such
 * annotation, and then its own metadata counts.
 *
 * In etcd, and so in the values that we give and take, a policy's own name stands in that annotation
 * (`{"name": …}`); here it is one member of the JSON among others.
 */
import { isJsonObject, isTooDeep } from "../json.ts";
import type { Fields, KubeObject } from "./api.ts";
import { convertUid } from "./names.ts";

export const METADATA_ANNOTATION = "projectcalico.org/metadata";

/** Members in Go's order. */
export interface V3Metadata {
  name: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  generation?: number;
  creationTimestamp?: string | null;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  [member: string]: unknown;
}

interface OwnerReference {
  apiVersion?: string;
  kind?: string;
  name?: string;
  uid?: string;
  [member: string]: unknown;
}

/** The v3 metadata of a custom resource. `named`: the kind keeps its own name in the annotation. */
export function readMetadata(object: KubeObject, named: boolean): V3Metadata {
  const cr = object.metadata;
  const { [METADATA_ANNOTATION]: text, ...annotations } = cr.annotations ?? {};
  const stored = parseObject(text);
  const merged = {
    ...annotations,
    ...stringsOf(stored.annotations),
    ...(named && typeof stored.name === "string" && stored.name !== "" &&
      { [METADATA_ANNOTATION]: JSON.stringify({ name: stored.name }) }),
  };
  const labels = { ...cr.labels, ...stringsOf(stored.labels) };
  const owners = stored.ownerReferences as OwnerReference[] | undefined ??
    cr.ownerReferences?.map((owner: OwnerReference) => convertOwner(owner, CRD, V3));
  return {
    name: cr.name,
    ...(cr.generateName && { generateName: cr.generateName }),
    ...(cr.namespace && { namespace: cr.namespace }),
    ...(cr.uid && { uid: convertUid(cr.uid) }),
    ...(cr.generation !== undefined && { generation: cr.generation }),
    creationTimestamp: stored.creationTimestamp as string | undefined || cr.creationTimestamp,
    ...(cr.deletionTimestamp && { deletionTimestamp: cr.deletionTimestamp }),
    ...(isFilled(labels) && { labels }),
    ...(isFilled(merged) && { annotations: merged }),
    ...(owners?.length && { ownerReferences: owners }),
    ...(cr.finalizers?.length && { finalizers: cr.finalizers }),
  };
}

/** The custom resource's metadata for a v3 object's. */
export function writeMetadata(metadata: V3Metadata, named: boolean): KubeObject["metadata"] {
  const { labels = {}, ownerReferences, finalizers } = metadata;
  const { [METADATA_ANNOTATION]: own, ...annotations } = metadata.annotations ?? {};
  const kept = {
    ...(named && { name: textOf(parseObject(own).name) ?? metadata.name }),
    ...(metadata.generateName && { generateName: metadata.generateName }),
    creationTimestamp: metadata.creationTimestamp ?? null,
    ...(isFilled(labels) && { labels: sorted(labels) }),
    ...(isFilled(annotations) && { annotations: sorted(annotations) }),
    ...(ownerReferences?.length && { ownerReferences }),
  };
  const visible = Object.fromEntries(Object.entries(sorted(labels)).filter(isCalicos));
  return {
    name: metadata.name,
    ...(metadata.namespace && { namespace: metadata.namespace }),
    ...(isFilled(visible) && { labels: visible }),
    annotations: {
      ...Object.fromEntries(Object.entries(annotations).filter(isCalicos)),
      [METADATA_ANNOTATION]: JSON.stringify(kept),
    },
    ...(ownerReferences?.length && {
      // For Kubernetes' own garbage collector.
      ownerReferences: ownerReferences.map((owner) => convertOwner(owner, V3, CRD)),
    }),
    ...(finalizers?.length && { finalizers }),
  };
}

const V3 = "projectcalico.org/v3", CRD = "crd.projectcalico.org/v1";

function convertOwner(owner: OwnerReference, from: string, to: string): OwnerReference {
  if (owner.apiVersion !== from) return owner;
  return { ...owner, apiVersion: to, ...(owner.uid && { uid: convertUid(owner.uid) }) };
}

function isCalicos([name]: [string, string]): boolean {
  return name.includes("projectcalico.org/") || name.includes("operator.tigera.io/");
}

/** The JSON object in a text; {} where there is none. */
export function parseObject(text: string | undefined): Record<string, unknown> {
  if (typeof text !== "string" || !text || isTooDeep(text)) return {};
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

/** The members that are texts. */
export function stringsOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).filter(([, v]) => typeof v === "string"));
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The objects of a list; none where it is no list, which no API server would have stored. */
export function objectsOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

export function isFilled(map: object): boolean {
  return Object.keys(map).length > 0;
}

/** As Go writes a map. */
export function sorted(map: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => a < b ? -1 : 1));
}
