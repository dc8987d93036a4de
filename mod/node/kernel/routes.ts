/**
 * The main table as far as it is ours: protocols 80 and 81, and whatever stands on pods' interfaces
 * and VXLAN devices. What BGP has learned does not overwrite a route that somebody else set. Several
 * entries of one prefix: `route_entries.ts`. Where the kernel refuses another way for a learned prefix,
 * the former way goes all the same: packets must not take a way that no peer tells of any more.
 *
 * Three reasons let a route stay that nobody desires: BGP may not forget it yet (a former process
 * learned it), its interface is so young that its endpoint may not be known yet, or its block is about
 * to get a tunnel that is not ready.
 */
import { isKernelError } from "../../../ffi/errors.ts";
import type { RoutePlace } from "../../../ffi/route/events.ts";
import { type Route, RT_TABLE_MAIN, RTPROT_KERNEL } from "../../../ffi/route/route.ts";
import { formatPrefix, type Ip, isLinkLocal } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import type { KernelPath } from "../next_hops.ts";
import { fromRoute, goesBefore, type Overtaking, toPath, toRoute } from "../route_forms.ts";
import { type PlannedRoute, PROTOCOL_BGP, PROTOCOL_OWN, sameRoute } from "../route_plan.ts";
import { isGone } from "./gone.ts";
import { Later } from "../later.ts";
import type { LinkTable } from "./link_table.ts";
import {
  asSeen,
  entriesOf,
  hasOurProtocol,
  inOurPlace,
  mending,
  withEntry,
  withoutEntry,
} from "./route_entries.ts";

/**
 * Milliseconds. An interface so young may have routes of an endpoint that we have not heard of yet
 * (Felix: 10 s); a block keeps its former way so long while its tunnel is not ready.
 */
const GRACE = 10_000;

/** What others have in the table, as far as it matters to ours. */
interface OthersRoutes {
  readonly paths: readonly KernelPath[];
  readonly overtaking: readonly Overtaking[];
}

function othersRoutes(table: readonly Route[]): OthersRoutes {
  return {
    paths: table.map(toPath).filter((path) => path !== undefined),
    overtaking: table.map(goesBefore).filter((route) => route !== undefined),
  };
}

type Put = [key: string, desired: PlannedRoute, actual: PlannedRoute | undefined];

export class RoutePart {
  readonly reconciler: Reconciler<PlannedRoute>;
  readonly #links: LinkTable;
  readonly #later: Later;
  #others: OthersRoutes | undefined;
  #awaited: ReadonlySet<string> = new Set();
  /** When a route was first seen whose tunnel is awaited. */
  readonly #awaitedSince = new Map<string, number>();

  constructor(
    links: LinkTable,
    readonly mayForget: (key: string, gateways: readonly (Ip | undefined)[]) => boolean,
    onDue: () => void,
    readonly grace = GRACE,
  ) {
    this.#links = links;
    this.#later = new Later(() => {
      this.reconciler.touchAll();
      onDue();
    });
    this.reconciler = new Reconciler<PlannedRoute>({
      name: "route",
      read: () => this.#read(),
      same: (desired, actual) => sameRoute(desired, actual) && !actual.beside?.some(hasOurProtocol),
      put: (key, desired, actual) => {
        const failed = this.#put([[key, desired, actual]]);
        if (failed.length > 0) throw failed[0][1];
      },
      putMany: (items) => this.#put(items),
      remove: (key, actual) => {
        const failed = this.#remove([[key, actual]]);
        if (failed.length > 0) throw failed[0][1];
      },
      afterPut: (desired, actual) => mending(desired, actual).after,
      afterRemoval: (actual) =>
        actual.beside && asSeen(entriesOf(actual).filter((entry) => !this.#canGo(entry))),
      removeMany: (items) => this.#remove(items),
      ours: (key, actual) => this.#mayRemove(key, actual),
    });
  }

  close(): void {
    this.#later.cancel();
  }

  /** Blocks that are about to get a tunnel. */
  setAwaited(awaited: ReadonlySet<string>): void {
    this.#awaited = awaited;
    for (const key of this.#awaitedSince.keys()) {
      if (!awaited.has(key)) this.#awaitedSince.delete(key);
    }
  }

  /** Whether the table holds a route of ours, of either protocol: `paths` leaves both out. */
  holdsOurs(): boolean {
    return this.#links.socket.routes({ table: RT_TABLE_MAIN }).some(({ protocol }) =>
      protocol === PROTOCOL_OWN || protocol === PROTOCOL_BGP
    );
  }

  /** Others' ways to next hops, as the table has them. */
  paths(): readonly KernelPath[] {
    return this.#othersRoutes().paths;
  }

  /** Routes of ours that others' go before, each with what to do. */
  overtaken(): string[] {
    return this.#othersRoutes().overtaking.flatMap(({ prefix, text }) => {
      const key = formatPrefix(prefix);
      return this.reconciler.holds(key) ? [`route ${key}: ${text}`] : [];
    });
  }

  #othersRoutes(): OthersRoutes {
    return this.#others ??= othersRoutes(this.#table());
  }

  #table(): Route[] {
    return this.#links.socket.routes({ table: RT_TABLE_MAIN })
      .filter((route) => !this.isPodLinksOwn(route));
  }

  /**
   * The link-local subnet that the kernel itself gives to every interface with IPv6, if it is a pod's: no
   * next hop is reached by it, and nothing of ours stands in its place. It comes with each pod, who is
   * not to cost a new plan of everything.
   */
  isPodLinksOwn({ protocol, destination: { ip }, hops = [] }: Route): boolean {
    return protocol === RTPROT_KERNEL && ip.family === 6 && isLinkLocal(ip) && hops.length > 0 &&
      hops.every(({ oif = 0 }) => this.#links.isEndpoint(oif));
  }

  /** Somebody else's routes have changed. */
  pathsChanged(): void {
    this.#others = undefined;
  }

  #read(): Map<string, PlannedRoute> {
    const routes = new Map<string, PlannedRoute>();
    const table = this.#table();
    for (const route of table) {
      const planned = fromRoute(route);
      if (planned) {
        const key = formatPrefix(route.destination);
        const before = routes.get(key);
        routes.set(key, before ? asSeen([...entriesOf(before), planned])! : planned);
      }
    }
    this.#others = othersRoutes(table);
    return routes;
  }

  /** Somebody else has changed the table: what it now has of the prefix. */
  observed(route: Route, place: RoutePlace, gone: boolean): void {
    const planned = fromRoute(route);
    if (!planned) return;
    const key = formatPrefix(route.destination);
    const seen = this.reconciler.seen(key);
    this.reconciler.observed(
      key,
      gone ? withoutEntry(seen, planned) : withEntry(seen, planned, place),
    );
  }

  /** Routes that are gone without a word of the kernel. */
  forget(such: (route: PlannedRoute) => boolean): void {
    const left = new Map<string, PlannedRoute>();
    this.reconciler.forget((key, seen) => {
      if (!seen.beside) return such(seen);
      const entries = entriesOf(seen);
      const rest = entries.filter((entry) => !such(entry));
      if (rest.length > 0) left.set(key, asSeen(rest)!);
      return rest.length < entries.length;
    });
    for (const [key, rest] of left) this.reconciler.observed(key, rest);
  }

  #remove(items: [key: string, actual: PlannedRoute][]): [string, Error][] {
    return this.#delete(
      items.flatMap(([key, actual]) =>
        entriesOf(actual).filter((entry) => this.#canGo(entry))
          .map((entry): [string, PlannedRoute] => [key, entry])
      ),
    );
  }

  #delete(entries: [key: string, entry: PlannedRoute][]): [string, Error][] {
    if (entries.length === 0) return [];
    // First those that their way names: what names none takes the first of its protocol.
    const named = entries.filter(([, { hops }]) => hops.length === 1);
    const rest = entries.filter(([, { hops }]) => hops.length !== 1);
    const keys = new Map([...named, ...rest].map(([key, entry]) => [toRoute(entry), key]));
    return this.#links.socket.deleteRoutes([...keys.keys()])
      .filter(({ error }) => !isGone(error))
      .map(({ item, error }) => [keys.get(item)!, error]);
  }

  #put(items: Put[]): [string, Error][] {
    const failed = new Map<string, Error>();
    const wanted = new Map<Route, Put>();
    const inTheWay: [key: string, entry: PlannedRoute][] = [];
    for (const item of items) {
      const [key, desired, actual] = item;
      // The addresses of our endpoints, our blocks and tunnels are ours, whoever put a route to them.
      if (actual && desired.protocol === PROTOCOL_BGP && this.#isOthers(actual)) {
        failed.set(
          key,
          new Error(
            `a route of protocol ${actual.protocol} stands in its place; remove it, or give it ` +
              "another metric",
          ),
        );
        this.#removeFormer(item, failed);
        continue;
      }
      const { remove, put, replaces } = mending(desired, actual);
      for (const entry of remove) inTheWay.push([key, entry]);
      if (!put) continue;
      // The kernel looks the far end of an IPv6 tunnel up in the table, where the block's former way
      // leads elsewhere: it would refuse the gateway as being on another device.
      const leadsElsewhere = replaces && desired.prefix.ip.family === 6 &&
        desired.hops.some((hop) => hop.onlink && replaces.hops.some((old) => old.oif !== hop.oif));
      if (leadsElsewhere) inTheWay.push([key, replaces]);
      wanted.set(toRoute(desired), item);
    }
    for (const [key, error] of this.#delete(inTheWay)) failed.set(key, error);
    for (const { item, error } of this.#links.socket.putRoutes([...wanted.keys()])) {
      const former = wanted.get(item)!;
      const [key, desired] = former;
      failed.set(key, error);
      // An entry that we do not know of stands beside it.
      if (isKernelError(error, "EEXIST")) this.reconciler.doubt();
      if (desired.protocol === PROTOCOL_BGP) this.#removeFormer(former, failed);
    }
    return [...failed];
  }

  /** What a prefix had of ours leads where it should lead no more. */
  #removeFormer([key, desired, actual]: Put, failed: Map<string, Error>): void {
    const entries = entriesOf(actual);
    const former = entries.filter((entry) => this.#canGo(entry) && !sameRoute(desired, entry));
    if (former.length === 0) return;
    const [refused] = this.#delete(former.map((entry) => [key, entry]));
    if (refused) return void failed.set(...refused);
    this.reconciler.observed(key, asSeen(entries.filter((entry) => !former.includes(entry))));
    const why = failed.get(key)!;
    failed.set(key, new Error(`${why.message}; the way that it had is removed`, { cause: why }));
  }

  #isOthers(actual: PlannedRoute): boolean {
    return inOurPlace(actual) && !this.#isOurs(actual);
  }

  #isOurs(route: PlannedRoute): boolean {
    return route.protocol === PROTOCOL_OWN || route.protocol === PROTOCOL_BGP ||
      this.#onOurLink(route);
  }

  #onOurLink({ hops }: PlannedRoute): boolean {
    return hops.length > 0 &&
      hops.every(({ oif }) =>
        this.#links.isEndpoint(oif) || this.#links.tunnelFamily(oif) !== undefined
      );
  }

  /** Ours to be removed; what the kernel itself has put there is not. */
  #canGo(route: PlannedRoute): boolean {
    return route.protocol !== RTPROT_KERNEL && this.#isOurs(route);
  }

  #mayRemove(key: string, actual: PlannedRoute): boolean {
    if (this.#awaited.has(key) && this.#awaits(key)) return false;
    if (!actual.beside) return this.#canGo(actual) && this.#mayRemoveEntry(key, actual);
    const ours = entriesOf(actual).filter((entry) => this.#canGo(entry));
    return ours.length > 0 && ours.every((entry) => this.#mayRemoveEntry(key, entry));
  }

  #mayRemoveEntry(key: string, route: PlannedRoute): boolean {
    if (route.protocol === PROTOCOL_BGP) {
      return this.mayForget(key, route.hops.map((hop) => hop.gateway));
    }
    if (!this.#links.ipv6 && route.prefix.ip.family === 6) return false;
    for (const { oif } of route.hops) {
      if (!this.#links.isEndpoint(oif)) continue;
      const age = this.#links.age(oif);
      if (age >= this.grace) continue;
      this.#later.in(this.grace - age);
      return false;
    }
    return true;
  }

  /** Within its grace a block keeps the way that it had until the tunnel is there. */
  #awaits(key: string): boolean {
    const now = performance.now();
    const since = this.#awaitedSince.get(key) ?? now;
    this.#awaitedSince.set(key, since);
    if (now - since >= this.grace) return false;
    this.#later.in(this.grace - (now - since));
    return true;
  }
}
