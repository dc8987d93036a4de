/**
 * Discovery: which groups, versions and resources are served ("API groups and versioning", "API
 * discovery"), made anew for each request, since definitions come and go.
 */
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";
import { VIRTUAL_KINDS } from "./reviews.ts";

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CHANGES = ["get", "patch", "update"];

export const SERVER_VERSION = {
  major: "1",
  minor: "35",
  gitVersion: "v1.35.0",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "none",
  platform: "linux/amd64",
};

const groupVersion = (version: string, group: string) => ({
  groupVersion: group === "" ? version : `${group}/${version}`,
  version,
});

export function apiVersions(address: string) {
  return {
    kind: "APIVersions",
    versions: ["v1"],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }],
  };
}

function group(name: string, kinds: ResourceKind[]) {
  const versions = [
    ...new Set([...kinds, ...VIRTUAL_KINDS].filter((k) => k.group === name).map((k) => k.version)),
  ].map((v) => groupVersion(v, name));
  return versions.length === 0 ? undefined : { name, versions, preferredVersion: versions[0] };
}

export function apiGroup(name: string, kinds: ResourceKind[]) {
  const found = name === "" ? undefined : group(name, kinds);
  return found && { kind: "APIGroup", apiVersion: "v1", ...found };
}

export function apiGroups(kinds: ResourceKind[]) {
  const names = new Set([...kinds, ...VIRTUAL_KINDS].map((k) => k.group));
  names.delete("");
  return {
    kind: "APIGroupList",
    apiVersion: "v1",
    groups: [...names].map((name) => group(name, kinds)),
  };
}

export function apiResources(groupName: string, version: string, kinds: ResourceKind[]) {
  const here = (k: { group: string; version: string }) =>
    k.group === groupName && k.version === version;
  const real = kinds.filter(here).flatMap((kind) => {
    const { plural, singular, namespaced } = kind;
    const line = {
      name: plural,
      singularName: singular,
      namespaced,
      kind: kind.kind,
      verbs: VERBS,
      ...(kind.shortNames ? { shortNames: kind.shortNames } : {}),
      ...(kind.categories ? { categories: kind.categories } : {}),
    };
    const below = (subresource: string, of: string, verbs: string[], more = {}) => ({
      name: `${plural}/${subresource}`,
      singularName: "",
      namespaced,
      kind: of,
      verbs,
      ...more,
    });
    return [
      line,
      ...(kind.status ? [below("status", kind.kind, CHANGES)] : []),
      ...(kind.group === "" && plural === "pods" ? [below("binding", "Binding", ["create"])] : []),
      ...(kind.group === "" && plural === "namespaces"
        ? [below("finalize", "Namespace", ["update"])]
        : []),
      ...(kind.group === "" && plural === "serviceaccounts"
        ? [below("token", "TokenRequest", ["create"], {
          group: "authentication.k8s.io",
          version: "v1",
        })]
        : []),
    ];
  });
  const virtual = VIRTUAL_KINDS.filter(here).map((kind) => ({
    name: kind.plural,
    singularName: kind.kind.toLowerCase(),
    namespaced: false,
    kind: kind.kind,
    verbs: ["create"],
  }));
  const resources = [...real, ...virtual];
  if (resources.length === 0) return undefined;
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: apiVersionOf({ group: groupName, version }),
    resources,
  };
}
