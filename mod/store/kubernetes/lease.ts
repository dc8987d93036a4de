/**
 * The Lease of the cluster-wide controllers, and no other: kubelets renew thousands of them, which
 * nobody here wants to read. It is got, written and deleted by its name, and followed by that name alone.
 */
import { CONTROLLERS_LEASE, parseResourceKey } from "../../model/keys.ts";
import type { KubeObject, KubeResource } from "./api.ts";
import { readNative } from "./native.ts";
import { removeObject } from "./removal.ts";
import { type Place, revisionOf, type Source } from "./source.ts";

const resource: KubeResource = {
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
  namespaced: true,
};
const { name, namespace } = parseResourceKey(CONTROLLERS_LEASE)!;

export const leaseSource: Source = {
  resource,
  prefixes: [CONTROLLERS_LEASE.slice(0, CONTROLLERS_LEASE.lastIndexOf("leases/") + 7)],
  apart: true,
  narrow: (prefix) =>
    CONTROLLERS_LEASE.startsWith(prefix)
      ? [{ namespace, fieldSelector: `metadata.name=${name}` }]
      : [],
  locate: (key) => key === CONTROLLERS_LEASE ? { name, namespace } : undefined,
  read: (object) => [{ key: CONTROLLERS_LEASE, value: readNative(resource, object) }],
  write: {
    create: async (api, _key, at, value) => revisionOf(await api.create(resource, body(at, value))),
    update: async (api, _key, at, value, revision) =>
      revisionOf(await api.replace(resource, body(at, value, revision))),
    remove: (api, _key, object) => removeObject(api, resource, object),
  },
};

function body(at: Place, value: unknown, resourceVersion?: string): KubeObject {
  const { metadata, ...rest } = value as KubeObject;
  const { uid: _uid, resourceVersion: _rv, creationTimestamp: _ct, ...own } = metadata ?? {};
  return {
    ...rest,
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { ...own, ...at, ...(resourceVersion && { resourceVersion }) },
  };
}
