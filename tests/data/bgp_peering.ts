/**
 * What Calico's own templates make of peering resources: for each case the sessions of one node, read
 * out of the BIRD configuration that upstream expects, against `mod/node/peering.ts`.
 */
import { formatIp } from "../../mod/net/mod.ts";
import { bgpConfigurationKind } from "../../mod/model/bgp_configuration.ts";
import { bgpFilterKind } from "../../mod/model/bgp_filter.ts";
import { bgpPeerKind } from "../../mod/model/bgp_peer.ts";
import type { Kind } from "../../mod/model/kind.ts";
import { nodeKind } from "../../mod/model/node.ts";
import type { Resource } from "../../mod/model/resource.ts";
import { readObject } from "../../mod/model/validate.ts";
import { nodeAddressOf, peering } from "../../mod/node/peering.ts";
import type { Verdict } from "./bgp.ts";

interface ExpectedPeer {
  name: string;
  neighbor: string;
  remote_as: number;
  local_as?: number;
  port?: number;
  source_address?: string;
  password?: string;
  rr_client: boolean;
  rr_cluster_id?: string;
  passive: boolean;
  next_hop_self: boolean;
  next_hop_keep: boolean;
  ttl_security: boolean;
  allow_local_as: boolean;
  same_as_export: boolean;
  filters?: string[];
}

interface ExpectedFamily {
  router_id: string;
  local_as: number | null;
  listen_port: number | null;
  peers?: ExpectedPeer[];
}

interface StoredObject {
  kind: string;
  metadata: { name: string; labels?: Record<string, unknown> };
}

export interface PeeringCase {
  id: string;
  name: string;
  resources: StoredObject[];
  node: string;
  ipv4: ExpectedFamily;
  ipv6: ExpectedFamily;
}

/** Cases in which upstream's script changes something that the resources do not show, by name. */
const NOT_IN_THE_DATA: { name: RegExp; difference: RegExp; reason: string }[] = [
  {
    name: /^password\//,
    difference: /^(\S+ password is |ipv4 sessions )/,
    reason: "the script makes and deletes Secrets, which are not among the resources",
  },
  {
    name: /^sourceaddr_gracefulrestart\//,
    difference: /^\S+ source is /,
    reason: "the script sets sourceAddress, which the resources do not show",
  },
];

function objects<T extends Resource>(test: PeeringCase, kind: Kind<T, any>): Map<string, T> {
  const found = new Map<string, T>();
  for (const resource of test.resources) {
    if (resource.kind !== kind.kind) continue;
    // The data has labels as YAML read them, true for "true".
    const labels = Object.fromEntries(
      Object.entries(resource.metadata.labels ?? {}).map(([k, v]) => [k, String(v)]),
    );
    const value = { ...resource, metadata: { ...resource.metadata, labels } };
    const text = JSON.stringify(value, (key, v) => key === "communities" ? asWritten(v) : v);
    found.set(resource.metadata.name, readObject(kind as Kind, JSON.parse(text)) as T);
  }
  return found;
}

/** The data was read as YAML 1.1, for which the community 94:23:12 is a number to the base 60. */
function asWritten(communities: unknown): unknown {
  if (!Array.isArray(communities)) return communities;
  return communities.map((c) =>
    typeof c === "number" ? `${Math.floor(c / 3600)}:${Math.floor(c / 60) % 60}:${c % 60}` : c
  );
}

export function judgePeering(test: PeeringCase): Verdict {
  const nodes = objects(test, nodeKind);
  // In some cases the container is not named as the node that it plays.
  const wanted = test.ipv4.router_id;
  const nodeName = nodes.has(test.node)
    ? test.node
    : [...nodes].find(([, n]) => nodeAddressText(n) === wanted)?.[0] ?? test.node;
  const own = nodes.get(nodeName);
  const result = peering({
    nodeName,
    nodes,
    bgpConfigurations: objects(test, bgpConfigurationKind),
    bgpPeers: objects(test, bgpPeerKind),
    bgpFilters: objects(test, bgpFilterKind),
    // Where the router ID is not the node's address, the container's environment has set it.
    routerId: own && nodeAddressText(own) === wanted
      ? undefined
      : test.name === "mesh/hash"
      ? "hash"
      : wanted,
    // Upstream's script makes Secrets whose values are named after their keys.
    secret: (_, key) => `password-${key}`,
  });
  const differences: string[] = [];
  const compare = (what: string, have: unknown, want: unknown) => {
    const [a, b] = [JSON.stringify(have), JSON.stringify(want)];
    if (a !== b) differences.push(`${what} is ${a}, want ${b}`);
  };
  for (const family of ["ipv4", "ipv6"] as const) {
    const expected = test[family];
    compare(
      `${family} router ID`,
      result.routerId && formatIp(result.routerId),
      expected.router_id,
    );
    if (expected.local_as !== null) compare(`${family} AS`, result.as, expected.local_as);
    const listening = result.listen.find((l) => l.family === (family === "ipv4" ? 4 : 6));
    if (listening) compare(`${family} port`, listening.port, expected.listen_port ?? 179);
    const peers = result.peers.filter((p) => p.config.families![0] === family);
    const names = (list: { name: string }[]) => list.map((p) => p.name).sort();
    compare(`${family} sessions`, names(peers.map((p) => p.config)), names(expected.peers ?? []));
    for (const want of expected.peers ?? []) {
      const have = peers.find((p) => p.config.name === want.name);
      if (!have) continue;
      const { config, filters } = have;
      const internal = (config.localAs ?? result.as) === config.remoteAs;
      const field = (name: string, a: unknown, b: unknown) => compare(`${want.name} ${name}`, a, b);
      field("address", formatIp(config.address), want.neighbor);
      field("remote AS", config.remoteAs, want.remote_as);
      field("local AS", config.localAs, want.local_as);
      field("port", config.port, want.port ?? 179);
      field("source", config.source && formatIp(config.source), want.source_address);
      field("password", config.password, want.password);
      field("client", config.routeReflectorClient, want.rr_client);
      if (want.rr_client) {
        field("cluster", result.clusterId && formatIp(result.clusterId), want.rr_cluster_id);
      }
      field("passive", config.passive, want.passive);
      field("next hop self", config.nextHop === "self", want.next_hop_self);
      field("next hop keep", config.nextHop === "keep", want.next_hop_keep);
      field("TTL security", config.ttlSecurity !== undefined, want.ttl_security);
      field("own AS allowed", config.allowLocalAs! > 0, want.allow_local_as);
      field("internal", internal, want.same_as_export);
      field("filters", filters.map(birdName), (want.filters ?? []).map(uncut));
    }
  }
  if (differences.length === 0) return undefined;
  const unknowable = NOT_IN_THE_DATA.find(({ name, difference }) =>
    name.test(test.name) && differences.every((d) => difference.test(d))
  );
  return unknowable ? { skipped: unknowable.reason } : differences.join("; ");
}

function nodeAddressText(node: Parameters<typeof nodeAddressOf>[0]): string | undefined {
  const ip = nodeAddressOf(node, "ipv4");
  return ip && formatIp(ip);
}

/** The names that the data has are of BIRD functions, which are cut short with a hash: so are these. */
function birdName(name: string): string {
  return name.length > 45 ? name.slice(0, 28) : name;
}

function uncut(name: string): string {
  return /_[0-9A-F]{16}$/.test(name) ? name.slice(0, -17) : name;
}
