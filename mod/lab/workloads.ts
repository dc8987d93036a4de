/**
 * What the lab makes of manifests: Pod objects. A Pod is taken as it is; a Deployment gives replicas
 * named `<name>-<hash of the template>-<five letters>`, a StatefulSet `<name>-0`, `<name>-1` …, with
 * an owner reference each, as Kubernetes' controllers do (a Deployment's pods are owned by its
 * ReplicaSet there; the lab has none and names the Deployment). Pure: randomness is passed in.
 */
import { createHash } from "node:crypto";
import type { Metadata } from "../model/resource.ts";
import { printJson } from "../store/json.ts";

/** A manifest that the lab cannot run: says which and why. */
export class LabError extends Error {
  override readonly name = "LabError";
}

export interface ContainerPort {
  name?: string;
  containerPort: number;
  protocol?: "TCP" | "UDP" | "SCTP";
}

/** The part of a Pod that a lab needs. */
export interface PodManifest {
  apiVersion: "v1";
  kind: "Pod";
  metadata: Partial<Metadata> & { name: string; namespace: string };
  spec: {
    nodeName?: string;
    serviceAccountName?: string;
    containers: { name: string; image?: string; ports?: ContainerPort[] }[];
    [field: string]: unknown;
  };
}

/** A Deployment or StatefulSet as the lab keeps it, to make replacements from. */
export interface Workload {
  kind: "Deployment" | "StatefulSet";
  name: string;
  namespace: string;
  uid: string;
  replicas: number;
  template: { metadata?: Partial<Metadata>; spec: PodManifest["spec"] };
}

export interface Plan {
  pods: PodManifest[];
  workloads: Workload[];
  /** Everything that is no workload: applied to the datastore as it is. */
  others: unknown[];
}

type Json = Record<string, any>;

/** Letters of Kubernetes' random names: no vowels, no look-alikes. */
const LETTERS = "bcdfghjklmnpqrstvwxz2456789";

function suffix(random: () => number): string {
  return Array.from({ length: 5 }, () => LETTERS[Math.floor(random() * LETTERS.length)]).join("");
}

function text(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function podSpec(spec: unknown, where: string): PodManifest["spec"] {
  const containers = (spec as Json)?.containers;
  if (!Array.isArray(containers) || containers.length === 0) {
    throw new LabError(`${where}: spec.containers is missing`);
  }
  for (const container of containers as Json[]) {
    for (const port of container?.ports ?? []) {
      const n = port?.containerPort;
      if (!Number.isInteger(n) || n < 1 || n > 65535) {
        throw new LabError(`${where}: containerPort ${n} is not a port from 1 to 65535`);
      }
    }
  }
  return spec as PodManifest["spec"];
}

function workload(object: Json, namespace: string, uid: string): Workload {
  const where = `${object.kind} "${namespace}/${object.metadata.name}"`;
  const { replicas = 1, template, selector } = object.spec ?? {};
  if (!Number.isInteger(replicas) || replicas < 0 || replicas > 1000) {
    throw new LabError(`${where}: spec.replicas ${replicas} is not a number from 0 to 1000`);
  }
  const labels: Json = template?.metadata?.labels ?? {};
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    if (labels[key] !== value) {
      throw new LabError(`${where}: spec.selector does not match the template's label ${key}`);
    }
  }
  return {
    kind: object.kind,
    name: object.metadata.name,
    namespace,
    uid,
    replicas,
    template: { metadata: template?.metadata, spec: podSpec(template?.spec, where) },
  };
}

/** One more pod of a Deployment, or the pod of an ordinal of a StatefulSet. */
export function podOf(of: Workload, ordinal: number, random: () => number): PodManifest {
  const hash = createHash("sha1").update(printJson(of.template)).digest("hex").slice(0, 10);
  const name = of.kind === "StatefulSet"
    ? `${of.name}-${ordinal}`
    : `${of.name}-${hash}-${suffix(random)}`;
  const extra: Record<string, string> = of.kind === "StatefulSet"
    ? { "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": `${ordinal}` }
    : { "pod-template-hash": hash };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...of.template.metadata,
      name,
      namespace: of.namespace,
      generateName: of.kind === "StatefulSet" ? undefined : `${of.name}-${hash}-`,
      labels: { ...of.template.metadata?.labels, ...extra },
      ownerReferences: [{
        apiVersion: "apps/v1",
        kind: of.kind,
        name: of.name,
        uid: of.uid,
        controller: true,
        blockOwnerDeletion: true,
      }],
    },
    spec: structuredClone(of.template.spec),
  };
}

/** Sorts the documents of a manifest; nothing is done yet, so a faulty one changes nothing. */
export function planWorkloads(
  documents: readonly unknown[],
  options: { namespace: string; random: () => number; uid: () => string },
): Plan {
  const plan: Plan = { pods: [], workloads: [], others: [] };
  for (const document of documents as Json[]) {
    const { kind, metadata } = document ?? {};
    if (!["Pod", "Deployment", "StatefulSet"].includes(kind)) {
      plan.others.push(document);
      continue;
    }
    if (!text(metadata?.name)) throw new LabError(`a ${kind} without metadata.name`);
    const namespace = metadata.namespace ?? options.namespace;
    if (kind === "Pod") {
      const spec = podSpec(document.spec, `Pod "${namespace}/${metadata.name}"`);
      plan.pods.push({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { ...metadata, namespace },
        spec: structuredClone(spec),
      });
      continue;
    }
    const made = workload(document, namespace, options.uid());
    plan.workloads.push(made);
    for (let i = 0; i < made.replicas; i++) plan.pods.push(podOf(made, i, options.random));
  }
  return plan;
}
