/**
 * A Pod stands for two keys: itself, and the WorkloadEndpoint of its interface. Of the Pod, those parts
 * are read that a network needs (ten thousand whole Pods would be hundreds of megabytes); a write to a
 * Pod is a patch of what differs, so that nothing unread is lost.
 *
 * The endpoint is made of the Pod as Calico does (backend/k8s/conversion): of its status, and of the
 * annotations that the CNI plugin writes before the kubelet reports:
 *
 *     create, update    cni.projectcalico.org/podIP, podIPs, containerID   at the Pod's revision
 *     delete            podIP and podIPs become ""
 *
 * It exists from the one to the other: a Pod that has no address yet, that has finished, or whose
 * network was taken away has none. Two things are not as in Calico. Its plugin patches whatever
 * revision the Pod has; here every write is a compare-and-swap, and a kubelet that writes the status
 * at the same time costs a repetition. And after a sandbox was made anew the status has the former
 * addresses until the kubelet's next report: the process that attached it knows better by itself
 * (`attached.ts`), all others read the status.
 *
 * Two things that the pod itself does not tell are noted in annotations of our own, which Calico passes
 * over: the limits (qosControls), and that the interface had to get another name than the usual one.
 * Annotations are anybody's, so this one can only choose between the two names that are the pod's.
 */
import { parseResourceKey, resourceKey, resourcePrefix } from "../../model/keys.ts";
import { podKind } from "../../model/pod.ts";
import {
  parseWorkloadEndpointName,
  type WorkloadEndpoint,
  workloadEndpointKind,
} from "../../model/workload_endpoint.ts";
import { StoreError } from "../store.ts";
import type { Fields, KubeObject, KubeResource, KubernetesApi } from "./api.ts";
import { AttachedPods } from "./attached.ts";
import { difference } from "./difference.ts";
import {
  ENDPOINT,
  endpointAnnotations,
  endpointKeyOf,
  narrowEndpoints,
  NO_ENDPOINT,
  readEndpoint,
} from "./endpoint.ts";
import { ApiError } from "./failure.ts";
import { objectsOf } from "./metadata.ts";
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

const podPrefix = resourcePrefix(podKind), endpointPrefix = resourcePrefix(workloadEndpointKind);

/** The parts of a Pod that a network needs. */
export function readPod(object: KubeObject): Fields {
  const { metadata } = object;
  const spec = object.spec ?? {}, status = object.status ?? {};
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
      ...(spec.initContainers && {
        initContainers: objectsOf(spec.initContainers).map(readContainer),
      }),
      containers: objectsOf(spec.containers).map(readContainer),
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

export function podSource(interfacePrefix: string): Source {
  const attached = new AttachedPods();
  const read = (pod: KubeObject) => readEndpoint(pod, interfacePrefix, attached);
  const writing = { attached, interfacePrefix, read };
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
        ...(key === undefined ? [] : [{ key, value: read(object) }]),
      ];
    },
    partial: true,
    write: {
      async create(api, key, at, value) {
        if (key.startsWith(podPrefix)) return revisionOf(await createPod(api, at, value));
        return await writeEndpoint(writing, api, key, at, value as WorkloadEndpoint);
      },
      async update(api, key, at, value, revision) {
        if (key.startsWith(podPrefix)) return await updatePod(api, at, value, revision);
        return await writeEndpoint(writing, api, key, at, value as WorkloadEndpoint, revision);
      },
      async remove(api, key, object) {
        if (key.startsWith(podPrefix)) return await removeObject(api, podResource, object);
        const { name, namespace, uid, resourceVersion } = object.metadata;
        const patched = await api.patch(podResource, name, namespace, {
          metadata: { uid, resourceVersion, annotations: NO_ENDPOINT },
        }, "status");
        attached.forget(object);
        return revisionOf(patched);
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

interface Writing {
  readonly attached: AttachedPods;
  readonly interfacePrefix: string;
  read(pod: KubeObject): WorkloadEndpoint | undefined;
}

/** Without a revision: the pod must have no endpoint yet. */
async function writeEndpoint(
  { attached, interfacePrefix, read }: Writing,
  api: KubernetesApi,
  key: string,
  at: Place,
  endpoint: WorkloadEndpoint,
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
  const there = read(pod) !== undefined;
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
  const { containerID = "", ipNetworks = [] } = endpoint.spec;
  const claim = attached.claim(pod, { containerID, ipNetworks });
  try {
    const after = await api.patch(podResource, at.name, at.namespace, patch, "status");
    claim.written(after);
    return revisionOf(after);
  } catch (error) {
    claim.refused();
    throw error;
  }
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
