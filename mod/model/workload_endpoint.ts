/**
 * WorkloadEndpoint: one interface of a pod (or of a plain container) with its addresses. Its name is
 * computed: `<node>-<orchestrator>-<id>-<endpoint>`, every `-` inside a part doubled, so that all
 * endpoints of a pod on a node share a prefix.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { integer, ipText, netText, protocolValue, text } from "./fields.ts";

const bandwidth = v.optional(v.number());

const schema = objectSchema("WorkloadEndpoint", "projectcalico.org/v3", {
  spec: v.object({
    /** `k8s`, or `cni` for containers that no Kubernetes knows. */
    orchestrator: v.optional(text),
    workload: v.optional(text),
    node: v.optional(text),
    containerID: v.optional(text),
    pod: v.optional(text),
    /** The interface's name in the pod: `eth0`. */
    endpoint: v.optional(text),
    serviceAccountName: v.optional(text),
    /** /32 and /128. */
    ipNetworks: v.optional(v.array(netText)),
    ipNATs: v.optional(v.array(v.object({ internalIP: ipText, externalIP: ipText }))),
    ipv4Gateway: v.optional(text),
    ipv6Gateway: v.optional(text),
    profiles: v.optional(v.array(text)),
    /** On the host. */
    interfaceName: v.optional(text),
    /** Of the pod's side. */
    mac: v.optional(text),
    ports: v.optional(v.array(v.object({
      name: v.optional(text, ""),
      protocol: protocolValue,
      port: integer(0, 65535),
      hostPort: v.optional(integer(0, 65535), 0),
      hostIP: v.optional(text, ""),
    }))),
    allowSpoofedSourcePrefixes: v.optional(v.array(netText)),
    qosControls: v.optional(v.object({
      ingressBandwidth: bandwidth,
      egressBandwidth: bandwidth,
      ingressBurst: bandwidth,
      egressBurst: bandwidth,
      ingressPeakrate: bandwidth,
      egressPeakrate: bandwidth,
      ingressMinburst: bandwidth,
      egressMinburst: bandwidth,
      ingressPacketRate: bandwidth,
      egressPacketRate: bandwidth,
      ingressPacketBurst: bandwidth,
      egressPacketBurst: bandwidth,
      ingressMaxConnections: bandwidth,
      egressMaxConnections: bandwidth,
      dscp: v.optional(v.union([v.number(), v.string()])),
    })),
  }),
});

export type WorkloadEndpoint = v.InferOutput<typeof schema>;
export type WorkloadEndpointInput = v.InferInput<typeof schema>;

export const workloadEndpointKind: Kind<WorkloadEndpoint, WorkloadEndpointInput> = {
  kind: "WorkloadEndpoint",
  apiVersion: "projectcalico.org/v3",
  plural: "workloadendpoints",
  home: "calico",
  namespaced: true,
  names: ["workloadendpoint", "workloadendpoints", "wep", "weps"],
  schema,
  columns: [],
};

/** Labels that Calico puts on every workload endpoint. */
export const LABEL_NAMESPACE = "projectcalico.org/namespace";
export const LABEL_ORCHESTRATOR = "projectcalico.org/orchestrator";
export const LABEL_SERVICE_ACCOUNT = "projectcalico.org/serviceaccount";

/** The parts of an endpoint's name. `id`: the pod (k8s), the container ID (cni), else the workload. */
export interface WorkloadEndpointName {
  readonly node: string;
  readonly orchestrator: string;
  readonly id: string;
  readonly endpoint: string;
}

/** The part of a spec that names the workload; "" where it is missing. */
export function workloadIdOf(spec: WorkloadEndpointInput["spec"]): string {
  switch (spec.orchestrator) {
    case "k8s":
      return spec.pod ?? "";
    case "cni":
      return spec.containerID ?? "";
    case "libnetwork":
      return "libnetwork";
    default:
      return spec.workload ?? "";
  }
}

/**
 * The name of an endpoint. Parts may not be empty nor begin or end with `-` (undefined then), since
 * the name could not be taken apart again.
 */
export function workloadEndpointName(parts: WorkloadEndpointName): string | undefined {
  const list = [parts.node, parts.orchestrator, parts.id, parts.endpoint];
  if (list.some((p) => p === "" || p.startsWith("-") || p.endsWith("-"))) return undefined;
  return list.map((p) => p.replaceAll("-", "--")).join("-");
}

/** The name that an endpoint with this spec must have; undefined where parts are missing. */
export function expectedEndpointName(spec: WorkloadEndpointInput["spec"]): string | undefined {
  return workloadEndpointName({
    node: spec.node ?? "",
    orchestrator: spec.orchestrator ?? "",
    id: workloadIdOf(spec),
    endpoint: spec.endpoint ?? "",
  });
}

/**
 * What the names of all endpoints of one workload begin with. Other workloads' may too (`x-` is a
 * prefix of `x--1-`): take the name apart and compare.
 */
export function workloadEndpointNamePrefix(parts: Omit<WorkloadEndpointName, "endpoint">): string {
  return [parts.node, parts.orchestrator, parts.id]
    .map((p) => p.replaceAll("-", "--")).join("-") + "-";
}

/** Takes a name apart; undefined where it is not one of ours. */
export function parseWorkloadEndpointName(name: string): WorkloadEndpointName | undefined {
  const parts: string[] = [];
  let part = "";
  for (let i = 0; i < name.length; i++) {
    if (name[i] !== "-") part += name[i];
    else if (name[i + 1] === "-") {
      part += "-";
      i++;
    } else {
      parts.push(part);
      part = "";
    }
  }
  parts.push(part);
  if (parts.length !== 4) return undefined;
  const [node, orchestrator, id, endpoint] = parts;
  const found = { node, orchestrator, id, endpoint };
  return workloadEndpointName(found) === name ? found : undefined;
}

/** Calico's v1 workload ID, under which nodes report: `namespace/pod`, `default/<container ID>`. */
export function workloadKeyOf(endpoint: WorkloadEndpoint): string {
  return `${endpoint.metadata.namespace ?? "default"}/${workloadIdOf(endpoint.spec)}`;
}
