/**
 * The messages of ctnetlink (linux/netfilter/nfnetlink_conntrack.h), read and written: one tracked
 * connection a message, its two directions as nested tuples. `conntrack.ts` sends them.
 */
import { bytesKey, type Family, formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import { AttributeCursor, type MessageCursor } from "./netlink/decoder.ts";
import type { MessageEncoder } from "./netlink/encoder.ts";
import { NFGENMSG, NFNL_SUBSYS_CTNETLINK } from "./nft/wire.ts";

const CT = NFNL_SUBSYS_CTNETLINK << 8;
export const IPCTNL_MSG_CT_NEW = CT | 0;
export const IPCTNL_MSG_CT_GET = CT | 1;
export const IPCTNL_MSG_CT_DELETE = CT | 2;
export const IPCTNL_MSG_CT_GET_STATS = CT | 5;
export const CTA_STATS_GLOBAL_ENTRIES = 1;

export const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2,
  CTA_STATUS = 3,
  CTA_PROTOINFO = 4,
  CTA_TIMEOUT = 7,
  CTA_MARK = 8,
  CTA_ID = 12,
  CTA_ZONE = 18,
  CTA_MARK_MASK = 21,
  CTA_FILTER = 25;
const CTA_TUPLE_IP = 1, CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1, CTA_IP_V4_DST = 2, CTA_IP_V6_SRC = 3, CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1,
  CTA_PROTO_SRC_PORT = 2,
  CTA_PROTO_DST_PORT = 3,
  CTA_PROTO_ICMP_ID = 4,
  CTA_PROTO_ICMP_TYPE = 5,
  CTA_PROTO_ICMP_CODE = 6,
  CTA_PROTO_ICMPV6_ID = 7,
  CTA_PROTO_ICMPV6_TYPE = 8,
  CTA_PROTO_ICMPV6_CODE = 9;
const CTA_FILTER_ORIG_FLAGS = 1, CTA_FILTER_REPLY_FLAGS = 2;
const CTA_PROTOINFO_TCP = 1, CTA_PROTOINFO_TCP_STATE = 1;

/** Bits of CTA_FILTER: which parts of a tuple count. */
const FILTER_IP_SRC = 1,
  FILTER_IP_DST = 2,
  FILTER_PROTO_NUM = 8,
  FILTER_PROTO_SRC_PORT = 16,
  FILTER_PROTO_DST_PORT = 32;

const AF_INET = 2, AF_INET6 = 10;

/** Bits of a flow's status. */
export const IPS_EXPECTED = 0x1,
  IPS_SEEN_REPLY = 0x2,
  IPS_ASSURED = 0x4,
  IPS_CONFIRMED = 0x8;

/** One direction of a connection. */
export interface Tuple {
  readonly source: Ip;
  readonly destination: Ip;
  /** Layer 4 protocol number. */
  readonly protocol: number;
  /** Of protocols that have ports. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** Of ICMP and ICMPv6. */
  readonly icmp?: { readonly id: number; readonly type: number; readonly code: number };
}

/** A tracked connection. `reply` differs from `original` turned round where it is translated. */
export interface Flow {
  readonly original: Tuple;
  readonly reply: Tuple;
  /** Bits of IPS_*. */
  readonly status: number;
  /** Seconds until it is forgotten. */
  readonly timeout: number;
  readonly mark: number;
  /** 0 where it is the default. */
  readonly zone: number;
  /** Tells this connection from a later one with the same tuple. */
  readonly id: number;
  /** TCP's state in the kernel's numbers: 3 established. */
  readonly tcpState?: number;
}

/** Conditions on one direction. What is undefined counts as equal. */
export interface TupleCondition {
  readonly source?: Ip;
  readonly destination?: Ip;
  readonly protocol?: number;
  /** These need `protocol`. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

/** Connections of which both directions meet the conditions. */
export interface FlowSelection {
  readonly original?: TupleCondition;
  readonly reply?: TupleCondition;
}

/** Which connections to list; without any of these, all. */
export interface FlowWish {
  /** Absent: of both families, in one walk through the table. */
  readonly family?: Family;
  /** The kernel looks for them itself, where it can. */
  readonly selection?: FlowSelection;
  /** The first packet or the answers come from one of these addresses (by `ipKey`). */
  readonly among?: ReadonlySet<string>;
}

function conditions(selection: FlowSelection): TupleCondition[] {
  return [selection.original ?? {}, selection.reply ?? {}];
}

export function isEmpty(selection: FlowSelection): boolean {
  return conditions(selection).every((c) => Object.values(c).every((v) => v === undefined));
}

/** The family of the addresses; a TypeError where there is none, or two. */
export function familyOf(selection: FlowSelection): Family {
  const families = new Set<Family>();
  for (const { source, destination } of conditions(selection)) {
    if (source) families.add(source.family);
    if (destination) families.add(destination.family);
  }
  if (families.size !== 1) {
    throw new TypeError(
      `connections to delete must be told by an address of one family, not by ${
        describeSelection(selection)
      }`,
    );
  }
  const [family] = families;
  return family;
}

function tupleMatches(tuple: Tuple, condition: TupleCondition = {}): boolean {
  const { source, destination, protocol, sourcePort, destinationPort } = condition;
  return (!source || sameIp(tuple.source, source)) &&
    (!destination || sameIp(tuple.destination, destination)) &&
    (protocol === undefined || tuple.protocol === protocol) &&
    (sourcePort === undefined || tuple.sourcePort === sourcePort) &&
    (destinationPort === undefined || tuple.destinationPort === destinationPort);
}

export function flowMatches(flow: Flow, selection: FlowSelection): boolean {
  return tupleMatches(flow.original, selection.original) &&
    tupleMatches(flow.reply, selection.reply);
}

/** nfgenmsg. */
export function putHeader(encoder: MessageEncoder, family: Family | 0): void {
  encoder.putU8(family === 4 ? AF_INET : family === 6 ? AF_INET6 : 0).putU8(0).putBe16(0);
}

/** A whole tuple. */
export function putTuple(encoder: MessageEncoder, attribute: number, tuple: Tuple): void {
  const v4 = tuple.source.family === 4;
  encoder.openNested(attribute);
  encoder.openNested(CTA_TUPLE_IP)
    .attrBytes(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source.bytes)
    .attrBytes(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination.bytes)
    .close();
  encoder.openNested(CTA_TUPLE_PROTO).attrU8(CTA_PROTO_NUM, tuple.protocol);
  if (tuple.sourcePort !== undefined) encoder.attrBe16(CTA_PROTO_SRC_PORT, tuple.sourcePort);
  if (tuple.destinationPort !== undefined) {
    encoder.attrBe16(CTA_PROTO_DST_PORT, tuple.destinationPort);
  }
  if (tuple.icmp) {
    const { id, type, code } = tuple.icmp;
    encoder.attrU8(v4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE, code);
    encoder.attrU8(v4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE, type);
    encoder.attrBe16(v4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID, id);
  }
  encoder.close().close();
}

/** Both tuples and the id: this connection and no later one. */
export function putDelete(encoder: MessageEncoder, flow: Flow): void {
  putHeader(encoder, flow.original.source.family);
  putTuple(encoder, CTA_TUPLE_ORIG, flow.original);
  putTuple(encoder, CTA_TUPLE_REPLY, flow.reply);
  if (flow.zone) encoder.attrBe16(CTA_ZONE, flow.zone);
  encoder.attrBe32(CTA_ID, flow.id);
}

/**
 * Bits of the mark of a connection that is there. It is told by its first packet's tuple alone: the
 * kernel asks for no id here.
 */
export function putMark(encoder: MessageEncoder, flow: Flow, value: number, mask: number): void {
  putHeader(encoder, flow.original.source.family);
  putTuple(encoder, CTA_TUPLE_ORIG, flow.original);
  if (flow.zone) encoder.attrBe16(CTA_ZONE, flow.zone);
  encoder.attrBe32(CTA_MARK, value & mask);
  encoder.attrBe32(CTA_MARK_MASK, mask);
}

/** A new connection, as conntrack(8) writes one. */
export function putFlow(
  encoder: MessageEncoder,
  flow: Omit<Flow, "id" | "zone" | "mark">,
): void {
  putHeader(encoder, flow.original.source.family);
  putTuple(encoder, CTA_TUPLE_ORIG, flow.original);
  putTuple(encoder, CTA_TUPLE_REPLY, flow.reply);
  if (flow.status) encoder.attrBe32(CTA_STATUS, flow.status);
  encoder.attrBe32(CTA_TIMEOUT, flow.timeout);
  if (flow.tcpState !== undefined) {
    // Flags and their mask: selective acknowledgements, and be liberal, for windows are unknown.
    const flags = new Uint8Array([10, 10]);
    encoder.openNested(CTA_PROTOINFO).openNested(CTA_PROTOINFO_TCP)
      .attrU8(CTA_PROTOINFO_TCP_STATE, flow.tcpState)
      .attrBytes(4, flags).attrBytes(5, flags)
      .close().close();
  }
}

/**
 * A partial tuple for each direction that has conditions, and the filter that says which count. Of
 * IPv4 alone; a TypeError for IPv6 and for no address at all.
 */
export function putSelection(encoder: MessageEncoder, selection: FlowSelection): void {
  if (isEmpty(selection)) {
    throw new TypeError("a selection of connections without a condition would be all of them");
  }
  for (const { source, destination } of conditions(selection)) {
    if (source?.family === 6 || destination?.family === 6) {
      throw new TypeError("the kernel's filter of connections cannot be used for IPv6");
    }
  }
  putHeader(encoder, 4);
  const original = putPartialTuple(encoder, CTA_TUPLE_ORIG, selection.original);
  const reply = putPartialTuple(encoder, CTA_TUPLE_REPLY, selection.reply);
  // The flag words alone are in host order.
  encoder.openNested(CTA_FILTER)
    .attrU32(CTA_FILTER_ORIG_FLAGS, original)
    .attrU32(CTA_FILTER_REPLY_FLAGS, reply)
    .close();
}

function putPartialTuple(
  encoder: MessageEncoder,
  attribute: number,
  condition: TupleCondition | undefined,
): number {
  if (!condition) return 0;
  const { source, destination, protocol, sourcePort, destinationPort } = condition;
  let flags = 0;
  encoder.openNested(attribute);
  if (source || destination) {
    encoder.openNested(CTA_TUPLE_IP);
    if (source) {
      encoder.attrBytes(CTA_IP_V4_SRC, source.bytes);
      flags |= FILTER_IP_SRC;
    }
    if (destination) {
      encoder.attrBytes(CTA_IP_V4_DST, destination.bytes);
      flags |= FILTER_IP_DST;
    }
    encoder.close();
  }
  if (protocol !== undefined) {
    encoder.openNested(CTA_TUPLE_PROTO).attrU8(CTA_PROTO_NUM, protocol);
    flags |= FILTER_PROTO_NUM;
    if (sourcePort !== undefined) {
      encoder.attrBe16(CTA_PROTO_SRC_PORT, sourcePort);
      flags |= FILTER_PROTO_SRC_PORT;
    }
    if (destinationPort !== undefined) {
      encoder.attrBe16(CTA_PROTO_DST_PORT, destinationPort);
      flags |= FILTER_PROTO_DST_PORT;
    }
    encoder.close();
  } else if (sourcePort !== undefined || destinationPort !== undefined) {
    throw new TypeError("a condition on ports of connections needs one on the protocol");
  }
  encoder.close();
  return flags;
}

/**
 * Whether a message's connection has one of the addresses (by `ipKey`) as the source of either
 * direction. Most messages of a long list are passed over, and this looks at nothing else of them.
 */
export function isAmong(message: MessageCursor, keys: ReadonlySet<string>): boolean {
  for (const a = message.attributesInto(outer, NFGENMSG); a.next();) {
    if (a.type !== CTA_TUPLE_ORIG && a.type !== CTA_TUPLE_REPLY) continue;
    for (const t = a.nestedInto(middle); t.next();) {
      if (t.type !== CTA_TUPLE_IP) continue;
      for (const i = t.nestedInto(inner); i.next();) {
        if (i.type !== CTA_IP_V4_SRC && i.type !== CTA_IP_V6_SRC) continue;
        if (keys.has(bytesKey(message.buffer, i.start, i.length))) return true;
        break;
      }
      break;
    }
    if (a.type === CTA_TUPLE_REPLY) return false;
  }
  return false;
}

/** Used again for every message: a table may hold a hundred thousand. */
const outer = new AttributeCursor(), middle = new AttributeCursor(), inner = new AttributeCursor();

export function getFlow(message: MessageCursor): Flow | undefined {
  const family = message.u8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  let original: Tuple | undefined, reply: Tuple | undefined;
  let status = 0, timeout = 0, mark = 0, zone = 0, id = 0;
  let tcpState: number | undefined;
  for (const a = message.attributesInto(outer, NFGENMSG); a.next();) {
    switch (a.type) {
      case CTA_TUPLE_ORIG:
        original = getTuple(a);
        break;
      case CTA_TUPLE_REPLY:
        reply = getTuple(a);
        break;
      case CTA_STATUS:
        status = a.be32();
        break;
      case CTA_TIMEOUT:
        timeout = a.be32();
        break;
      case CTA_MARK:
        mark = a.be32();
        break;
      case CTA_ZONE:
        zone = a.be16();
        break;
      case CTA_ID:
        id = a.be32();
        break;
      case CTA_PROTOINFO:
        for (const p = a.nestedInto(middle); p.next();) {
          if (p.type !== CTA_PROTOINFO_TCP) continue;
          for (const t = p.nestedInto(inner); t.next();) {
            if (t.type === CTA_PROTOINFO_TCP_STATE) tcpState = t.u8();
          }
        }
        break;
    }
  }
  if (!original || !reply) return undefined;
  return { original, reply, status, timeout, mark, zone, id, tcpState };
}

function getTuple(attribute: AttributeCursor): Tuple | undefined {
  let source: Ip | undefined, destination: Ip | undefined;
  let protocol = 0;
  let sourcePort: number | undefined, destinationPort: number | undefined;
  let icmpId: number | undefined, icmpType = 0, icmpCode = 0;
  for (const t = attribute.nestedInto(middle); t.next();) {
    if (t.type === CTA_TUPLE_IP) {
      for (const i = t.nestedInto(inner); i.next();) {
        const ip: Ip = { family: i.type <= CTA_IP_V4_DST ? 4 : 6, bytes: i.bytes() };
        if (i.type === CTA_IP_V4_SRC || i.type === CTA_IP_V6_SRC) source = ip;
        else if (i.type === CTA_IP_V4_DST || i.type === CTA_IP_V6_DST) destination = ip;
      }
    } else if (t.type === CTA_TUPLE_PROTO) {
      for (const p = t.nestedInto(inner); p.next();) {
        if (p.type === CTA_PROTO_NUM) protocol = p.u8();
        else if (p.type === CTA_PROTO_SRC_PORT) sourcePort = p.be16();
        else if (p.type === CTA_PROTO_DST_PORT) destinationPort = p.be16();
        else if (p.type === CTA_PROTO_ICMP_ID || p.type === CTA_PROTO_ICMPV6_ID) icmpId = p.be16();
        else if (p.type === CTA_PROTO_ICMP_TYPE || p.type === CTA_PROTO_ICMPV6_TYPE) {
          icmpType = p.u8();
        } else if (p.type === CTA_PROTO_ICMP_CODE || p.type === CTA_PROTO_ICMPV6_CODE) {
          icmpCode = p.u8();
        }
      }
    }
  }
  if (!source || !destination) return undefined;
  const icmp = icmpId === undefined ? undefined : { id: icmpId, type: icmpType, code: icmpCode };
  return { source, destination, protocol, sourcePort, destinationPort, icmp };
}

/** `6 10.65.0.2:40000 -> 10.96.0.1:443`: protocol, from, to. */
export function describeTuple(tuple: Tuple): string {
  const end = (ip: Ip, port?: number) => {
    if (port === undefined) return formatIp(ip);
    return ip.family === 4 ? `${formatIp(ip)}:${port}` : `[${formatIp(ip)}]:${port}`;
  };
  return `${tuple.protocol} ${end(tuple.source, tuple.sourcePort)} -> ${
    end(tuple.destination, tuple.destinationPort)
  }`;
}

export function describeSelection(selection: FlowSelection): string {
  const words: string[] = [];
  for (const side of ["original", "reply"] as const) {
    for (const [key, value] of Object.entries(selection[side] ?? {})) {
      if (value === undefined) continue;
      words.push(`${side} ${key} ${typeof value === "number" ? value : formatIp(value as Ip)}`);
    }
  }
  return words.join(", ") || "nothing";
}
