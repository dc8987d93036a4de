/**
 * Adj-RIB-In: what one peer has told us, with our import rules applied. It feeds the table and knows
 * which routes are stale: kept from a session that is over (graceful restart, RFC 4724), or not yet
 * repeated in a refresh (RFC 7313); `stale_routes.ts` says for how long. A route that comes again as it was only ceases to be stale; the
 * table does not hear of it.
 */
import type { AddressFamily } from "../config.ts";
import type { Attributes } from "../message/attributes.ts";
import { keyFamily, type PrefixKey } from "../prefix_key.ts";
import type { LocRib } from "./loc_rib.ts";
import { Route, type RouteSource, type StaleMark } from "./route.ts";

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
  /** Routes of each mark. */
  readonly #marks = new Map<StaleMark, number>();

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

  /** The marks that routes bear now. */
  marks(): StaleMark[] {
    return [...this.#marks.keys()];
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
      this.#mark(former, undefined);
      return;
    }
    const { attributes, blocked } = rules(key, received);
    this.#put(new Route(key, source, received, attributes, now, blocked), former);
  }

  withdraw(key: PrefixKey): void {
    const route = this.#routes.get(key);
    if (route) this.#drop(route);
  }

  /** All routes of the family become stale; of two marks the one with the earlier deadline stays. */
  markStale(family: AddressFamily, mark: StaleMark): void {
    for (const route of this.#routes.values()) {
      if (keyFamily(route.key) !== family) continue;
      if (route.mark && route.mark.deadline <= mark.deadline) continue;
      this.#mark(route, mark);
    }
  }

  /** Drops the stale routes of the family, or those whose mark is such; returns how many. */
  sweep(family: AddressFamily, such?: (mark: StaleMark) => boolean): number {
    if (this.#stale === 0 || (such && !this.marks().some(such))) return 0;
    let swept = 0;
    for (const route of this.#routes.values()) {
      if (!route.mark || keyFamily(route.key) !== family || such?.(route.mark) === false) continue;
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
      const { key, source, received, since, mark } = former;
      this.#put(new Route(key, source, received, attributes, since, blocked), former);
      this.#mark(this.#routes.get(key)!, mark);
    }
  }

  count(family: AddressFamily): number {
    let n = 0;
    for (const key of this.#routes.keys()) if (keyFamily(key) === family) n++;
    return n;
  }

  #mark(route: Route, mark: StaleMark | undefined): void {
    const { mark: former } = route;
    if (former === mark) return;
    if (former) {
      const left = this.#marks.get(former)! - 1;
      if (left > 0) this.#marks.set(former, left);
      else this.#marks.delete(former);
      this.#stale--;
    }
    if (mark) {
      this.#marks.set(mark, (this.#marks.get(mark) ?? 0) + 1);
      this.#stale++;
    }
    route.mark = mark;
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
    this.#mark(route, undefined);
    if (route.blocked === undefined) this.#accepted--;
  }
}
