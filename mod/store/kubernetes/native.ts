/**
 * Kubernetes' own objects under `/tortie/kubernetes/<plural>/…`, read whole but for the bookkeeping of
 * who wrote which field. Namespaces and ServiceAccounts also stand for Calico's profiles: `kns.<ns>`,
 * which lets everything through where no policy decides and gives the namespace's labels on, and
 * `ksa.<ns>.<account>`, which gives labels alone. Profiles cannot be written.
 */
import { KUBERNETES_RESOURCES, parseResourceKey, resourceKey } from "../../model/keys.ts";
import { profileKind } from "../../model/profile.ts";
import { resourcePrefix } from "../../model/keys.ts";
import { StoreError } from "../store.ts";
import type { Fields, KubeObject, KubeResource, KubernetesApi } from "./api.ts";
import { difference } from "./difference.ts";
import { ApiError } from "./failure.ts";
import { convertUid } from "./names.ts";
import { removeObject } from "./removal.ts";
import { namespaceOf, type Place, type Reading, revisionOf, type Source } from "./source.ts";

const RESOURCES: readonly KubeResource[] = [
  { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false },
  { group: "", version: "v1", plural: "serviceaccounts", kind: "ServiceAccount", namespaced: true },
  { group: "", version: "v1", plural: "services", kind: "Service", namespaced: true },
  {
    group: "discovery.k8s.io",
    version: "v1",
    plural: "endpointslices",
    kind: "EndpointSlice",
    namespaced: true,
  },
  {
    group: "networking.k8s.io",
    version: "v1",
    plural: "networkpolicies",
    kind: "NetworkPolicy",
    namespaced: true,
  },
  {
    group: "policy.networking.k8s.io",
    version: "v1alpha2",
    plural: "clusternetworkpolicies",
    kind: "ClusterNetworkPolicy",
    namespaced: false,
  },
];

const profilePrefix = resourcePrefix(profileKind);

/** An object without what only the API server needs. */
export function readNative(resource: KubeResource, object: KubeObject): Fields {
  const { kind: _kind, apiVersion: _version, metadata, ...rest } = object;
  const { managedFields: _managed, resourceVersion: _rv, selfLink: _link, ...kept } = metadata;
  return { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata: kept, ...rest };
}

function apiVersionOf({ group, version }: KubeResource): string {
  return group === "" ? version : `${group}/${version}`;
}

export function namespaceProfile({ metadata }: KubeObject): Fields {
  return profile(`kns.${metadata.name}`, metadata, {
    ingress: [{ action: "Allow", source: {}, destination: {} }],
    egress: [{ action: "Allow", source: {}, destination: {} }],
    labelsToApply: {
      ...prefixed("pcns.", metadata.labels),
      "pcns.projectcalico.org/name": metadata.name,
    },
  });
}

export function accountProfile({ metadata }: KubeObject): Fields {
  return profile(`ksa.${metadata.namespace}.${metadata.name}`, metadata, {
    labelsToApply: {
      ...prefixed("pcsa.", metadata.labels),
      "pcsa.projectcalico.org/name": metadata.name,
    },
  });
}

function profile(name: string, { uid, creationTimestamp }: KubeObject["metadata"], spec: Fields) {
  return {
    kind: "Profile",
    apiVersion: "projectcalico.org/v3",
    metadata: { name, ...(uid && { uid: convertUid(uid) }), creationTimestamp },
    spec,
  };
}

function prefixed(prefix: string, labels?: Record<string, string> | null): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels ?? {}).map(([name, value]) => [prefix + name, value]),
  );
}

function nativeSource(resource: KubeResource): Source {
  const base = `${KUBERNETES_RESOURCES}${resource.plural}/`;
  const toProfile = { Namespace: namespaceProfile, ServiceAccount: accountProfile }[resource.kind];
  const profileStart = resource.kind === "Namespace" ? "kns." : "ksa.";
  const ours = (key: string) => key.startsWith(base);
  return {
    resource,
    prefixes: toProfile ? [base, profilePrefix + profileStart] : [base],
    narrow(prefix) {
      return [resource.namespaced ? { namespace: namespaceOf(base, prefix) } : {}];
    },
    locate(key) {
      const at = parseResourceKey(key);
      if (!at) return undefined;
      if (!ours(key)) return placeOfProfile(at.name, profileStart);
      return (at.namespace !== undefined) === resource.namespaced
        ? { name: at.name, namespace: at.namespace }
        : undefined;
    },
    read(object) {
      const { name, namespace } = object.metadata;
      const key = base + (resource.namespaced ? `${namespace}/` : "") + name;
      const readings: Reading[] = [{ key, value: readNative(resource, object) }];
      if (toProfile) {
        const value = toProfile(object);
        readings.push({ key: resourceKey(profileKind, value.metadata.name), value });
      }
      return readings;
    },
    partial: true,
    write: {
      async create(api, key, at, value) {
        if (!ours(key)) throw readOnly(key);
        return revisionOf(await create(api, resource, at, value as KubeObject));
      },
      async update(api, key, at, value, revision) {
        if (!ours(key)) throw readOnly(key);
        return await update(api, resource, at, value, revision);
      },
      remove(api, key, object) {
        if (!ours(key)) return Promise.reject(readOnly(key));
        return removeObject(api, resource, object);
      },
    },
  };
}

/** `kns.<namespace>`; `ksa.<namespace>.<account>`, where only the account may have dots. */
function placeOfProfile(name: string, start: string): Place | undefined {
  if (!name.startsWith(start)) return undefined;
  const rest = name.slice(start.length);
  if (start === "kns.") return { name: rest };
  const dot = rest.indexOf(".");
  return dot > 0 ? { namespace: rest.slice(0, dot), name: rest.slice(dot + 1) } : undefined;
}

async function create(
  api: KubernetesApi,
  resource: KubeResource,
  at: Place,
  value: KubeObject,
): Promise<KubeObject> {
  const { metadata, ...rest } = value;
  const { uid: _uid, resourceVersion: _rv, ...own } = metadata ?? {};
  return await api.create(resource, {
    ...rest,
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    metadata: { ...own, ...at },
  });
}

async function update(
  api: KubernetesApi,
  resource: KubeResource,
  at: Place,
  value: unknown,
  revision: string,
): Promise<string> {
  const object = await api.get(resource, at.name, at.namespace);
  if (!object) {
    const request = { verb: "patch", group: resource.group, resource: resource.plural, ...at };
    throw new ApiError(404, "NotFound", "", request);
  }
  const patch = difference(readNative(resource, object), value) as Fields;
  const metadata = { ...patch.metadata, resourceVersion: revision };
  return revisionOf(await api.patch(resource, at.name, at.namespace, { ...patch, metadata }));
}

function readOnly(key: string): StoreError {
  return new StoreError(
    "invalid",
    `Profile ${key.slice(profilePrefix.length)} is made of a Namespace or ServiceAccount in the ` +
      "Kubernetes datastore and cannot be written; change their labels, or write a policy",
    key,
  );
}

export const nativeSources: readonly Source[] = RESOURCES.map(nativeSource);

/** Keys of profiles that no object stands for cannot be written either. */
export function isProfileKey(key: string): boolean {
  return key.startsWith(profilePrefix);
}

export const refuseProfile = readOnly;
