/**
 * How BGP's next hops are reached. Pure: from others' routes in the main table, and from what our own
 * plan puts beside them. As a router does, by the one route that matches longest, never by a shorter
 * one behind it:
 *
 *   somebody's route          its gateway, or the next hop itself where the route is a link's
 *   an endpoint's, a tunnel's the same; `onlink` where that route is, at a tunnel's far end
 *   unreachable, blackhole …  there is no way, also with a blackhole of a block of ours
 *   a route that BGP learned  there is no way: BGP does not resolve through BGP
 *
 * So it is with BIRD 2 (`gateway recursive`, the routes of the kernel learned), whose routes are then
 * unreachable. One thing is ours: a neighbour on a link of this node is reached there, whatever blocks,
 * tunnels or BGP routes cover its address. Else a peer could cut us off from a node by announcing that
 * node's address, and a block that overlaps with the nodes' subnet would take the nodes away.
 *
 * BGP's choice of routes must not hang on what BGP itself has learned: a route that covers its own next
 * hop would come and go for ever. It asks `reaches`, which leaves learned routes out of account.
 *
 * What was found is kept until a route changes that covers the next hop: one pod or prefix among ten
 * thousand costs a look into a sorted list.
 */
import {
  addressBits,
  compareIp,
  type Family,
  formatPrefix,
  type Ip,
  ipKey,
  type Prefix,
  prefixContains,
  prefixOf,
  sameIp,
} from "../net/mod.ts";
import type { Hop, PlannedRoute } from "./route_plan.ts";

const RTPROT_KERNEL = 2;
/** A subnet of which a router has told. */
const RTPROT_RA = 9;

/** A route of the kernel that is neither ours nor BGP's. */
export interface KernelPath {
  readonly prefix: Prefix;
  readonly protocol: number;
  readonly metric: number;
  readonly type: PlannedRoute["type"];
  /** Absent for all but unicast. */
  readonly hop?: Hop;
}

/** The route of others that decides about an address. */
export function decidingPath(paths: readonly KernelPath[], address: Ip): KernelPath | undefined {
  let best: KernelPath | undefined;
  for (const path of paths) {
    if (!prefixContains(path.prefix, address)) continue;
    const better = !best || path.prefix.length > best.prefix.length ||
      (path.prefix.length === best.prefix.length && path.metric < best.metric);
    if (better) best = path;
  }
  return best;
}

/** How to reach an address by others' routes alone, as tunnels have to that we lay over them. */
export function resolveByOthers(paths: readonly KernelPath[], address: Ip): Hop | undefined {
  return through(decidingPath(paths, address)?.hop, address);
}

/** The route of a subnet that an address of ours is in. */
function isLink({ protocol, hop }: KernelPath): boolean {
  return (protocol === RTPROT_KERNEL || protocol === RTPROT_RA) && hop !== undefined &&
    !hop.gateway;
}

function through(hop: Hop | undefined, nextHop: Ip): Hop | undefined {
  if (!hop) return undefined;
  const { gateway = nextHop, oif, onlink } = hop;
  return onlink ? { gateway, oif, onlink } : { gateway, oif };
}

/** What our plan has, by canonical prefix. */
export interface PlanTable {
  endpoint(key: string): PlannedRoute | undefined;
  /** Blackholes of blocks, and tunnels. */
  own(key: string): PlannedRoute | undefined;
  isLearned(key: string): boolean;
  prefixes(): Iterable<Prefix>;
}

/** Next hops that are kept at most: more than a cluster has nodes. */
const LIMIT = 50_000;

interface Resolved {
  readonly nextHop: Ip;
  readonly hop?: Hop;
  /** Without regard to learned routes. */
  readonly reached?: Hop;
}

export class NextHops {
  readonly #resolved = new Map<string, Resolved>();
  /** The same in order, until another one comes. */
  #ordered: Resolved["nextHop"][] | undefined;
  /** Lengths of the plan's prefixes: no others need to be looked for. */
  readonly #lengths: Record<Family, Set<number>> = { 4: new Set(), 6: new Set() };
  /** Known next hops are resolved otherwise than before. */
  #routesMoved = false;
  #choiceMoved = false;

  constructor(
    private readonly paths: () => readonly KernelPath[],
    private readonly plan: PlanTable,
    private readonly limit = LIMIT,
  ) {}

  /** How to reach a next hop. */
  resolve(nextHop: Ip): Hop | undefined {
    return this.#lookup(nextHop).hop;
  }

  /** The same for BGP's choice. */
  reaches(nextHop: Ip): Hop | undefined {
    return this.#lookup(nextHop).reached;
  }

  /** Others' routes are others: all is found out anew when it is asked for. */
  forget(): void {
    this.#resolved.clear();
    this.#ordered = undefined;
  }

  /** The plan is another one altogether. */
  renew(): void {
    for (const lengths of Object.values(this.#lengths)) lengths.clear();
    for (const prefix of this.plan.prefixes()) this.#lengths[prefix.ip.family].add(prefix.length);
    for (const [key, known] of this.#resolved) this.#again(key, known);
  }

  /** The plan is another one at these prefixes. */
  changed(prefixes: readonly Prefix[]): void {
    for (const { ip, length } of prefixes) this.#lengths[ip.family].add(length);
    const ordered = this.#order();
    for (const prefix of prefixes) {
      for (let i = firstFrom(ordered, prefix.ip); i < ordered.length; i++) {
        if (!prefixContains(prefix, ordered[i])) break;
        const key = ipKey(ordered[i]);
        this.#again(key, this.#resolved.get(key)!);
      }
    }
  }

  /** Whether learned routes are others than when this was asked last. */
  takeRoutesMoved(): boolean {
    const moved = this.#routesMoved;
    this.#routesMoved = false;
    return moved;
  }

  /** Whether BGP may choose otherwise than when this was asked last. */
  takeChoiceMoved(): boolean {
    const moved = this.#choiceMoved;
    this.#choiceMoved = false;
    return moved;
  }

  #order(): Ip[] {
    return this.#ordered ??= [...this.#resolved.values()].map((r) => r.nextHop).sort(compareIp);
  }

  #lookup(nextHop: Ip): Resolved {
    const key = ipKey(nextHop);
    let known = this.#resolved.get(key);
    if (!known) {
      if (this.#resolved.size >= this.limit) this.#startAnew();
      this.#resolved.set(key, known = this.#find(nextHop));
      this.#ordered = undefined;
    }
    return known;
  }

  /** A peer that names ever new next hops fills no memory: what is in use is asked for again. */
  #startAnew(): void {
    this.forget();
    this.#routesMoved = this.#choiceMoved = true;
  }

  #again(key: string, former: Resolved): void {
    const now = this.#find(former.nextHop);
    this.#resolved.set(key, now);
    if (!sameHop(former.hop, now.hop)) this.#routesMoved = true;
    if (!former.reached !== !now.reached) this.#choiceMoved = true;
  }

  #find(nextHop: Ip): Resolved {
    const other = decidingPath(this.paths(), nextHop);
    const least = other?.prefix.length ?? 0;
    const onLink = other !== undefined && isLink(other);
    let learned = false;
    const { family } = nextHop;
    for (let length = addressBits(family); length >= least; length--) {
      if (!this.#lengths[family].has(length)) continue;
      const key = formatPrefix(prefixOf(nextHop, length));
      const ours = this.plan.endpoint(key) ?? (onLink ? undefined : this.plan.own(key));
      if (ours) {
        const reached = through(ours.hops[0], nextHop);
        return { nextHop, reached, hop: learned ? undefined : reached };
      }
      // Somebody's route stands where a learned one would.
      learned ||= !onLink && this.plan.isLearned(key) && (!other || length > least);
    }
    const reached = through(other?.hop, nextHop);
    return { nextHop, reached, hop: learned ? undefined : reached };
  }
}

/** The first of the addresses that is not before the given one. */
function firstFrom(ordered: readonly Ip[], ip: Ip): number {
  let [from, to] = [0, ordered.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (compareIp(ordered[middle], ip) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}

export function sameHop(a: Hop | undefined, b: Hop | undefined): boolean {
  if (!a || !b) return a === b;
  if (a.oif !== b.oif || !a.onlink !== !b.onlink || !a.gateway !== !b.gateway) return false;
  return !a.gateway || sameIp(a.gateway, b.gateway!);
}
