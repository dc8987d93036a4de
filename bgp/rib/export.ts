/**
 * What a peer is told of a best route: whether at all (RFC 4271 9.1.3, RFC 4456, RFC 1997, our filter),
 * and with which attributes (RFC 4271 section 5.1).
 *
 *   to an external peer   our AS is put before the path, LOCAL_PREF and reflection attributes go,
 *                         MED stays only if it is ours, the next hop is ours
 *   to an internal peer   LOCAL_PREF is there; routes from internal peers go on only by reflection,
 *                         with ORIGINATOR_ID and our CLUSTER_LIST entry
 *
 * The attributes depend on the route's attributes and source and on the peer's class alone, so they
 * are made once for all peers alike (`ExportClass`), and equal attributes stay one object.
 */
import type { Ip } from "../../mod/net/mod.ts";
import type { AddressFamily, RouteFilter } from "../config.ts";
import {
  type Attributes,
  NO_ADVERTISE,
  NO_EXPORT,
  NO_EXPORT_SUBCONFED,
  prependAs,
} from "../message/attributes.ts";
import { keyFamily, prefixOfKey } from "../prefix_key.ts";
import type { Route, RouteSource } from "./route.ts";

/** What attributes towards a peer depend on. */
export interface ExportRules {
  readonly internal: boolean;
  readonly localAs: number;
  readonly nextHop: "auto" | "self" | "keep";
  /** Our own address in each family, for next hop self. */
  readonly self: Readonly<Partial<Record<AddressFamily, Ip>>>;
  readonly clusterId: number;
}

/** Peers with equal rules share the attributes that they are sent. */
export class ExportClass {
  readonly #made = new WeakMap<RouteSource, WeakMap<Attributes, Record<string, Attributes>>>();

  constructor(readonly rules: ExportRules) {}

  /** The attributes as a peer of this class is told them; undefined where we have no next hop. */
  transform(
    source: RouteSource,
    attributes: Attributes,
    family: AddressFamily,
  ): Attributes | undefined {
    let bySource = this.#made.get(source);
    if (!bySource) this.#made.set(source, bySource = new WeakMap());
    let byFamily = bySource.get(attributes);
    if (!byFamily) bySource.set(attributes, byFamily = {});
    const known = byFamily[family];
    if (known) return known;
    const made = transform(this.rules, source, attributes, family);
    if (made) byFamily[family] = made;
    return made;
  }
}

function transform(
  rules: ExportRules,
  source: RouteSource,
  attributes: Attributes,
  family: AddressFamily,
): Attributes | undefined {
  const own = source.kind === "local";
  const self = rules.nextHop === "self" || attributes.nextHop === undefined ||
    (rules.nextHop === "auto" && !rules.internal && !own);
  const hop = self ? rules.self[family] : attributes.nextHop;
  if (!hop) return undefined;
  const { linkLocal, localPref, originatorId, clusterList, med, ...common } = attributes;
  const result: { -readonly [K in keyof Attributes]: Attributes[K] } = { ...common, nextHop: hop };
  if (!self && linkLocal && rules.internal) result.linkLocal = linkLocal;
  if (!rules.internal) {
    result.asPath = prependAs(attributes.asPath, [rules.localAs]);
    if (own && med !== undefined) result.med = med;
    return result;
  }
  result.localPref = localPref ?? 100;
  if (med !== undefined) result.med = med;
  if (!own && source.internal) {
    result.originatorId = originatorId ?? source.routerId;
    result.clusterList = [rules.clusterId, ...(clusterList ?? [])];
  }
  return result;
}

/** The peer that a route might be told to. */
export interface ExportTarget {
  readonly name: string;
  readonly client: boolean;
  readonly class: ExportClass;
  readonly filter?: RouteFilter;
}

/** The attributes for the peer, or undefined where it is not told of the route. */
export function exportRoute(route: Route, target: ExportTarget): Attributes | undefined {
  const { source } = route;
  const { internal } = target.class.rules;
  if (source.name === target.name && source.kind === "peer") return undefined;
  if (
    source.kind === "peer" && source.internal && internal && !source.client && !target.client
  ) return undefined;
  for (const community of route.attributes.communities ?? []) {
    if (community === NO_ADVERTISE) return undefined;
    if (!internal && (community === NO_EXPORT || community === NO_EXPORT_SUBCONFED)) {
      return undefined;
    }
  }
  let { attributes } = route;
  if (target.filter) {
    const verdict = target.filter.judge({
      prefix: prefixOfKey(route.key),
      attributes,
      local: source.kind === "local" ? { tag: route.tag } : undefined,
      from: source.kind === "peer"
        ? { peer: source.name, as: source.as, internal: source.internal }
        : undefined,
    });
    if (!verdict.accept) return undefined;
    attributes = verdict.attributes ?? attributes;
  }
  return target.class.transform(source, attributes, keyFamily(route.key));
}
