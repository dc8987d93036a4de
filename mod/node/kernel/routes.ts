/**
 * The main table as far as it is ours: protocols 80 and 81, and whatever stands on pods' interfaces
 * and VXLAN devices. What BGP has learned does not overwrite a route that somebody else set.
 *
 * Three reasons let a route stay that nobody desires: BGP may not forget it yet (a former process
 * learned it), its interface is so young that its endpoint may not be known yet, or its block is about
 * to get a tunnel that is not ready.
 */
import { type Route, RT_TABLE_MAIN, RTPROT_KERNEL } from "../../../ffi/route/route.ts";
import { formatPrefix } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import type { KernelPath } from "../next_hops.ts";
import { fromRoute, toPath, toRoute } from "../route_forms.ts";
import { type PlannedRoute, PROTOCOL_BGP, PROTOCOL_OWN, sameRoute } from "../route_plan.ts";
import { gone, isGone } from "./gone.ts";
import { Later } from "../later.ts";
import type { LinkTable } from "./link_table.ts";

/**
 * Milliseconds. An interface so young may have routes of an endpoint that we have not heard of yet
 * (Felix: 10 s); a block keeps its former way so long while its tunnel is not ready.
 */
const GRACE = 10_000;

type Put = [key: string, desired: PlannedRoute, actual: PlannedRoute | undefined];

export class RoutePart {
  readonly reconciler: Reconciler<PlannedRoute>;
  readonly #links: LinkTable;
  readonly #later: Later;
  #paths: KernelPath[] | undefined;
  #awaited: ReadonlySet<string> = new Set();
  /** When a route was first seen whose tunnel is awaited. */
  readonly #awaitedSince = new Map<string, number>();

  constructor(
    links: LinkTable,
    readonly mayForget: (key: string) => boolean,
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
      same: sameRoute,
      put: (key, desired, actual) => {
        const failed = this.#put([[key, desired, actual]]);
        if (failed.length > 0) throw failed[0][1];
      },
      putMany: (items) => this.#put(items),
      remove: (_key, actual) => gone(() => links.socket.deleteRoute(toRoute(actual))),
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
    return this.#paths ??= this.#links.socket.routes({ table: RT_TABLE_MAIN }).map(toPath)
      .filter((path) => path !== undefined);
  }

  /** Somebody else's routes have changed. */
  pathsChanged(): void {
    this.#paths = undefined;
  }

  #read(): Map<string, PlannedRoute> {
    const routes = new Map<string, PlannedRoute>();
    const paths: KernelPath[] = [];
    for (const route of this.#links.socket.routes({ table: RT_TABLE_MAIN })) {
      const planned = fromRoute(route);
      if (planned) routes.set(formatPrefix(route.destination), planned);
      const path = toPath(route);
      if (path) paths.push(path);
    }
    this.pathsChanged();
    this.#paths = paths;
    return routes;
  }

  #remove(items: [key: string, actual: PlannedRoute][]): [string, Error][] {
    const routes = items.map(([, actual]) => toRoute(actual));
    return this.#links.socket.deleteRoutes(routes).filter(({ error }) => !isGone(error))
      .map(({ item, error }) => [items[routes.indexOf(item)][0], error]);
  }

  #put(items: Put[]): [string, Error][] {
    const failed: [string, Error][] = [];
    const wanted = new Map<Route, string>();
    for (const [key, desired, actual] of items) {
      // The addresses of our endpoints, our blocks and tunnels are ours, whoever put a route to them.
      const contested = actual && !this.#isOurs(actual) && desired.protocol === PROTOCOL_BGP;
      if (contested) {
        failed.push([
          key,
          new Error(
            `a route of protocol ${actual.protocol} stands in its place; remove it, or give it ` +
              "another metric",
          ),
        ]);
        continue;
      }
      // The kernel looks the far end of an IPv6 tunnel up in the table, where the block's former way
      // leads elsewhere: it would refuse the gateway as being on another device.
      const leadsElsewhere = actual && desired.prefix.ip.family === 6 &&
        desired.hops.some((hop) => hop.onlink && actual.hops.some((old) => old.oif !== hop.oif));
      if (leadsElsewhere) gone(() => this.#links.socket.deleteRoute(toRoute(actual)));
      wanted.set(toRoute(desired), key);
    }
    for (const { item, error } of this.#links.socket.putRoutes([...wanted.keys()])) {
      failed.push([wanted.get(item)!, error]);
    }
    return failed;
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

  #mayRemove(key: string, route: PlannedRoute): boolean {
    if (this.#awaited.has(key) && this.#awaits(key)) return false;
    if (route.protocol === PROTOCOL_BGP) return this.mayForget(key);
    if (route.protocol === RTPROT_KERNEL || !this.#isOurs(route)) return false;
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
