/**
 * Adj-RIB-In: what one peer has told us, with our import rules applied. It feeds the table and knows
 * which routes are stale: kept from a session that is over (graceful restart, RFC 4724), or not yet
 * repeated in a refresh (RFC 7313). A route that comes again as it was only ceases to be stale; the
 * table does not hear of it.
 */
import type { AddressFamily } from "../config.ts";
import type { Attributes } from "../message/attributes.ts";
import { keyFamily, type PrefixKey } from "../prefix_key.ts";
import type { LocRib } from "./loc_rib.ts";
import { Route, type RouteSource } from "./route.ts";

/** What the import rules make of a route. */
export interface Judgement {
  readonly attributes: Attributes;
  readonly blocked?: string;
}

export type ImportRules = (key: PrefixKey, received: Attributes) => Judgement;

export class AdjRibIn {
  readonly #routes = new Map<PrefixKey, Route>();
  #accepted = 0;
  #stale = 0;

  constructor(private readonly table: LocRib) {}

  get size(): number {
    return this.#routes.size;
  }

  get accepted(): number {
    return this.#accepted;
  }

  get stale(): number {
    return this.#stale;
  }

  announce(
    key: PrefixKey,
    received: Attributes,
    source: RouteSource,
    now: number,
    rules: ImportRules,
  ): void {
    const former = this.#routes.get(key);
    if (former?.received === received && former.source === source) {
      this.#refresh(former);
      return;
    }
    const { attributes, blocked } = rules(key, received);
    this.#put(new Route(key, source, received, attributes, now, blocked), former);
  }

  withdraw(key: PrefixKey): void {
    const route = this.#routes.get(key);
    if (route) this.#drop(route);
  }

  /** All routes of the family become stale, if they are not already. */
  markStale(family: AddressFamily): void {
    for (const route of this.#routes.values()) {
      if (keyFamily(route.key) !== family || route.stale) continue;
      route.stale = true;
      this.#stale++;
    }
  }

  /** Drops the stale routes of the family; returns how many. */
  sweep(family: AddressFamily): number {
    if (this.#stale === 0) return 0;
    let swept = 0;
    for (const route of this.#routes.values()) {
      if (!route.stale || keyFamily(route.key) !== family) continue;
      this.#drop(route);
      swept++;
    }
    return swept;
  }

  /** Drops all routes, or those of one family. */
  clear(family?: AddressFamily): void {
    for (const route of this.#routes.values()) {
      if (family === undefined || keyFamily(route.key) === family) this.#drop(route);
    }
  }

  /** The import rules have changed. */
  rejudge(rules: ImportRules): void {
    for (const former of [...this.#routes.values()]) {
      const { attributes, blocked } = rules(former.key, former.received);
      if (attributes === former.attributes && blocked === former.blocked) continue;
      const { key, source, received, since, stale } = former;
      this.#put(new Route(key, source, received, attributes, since, blocked), former);
      if (stale) this.#markOne(this.#routes.get(key)!);
    }
  }

  count(family: AddressFamily): number {
    let n = 0;
    for (const key of this.#routes.keys()) if (keyFamily(key) === family) n++;
    return n;
  }

  #markOne(route: Route): void {
    route.stale = true;
    this.#stale++;
  }

  #refresh(route: Route): void {
    if (!route.stale) return;
    route.stale = false;
    this.#stale--;
  }

  #put(route: Route, former: Route | undefined): void {
    if (former) this.#forget(former);
    this.#routes.set(route.key, route);
    if (route.blocked === undefined) this.#accepted++;
    this.table.set(route, former);
  }

  #drop(route: Route): void {
    this.#forget(route);
    this.#routes.delete(route.key);
    this.table.remove(route);
  }

  #forget(route: Route): void {
    if (route.stale) this.#stale--;
    if (route.blocked === undefined) this.#accepted--;
  }
}
