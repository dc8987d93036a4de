/**
 * The node's tunnel addresses in the datastore (Calico's `calico-node -allocate-tunnel-addrs`): one
 * for each family that has a VXLAN pool for this node, on record in IPAM under a handle of the node's,
 * and named in the Node.
 *
 *     assign   IPAM, then Node      an address that the Node names is on record already
 *     release  Node, then IPAM      an address that is given back is nobody's in the cluster
 *
 * Where the node's network is Kubernetes' own (USE_POD_CIDR) the address follows from it, without IPAM.
 *
 * Either may be cut off in between: what the handle holds is found again, the address that the Node
 * names or one that fits is kept, others go back. The decision is pure and is made from the state that
 * the agent follows, so that nothing is asked of the datastore while all is as it should be.
 */
import type { Ipam } from "../ipam/ipam.ts";
import { readPool, selectsNode } from "../ipam/pools.ts";
import { type Node, nodeKind } from "../model/node.ts";
import {
  addToIp,
  type Family,
  formatIp,
  formatPrefix,
  type Ip,
  parseCidr,
  type Prefix,
  prefixContains,
} from "../net/mod.ts";
import { ResourceError, type Resources } from "../store/resources.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import type { ClusterState } from "./state.ts";
import { TUNNEL_HANDLES, tunnelHolders } from "./tunnel_holders.ts";
import { FAMILIES, tunnelAddress, tunnels } from "./vxlan.ts";

/** As Calico names them in a record's attributes. */
const TYPES = { 4: "vxlanTunnelAddress", 6: "vxlanV6TunnelAddress" } as const;
const FIELDS = { 4: "ipv4VXLANTunnelAddr", 6: "ipv6VXLANTunnelAddr" } as const;

export const tunnelHandle = (family: Family, node: string): string => TUNNEL_HANDLES[family] + node;

/**
 * Pools that may give this node its tunnel address. Where there is none, others still keep the one that
 * they gave: the pods of a disabled pool go on, and so must its tunnels; so do those that are on this
 * node when its pool turns to other nodes, or to pods alone.
 */
export function tunnelPools(
  family: Family,
  state: ClusterState,
  node: Node,
): { open: Prefix[]; keeping: Prefix[] } {
  const found = { open: [] as Prefix[], keeping: [] as Prefix[] };
  for (const object of state.pools.values()) {
    const pool = readPool(object);
    if (!pool || pool.prefix.ip.family !== family || !tunnels(object)) continue;
    if (object.metadata.deletionTimestamp) continue;
    const gives = pool.uses.includes("Tunnel") && selectsNode(pool, node.metadata.labels ?? {});
    if (gives && !pool.closed) found.open.push(pool.prefix);
    else if (gives || hasPods(state, pool.prefix)) found.keeping.push(pool.prefix);
  }
  return found;
}

/** Whether a pod of this node has an address there. */
function hasPods({ endpoints }: ClusterState, pool: Prefix): boolean {
  for (const endpoint of endpoints.values()) {
    if (endpointFacts(endpoint).prefixes.some(({ ip }) => prefixContains(pool, ip))) return true;
  }
  return false;
}

/** Addresses that are on record as this node's tunnel's, as far as the state tells. */
function onRecord(family: Family, state: ClusterState): string[] {
  const handle = tunnelHandle(family, state.nodeName);
  const held: string[] = [];
  for (const block of state.blocks.values()) held.push(...tunnelHolders(block).get(handle) ?? []);
  return held;
}

/** What has to be done for one family: nothing, to have an address of these pools, or to have none. */
export type AddressTask =
  | { readonly family: Family; readonly task: "assign"; readonly pools: readonly Prefix[] }
  | { readonly family: Family; readonly task: "set"; readonly address: Ip }
  | { readonly family: Family; readonly task: "release" };

export function addressTasks(state: ClusterState): AddressTask[] {
  const node = state.nodes.get(state.nodeName);
  if (!node) return []; // deleted: its addresses have gone with it
  return FAMILIES.flatMap((family): AddressTask[] => {
    const { open, keeping } = tunnelPools(family, state, node);
    const pools = open.length > 0 ? open : keeping;
    const address = tunnelAddress(node, family);
    const own = state.usePodCidr ? ownAddress(family, node, pools) : undefined;
    if (own) {
      const named = address && formatIp(address) === formatIp(own);
      return named ? [] : [{ family, task: "set", address: own }];
    }
    const held = onRecord(family, state);
    const kept = address && pools.some((pool) => prefixContains(pool, address)) &&
      held.join() === formatIp(address);
    if (kept) return [];
    if (open.length > 0) return [{ family, task: "assign", pools: open }];
    return address || held.length > 0 ? [{ family, task: "release" }] : [];
  });
}

/**
 * The first address of the node's own network, where Kubernetes gave it one that lies in a pool with a
 * tunnel. It needs no record: host-local takes it for the network's gateway and gives it to no pod.
 */
function ownAddress(family: Family, node: Node, pools: readonly Prefix[]): Ip | undefined {
  for (const text of node.status.podCIDRs ?? []) {
    const network = text.includes("/") ? parseCidr(text)?.prefix : undefined;
    if (network?.ip.family !== family) continue;
    const address = addToIp(network.ip, 1);
    if (pools.some((pool) => prefixContains(pool, address))) return address;
  }
  return undefined;
}

export class TunnelAddresses {
  constructor(readonly state: ClusterState, readonly resources: Resources, readonly ipam: Ipam) {}

  /** Brings the datastore to what the state asks for; throws what IPAM or the datastore refuse. */
  async settle(): Promise<void> {
    for (const task of addressTasks(this.state)) {
      if (task.task === "set") await this.#write(task.family, task.address);
      else if (task.task === "assign") await this.#assign(task.family, task.pools);
      else await this.#release(task.family);
    }
  }

  async #assign(family: Family, pools: readonly Prefix[]): Promise<void> {
    const { nodeName } = this.state;
    const handle = tunnelHandle(family, nodeName);
    const node = await this.resources.get(nodeKind, nodeName);
    if (!node) return; // deleted meanwhile
    const named = tunnelAddress(node, family);
    const held = await this.ipam.ipsByHandle(handle) ?? [];
    const fits = (ip: Ip) => pools.some((pool) => prefixContains(pool, ip));
    const isNamed = (ip: Ip) => named !== undefined && formatIp(ip) === formatIp(named);
    const kept = held.find((ip) => isNamed(ip) && fits(ip)) ?? held.find(fits) ??
      await this.#give(family, handle, pools);
    await this.#write(family, kept);
    const others = held.filter((ip) => formatIp(ip) !== formatIp(kept));
    if (others.length > 0) {
      await this.ipam.releaseIps(others.map((address) => ({ address, handle })));
    }
  }

  async #give(family: Family, handle: string, pools: readonly Prefix[]): Promise<Ip> {
    const { nodeName } = this.state;
    const [count, from] = family === 4
      ? [{ num4: 1 }, { pools4: pools.map(formatPrefix) }]
      : [{ num6: 1 }, { pools6: pools.map(formatPrefix) }];
    const [given] = await this.ipam.assign({
      ...count,
      ...from,
      host: nodeName,
      handle,
      attributes: { node: nodeName, type: TYPES[family] },
      use: "Tunnel",
    });
    return given.ip;
  }

  async #release(family: Family): Promise<void> {
    await this.#write(family, undefined);
    await this.ipam.releaseByHandle(tunnelHandle(family, this.state.nodeName));
  }

  async #write(family: Family, ip: Ip | undefined): Promise<void> {
    const field = FIELDS[family];
    const wanted = ip && formatIp(ip);
    try {
      await this.resources.modify(nodeKind, this.state.nodeName, undefined, (node: Node) => {
        if (node.spec[field] === wanted) return undefined;
        return { ...node, spec: { ...node.spec, [field]: wanted } };
      });
    } catch (error) {
      // Deleted meanwhile; what its deletion did not find goes back here.
      if (!(error instanceof ResourceError && error.kind === "notFound")) throw error;
      await this.ipam.releaseByHandle(tunnelHandle(family, this.state.nodeName));
    }
  }
}
