/**
 * Everything that a check looks at, as it stands in the store. Values are taken as they are: a check is
 * there for records that nobody should have written. IPAM's own records come from one listing, so they
 * are of one moment; the rest is of a moment after it.
 */
import {
  affinityPrefix,
  blockPrefix,
  handlePrefix,
  IPAM_PREFIX,
  ipamConfigKey,
  type KeyKind,
  resourceKey,
  resourcePrefix,
} from "../../model/keys.ts";
import type { BrokenEntry, Entry, Store } from "../../store/store.ts";
import { LOAD_BALANCER } from "../affinities.ts";
import { isBroken, readRaw } from "../damage.ts";

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
  readonly cluster?: Entry;
  /** Of IPAM's own, and no JSON: half-written. */
  readonly broken?: readonly BrokenEntry[];
  /** The same of all others. */
  readonly others?: readonly BrokenEntry[];
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
const SERVICE_KIND = kubernetes("services");
const CLUSTER_KEY = resourceKey(calico("clusterinformations"), "default");

export async function readRecords(store: Store, kubernetes = store): Promise<IpamRecords> {
  const { entries, broken = [] } = await store.list(IPAM_PREFIX);
  const others: BrokenEntry[] = [];
  const list = async (kind: KeyKind) => {
    const from = kind.home === "kubernetes" ? kubernetes : store;
    const listing = await from.list(resourcePrefix(kind));
    others.push(...listing.broken ?? []);
    return listing.entries;
  };
  const [pools, nodes, endpoints, pods, services, info] = await Promise.all([
    list(POOL_KIND),
    list(NODE_KIND),
    list(ENDPOINT_KIND),
    list(POD_KIND),
    list(SERVICE_KIND),
    readRaw(store, CLUSTER_KEY),
  ]);
  if (isBroken(info)) others.push(info);
  const cluster = isBroken(info) ? undefined : info;
  const sorted = sortRecords(entries);
  return { ...sorted, pools, nodes, endpoints, pods, services, cluster, broken, others };
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
