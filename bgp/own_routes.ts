/**
 * Our own routes as the table holds them. The whole list is given each time; routes that say the same
 * as before stay the objects that they were, so that nothing is told again to anybody.
 */
import { formatIp } from "../mod/net/mod.ts";
import type { LocalRoute } from "./config.ts";
import type { Attributes } from "./message/attributes.ts";
import { keyOf, type PrefixKey } from "./prefix_key.ts";
import type { LocRib } from "./rib/loc_rib.ts";
import { LOCAL, Route } from "./rib/route.ts";

export class OwnRoutes {
  readonly #routes = new Map<PrefixKey, Route>();
  /** One object for all routes with equal attributes, so that they share UPDATEs. */
  #attributes = new Map<string, Attributes>();

  constructor(private readonly table: LocRib) {}

  /** Puts these in place of the former ones; of two with one prefix the later counts. */
  replace(routes: readonly LocalRoute[], now: number): void {
    const former = this.#attributes;
    const attributes = new Map<string, Attributes>();
    const wanted = new Map<PrefixKey, LocalRoute>();
    for (const route of routes) wanted.set(keyOf(route.prefix), route);
    for (const [key, route] of wanted) {
      const text = attributesText(route);
      const made = attributes.get(text) ?? former.get(text) ?? attributesOf(route);
      attributes.set(text, made);
      const old = this.#routes.get(key);
      if (old && old.attributes === made && old.tag === route.tag) continue;
      const fresh = new Route(key, LOCAL, made, made, now, undefined, route.tag);
      this.#routes.set(key, fresh);
      this.table.set(fresh, old);
    }
    for (const [key, route] of this.#routes) {
      if (wanted.has(key)) continue;
      this.#routes.delete(key);
      this.table.remove(route);
    }
    this.#attributes = attributes;
  }
}

function attributesText(route: LocalRoute): string {
  const { nextHop, med, localPref, communities, largeCommunities } = route;
  return JSON.stringify([
    nextHop && formatIp(nextHop),
    med,
    localPref,
    communities,
    largeCommunities,
  ]);
}

function attributesOf(route: LocalRoute): Attributes {
  const { nextHop, med, localPref, communities, largeCommunities } = route;
  return {
    origin: 0,
    asPath: [],
    ...(nextHop && { nextHop }),
    ...(med !== undefined && { med }),
    ...(localPref !== undefined && { localPref }),
    ...(communities?.length && { communities }),
    ...(largeCommunities?.length && { largeCommunities }),
  };
}
