/**
 * Routes: RTM_NEWROUTE and its kin, as typed objects.
 *
 * The kernel's identity of a route is family, table, destination, tos and priority; for IPv6 the sources
 * that it is for and a next hop more. `routeKey` is that identity as text, `sameRoute` compares the rest as the kernel would
 * read it back, so that desired and actual can be told apart. What the kernel fills in by itself is
 * filled in here too: IPv6 priority 0 means 1024, an IPv4 route to a device without gateway has
 * scope link, and an IPv6 blackhole stands on loopback, which is no next hop.
 *
 * Deleting says what identifies the route and leaves the rest open (scope 255, type 0, protocol 0),
 * so that a route changed by hand is still found.
 */

import {
  type Family,
  formatIp,
  formatPrefix,
  type Ip,
  type Prefix,
  sameIp,
} from "../../mod/net/mod.ts";
import { AttributeCursor, type MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import {
  type Command,
  CREATE_NEW,
  CREATE_OR_REPLACE,
  RTM_DELROUTE,
  RTM_NEWROUTE,
} from "./command.ts";
import { familyNumber, ipOf } from "./values.ts";

const RTA_DST = 1, RTA_SRC = 2, RTA_OIF = 4, RTA_GATEWAY = 5, RTA_PRIORITY = 6, RTA_PREFSRC = 7;
const RTA_METRICS = 8, RTA_MULTIPATH = 9, RTA_FLOW = 11, RTA_CACHEINFO = 12, RTA_TABLE = 15;
const RTA_VIA = 18, RTA_NEWDST = 19, RTA_PREF = 20, RTA_ENCAP_TYPE = 21, RTA_ENCAP = 22;
const RTA_TTL_PROPAGATE = 26, RTA_NH_ID = 30;
const RTAX_MTU = 2;
const RTNH_F_ONLINK = 4;
/** Not part of a route as somebody wanted it: a clone made for one destination. */
const RTM_F_CLONED = 0x200;
/** The answer is the route as it stands in its table, not what it comes to for one destination. */
const RTM_F_FIB_MATCH = 0x2000;
const RTMSG = 12;
const defaultPriority6 = 1024;

export const RT_TABLE_MAIN = 254;
export const RT_TABLE_LOCAL = 255;
/** RTPROT_…; ours are 80 (what we compute) and 81 (what BGP learned). */
export const RTPROT_KERNEL = 2;
export const RTPROT_BOOT = 3;
export const RTPROT_STATIC = 4;

/** RTN_…, by number. */
const routeTypes = [
  "unspecified",
  "unicast",
  "local",
  "broadcast",
  "anycast",
  "multicast",
  "blackhole",
  "unreachable",
  "prohibit",
  "throw",
] as const;
export type RouteType = typeof routeTypes[number];

const scopes = { universe: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;
export type RouteScope = keyof typeof scopes;
const scopeNames: ReadonlyMap<number, RouteScope> = new Map(
  (Object.keys(scopes) as RouteScope[]).map((name) => [scopes[name], name]),
);

/** One way on. */
export interface NextHop {
  /** Absent: the destination is on the link itself. */
  readonly gateway?: Ip;
  /** Index of the output interface. */
  readonly oif?: number;
  /** 1 to 256; default 1. */
  readonly weight?: number;
  /** The gateway is on the link although no address of ours says so. */
  readonly onlink?: boolean;
  /** As a route's. */
  readonly astray?: string;
}

/** A route, as it is wanted or as the kernel shows it. */
export interface Route {
  readonly destination: Prefix;
  /** Default RT_TABLE_MAIN. */
  readonly table?: number;
  /** Default RTPROT_BOOT, as ip(8). */
  readonly protocol?: number;
  /** Default unicast. */
  readonly type?: RouteType;
  /** Default: link for a unicast IPv4 route without gateway, host for a local one, else universe. */
  readonly scope?: RouteScope;
  /** The metric. Default 0 (IPv4), 1024 (IPv6). */
  readonly priority?: number;
  readonly tos?: number;
  /** Source address to prefer. */
  readonly source?: Ip;
  /** Bytes. */
  readonly mtu?: number;
  /** None for blackhole and its like, several for equal-cost routing. */
  readonly hops?: readonly NextHop[];
  /** IPv6: the sources whose packets alone take it. */
  readonly from?: Prefix;
  /** Number of the kernel's next hop object that it goes by; `hops` are what that leads to now. */
  readonly nextHopId?: number;
  /** What has a say in where packets go, that we never set and somebody else has, in words. */
  readonly astray?: string;
}

/** EEXIST if a route of the same key is there. */
export function addRoute(route: Route): Command {
  return command("add", RTM_NEWROUTE, CREATE_NEW, route, encodeRoute);
}

/**
 * Adds it, or puts it in the place of the one with the same key. (IPv6: in place of the first of
 * several next hops.)
 */
export function replaceRoute(route: Route): Command {
  return command("replace", RTM_NEWROUTE, CREATE_OR_REPLACE, route, encodeRoute);
}

/** Deletes the route of that key; further fields narrow it down. ESRCH if there is none. */
export function deleteRoute(route: Route): Command {
  return command("delete", RTM_DELROUTE, 0, route, encodeDeletion);
}

function command(
  verb: string,
  type: number,
  flags: number,
  route: Route,
  encode: (message: MessageEncoder, route: Route) => void,
): Command {
  return {
    type,
    flags,
    operation: () => `${verb} ${routeText(route)}`,
    encode: (message) => encode(message, route),
  };
}

/** Header and attributes of RTM_NEWROUTE, in iproute2's order. */
export function encodeRoute(message: MessageEncoder, route: Route): void {
  const { destination, hops = [] } = route;
  const { family } = destination.ip;
  const single = hops.length === 1 ? hops[0] : undefined;
  putHeader(
    message,
    route,
    route.protocol ?? RTPROT_BOOT,
    scopes[scopeOf(route)],
    routeTypes.indexOf(route.type ?? "unicast"),
    single?.onlink ? RTNH_F_ONLINK : 0,
  );
  putDestination(message, destination);
  if (route.from) message.attrBytes(RTA_SRC, route.from.ip.bytes);
  if (single?.gateway) putGateway(message, family, single.gateway);
  if (route.source) message.attrBytes(RTA_PREFSRC, route.source.bytes);
  putPriorityAndTable(message, route);
  if (single?.oif !== undefined) message.attrU32(RTA_OIF, single.oif);
  if (route.mtu !== undefined) {
    message.open(RTA_METRICS).attrU32(RTAX_MTU, route.mtu).close();
  }
  if (hops.length > 1) {
    message.open(RTA_MULTIPATH);
    for (const hop of hops) putHop(message, family, hop);
    message.close();
  }
}

/** Header and attributes of RTM_DELROUTE. */
export function encodeDeletion(message: MessageEncoder, route: Route): void {
  const { destination, hops = [] } = route;
  putHeader(
    message,
    route,
    route.protocol ?? 0,
    route.scope ? scopes[route.scope] : destination.ip.family === 4 ? scopes.nowhere : 0,
    route.type === undefined ? 0 : routeTypes.indexOf(route.type),
    0,
  );
  putDestination(message, destination);
  if (route.from) message.attrBytes(RTA_SRC, route.from.ip.bytes);
  // A route that goes by an object has no hops of its own that it could be known by.
  const single = hops.length === 1 && route.nextHopId === undefined ? hops[0] : undefined;
  if (single?.gateway) putGateway(message, destination.ip.family, single.gateway);
  if (route.source) message.attrBytes(RTA_PREFSRC, route.source.bytes);
  putPriorityAndTable(message, route);
  if (single?.oif !== undefined) message.attrU32(RTA_OIF, single.oif);
  if (route.nextHopId !== undefined) message.attrU32(RTA_NH_ID, route.nextHopId);
}

/** rtmsg. A table that needs more than a byte stands in an attribute. */
function putHeader(
  message: MessageEncoder,
  route: Route,
  protocol: number,
  scope: number,
  type: number,
  flags: number,
): void {
  const table = route.table ?? RT_TABLE_MAIN;
  message.putU8(familyNumber(route.destination.ip.family)).putU8(route.destination.length)
    .putU8(route.from?.length ?? 0).putU8(route.tos ?? 0)
    .putU8(table < 256 ? table : 0).putU8(protocol).putU8(scope).putU8(type).putU32(flags);
}

/** An IPv4 default route has no destination to say; an IPv6 one says `::`, as iproute2 has it. */
function putDestination(message: MessageEncoder, { ip, length }: Prefix): void {
  if (length > 0 || ip.family === 6) message.attrBytes(RTA_DST, ip.bytes);
}

function putPriorityAndTable(message: MessageEncoder, route: Route): void {
  if (route.priority) message.attrU32(RTA_PRIORITY, route.priority);
  const table = route.table ?? RT_TABLE_MAIN;
  if (table >= 256) message.attrU32(RTA_TABLE, table);
}

/** A gateway of the other family (IPv4 over IPv6, RFC 8950) goes into RTA_VIA. */
function putGateway(message: MessageEncoder, family: Family, gateway: Ip): void {
  if (gateway.family === family) {
    message.attrBytes(RTA_GATEWAY, gateway.bytes);
  } else {
    const via = new Uint8Array(2 + gateway.bytes.length);
    via[0] = familyNumber(gateway.family);
    via.set(gateway.bytes, 2);
    message.attrBytes(RTA_VIA, via);
  }
}

/** rtnexthop: its own length first, which is known only behind its attributes. */
function putHop(message: MessageEncoder, family: Family, hop: NextHop): void {
  const start = message.length;
  message.putU16(0).putU8(hop.onlink ? RTNH_F_ONLINK : 0).putU8((hop.weight ?? 1) - 1);
  message.putU32(hop.oif ?? 0);
  if (hop.gateway) putGateway(message, family, hop.gateway);
  message.patchU16(start, message.length - start);
}

/** What to dump. The kernel does the filtering; fields left out match all. */
export interface RouteFilter {
  readonly family?: Family;
  readonly table?: number;
  readonly protocol?: number;
  readonly type?: RouteType;
  /** Index of the output interface. */
  readonly oif?: number;
}

/** The body of RTM_GETROUTE for a dump under strict checking. */
export function encodeDumpRoutes(message: MessageEncoder, filter: RouteFilter): void {
  message.putU8(filter.family ? familyNumber(filter.family) : 0).putZeros(3)
    .putU8(0).putU8(filter.protocol ?? 0).putU8(0)
    .putU8(filter.type ? routeTypes.indexOf(filter.type) : 0).putU32(0);
  if (filter.table !== undefined) message.attrU32(RTA_TABLE, filter.table);
  if (filter.oif !== undefined) message.attrU32(RTA_OIF, filter.oif);
}

/** The body of RTM_GETROUTE for the one route by which packets to an address go. */
export function encodeLookup(message: MessageEncoder, ip: Ip): void {
  message.putU8(familyNumber(ip.family)).putU8(ip.bytes.length * 8).putZeros(6)
    .putU32(RTM_F_FIB_MATCH);
  message.attrBytes(RTA_DST, ip.bytes);
}

/** Does the route pass the filter? For kernels that ignore it, and for notifications. */
export function passesFilter(route: Route, filter: RouteFilter): boolean {
  return (filter.family === undefined || route.destination.ip.family === filter.family) &&
    (filter.table === undefined || (route.table ?? RT_TABLE_MAIN) === filter.table) &&
    (filter.protocol === undefined || route.protocol === filter.protocol) &&
    (filter.type === undefined || (route.type ?? "unicast") === filter.type) &&
    (filter.oif === undefined || (route.hops ?? []).some((hop) => hop.oif === filter.oif));
}

const cursor = new AttributeCursor();
const noHops: readonly NextHop[] = [];
const zeros4: Ip = { family: 4, bytes: new Uint8Array(4) };
const zeros6: Ip = { family: 6, bytes: new Uint8Array(16) };

/**
 * An RTM_NEWROUTE or RTM_DELROUTE message, with every field filled in that has a default; undefined
 * for what is no IP route, or a clone for one destination.
 */
export function decodeRoute(message: MessageCursor): Route | undefined {
  const number = message.u8(0);
  if (number !== 2 && number !== 10) return undefined;
  const flags = message.u32(8);
  if (flags & RTM_F_CLONED) return undefined;
  const family: Family = number === 2 ? 4 : 6;
  let ip = family === 4 ? zeros4 : zeros6;
  let table = message.u8(4), priority = 0;
  let oif: number | undefined, gateway: Ip | undefined;
  let source: Ip | undefined, mtu: number | undefined;
  let hops: NextHop[] | undefined;
  let from: Ip | undefined, nextHopId: number | undefined, astray: string | undefined;
  const attributes = message.attributesInto(cursor, RTMSG);
  while (attributes.next()) {
    switch (attributes.type) {
      case RTA_DST:
        ip = ipOf(attributes.bytes()) ?? ip;
        break;
      case RTA_OIF:
        oif = attributes.u32();
        break;
      case RTA_GATEWAY:
        gateway = ipOf(attributes.bytes());
        break;
      case RTA_VIA:
        gateway = ipOf(attributes.bytes().subarray(2));
        break;
      case RTA_PRIORITY:
        priority = attributes.u32();
        break;
      case RTA_PREFSRC:
        source = ipOf(attributes.bytes());
        break;
      case RTA_METRICS:
        mtu = readMtu(attributes.nested());
        break;
      case RTA_MULTIPATH:
        hops = readHops(attributes);
        break;
      case RTA_TABLE:
        table = attributes.u32();
        break;
      case RTA_SRC:
        from = ipOf(attributes.bytes());
        break;
      case RTA_NH_ID:
        nextHopId = attributes.u32();
        break;
      default:
        astray = withWord(astray, strayWord(attributes));
    }
  }
  const type = routeTypes[message.u8(7)] ?? "unspecified";
  const onlink = (flags & RTNH_F_ONLINK) !== 0;
  if (!hops && !isDiscarding(type) && (gateway || oif !== undefined)) {
    hops = [makeHop(gateway, oif, onlink)];
  }
  return {
    destination: { ip, length: message.u8(1) },
    table,
    protocol: message.u8(5),
    type,
    scope: scopeNames.get(message.u8(6)) ?? "universe",
    priority,
    tos: message.u8(3),
    ...(source && { source }),
    ...(mtu !== undefined && { mtu }),
    ...(from && { from: { ip: from, length: message.u8(2) } }),
    ...(nextHopId !== undefined && { nextHopId }),
    ...(astray !== undefined && { astray }),
    hops: hops ?? noHops,
  };
}

/** The word of ip(8) for what we never set; undefined for what is not set or has no say. */
function strayWord(attribute: AttributeCursor): string | undefined {
  switch (attribute.type) {
    case RTA_ENCAP:
    case RTA_ENCAP_TYPE:
      return "encap";
    case RTA_FLOW:
      return "realm";
    case RTA_NEWDST:
      return "as";
    case RTA_TTL_PROPAGATE:
      return "ttl-propagate";
    case RTA_PREF:
      return attribute.u8() === 0 ? undefined : "pref"; // RFC 4191: 0 is medium
    case RTA_CACHEINFO:
      // rta_cacheinfo: two numbers of uses come first; 0: for ever.
      return attribute.length >= 12 && attribute.peek().getInt32(8, true) !== 0
        ? "expires"
        : undefined;
    default:
      return undefined;
  }
}

/** Both attributes of an encapsulation are one word. */
function withWord(words: string | undefined, word: string | undefined): string | undefined {
  return word === undefined || words?.split(" ").includes(word)
    ? words
    : words === undefined
    ? word
    : `${words} ${word}`;
}

function makeHop(
  gateway?: Ip,
  oif?: number,
  onlink?: boolean,
  weight?: number,
  astray?: string,
): NextHop {
  return {
    ...(gateway && { gateway }),
    ...(oif !== undefined && { oif }),
    ...(weight !== undefined && { weight }),
    ...(onlink && { onlink }),
    ...(astray !== undefined && { astray }),
  };
}

/** The MTU; 0 where there are only other metrics. */
function readMtu(metrics: AttributeCursor): number {
  while (metrics.next()) if (metrics.type === RTAX_MTU) return metrics.u32();
  return 0;
}

function readHops(attribute: AttributeCursor): NextHop[] {
  const hops: NextHop[] = [];
  const view = attribute.peek();
  for (let at = 0; at + 8 <= view.byteLength;) {
    const length = view.getUint16(at, true);
    if (length < 8 || at + length > view.byteLength) break;
    let gateway: Ip | undefined, astray: string | undefined;
    for (const inner = attribute.nested(at + 8, at + length); inner.next();) {
      if (inner.type === RTA_GATEWAY) gateway = ipOf(inner.bytes());
      else if (inner.type === RTA_VIA) gateway = ipOf(inner.bytes().subarray(2));
      else astray = withWord(astray, strayWord(inner));
    }
    const onlink = (view.getUint8(at + 2) & RTNH_F_ONLINK) !== 0;
    const oif = view.getUint32(at + 4, true), weight = view.getUint8(at + 3) + 1;
    hops.push(makeHop(gateway, oif, onlink, weight, astray));
    at += (length + 3) & ~3;
  }
  return hops;
}

/** Packets end here: the route has no next hop, whatever interface the kernel shows. */
function isDiscarding(type: RouteType): boolean {
  return type === "blackhole" || type === "unreachable" || type === "prohibit" || type === "throw";
}

/** The scope that the kernel (ip(8) for it) would choose. IPv6 knows none. */
function scopeOf(route: Route): RouteScope {
  if (route.scope) return route.scope;
  if (route.destination.ip.family === 6) return "universe";
  switch (route.type ?? "unicast") {
    case "local":
      return "host";
    case "broadcast":
    case "anycast":
      return "link";
    case "unicast":
    case "unspecified": {
      const { hops = noHops } = route;
      return hops.length > 0 && hops.every((hop) => !hop.gateway) ? "link" : "universe";
    }
    default:
      return "universe";
  }
}

function priorityOf(route: Route): number {
  return route.priority || (route.destination.ip.family === 6 ? defaultPriority6 : 0);
}

/** What makes it this route and no other: `254 10.65.0.2/32 0 0` (table, destination, metric, tos). */
export function routeKey(route: Route): string {
  const tos = route.destination.ip.family === 4 ? route.tos ?? 0 : 0;
  const from = route.from ? ` from ${formatPrefix(route.from)}` : "";
  return `${route.table ?? RT_TABLE_MAIN} ${formatPrefix(route.destination)} ${
    priorityOf(route)
  } ${tos}${from}`;
}

/** Would the kernel show both alike, defaults filled in? The order of several hops does not matter. */
export function sameRoute(a: Route, b: Route): boolean {
  return routeKey(a) === routeKey(b) &&
    (a.protocol ?? RTPROT_BOOT) === (b.protocol ?? RTPROT_BOOT) &&
    (a.type ?? "unicast") === (b.type ?? "unicast") &&
    scopeOf(a) === scopeOf(b) &&
    a.mtu === b.mtu && a.nextHopId === b.nextHopId && a.astray === b.astray &&
    sameOptionalIp(a.source, b.source) &&
    sameHops(a.hops ?? noHops, b.hops ?? noHops);
}

function sameHops(a: readonly NextHop[], b: readonly NextHop[]): boolean {
  if (a.length !== b.length) return false;
  const left = [...b];
  return a.every((hop) => {
    const at = left.findIndex((other) => sameHop(hop, other));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

function sameHop(a: NextHop, b: NextHop): boolean {
  return a.oif === b.oif && !a.onlink === !b.onlink && (a.weight ?? 1) === (b.weight ?? 1) &&
    a.astray === b.astray && sameOptionalIp(a.gateway, b.gateway);
}

function sameOptionalIp(a?: Ip, b?: Ip): boolean {
  return a && b ? sameIp(a, b) : a === b;
}

/** `route 10.65.1.0/26 via 10.65.1.1 dev 6 onlink table 1000`. */
export function routeText(route: Route): string {
  const words = ["route"];
  if (route.type && route.type !== "unicast") words.push(route.type);
  words.push(formatPrefix(route.destination));
  if (route.from) words.push(`from ${formatPrefix(route.from)}`);
  for (const hop of route.hops ?? noHops) {
    if ((route.hops?.length ?? 0) > 1) words.push("nexthop");
    if (hop.gateway) words.push(`via ${formatIp(hop.gateway)}`);
    if (hop.oif !== undefined) words.push(`dev ${hop.oif}`);
    if (hop.onlink) words.push("onlink");
  }
  if (route.table !== undefined && route.table !== RT_TABLE_MAIN) {
    words.push(`table ${route.table}`);
  }
  return words.join(" ");
}
