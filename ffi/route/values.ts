/** MAC addresses and IP families between text, netlink's numbers and bytes. */

import type { Family, Ip } from "../../mod/net/mod.ts";

/** AF_INET, AF_INET6. */
export function familyNumber(family: Family): number {
  return family === 4 ? 2 : 10;
}

/** The address in an attribute: four or sixteen bytes; undefined for anything else. */
export function ipOf(bytes: Uint8Array): Ip | undefined {
  if (bytes.length === 4) return { family: 4, bytes };
  if (bytes.length === 16) return { family: 6, bytes };
  return undefined;
}

/** `0a:58:0a:41:00:02` as six bytes. Throws TypeError on anything else. */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new TypeError(`"${text}" is not a MAC address`);
  }
  return Uint8Array.from(text.split(":"), (octet) => parseInt(octet, 16));
}

const hex = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));

/** Six bytes (or another link layer's number of them) as `0a:58:0a:41:00:02`. */
export function macText(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += i ? `:${hex[bytes[i]]}` : hex[bytes[i]];
  return text;
}
