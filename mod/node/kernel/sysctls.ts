/** Forwarding, proxy ARP and their like. No notification tells of them: the resync mends them. */
import { isKernelError } from "../../../ffi/errors.ts";
import type { Netns } from "../../../ffi/netns.ts";
import { readSysctl, writeSysctl } from "../../../ffi/sysctl.ts";
import type { Family } from "../../net/mod.ts";
import { hostInterfaceSysctls } from "../interface_settings.ts";
import { Reconciler } from "../reconciler.ts";
import type { LinkTable } from "./link_table.ts";

const BOTH: ReadonlySet<Family> = new Set([4, 6]);

/** Of the whole node. */
export const GLOBAL_SYSCTLS: Readonly<Record<string, string>> = { "net/ipv4/ip_forward": "1" };

/**
 * Only where there are IPv6 pods: a host that forwards takes no routes from router advertisements, and
 * one that has its own default route by them would lose it.
 */
export const IPV6_FORWARDING = "net/ipv6/conf/all/forwarding";

/** All that may be set of an endpoint's interface. */
export const sysctlsOf = (interfaceName: string): string[] =>
  Object.keys(hostInterfaceSysctls(interfaceName, BOTH));

/** `netns`: absent, the calling thread's. */
export function sysctls(links: LinkTable, netns?: Netns): Reconciler<string> {
  return new Reconciler<string>({
    name: "sysctl",
    read() {
      const names = [
        ...Object.keys(GLOBAL_SYSCTLS),
        IPV6_FORWARDING,
        ...links.endpoints().flatMap((link) => sysctlsOf(link.name)),
      ];
      const values = new Map<string, string>();
      for (const name of names) {
        try {
          const value = readSysctl(name, netns);
          if (value !== undefined) values.set(name, value);
        } catch (error) {
          if (!isKernelError(error, "ENOENT")) throw error;
        }
      }
      return values;
    },
    same: (a, b) => a === b,
    put(name, value) {
      try {
        writeSysctl(name, value, netns);
      } catch (error) {
        // A kernel without IPv6, or an interface that has just gone.
        if (!isKernelError(error, "ENOENT")) throw error;
      }
    },
    remove: () => {},
    ours: () => false,
  });
}
