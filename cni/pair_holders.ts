/**
 * Who has an address that no route of its own leads to, where no node service keeps an eye on that
 * (`mod/node/unrouted_holders.ts`): all pairs of the host are looked at, whatever the records say.
 */
import { RouteSocket } from "../ffi/route/socket.ts";
import { type Ip, sameIp } from "../mod/net/mod.ts";
import type { HostLink } from "./kernel.ts";
import { hostLink } from "./plumbing.ts";

export function pairHolder(ip: Ip): HostLink | undefined {
  using socket = RouteSocket.open();
  for (const link of socket.links()) {
    if (link.kind !== "veth" || link.linkNetnsId === undefined) continue;
    if (socket.addressesBeyond(link).some((one) => sameIp(one.ip, ip))) return hostLink(link);
  }
}
