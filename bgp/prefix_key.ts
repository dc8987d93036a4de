/**
 * Prefixes as keys of maps, and as NLRI on the wire. A table of ten thousand routes should cost what
 * its routes cost, not what objects around four bytes cost: an IPv4 prefix is one number (address
 * times 64 plus length), an IPv6 one a string of 17 code units below 256 (16 octets and the length).
 * The type of the key tells the family.
 *
 * On the wire a prefix is its length in bits and as many octets as that needs; bits beyond the length
 * are of no value (RFC 4271 section 4.3) and are cleared on reading.
 */
import type { Family, Prefix } from "../mod/net/mod.ts";
import type { AddressFamily } from "./config.ts";
import type { Writer } from "./message/bytes.ts";

export type PrefixKey = number | string;

export function keyFamily(key: PrefixKey): AddressFamily {
  return typeof key === "number" ? "ipv4" : "ipv6";
}

export function ipFamily(family: AddressFamily): Family {
  return family === "ipv4" ? 4 : 6;
}

export function keyOf(prefix: Prefix): PrefixKey {
  const b = prefix.ip.bytes;
  if (prefix.ip.family === 4) {
    return ((b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]) >>> 0) * 64 + prefix.length;
  }
  return String.fromCharCode(...b, prefix.length);
}

export function keyLength(key: PrefixKey): number {
  return typeof key === "number" ? key % 64 : key.charCodeAt(16);
}

export function prefixOfKey(key: PrefixKey): Prefix {
  if (typeof key === "number") {
    const address = Math.floor(key / 64);
    const bytes = new Uint8Array(4);
    bytes[0] = address >>> 24;
    bytes[1] = address >>> 16;
    bytes[2] = address >>> 8;
    bytes[3] = address;
    return { ip: { family: 4, bytes }, length: key % 64 };
  }
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) bytes[i] = key.charCodeAt(i);
  return { ip: { family: 6, bytes }, length: key.charCodeAt(16) };
}

/** Order of printed tables: IPv4 first, by address, the wider first. */
export function compareKeys(a: PrefixKey, b: PrefixKey): number {
  if (typeof a === "number") return typeof b === "number" ? a - b : -1;
  if (typeof b === "number") return 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Octets that the prefix takes on the wire. */
export function wireSize(key: PrefixKey): number {
  return 1 + (keyLength(key) + 7 >> 3);
}

export function writeKey(out: Writer, key: PrefixKey): void {
  const length = keyLength(key);
  out.u8(length);
  const octets = length + 7 >> 3;
  if (typeof key === "number") {
    const address = Math.floor(key / 64);
    for (let i = 0; i < octets; i++) out.u8(address >>> 24 - 8 * i & 0xff);
  } else {
    for (let i = 0; i < octets; i++) out.u8(key.charCodeAt(i));
  }
}

/**
 * Reads the prefixes that fill `bytes` from `at` to `to`; the words of what is wrong where they do
 * not (a length beyond the family's, or the last prefix cut off).
 */
export function readKeys(
  bytes: Uint8Array,
  at: number,
  to: number,
  family: AddressFamily,
): PrefixKey[] | string {
  const keys: PrefixKey[] = [];
  const most = family === "ipv4" ? 32 : 128;
  while (at < to) {
    const length = bytes[at++];
    if (length > most) return `prefix length ${length} in ${family}`;
    const octets = length + 7 >> 3;
    if (at + octets > to) return `the ${family} prefixes end inside of a prefix`;
    keys.push(family === "ipv4" ? readKey4(bytes, at, length) : readKey6(bytes, at, length));
    at += octets;
  }
  return keys;
}

function readKey4(bytes: Uint8Array, at: number, length: number): number {
  let address = 0;
  if (length > 0) address = bytes[at] << 24;
  if (length > 8) address |= bytes[at + 1] << 16;
  if (length > 16) address |= bytes[at + 2] << 8;
  if (length > 24) address |= bytes[at + 3];
  // A shift by 32 is a shift by nothing.
  if (length < 32) address &= length === 0 ? 0 : -1 << 32 - length;
  return (address >>> 0) * 64 + length;
}

function readKey6(bytes: Uint8Array, at: number, length: number): string {
  const octets = length + 7 >> 3;
  let text = "";
  for (let i = 0; i < octets; i++) {
    const spare = 8 * (i + 1) - length;
    text += String.fromCharCode(spare > 0 ? bytes[at + i] & 0xff << spare & 0xff : bytes[at + i]);
  }
  return text.padEnd(16, "\0") + String.fromCharCode(length);
}
