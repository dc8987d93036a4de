/**
 * Path attributes as values: what the decision process compares, filters change and UPDATEs carry.
 * An object is never changed once it is made; routes that came in one UPDATE share it, and so may any
 * others with equal attributes. How they stand on the wire is `attribute_table.ts`.
 *
 * Router and cluster identifiers and IPv4 aggregator addresses are unsigned 32-bit numbers, as they are
 * compared (RFC 4271 9.1.2.2); next hops are addresses.
 */
import type { Ip } from "../../mod/net/mod.ts";

export const ORIGIN_NAMES = ["igp", "egp", "incomplete"] as const;

/** 0 IGP, 1 EGP, 2 INCOMPLETE: a lower one is better. */
export type Origin = 0 | 1 | 2;

export type SegmentType = "set" | "sequence" | "confed-sequence" | "confed-set";

/** One segment of an AS_PATH; AS numbers are always four octets here. */
export interface AsSegment {
  readonly type: SegmentType;
  readonly asns: readonly number[];
}

/** An attribute that we do not know, kept to be passed on if it is transitive. */
export interface UnknownAttribute {
  readonly type: number;
  /** The flags octet as received, without the extended length bit. */
  readonly flags: number;
  readonly value: Uint8Array;
}

export interface Attributes {
  readonly origin: Origin;
  readonly asPath: readonly AsSegment[];
  /** NEXT_HOP, or the global next hop of MP_REACH_NLRI. Absent in routes of our own with next hop self. */
  readonly nextHop?: Ip;
  /** The second next hop of an IPv6 route (RFC 2545). */
  readonly linkLocal?: Ip;
  readonly med?: number;
  readonly localPref?: number;
  readonly atomicAggregate?: boolean;
  readonly aggregator?: { readonly as: number; readonly address: number };
  /** RFC 1997, each as one 32-bit number. */
  readonly communities?: readonly number[];
  /** RFC 4456. */
  readonly originatorId?: number;
  /** RFC 4456, the last reflector first. */
  readonly clusterList?: readonly number[];
  /** RFC 4360, each as 16 hexadecimal digits. */
  readonly extendedCommunities?: readonly string[];
  /** RFC 8092. */
  readonly largeCommunities?: readonly (readonly [number, number, number])[];
  readonly unknown?: readonly UnknownAttribute[];
  /** Types of known attributes that came with the Partial bit, which must stay (RFC 4271 section 5). */
  readonly partial?: readonly number[];
}

/** RFC 1997: not to be passed on to any peer, or to none outside of this AS. */
export const NO_EXPORT = 0xffffff01;
export const NO_ADVERTISE = 0xffffff02;
export const NO_EXPORT_SUBCONFED = 0xffffff03;

/** Steps of the path: a set counts as one, confederation segments as none (RFC 4271 9.1.2.2, RFC 5065). */
export function asPathLength(path: readonly AsSegment[]): number {
  let length = 0;
  for (const segment of path) {
    if (segment.type === "sequence") length += segment.asns.length;
    else if (segment.type === "set") length += 1;
  }
  return length;
}

/** The AS that the route was received from: the first of a leading sequence; undefined for none. */
export function neighbourAs(path: readonly AsSegment[]): number | undefined {
  const first = path.find((s) => s.type === "sequence" || s.type === "set");
  return first?.type === "sequence" ? first.asns[0] : undefined;
}

/** How often the AS stands in the path. */
export function countAs(path: readonly AsSegment[], as: number): number {
  let count = 0;
  for (const segment of path) for (const asn of segment.asns) if (asn === as) count++;
  return count;
}

/** The path with these ASes put before it, the first of them nearest to the reader. */
export function prependAs(path: readonly AsSegment[], asns: readonly number[]): AsSegment[] {
  if (asns.length === 0) return [...path];
  const [head, ...rest] = path;
  if (head?.type === "sequence" && head.asns.length + asns.length <= 255) {
    return [{ type: "sequence", asns: [...asns, ...head.asns] }, ...rest];
  }
  return [{ type: "sequence", asns: [...asns] }, ...path];
}

/** `64512 {64513 64514}`, as routers print it. */
export function formatAsPath(path: readonly AsSegment[]): string {
  return path.map((segment) => {
    const asns = segment.asns.join(" ");
    switch (segment.type) {
      case "sequence":
        return asns;
      case "set":
        return `{${asns}}`;
      case "confed-sequence":
        return `(${asns})`;
      case "confed-set":
        return `[${asns}]`;
    }
  }).join(" ");
}

/** `65000:100`. */
export function formatCommunity(community: number): string {
  return `${community >>> 16}:${community & 0xffff}`;
}

/** A 32-bit identifier as a dotted quad. */
export function formatId(id: number): string {
  return `${id >>> 24}.${id >>> 16 & 0xff}.${id >>> 8 & 0xff}.${id & 0xff}`;
}

/** The four bytes of an IPv4 address as one unsigned number. */
export function idOf(ip: Ip): number {
  const b = ip.bytes;
  return (b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]) >>> 0;
}
