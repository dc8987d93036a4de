/**
 * Path attributes described by one table: code, name, what its flags must be, how its value is read
 * and written, and what RFC 7606 says to do when it is malformed. UPDATEs are read and written
 * by walking this table, and an attribute that is not in it is kept as bytes.
 *
 * MP_REACH_NLRI and MP_UNREACH_NLRI are in the table for their flags; their values carry prefixes and
 * are read by `mp_nlri.ts`.
 */
import type { Ip } from "../../mod/net/mod.ts";
import { decodeAsPath, encodeAsPath, needsAs4, withoutConfederation } from "./as_path.ts";
import { type AsSegment, type Attributes, formatId, type Origin } from "./attributes.ts";
import { fromHex, toHex, u16, u32, type Writer } from "./bytes.ts";
import type { Answer } from "./error.ts";
import { AS_TRANS } from "./open.ts";

export const ORIGIN = 1;
export const AS_PATH = 2;
export const NEXT_HOP = 3;
export const MULTI_EXIT_DISC = 4;
export const LOCAL_PREF = 5;
export const ATOMIC_AGGREGATE = 6;
export const AGGREGATOR = 7;
export const COMMUNITIES = 8;
export const ORIGINATOR_ID = 9;
export const CLUSTER_LIST = 10;
export const MP_REACH_NLRI = 14;
export const MP_UNREACH_NLRI = 15;
export const EXTENDED_COMMUNITIES = 16;
export const AS4_PATH = 17;
export const AS4_AGGREGATOR = 18;
export const LARGE_COMMUNITIES = 32;

/** Attribute flags. */
export const OPTIONAL = 0x80;
export const TRANSITIVE = 0x40;
export const PARTIAL = 0x20;
export const EXTENDED_LENGTH = 0x10;

/** What the session says about how values are to be read. */
export interface WireContext {
  /** Octets of an AS number in AS_PATH and AGGREGATOR: 4 where both ends can. */
  readonly asSize: 2 | 4;
}

/** Attributes while an UPDATE is being read. */
export type Draft = { -readonly [K in keyof Attributes]?: Attributes[K] } & {
  as4Path?: readonly AsSegment[];
  as4Aggregator?: Attributes["aggregator"];
};

export interface AttributeSpec {
  readonly type: number;
  readonly name: string;
  /** OPTIONAL and TRANSITIVE as they must be. */
  readonly flags: number;
  /** What a value that cannot be read leads to (RFC 7606 section 7). */
  readonly malformed: Answer;
  /** An external peer has no business to send it: dropped without a look (RFC 7606 7.5, 7.9, 7.10). */
  readonly internalOnly?: boolean;
  /** A peer with four-octet AS numbers has no business to send it (RFC 6793 section 6). */
  readonly oldPeersOnly?: boolean;
  /** Puts the value into the draft, or says what is wrong with it. */
  decode?(value: Uint8Array, draft: Draft, context: WireContext): string | undefined;
  /** Writes the value, or returns false where the route has none. */
  encode?(attributes: Attributes, out: Writer, context: WireContext): boolean;
}

const lengthOf = (name: string, value: Uint8Array, wanted: string) =>
  `${name} of ${value.length} octets instead of ${wanted}`;

/** An attribute of one 32-bit number. */
function number32(
  type: number,
  name: string,
  flags: number,
  field: "med" | "localPref" | "originatorId",
  internalOnly = false,
): AttributeSpec {
  return {
    type,
    name,
    flags,
    malformed: "treat-as-withdraw",
    internalOnly,
    decode(value, draft) {
      if (value.length !== 4) return lengthOf(name, value, "4");
      draft[field] = u32(value, 0);
    },
    encode(attributes, out) {
      const n = attributes[field];
      if (n === undefined) return false;
      out.u32(n);
      return true;
    },
  };
}

/** An attribute that is a list of members of one size; an empty list is malformed. */
function list<K extends "communities" | "clusterList" | "extendedCommunities" | "largeCommunities">(
  type: number,
  name: string,
  flags: number,
  size: number,
  field: K,
  read: (value: Uint8Array, at: number) => NonNullable<Attributes[K]>[number],
  write: (member: NonNullable<Attributes[K]>[number], out: Writer) => void,
  internalOnly = false,
): AttributeSpec {
  return {
    type,
    name,
    flags,
    malformed: "treat-as-withdraw",
    internalOnly,
    decode(value, draft) {
      if (value.length === 0 || value.length % size !== 0) {
        return lengthOf(name, value, `a multiple of ${size}`);
      }
      const members: unknown[] = [];
      for (let at = 0; at < value.length; at += size) members.push(read(value, at));
      draft[field] = members as Draft[K];
    },
    encode(attributes, out) {
      const members = attributes[field];
      if (!members || members.length === 0) return false;
      for (const member of members) write(member as NonNullable<Attributes[K]>[number], out);
      return true;
    },
  };
}

function decodeAggregator(value: Uint8Array, asSize: 2 | 4) {
  const as = asSize === 4 ? u32(value, 0) : u16(value, 0);
  return { as, address: u32(value, asSize) };
}

/** Ordered by type: the order in which they are written. */
export const ATTRIBUTES: readonly AttributeSpec[] = [
  {
    type: ORIGIN,
    name: "ORIGIN",
    flags: TRANSITIVE,
    malformed: "treat-as-withdraw",
    decode(value, draft) {
      if (value.length !== 1) return lengthOf("ORIGIN", value, "1");
      if (value[0] > 2) return `ORIGIN ${value[0]}`;
      draft.origin = value[0] as Origin;
    },
    encode(attributes, out) {
      out.u8(attributes.origin);
      return true;
    },
  },
  {
    type: AS_PATH,
    name: "AS_PATH",
    flags: TRANSITIVE,
    malformed: "treat-as-withdraw",
    decode(value, draft, context) {
      const path = decodeAsPath(value, context.asSize);
      if (typeof path === "string") return path;
      draft.asPath = path;
    },
    encode(attributes, out, context) {
      encodeAsPath(attributes.asPath, context.asSize, out);
      return true;
    },
  },
  {
    type: NEXT_HOP,
    name: "NEXT_HOP",
    flags: TRANSITIVE,
    malformed: "treat-as-withdraw",
    decode(value, draft) {
      if (value.length !== 4) return lengthOf("NEXT_HOP", value, "4");
      draft.nextHop = { family: 4, bytes: value.slice() };
    },
    encode(attributes, out) {
      if (attributes.nextHop?.family !== 4) return false;
      out.bytes(attributes.nextHop.bytes);
      return true;
    },
  },
  number32(MULTI_EXIT_DISC, "MULTI_EXIT_DISC", OPTIONAL, "med"),
  number32(LOCAL_PREF, "LOCAL_PREF", TRANSITIVE, "localPref", true),
  {
    type: ATOMIC_AGGREGATE,
    name: "ATOMIC_AGGREGATE",
    flags: TRANSITIVE,
    malformed: "attribute-discard",
    decode(value, draft) {
      if (value.length !== 0) return lengthOf("ATOMIC_AGGREGATE", value, "0");
      draft.atomicAggregate = true;
    },
    encode: (attributes) => attributes.atomicAggregate === true,
  },
  {
    type: AGGREGATOR,
    name: "AGGREGATOR",
    flags: OPTIONAL | TRANSITIVE,
    malformed: "attribute-discard",
    decode(value, draft, context) {
      if (value.length !== context.asSize + 4) {
        return lengthOf("AGGREGATOR", value, String(context.asSize + 4));
      }
      const aggregator = decodeAggregator(value, context.asSize);
      if (aggregator.as === 0) return "AGGREGATOR with AS 0";
      draft.aggregator = aggregator;
    },
    encode(attributes, out, context) {
      const aggregator = attributes.aggregator;
      if (!aggregator) return false;
      if (context.asSize === 4) out.u32(aggregator.as);
      else out.u16(aggregator.as > 0xffff ? AS_TRANS : aggregator.as);
      out.u32(aggregator.address);
      return true;
    },
  },
  list(
    COMMUNITIES,
    "COMMUNITIES",
    OPTIONAL | TRANSITIVE,
    4,
    "communities",
    u32,
    (community, out) => out.u32(community),
  ),
  number32(ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL, "originatorId", true),
  list(
    CLUSTER_LIST,
    "CLUSTER_LIST",
    OPTIONAL,
    4,
    "clusterList",
    u32,
    (id, out) => out.u32(id),
    true,
  ),
  {
    type: MP_REACH_NLRI,
    name: "MP_REACH_NLRI",
    flags: OPTIONAL,
    malformed: "session-reset",
  },
  {
    type: MP_UNREACH_NLRI,
    name: "MP_UNREACH_NLRI",
    flags: OPTIONAL,
    malformed: "session-reset",
  },
  list(
    EXTENDED_COMMUNITIES,
    "EXTENDED_COMMUNITIES",
    OPTIONAL | TRANSITIVE,
    8,
    "extendedCommunities",
    (value, at) => toHex(value.subarray(at, at + 8)),
    (community, out) => out.bytes(fromHex(community)),
  ),
  {
    type: AS4_PATH,
    name: "AS4_PATH",
    flags: OPTIONAL | TRANSITIVE,
    malformed: "attribute-discard",
    oldPeersOnly: true,
    decode(value, draft) {
      const path = decodeAsPath(value, 4);
      if (typeof path === "string") return path.replace("AS_PATH", "AS4_PATH");
      if (path.some((segment) => segment.asns.includes(0))) return "AS4_PATH with AS 0";
      draft.as4Path = path;
    },
    encode(attributes, out, context) {
      if (context.asSize === 4 || !needsAs4(attributes.asPath)) return false;
      encodeAsPath(withoutConfederation(attributes.asPath), 4, out);
      return true;
    },
  },
  {
    type: AS4_AGGREGATOR,
    name: "AS4_AGGREGATOR",
    flags: OPTIONAL | TRANSITIVE,
    malformed: "attribute-discard",
    oldPeersOnly: true,
    decode(value, draft) {
      if (value.length !== 8) return lengthOf("AS4_AGGREGATOR", value, "8");
      const aggregator = decodeAggregator(value, 4);
      if (aggregator.as === 0) return "AS4_AGGREGATOR with AS 0";
      draft.as4Aggregator = aggregator;
    },
    encode(attributes, out, context) {
      const aggregator = attributes.aggregator;
      if (context.asSize === 4 || !aggregator || aggregator.as <= 0xffff) return false;
      out.u32(aggregator.as).u32(aggregator.address);
      return true;
    },
  },
  list(
    LARGE_COMMUNITIES,
    "LARGE_COMMUNITY",
    OPTIONAL | TRANSITIVE,
    12,
    "largeCommunities",
    (value, at) => [u32(value, at), u32(value, at + 4), u32(value, at + 8)] as const,
    (community, out) => community.forEach((n) => out.u32(n)),
  ),
];

export const ATTRIBUTE_BY_TYPE: ReadonlyMap<number, AttributeSpec> = new Map(
  ATTRIBUTES.map((s) => [s.type, s]),
);

/** The name that people know, or the number. */
export function attributeName(type: number): string {
  return ATTRIBUTE_BY_TYPE.get(type)?.name ?? `attribute ${type}`;
}

/**
 * What is wrong with the meaning of attributes that can be read, so that their route is not to be
 * used: undefined for nothing. A confederation segment is wrong from any peer, since we are a member
 * of none (RFC 5065 section 5); AS 0 always is (RFC 7607).
 */
export function semanticFault(draft: Draft): string | undefined {
  for (const segment of draft.asPath ?? []) {
    if (segment.type.startsWith("confed")) return "AS_PATH with a confederation segment";
    if (segment.asns.includes(0)) return "AS_PATH with AS 0";
  }
  return undefined;
}

/**
 * Why an address cannot be a next hop (RFC 4271 6.3, RFC 1122, RFC 4291); undefined if it can. Such a
 * route is kept and not used; the session and the message are in order.
 */
export function nextHopFault(nextHop: Ip): string | undefined {
  const b = nextHop.bytes;
  if (nextHop.family === 4) {
    if (b[0] === 0 || b[0] === 127 || b[0] >= 224) {
      return `the next hop ${formatId(u32(b, 0))} is not the address of a host`;
    }
    return undefined;
  }
  const unspecifiedOrLoopback = b.subarray(0, 15).every((x) => x === 0) && b[15] <= 1;
  if (b[0] === 0xff || unspecifiedOrLoopback) return "the next hop is not the address of a host";
  // RFC 4291 2.5.5.2: an IPv4 node's, which no IPv6 packet goes to.
  const mapped = b.subarray(0, 10).every((x) => x === 0) && b[10] === 0xff && b[11] === 0xff;
  if (mapped) return "the next hop is an IPv4 address, written as IPv6";
  return undefined;
}
