/**
 * Which address is the node's: Calico's IP and IP_AUTODETECTION_METHOD (node/pkg/lifecycle/startup).
 * Pure: the host's interfaces and the route look-up are passed in, and the answer says by which rule
 * it was found, so that a wrong one can be understood.
 */
import { goRegExp } from "../model/go_regexp.ts";
import {
  type Family,
  formatIp,
  type Ip,
  parseCidr,
  parseIp,
  parsePrefix,
  prefixContains,
  sameIp,
} from "../net/mod.ts";
import { ConfigError } from "./config.ts";

export interface HostInterface {
  name: string;
  up: boolean;
  mtu: number;
  addresses: { ip: Ip; length: number }[];
}

export interface Host {
  interfaces: HostInterface[];
  /** The source address that the kernel would use towards a destination. */
  sourceTowards(destination: Ip): Ip | undefined;
}

export interface NodeAddress {
  ip: Ip;
  length: number;
  interfaceName: string;
  /** How it was found, in words. */
  by: string;
}

/** Beginnings of names that no node address is taken from by `first-found`. */
const EXCLUDED = [
  ...["docker", "cbr", "dummy", "podman", "virbr", "lxcbr", "veth", "lo", "br-", "cali", "tunl"],
  ...["flannel", "kube-ipvs", "cni", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali"],
  ...["wg-v6.cali", "nodelocaldns"],
];

function usable(ip: Ip): boolean {
  if (ip.family === 4) return ip.bytes[0] !== 127 && !(ip.bytes[0] === 169 && ip.bytes[1] === 254);
  const linkLocal = ip.bytes[0] === 0xfe && (ip.bytes[1] & 0xc0) === 0x80;
  return !linkLocal && ip.bytes.slice(0, 15).some((b) => b !== 0);
}

function candidates(host: Host, family: Family): NodeAddress[] {
  return host.interfaces.filter((i) => i.up).flatMap((i) =>
    i.addresses.filter((a) => a.ip.family === family && usable(a.ip))
      .map((a) => ({ ...a, interfaceName: i.name, by: "" }))
  );
}

/**
 * The interfaces that a Node lists (spec.interfaces), with their addresses, as Calico's startup does:
 * those from which an address could be taken at all.
 */
export function listedInterfaces(host: Host): { name: string; addresses: string[] }[] {
  return host.interfaces.filter(({ up, name }) => up && !isExcluded(name)).flatMap((i) => {
    const addresses = i.addresses.filter(({ ip }) => usable(ip)).map(({ ip }) => formatIp(ip));
    return addresses.length > 0 ? [{ name: i.name, addresses }] : [];
  });
}

function isExcluded(name: string): boolean {
  return EXCLUDED.some((start) => name.startsWith(start));
}

function patterns(method: string, list: string): RegExp[] {
  return list.split(",").map((text) => {
    try {
      return goRegExp(text);
    } catch {
      throw new ConfigError(`the autodetection method "${method}": "${text}" is not a pattern`);
    }
  });
}

function choose(method: string, family: Family, host: Host): NodeAddress | undefined {
  const all = candidates(host, family);
  const [verb, argument = ""] = method.split(/=(.*)/s);
  switch (verb) {
    case "first-found":
      return all.find((a) => !isExcluded(a.interfaceName));
    case "interface":
      for (const pattern of patterns(method, argument)) {
        const found = all.find((a) => pattern.test(a.interfaceName));
        if (found) return found;
      }
      return undefined;
    case "skip-interface": {
      const skip = patterns(method, argument);
      return all.find((a) =>
        !skip.some((p) => p.test(a.interfaceName)) && !isExcluded(a.interfaceName)
      );
    }
    case "cidr": {
      for (const text of argument.split(",")) {
        const prefix = parsePrefix(text);
        if (!prefix) throw new ConfigError(`the autodetection method "${method}" has no CIDR`);
        const found = all.find((a) => prefixContains(prefix, a.ip));
        if (found) return found;
      }
      return undefined;
    }
    case "can-reach": {
      const destination = parseIp(argument);
      if (!destination) {
        throw new ConfigError(`the autodetection method "${method}" wants an IP address`);
      }
      const source = host.sourceTowards(destination);
      return source && all.find((a) => sameIp(a.ip, source));
    }
    default:
      throw new ConfigError(
        `the autodetection method "${method}" is not known; use first-found, can-reach=IP, ` +
          `interface=PATTERN, skip-interface=PATTERN or cidr=CIDR`,
      );
  }
}

/**
 * The node's address of a family. `wish` is the IP variable: an address is taken as it is (without a
 * length the interface's), `none` gives undefined, `autodetect` and empty look by `method`.
 */
export function nodeAddress(
  wish: string,
  method: string,
  family: Family,
  host: Host,
): NodeAddress | undefined {
  if (wish === "none") return undefined;
  if (wish !== "" && wish !== "autodetect") {
    const cidr = parseCidr(wish);
    const ip = cidr?.ip ?? parseIp(wish)!;
    if (ip.family !== family) throw new ConfigError(`${wish} is not an IPv${family} address`);
    const own = candidates(host, family).find((a) => sameIp(a.ip, ip));
    if (!own) throw new ConfigError(`${formatIp(ip)} is no address of an interface that is up`);
    return { ...own, length: cidr?.prefix.length ?? own.length, by: "given" };
  }
  const found = choose(method, family, host);
  return found && { ...found, by: method };
}
