/**
 * What VXLAN wants of this node's kernel, one family at a time. Pure: from pools, blocks, nodes and
 * Felix's parameters.
 *
 *   device       vxlan.calico, VNI, port, parent = the interface with the node's address
 *   address      the node's own tunnel address, /32
 *   neighbour    tunnel address -> MAC      of each other VTEP; nothing is learned or asked for
 *   forwarding   MAC -> node's address
 *   routes       10.244.2.0/26 via 10.244.2.0 dev vxlan.calico onlink   a block behind a tunnel
 *                10.244.2.0/26 via 192.0.2.12 dev eth0                  CrossSubnet, same subnet
 *                10.244.9.9/32 dev vxlan.calico                         a tunnel address outside of
 *                                                                       its node's blocks
 *                fd00:10:244::2/128 dev vxlan-v6.calico                 in IPv6 every tunnel address
 *
 * In IPv6 the kernel takes an `onlink` gateway only where no other route but the default leads to it: an
 * aggregate of somebody's, or the direct route to a block of a CrossSubnet pool, would be in the way of
 * the tunnel's. So each far end has a route of its own there, before all that go through it.
 *
 * Routes of a VXLAN pool come from here alone: what BGP says of them is for others, who have no tunnel
 * (Calico's BIRD keeps them from the kernel in the same way). `onlink` is said of the tunnel's far end
 * only, for which the neighbour entry stands; a node's address on the wire is reached as the routing
 * table has it.
 */
import type { AllocationBlock } from "../model/ipam_block.ts";
import type { IPPool } from "../model/ippool.ts";
import type { Node } from "../model/node.ts";
import {
  type Family,
  formatIp,
  formatPrefix,
  hostPrefix,
  type Ip,
  type Prefix,
  prefixContains,
  prefixCovers,
} from "../net/mod.ts";
import { type Located, locatedIn } from "./block_owners.ts";
import { tunnelMtu } from "./mtu.ts";
import { type Hop, type PlannedRoute, PROTOCOL_OWN } from "./route_plan.ts";
import {
  hostAddress,
  LEAST_MTU,
  macOf,
  type PoolPrefixes,
  remoteVteps,
  tunnelAddress,
  tunnels,
  VXLAN_DEVICES,
  VXLAN_OVERHEAD,
  type VxlanParameters,
  vxlanWanted,
} from "./vxlan.ts";

/** A VXLAN device as it should be, or is. */
export interface VxlanDevice {
  readonly vni: number;
  readonly port: number;
  readonly local?: Ip;
  readonly parentIndex?: number;
  readonly learning: boolean;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** What somebody else has set of a device that is there, in words; never wanted. */
  readonly astray?: string;
}

/** The narrowest pool that holds a prefix decides how it travels; of equal ones the first. */
export function poolFinder(pools: PoolPrefixes): (prefix: Prefix) => IPPool | undefined {
  const ordered = [...pools].sort((a, b) => b.prefix.length - a.prefix.length);
  return (prefix) => ordered.find((p) => prefixCovers(p.prefix, prefix))?.pool;
}

export interface DeviceInputs {
  readonly nodeName: string;
  readonly node: Node | undefined;
  readonly pools: PoolPrefixes;
  readonly parameters: VxlanParameters;
  /** Of the narrowest interface that others are reached by. */
  readonly hostMtu: number;
  /** The interface that has an address. */
  interfaceOf(ip: Ip): DeviceParent | undefined;
}

/** The interface that a device stands on. */
export interface DeviceParent {
  readonly index: number;
  readonly name: string;
  readonly mtu: number;
}

export type DevicePlan =
  | { readonly device: VxlanDevice; readonly parent: DeviceParent; readonly warning?: string }
  | { readonly fault: string; readonly parent?: DeviceParent };

/** The device, nothing where none is wanted, or why it cannot be. */
export function planDevice(family: Family, inputs: DeviceInputs): DevicePlan | undefined {
  const { nodeName, node, pools, parameters, hostMtu } = inputs;
  if (!vxlanWanted(family, pools, parameters.vxlanEnabled)) return undefined;
  const local = hostAddress(node, family)?.ip;
  if (!local) {
    return { fault: `the Node "${nodeName}" has no IPv${family} address for VXLAN to use` };
  }
  const parent = inputs.interfaceOf(local);
  if (!parent) {
    return { fault: `no interface has ${formatIp(local)}, the address of the Node "${nodeName}"` };
  }
  const mtu = tunnelMtu(family, hostMtu, parameters, parent.mtu);
  const least = LEAST_MTU[family], overhead = VXLAN_OVERHEAD[family];
  if (mtu < least) {
    return {
      parent,
      fault:
        `IPv${family} needs ${least} bytes, and VXLAN ${overhead} more for its headers, but the ` +
        `narrowest interface to other nodes has ${mtu + overhead}; widen it, or set the pools' ` +
        "vxlanMode to Never",
    };
  }
  const wanted = parameters.vxlanMtu[family];
  return {
    parent,
    warning: wanted > mtu
      ? `${family === 4 ? "vxlanMTU" : "vxlanMTUV6"} ${wanted} does not fit: ${parent.name} has ` +
        `${parent.mtu} bytes, ${overhead} of them for headers; ${VXLAN_DEVICES[family]} has ${mtu}`
      : undefined,
    device: {
      vni: parameters.vxlanVni,
      port: parameters.vxlanPort,
      local,
      parentIndex: parent.index,
      learning: false,
      mac: macOf(node, nodeName, family),
      mtu,
      up: true,
    },
  };
}

export interface TunnelInputs {
  readonly nodeName: string;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly pools: PoolPrefixes;
  readonly blocks: Iterable<AllocationBlock>;
  /** Index of the device and whether it is up; absent: there is none. */
  readonly device?: { readonly index: number; readonly up: boolean };
  resolve(nextHop: Ip): Hop | undefined;
}

export interface TunnelPlan {
  /** Of the device. */
  readonly address?: Ip;
  /** Tunnel address to MAC. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** MAC to host address. */
  readonly forwarding: ReadonlyMap<string, string>;
  /** By canonical prefix. */
  readonly routes: ReadonlyMap<string, PlannedRoute>;
  /** Prefixes of VXLAN pools that no tunnel leads to yet. */
  readonly awaited: ReadonlySet<string>;
  /** Nodes whose claims are not believed, and why. */
  readonly problems: readonly string[];
}

const nothing: TunnelPlan = {
  neighbours: new Map(),
  forwarding: new Map(),
  routes: new Map(),
  awaited: new Set(),
  problems: [],
};

/**
 * Where other nodes' addresses in VXLAN pools are, by canonical prefix. Two blocks that overlap (nobody
 * should have made them) may disagree: then the first node by name counts, in whatever order they came.
 */
function tunnelledBlocks(family: Family, { nodeName, pools, blocks }: TunnelInputs) {
  const poolOf = poolFinder(pools);
  const found = new Map<string, Located & { crossSubnet: boolean }>();
  for (const block of blocks) {
    for (const { prefix, node } of locatedIn(block)) {
      if (prefix.ip.family !== family || node === nodeName) continue;
      const pool = poolOf(prefix);
      if (!pool || !tunnels(pool)) continue;
      const key = formatPrefix(prefix);
      const rival = found.get(key);
      if (rival && rival.node <= node) continue;
      found.set(key, { prefix, node, crossSubnet: pool.spec.vxlanMode === "CrossSubnet" });
    }
  }
  return found;
}

/** Everything but the device. */
export function planTunnels(family: Family, inputs: TunnelInputs): TunnelPlan {
  const { nodeName, nodes, device, resolve } = inputs;
  const tunnelled = inputs.pools.some(({ prefix, pool }) =>
    prefix.ip.family === family && tunnels(pool)
  );
  if (!device && !tunnelled) return nothing;
  const self = nodes.get(nodeName);
  const { vteps, problems } = remoteVteps(nodes, nodeName, family);
  const address = tunnelAddress(self, family);
  const subnet = hostAddress(self, family)?.network;
  const routes = new Map<string, PlannedRoute>();
  const awaited = new Set<string>();
  // Before we have an address of our own, others take our tunnel packets for a stranger's.
  const ready = device?.up && address;
  const put = (prefix: Prefix, hop: Hop) =>
    routes.set(formatPrefix(prefix), {
      prefix,
      protocol: PROTOCOL_OWN,
      type: "unicast",
      hops: [hop],
    });
  /** The way to a node of the same subnet without a tunnel. */
  const direct = (node: string): Hop | undefined => {
    const host = hostAddress(nodes.get(node), family)?.ip;
    return host && subnet && prefixContains(subnet, host) ? resolve(host) : undefined;
  };
  const covered = new Set<string>();
  const hostRoutes = ready && family === 6;
  if (hostRoutes) {
    for (const { tunnel } of vteps.values()) put(hostPrefix(tunnel), { oif: device.index });
  }
  for (const [key, { prefix, node, crossSubnet }] of tunnelledBlocks(family, inputs)) {
    const vtep = vteps.get(node);
    const isTunnelAddress = vtep && formatPrefix(hostPrefix(vtep.tunnel)) === key;
    const hop = crossSubnet ? direct(node) : undefined;
    if (hop && !(hostRoutes && isTunnelAddress)) put(prefix, hop);
    else if (!vtep || !ready) awaited.add(key);
    else if (isTunnelAddress) put(prefix, { oif: device.index });
    else put(prefix, { gateway: vtep.tunnel, oif: device.index, onlink: true });
    if (vtep && prefixContains(prefix, vtep.tunnel)) covered.add(node);
  }
  if (!device) return { ...nothing, routes, awaited, problems };
  // A tunnel address that no block of its node stands for (of another pool, or a static one).
  for (const { node, tunnel } of vteps.values()) {
    if (!ready || covered.has(node)) continue;
    put(hostPrefix(tunnel), { oif: device.index });
    awaited.delete(formatPrefix(hostPrefix(tunnel)));
  }
  return {
    address,
    neighbours: new Map([...vteps.values()].map((v) => [formatIp(v.tunnel), v.mac])),
    forwarding: new Map([...vteps.values()].map((v) => [v.mac, formatIp(v.host)])),
    routes,
    awaited,
    problems,
  };
}
