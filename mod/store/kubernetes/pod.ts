/**
 * A Pod stands for two keys: itself, and the WorkloadEndpoint of its interface. Of the Pod, those parts
 * are read that a network needs (ten thousand whole Pods would be hundreds of megabytes); a write to a
 * Pod is a patch of what differs, so that nothing unread is lost.
 *
 * The endpoint is made of the Pod as Calico does (backend/k8s/conversion), with its addresses in the
 * annotations that the CNI plugin writes:
 *
 *     create, update    cni.projectcalico.org/podIP, podIPs, containerID   at the Pod's revision
 *     delete            podIP and podIPs become ""
 *
 * It exists from the one to the other: a Pod that has no address yet, that has finished, or whose
 * network was taken away has none. Two things are not as in Calico. Its plugin patches whatever
 * revision the Pod has; here every write is a compare-and-swap, and a kubelet that writes the status
 * at the same time costs a repetition. And where annotation and status differ, Calico believes the
 * status; we believe the annotation, which is newer: after a sandbox was made anew, the status has the
 * former addresses until the kubelet's next report.
 *
 * Two things that the pod itself does not tell are noted in annotations of our own, which Calico passes
 * over: the limits (qosControls), and that the interface had to get another name than the usual one.
 * Annotations are anybody's, so this one can only choose between the two names that are the pod's.
 */
import { formatIp, formatPrefix, hostPrefix, type Ip, parseCidr, parseIp } from "../../net/mod.ts";
import { parseResourceKey, resourceKey, resourcePrefix } from "../../model/keys.ts";
import { podKind } from "../../model/pod.ts";
import {
  endpointLabels,
  parseWorkloadEndpointName,
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointName,
} from "../../model/workload_endpoint.ts";
import { StoreError } from "../store.ts";
import { ApiError } from "./failure.ts";
import type { Fields, KubeObject, KubeResource, KubernetesApi, Narrowing } from "./api.ts";
import { difference } from "./difference.ts";
import { isFilled, parseObject } from "./metadata.ts";
import { otherPodInterface, podInterface } from "./names.ts";
import { removeObject } from "./removal.ts";
import { namespaceOf, type Place, revisionOf, type Source } from "./source.ts";

export const podResource: KubeResource = {
  group: "",
  version: "v1",
  plural: "pods",
  kind: "Pod",
  namespaced: true,
  page: 250,
};

const CNI = "cni.projectcalico.org/";
const POD_IP = `${CNI}podIP`, POD_IPS = `${CNI}podIPs`, CONTAINER_ID = `${CNI}containerID`;
const AWS_POD_IPS = "vpc.amazonaws.com/pod-ips";
const NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status";
/** Ours: the interface has the other of its two names. */
const OTHER_INTERFACE = "cni.tortie.io/interface";
/** Ours: the limits that were asked for when the pod came, as the endpoint has them. */
const LIMITS = "cni.tortie.io/qosControls";
const ENDPOINT = "eth0";

const podPrefix = resourcePrefix(podKind), endpointPrefix = resourcePrefix(workloadEndpointKind);

/** The parts of a Pod that a network needs. */
export function readPod(object: KubeObject): Fields {
  const { metadata, spec = {}, status = {} } = object;
  const { "kubectl.kubernetes.io/last-applied-configuration": _, ...annotations } =
    metadata.annotations ?? {};
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      ...pick(metadata, [
        "name",
        "generateName",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "labels",
      ]),
      ...(Object.keys(annotations).length > 0 && { annotations }),
      ...pick(metadata, ["ownerReferences"]),
    },
    spec: {
      ...pick(spec, ["nodeName", "serviceAccountName", "hostNetwork", "hostname", "subdomain"]),
      ...(spec.initContainers && { initContainers: spec.initContainers.map(readContainer) }),
      containers: (spec.containers ?? []).map(readContainer),
    },
    status: pick(status, ["phase", "hostIP", "podIP", "podIPs"]),
  };
}

function readContainer(container: Fields): Fields {
  return pick(container, ["name", "image", "ports", "restartPolicy"]);
}

function pick(from: Fields, members: readonly string[]): Fields {
  const picked: Fields = {};
  for (const member of members) if (from[member] !== undefined) picked[member] = from[member];
  return picked;
}

/** The endpoint's key; undefined for a pod that can have none: not scheduled, or in the host's network. */
export function endpointKeyOf(pod: KubeObject): string | undefined {
  const { nodeName, hostNetwork } = pod.spec ?? {};
  if (!nodeName || hostNetwork) return undefined;
  const { name: id, namespace } = pod.metadata;
  const name = workloadEndpointName({
    node: nodeName,
    orchestrator: "k8s",
    id,
    endpoint: ENDPOINT,
  });
  return name && resourceKey(workloadEndpointKind, name, namespace);
}

/** undefined where the pod has no network now. */
export function readEndpoint(
  pod: KubeObject,
  interfacePrefix = "cali",
): WorkloadEndpoint | undefined {
  const { metadata, spec = {} } = pod;
  const { namespace = "default", name } = metadata;
  const notes = metadata.annotations ?? {};
  const addresses = addressesOf(pod);
  if (addresses.length === 0) return undefined;
  const account: string | undefined = spec.serviceAccountName || undefined;
  const names = [podInterface, otherPodInterface].map((f) => f(interfacePrefix, namespace, name));
  const ports = portsOf([...spec.containers ?? [], ...spec.initContainers ?? []]);
  const nats = translations(notes[`${CNI}floatingIPs`], addresses);
  const spoofed = prefixesOf(notes[`${CNI}allowedSourcePrefixes`]);
  const limits = parseObject(notes[LIMITS]);
  return {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: workloadEndpointName({
        node: spec.nodeName,
        orchestrator: "k8s",
        id: name,
        endpoint: ENDPOINT,
      })!,
      ...(metadata.generateName && { generateName: metadata.generateName }),
      namespace,
      ...(metadata.uid && { uid: metadata.uid }),
      creationTimestamp: metadata.creationTimestamp,
      labels: endpointLabels(metadata.labels, namespace, "k8s", account),
      ...(notes[NETWORK_STATUS] && { annotations: { [NETWORK_STATUS]: notes[NETWORK_STATUS] } }),
    },
    spec: {
      orchestrator: "k8s",
      node: spec.nodeName,
      ...(notes[CONTAINER_ID] && { containerID: notes[CONTAINER_ID] }),
      pod: name,
      endpoint: ENDPOINT,
      ...(account && { serviceAccountName: account }),
      ipNetworks: addresses.map((ip) => formatPrefix(hostPrefix(ip))),
      ...(nats.length > 0 && { ipNATs: nats }),
      profiles: [`kns.${namespace}`, ...(account ? [`ksa.${namespace}.${account}`] : [])],
      interfaceName: names[notes[OTHER_INTERFACE] === "other" ? 1 : 0],
      ...(ports.length > 0 && { ports }),
      ...(spoofed.length > 0 && { allowSpoofedSourcePrefixes: spoofed }),
      ...(isFilled(limits) && { qosControls: limits }),
    },
  } as WorkloadEndpoint;
}

/** The addresses that the pod has now. */
function addressesOf({ metadata, status = {} }: KubeObject): Ip[] {
  const { phase } = status;
  if (phase === "Failed" || phase === "Succeeded" || phase === "Completed") return [];
  const notes = metadata.annotations ?? {};
  // "": the plugin has taken the network away.
  if (notes[POD_IP] === "" || (metadata.deletionTimestamp && notes[AWS_POD_IPS] === "")) return [];
  const texts = notes[POD_IPS]?.split(",") ??
    (notes[POD_IP] ? [notes[POD_IP]] : undefined) ??
    nonEmpty((status.podIPs ?? []).map(({ ip }: Fields) => ip)) ??
    (status.podIP ? [status.podIP] : undefined) ??
    notes[AWS_POD_IPS]?.split(",") ?? [];
  return (texts as string[]).flatMap((text) => {
    const ip = parseCidr(text)?.ip ?? parseIp(text);
    return ip ? [ip] : [];
  });
}

function nonEmpty(list: (string | undefined)[]): string[] | undefined {
  const texts = list.filter((text): text is string => Boolean(text));
  return texts.length > 0 ? texts : undefined;
}

/** Named ones and host ports. */
function portsOf(containers: readonly Fields[]): Fields[] {
  const protocols = ["TCP", "UDP", "SCTP"];
  return containers.flatMap((container) => container.ports ?? [])
    .map((port: Fields) => ({ ...port, protocol: (port.protocol || "TCP").toUpperCase() }))
    .filter((port: Fields) =>
      port.containerPort && (port.name || port.hostPort) && protocols.includes(port.protocol)
    )
    .map((port: Fields) => ({
      name: port.name ?? "",
      protocol: port.protocol,
      port: port.containerPort,
      hostPort: port.hostPort ?? 0,
      hostIP: port.hostIP ?? "",
    }));
}

function translations(text: string | undefined, addresses: readonly Ip[]) {
  return listOf(text).flatMap((externalIP) => {
    const family = parseIp(externalIP)?.family;
    const internal = addresses.find((ip) => ip.family === family);
    return internal ? [{ internalIP: formatIp(internal), externalIP }] : [];
  });
}

function prefixesOf(text: string | undefined): string[] {
  return listOf(text).flatMap((cidr) => {
    const prefix = parseCidr(cidr)?.prefix;
    return prefix ? [formatPrefix(prefix)] : [];
  });
}

/** A JSON list of texts; [] for what is none. */
function listOf(text: string | undefined): string[] {
  if (!text) return [];
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list.filter((item) => typeof item === "string") : [];
  } catch {
    return [];
  }
}

/** The annotations that record an endpoint on its pod. */
export function endpointAnnotations(
  endpoint: WorkloadEndpoint,
  interfacePrefix = "cali",
): Record<string, string | null> {
  const { ipNetworks = [], containerID, interfaceName, pod, qosControls } = endpoint.spec;
  const { namespace = "default" } = endpoint.metadata;
  const other = otherPodInterface(interfacePrefix, namespace, pod ?? "");
  return {
    [POD_IP]: ipNetworks[0] ?? "",
    [POD_IPS]: ipNetworks.join(","),
    ...(containerID && { [CONTAINER_ID]: containerID }),
    [OTHER_INTERFACE]: interfaceName === other ? "other" : null,
    [LIMITS]: qosControls && isFilled(qosControls) ? JSON.stringify(qosControls) : null,
  };
}

export function podSource(interfacePrefix: string): Source {
  return {
    resource: podResource,
    prefixes: [podPrefix, endpointPrefix],
    narrow: (prefix) =>
      prefix.startsWith(endpointPrefix)
        ? narrowEndpoints(prefix.slice(endpointPrefix.length))
        : [{ namespace: namespaceOf(podPrefix, prefix) }],
    locate,
    read(object) {
      const { name, namespace } = object.metadata;
      const key = endpointKeyOf(object);
      return [
        { key: resourceKey(podKind, name, namespace), value: readPod(object) },
        ...(key === undefined ? [] : [{ key, value: readEndpoint(object, interfacePrefix) }]),
      ];
    },
    partial: true,
    write: {
      async create(api, key, at, value) {
        if (key.startsWith(podPrefix)) return revisionOf(await createPod(api, at, value));
        return await writeEndpoint(api, key, at, value as WorkloadEndpoint, interfacePrefix);
      },
      async update(api, key, at, value, revision) {
        if (key.startsWith(podPrefix)) return await updatePod(api, at, value, revision);
        return await writeEndpoint(
          api,
          key,
          at,
          value as WorkloadEndpoint,
          interfacePrefix,
          revision,
        );
      },
      async remove(api, key, object) {
        if (key.startsWith(podPrefix)) return await removeObject(api, podResource, object);
        const { name, namespace, uid, resourceVersion } = object.metadata;
        const annotations = {
          [POD_IP]: "",
          [POD_IPS]: "",
          [OTHER_INTERFACE]: null,
          [LIMITS]: null,
        };
        return revisionOf(
          await api.patch(podResource, name, namespace, {
            metadata: { uid, resourceVersion, annotations },
          }, "status"),
        );
      },
    },
  };
}

function locate(key: string): Place | undefined {
  const at = parseResourceKey(key);
  if (!at?.namespace) return undefined;
  if (at.home === "kubernetes") return { name: at.name, namespace: at.namespace };
  const parts = parseWorkloadEndpointName(at.name);
  return parts?.orchestrator === "k8s" && parts.endpoint === ENDPOINT
    ? { name: parts.id, namespace: at.namespace }
    : undefined;
}

/**
 * The pods whose endpoints' keys begin so. A name is `<node>-k8s-<pod>-eth0`, with every `-` inside a
 * part doubled; as far as whole parts are given, the API finds the pods by them.
 */
function narrowEndpoints(tail: string): Narrowing[] {
  const slash = tail.indexOf("/");
  if (slash < 0) return [{}];
  const namespace = tail.slice(0, slash);
  // A last part that is not followed by its `-` may go on.
  const parts = tail.slice(slash + 1).replaceAll("--", "\0").split("-")
    .map((part) => part.replaceAll("\0", "-"));
  const last = parts.pop() ?? "";
  const [node, orchestrator, pod] = parts;
  if (
    orchestrator === undefined
      ? parts.length === 1 && !"k8s".startsWith(last)
      : orchestrator !== "k8s"
  ) {
    return [];
  }
  const fields = [
    ...(pod !== undefined ? [`metadata.name=${pod}`] : []),
    ...(node !== undefined ? [`spec.nodeName=${node}`] : []),
  ];
  return [{ namespace, ...(fields.length > 0 && { fieldSelector: fields.join() }) }];
}

/** Without a revision: the pod must have no endpoint yet. */
async function writeEndpoint(
  api: KubernetesApi,
  key: string,
  at: Place,
  endpoint: WorkloadEndpoint,
  interfacePrefix: string,
  revision?: string,
): Promise<string> {
  const pod = await api.get(podResource, at.name, at.namespace);
  if (!pod) {
    throw revision === undefined
      ? new StoreError(
        "invalid",
        `there is no Pod ${at.namespace}/${at.name} in Kubernetes, on which its endpoint would be ` +
          "recorded; with the Kubernetes datastore only pods that the API knows get a network",
        key,
      )
      : notFound(at);
  }
  if (endpointKeyOf(pod) !== key) {
    throw new StoreError(
      "invalid",
      `Pod ${at.namespace}/${at.name} ${
        pod.spec?.hostNetwork
          ? "is in the host's network"
          : `is on node ${pod.spec?.nodeName || "(none)"}`
      }: there can be no endpoint ${key.slice(key.lastIndexOf("/") + 1)}`,
      key,
    );
  }
  const there = readEndpoint(pod, interfacePrefix) !== undefined;
  if (revision === undefined && there) throw conflict(at, "AlreadyExists");
  if (revision !== undefined && !there) throw notFound(at);
  if (revision !== undefined && revisionOf(pod) !== revision) throw conflict(at, "Conflict");
  const patch = {
    metadata: {
      uid: pod.metadata.uid,
      resourceVersion: revisionOf(pod),
      annotations: endpointAnnotations(endpoint, interfacePrefix),
    },
  };
  return revisionOf(await api.patch(podResource, at.name, at.namespace, patch, "status"));
}

async function createPod(api: KubernetesApi, at: Place, value: unknown): Promise<KubeObject> {
  const { metadata, ...rest } = value as KubeObject;
  const { uid: _, resourceVersion: __, ...own } = metadata ?? {};
  return await api.create(podResource, {
    ...rest,
    apiVersion: "v1",
    kind: "Pod",
    metadata: { ...own, ...at },
  });
}

async function updatePod(
  api: KubernetesApi,
  at: Place,
  value: unknown,
  revision: string,
): Promise<string> {
  const pod = await api.get(podResource, at.name, at.namespace);
  if (!pod) throw notFound(at);
  const { status, ...rest } = difference(readPod(pod), value) as Fields;
  const precondition = { ...rest.metadata, resourceVersion: revision };
  const patched = await api.patch(podResource, at.name, at.namespace, {
    ...rest,
    metadata: precondition,
  });
  if (status === undefined) return revisionOf(patched);
  return revisionOf(
    await api.patch(podResource, at.name, at.namespace, {
      metadata: { resourceVersion: revisionOf(patched) },
      status,
    }, "status"),
  );
}

function conflict(at: Place, reason: string): ApiError {
  const request = { verb: "patch", group: "", resource: "pods", ...at };
  return new ApiError(409, reason, "", request);
}

function notFound(at: Place): ApiError {
  return new ApiError(404, "NotFound", "", { verb: "patch", group: "", resource: "pods", ...at });
}
