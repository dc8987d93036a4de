/**
 * IP prefixes (networks): an address whose host bits are zero, and a length. `parseCidr` keeps the
 * address as it was written beside the network it lies in, as Go's `net.ParseCIDR`; `parsePrefix`
 * gives the network alone, `parseStrictPrefix` refuses host bits. Calico's readers mask, its writers
 * refuse.
 */
import {
  addressBits,
  addToIp,
  compareIp,
  type Family,
  formatIp,
  type Ip,
  ipToBigInt,
  parseIp,
  sameIp,
} from "./ip.ts";

/** A network. `ip` has no host bits. */
export interface Prefix {
  readonly ip: Ip;
  readonly length: number;
}

/** Reads `10.1.2.3/24` as {ip 10.1.2.3, prefix 10.1.2.0/24}; undefined where it is not a CIDR. */
export function parseCidr(text: string): { ip: Ip; prefix: Prefix } | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const ip = parseIp(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (!ip || !/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  if (length > addressBits(ip.family)) return undefined;
  return { ip, prefix: prefixOf(ip, length) };
}

/** The network of a CIDR text, host bits masked away; a bare address is a /32 or /128. */
export function parsePrefix(text: string): Prefix | undefined {
  if (text.includes("/")) return parseCidr(text)?.prefix;
  const ip = parseIp(text);
  return ip && hostPrefix(ip);
}

/** As parsePrefix, but host bits and bare addresses are refused. */
export function parseStrictPrefix(text: string): Prefix | undefined {
  const cidr = parseCidr(text);
  return cidr && sameIp(cidr.ip, cidr.prefix.ip) ? cidr.prefix : undefined;
}

/** As parsePrefix, for texts that the program itself wrote: throws a TypeError on anything else. */
export function mustPrefix(text: string): Prefix {
  const prefix = parsePrefix(text);
  if (!prefix) throw new TypeError(`"${text}" is not a CIDR`);
  return prefix;
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatIp(prefix.ip)}/${prefix.length}`;
}

/** The network of `length` bits that holds the address. */
export function prefixOf(ip: Ip, length: number): Prefix {
  const bytes = ip.bytes.slice();
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - 8 * i));
    bytes[i] &= 0xff00 >> keep & 0xff;
  }
  return { ip: { family: ip.family, bytes }, length };
}

/** The /32 or /128 of one address. */
export function hostPrefix(ip: Ip): Prefix {
  return { ip, length: addressBits(ip.family) };
}

export function prefixFamily(prefix: Prefix): Family {
  return prefix.ip.family;
}

/** Addresses in the network. */
export function prefixSize(prefix: Prefix): bigint {
  return 1n << BigInt(addressBits(prefix.ip.family) - prefix.length);
}

export function lastIp(prefix: Prefix): Ip {
  return addToIp(prefix.ip, prefixSize(prefix) - 1n);
}

export function prefixContains(prefix: Prefix, ip: Ip): boolean {
  if (prefix.ip.family !== ip.family) return false;
  // Asked millions of times where sets are large: nothing is made here.
  const network = prefix.ip.bytes, { bytes } = ip;
  for (let i = 0, left = prefix.length; i < network.length; i++, left -= 8) {
    const mask = left >= 8 ? 0xff : left > 0 ? 0xff00 >> left & 0xff : 0;
    if ((bytes[i] & mask) !== network[i]) return false;
  }
  return true;
}

/** Whether every address of `inner` is one of `outer` (equal prefixes cover each other). */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return inner.length >= outer.length && prefixContains(outer, inner.ip);
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return prefixCovers(a, b) || prefixCovers(b, a);
}

export function samePrefix(a: Prefix, b: Prefix): boolean {
  return a.length === b.length && sameIp(a.ip, b.ip);
}

/** Order: by address, then the shorter (wider) first. */
export function comparePrefix(a: Prefix, b: Prefix): number {
  return compareIp(a.ip, b.ip) || a.length - b.length;
}

/** Position of an address in its network: 0 for the network address. */
export function ordinalOf(prefix: Prefix, ip: Ip): bigint {
  return ipToBigInt(ip) - ipToBigInt(prefix.ip);
}

/** The address at a position of the network. */
export function ipAt(prefix: Prefix, ordinal: number | bigint): Ip {
  return addToIp(prefix.ip, ordinal);
}
