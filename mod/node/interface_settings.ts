/**
 * What Calico sets on the host side of a pod's pair (cni-plugin, felix/dataplane): the pod asks for
 * 169.254.1.1 and is answered by proxy ARP, the host forwards for it and takes no routes from it.
 */
import type { Family } from "../net/mod.ts";

/**
 * By path below /proc/sys; of the families that the pod has addresses of. `spoofing`: it may send from
 * others too, so the kernel's own check must not stand in the way of ours.
 */
export function hostInterfaceSysctls(
  name: string,
  families: ReadonlySet<Family>,
  spoofing = false,
): Record<string, string> {
  const settings: Record<string, string> = { [`net/ipv6/conf/${name}/accept_ra`]: "0" };
  if (families.has(4)) {
    settings[`net/ipv4/conf/${name}/route_localnet`] = "1";
    settings[`net/ipv4/neigh/${name}/proxy_delay`] = "0";
    settings[`net/ipv4/conf/${name}/proxy_arp`] = "1";
    settings[`net/ipv4/conf/${name}/forwarding`] = "1";
    if (spoofing) settings[`net/ipv4/conf/${name}/rp_filter`] = "0";
  }
  if (families.has(6)) {
    settings[`net/ipv6/conf/${name}/proxy_ndp`] = "1";
    settings[`net/ipv6/conf/${name}/forwarding`] = "1";
  }
  return settings;
}
