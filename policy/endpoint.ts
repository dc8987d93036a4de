/**
 * A workload endpoint as policy sees it: WorkloadEndpoint, Pod, and what its profiles hand down,
 * joined. While its Pod exists, labels, account and ports are the Pod's, whatever copy stands in the
 * WorkloadEndpoint; without one (plain CNI, or the Pod is not there yet) they are the endpoint's
 * own. Calico's three labels (namespace, orchestrator, service account) cannot be overwritten, nor can a
 * pod's own labels stand in for those of its namespace or account; otherwise own labels win over
 * inherited ones, and an earlier profile's over a later one's.
 */
import { addressBits, formatIp, formatPrefix, parseIp, parsePrefix } from "../mod/net/mod.ts";
import type { EffectiveProfile } from "./effective.ts";
import type { FloatingAddress } from "./floating.ts";
import {
  type EndpointPortObject,
  labelsOf,
  listOf,
  type PodObject,
  type QosObject,
  textOf,
  type WorkloadEndpointObject,
} from "./inputs.ts";
import { protocolNumber } from "./protocol.ts";
import type { Family } from "./rules.ts";
import {
  NAMESPACE_LABEL,
  NAMESPACE_PREFIX,
  ORCHESTRATOR_LABEL,
  SERVICE_ACCOUNT_LABEL,
  SERVICE_ACCOUNT_PREFIX,
} from "./selectors.ts";

/** A named port of an endpoint. */
export interface EndpointPort {
  readonly name: string;
  readonly protocol: number;
  readonly port: number;
}

export interface Endpoint {
  /** `namespace/name` of the WorkloadEndpoint. */
  readonly key: string;
  readonly namespace: string;
  /** The Pod's name; empty where there is none. */
  readonly pod: string;
  readonly node: string;
  /** On the host; empty where it is not known or is no name of an interface. */
  readonly interfaceName: string;
  readonly labels: ReadonlyMap<string, string>;
  /** Names, in order. */
  readonly profiles: readonly string[];
  /** Addresses without length, canonical. */
  readonly addresses: Readonly<Record<Family, readonly string[]>>;
  readonly ports: readonly EndpointPort[];
  /** Networks from which it may send beside its addresses. */
  readonly spoofing: readonly string[];
  /** Addresses by which it is reached from elsewhere. */
  readonly floating: Readonly<Record<Family, readonly FloatingAddress[]>>;
  /** How much it may send and get; undefined: as much as it likes. */
  readonly qos: QosObject | undefined;
}

/** `kns.<namespace>` and `ksa.<namespace>.<account>` name the profiles that Kubernetes gives. */
export function parseProfileName(
  name: string,
): { is: "namespace"; namespace: string } | {
  is: "account";
  namespace: string;
  account: string;
} | undefined {
  if (name.startsWith("kns.")) return { is: "namespace", namespace: name.slice(4) };
  const match = /^ksa\.([^.]+)\.(.+)$/.exec(name);
  return match ? { is: "account", namespace: match[1], account: match[2] } : undefined;
}

/** What is kept of a WorkloadEndpoint object. */
export interface WorkloadFacts {
  /** `namespace/name`. */
  readonly key: string;
  readonly namespace: string;
  readonly node: string;
  readonly orchestrator: string;
  readonly pod: string;
  /** `namespace/name` of the Pod; undefined for other orchestrators than Kubernetes. */
  readonly podKey: string | undefined;
  readonly account: string;
  readonly interfaceName: string;
  readonly profiles: readonly string[];
  readonly labels: readonly (readonly [string, string])[];
  readonly addresses: Readonly<Record<Family, readonly string[]>>;
  readonly ports: readonly EndpointPort[];
  readonly spoofing: readonly string[];
  readonly floating: Readonly<Record<Family, readonly FloatingAddress[]>>;
  readonly qos: QosObject | undefined;
  /** Its labels are not all known. */
  readonly closes?: boolean;
}

/** What is kept of a Pod object: the rest of it is large and of no use here. */
export interface PodFacts {
  readonly account: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly ports: readonly EndpointPort[];
  readonly closes?: boolean;
}

export function workloadFacts(object: WorkloadEndpointObject): WorkloadFacts {
  const spec = object.spec ?? {};
  const namespace = object.metadata?.namespace || "default";
  const addresses: Record<Family, string[]> = { 4: [], 6: [] };
  for (const text of listOf(spec.ipNetworks)) {
    const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
    // Calico allows /32 and /128 alone.
    if (prefix && prefix.length === addressBits(prefix.ip.family)) {
      addresses[prefix.ip.family].push(formatIp(prefix.ip));
    }
  }
  const interfaceName = textOf(spec.interfaceName);
  const pod = textOf(spec.pod);
  const kubernetes = spec.orchestrator === "k8s" && pod !== "";
  return {
    key: `${namespace}/${object.metadata?.name ?? ""}`,
    namespace,
    node: textOf(spec.node),
    orchestrator: textOf(spec.orchestrator),
    pod,
    podKey: kubernetes ? `${namespace}/${pod}` : undefined,
    account: textOf(spec.serviceAccountName),
    interfaceName: /^[a-zA-Z0-9_.-]{1,15}$/.test(interfaceName) ? interfaceName : "",
    profiles: listOf(spec.profiles).filter((p) => typeof p === "string" && p !== ""),
    labels: labelsOf(object.metadata?.labels),
    addresses: { 4: [...new Set(addresses[4])], 6: [...new Set(addresses[6])] },
    ports: readPorts(listOf(spec.ports)),
    spoofing: listOf(spec.allowSpoofedSourcePrefixes)
      .map((text) => typeof text === "string" ? parsePrefix(text) : undefined)
      .filter((p) => p !== undefined)
      .map(formatPrefix),
    floating: floatingOf(spec.ipNATs, addresses),
    qos: qosOf(spec.qosControls),
  };
}

/** Beyond 2^53 the datastore's reader gives whole numbers as bigint; what is no number limits nothing. */
function qosOf(controls: unknown): QosObject | undefined {
  if (controls === null || typeof controls !== "object") return undefined;
  const numbers = Object.entries(controls).flatMap(([limit, value]) =>
    typeof value === "number" || typeof value === "bigint" ? [[limit, Number(value)]] : []
  );
  return Object.fromEntries(numbers);
}

/** Pairs whose internal address is the endpoint's own; whatever else stands there is passed over. */
function floatingOf(
  nats: NonNullable<WorkloadEndpointObject["spec"]>["ipNATs"],
  addresses: Readonly<Record<Family, readonly string[]>>,
): Record<Family, FloatingAddress[]> {
  const result: Record<Family, FloatingAddress[]> = { 4: [], 6: [] };
  for (const nat of listOf(nats)) {
    const internal = parseIp(textOf(nat?.internalIP)), external = parseIp(textOf(nat?.externalIP));
    if (!internal || internal.family !== external?.family) continue;
    const own = formatIp(internal);
    if (!addresses[internal.family].includes(own)) continue;
    result[internal.family].push({ internal: own, external: formatIp(external) });
  }
  return result;
}

export function podFacts(pod: PodObject): PodFacts {
  return {
    account: textOf(pod.spec?.serviceAccountName),
    labels: labelsOf(pod.metadata?.labels),
    ports: podPorts(pod),
  };
}

/** The profiles that an endpoint names, or those that Kubernetes gives its pods. */
export function profilesOf(workload: WorkloadFacts, pod: PodFacts | undefined): readonly string[] {
  if (workload.profiles.length > 0 || workload.orchestrator !== "k8s") return workload.profiles;
  const { namespace } = workload;
  return [`kns.${namespace}`, `ksa.${namespace}.${accountOf(workload, pod)}`];
}

function accountOf(workload: WorkloadFacts, pod: PodFacts | undefined): string {
  return pod?.account || workload.account || "default";
}

const isInherited = (label: string) =>
  label.startsWith(NAMESPACE_PREFIX) || label.startsWith(SERVICE_ACCOUNT_PREFIX);

/** The profile that comes first where labels are not all known: it denies what no policy allows. */
export const UNKNOWN_LABELS = "unknown labels";

/** Joins the parts. `profile` gives the profiles that exist. */
export function joinEndpoint(
  workload: WorkloadFacts,
  pod: PodFacts | undefined,
  profile: (name: string) => EffectiveProfile | undefined,
): Endpoint {
  const { key, namespace, node, interfaceName, addresses, spoofing, floating, qos } = workload;
  const profiles = profilesOf(workload, pod);
  const labels = new Map<string, string>();
  const kubernetes = pod !== undefined || workload.orchestrator === "k8s";
  // From the weakest to the strongest.
  for (const name of profiles.toReversed()) {
    for (const [label, value] of profile(name)?.labels ?? []) labels.set(label, value);
  }
  for (const [label, value] of (pod ?? workload).labels) {
    // Calico lets an endpoint's own label win. But a namespaceSelector of Kubernetes asks the Namespace:
    // whoever may label a pod must not label it into another one.
    if (kubernetes && isInherited(label)) continue;
    labels.set(label, value);
  }
  const closes = (pod ?? workload).closes || profiles.some((name) => profile(name)?.closes);
  labels.set(NAMESPACE_LABEL, namespace);
  if (workload.orchestrator !== "") labels.set(ORCHESTRATOR_LABEL, workload.orchestrator);
  if (workload.orchestrator === "k8s") {
    labels.set(SERVICE_ACCOUNT_LABEL, accountOf(workload, pod));
  }
  return {
    key,
    namespace,
    pod: workload.pod,
    node,
    interfaceName,
    labels,
    profiles: closes ? [UNKNOWN_LABELS, ...profiles] : profiles,
    addresses,
    ports: (pod ?? workload).ports,
    spoofing,
    floating,
    qos,
  };
}

/** Ports of the containers, and of init containers that keep running (sidecars). */
export function podPorts(pod: PodObject): EndpointPort[] {
  const containers = [
    ...listOf(pod.spec?.containers),
    ...listOf(pod.spec?.initContainers).filter((c) => c?.restartPolicy === "Always"),
  ];
  return readPorts(
    containers.flatMap((c) => listOf(c?.ports)).map((p) => ({
      name: p?.name,
      protocol: p?.protocol ?? "TCP",
      port: p?.containerPort,
    })),
  );
}

/** Ports without a name interest nobody here. */
function readPorts(ports: readonly EndpointPortObject[]): EndpointPort[] {
  const result: EndpointPort[] = [];
  for (const entry of ports) {
    const name = textOf(entry?.name), port = entry?.port;
    const protocol = protocolNumber(entry?.protocol ?? "");
    if (name === "" || protocol === undefined || typeof port !== "number") continue;
    if (Number.isInteger(port) && port > 0 && port < 65536) result.push({ name, protocol, port });
  }
  return result;
}

/** Whether two joined endpoints differ in what sets of addresses hold of them. */
export function sameContribution(a: Endpoint, b: Endpoint): boolean {
  const list = (x: readonly string[], y: readonly string[]) =>
    x.length === y.length && x.every((v, i) => v === y[i]);
  return list(a.addresses[4], b.addresses[4]) && list(a.addresses[6], b.addresses[6]) &&
    a.ports.length === b.ports.length &&
    a.ports.every((p, i) => {
      const q = b.ports[i];
      return p.name === q.name && p.protocol === q.protocol && p.port === q.port;
    });
}

/** Whether two label maps are equal. */
export function sameLabels(
  a: ReadonlyMap<string, string>,
  b: ReadonlyMap<string, string>,
): boolean {
  if (a.size !== b.size) return false;
  for (const [label, value] of a) if (b.get(label) !== value) return false;
  return true;
}
