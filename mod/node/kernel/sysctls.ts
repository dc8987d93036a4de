/**
 * Forwarding, proxy ARP and their like. No notification tells of them: the resync mends those of
 * interfaces; the few that everybody's packets depend on are looked at each second.
 */
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
  Object.keys(hostInterfaceSysctls(interfaceName, BOTH, true));

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

/** Milliseconds between two looks at what is watched. */
const WATCH = 1000;

/** Reads a few settings each second, and tells of those that are not as they were at the last look. */
export class SysctlWatch {
  readonly #seen = new Map<string, string | undefined>();
  readonly #timer: number;

  constructor(
    readonly names: () => readonly string[],
    readonly changed: (name: string, value: string | undefined) => void,
    readonly netns?: Netns,
  ) {
    this.#timer = setInterval(() => this.#look(), WATCH);
    Deno.unrefTimer(this.#timer);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    for (const name of this.names()) {
      const value = current(name, this.netns);
      const known = this.#seen.has(name), before = this.#seen.get(name);
      this.#seen.set(name, value);
      if (known && before !== value) this.changed(name, value);
    }
  }
}

/** undefined: there is none such, or none that can be read. */
function current(name: string, netns?: Netns): string | undefined {
  try {
    return readSysctl(name, netns);
  } catch (error) {
    if (isKernelError(error)) return undefined;
    throw error;
  }
}
