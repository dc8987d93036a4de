/**
 * Routes as the kernel has them and as the plan has them, one made of the other. Only routes of our
 * metric can stand where ours would; others are nobody's rivals.
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

/** A route of the kernel as one that may stand where ours would; undefined for other metrics, types. */
export function fromRoute(route: Route): PlannedRoute | undefined {
  const { destination, hops = [], type = "unicast", tos = 0 } = route;
  const { family } = destination.ip;
  if (!isRouteForm(type)) return undefined;
  if (tos !== 0 || (route.priority ?? METRIC[family]) !== METRIC[family]) return undefined;
  return {
    prefix: destination,
    protocol: route.protocol ?? 0,
    type,
    ...((route.source || route.mtu !== undefined) && { astray: true }),
    // The kernel shows a blackhole of IPv6 on lo.
    hops: type !== "unicast"
      ? []
      : hops.map(({ gateway, oif, onlink }) => ({ gateway, oif: oif ?? 0, onlink })),
  };
}

export function toRoute(planned: PlannedRoute): Route {
  return {
    destination: planned.prefix,
    table: RT_TABLE_MAIN,
    protocol: planned.protocol,
    type: planned.type,
    priority: METRIC[planned.prefix.ip.family],
    hops: planned.hops.length > 1 ? [...planned.hops].sort(byGateway) : planned.hops,
  };
}

function byGateway(a: { gateway?: Ip }, b: { gateway?: Ip }): number {
  return a.gateway && b.gateway ? compareIp(a.gateway, b.gateway) : 0;
}

/** A route of others that next hops may be resolved through; ours and BGP's are told of by the plan. */
export function toPath(route: Route): KernelPath | undefined {
  const { destination, protocol = 0, priority = 0, type = "unicast" } = route;
  if (protocol === PROTOCOL_BGP || protocol === PROTOCOL_OWN || !isRouteForm(type)) {
    return undefined;
  }
  const path = { prefix: destination, protocol, metric: priority, type };
  if (type !== "unicast") return path;
  const hop = route.hops?.[0];
  if (hop?.oif === undefined) return undefined;
  const { gateway, oif, onlink } = hop;
  return { ...path, hop: { gateway, oif, onlink } };
}
