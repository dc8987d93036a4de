/**
 * Where everything is kept: Calico's etcdv3 keys, written and taken apart in one place.
 *
 *   /calico/resources/v3/projectcalico.org/<plural>/[<namespace>/]<name>     v3 resources
 *   /calico/ipam/v2/assignment/ipv4/block/10.244.1.0-26                      blocks
 *   /calico/ipam/v2/host/<node>/ipv4/block/10.244.1.0-26                     affinities
 *   /calico/ipam/v2/handle/<handle id>                                       handles
 *   /calico/ipam/v2/config                                                   IPAM configuration
 *   /calico/felix/v2/<region>/host/<node>/…, /calico/felix/v1/host/<node>/…  what nodes report
 *   /tortie/kubernetes/<plural>/[<namespace>/]<name>                         Kubernetes' own objects,
 *                                                                            which Calico never reads
 *
 * A prefix to list ends in `/`, so that no other plural, namespace or node is taken for it.
 */
import { type Family, formatPrefix, parseStrictPrefix, type Prefix } from "../net/mod.ts";
import type { Home } from "./kind.ts";

export const CALICO_RESOURCES = "/calico/resources/v3/projectcalico.org/";
export const KUBERNETES_RESOURCES = "/tortie/kubernetes/";
/** The Lease of the cluster-wide controllers; no other is looked at. */
export const CONTROLLERS_LEASE = `${KUBERNETES_RESOURCES}leases/kube-system/tortie-controllers`;
/** What controllers and nodes say to each other (`mod/ipam/questions.ts`). */
export const NODE_WORDS = "/tortie/nodes/";

/** What the key functions need of a `Kind`. */
export interface KeyKind {
  readonly plural: string;
  readonly home: Home;
  readonly namespaced: boolean;
}

/** The prefix of all objects of a kind, or of those in one namespace. */
export function resourcePrefix(kind: KeyKind, namespace?: string): string {
  const root = kind.home === "calico" ? CALICO_RESOURCES : KUBERNETES_RESOURCES;
  return `${root}${kind.plural}/${kind.namespaced && namespace ? `${namespace}/` : ""}`;
}

/** The key of one object. A namespaced kind without namespace is a bug of the caller. */
export function resourceKey(kind: KeyKind, name: string, namespace?: string): string {
  if (kind.namespaced && !namespace) throw new TypeError(`${kind.plural} ${name}: no namespace`);
  return resourcePrefix(kind, namespace) + name;
}

export interface ResourceKey {
  readonly home: Home;
  readonly plural: string;
  readonly namespace?: string;
  readonly name: string;
}

/** The parts of a resource's key; undefined for other keys. */
export function parseResourceKey(key: string): ResourceKey | undefined {
  const home = key.startsWith(CALICO_RESOURCES)
    ? "calico"
    : key.startsWith(KUBERNETES_RESOURCES)
    ? "kubernetes"
    : undefined;
  if (!home) return undefined;
  const root = home === "calico" ? CALICO_RESOURCES : KUBERNETES_RESOURCES;
  const parts = key.slice(root.length).split("/");
  if (parts.some((p) => p === "")) return undefined;
  if (parts.length === 2) return { home, plural: parts[0], name: parts[1] };
  if (parts.length === 3) return { home, plural: parts[0], namespace: parts[1], name: parts[2] };
  return undefined;
}

// IPAM

export const IPAM_PREFIX = "/calico/ipam/v2/";
export const ipamConfigKey = `${IPAM_PREFIX}config`;
export const handlePrefix = `${IPAM_PREFIX}handle/`;

const cidrPart = (block: Prefix) => formatPrefix(block).replace("/", "-");

function parseCidrPart(part: string, family: Family): Prefix | undefined {
  const dash = part.lastIndexOf("-");
  const block = dash < 0
    ? undefined
    : parseStrictPrefix(`${part.slice(0, dash)}/${part.slice(dash + 1)}`);
  return block?.ip.family === family ? block : undefined;
}

/** All blocks of a family. */
export function blockPrefix(family: Family): string {
  return `${IPAM_PREFIX}assignment/ipv${family}/block/`;
}

export function blockKey(block: Prefix): string {
  return blockPrefix(block.ip.family) + cidrPart(block);
}

export function parseBlockKey(key: string): Prefix | undefined {
  const match = /^\/calico\/ipam\/v2\/assignment\/ipv([46])\/block\/([^/]+)$/.exec(key);
  return match ? parseCidrPart(match[2], Number(match[1]) as Family) : undefined;
}

/** Who may hold blocks: a node, or Calico's virtual owner of LoadBalancer addresses. */
export type AffinityOwner =
  | { readonly type: "host"; readonly name: string }
  | { readonly type: "virtual"; readonly name: "load-balancer" };

/** As it stands in a block's `affinity`: `host:node1`, `virtual:load-balancer`. */
export function formatAffinity(owner: AffinityOwner): string {
  return `${owner.type}:${owner.name}`;
}

/** undefined for no owner (null, absent) and for forms that we do not know. */
export function parseAffinity(text: string | null | undefined): AffinityOwner | undefined {
  if (!text) return undefined;
  if (text.startsWith("host:")) return { type: "host", name: text.slice(5) };
  return text === "virtual:load-balancer" ? { type: "virtual", name: "load-balancer" } : undefined;
}

/** All affinities of all nodes (and host markers, which `parseAffinityKey` refuses). */
export const affinitiesPrefix = `${IPAM_PREFIX}host/`;

/** Affinities of one owner: of a family, or of both. */
export function affinityPrefix(owner: AffinityOwner, family?: Family): string {
  const root = `${IPAM_PREFIX}${owner.type}/${owner.name}/`;
  return family ? `${root}ipv${family}/block/` : root;
}

export function affinityKey(owner: AffinityOwner, block: Prefix): string {
  return affinityPrefix(owner, block.ip.family) + cidrPart(block);
}

export function parseAffinityKey(
  key: string,
): { owner: AffinityOwner; block: Prefix } | undefined {
  const match = /^\/calico\/ipam\/v2\/(host|virtual)\/([^/]+)\/ipv([46])\/block\/([^/]+)$/
    .exec(key);
  const block = match && parseCidrPart(match[4], Number(match[3]) as Family);
  const owner = match && parseAffinity(`${match[1]}:${match[2]}`);
  return block && owner ? { owner, block } : undefined;
}

export function handleKey(handleId: string): string {
  return handlePrefix + handleId;
}

export function parseHandleKey(key: string): string | undefined {
  const id = key.startsWith(handlePrefix) ? key.slice(handlePrefix.length) : "";
  return id === "" ? undefined : id;
}

/** A marker that very old versions wrote beside a node's affinities; removed with the node. */
export function hostMarkerKey(host: string): string {
  return `${IPAM_PREFIX}host/${host}`;
}

// What nodes report (Felix's keys). A part of a v1-style key has % and / escaped.

const escapePart = (part: string) => part.replaceAll("%", "%25").replaceAll("/", "%2f");
const unescapePart = (part: string) => part.replaceAll("%2f", "/").replaceAll("%25", "%");

/** `no-region`, or `region-<name>`. */
export type Region = "no-region" | `region-${string}`;

/** Written with a TTL: gone when the node's agent is. */
export function felixStatusKey(node: string, region: Region = "no-region"): string {
  return `/calico/felix/v2/${region}/host/${escapePart(node)}/status`;
}

/** The same, without TTL. */
export function felixLastStatusKey(node: string, region: Region = "no-region"): string {
  return `/calico/felix/v2/${region}/host/${escapePart(node)}/last_reported_status`;
}

/** Statuses of a node's workload endpoints. */
export function endpointStatusPrefix(node: string, region: Region = "no-region"): string {
  return `/calico/felix/v2/${region}/host/${escapePart(node)}/workload/`;
}

/** Status of a workload endpoint; `workload` is `namespace/pod`, or `default/<container id>`. */
export function endpointStatusKey(
  node: string,
  orchestrator: string,
  workload: string,
  endpoint: string,
  region: Region = "no-region",
): string {
  return `${endpointStatusPrefix(node, region)}${escapePart(orchestrator)}/${
    escapePart(workload)
  }/endpoint/${escapePart(endpoint)}`;
}

export function parseEndpointStatusKey(
  key: string,
): { node: string; orchestrator: string; workload: string; endpoint: string } | undefined {
  const match =
    /^\/calico\/felix\/v2\/[^/]+\/host\/([^/]+)\/workload\/([^/]+)\/([^/]+)\/endpoint\/([^/]+)$/
      .exec(key);
  if (!match) return undefined;
  const [node, orchestrator, workload, endpoint] = match.slice(1).map(unescapePart);
  return { node, orchestrator, workload, endpoint };
}

export function hostEndpointStatusPrefix(node: string): string {
  return `/calico/felix/v1/host/${escapePart(node)}/endpoint/`;
}

export function hostEndpointStatusKey(node: string, endpoint: string): string {
  return hostEndpointStatusPrefix(node) + escapePart(endpoint);
}
