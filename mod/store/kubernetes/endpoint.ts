/**
 * A pod's WorkloadEndpoint, read from the Pod and written as its annotations: the pure part of `pod.ts`,
 * which says when there is one.
 *
 * Its addresses are, as with Calico, those of the status, which only the kubelet and the network may
 * write; before there are any, those of the annotations, which whoever may change the Pod can write too.
 * The latter are marked on the endpoint as no more than claimed, and a node looks them up in IPAM before
 * it gives them a route or a place in a policy (`mod/node/claimed_addresses.ts`). What this process has
 * attached itself it need not ask anybody (`attached.ts`).
 */
import { formatIp, formatPrefix, hostPrefix, type Ip, parseCidr, parseIp } from "../../net/mod.ts";
import { resourceKey } from "../../model/keys.ts";
import {
  CLAIMED_ADDRESSES,
  endpointLabels,
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointName,
} from "../../model/workload_endpoint.ts";
import type { Fields, KubeObject, Narrowing } from "./api.ts";
import { type AttachedPods, reportedBy } from "./attached.ts";
import { isFilled, objectsOf, parseObject } from "./metadata.ts";
import { otherPodInterface, podInterface } from "./names.ts";

const CNI = "cni.projectcalico.org/";
const POD_IP = `${CNI}podIP`, POD_IPS = `${CNI}podIPs`, CONTAINER_ID = `${CNI}containerID`;
const AWS_POD_IPS = "vpc.amazonaws.com/pod-ips";
const NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status";
/** Ours: the interface has the other of its two names. */
const OTHER_INTERFACE = "cni.tortie.io/interface";
/** Ours: the limits that were asked for when the pod came, as the endpoint has them. */
const LIMITS = "cni.tortie.io/qosControls";
/** The one interface of a pod that the Kubernetes datastore knows. */
export const ENDPOINT = "eth0";

/** The endpoint's key; undefined for a pod that can have none: not scheduled, or in the host's network. */
export function endpointKeyOf(pod: KubeObject): string | undefined {
  const { nodeName, hostNetwork } = pod.spec ?? {};
  if (typeof nodeName !== "string" || nodeName === "" || hostNetwork) return undefined;
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
  attached?: AttachedPods,
): WorkloadEndpoint | undefined {
  const { metadata } = pod;
  const spec = pod.spec ?? {};
  const { namespace = "default", name } = metadata;
  const notes = metadata.annotations ?? {};
  const { addresses, claimed } = addressesOf(pod, attached);
  if (addresses.length === 0) return undefined;
  const account: string | undefined = spec.serviceAccountName || undefined;
  const names = [podInterface, otherPodInterface].map((f) => f(interfacePrefix, namespace, name));
  const ports = portsOf([...objectsOf(spec.containers), ...objectsOf(spec.initContainers)]);
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
      ...((notes[NETWORK_STATUS] || claimed) && {
        annotations: {
          ...(notes[NETWORK_STATUS] && { [NETWORK_STATUS]: notes[NETWORK_STATUS] }),
          ...(claimed && { [CLAIMED_ADDRESSES]: "claimed" }),
        },
      }),
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

/** The addresses that the pod has now; `claimed`: nobody but an annotation says so. */
function addressesOf(
  pod: KubeObject,
  attached: AttachedPods | undefined,
): { readonly addresses: Ip[]; readonly claimed: boolean } {
  const { metadata } = pod;
  const { phase } = pod.status ?? {};
  const none = { addresses: [], claimed: false };
  if (phase === "Failed" || phase === "Succeeded" || phase === "Completed") return none;
  const notes = metadata.annotations ?? {};
  // "": the plugin has taken the network away.
  if (notes[POD_IP] === "" || (metadata.deletionTimestamp && notes[AWS_POD_IPS] === "")) {
    return none;
  }
  const annotated = textsOf(notes[POD_IPS]) ?? textsOf(notes[POD_IP]) ?? [];
  const reported = reportedBy(pod);
  const sure = attached?.addressesOf(pod, {
    containerID: notes[CONTAINER_ID] ?? "",
    ipNetworks: annotated,
  }) ?? (reported.length > 0 ? reported : undefined);
  if (sure) return { addresses: parseAll(sure), claimed: false };
  const texts = annotated.length > 0 ? annotated : textsOf(notes[AWS_POD_IPS]) ?? [];
  return { addresses: parseAll(texts), claimed: true };
}

function textsOf(annotation: unknown): string[] | undefined {
  return typeof annotation === "string" && annotation ? annotation.split(",") : undefined;
}

function parseAll(texts: readonly string[]): Ip[] {
  return texts.flatMap((text) => {
    const ip = parseCidr(text)?.ip ?? parseIp(text);
    return ip ? [ip] : [];
  });
}

/** Named ones and host ports. */
function portsOf(containers: readonly Fields[]): Fields[] {
  const protocols = ["TCP", "UDP", "SCTP"];
  return containers.flatMap((container) => objectsOf(container.ports))
    .map((port: Fields) => ({ ...port, protocol: String(port.protocol || "TCP").toUpperCase() }))
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

/**
 * The pods whose endpoints' keys begin so. A name is `<node>-k8s-<pod>-eth0`, with every `-` inside a
 * part doubled; as far as whole parts are given, the API finds the pods by them.
 */
export function narrowEndpoints(tail: string): Narrowing[] {
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

/** The annotations of a pod whose network was taken away. The container's ID stays, as with Calico. */
export const NO_ENDPOINT: Readonly<Record<string, string | null>> = {
  [POD_IP]: "",
  [POD_IPS]: "",
  [OTHER_INTERFACE]: null,
  [LIMITS]: null,
};
