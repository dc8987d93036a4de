/**
 * ICMP echo (RFC 792) and ICMPv6 echo (RFC 4443) as values: what the lab's pings and the node's path MTU
 * probes send and read on raw sockets.
 */
import type { Family } from "./ip.ts";

/** IP protocol numbers. */
export const ICMP = 1, ICMPV6 = 58;
const HEADER = 8;

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** A request of so many bytes, ICMP header included, IP header not. */
export function echoRequest(
  family: Family,
  id: number,
  sequence: number,
  length = 64,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.max(length, HEADER));
  const view = new DataView(bytes.buffer);
  bytes[0] = family === 4 ? 8 : 128;
  view.setUint16(4, id);
  view.setUint16(6, sequence);
  // The kernel fills in ICMPv6's checksum itself.
  if (family === 4) view.setUint16(2, checksum(bytes));
  return bytes;
}

/** What a raw socket has received, if it is an echo reply. IPv4 comes with the IP header in front. */
export function readEchoReply(
  family: Family,
  bytes: Uint8Array,
): { id: number; sequence: number } | undefined {
  const at = family === 4 ? (bytes[0] & 15) * 4 : 0;
  if (bytes.length < at + HEADER || bytes[at] !== (family === 4 ? 0 : 129)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  return { id: view.getUint16(4), sequence: view.getUint16(6) };
}
