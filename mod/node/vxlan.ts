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

export const FAMILIES: readonly Family[] = [4, 6];

export const VXLAN_DEVICES: Readonly<Record<Family, string>> = {
  4: "vxlan.calico",
  6: "vxlan-v6.calico",
};

/** Bytes of Ethernet, IP, UDP and VXLAN headers around a packet. */
export const VXLAN_OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

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

/** The address by which a node is reached, with the network that it lies in (/32 where not known). */
export function hostAddress(
  node: Node | undefined,
  family: Family,
): { ip: Ip; network?: Prefix } | undefined {
  const bgp = family === 4 ? node?.spec.bgp?.ipv4Address : node?.spec.bgp?.ipv6Address;
  const others = (node?.spec.addresses ?? [])
    .filter((a) => a.type === "CalicoNodeIP" || a.type === "InternalIP")
    .map((a) => a.address);
  for (const text of [bgp, ...others]) {
    if (!text) continue;
    const cidr = parseCidr(text);
    const ip = cidr?.ip ?? parseIp(text);
    if (ip?.family === family) return { ip, network: cidr?.prefix };
  }
  return undefined;
}

/** The tunnel address that a Node names. */
export function tunnelAddress(node: Node | undefined, family: Family): Ip | undefined {
  const text = family === 4 ? node?.spec.ipv4VXLANTunnelAddr : node?.spec.ipv6VXLANTunnelAddr;
  const ip = text ? parseIp(text) : undefined;
  return ip?.family === family ? ip : undefined;
}

export function macOf(node: Node | undefined, nodeName: string, family: Family): string {
  const stored = family === 4 ? node?.spec.vxlanTunnelMACAddr : node?.spec.vxlanTunnelMACAddrV6;
  return (stored || vtepMac(nodeName, family)).toLowerCase();
}

/** A node's VTEP; undefined while its addresses are not known. */
export function vtepOf(node: Node, family: Family): Vtep | undefined {
  const host = hostAddress(node, family)?.ip;
  const tunnel = tunnelAddress(node, family);
  if (!host || !tunnel) return undefined;
  const { name } = node.metadata;
  return { node: name, host, tunnel, mac: macOf(node, name, family) };
}

/** By node, but this one. Of two with one tunnel address or one MAC the first by name counts. */
export function remoteVteps(
  nodes: Iterable<Node>,
  self: string,
  family: Family,
): Map<string, Vtep> {
  const ends = [...nodes].filter((node) => node.metadata.name !== self)
    .map((node) => vtepOf(node, family)).filter((vtep) => vtep !== undefined)
    .sort((a, b) => a.node < b.node ? -1 : 1);
  const taken = new Set<string>();
  const vteps = new Map<string, Vtep>();
  for (const vtep of ends) {
    const [tunnel, mac] = [formatIp(vtep.tunnel), vtep.mac];
    if (taken.has(tunnel) || taken.has(mac)) continue;
    taken.add(tunnel).add(mac);
    vteps.set(vtep.node, vtep);
  }
  return vteps;
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
