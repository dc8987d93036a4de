/**
 * Which routes the main table should hold. Pure: from this node's endpoints, its blocks, and what
 * BGP has learned.
 *
 *   endpoint    10.244.1.7/32 dev cali0123… scope link       protocol 80
 *   blackhole   10.244.1.0/26 (a block of ours)              protocol 80: traffic to an address that
 *               nobody has ends here instead of going round; endpoints' routes are more specific
 *   tunnel      what `vxlan_plan.ts` makes of other nodes'   protocol 80
 *               blocks in VXLAN pools
 *   learned     10.244.2.0/26 via 192.0.2.12 dev eth0        protocol 81, but not in VXLAN pools
 *
 * A next hop that lies on no link of ours is reached through the route to it (`next_hops.ts`): the
 * kernel's gateway is then that route's. It is not put `onlink` by ourselves, which would send packets
 * for a far node to whoever answers ARP for it.
 */
import {
  addressBits,
  formatPrefix,
  type Ip,
  mustPrefix,
  type Prefix,
  prefixFamily,
  sameIp,
} from "../net/mod.ts";
import type { BestRouteChange } from "../../bgp/config.ts";
import { type KernelPath, NextHops, sameHop } from "./next_hops.ts";

/** Routes that we compute: endpoints, blackholes, tunnels. */
export const PROTOCOL_OWN = 80;
/** Routes that BGP has learned. */
export const PROTOCOL_BGP = 81;

export interface Hop {
  /** Absent: the destination is on the link itself. */
  readonly gateway?: Ip;
  /** Interface index. */
  readonly oif: number;
  /** The gateway is on the link although no address of ours says so: the far end of a tunnel. */
  readonly onlink?: boolean;
}

/** One route of the main table, as we want it. */
export interface PlannedRoute {
  readonly prefix: Prefix;
  readonly protocol: number;
  /** Ours are of the first two; the others somebody else may have put in their place. */
  readonly type: "unicast" | "blackhole" | "unreachable" | "prohibit" | "throw";
  /** Empty for all but unicast. */
  readonly hops: readonly Hop[];
  /** In the kernel with what we never set: a source address, metrics, an encapsulation … */
  readonly astray?: {
    readonly source?: Ip;
    /** By a next hop object of this number. */
    readonly nextHopId?: number;
    /** In ip(8)'s words. */
    readonly words?: string;
  };
  /** In the kernel of another metric than ours, or for one TOS alone, though of our protocol. */
  readonly metric?: number;
  readonly tos?: number;
  /** Likewise, for packets of these sources alone (IPv6). */
  readonly from?: Prefix;
  /** What the kernel has of the prefix besides (`kernel/route_entries.ts`). */
  readonly beside?: readonly PlannedRoute[];
}

/** What this node puts into the table of itself, beside its endpoints' routes. */
export interface OwnInputs {
  readonly ownBlocks: readonly Prefix[];
  /** Routes that tunnels want, by canonical prefix. */
  readonly tunnels?: ReadonlyMap<string, PlannedRoute>;
}

/** What BGP puts into it. */
export interface LearnedInputs {
  /** By canonical prefix; looked at again whenever the plan is. */
  readonly learned: ReadonlyMap<string, BestRouteChange>;
  /** Whether BGP has a say about a prefix. Absent: always. */
  takesLearned?(prefix: Prefix): boolean;
}

/**
 * The whole main table as far as it is ours. An endpoint wins over a block, a block over a tunnel, a
 * tunnel over a peer.
 *
 * It is made whole once. After that it is asked for single keys: a pod that comes, or a prefix that a
 * peer withdraws, costs the same in a table of ten thousand routes as in an empty one.
 */
export class RoutePlan {
  /** Of endpoints, by canonical prefix. */
  readonly #endpoints = new Map<string, PlannedRoute>();
  #own: ReadonlyMap<string, PlannedRoute> = new Map();
  #from: LearnedInputs | undefined;
  /** Thousands of learned routes share their ways. */
  #hops = new WeakMap<BestRouteChange["paths"], readonly Hop[]>();
  /** Learned prefixes whose next hops nothing leads to, or only what BGP itself has learned. */
  readonly unresolved = new Set<string>();
  readonly nextHops: NextHops;

  /** `paths`: the table as far as it is others'. */
  constructor(paths: () => readonly KernelPath[]) {
    this.nextHops = new NextHops(paths, {
      endpoint: (key) => this.#endpoints.get(key),
      own: (key) => this.#own.get(key),
      isLearned: (key) => this.#isLearned(key),
      prefixes: () => this.#prefixes(),
    });
  }

  /** Everything anew, by canonical prefix; the map is the caller's. */
  whole(own: OwnInputs, learned: LearnedInputs): Map<string, PlannedRoute> {
    this.#own = ownRoutes(own);
    this.#from = learned;
    this.nextHops.renew();
    return this.again();
  }

  /** The same anew, for next hops are resolved otherwise than before. */
  again(): Map<string, PlannedRoute> {
    this.nextHops.takeRoutesMoved();
    this.#hops = new WeakMap();
    this.unresolved.clear();
    const routes = new Map<string, PlannedRoute>();
    for (const key of this.#from?.learned.keys() ?? []) {
      const route = this.at(key);
      if (route) routes.set(key, route);
    }
    for (const [key, route] of this.#own) routes.set(key, route);
    for (const [key, route] of this.#endpoints) routes.set(key, route);
    return routes;
  }

  /** An endpoint's route, or none any more: the plan may be another at the key now. */
  changeEndpoint(key: string, route: PlannedRoute | undefined): void {
    const { prefix } = route ?? this.#endpoints.get(key) ?? {};
    if (route) this.#endpoints.set(key, route);
    else this.#endpoints.delete(key);
    if (prefix) this.nextHops.changed([prefix]);
  }

  /** What BGP has to say of these prefixes is another thing now. */
  changeLearned(keys: Iterable<string>): void {
    const learned = this.#from?.learned;
    this.nextHops.changed([...keys].map((key) => learned?.get(key)?.prefix ?? mustPrefix(key)));
  }

  /** This node's own part anew; the keys at which the plan may be another now. */
  changeOwn(own: OwnInputs): Set<string> {
    const former = this.#own;
    this.#own = ownRoutes(own);
    const changed = new Map([...former, ...this.#own]);
    this.nextHops.changed([...changed.values()].map((route) => route.prefix));
    return new Set(changed.keys());
  }

  /** The route that should be there under the key now. */
  at(key: string): PlannedRoute | undefined {
    this.unresolved.delete(key);
    return this.#endpoints.get(key) ?? this.#own.get(key) ?? this.#learnedAt(key);
  }

  #learnedAt(key: string): PlannedRoute | undefined {
    const change = this.#from?.learned.get(key);
    if (!change) return undefined;
    const { prefix, paths } = change;
    if (!this.#isLearned(key)) return undefined;
    let hops = this.#hops.get(paths);
    if (!hops) this.#hops.set(paths, hops = hopsOf(paths, (ip) => this.nextHops.resolve(ip)));
    if (hops.length > 0) return { prefix, protocol: PROTOCOL_BGP, type: "unicast", hops };
    this.unresolved.add(key);
    return undefined;
  }

  #isLearned(key: string): boolean {
    const change = this.#from?.learned.get(key);
    return change !== undefined && this.#from?.takesLearned?.(change.prefix) !== false;
  }

  *#prefixes(): Iterable<Prefix> {
    for (const { prefix } of this.#endpoints.values()) yield prefix;
    for (const { prefix } of this.#own.values()) yield prefix;
    for (const { prefix } of this.#from?.learned.values() ?? []) yield prefix;
  }
}

/** One for each way that leads somewhere. */
function hopsOf(paths: BestRouteChange["paths"], resolve: (nextHop: Ip) => Hop | undefined): Hop[] {
  const hops: Hop[] = [];
  for (const { nextHop } of paths) {
    const hop = resolve(nextHop);
    if (hop && !hops.some((h) => sameHop(h, hop))) hops.push(hop);
  }
  return hops;
}

function ownRoutes({ ownBlocks, tunnels }: OwnInputs): Map<string, PlannedRoute> {
  const routes = new Map<string, PlannedRoute>(tunnels);
  for (const prefix of ownBlocks) {
    // A block of one address has no blackhole: it would hide the endpoint that holds it elsewhere.
    if (prefix.length === addressBits(prefixFamily(prefix))) continue;
    routes.set(formatPrefix(prefix), {
      prefix,
      protocol: PROTOCOL_OWN,
      type: "blackhole",
      hops: [],
    });
  }
  return routes;
}

/** Of one prefix, but for what is beside them. */
export function sameRoute(a: PlannedRoute, b: PlannedRoute): boolean {
  if (a.protocol !== b.protocol || a.type !== b.type || !sameAstray(a.astray, b.astray)) {
    return false;
  }
  if (!samePlace(a, b)) return false;
  return a.hops === b.hops || (a.hops.length === b.hops.length &&
    a.hops.every((hop) => b.hops.some((other) => sameHop(hop, other))));
}

/** Whether the kernel looks at both for the same packets, one after the other. */
export function samePlace(a: PlannedRoute, b: PlannedRoute): boolean {
  return a.metric === b.metric && a.tos === b.tos &&
    (a.from && b.from ? formatPrefix(a.from) === formatPrefix(b.from) : a.from === b.from);
}

function sameAstray(a: PlannedRoute["astray"], b: PlannedRoute["astray"]): boolean {
  if (!a || !b) return a === b;
  if (a.nextHopId !== b.nextHopId || a.words !== b.words) return false;
  return a.source && b.source ? sameIp(a.source, b.source) : a.source === b.source;
}
