/**
 * Everything that a check looks at, as it stands in the store. Values are taken as they are: a check is
 * there for records that nobody should have written. IPAM's own records come from one listing, so they
 * are of one moment; the rest is of a moment after it.
 */
import {
  affinityPrefix,
  blockPrefix,
  felixStatusKey,
  handlePrefix,
  IPAM_PREFIX,
  ipamConfigKey,
  type KeyKind,
  parseResourceKey,
  resourceKey,
  resourcePrefix,
} from "../../model/keys.ts";
import type { BrokenEntry, Entry, Store } from "../../store/store.ts";
import { kubernetesName, type Node } from "../../model/node.ts";
import { LOAD_BALANCER } from "../affinities.ts";
import { isBroken, readRaw } from "../damage.ts";
import { addressesOf, type Facts, isReadable, type Loose } from "./evidence.ts";

export interface IpamRecords {
  readonly blocks: readonly Entry[];
  /** Of nodes and of the virtual owner, host markers among them. */
  readonly affinities: readonly Entry[];
  readonly handles: readonly Entry[];
  readonly config?: Entry;
  /** Of IPAM, and nothing that we know. */
  readonly strange: readonly Entry[];
  readonly pools: readonly Entry[];
  readonly nodes: readonly Entry[];
  readonly endpoints: readonly Entry[];
  readonly pods: readonly Entry[];
  readonly services: readonly Entry[];
  readonly reservations?: readonly Entry[];
  readonly cluster?: Entry;
  /** Of IPAM's own, and no JSON: half-written. */
  readonly broken?: readonly BrokenEntry[];
  /** The same of all others. */
  readonly others?: readonly BrokenEntry[];
  /** Of the nodes that are named and have no Node object, those whose agents have reported lately. */
  readonly live?: ReadonlySet<string>;
}

const calico = (plural: string, namespaced = false): KeyKind => ({
  plural,
  home: "calico",
  namespaced,
});
const kubernetes = (plural: string): KeyKind => ({ plural, home: "kubernetes", namespaced: true });

export const POOL_KIND = calico("ippools");
export const NODE_KIND = calico("nodes");
export const ENDPOINT_KIND = calico("workloadendpoints", true);
export const POD_KIND = kubernetes("pods");
export const RESERVATION_KIND = calico("ipreservations");
const SERVICE_KIND = kubernetes("services");
export const CLUSTER_KEY = resourceKey(calico("clusterinformations"), "default");

export async function readRecords(store: Store, kubernetes = store): Promise<IpamRecords> {
  const { entries, broken = [] } = await store.list(IPAM_PREFIX);
  const others: BrokenEntry[] = [];
  const list = async (kind: KeyKind) => {
    const from = kind.home === "kubernetes" ? kubernetes : store;
    const listing = await from.list(resourcePrefix(kind));
    others.push(...listing.broken ?? []);
    return listing.entries;
  };
  const [pools, nodes, endpoints, pods, services, reservations, info] = await Promise.all([
    list(POOL_KIND),
    list(NODE_KIND),
    list(ENDPOINT_KIND),
    list(POD_KIND),
    list(SERVICE_KIND),
    list(RESERVATION_KIND),
    readRaw(store, CLUSTER_KEY),
  ]);
  if (isBroken(info)) others.push(info);
  const cluster = isBroken(info) ? undefined : info;
  const sorted = sortRecords(entries);
  const known = new Set([...nodes, ...others].map(({ key }) => key));
  const live = await liveNodes(store, namesOf([...sorted.blocks, ...endpoints]), known);
  return {
    ...sorted,
    pools,
    nodes,
    endpoints,
    pods,
    services,
    reservations,
    cluster,
    live,
    broken,
    others,
  };
}

/** Nodes that blocks and endpoints name, whatever form they have. */
function namesOf(entries: readonly Entry[]): Set<string> {
  const names = new Set<unknown>();
  for (const { value } of entries) {
    const { spec, affinity, attributes } = (value ?? {}) as Loose;
    names.add(spec?.node);
    if (typeof affinity === "string") names.add(/^host:(.+)$/.exec(affinity)?.[1]);
    for (const one of Array.isArray(attributes) ? attributes : []) names.add(one?.secondary?.node);
  }
  const isName = (name: unknown): name is string =>
    typeof name === "string" && /^[^/]+$/.test(name);
  return new Set([...names].filter(isName));
}

async function liveNodes(
  store: Store,
  named: ReadonlySet<string>,
  known: ReadonlySet<string>,
): Promise<Set<string>> {
  const live = new Set<string>();
  for (const name of named) {
    if (!known.has(resourceKey(NODE_KIND, name)) && await store.get(felixStatusKey(name))) {
      live.add(name);
    }
  }
  return live;
}

/** What the evidence for an address is taken from, as the records have it. */
export function factsOf(
  records: Pick<IpamRecords, "endpoints" | "pods" | "nodes" | "live" | "others">,
): Facts {
  // What is half-written is there all the same.
  const broken = (kind: KeyKind) =>
    (records.others ?? []).filter(({ key }) => key.startsWith(resourcePrefix(kind)))
      .map(({ key }) => ({ key, value: null as Loose }));
  const byAddress = new Map<string, Loose[]>();
  const unreadable: string[] = [];
  for (const { key, value } of [...records.endpoints, ...broken(ENDPOINT_KIND)]) {
    if (!isReadable(value)) unreadable.push(key);
    for (const address of addressesOf(value)) {
      byAddress.set(address, [...byAddress.get(address) ?? [], value]);
    }
  }
  const pods = new Map([...records.pods, ...broken(POD_KIND)].map(({ key, value }) => {
    const at = parseResourceKey(key);
    return [`${at?.namespace}/${at?.name}`, value];
  }));
  const nodes = new Map(
    [...records.nodes, ...broken(NODE_KIND)].map(({ key, value }) => [
      parseResourceKey(key)?.name,
      value as Node,
    ]),
  );
  return {
    endpointsOf: (address) => byAddress.get(address) ?? [],
    unreadable,
    pod: (namespace, name) => pods.get(`${namespace}/${name}`),
    hasNode: (name) => nodes.has(name),
    kubernetesNode: (name) => kubernetesName(nodes.get(name)),
    isLive: (name) => records.live?.has(name) ?? false,
  };
}

const BLOCKS = [blockPrefix(4), blockPrefix(6)];
const AFFINITIES = [`${IPAM_PREFIX}host/`, affinityPrefix(LOAD_BALANCER)];

/** IPAM's own records by what their keys say. */
export function sortRecords<E extends { readonly key: string }>(
  entries: readonly E[],
): { blocks: E[]; affinities: E[]; handles: E[]; strange: E[]; config?: E } {
  const [blocks, affinities, handles, strange]: E[][] = [[], [], [], []];
  let config: E | undefined;
  const under = (key: string, prefixes: string[]) => prefixes.some((p) => key.startsWith(p));
  for (const entry of entries) {
    const { key } = entry;
    if (under(key, BLOCKS)) blocks.push(entry);
    else if (under(key, AFFINITIES)) affinities.push(entry);
    else if (key.startsWith(handlePrefix)) handles.push(entry);
    else if (key === ipamConfigKey) config = entry;
    else strange.push(entry);
  }
  return { blocks, affinities, handles, config, strange };
}
