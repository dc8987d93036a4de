/**
 * Several entries of one prefix in the main table. The kernel tells IPv4 routes of a prefix apart by
 * TOS and metric, and holds several alike where somebody has prepended or appended one; the first of
 * them leads. IPv6 makes one route of several ways alike of one metric, and holds others one after
 * another. Pure.
 *
 * What is kept of a prefix is what may stand where ours would (our metric, no TOS), in the kernel's
 * order, and whatever else carries our protocols. It has the form of one route, so that ten thousand
 * prefixes of one entry each cost nothing more: the first in our place, or whatever there is, and the
 * others `beside` it.
 */
import type { RoutePlace } from "../../../ffi/route/events.ts";
import { sameHop } from "../next_hops.ts";
import {
  type Hop,
  type PlannedRoute,
  PROTOCOL_BGP,
  PROTOCOL_OWN,
  samePlace,
  sameRoute,
} from "../route_plan.ts";

/** All entries of a prefix that were seen. */
export function entriesOf(seen: PlannedRoute | undefined): readonly PlannedRoute[] {
  if (!seen) return [];
  return seen.beside ? [{ ...seen, beside: undefined }, ...seen.beside] : [seen];
}

/** The form in which they are kept. */
export function asSeen(entries: readonly PlannedRoute[]): PlannedRoute | undefined {
  if (entries.length < 2) return entries[0];
  const head = entries.find(inOurPlace) ?? entries[0];
  return { ...head, beside: entries.filter((entry) => entry !== head) };
}

export function hasOurProtocol({ protocol }: PlannedRoute): boolean {
  return protocol === PROTOCOL_OWN || protocol === PROTOCOL_BGP;
}

/** The kernel looks at it where it would look at ours. */
export function inOurPlace({ metric, tos, from }: PlannedRoute): boolean {
  return metric === undefined && tos === undefined && from === undefined;
}

/** A notification: an entry has come, and where in its place it stands. */
export function withEntry(
  seen: PlannedRoute | undefined,
  entry: PlannedRoute,
  place: RoutePlace,
): PlannedRoute {
  if (!seen) return entry;
  const entries = [...entriesOf(seen)];
  const six = entry.prefix.ip.family === 6;
  const alike = entries.filter((other) => samePlace(other, entry));
  // IPv6 tells of a way that joins others as of all of them.
  const joined = !six ? undefined : alike.find((other) =>
    other.hops.length > 0 &&
    other.hops.every((hop) => entry.hops.some((h) => sameHop(hop, h)))
  );
  if (place === "only" || alike.length === 0) {
    return asSeen([...entries.filter((other) => !alike.includes(other)), entry])!;
  }
  if (joined && place !== "replaces") entries[entries.indexOf(joined)] = entry;
  else if (place === "replaces") {
    const former = (six && alike.find((other) => other.type === entry.type)) || alike[0];
    entries[entries.indexOf(former)] = entry;
  } else if (place === "first" && !six) entries.splice(entries.indexOf(alike[0]), 0, entry);
  else entries.splice(entries.indexOf(alike[alike.length - 1]) + 1, 0, entry);
  return asSeen(entries)!;
}

/** A notification: an entry is gone, or some ways of one. */
export function withoutEntry(
  seen: PlannedRoute | undefined,
  entry: PlannedRoute,
): PlannedRoute | undefined {
  const entries = [...entriesOf(seen)];
  const alike = entries.filter((other) => samePlace(other, entry));
  const former = alike.find((other) => sameRoute(entry, other));
  if (former) return asSeen(entries.filter((other) => other !== former));
  const goes = (hop: Hop) => entry.hops.some((gone) => sameHop(hop, gone));
  const some = alike.find(({ hops }) => hops.some(goes)) ??
    alike.find((other) => other.type === entry.type);
  if (!some) return seen;
  const hops = entry.prefix.ip.family === 6 ? some.hops.filter((hop) => !goes(hop)) : [];
  const stays = hops.length > 0 && hops.length < some.hops.length;
  // Where none is like it, the picture is of another time: what is missing is put again.
  entries.splice(entries.indexOf(some), 1, ...stays ? [{ ...some, hops }] : []);
  return asSeen(entries);
}

export interface Mending {
  /** To be removed before anything is put. */
  readonly remove: readonly PlannedRoute[];
  /** Whether the desired route is to be put; if not, it is there. */
  readonly put: boolean;
  /** In whose place. */
  readonly replaces?: PlannedRoute;
  /** What the prefix has afterwards. */
  readonly after: PlannedRoute;
}

/**
 * How a prefix comes to lead as is desired, and to hold nothing else of our protocols. Entries of
 * others stay where they stand behind it. (A replacement goes in the place of the first one, and is
 * refused while an equal one stands behind that.)
 */
export function mending(desired: PlannedRoute, seen: PlannedRoute | undefined): Mending {
  if (!seen || (!seen.beside && inOurPlace(seen))) {
    return { remove: [], put: true, replaces: seen, after: desired };
  }
  const entries = entriesOf(seen);
  const rivals = entries.filter(inOurPlace);
  const there = rivals.findIndex((rival) => sameRoute(desired, rival));
  if (there >= 0) {
    const remove = entries.filter((entry) =>
      entry !== rivals[there] &&
      (hasOurProtocol(entry) || rivals.slice(0, there).includes(entry))
    );
    if (remove.every((entry) => canBeNamed(entry, rivals[there]))) {
      const after = asSeen([desired, ...others(rivals.slice(there + 1))])!;
      return { remove, put: false, after };
    }
  }
  // What leads is replaced, so that there is always a way; but IPv6 may replace another one.
  const replaces = there < 0 && (rivals.length === 1 || desired.prefix.ip.family === 4) &&
      rivals.slice(1).every((rival) => !hasOurProtocol(rival) || canBeNamed(rival, rivals[0]))
    ? rivals[0]
    : undefined;
  const leads = rivals.slice(0, Math.max(there, 0) + 1);
  const remove = entries.filter((entry) =>
    entry !== replaces && (hasOurProtocol(entry) || leads.includes(entry))
  );
  const left = rivals.filter((entry) => entry !== replaces && !remove.includes(entry));
  return { remove, put: true, replaces, after: asSeen([desired, ...others(left)])! };
}

const others = (entries: readonly PlannedRoute[]) => entries.filter((e) => !hasOurProtocol(e));

/** Whether a removal can say which of two it means. It names no several ways, and for IPv6 no type. */
function canBeNamed(entry: PlannedRoute, beside: PlannedRoute): boolean {
  return !samePlace(entry, beside) || entry.protocol !== beside.protocol ||
    (entry.type !== beside.type && entry.prefix.ip.family === 4) ||
    (entry.hops.length === 1 && !sameWays(entry, beside)) || entry.astray?.source !== undefined ||
    entry.astray?.nextHopId !== beside.astray?.nextHopId;
}

function sameWays(a: PlannedRoute, b: PlannedRoute): boolean {
  return a.hops.every((hop) => b.hops.some((other) => sameHop(hop, other)));
}
