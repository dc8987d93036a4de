/**
 * The table: for each prefix all routes to it, and which of them is used. Changes only mark a prefix;
 * `settle` decides all marked ones at once, so that ten thousand prefixes that come in one turn are
 * decided once each, and a route that is replaced in the same turn is never seen.
 */
import type { PrefixKey } from "../prefix_key.ts";
import { decide, type Decision, type DecisionContext } from "./decision.ts";
import type { Route } from "./route.ts";

const NONE: readonly Route[] = [];

export class Destination {
  /** Never changed in place: with one route, by far the most common case, `used` is this very list. */
  routes: readonly Route[] = NONE;
  best: Route | undefined;
  used: readonly Route[] = NONE;

  constructor(readonly key: PrefixKey) {}
}

/** What has become of a prefix: `destination.routes` is empty where it is gone. */
export interface Change {
  readonly destination: Destination;
  readonly bestChanged: boolean;
  readonly usedChanged: boolean;
}

export class LocRib {
  readonly #destinations = new Map<PrefixKey, Destination>();
  readonly #dirty = new Set<Destination>();

  constructor(private readonly context: DecisionContext) {}

  get size(): number {
    return this.#destinations.size;
  }

  get unsettled(): boolean {
    return this.#dirty.size > 0;
  }

  get(key: PrefixKey): Destination | undefined {
    return this.#destinations.get(key);
  }

  all(): Iterable<Destination> {
    return this.#destinations.values();
  }

  /** Puts the route in place of `former`, the one of the same source for the same prefix. */
  set(route: Route, former?: Route): void {
    let destination = this.#destinations.get(route.key);
    if (!destination) {
      destination = new Destination(route.key);
      this.#destinations.set(route.key, destination);
    }
    const { routes } = destination;
    if (routes.length === 0 || (routes.length === 1 && routes[0] === former)) {
      destination.routes = [route];
    } else if (former && routes.includes(former)) {
      destination.routes = routes.map((r) => r === former ? route : r);
    } else destination.routes = routes.concat(route);
    this.#dirty.add(destination);
  }

  remove(route: Route): void {
    const destination = this.#destinations.get(route.key);
    if (!destination?.routes.includes(route)) return;
    destination.routes = destination.routes.length === 1
      ? NONE
      : destination.routes.filter((r) => r !== route);
    this.#dirty.add(destination);
  }

  /** Every prefix is to be decided anew. */
  touchAll(): void {
    for (const destination of this.#destinations.values()) this.#dirty.add(destination);
  }

  /** Decides what is marked, and gives what has changed by it. */
  settle(): Change[] {
    const changes: Change[] = [];
    for (const destination of this.#dirty) {
      const { best, used } = decide(destination.routes, this.context);
      const bestChanged = best !== destination.best;
      const usedChanged = !sameRoutes(used, destination.used);
      destination.best = best;
      if (usedChanged) destination.used = used;
      if (destination.routes.length === 0) this.#destinations.delete(destination.key);
      if (bestChanged || usedChanged) changes.push({ destination, bestChanged, usedChanged });
    }
    this.#dirty.clear();
    return changes;
  }

  /** The decision about one prefix again, with a reason for each of its routes. */
  explain(destination: Destination): { decision: Decision; why: Map<Route, string> } {
    const why = new Map<Route, string>();
    return { decision: decide(destination.routes, this.context, why), why };
  }
}

function sameRoutes(a: readonly Route[], b: readonly Route[]): boolean {
  return a.length === b.length && a.every((route, i) => route === b[i]);
}
