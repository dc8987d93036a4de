/**
 * MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760): prefixes of any family with their next hop, inside of
 * an attribute. Families that we do not carry are given as bytes, to be named and left alone.
 *
 * The next hop of an IPv6 route is one address, or a global one and a link-local one after it
 * (RFC 2545); of an IPv4 route four octets, or an IPv6 one where that was agreed on (RFC 8950).
 */
import type { Ip } from "../../mod/net/mod.ts";
import type { AddressFamily } from "../config.ts";
import { type PrefixKey, readKeys } from "../prefix_key.ts";
import { u16 } from "./bytes.ts";
import { familyOf } from "./capability.ts";

export type MpReach =
  & { readonly afi: number; readonly safi: number; readonly nextHopBytes: Uint8Array }
  & ({
    readonly family: AddressFamily;
    readonly nextHop: Ip;
    readonly linkLocal?: Ip;
    readonly keys: PrefixKey[];
  } | { readonly family?: undefined; readonly nlri: Uint8Array });

/** The value, or what is wrong with it. */
export function decodeMpReach(value: Uint8Array): MpReach | string {
  if (value.length < 5) return `MP_REACH_NLRI of ${value.length} octets`;
  const [afi, safi, length] = [u16(value, 0), value[2], value[3]];
  const at = 4 + length;
  // One reserved octet follows the next hop.
  if (at + 1 > value.length) return `MP_REACH_NLRI with a next hop of ${length} octets`;
  const nextHopBytes = value.slice(4, at);
  const family = familyOf(afi, safi);
  if (!family) return { afi, safi, nextHopBytes, nlri: value.slice(at + 1) };
  const fits = length === 16 || length === 32 || (length === 4 && family === "ipv4");
  if (!fits) return `MP_REACH_NLRI for ${family} with a next hop of ${length} octets`;
  const keys = readKeys(value, at + 1, value.length, family);
  if (typeof keys === "string") return `MP_REACH_NLRI: ${keys}`;
  if (length === 4) {
    return { afi, safi, nextHopBytes, family, nextHop: { family: 4, bytes: nextHopBytes }, keys };
  }
  const first = nextHopBytes.slice(0, 16);
  const second = length === 32 ? nextHopBytes.slice(16) : undefined;
  const isLinkLocal = (b: Uint8Array) => b[0] === 0xfe && (b[1] & 0xc0) === 0x80;
  // Some speakers write the link-local address alone, or zeros for "none".
  const linkLocal = second && isLinkLocal(second) ? second : isLinkLocal(first) ? first : undefined;
  return {
    afi,
    safi,
    nextHopBytes,
    family,
    nextHop: { family: 6, bytes: first },
    linkLocal: linkLocal && { family: 6, bytes: linkLocal },
    keys,
  };
}

export type MpUnreach =
  & { readonly afi: number; readonly safi: number }
  & (
    | { readonly family: AddressFamily; readonly keys: PrefixKey[] }
    | { readonly family?: undefined; readonly nlri: Uint8Array }
  );

export function decodeMpUnreach(value: Uint8Array): MpUnreach | string {
  if (value.length < 3) return `MP_UNREACH_NLRI of ${value.length} octets`;
  const [afi, safi] = [u16(value, 0), value[2]];
  const family = familyOf(afi, safi);
  if (!family) return { afi, safi, nlri: value.slice(3) };
  const keys = readKeys(value, 3, value.length, family);
  if (typeof keys === "string") return `MP_UNREACH_NLRI: ${keys}`;
  return { afi, safi, family, keys };
}
