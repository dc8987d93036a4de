/**
 * Whether somebody still has an address, by the datastore: what the controllers release by, and what the
 * check calls leaked. After kube-controllers' rules for pods, and stricter: a WorkloadEndpoint with the
 * address is proof of life by itself, since on kv and etcd it is the node that writes and removes it,
 * and a Pod may not be known there at all.
 *
 * What cannot be told ("unknown") is never released. "gone" is not yet a reason to release anything: the
 * node is asked too, see `use.ts` and `controllers/collector.ts`.
 */
import { addressBits, formatIp, parseCidr, parseIp } from "../../net/mod.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { parseWorkloadEndpointName } from "../../model/workload_endpoint.ts";
import { LEASE_PREFIX } from "../lease_record.ts";
import { type AskedAddress, containerOf } from "../questions.ts";
import { type Allocation, GATEWAY_TYPE, TUNNEL_TYPES, WINDOWS_RESERVED } from "./allocations.ts";
import { podAddresses } from "./users.ts";

/** An object of the store, of whatever form somebody gave it. */
export type Loose = any;

/** What the evidence is taken from: records of a moment, or the store itself just before a release. */
export interface Facts {
  /** WorkloadEndpoints that have the address. */
  endpointsOf(address: string): readonly Loose[];
  /** Keys of WorkloadEndpoints that do not say which addresses they have (`isReadable`). */
  readonly unreadable: Iterable<string>;
  /** null, or any other value than an object: it is there, and cannot be read. */
  pod(namespace: string, name: string): Loose | undefined;
  hasNode(name: string): boolean;
  /** The name that Pods have for a node; undefined where its Node is not there, or says none. */
  kubernetesNode(name: string): string | undefined;
  /** The agent of the node has reported lately. */
  isLive(node: string): boolean;
}

export type Evidence =
  /** `who`: in the words of a check's report. */
  | { readonly is: "alive"; readonly why: string; readonly who?: string }
  /** A lease between two pods: nobody's on any node, and not to be released yet. */
  | { readonly is: "kept"; readonly why: string }
  | { readonly is: "unknown"; readonly why: string }
  /** No more than a node's own: gone when the node is. */
  | { readonly is: "nodes"; readonly why: string }
  | {
    readonly is: "gone";
    readonly why: string;
    /** By the word of a pod's record, where pods are known; a plain container has none. */
    readonly pod: boolean;
    /** IPAM itself says that nobody has it, a lease whose time is over: a node that cannot be asked need not. */
    readonly over?: boolean;
  };

/** Whether the node of an allocation is no more: nobody that ran there has anything. */
export function isNodeGone(facts: Facts, node: string): boolean {
  return node !== "" && !facts.hasNode(node) && !facts.isLive(node);
}

/**
 * An allocation with neither handle nor attributes. It is what Calico v3.32 leaves of a cool-down that had one
 * mark alone (`cooling.ts`); but its library gives such ones to who asks for an address without a handle, tunnels
 * of very old versions have such ones, and a damaged record reads so. So nobody can be asked whose it is: the
 * container that has it may be on any node, or be none.
 */
const SAYS_NOTHING =
  "its record says nothing: it may have cooled down when a Calico before v3.33 wrote to its block";

/** `wall` in milliseconds since 1970. */
export function evidenceFor(facts: Facts, allocation: Allocation, wall: number): Evidence {
  const { handle, attributes, address, node } = allocation;
  const alive = (why: string, who?: string): Evidence => ({ is: "alive", why, who });
  const unknown = (why: string): Evidence => ({ is: "unknown", why });
  if (!handle && !(attributes.pod && attributes.namespace)) {
    return unknown(
      Object.keys(attributes).length === 0 ? SAYS_NOTHING : "it has no handle, and names no pod",
    );
  }
  if (handle === WINDOWS_RESERVED) return alive("Windows keeps it", "Reserved for Windows");
  const lease = leaseOf(allocation);
  const { pod, namespace, type } = lease ? { ...lease, type: undefined } : attributes;
  if (TUNNEL_TYPES.includes(type ?? "") || type === GATEWAY_TYPE) {
    return { is: "nodes", why: `the ${type} of node ${node}` };
  }
  const endpoint = facts.endpointsOf(address).find((one) => counts(facts, one));
  if (endpoint) return alive(`endpoint ${endpoint.metadata?.name ?? ""} has it`);
  const kept = lease && lease.container === undefined && stillKept(lease, wall);
  if (kept) return kept;
  const silent = silentEndpoint(facts, allocation, { pod, namespace });
  if (silent) return unknown(`${silent} cannot be read, and may have it`);
  if (lease && lease.container === undefined) return overEvidence(facts, allocation, lease);
  if (pod && namespace) return podEvidence(facts, allocation, namespace, pod, lease !== undefined);
  // Without a pod: a plain container, by the form of its handle. Its node must say that it is gone.
  if (type || !attributes.node || !handle?.includes(".")) {
    return unknown("it is not known whose it is");
  }
  return { is: "gone", why: "no endpoint has it", pod: false };
}

export interface LeaseFacts {
  readonly name: string;
  /** The handle of the attachment that uses it. */
  readonly container?: string;
  readonly keptUntil?: string;
  readonly pod?: string;
  readonly namespace?: string;
}

/** The lease of an ordinal of a StatefulSet (`lease_record.ts`), with the pod that has the ordinal. */
export function leaseOf(
  { handle, attributes }: Pick<Allocation, "handle" | "attributes">,
): LeaseFacts | undefined {
  if (!handle?.startsWith(LEASE_PREFIX)) return undefined;
  const { container, keptUntil, statefulset = "", ordinal = "" } = attributes;
  const [namespace, set] = statefulset.split("/");
  return {
    name: `${statefulset}-${ordinal}`,
    container,
    keptUntil,
    ...(set && { namespace, pod: `${set}-${ordinal}` }),
  };
}

/** undefined: it is over. */
function stillKept({ name, keptUntil }: LeaseFacts, wall: number): Evidence | undefined {
  if (keptUntil === undefined) return { is: "unknown", why: `the lease of ${name} has no end` };
  // A time that cannot be read counts as over: nobody uses the address.
  return Date.parse(keptUntil) > wall ? { is: "kept", why: `Lease(${name})` } : undefined;
}

/** The lease says that nobody has the address: its ordinal's pod may know better. */
function overEvidence(
  facts: Facts,
  { address }: Allocation,
  { name, namespace, pod }: LeaseFacts,
): Evidence {
  const found = namespace && pod ? facts.pod(namespace, pod) : undefined;
  if (found !== undefined && (found === null || typeof found !== "object")) {
    return { is: "unknown", why: `pod ${namespace}/${pod} cannot be read, and may have it` };
  }
  if (found && has(rawAddresses(found), address)) {
    const whom = `${namespace}/${pod}`;
    return { is: "alive", why: `pod ${whom} has it`, who: `Pod(${whom})` };
  }
  return { is: "gone", why: `the lease of ${name} is over`, pod: false, over: true };
}

/** An endpoint of a node that is gone speaks for nobody, unless its pod is still there. */
function counts(facts: Facts, { spec, metadata }: Loose): boolean {
  const node = spec?.node ?? "";
  if (node === "" || facts.hasNode(node) || facts.isLive(node)) return true;
  const pod = spec.pod && facts.pod(metadata?.namespace ?? "", spec.pod);
  return !!pod && !isElsewhere(facts, pod, node);
}

/**
 * A Pod that is on another node than one of ours. Of a Node that does not say which of Kubernetes' it is,
 * any may be, but one that has the name of another of ours.
 */
function isElsewhere(facts: Facts, pod: Loose, node: string): boolean {
  const where = pod.spec?.nodeName;
  if (!where || node === "") return false;
  const there = facts.kubernetesNode(node);
  return there !== undefined ? where !== there : where !== node && facts.hasNode(where);
}

/**
 * An endpoint that does not say which addresses it has, and by its name is that of the allocation's pod
 * or container.
 */
function silentEndpoint(
  facts: Facts,
  { handle = "", node }: Allocation,
  { pod, namespace }: { readonly pod?: string; readonly namespace?: string },
): string | undefined {
  for (const key of facts.unreadable) {
    const at = parseResourceKey(key);
    const name = at && parseWorkloadEndpointName(at.name);
    if (!name || name.node !== node || isNodeGone(facts, node)) continue;
    const mine = pod
      ? at.namespace === namespace && name.id === pod
      : containerOf({ handle }).includes(name.id);
    if (mine) return `WorkloadEndpoint ${at.namespace}/${at.name}`;
  }
}

function podEvidence(
  facts: Facts,
  { address, attributes, node }: Allocation,
  namespace: string,
  name: string,
  leased: boolean,
): Evidence {
  const alive = (why: string): Evidence => ({
    is: "alive",
    why,
    who: `Pod(${namespace}/${name})`,
  });
  const machine = attributes["vmi-name"];
  const gone = (why: string): Evidence =>
    // The address is the machine's, which goes from pod to pod, and whose objects we do not read.
    machine
      ? { is: "unknown", why: `it is kept for KubeVirt's machine ${namespace}/${machine}: ${why}` }
      : { is: "gone", why, pod: true };
  const pod = facts.pod(namespace, name);
  const whom = `pod ${namespace}/${name}`;
  if (pod === undefined) return gone(`${whom} does not exist, and no endpoint has it`);
  if (pod === null || typeof pod !== "object") {
    return { is: "unknown", why: `${whom} cannot be read, and may have it` };
  }
  const where = pod.spec?.nodeName;
  if (isElsewhere(facts, pod, node)) return gone(`${whom} is on node ${where} now`);
  // A further pod of the ordinal that waits for a node has nothing of the one that is gone.
  if (leased && !where && isNodeGone(facts, node)) return gone(`${whom} is on no node yet`);
  const { phase, reason, podIP, podIPs } = pod.status ?? {};
  if (phase === "Failed" && reason === "Evicted") return gone(`${whom} was evicted`);
  if (!podIP && !podIPs?.length) return alive(`${whom} has no address on record yet`);
  // A finished pod has none for policy; its sandbox may still be there, and Calico waits for its end.
  const finished = phase === "Failed" || phase === "Succeeded";
  if (has(finished ? rawAddresses(pod) : podAddresses(pod), address)) {
    return alive(`${whom} has it`);
  }
  if (attributes.interface || leased) return alive(`${whom} may have it on another interface`);
  return gone(`${whom} has another address`);
}

function has(texts: readonly string[], address: string): boolean {
  return texts.map((text) => parseIp(text)).some((ip) => ip && formatIp(ip) === address);
}

function rawAddresses({ status }: Loose): string[] {
  const several = Array.isArray(status?.podIPs) ? status.podIPs : [];
  return [status?.podIP, ...several.map((one: Loose) => one?.ip)]
    .filter((ip) => typeof ip === "string" && ip !== "");
}

/**
 * What a node is asked about an allocation. A lease is known there by the container that uses it, and one
 * that none uses by its address alone: the parts of its own handle are no containers' names.
 */
export function askedOf(
  { address, handle = "", attributes }: Pick<Allocation, "address" | "handle" | "attributes">,
): AskedAddress {
  const own = handle.startsWith(LEASE_PREFIX) ? "" : handle;
  return { ip: address, handle: attributes.container ?? own };
}

/** Whether an endpoint says which addresses it has: a network of several is none that Calico takes. */
export function isReadable(endpoint: Loose): boolean {
  const { spec } = endpoint ?? {};
  if (typeof spec !== "object" || spec === null) return false;
  const { ipNetworks: nets } = spec;
  return Array.isArray(nets) && nets.every(isAddress);
}

function isAddress(net: unknown): boolean {
  if (typeof net !== "string") return false;
  const cidr = parseCidr(net);
  return cidr ? cidr.prefix.length === addressBits(cidr.ip.family) : parseIp(net) !== undefined;
}

/** An endpoint's addresses in canonical form. */
export function addressesOf(endpoint: Loose): string[] {
  const nets = endpoint?.spec?.ipNetworks;
  if (!Array.isArray(nets)) return [];
  return nets.flatMap((net) => addressIn(net) ?? []);
}

function addressIn(net: unknown): string | undefined {
  const ip = typeof net === "string" ? parseCidr(net)?.ip ?? parseIp(net) : undefined;
  return ip && formatIp(ip);
}
