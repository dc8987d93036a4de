/**
 * Destinations that no peer can lead to: this host's own addresses, groups, and addresses of single
 * links (RFC 1122 3.2.1.3, RFC 4291 2.5.2, 2.5.3, 2.5.6, 2.7). A route to them from a peer is kept with
 * the reason and not used, as BIRD ignores it.
 *
 * What holds such addresses among others is no martian: 0.0.0.0/0 and 0.0.0.0/1 are ways for everything
 * else. Nor are 169.254.0.0/16, in which clouds have services, and 240.0.0.0/4, which clusters use for
 * their pods: BIRD takes both.
 */
import { type Family, mustPrefix, type Prefix, prefixCovers } from "../../mod/net/mod.ts";
import { type PrefixKey, prefixOfKey } from "../prefix_key.ts";

const MARTIANS: Record<Family, readonly (readonly [Prefix, string])[]> = {
  4: [
    [mustPrefix("0.0.0.0/8"), "this host's own"],
    [mustPrefix("127.0.0.0/8"), "this host's own"],
    [mustPrefix("224.0.0.0/4"), "those of groups"],
    [mustPrefix("255.255.255.255/32"), "those of a link"],
  ],
  6: [
    [mustPrefix("::/127"), "this host's own"],
    [mustPrefix("fe80::/10"), "those of a link"],
    [mustPrefix("ff00::/8"), "those of groups"],
  ],
};

/** Why a prefix cannot be a destination; undefined if it can. */
export function martian(key: PrefixKey): string | undefined {
  // Asked of each route of a table: an octet tells of nearly all.
  const first = typeof key === "number" ? Math.floor(key / 2 ** 30) : key.charCodeAt(0);
  if (
    typeof key === "number"
      ? first !== 0 && first !== 127 && first < 224
      : first !== 0 && first < 0xfe
  ) {
    return undefined;
  }
  const prefix = prefixOfKey(key);
  const found = MARTIANS[prefix.ip.family].find(([block]) => prefixCovers(block, prefix));
  return found && `no destination for a peer to lead to: its addresses are ${found[1]}`;
}
