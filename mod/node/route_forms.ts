/**
 * Routes as the kernel has them and as the plan has them, one made of the other. Only routes of our
 * metric can stand where ours would; others' of another metric, or for one TOS, are nobody's rivals and
 * stay. Of our own protocols there is to be none. Where others' go before ours (`goesBefore`), somebody
 * has said that they should, and it is told.
 */
import { type Route, RT_TABLE_MAIN } from "../../ffi/route/route.ts";
import { compareIp, type Family, formatPrefix, type Ip, type Prefix } from "../net/mod.ts";
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
  const { destination, hops = [], type = "unicast", tos = 0, protocol = 0, from } = route;
  const { family } = destination.ip;
  if (!isRouteForm(type)) return undefined;
  const metric = route.priority ?? METRIC[family];
  const elsewhere = tos !== 0 || from !== undefined || metric !== METRIC[family];
  if (elsewhere && protocol !== PROTOCOL_OWN && protocol !== PROTOCOL_BGP) return undefined;
  return {
    prefix: destination,
    protocol,
    type,
    ...astrayOf(route),
    ...(metric !== METRIC[family] && { metric }),
    ...(tos !== 0 && { tos }),
    ...(from && { from }),
    // The kernel shows a blackhole of IPv6 on lo.
    hops: type !== "unicast"
      ? []
      : hops.map(({ gateway, oif, onlink }) => ({ gateway, oif: oif ?? 0, onlink })),
  };
}

/** What we never set and it has. */
function astrayOf(route: Route): Pick<PlannedRoute, "astray"> {
  const { source, mtu, nextHopId } = route;
  const words = [route, ...route.hops ?? []].map(({ astray }) => astray).filter(Boolean).join(" ");
  if (!source && mtu === undefined && nextHopId === undefined && !words) return {};
  return {
    astray: {
      ...(source && { source }),
      ...(nextHopId !== undefined && { nextHopId }),
      ...(words && { words }),
    },
  };
}

export function toRoute(planned: PlannedRoute): Route {
  const { prefix, metric = METRIC[prefix.ip.family], tos, from, astray } = planned;
  return {
    destination: prefix,
    table: RT_TABLE_MAIN,
    protocol: planned.protocol,
    type: planned.type,
    priority: metric,
    ...(tos !== undefined && { tos }),
    ...(from && { from }),
    ...(astray?.source && { source: astray.source }),
    ...(astray?.nextHopId !== undefined && { nextHopId: astray.nextHopId }),
    hops: planned.hops.length > 1 ? [...planned.hops].sort(byGateway) : planned.hops,
  };
}

function byGateway(a: { gateway?: Ip }, b: { gateway?: Ip }): number {
  return a.gateway && b.gateway ? compareIp(a.gateway, b.gateway) : 0;
}

/** A route of others that the kernel takes instead of ours of the same prefix, and what to do. */
export interface Overtaking {
  readonly prefix: Prefix;
  readonly text: string;
}

/** IPv4's metric of ours is the best there is, IPv6's is not. */
export function goesBefore(route: Route): Overtaking | undefined {
  const { destination: prefix, protocol = 0, type = "unicast", tos = 0, from, priority } = route;
  const { family } = prefix.ip;
  if (protocol === PROTOCOL_BGP || protocol === PROTOCOL_OWN || !isRouteForm(type)) {
    return undefined;
  }
  const what = `a route of protocol ${protocol}`;
  const metric = priority ?? METRIC[family];
  if (from) {
    const packets = `packets from ${formatPrefix(from)}`;
    return { prefix, text: `${what} goes before it for ${packets}; remove it` };
  }
  if (tos !== 0) {
    return { prefix, text: `${what} goes before it for packets of TOS ${tos}; remove it` };
  }
  if (metric >= METRIC[family]) return undefined;
  const remedy = `remove it, or give it a metric above ${METRIC[family]}`;
  return { prefix, text: `${what} goes before it by its metric ${metric}; ${remedy}` };
}

/** A route of others that next hops may be resolved through; ours and BGP's are told of by the plan. */
export function toPath(route: Route): KernelPath | undefined {
  const { destination, protocol = 0, priority = 0, type = "unicast", tos = 0 } = route;
  if (protocol === PROTOCOL_BGP || protocol === PROTOCOL_OWN || !isRouteForm(type)) {
    return undefined;
  }
  // Packets without that TOS, or of other sources, do not take it.
  if (tos !== 0 || route.from) return undefined;
  const path = { prefix: destination, protocol, metric: priority, type };
  if (type !== "unicast") return path;
  const hop = route.hops?.[0];
  if (hop?.oif === undefined) return undefined;
  const { gateway, oif, onlink } = hop;
  return { ...path, hop: { gateway, oif, onlink } };
}
