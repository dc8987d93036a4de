/**
 * What a node needs of its kernel, as a table: each line has what it is for, the options of a kernel's
 * configuration that give it, the module that is loaded for it, and how it is tried (`probes.ts`).
 *
 *     table -> tried on this kernel, or looked up in a configuration -> findings -> lines for people
 *
 * Trying is the better question: a module that is listed may be refused by a lock-down or be absent
 * from the image, and one that is built in is listed nowhere.
 */

export interface Check {
  readonly name: string;
  /** What does not work without it. */
  readonly use: string;
  /** Without it no node runs; else the use alone is lost. */
  readonly needed: boolean;
  /** Options of which all must be y or m. */
  readonly config: readonly string[];
  /** What modprobe would load. */
  readonly module?: string;
}

export const CHECKS: readonly Check[] = [
  check("network namespaces", "pods", ["CONFIG_NET_NS"]),
  check("veth", "interfaces of pods", ["CONFIG_VETH"], "veth"),
  check(
    "nf_tables ip",
    "policy for IPv4",
    ["CONFIG_NF_TABLES", "CONFIG_NF_TABLES_IPV4"],
    "nf_tables",
  ),
  check("nf_tables ip6", "policy for IPv6", ["CONFIG_NF_TABLES_IPV6"], "nf_tables"),
  check("nft sets", "selectors of policy", ["CONFIG_NF_TABLES"], "nf_tables"),
  check("nft intervals", "CIDRs and port ranges of policy", ["CONFIG_NF_TABLES"], "nf_tables"),
  check("nft verdict maps", "dispatch of endpoints", ["CONFIG_NF_TABLES"], "nf_tables"),
  check("nft ct", "stateful policy", ["CONFIG_NFT_CT"], "nft_ct"),
  check("nft fib", "reverse path filter, policy of the host", [
    "CONFIG_NFT_FIB_IPV4",
    "CONFIG_NFT_FIB_IPV6",
  ], "nft_fib_ipv4"),
  check(
    "nft nat",
    "natOutgoing, floating IPs",
    ["CONFIG_NFT_NAT", "CONFIG_NF_NAT"],
    "nft_chain_nat",
  ),
  check("nft masquerade", "natOutgoing", ["CONFIG_NFT_MASQ"], "nft_masq"),
  check("nft reject", "the action Reject", ["CONFIG_NFT_REJECT"], "nft_reject_ipv4"),
  check("nft log", "the action Log", ["CONFIG_NFT_LOG"], "nft_log"),
  check("nft limit", "limits of packets and logs", ["CONFIG_NFT_LIMIT"], "nft_limit"),
  check("conntrack netlink", "cutting connections that policy forbids", [
    "CONFIG_NF_CONNTRACK",
    "CONFIG_NF_CT_NETLINK",
  ], "nf_conntrack_netlink"),
  check("ip_forward", "forwarding between pods", ["CONFIG_SYSCTL"]),
  check("rp_filter", "settings of pods' interfaces", ["CONFIG_SYSCTL"]),
  check("vxlan", "pools with vxlanMode", ["CONFIG_VXLAN"], "vxlan", false),
  check("ipip", "pools with ipipMode", ["CONFIG_NET_IPIP"], "ipip", false),
  check("ipv6", "IPv6", ["CONFIG_IPV6"], "ipv6", false),
];

function check(
  name: string,
  use: string,
  config: string[],
  module?: string,
  needed = true,
): Check {
  return { name, use, config, module, needed };
}

/** The oldest line of kernels that has all of netlink's forms that are used here. */
export const OLDEST_KERNEL = "5.4";

export interface Finding {
  readonly check: Check;
  /** Why it does not work; undefined where it does. */
  readonly fault: string | undefined;
}

/** Whether a release such as `6.1.0-32-amd64` is at least another. */
export function isAtLeast(release: string, least: string): boolean {
  const numbers = (text: string) => (/^\d+(\.\d+)*/.exec(text)?.[0] ?? "").split(".").map(Number);
  const [a, b] = [numbers(release), numbers(least)];
  for (let i = 0; i < b.length; i++) {
    const difference = (a[i] || 0) - b[i];
    if (difference !== 0) return difference > 0;
  }
  return true;
}

export interface KernelConfig {
  /** Of its head line, where it has one. */
  readonly release: string | undefined;
  /** y or m, by option. */
  readonly options: ReadonlyMap<string, string>;
}

/** undefined for a text that is no kernel's configuration. */
export function parseKernelConfig(text: string): KernelConfig | undefined {
  const options = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^(CONFIG_[A-Za-z0-9_]+)=(.*)$/gm)) {
    options.set(name, value.trim());
  }
  if (options.size === 0) return undefined;
  return { release: /^# Linux\/\S+ (\S+) Kernel Configuration/m.exec(text)?.[1], options };
}

export function judgeConfig({ options }: KernelConfig): Finding[] {
  return CHECKS.map((check) => {
    const missing = check.config.filter((name) => !/^[ym]$/.test(options.get(name) ?? "n"));
    return {
      check,
      fault: missing.length === 0 ? undefined : `the configuration has not ${missing.join(", ")}`,
    };
  });
}

/** A line as calicoctl's, with what to do below it where there is something. */
export function resultLine(what: string, result: "OK" | "FAIL" | "WARNING"): string {
  return `\t\t${what.padEnd(20)}\t\t\t\t\t${result}\n`;
}

export function findingText({ check, fault }: Finding): string {
  if (fault === undefined) return resultLine(check.name, "OK");
  const load = check.module ? `load it with \`modprobe ${check.module}\`, or ` : "";
  return resultLine(check.name, check.needed ? "FAIL" : "WARNING") +
    `${check.needed ? "ERROR" : "WARNING"}: ${check.name}: ${fault}. It is needed for ` +
    `${check.use}: ${load}take a kernel with ${check.config.join(", ")}\n`;
}
