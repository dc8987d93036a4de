/**
 * How large packets may be (Felix): the host's MTU is that of the narrowest interface that others may
 * be reached by; each tunnel takes its headers off that, or has an MTU that is configured, as far as the
 * link under it bears that; a pod's is the smallest of the tunnels that pools ask for, since its packets
 * may take any of them. Pure.
 */
import type { Family } from "../net/mod.ts";
import {
  FAMILIES,
  LEAST_MTU,
  type PoolPrefixes,
  VXLAN_OVERHEAD,
  type VxlanParameters,
  vxlanWanted,
} from "./vxlan.ts";

const IPIP_OVERHEAD = 20;
/** Where no interface matches (Felix). */
export const FALLBACK_MTU = 1460;

interface Interface {
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
}

export function hostMtu(links: Iterable<Interface>, pattern: RegExp): number {
  let mtu: number | undefined;
  for (const link of links) {
    if (!link.up || !pattern.test(link.name)) continue;
    if (mtu === undefined || link.mtu < mtu) mtu = link.mtu;
  }
  return mtu ?? FALLBACK_MTU;
}

/** `link`: of the interface under the device; more than it leaves the kernel refuses. */
export function tunnelMtu(
  family: Family,
  host: number,
  parameters: VxlanParameters,
  link = Infinity,
): number {
  const overhead = VXLAN_OVERHEAD[family];
  return Math.min(parameters.vxlanMtu[family] || host - overhead, link - overhead);
}

export interface MtuParameters extends VxlanParameters {
  /** IpInIpMTU; 0: from the host's. */
  readonly ipipMtu: number;
}

/** The links under the VXLAN devices, as far as they are known; bytes. */
export type TunnelLinkMtus = Readonly<Partial<Record<Family, number>>>;

export function podMtu(
  host: number,
  pools: PoolPrefixes,
  parameters: MtuParameters,
  links: TunnelLinkMtus = {},
): number {
  const mtus = FAMILIES.filter((f) => vxlanWanted(f, pools, parameters.vxlanEnabled))
    // Where a device cannot be, nobody knows its link: a link too narrow for IPv6 has no such address.
    .map((f) => [tunnelMtu(f, host, parameters, links[f] ?? host), LEAST_MTU[f]])
    // A tunnel that there is no room for is not there.
    .filter(([mtu, least]) => mtu >= least).map(([mtu]) => mtu);
  if (pools.some(({ pool }) => pool.spec.ipipMode !== "Never")) {
    mtus.push(parameters.ipipMtu || host - IPIP_OVERHEAD);
  }
  return mtus.length > 0 ? Math.min(...mtus) : host;
}
