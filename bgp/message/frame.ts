/** The header put before a message's body, and the messages that are a header and little more. */
import type { AddressFamily } from "../config.ts";
import { Writer } from "./bytes.ts";
import { afiOf, familyOf, SAFI_UNICAST } from "./capability.ts";
import { type Decoded, errorName, fail, type ProtocolError, REFRESH_ERROR } from "./error.ts";
import { HEADER_LENGTH, KEEPALIVE, NOTIFICATION, ROUTE_REFRESH } from "./framer.ts";
import { u16 } from "./bytes.ts";

const MARKER = new Uint8Array(16).fill(0xff);

/** Begins a message whose length is set by `endMessage`; returns where it begins. */
export function beginMessage(out: Writer, type: number): number {
  const start = out.length;
  out.bytes(MARKER).u16(0).u8(type);
  return start;
}

export function endMessage(out: Writer, start: number): void {
  out.patch16(start + 16, out.length - start);
}

export function frame(type: number, body: Uint8Array): Uint8Array {
  const out = new Writer(HEADER_LENGTH + body.length);
  const start = beginMessage(out, type);
  out.bytes(body);
  endMessage(out, start);
  return out.done();
}

const KEEPALIVE_BYTES = frame(KEEPALIVE, new Uint8Array(0));

export function encodeKeepalive(): Uint8Array {
  return KEEPALIVE_BYTES;
}

export interface Notification {
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
}

export function decodeNotification(body: Uint8Array): Notification {
  return { code: body[0], subcode: body[1], data: body.slice(2) };
}

export function encodeNotification(error: Pick<ProtocolError, "code" | "subcode" | "data">) {
  // What is too long for a message is cut: data only helps to find the fault.
  const data = error.data.subarray(0, 4096 - HEADER_LENGTH - 2);
  return frame(
    NOTIFICATION,
    new Writer().u8(error.code).u8(error.subcode).bytes(data).done(),
  );
}

/**
 * The data of a Cease 2 or 4 with a reason in words (RFC 9003): a length octet and UTF-8, cut after a
 * whole character at 255 octets.
 */
export function shutdownData(reason: string): Uint8Array {
  let bytes = new TextEncoder().encode(reason);
  if (bytes.length > 255) {
    let end = 255;
    while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--;
    bytes = bytes.slice(0, end);
  }
  return new Writer().u8(bytes.length).bytes(bytes).done();
}

/** A NOTIFICATION in words, with the text of RFC 9003 if it carries one. */
export function describeNotification(notification: Notification): string {
  const name = errorName(notification.code, notification.subcode);
  const { code, subcode, data } = notification;
  if (code === 6 && (subcode === 2 || subcode === 4) && data.length > 1) {
    if (data[0] > 0 && data[0] <= data.length - 1) {
      // Malformed UTF-8 becomes replacement characters; control characters would reach a terminal.
      const text = new TextDecoder().decode(data.subarray(1, 1 + data[0]))
        .replace(/[\p{Cc}\p{Cf}]/gu, "\ufffd");
      return `${name} ("${text}")`;
    }
  }
  return name;
}

/** RFC 2918 and RFC 7313: 0 asks, 1 begins, 2 ends a refresh. */
export interface RouteRefresh {
  readonly afi: number;
  readonly safi: number;
  readonly subtype: number;
  /** Absent for a family that we do not carry. */
  readonly family?: AddressFamily;
  /** Outbound route filters (RFC 5291), which we do not offer and do not read. */
  readonly data: Uint8Array;
}

/** Reads a ROUTE-REFRESH; the marks of RFC 7313 have no more than a family. */
export function decodeRouteRefresh(body: Uint8Array): Decoded<RouteRefresh> {
  const [afi, safi] = [u16(body, 0), body[3]];
  if (body.length !== 4 && (body[2] === 1 || body[2] === 2)) {
    const text = `ROUTE-REFRESH of subtype ${body[2]} with ${body.length - 4} octets too many`;
    return fail(REFRESH_ERROR, 1, text, frame(ROUTE_REFRESH, body));
  }
  const value = { afi, safi, subtype: body[2], family: familyOf(afi, safi), data: body.slice(4) };
  return { ok: true, value };
}

export function encodeRouteRefresh(family: AddressFamily, subtype = 0): Uint8Array {
  return frame(
    ROUTE_REFRESH,
    new Writer().u16(afiOf(family)).u8(subtype).u8(SAFI_UNICAST).done(),
  );
}
