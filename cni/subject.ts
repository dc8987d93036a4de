/**
 * The Pod and the Namespace for which an attachment is made: labels, ports and annotations come from them.
 * One that stands in the datastore and cannot be read is an error that names it: without what it asked for
 * the pod would come up with other addresses, or open where it should be closed.
 */

import { type KeyKind, resourceKey } from "../mod/model/keys.ts";
import { type Namespace, namespaceKind } from "../mod/model/namespace.ts";
import { type Pod, podKind } from "../mod/model/pod.ts";
import { DELETE_OR_WRITE } from "../mod/store/damaged.ts";
import { isJsonObject } from "../mod/store/json.ts";
import { isBroken, readRaw } from "../mod/store/raw.ts";
import type { Store } from "../mod/store/store.ts";
import { CniCode, CniError } from "./errors.ts";
import type { EndpointIdentity } from "./identity.ts";

/** What is known of a pod when its endpoint is made; all undefined for a plain container. */
export interface Subject {
  readonly pod: Pod | undefined;
  readonly namespace: Namespace | undefined;
}

/** The pod and namespace of an attachment, as far as the datastore has them. */
export async function readSubject(
  store: Store,
  identity: EndpointIdentity,
  required: boolean,
  podUid?: string,
): Promise<Subject> {
  if (identity.pod === undefined) return { pod: undefined, namespace: undefined };
  const [pod, namespace] = await Promise.all([
    readObject<Pod>(store, podKind, identity.pod, identity.namespace, podFault),
    readObject<Namespace>(store, namespaceKind, identity.namespace, undefined, objectFault),
  ]);
  if (!pod && required) {
    throw new CniError(
      CniCode.tryAgain,
      `Pod ${identity.namespace}/${identity.pod} is not in the datastore yet; its labels and ports ` +
        "are needed (policy.type is k8s). Try again when it is.",
    );
  }
  if (pod && podUid && isOtherPod(pod, podUid)) {
    throw new CniError(
      CniCode.tryAgain,
      `The datastore still has an older pod ${identity.namespace}/${identity.pod} (uid ` +
        `${pod.metadata.uid}, not ${podUid}). Try again when it has the new one.`,
    );
  }
  return { pod, namespace };
}

/** Where endpoints stand on their Pods there is no place for one without. */
export function mustHavePod(identity: EndpointIdentity, { pod }: Subject): void {
  if (pod) return;
  if (identity.pod === undefined) {
    throw new CniError(
      CniCode.environment,
      `Container ${identity.containerId} is no pod (CNI_ARGS has no K8S_POD_NAME), and the Kubernetes ` +
        "datastore keeps endpoints on Pods alone: attach it with another network, or keep the " +
        "datastore in etcd.",
    );
  }
  throw new CniError(
    CniCode.tryAgain,
    `There is no Pod ${identity.namespace}/${identity.pod} in the Kubernetes API, on which its ` +
      "endpoint would stand: it was deleted, or is not there yet. Try again if it is to run.",
  );
}

/** A static pod's mirror has a uid of its own; the runtime knows the one that the mirror notes. */
function isOtherPod(pod: Pod, uid: string): boolean {
  const { uid: ours, annotations } = pod.metadata;
  return Boolean(ours) && ours !== uid && !annotations?.["kubernetes.io/config.mirror"];
}

/** undefined: there is none. */
async function readObject<T>(
  store: Store,
  kind: KeyKind & { readonly kind: string },
  name: string,
  namespace: string | undefined,
  faultOf: (value: unknown) => string | undefined,
): Promise<T | undefined> {
  const key = resourceKey(kind, name, namespace);
  const entry = await readRaw<T>(store, key);
  if (!entry) return undefined;
  const why = isBroken(entry) ? entry.reason : faultOf(entry.value);
  if (!isBroken(entry) && why === undefined) return entry.value;
  throw new CniError(
    CniCode.datastore,
    `${kind.kind} ${
      namespace === undefined ? "" : `${namespace}/`
    }${name} (${key}) cannot be read: ` +
      `${why}; ${DELETE_OR_WRITE}.`,
  );
}

/** What is read of every object. */
function objectFault(value: unknown): string | undefined {
  if (!isJsonObject(value)) return "it is not a JSON object";
  if (!isJsonObject(value.metadata)) return "its metadata is not an object";
  for (const field of ["labels", "annotations"]) {
    const map = value.metadata[field] ?? undefined;
    if (map !== undefined && !isJsonObject(map)) return `its metadata.${field} is not an object`;
  }
}

function podFault(value: unknown): string | undefined {
  const why = objectFault(value);
  if (why !== undefined) return why;
  const { metadata, spec } = value as { metadata: Record<string, unknown>; spec: unknown };
  if (!isJsonObject(spec)) return "its spec is not an object";
  const { containers, initContainers, serviceAccountName } = spec;
  for (const [path, list] of Object.entries({ containers, initContainers })) {
    if (!isListOfObjects(list)) return `its spec.${path} is not a list of objects`;
    for (const { ports } of list ?? []) {
      const isFine = isListOfObjects(ports) &&
        ports?.every(({ protocol }) => isTextOrNothing(protocol)) !== false;
      if (!isFine) return `the ports in its spec.${path} are not a list of ports`;
    }
  }
  const texts = {
    "spec.serviceAccountName": serviceAccountName,
    "metadata.name": metadata.name,
    "metadata.generateName": metadata.generateName,
    "metadata.uid": metadata.uid,
  };
  for (const [path, text] of Object.entries(texts)) {
    if (!isTextOrNothing(text)) return `its ${path} is not a text`;
  }
  if (!isListOfObjects(metadata.ownerReferences)) {
    return "its metadata.ownerReferences is not a list of objects";
  }
}

function isListOfObjects(value: unknown): value is Record<string, unknown>[] | undefined | null {
  return value === undefined || value === null ||
    Array.isArray(value) && value.every(isJsonObject);
}

function isTextOrNothing(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}
