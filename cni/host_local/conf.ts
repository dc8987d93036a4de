/**
 * `ipam` of a network configuration whose type is host-local, with what Calico adds to it: a subnet may
 * be `usePodCidr` or `usePodCidrIPv6`, in any case of letters, and stands then for the network that
 * Kubernetes gave to this node (Node.status.podCIDRs). It is known only at an ADD; DEL, CHECK and GC
 * need no ranges at all.
 *
 * What is wrong is told with the field's name (code 7). Pure.
 */

import {
  type Family,
  formatPrefix,
  type Ip,
  parseCidr,
  parseIp,
  parseStrictPrefix,
  type Prefix,
} from "../../mod/net/mod.ts";
import { shorten } from "../environment.ts";
import { CniCode, CniError } from "../errors.ts";
import {
  checkSets,
  completeRange,
  type PodCidr,
  type RangeConf,
  RangeError,
  type RangeSet,
} from "./ranges.ts";

export interface HostLocalConf {
  /** An interface gets one address of each. */
  readonly sets: readonly (readonly RangeConf[])[];
  readonly dataDir: string | undefined;
  /** Path of a resolv.conf whose content is told as the result's dns. */
  readonly resolvConf: string | undefined;
}

type Fields = Record<string, unknown>;

/** CniError `configuration` where a field cannot be used. */
export function parseHostLocal(ipam: Fields): HostLocalConf {
  const sets: RangeConf[][] = [];
  // The old form, one range without lists, comes first.
  if (ipam.subnet !== undefined && ipam.subnet !== null && ipam.subnet !== "") {
    sets.push([parseRange(ipam, "ipam")]);
  }
  const { ranges } = ipam;
  if (ranges !== undefined && ranges !== null) {
    if (!Array.isArray(ranges)) throw wrong("ipam.ranges", "must be a list of lists of ranges");
    for (const [i, set] of ranges.entries()) {
      if (!Array.isArray(set)) throw wrong(`ipam.ranges[${i}]`, "must be a list of ranges");
      sets.push(set.map((range, j) => {
        const where = `ipam.ranges[${i}][${j}]`;
        if (typeof range !== "object" || range === null || Array.isArray(range)) {
          throw wrong(where, "must be an object with a subnet");
        }
        return parseRange(range as Fields, where);
      }));
    }
  }
  if (sets.length === 0) {
    throw wrong("ipam.ranges", "is missing: give ipam.subnet or ipam.ranges to host-local");
  }
  const conf = {
    sets,
    dataDir: absolute(ipam, "dataDir"),
    resolvConf: absolute(ipam, "resolvConf"),
  };
  // What can be told without the node is told now.
  if (sets.every((set) => set.every((r) => typeof r.subnet !== "string"))) resolveSets(conf, []);
  return conf;
}

function parseRange(range: Fields, where: string): RangeConf {
  return {
    subnet: parseSubnet(range.subnet, `${where}.subnet`),
    rangeStart: address(range, "rangeStart", where),
    rangeEnd: address(range, "rangeEnd", where),
    gateway: address(range, "gateway", where),
  };
}

function parseSubnet(value: unknown, where: string): Prefix | PodCidr {
  if (typeof value !== "string") throw wrong(where, "must be a text with a CIDR");
  const lower = value.toLowerCase();
  if (lower === "usepodcidr") return "usePodCidr";
  if (lower === "usepodcidripv6") return "usePodCidrIPv6";
  const prefix = parseStrictPrefix(value);
  if (prefix) return prefix;
  const loose = value.includes("/") ? parseCidr(value) : undefined;
  throw wrong(
    where,
    loose
      ? `${value} has host bits set: the network is ${formatPrefix(loose.prefix)}`
      : `${JSON.stringify(shorten(value))} is neither a CIDR nor usePodCidr or usePodCidrIPv6`,
  );
}

function address(range: Fields, key: string, where: string): Ip | undefined {
  const value = range[key];
  if (value === undefined || value === null || value === "") return undefined;
  const ip = typeof value === "string" ? parseIp(value) : undefined;
  if (!ip) {
    throw wrong(
      `${where}.${key}`,
      `${JSON.stringify(shorten(String(value)))} is not an IP address`,
    );
  }
  return ip;
}

function absolute(ipam: Fields, key: string): string | undefined {
  const value = ipam[key];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string" || !value.startsWith("/") || value.includes("\0")) {
    throw wrong(`ipam.${key}`, "must be an absolute path");
  }
  return value;
}

/** Whether an interface of this configuration gets an address of the family. */
export function givesFamily(conf: HostLocalConf, family: Family): boolean {
  return conf.sets.some(([range]) =>
    range !== undefined &&
    (typeof range.subnet === "string"
      ? range.subnet === (family === 4 ? "usePodCidr" : "usePodCidrIPv6")
      : range.subnet.ip.family === family)
  );
}

/** Whether the node's own network is asked for. */
export function usesPodCidr(conf: HostLocalConf): boolean {
  return conf.sets.some((set) => set.some((range) => typeof range.subnet === "string"));
}

/** The ranges with the node's networks in place; CniError `configuration` where they cannot be used. */
export function resolveSets(conf: HostLocalConf, podCidrs: readonly string[]): RangeSet[] {
  try {
    const sets = conf.sets.map((set) =>
      set.map((range) => completeRange({ ...range, subnet: subnetOf(range.subnet, podCidrs) }))
    );
    checkSets(sets);
    return sets;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw wrong("ipam of host-local:", error.message);
  }
}

function subnetOf(subnet: Prefix | PodCidr, podCidrs: readonly string[]): Prefix {
  if (typeof subnet !== "string") return subnet;
  const family = subnet === "usePodCidr" ? 4 : 6;
  for (const text of podCidrs) {
    const cidr = parseCidr(text);
    if (cidr?.ip.family === family && text.includes("/")) return cidr.prefix;
  }
  throw new RangeError(
    `${subnet} is asked for, and the Node has no IPv${family} network among its podCIDRs: let the ` +
      "cluster's controller manager allocate node CIDRs, or name a subnet",
  );
}

function wrong(field: string, rule: string): CniError {
  return new CniError(CniCode.configuration, `Network configuration: ${field} ${rule}.`);
}
