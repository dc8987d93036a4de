/** What people read of peers and routes, made of the live objects. */
import { formatIp, formatPrefix } from "../mod/net/mod.ts";
import { familiesOf } from "./check_peer.ts";
import type { BestPath, BestRouteChange, PeerStatus, RouteStatus } from "./config.ts";
import {
  type Attributes,
  formatAsPath,
  formatCommunity,
  formatId,
  ORIGIN_NAMES,
} from "./message/attributes.ts";
import { describeCapability } from "./message/capability.ts";
import type { Peer } from "./peer.ts";
import { prefixOfKey } from "./prefix_key.ts";
import type { Destination, LocRib } from "./rib/loc_rib.ts";
import type { Route } from "./rib/route.ts";
import type { Clock } from "./transport.ts";

/** A time of the clock as milliseconds since 1970. */
function wall(clock: Clock, time: number): number {
  return Math.round(clock.wallTime() + time - clock.now());
}

export function peerStatus(peer: Peer): PeerStatus {
  const { config, routes, session, counters, clock } = peer;
  const negotiated = session.state === "Established" || session.state === "OpenConfirm"
    ? session.negotiated
    : undefined;
  const local = peer.main.connection?.local.address ?? config.source;
  return {
    name: config.name,
    address: formatIp(config.address),
    port: config.port ?? 179,
    remoteAs: config.remoteAs,
    localAs: peer.localAs,
    internal: peer.localAs === config.remoteAs,
    passive: config.passive ?? false,
    state: session.state,
    since: peer.since,
    reason: peer.reason,
    lastError: peer.lastError,
    configError: peer.configError,
    localAddress: local && formatIp(local),
    routerId: negotiated && formatId(negotiated.open.routerId),
    holdTime: negotiated?.holdTime,
    families: negotiated ? [...negotiated.families] : familiesOf(config),
    capabilities: negotiated?.open.capabilities.map(describeCapability) ?? [],
    restartTime: negotiated?.restart?.time,
    staleUntil: routes.staleUntil === undefined ? undefined : wall(clock, routes.staleUntil),
    prefixes: {
      received: routes.received.size,
      accepted: routes.received.accepted,
      stale: routes.received.stale,
      sent: routes.out?.size ?? 0,
    },
    messages: { ...counters.messages },
    established: counters.established,
    malformed: { ...counters.malformed },
    endOfRib: [...routes.endOfRib],
  };
}

/** All routes to one prefix, the best first. */
export function routeStatus(
  destination: Destination,
  table: LocRib,
  clock: Clock,
): RouteStatus[] {
  const { decision, why } = table.explain(destination);
  const rank = (route: Route) =>
    route === decision.best ? 0 : decision.used.includes(route) ? 1 : 2;
  const prefix = formatPrefix(prefixOfKey(destination.key));
  return [...destination.routes].sort((a, b) => rank(a) - rank(b)).map((route) => {
    const { attributes: a, source } = route;
    return {
      prefix,
      nextHop: a.nextHop ? formatIp(a.nextHop) : "self",
      peer: source.kind === "peer" ? source.name : undefined,
      tag: route.tag,
      best: rank(route) === 0,
      used: rank(route) < 2,
      stale: route.stale,
      reason: rank(route) === 1 ? "as good as the best: used beside it" : why.get(route) ?? "",
      origin: ORIGIN_NAMES[a.origin],
      asPath: formatAsPath(a.asPath),
      localPref: a.localPref,
      med: a.med,
      communities: (a.communities ?? []).map(formatCommunity),
      largeCommunities: (a.largeCommunities ?? []).map((c) => c.join(":")),
      originatorId: a.originatorId === undefined ? undefined : formatId(a.originatorId),
      clusterList: (a.clusterList ?? []).map(formatId),
      since: wall(clock, route.since),
    };
  });
}

/** The only way of routes with these attributes: one object for all of a peer that has announced them. */
const ONLY = new WeakMap<Attributes, readonly BestPath[]>();

function bestPath({ attributes, source }: Route): BestPath {
  return {
    nextHop: attributes.nextHop!,
    linkLocal: attributes.linkLocal,
    peer: source.name,
    attributes,
  };
}

/** The learned ways to a prefix, as the kernel's reconciler takes them. */
export function bestRoute({ key, used }: Destination): BestRouteChange {
  const prefix = prefixOfKey(key);
  if (used.length !== 1) return { prefix, paths: used.map(bestPath) };
  const [{ attributes, source }] = used;
  let paths = ONLY.get(attributes);
  if (paths?.[0].peer !== source.name) ONLY.set(attributes, paths = [bestPath(used[0])]);
  return { prefix, paths: paths! };
}
