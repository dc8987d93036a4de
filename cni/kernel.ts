/**
 * What the CNI path asks of the kernel, in the field's words and without a netlink message: so that
 * the order of effects can be tested with a small fake (`testing/fake_kernel.ts`), and so that
 * `plumbing.ts` alone knows how it is done.
 *
 * Each method is one step that either happened or threw; ADD is written such that being cut off
 * between any two of them leaves nothing that the next ADD or DEL would not find. For that the host
 * side of a pair carries a mark (its alias, see `mark.ts`) from the moment of its creation.
 */

import { type Family, type Ip, mustPrefix, type Prefix } from "../mod/net/mod.ts";

/** The MAC of every host side, as Calico's: pods can have one permanent neighbour entry for it. */
export const HOST_MAC = "ee:ee:ee:ee:ee:ee";
/** The pods' IPv4 gateway: on no interface, answered for by every host side. */
export const GATEWAY4 = "169.254.1.1";
/** The pods' IPv6 gateway: the link-local address that follows from the MAC. */
export const GATEWAY6 = "fe80::ecee:eeff:feee:eeee";

/** The host side of a pair, as the host's network namespace shows it. */
export interface HostLink {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
  readonly up: boolean;
  /** Index of the other side in its own namespace, for a veth. */
  readonly peerIndex?: number;
  readonly alias?: string;
}

/** A route as CHECK needs it: a missing gateway means link scope. */
export interface PodRoute {
  readonly destination: Prefix;
  readonly gateway?: Ip;
}

/** An address on an interface, host bits and all. */
export interface InterfaceAddress {
  readonly ip: Ip;
  readonly length: number;
}

/** An interface inside a pod. */
export interface PodLink {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Addresses with their prefix lengths, without IPv6 link-local ones. */
  readonly addresses: InterfaceAddress[];
  /** Routes of the main table, both families, over this interface. */
  readonly routes: PodRoute[];
  /** The host side, where it is in the host's namespace. */
  readonly host?: HostLink;
}

/** Everything that is to be true of one attachment's interfaces. */
export interface PairPlan {
  /** Name of the host side, at most 15 characters. */
  readonly hostName: string;
  /** Name inside the pod. */
  readonly podName: string;
  readonly hostMac: string;
  readonly podMac: string;
  readonly mtu: number;
  /** Put on the host side when it is created. */
  readonly alias: string;
}

/** What is added to a pair before the pod may use it. */
export interface WiringPlan extends PairPlan {
  /** The pod's own, at most one of each family; each is put on as /32 or /128. */
  readonly addresses: Ip[];
  readonly allowIpForwarding: boolean;
  /** What the pod reaches by its gateway; everything without it. */
  readonly destinations?: readonly Prefix[];
}

export const DEFAULT_ROUTES: readonly Prefix[] = [mustPrefix("0.0.0.0/0"), mustPrefix("::/0")];

/** Of one family. */
export function destinationsOf(plan: WiringPlan, family: Family): readonly Prefix[] {
  return (plan.destinations ?? DEFAULT_ROUTES).filter((d) => d.ip.family === family);
}

/** One pod's network namespace, held open; `close` lets it go. */
export interface PodNamespace {
  readonly path: string;
  /** The interface of that name, or undefined where there is none. */
  link(name: string): Promise<PodLink | undefined>;
  /**
   * Makes the pair in one step: the pod's side in this namespace, the host's side in the host's, both
   * down. CniError `exists` where the pod has an interface of that name.
   */
  createPair(plan: PairPlan): Promise<void>;
  /** Pod side: sysctls, up, gateway, routes, permanent neighbours, addresses. */
  wirePod(plan: WiringPlan): Promise<void>;
  /** Resolves when both sides carry packets; at the latest after a second and a half. */
  settle(plan: PairPlan): Promise<void>;
  /** Removes the interface of that name, if it is there. */
  removeLink(name: string): Promise<void>;
  close(): void;
}

export interface CniKernel {
  /**
   * CniError `environment` naming CNI_NETNS where the path is not a network namespace or is the
   * host's own. With `missing: "undefined"` a path that is not there (any more) answers undefined.
   */
  openNamespace(path: string): Promise<PodNamespace>;
  openNamespace(path: string, missing: "undefined"): Promise<PodNamespace | undefined>;
  hostLink(name: string): Promise<HostLink | undefined>;
  /**
   * Where packets to just this address go from here: the interface over which a route of its own leads,
   * or "host" where it is the host's; undefined where no route is of this address alone.
   */
  linkOf(ip: Ip): Promise<HostLink | "host" | undefined>;
  /** What the other side of a pair has, but for link-local ones; none where there is none in sight. */
  addressesBeyond(hostName: string): Promise<Ip[]>;
  /** All of the host's own, of every interface. */
  hostAddresses(): Promise<Ip[]>;
  /** Those of one interface of the host, but for link-local ones; none where there is none. */
  addressesOf(hostName: string): Promise<Ip[]>;
  /** Host side: sysctls, up, a route of link scope to each address. */
  wireHost(plan: WiringPlan): Promise<void>;
  /** Removes the host side (and with it the pod's), if it is there. */
  removeHostLink(name: string): Promise<void>;
  setAlias(hostName: string, alias: string): Promise<void>;
  /** Are the routes of link scope to these addresses there? Returns those that are missing. */
  missingHostRoutes(hostName: string, addresses: Ip[]): Promise<Ip[]>;
}
