/**
 * IP addresses as values: a family and the bytes in network order, as they stand in netlink, BGP and
 * on the wire. Text is read strictly (RFC 4291 section 2.2; no zone, no leading zeros as `inet_aton`
 * would take) and written as RFC 5952 says. No I/O, no state.
 */

export type Family = 4 | 6;

/** An IPv4 (4 bytes) or IPv6 (16 bytes) address in network byte order. Never changed in place. */
export interface Ip {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

/** Bits of an address: 32 or 128. */
export function addressBits(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** Reads `192.0.2.1` or `2001:db8::1`; undefined for anything else. */
export function parseIp(text: string): Ip | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** As parseIp, for texts that the program itself wrote: throws a TypeError on anything else. */
export function mustIp(text: string): Ip {
  const ip = parseIp(text);
  if (!ip) throw new TypeError(`"${text}" is not an IP address`);
  return ip;
}

function parseIpv4(text: string): Ip | undefined {
  const bytes = ipv4Bytes(text);
  return bytes && { family: 4, bytes };
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i];
    // A leading zero is refused: some readers take 010 for eight.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined;
    const n = Number(part);
    if (n > 255) return undefined;
    bytes[i] = n;
  }
  return bytes;
}

function parseIpv6(text: string): Ip | undefined {
  let words = text;
  let tail: Uint8Array | undefined;
  const lastColon = text.lastIndexOf(":");
  if (text.includes(".", lastColon)) {
    tail = ipv4Bytes(text.slice(lastColon + 1));
    if (!tail) return undefined;
    words = text.slice(0, lastColon + 1);
    if (!words.endsWith("::")) words = words.slice(0, -1);
  }
  const room = tail ? 6 : 8;
  const halves = words.split("::");
  if (halves.length > 2) return undefined;
  const head = halves[0] === "" ? [] : halves[0].split(":");
  const rest = halves.length === 1 || halves[1] === "" ? [] : halves[1].split(":");
  if (halves.length === 1 ? head.length !== room : head.length + rest.length >= room) {
    return undefined;
  }
  const bytes = new Uint8Array(16);
  const put = (word: string, at: number): boolean => {
    if (!/^[0-9a-fA-F]{1,4}$/.test(word)) return false;
    const n = parseInt(word, 16);
    bytes[at] = n >> 8;
    bytes[at + 1] = n & 0xff;
    return true;
  };
  for (let i = 0; i < head.length; i++) if (!put(head[i], 2 * i)) return undefined;
  for (let i = 0; i < rest.length; i++) {
    if (!put(rest[i], 2 * (room - rest.length + i))) return undefined;
  }
  if (tail) bytes.set(tail, 12);
  return { family: 6, bytes };
}

/** Writes an address as RFC 5952: lower case, longest run of zero words cut, IPv4-mapped as dotted. */
export function formatIp(ip: Ip): string {
  const b = ip.bytes;
  if (ip.family === 4) return `${b[0]}.${b[1]}.${b[2]}.${b[3]}`;
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push(b[i] << 8 | b[i + 1]);
  if (words.slice(0, 5).every((w) => w === 0) && words[5] === 0xffff) {
    return `::ffff:${b[12]}.${b[13]}.${b[14]}.${b[15]}`;
  }
  let best = -1, bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && words[j] === 0) j++;
    if (j - i > bestLength) [best, bestLength] = [i, j - i];
    if (j > i) i = j;
  }
  const hex = (part: number[]) => part.map((w) => w.toString(16)).join(":");
  if (best < 0) return hex(words);
  return `${hex(words.slice(0, best))}::${hex(words.slice(best + bestLength))}`;
}

/** The address as one unsigned number. */
export function ipToBigInt(ip: Ip): bigint {
  let n = 0n;
  for (const b of ip.bytes) n = n << 8n | BigInt(b);
  return n;
}

/** The address of a number; a RangeError where it does not fit the family. */
export function ipFromBigInt(family: Family, n: bigint): Ip {
  const size = family === 4 ? 4 : 16;
  if (n < 0n || n >> BigInt(8 * size) !== 0n) {
    throw new RangeError(`${n} is not an IPv${family} address`);
  }
  const bytes = new Uint8Array(size);
  for (let i = size - 1; i >= 0; i--, n >>= 8n) bytes[i] = Number(n & 0xffn);
  return { family, bytes };
}

/** The address n after this one; a RangeError past the end of the family's space. */
export function addToIp(ip: Ip, n: number | bigint): Ip {
  return ipFromBigInt(ip.family, ipToBigInt(ip) + BigInt(n));
}

/** Order: IPv4 before IPv6, then by number. */
export function compareIp(a: Ip, b: Ip): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.bytes.length; i++) {
    if (a.bytes[i] !== b.bytes[i]) return a.bytes[i] - b.bytes[i];
  }
  return 0;
}

/** A key of an address, other than that of any other one, which costs less than its text. */
export function ipKey({ bytes }: Ip): string {
  return bytesKey(bytes, 0, bytes.length);
}

/** `ipKey` of an address that stands in a message. */
export function bytesKey(bytes: Uint8Array, at: number, length: number): string {
  if (length === 4) {
    return String.fromCharCode(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
  }
  let key = "";
  for (let i = at; i < at + length; i += 8) {
    key += String.fromCharCode(
      ...[bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]],
      ...[bytes[i + 4], bytes[i + 5], bytes[i + 6], bytes[i + 7]],
    );
  }
  return key;
}

export function sameIp(a: Ip, b: Ip): boolean {
  return compareIp(a, b) === 0;
}

/** fe80::/10: an address of one link (RFC 4291 2.5.6). */
export function isLinkLocal({ family, bytes }: Ip): boolean {
  return family === 6 && bytes[0] === 0xfe && (bytes[1] & 0xc0) === 0x80;
}
