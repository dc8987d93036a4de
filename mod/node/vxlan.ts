/**
 * VXLAN as Calico has it: one device a family, whose other ends (VTEPs) are the nodes that have a
 * tunnel address in the datastore. Names, MACs and ends; pure.
 *
 *     vxlan.calico      between IPv4 addresses of nodes, for IPv4 pools
 *     vxlan-v6.calico   between IPv6 addresses of nodes, for IPv6 pools
 *
 * A VTEP's MAC is what its Node says or follows from the node's name, so that a device that was made
 * anew has the MAC that the others already know.
 */
import { createHash } from "node:crypto";
import type { IPPool } from "../model/ippool.ts";
import type { Node } from "../model/node.ts";
import { type Family, formatIp, type Ip, parseCidr, parseIp, type Prefix } from "../net/mod.ts";
import { byAge } from "./node_age.ts";

export const FAMILIES: readonly Family[] = [4, 6];

export const VXLAN_DEVICES: Readonly<Record<Family, string>> = {
  4: "vxlan.calico",
  6: "vxlan-v6.calico",
};

/** Bytes of Ethernet, IP, UDP and VXLAN headers around a packet. */
export const VXLAN_OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** Bytes below which an interface carries no packets of a family: RFC 791, RFC 8200 section 5. */
export const LEAST_MTU: Readonly<Record<Family, number>> = { 4: 68, 6: 1280 };

/** FelixConfiguration's say. */
export interface VxlanParameters {
  /** Absent: as the pools want it. */
  readonly vxlanEnabled?: boolean;
  readonly vxlanPort: number;
  readonly vxlanVni: number;
  /** 0: from the host's. */
  readonly vxlanMtu: Readonly<Record<Family, number>>;
}

export type PoolPrefixes = readonly { readonly prefix: Prefix; readonly pool: IPPool }[];

/** 0x66 and the first five bytes of SHA-1 of the name (Felix; `-v6` behind it for IPv6's device). */
export function vtepMac(nodeName: string, family: Family): string {
  const text = family === 4 ? nodeName : `${nodeName}-v6`;
  const hash = createHash("sha1").update(text).digest().subarray(0, 5);
  return [0x66, ...hash].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** A node's end of the tunnels of one family. */
export interface Vtep {
  readonly node: string;
  /** Where tunnel packets go to. */
  readonly host: Ip;
  /** The address of its device. */
  readonly tunnel: Ip;
  readonly mac: string;
}

/** The address by which a node is reached, with the network that it lies in where that is known. */
export function hostAddress(
  node: Node | undefined,
  family: Family,
): { ip: Ip; network?: Prefix } | undefined {
  const { bgp, addresses } = node?.spec ?? {};
  const others = (Array.isArray(addresses) ? addresses : [])
    .filter((a) => a?.type === "CalicoNodeIP" || a?.type === "InternalIP")
    .map((a) => a.address);
  for (const text of [family === 4 ? bgp?.ipv4Address : bgp?.ipv6Address, ...others]) {
    if (typeof text !== "string") continue; // written past all checks, perhaps
    const cidr = parseCidr(text);
    const ip = cidr?.ip ?? parseIp(text);
    if (ip?.family === family) return { ip, network: cidr?.prefix };
  }
  return undefined;
}

/** The tunnel address that a Node names. */
export function tunnelAddress(node: Node | undefined, family: Family): Ip | undefined {
  const { ipv4VXLANTunnelAddr, ipv6VXLANTunnelAddr } = node?.spec ?? {};
  const text: unknown = family === 4 ? ipv4VXLANTunnelAddr : ipv6VXLANTunnelAddr;
  const ip = typeof text === "string" ? parseIp(text) : undefined;
  return ip?.family === family ? ip : undefined;
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** No group's, and not zero: one that an interface may have. */
const isOneStation = (mac: string) => parseInt(mac[1], 16) % 2 === 0 && !/^[0:]+$/.test(mac);

/** All nodes judge a stored MAC alike: by one that is none they take the one of the name. */
export function macOf(node: Node | undefined, nodeName: string, family: Family): string {
  const { vxlanTunnelMACAddr, vxlanTunnelMACAddrV6 } = node?.spec ?? {};
  const mac = `${family === 4 ? vxlanTunnelMACAddr : vxlanTunnelMACAddrV6}`.toLowerCase();
  return MAC.test(mac) && isOneStation(mac) ? mac : vtepMac(nodeName, family);
}

/** A node's VTEP; undefined while its addresses are not known. */
function vtepOf(name: string, node: Node, family: Family): Vtep | undefined {
  const host = hostAddress(node, family)?.ip;
  const tunnel = tunnelAddress(node, family);
  if (!host || !tunnel) return undefined;
  return { node: name, host, tunnel, mac: macOf(node, name, family) };
}

export interface RemoteVteps {
  readonly vteps: ReadonlyMap<string, Vtep>;
  /** Of whom nothing is believed, and why. */
  readonly problems: readonly string[];
}

/** Of two that claim the same, who of them has it and who is to be corrected. */
function conflict(owner: string, other: string, what: string, self: string): string {
  const apart = owner === self || other === self ? "between the two" : `to ${other}`;
  return `Node ${other}: its ${what} is the Node ${owner}'s, so no tunnel leads ${apart}; correct it, ` +
    `or delete the Node ${other} if that machine is gone`;
}

/**
 * By node, but this one. Of two with one tunnel address or one MAC the elder counts, and none that has
 * ours: its packets would end here.
 */
export function remoteVteps(
  nodes: ReadonlyMap<string, Node>,
  self: string,
  family: Family,
): RemoteVteps {
  const elders = byAge(nodes);
  const ages = elders.map(([name]) => name);
  const ends = elders.filter(([name]) => name !== self)
    .map(([name, node]) => vtepOf(name, node, family)).filter((vtep) => vtep !== undefined);
  const node = nodes.get(self);
  const own = tunnelAddress(node, family);
  const owners = new Map([[macOf(node, self, family), self]]);
  if (own) owners.set(formatIp(own), self);
  const vteps = new Map<string, Vtep>();
  const problems: string[] = [];
  for (const vtep of ends) {
    const [tunnel, mac] = [formatIp(vtep.tunnel), vtep.mac];
    const claimed = [tunnel, mac].find((claim) => owners.has(claim));
    if (claimed !== undefined) {
      const what = `${claimed === mac ? "tunnel's MAC" : "tunnel address"} ${claimed}`;
      // Ours keep out whoever claims them too, but that does not make them ours.
      const [owner, other] = [owners.get(claimed)!, vtep.node]
        .sort((a, b) => a === self || b === self ? ages.indexOf(a) - ages.indexOf(b) : 0);
      problems.push(conflict(owner, other, what, self));
      continue;
    }
    owners.set(tunnel, vtep.node).set(mac, vtep.node);
    vteps.set(vtep.node, vtep);
  }
  return { vteps, problems };
}

export const tunnels = (pool: IPPool): boolean => pool.spec.vxlanMode !== "Never";

/** Whether this node ends tunnels of the family: VXLANEnabled says so for IPv4, else the pools do. */
export function vxlanWanted(
  family: Family,
  pools: PoolPrefixes,
  enabled: boolean | undefined,
): boolean {
  if (family === 4 && enabled !== undefined) return enabled;
  return pools.some(({ prefix, pool }) => prefix.ip.family === family && tunnels(pool));
}
