/**
 * Calico's v3 kinds in custom resources of crd.projectcalico.org/v1: the same spec and status, the
 * metadata as `metadata.ts` says. Defaults are filled in by those who read, as everywhere.
 */
import { type KeyKind, parseResourceKey, resourcePrefix } from "../../model/keys.ts";
import type { Kind } from "../../model/kind.ts";
import { DEFAULT_TIER_ORDER } from "../../model/tier.ts";
import { isJsonObject, printJson } from "../json.ts";
import { StoreError } from "../store.ts";
import { CRD_GROUP, type KubeObject, type KubeResource, type KubernetesApi } from "./api.ts";
import { readMetadata, type V3Metadata, writeMetadata } from "./metadata.ts";
import { removeObject } from "./removal.ts";
import { namespaceOf, revisionOf, type Source, type Writer } from "./source.ts";

const V3 = "projectcalico.org/v3", V1 = `${CRD_GROUP}/v1`;

/** Kinds whose own name stands in the annotation, whatever the resource is called. */
const NAMED: ReadonlySet<string> = new Set([
  "NetworkPolicy",
  "GlobalNetworkPolicy",
  "StagedNetworkPolicy",
  "StagedGlobalNetworkPolicy",
]);

/** A custom resource as the value that etcd would hold. */
export function readCrd(kind: string, object: KubeObject): unknown {
  const { kind: _kind, apiVersion: _version, metadata: _metadata, ...rest } = object;
  if (kind === "Tier") rest.spec = withTierDefaults(rest.spec);
  return { kind, apiVersion: V3, metadata: readMetadata(object, NAMED.has(kind)), ...rest };
}

/** What kubectl may leave out: here, and not in etcd, Calico fills it in for all who read. */
function withTierDefaults(spec: unknown): unknown {
  if (spec !== undefined && spec !== null && !isJsonObject(spec)) return spec;
  return {
    ...spec,
    order: spec?.order ?? DEFAULT_TIER_ORDER,
    defaultAction: spec?.defaultAction ?? "Deny",
  };
}

/** The custom resource for a value; its name is that of the key. */
export function writeCrd(
  kind: string,
  at: { name: string; namespace?: string },
  value: unknown,
  resourceVersion?: string,
): KubeObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new StoreError("invalid", `${kind} ${at.name}: the Kubernetes datastore holds objects`);
  }
  const { kind: _kind, apiVersion: _version, metadata, ...rest } = value as {
    metadata?: V3Metadata;
    [member: string]: unknown;
  };
  const written = writeMetadata({ ...metadata, ...at, name: at.name }, NAMED.has(kind));
  return {
    apiVersion: V1,
    kind,
    metadata: { ...written, ...(resourceVersion && { resourceVersion }) },
    ...rest,
    ...(isJsonObject(rest.spec) && { spec: withoutEmptySides(rest.spec) }),
  };
}

/**
 * A rule's source or destination that says nothing is not written, as Calico does here; in etcd it
 * writes an empty object for it.
 */
function withoutEmptySides(spec: Record<string, unknown>): Record<string, unknown> {
  const result = { ...spec };
  for (const direction of ["ingress", "egress"]) {
    const rules = spec[direction];
    if (!Array.isArray(rules)) continue;
    result[direction] = rules.map((rule) => {
      if (!isJsonObject(rule)) return rule;
      return Object.fromEntries(
        Object.entries(rule).filter(([name, side]) =>
          !["source", "destination"].includes(name) || !isJsonObject(side) ||
          Object.keys(side).length > 0
        ),
      );
    });
  }
  return result;
}

export function crdSource(kind: KeyKind & Pick<Kind, "kind">): Source {
  const base = resourcePrefix(kind);
  const resource: KubeResource = {
    group: CRD_GROUP,
    version: "v1",
    plural: kind.plural,
    kind: kind.kind,
    namespaced: kind.namespaced,
    exact: true,
  };
  return {
    resource,
    prefixes: [base],
    narrow: (prefix) => [kind.namespaced ? { namespace: namespaceOf(base, prefix) } : {}],
    locate(key) {
      const at = parseResourceKey(key);
      if (!at || (at.namespace !== undefined) !== kind.namespaced) return undefined;
      return { name: at.name, namespace: at.namespace };
    },
    read(object) {
      const { name, namespace } = object.metadata;
      const key = base + (kind.namespaced ? `${namespace}/` : "") + name;
      return [{ key, value: readCrd(kind.kind, object) }];
    },
    write: crdWriter(resource),
  };
}

function crdWriter(resource: KubeResource): Writer {
  const { kind } = resource;
  return {
    async create(api, _key, at, value) {
      const body = writeCrd(kind, at, value);
      return await withStatus(api, resource, body, await api.create(resource, body));
    },
    async update(api, _key, at, value, revision) {
      const body = writeCrd(kind, at, value, revision);
      return await withStatus(api, resource, body, await api.replace(resource, body));
    },
    remove: (api, _key, object) => removeObject(api, resource, object),
  };
}

/** Where the status is a resource of its own, a write of the object leaves it as it was. */
async function withStatus(
  api: KubernetesApi,
  resource: KubeResource,
  wanted: KubeObject,
  stored: KubeObject,
): Promise<string> {
  const { status } = wanted;
  if (status === undefined || printJson(status) === printJson(stored.status ?? {})) {
    return revisionOf(stored);
  }
  // A server that keeps status in the object, with other defaults or order: nothing is missing.
  if (stored.status !== undefined && covers(stored.status, status)) return revisionOf(stored);
  return revisionOf(await api.replace(resource, { ...stored, status }, "status"));
}

/** Whether all that `part` says stands in `whole`. */
function covers(whole: unknown, part: unknown): boolean {
  if (typeof part !== "object" || part === null) return whole === part;
  if (typeof whole !== "object" || whole === null) return false;
  if (Array.isArray(part)) {
    return Array.isArray(whole) && whole.length === part.length &&
      part.every((item, i) => covers(whole[i], item));
  }
  return Object.entries(part).every(([name, value]) =>
    value === undefined ||
    Object.hasOwn(whole, name) && covers((whole as Record<string, unknown>)[name], value)
  );
}
