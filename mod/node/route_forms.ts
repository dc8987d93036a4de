/**
 * Routes as the kernel has them and as the plan has them, one made of the other. Only routes of our
 * metric can stand where ours would; others' of another metric, or for one TOS, are nobody's rivals. Of
 * our own protocols there is to be none.
 */
import { type Route, RT_TABLE_MAIN } from "../../ffi/route/route.ts";
import { compareIp, type Family, type Ip } from "../net/mod.ts";
import type { KernelPath } from "./next_hops.ts";
import { type PlannedRoute, PROTOCOL_BGP, PROTOCOL_OWN } from "./route_plan.ts";

/** The metric under which our routes stand. */
const METRIC: Record<Family, number> = { 4: 0, 6: 1024 };

/** Types that can stand where one of ours would. */
const FORMS: ReadonlySet<string> = new Set([
  "unicast",
  "blackhole",
  "unreachable",
  "prohibit",
  "throw",
]);

function isRouteForm(type: string): type is PlannedRoute["type"] {
  return FORMS.has(type);
}

/**
 * A route of the kernel as one that may stand where ours would, or has a protocol of ours; undefined
 * for all others.
 */
export function fromRoute(route: Route): PlannedRoute | undefined {
  const { destination, hops = [], type = "unicast", tos = 0, protocol = 0 } = route;
  const { family } = destination.ip;
  if (!isRouteForm(type)) return undefined;
  const metric = route.priority ?? METRIC[family];
  const elsewhere = tos !== 0 || metric !== METRIC[family];
  if (elsewhere && protocol !== PROTOCOL_OWN && protocol !== PROTOCOL_BGP) return undefined;
  return {
    prefix: destination,
    protocol,
    type,
    ...((route.source || route.mtu !== undefined) && { astray: { source: route.source } }),
    ...(metric !== METRIC[family] && { metric }),
    ...(tos !== 0 && { tos }),
    // The kernel shows a blackhole of IPv6 on lo.
    hops: type !== "unicast"
      ? []
      : hops.map(({ gateway, oif, onlink }) => ({ gateway, oif: oif ?? 0, onlink })),
  };
}

export function toRoute(planned: PlannedRoute): Route {
  const { prefix, metric = METRIC[prefix.ip.family], tos, astray } = planned;
  return {
    destination: prefix,
    table: RT_TABLE_MAIN,
    protocol: planned.protocol,
    type: planned.type,
    priority: metric,
    ...(tos !== undefined && { tos }),
    ...(astray?.source && { source: astray.source }),
    hops: planned.hops.length > 1 ? [...planned.hops].sort(byGateway) : planned.hops,
  };
}

function byGateway(a: { gateway?: Ip }, b: { gateway?: Ip }): number {
  return a.gateway && b.gateway ? compareIp(a.gateway, b.gateway) : 0;
}

/** A route of others that next hops may be resolved through; ours and BGP's are told of by the plan. */
export function toPath(route: Route): KernelPath | undefined {
  const { destination, protocol = 0, priority = 0, type = "unicast", tos = 0 } = route;
  if (protocol === PROTOCOL_BGP || protocol === PROTOCOL_OWN || !isRouteForm(type)) {
    return undefined;
  }
  // Packets without that TOS do not take it.
  if (tos !== 0) return undefined;
  const path = { prefix: destination, protocol, metric: priority, type };
  if (type !== "unicast") return path;
  const hop = route.hops?.[0];
  if (hop?.oif === undefined) return undefined;
  const { gateway, oif, onlink } = hop;
  return { ...path, hop: { gateway, oif, onlink } };
}
