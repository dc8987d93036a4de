/**
 * Writing UPDATEs. A group of prefixes with equal attributes goes into as few messages of 4096 octets
 * as hold it. IPv4 prefixes stand in the message's own fields, IPv6 ones in MP_REACH_NLRI and
 * MP_UNREACH_NLRI, which comes first among the attributes (RFC 7606 section 5.1).
 */
import type { AddressFamily } from "../config.ts";
import { type PrefixKey, wireSize, writeKey } from "../prefix_key.ts";
import {
  ATTRIBUTES,
  EXTENDED_LENGTH,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  OPTIONAL,
  PARTIAL,
  TRANSITIVE,
  type WireContext,
} from "./attribute_table.ts";
import type { Attributes } from "./attributes.ts";
import { Writer } from "./bytes.ts";
import { afiOf, SAFI_UNICAST } from "./capability.ts";
import { beginMessage, endMessage } from "./frame.ts";
import { HEADER_LENGTH, MAX_LENGTH, UPDATE } from "./framer.ts";

/** Room for prefixes that must be left by the attributes; a route with more attributes is not sent. */
const LEAST_ROOM = 64;

/** All attributes but the MP ones, in the order of their types; NEXT_HOP if it is an IPv4 one. */
export function encodeAttributes(attributes: Attributes, context: WireContext): Uint8Array {
  const out = new Writer(128);
  const unknown = attributes.unknown ?? [];
  let next = 0;
  for (const spec of ATTRIBUTES) {
    while (next < unknown.length && unknown[next].type < spec.type) writeRaw(out, unknown[next++]);
    if (!spec.encode) continue;
    const value = new Writer();
    if (spec.encode(attributes, value, context)) {
      const partial = attributes.partial?.includes(spec.type) ? PARTIAL : 0;
      writeRaw(out, { type: spec.type, flags: spec.flags | partial, value: value.done() });
    }
  }
  while (next < unknown.length) writeRaw(out, unknown[next++]);
  return out.done();
}

function writeRaw(out: Writer, raw: { type: number; flags: number; value: Uint8Array }): void {
  const flags = raw.flags & (OPTIONAL | TRANSITIVE | PARTIAL);
  if (raw.value.length > 255) {
    out.u8(flags | EXTENDED_LENGTH).u8(raw.type).u16(raw.value.length);
  } else out.u8(flags).u8(raw.type).u8(raw.value.length);
  out.bytes(raw.value);
}

/** Whether a message with these attributes has room for prefixes. */
export function attributesFit(encoded: Uint8Array): boolean {
  return encoded.length <= MAX_LENGTH - HEADER_LENGTH - 4 - 44 - LEAST_ROOM;
}

/** The next hop field of MP_REACH_NLRI. */
function nextHopBytes(attributes: Attributes): Uint8Array {
  const [global, link] = [attributes.nextHop!, attributes.linkLocal];
  if (!link) return global.bytes;
  const bytes = new Uint8Array(32);
  bytes.set(global.bytes);
  bytes.set(link.bytes, 16);
  return bytes;
}

/**
 * Writes UPDATEs that announce the prefixes, all of one family, with the attributes; returns how many.
 * `encoded` is `encodeAttributes(attributes)`, so that it is made once for many peers.
 */
export function writeAnnouncements(
  out: Writer,
  family: AddressFamily,
  attributes: Attributes,
  encoded: Uint8Array,
  keys: readonly PrefixKey[],
): number {
  const hop = attributes.nextHop?.family === 6 ? nextHopBytes(attributes) : undefined;
  // Withdrawn length, attributes length; MP_REACH_NLRI: 4 of head, AFI, SAFI, next hop, reserved.
  const fixed = HEADER_LENGTH + 4 + encoded.length + (hop ? 4 + 5 + hop.length : 0);
  return inMessages(keys, MAX_LENGTH - fixed, (from, to, size) => {
    const start = beginMessage(out, UPDATE);
    out.u16(0);
    if (hop) {
      out.u16(4 + 5 + hop.length + size + encoded.length);
      out.u8(OPTIONAL | EXTENDED_LENGTH).u8(MP_REACH_NLRI).u16(5 + hop.length + size);
      out.u16(afiOf(family)).u8(SAFI_UNICAST).u8(hop.length).bytes(hop).u8(0);
      for (let i = from; i < to; i++) writeKey(out, keys[i]);
      out.bytes(encoded);
    } else {
      out.u16(encoded.length).bytes(encoded);
      for (let i = from; i < to; i++) writeKey(out, keys[i]);
    }
    endMessage(out, start);
  });
}

/** Writes UPDATEs that withdraw the prefixes, all of one family; returns how many. */
export function writeWithdrawals(
  out: Writer,
  family: AddressFamily,
  keys: readonly PrefixKey[],
): number {
  const fixed = HEADER_LENGTH + 4 + (family === "ipv6" ? 4 + 3 : 0);
  return inMessages(keys, MAX_LENGTH - fixed, (from, to, size) => {
    const start = beginMessage(out, UPDATE);
    if (family === "ipv6") {
      out.u16(0).u16(4 + 3 + size);
      out.u8(OPTIONAL | EXTENDED_LENGTH).u8(MP_UNREACH_NLRI).u16(3 + size);
      out.u16(afiOf(family)).u8(SAFI_UNICAST);
    } else out.u16(size);
    for (let i = from; i < to; i++) writeKey(out, keys[i]);
    if (family === "ipv4") out.u16(0);
    endMessage(out, start);
  });
}

/** End-of-RIB of a family (RFC 4724 section 2). */
export function writeEndOfRib(out: Writer, family: AddressFamily): void {
  const start = beginMessage(out, UPDATE);
  if (family === "ipv4") out.u16(0).u16(0);
  else {
    out.u16(0).u16(6).u8(OPTIONAL).u8(MP_UNREACH_NLRI).u8(3).u16(afiOf(family)).u8(SAFI_UNICAST);
  }
  endMessage(out, start);
}

/** Cuts the prefixes into runs that fit into `room` octets each. */
function inMessages(
  keys: readonly PrefixKey[],
  room: number,
  write: (from: number, to: number, size: number) => void,
): number {
  let messages = 0;
  for (let from = 0; from < keys.length;) {
    let to = from, size = 0;
    while (to < keys.length && size + wireSize(keys[to]) <= room) size += wireSize(keys[to++]);
    write(from, to, size);
    messages++;
    from = to;
  }
  return messages;
}
