/**
 * Which addresses an attachment is to get: the annotations of its pod and namespace, CNI_ARGS and
 * the network configuration, in Calico's order of precedence:
 *
 *     ipAddrs, ipAddrsNoIpam   (pod)                   these addresses and no others
 *     IP=                      (CNI_ARGS)              the same
 *     ipv4pools, ipv6pools     (pod, else namespace)   from these pools, in this order
 *     ipam.ipv4_pools, …       (configuration)         the same
 *     otherwise                                        from the pools that select node and namespace
 *
 * Whole lists replace each other. Annotations come from whoever may write a pod: everything wrong in
 * them is refused with a sentence that names the annotation. Pure.
 */

import { formatIp, type Ip, parseIp, parsePrefix, type Prefix } from "../mod/net/mod.ts";
import { CniCode, CniError } from "./errors.ts";
import { shorten } from "./environment.ts";
import type { CniArgs } from "./args.ts";
import type { NetConf } from "./netconf.ts";

const PREFIX = "cni.projectcalico.org/";

export type Annotations = Readonly<Record<string, string>>;

/** What IPAM is to be asked. */
export type AddressPlan =
  | {
    /** One address of each family wanted, from these pools (as texts) or from any. */
    readonly kind: "automatic";
    readonly ipv4: boolean;
    readonly ipv6: boolean;
    readonly ipv4Pools: readonly string[];
    readonly ipv6Pools: readonly string[];
  }
  | { /** These addresses. */ readonly kind: "fixed"; readonly addresses: readonly Ip[] }
  | {
    /** These, without a record in IPAM. */ readonly kind: "unmanaged";
    readonly addresses: Ip[];
  };

/** What else the annotations of a pod say about its interface. */
export interface PodRequest {
  readonly plan: AddressPlan;
  /** MAC of the pod's side. */
  readonly mac: string | undefined;
  readonly floatingIps: readonly Ip[];
  readonly allowedSourcePrefixes: readonly Prefix[];
}

/** CniError `annotation` where an annotation cannot be followed. */
export function readRequest(
  conf: NetConf,
  args: CniArgs,
  pod: Annotations,
  namespace: Annotations,
): PodRequest {
  return {
    plan: addressPlan(conf, args, pod, namespace),
    mac: hardwareAddress(pod),
    floatingIps: floatingIps(conf, pod),
    allowedSourcePrefixes: list(pod, "allowedSourcePrefixes").map((text) => {
      const prefix = parsePrefix(text);
      if (!prefix) throw refuse("allowedSourcePrefixes", `${quote(text)} is not a CIDR`);
      return prefix;
    }),
  };
}

function addressPlan(
  conf: NetConf,
  args: CniArgs,
  pod: Annotations,
  namespace: Annotations,
): AddressPlan {
  const fixed = has(pod, "ipAddrs");
  const unmanaged = has(pod, "ipAddrsNoIpam");
  if (fixed && unmanaged) {
    throw refuse("ipAddrs", "excludes ipAddrsNoIpam: keep one of them");
  }
  if (unmanaged) {
    if (!conf.featureControl.ipAddrsNoIpam) {
      throw refuse(
        "ipAddrsNoIpam",
        "needs feature_control.ip_addrs_no_ipam in the network configuration",
      );
    }
    return { kind: "unmanaged", addresses: addresses(pod, "ipAddrsNoIpam") };
  }
  if (fixed) return { kind: "fixed", addresses: addresses(pod, "ipAddrs") };
  if (args.addresses.length > 0) return { kind: "fixed", addresses: args.addresses };

  const families = ipFamilies(pod) ?? ipFamilies(namespace);
  const pools = (name: string, configured: readonly string[]) =>
    has(pod, name) ? list(pod, name) : has(namespace, name) ? list(namespace, name) : configured;
  const plan = {
    kind: "automatic",
    ipv4: families ? families.includes(4) : conf.ipam.assignIpv4,
    ipv6: families ? families.includes(6) : conf.ipam.assignIpv6,
    ipv4Pools: pools("ipv4pools", conf.ipam.ipv4Pools),
    ipv6Pools: pools("ipv6pools", conf.ipam.ipv6Pools),
  } as const;
  if (!plan.ipv4 && !plan.ipv6) {
    throw new CniError(
      CniCode.configuration,
      "Network configuration: ipam.assign_ipv4 and ipam.assign_ipv6 are both off, so the pod would " +
        "have no address: turn one on.",
    );
  }
  return plan;
}

function addresses(from: Annotations, name: string): Ip[] {
  const texts = list(from, name);
  if (texts.length === 0) throw refuse(name, "is an empty list: name an address");
  const found: Ip[] = [];
  for (const text of texts) {
    const ip = parseIp(text);
    if (!ip) throw refuse(name, `${quote(text)} is not an IP address`);
    const same = found.find((f) => f.family === ip.family);
    if (same) {
      throw refuse(
        name,
        `asks for more than one IPv${ip.family} address, ${formatIp(same)} and ${formatIp(ip)}: ` +
          "an interface has one of each family",
      );
    }
    found.push(ip);
  }
  return found.sort((a, b) => a.family - b.family);
}

function ipFamilies(from: Annotations): (4 | 6)[] | undefined {
  if (!has(from, "ipFamilies")) return undefined;
  const texts = list(from, "ipFamilies");
  const families = texts.map((text) => text === "IPv4" ? 4 : text === "IPv6" ? 6 : undefined);
  const wrong = families.indexOf(undefined);
  if (wrong >= 0) throw refuse("ipFamilies", `${quote(texts[wrong])} is neither IPv4 nor IPv6`);
  if (families.length === 0 || new Set(families).size !== families.length) {
    throw refuse("ipFamilies", "must name IPv4, IPv6 or both, each once");
  }
  return families as (4 | 6)[];
}

function hardwareAddress(pod: Annotations): string | undefined {
  if (!has(pod, "hwAddr")) return undefined;
  const text = pod[PREFIX + "hwAddr"].trim().toLowerCase().replaceAll("-", ":");
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) {
    throw refuse("hwAddr", `${quote(text)} is not a MAC address`);
  }
  if (parseInt(text.slice(0, 2), 16) & 1 || text === "00:00:00:00:00:00") {
    throw refuse("hwAddr", `${text} is not the address of one interface`);
  }
  return text;
}

function floatingIps(conf: NetConf, pod: Annotations): Ip[] {
  if (!has(pod, "floatingIPs")) return [];
  if (!conf.featureControl.floatingIps) {
    throw refuse("floatingIPs", "needs feature_control.floating_ips in the network configuration");
  }
  return list(pod, "floatingIPs").map((text) => {
    const ip = parseIp(text);
    if (!ip) throw refuse("floatingIPs", `${quote(text)} is not an IP address`);
    return ip;
  });
}

function has(from: Annotations, name: string): boolean {
  return Object.hasOwn(from, PREFIX + name) && from[PREFIX + name] !== "";
}

/** A JSON list of texts; an annotation that is not there is an empty one. */
function list(from: Annotations, name: string): string[] {
  if (!has(from, name)) return [];
  let value: unknown;
  try {
    value = JSON.parse(from[PREFIX + name]);
  } catch {
    value = undefined;
  }
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw refuse(
      name,
      `${quote(from[PREFIX + name])} is not a JSON list of texts, such as '["a","b"]'`,
    );
  }
  return value;
}

function quote(text: string): string {
  return JSON.stringify(shorten(text));
}

function refuse(name: string, what: string): CniError {
  return new CniError(CniCode.annotation, `Annotation ${PREFIX}${name} ${what}.`);
}
