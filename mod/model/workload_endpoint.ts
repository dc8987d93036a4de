/**
 * WorkloadEndpoint: one interface of a pod (or of a plain container) with its addresses. Its name is
 * computed: `<node>-<orchestrator>-<id>-<endpoint>`, every `-` inside a part doubled, so that all
 * endpoints of a pod on a node share a prefix.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  byteOrText,
  cidrText,
  integer,
  interfaceNameText,
  ipText,
  ipv4Text,
  ipv6Text,
  isDscp,
  macText,
  matching,
  nameText,
  netOrEmpty,
  netText,
  portNameOrEmpty,
  protocolValue,
  WANT_DSCP,
  zeroIsNothing,
} from "./fields.ts";
import { addressBits, parseIp, parsePrefix, prefixContains } from "../net/mod.ts";
import { column, joined, nameColumn } from "./columns.ts";
import { portIssues } from "./host_endpoint.ts";
import { show } from "./show.ts";

/**
 * Ours, never stored: an annotation on an endpoint that was read from a Pod. Its addresses stand in the
 * Pod's annotations alone, where more people may write than may say what a pod's address is.
 */
export const CLAIMED_ADDRESSES = "cni.tortie.io/addresses";

const containerId = matching(
  /^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/,
  "a container ID: letters, digits and '-', beginning and ending with a letter or digit",
);

/** Of a limit; 0 is none. Values in Calico's ranges; IPAM's plugin takes narrower ones (cni/qos.ts). */
function limit(least: number, most: number) {
  return v.optional(zeroIsNothing(v.pipe(
    v.number(),
    v.check(
      (n) => n === 0 || Number.isInteger(n) && n >= least && n <= most,
      `a whole number from ${least} to ${most}, or 0 for no limit`,
    ),
  )));
}
const bandwidth = limit(1e3, 1e15), burst = limit(1e3, 34_359_738_360);
const peakrate = limit(1010, 1.01e15), minburst = limit(1e3, 1e8);
const packets = limit(1, 10_000), connections = limit(1, 4_294_967_295);

const schema = objectSchema("WorkloadEndpoint", "projectcalico.org/v3", {
  spec: v.object({
    /** `k8s`, or `cni` for containers that no Kubernetes knows. */
    orchestrator: v.optional(nameText),
    workload: v.optional(nameText),
    node: v.optional(nameText),
    containerID: v.optional(containerId),
    pod: v.optional(nameText),
    /** The interface's name in the pod: `eth0`. */
    endpoint: v.optional(nameText),
    serviceAccountName: v.optional(nameText),
    /** /32 and /128. */
    ipNetworks: v.optional(v.array(netText)),
    ipNATs: v.optional(v.array(v.object({ internalIP: ipText, externalIP: ipText }))),
    ipv4Gateway: v.optional(ipv4Text),
    ipv6Gateway: v.optional(ipv6Text),
    profiles: v.optional(v.array(nameText)),
    /** On the host. */
    interfaceName: v.optional(interfaceNameText),
    /** Of the pod's side. */
    mac: v.optional(macText),
    ports: v.optional(v.array(v.object({
      name: v.optional(portNameOrEmpty, ""),
      protocol: protocolValue,
      port: integer(1, 65535, "uint16"),
      hostPort: v.optional(integer(0, 65535, "uint16"), 0),
      hostIP: v.optional(netOrEmpty, ""),
    }))),
    allowSpoofedSourcePrefixes: v.optional(v.array(cidrText)),
    qosControls: v.optional(v.object({
      ingressBandwidth: bandwidth,
      egressBandwidth: bandwidth,
      ingressBurst: burst,
      egressBurst: burst,
      ingressPeakrate: peakrate,
      egressPeakrate: peakrate,
      ingressMinburst: minburst,
      egressMinburst: minburst,
      ingressPacketRate: packets,
      egressPacketRate: packets,
      ingressPacketBurst: packets,
      egressPacketBurst: packets,
      ingressMaxConnections: connections,
      egressMaxConnections: connections,
      dscp: v.optional(byteOrText(
        v.pipe(v.union([v.number(), v.string()]), v.check(isDscp, WANT_DSCP)),
      )),
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
  columns: [
    column("WORKLOAD", (w) => w.spec.workload || w.spec.pod || ""),
    column("NODE", (w) => w.spec.node ?? ""),
    column("NETWORKS", (w) => joined(w.spec.ipNetworks)),
    column("INTERFACE", (w) => w.spec.interfaceName ?? ""),
  ],
  wideColumns: [
    nameColumn,
    column("WORKLOAD", (w) => w.spec.workload || w.spec.pod || ""),
    column("NODE", (w) => w.spec.node ?? ""),
    column("NETWORKS", (w) => joined(w.spec.ipNetworks)),
    column("INTERFACE", (w) => w.spec.interfaceName ?? ""),
    column("PROFILES", (w) => joined(w.spec.profiles)),
    column(
      "NATS",
      (w) => joined((w.spec.ipNATs ?? []).map((nat) => `{${nat.internalIP} ${nat.externalIP}}`)),
    ),
  ],
  prepare(endpoint) {
    const { metadata, spec } = endpoint;
    metadata.name ||= expectedEndpointName(spec) ?? "";
    metadata.labels = {
      ...metadata.labels,
      [LABEL_NAMESPACE]: metadata.namespace ?? "",
      [LABEL_ORCHESTRATOR]: spec.orchestrator ?? "",
    };
  },
  check,
  checkWrite,
};

/** Labels that Calico puts on every workload endpoint. */
export const LABEL_NAMESPACE = "projectcalico.org/namespace";
export const LABEL_ORCHESTRATOR = "projectcalico.org/orchestrator";
export const LABEL_SERVICE_ACCOUNT = "projectcalico.org/serviceaccount";

/**
 * The labels of a pod's endpoint: the pod's own, and Calico's, in the order of their names. `account`
 * is the pod's service account.
 */
export function endpointLabels(
  podLabels: Readonly<Record<string, string>> | undefined,
  namespace: string,
  orchestrator: string,
  account?: string,
): Record<string, string> {
  const labels: Record<string, string> = {
    ...podLabels,
    [LABEL_NAMESPACE]: namespace,
    [LABEL_ORCHESTRATOR]: orchestrator,
    // A label's value has at most 63 characters; Calico leaves a longer account name out.
    ...(account && account.length < 63 && { [LABEL_SERVICE_ACCOUNT]: account }),
  };
  return Object.fromEntries(Object.entries(labels).sort(([a], [b]) => a < b ? -1 : 1));
}

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

function checkWrite({ metadata, spec }: WorkloadEndpoint): Issue[] {
  const expected = expectedEndpointName(spec);
  return expected === metadata.name ? [] : [{
    path: "metadata.name",
    message: expected === undefined
      ? `"${metadata.name}" names no endpoint: want node, orchestrator, pod (or containerID, ` +
        "workload) and endpoint in the spec, none beginning or ending with '-'"
      : `"${metadata.name}" is not allowed: want ${expected}, as the spec says`,
  }];
}

function check({ spec }: WorkloadEndpoint): Issue[] {
  const issues: Issue[] = portIssues(spec.ports);
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (!spec.interfaceName) {
    say("interfaceName", "is missing: want the interface's name on the host");
  }
  const networks = (spec.ipNetworks ?? []).map(parsePrefix);
  networks.forEach((network, i) => {
    if (network && network.length !== addressBits(network.ip.family)) {
      say(
        `ipNetworks[${i}]`,
        `${spec.ipNetworks![i]} holds more than one address; want /32 or /128`,
      );
    }
  });
  (spec.ipNATs ?? []).forEach(({ internalIP, externalIP }, i) => {
    const [internal, external] = [parseIp(internalIP), parseIp(externalIP)];
    if (!internal || !external) return;
    if (internal.family !== external.family) {
      say(`ipNATs[${i}]`, `${internalIP} and ${externalIP} are of different families`);
    }
    if (!networks.some((network) => network && prefixContains(network, internal))) {
      say(`ipNATs[${i}].internalIP`, `${internalIP} is none of ${show(spec.ipNetworks ?? [])}`);
    }
  });
  (spec.ports ?? []).forEach((port, i) => {
    if (port.name === "" && port.hostPort === 0) {
      say(`ports[${i}].name`, "is missing: want a name or a hostPort");
    }
  });
  return issues;
}
