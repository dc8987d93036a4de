/**
 * The WorkloadEndpoint of an attachment, as Calico's plugin writes it: built here (pure), and written,
 * found and deleted in the datastore by compare-and-swap.
 *
 * An endpoint exists from before its interface until after it, so that whatever is found in the
 * kernel has a record. Its labels are a copy of its pod's at this moment; the agent keeps the copy
 * fresh. A plain container's endpoint has a profile with the network's name, made on first use, which
 * lets the containers of one network talk, as Calico does.
 */

import {
  formatIp,
  formatPrefix,
  hostPrefix,
  type Ip,
  parseCidr,
  type Prefix,
} from "../mod/net/mod.ts";
import { resourceKey, resourcePrefix } from "../mod/model/keys.ts";
import type { Pod } from "../mod/model/pod.ts";
import { profileKind } from "../mod/model/profile.ts";
import {
  endpointLabels,
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointNamePrefix,
} from "../mod/model/workload_endpoint.ts";
import { identityOf } from "../mod/store/damaged.ts";
import { readRaw } from "../mod/store/raw.ts";
import { type Store, StoreError } from "../mod/store/store.ts";
import {
  type EndpointEntry,
  isSound,
  listEndpoints,
  placeOf,
  readEndpoint,
  type SoundEntry,
} from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import type { EndpointIdentity } from "./identity.ts";
import type { QosControls } from "./qos.ts";
import type { Subject } from "./subject.ts";

export interface EndpointPlan {
  readonly identity: EndpointIdentity;
  readonly subject: Subject;
  /** Of the configuration. */
  readonly network: string;
  readonly addresses: readonly Ip[];
  readonly interfaceName: string;
  readonly mac: string;
  readonly floatingIps: readonly Ip[];
  readonly allowedSourcePrefixes: readonly Prefix[];
  readonly qos?: QosControls;
}

/** The endpoint, without what the datastore adds (uid, creationTimestamp). */
export function buildEndpoint(plan: EndpointPlan): WorkloadEndpoint {
  const { identity, subject: { pod } } = plan;
  const account = pod ? pod.spec.serviceAccountName || "default" : undefined;
  const { namespace, orchestrator } = identity;
  const ports = pod ? containerPorts(pod) : [];
  return {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: identity.name,
      ...(pod?.metadata.generateName && { generateName: pod.metadata.generateName }),
      namespace: identity.namespace,
      labels: endpointLabels(pod?.metadata.labels, namespace, orchestrator, account),
    },
    spec: {
      orchestrator: identity.orchestrator,
      node: identity.node,
      containerID: identity.containerId,
      ...(identity.pod !== undefined && { pod: identity.pod }),
      endpoint: identity.ifname,
      ...(account && { serviceAccountName: account }),
      ipNetworks: plan.addresses.map((ip) => formatPrefix(hostPrefix(ip))),
      ...(plan.floatingIps.length > 0 && { ipNATs: addressTranslations(plan) }),
      profiles: account
        ? [`kns.${identity.namespace}`, `ksa.${identity.namespace}.${account}`]
        : [plan.network],
      interfaceName: plan.interfaceName,
      mac: plan.mac,
      ...(ports.length > 0 && { ports }),
      ...(plan.allowedSourcePrefixes.length > 0 &&
        { allowSpoofedSourcePrefixes: plan.allowedSourcePrefixes.map(formatPrefix) }),
      ...(plan.qos && { qosControls: plan.qos }),
    },
  };
}

function addressTranslations(plan: EndpointPlan): { internalIP: string; externalIP: string }[] {
  return plan.floatingIps.map((external) => {
    const internal = plan.addresses.find((ip) => ip.family === external.family);
    if (!internal) {
      throw new CniError(
        CniCode.annotation,
        `Annotation cni.projectcalico.org/floatingIPs names ${
          formatIp(external)
        }, but the pod has ` +
          `no IPv${external.family} address to which it could lead.`,
      );
    }
    return { internalIP: formatIp(internal), externalIP: formatIp(external) };
  });
}

/** Container ports that policy or the portmap plugin may ask for: named ones and host ports. */
function containerPorts(pod: Pod) {
  return [...pod.spec.containers ?? [], ...pod.spec.initContainers ?? []]
    .flatMap((container) => container.ports ?? [])
    .filter((port) => (port.name || port.hostPort) && protocolOf(port.protocol))
    .map((port) => ({
      name: port.name ?? "",
      protocol: protocolOf(port.protocol)!,
      port: port.containerPort,
      hostPort: port.hostPort ?? 0,
      hostIP: port.hostIP ?? "",
    }));
}

function protocolOf(text: string | undefined): "TCP" | "UDP" | "SCTP" | undefined {
  const upper = (text || "TCP").toUpperCase();
  return upper === "TCP" || upper === "UDP" || upper === "SCTP" ? upper : undefined;
}

/**
 * Writes the endpoint over what stands there, whatever it is: the caller holds the lock of the pod,
 * and only this node writes this name. uid and creation time of an older endpoint are kept where they can
 * be read, those of what is no endpoint are not believed. `seen`: what the caller found there; undefined: nothing.
 */
export async function writeEndpoint(
  store: Store,
  key: string,
  endpoint: WorkloadEndpoint,
  now: Date,
  seen: EndpointEntry | undefined,
): Promise<WorkloadEndpoint> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const before = attempt === 0 ? seen : await readEndpoint(store, key);
    const whole = wholeEndpoint(endpoint, now, before);
    try {
      if (before) await store.update(key, whole, before.revision);
      else await store.create(key, whole);
      return whole;
    } catch (error) {
      if (!isLostRace(error)) throw error;
    }
  }
  throw new CniError(
    CniCode.tryAgain,
    `WorkloadEndpoint ${endpoint.metadata.namespace}/${endpoint.metadata.name} changes faster than ` +
      "it can be written; try again.",
  );
}

/** With what the datastore adds, as far as that is not what stands there `before`. */
export function wholeEndpoint(
  endpoint: WorkloadEndpoint,
  now: Date,
  before?: EndpointEntry,
): WorkloadEndpoint {
  const { name, generateName, namespace, labels } = endpoint.metadata;
  const former = identityOf(before?.value);
  return {
    ...endpoint,
    metadata: {
      name,
      ...(generateName && { generateName }),
      namespace,
      uid: former.uid ?? crypto.randomUUID(),
      creationTimestamp: former.creationTimestamp ?? now.toISOString().replace(/\.\d+Z$/, "Z"),
      labels,
    },
  };
}

/**
 * Deletes the endpoint, as the caller has seen it, unless it belongs to another container by now.
 * Returns what was deleted; what was no endpoint goes too (`belongs` of undefined), and is not returned.
 */
export async function deleteEndpoint(
  store: Store,
  key: string,
  belongs: (endpoint: WorkloadEndpoint | undefined) => boolean,
  seen: EndpointEntry | undefined,
): Promise<WorkloadEndpoint | undefined> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const entry = attempt === 0 ? seen : await readEndpoint(store, key);
    if (!entry || !belongs(entry.value)) return undefined;
    try {
      await store.delete(key, entry.revision);
      return entry.value;
    } catch (error) {
      if (!isLostRace(error)) throw error;
    }
  }
  throw new CniError(
    CniCode.tryAgain,
    `The endpoint at ${key} changes faster than it can be deleted; try again.`,
  );
}

/** Those that it names; what is none is left out. */
export function addressesOf({ spec }: WorkloadEndpoint): Ip[] {
  return (spec.ipNetworks ?? []).map((net) => parseCidr(net)?.ip).filter((ip) => ip !== undefined);
}

/** Somebody else wrote first: read again. */
export function isLostRace(error: unknown): boolean {
  return error instanceof StoreError &&
    (error.kind === "exists" || error.kind === "conflict" || error.kind === "notFound");
}

/** All of this node's plain containers, damaged ones among them. */
export async function plainEndpoints(store: Store, node: string): Promise<EndpointEntry[]> {
  const start = workloadEndpointNamePrefix({ node, orchestrator: "cni", id: "" }).slice(0, -1);
  const entries = await listEndpoints(
    store,
    resourcePrefix(workloadEndpointKind, "default") + start,
  );
  return entries.filter((entry) => {
    const { node: on, orchestrator } = entry.value?.spec ?? placeOf(entry.key) ?? {};
    return on === node && orchestrator === "cni";
  });
}

/** All of one pod on this node, one for each of its interfaces; damaged ones are among them. */
export async function podEndpoints(
  store: Store,
  identity: EndpointIdentity,
): Promise<EndpointEntry[]> {
  const { node, namespace, pod } = identity;
  const start = workloadEndpointNamePrefix({ node, orchestrator: "k8s", id: pod ?? "" });
  const entries = await listEndpoints(
    store,
    resourcePrefix(workloadEndpointKind, namespace) + start,
  );
  return entries.filter(({ key, value }) => {
    if (value) return value.spec.node === node && value.spec.pod === pod;
    const place = placeOf(key);
    return place?.node === node && place.id === pod;
  });
}

/** What stands where the attachment's host side could have its name from, by other attachments. */
export function siblingEndpoints(
  store: Store,
  identity: EndpointIdentity,
): Promise<EndpointEntry[]> {
  return identity.pod === undefined
    ? plainEndpoints(store, identity.node)
    : podEndpoints(store, identity);
}

/** Everything of this node, damaged ones by what their keys say. */
export async function nodeRecords(store: Store, node: string): Promise<EndpointEntry[]> {
  const entries = await listEndpoints(store, resourcePrefix(workloadEndpointKind));
  return entries.filter(({ key, value }) => (value?.spec ?? placeOf(key))?.node === node);
}

/** All endpoints of this node. */
export async function nodeEndpoints(store: Store, node: string): Promise<SoundEntry[]> {
  return (await nodeRecords(store, node)).filter(isSound);
}

/** Whether something stands in the place of the network's profile for plain containers, be it damaged. */
export async function hasNetworkProfile(store: Store, network: string): Promise<boolean> {
  return await readRaw(store, resourceKey(profileKind, network)) !== undefined;
}

/** Makes it, unless another is quicker. */
export async function makeNetworkProfile(
  store: Store,
  network: string,
  now: Date,
): Promise<void> {
  const profile = {
    kind: "Profile",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: network,
      uid: crypto.randomUUID(),
      creationTimestamp: now.toISOString().replace(/\.\d+Z$/, "Z"),
    },
    spec: {
      ingress: [{ action: "Allow", source: { selector: `has(${network})` }, destination: {} }],
      egress: [{ action: "Allow", source: {}, destination: {} }],
      labelsToApply: { [network]: "" },
    },
  };
  try {
    await store.create(resourceKey(profileKind, network), profile);
  } catch (error) {
    if (!isLostRace(error)) throw error;
  }
}
