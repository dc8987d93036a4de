/**
 * Ranges of addresses as host-local has them (containernetworking/plugins, ipam/host-local): a range is
 * a part of a subnet without its gateway, a range set is several of one family, and a container gets
 * one address of every set. The search goes round: it begins behind the address that was given last, so
 * that an address is used again as late as possible. Pure.
 *
 * Rules and defaults are the real plugin's, since both may work on one folder: the gateway is the
 * subnet's first address, rangeStart the same, rangeEnd the last one that is no broadcast.
 */

import {
  addToIp,
  compareIp,
  formatIp,
  formatPrefix,
  type Ip,
  lastIp,
  type Prefix,
  prefixContains,
  sameIp,
} from "../../mod/net/mod.ts";

/** Stands in a configuration for the node's own network, which is known only at an ADD. */
export type PodCidr = "usePodCidr" | "usePodCidrIPv6";

/** One range as the configuration has it. */
export interface RangeConf {
  readonly subnet: Prefix | PodCidr;
  readonly rangeStart?: Ip;
  readonly rangeEnd?: Ip;
  readonly gateway?: Ip;
}

/** One range with everything known; start and end are its own. */
export interface Range {
  readonly subnet: Prefix;
  readonly rangeStart: Ip;
  readonly rangeEnd: Ip;
  readonly gateway: Ip;
}

export type RangeSet = readonly Range[];

/** A sentence's end: what is wrong with a range. */
export class RangeError extends Error {
  override readonly name = "RangeError";
}

export function completeRange(conf: RangeConf & { readonly subnet: Prefix }): Range {
  const { subnet } = conf;
  const { family } = subnet.ip;
  const bits = family === 4 ? 32 : 128;
  if (subnet.length > bits - 2) {
    throw new RangeError(
      `network ${formatPrefix(subnet)} is too small to allocate from: at most /${bits - 2}`,
    );
  }
  const first = addToIp(subnet.ip, 1);
  const last = family === 4 ? addToIp(lastIp(subnet), -1) : lastIp(subnet);
  const inside = (name: string, ip: Ip | undefined, otherwise: Ip): Ip => {
    if (ip && !prefixContains(subnet, ip)) {
      throw new RangeError(`${name} ${formatIp(ip)} is not in ${formatPrefix(subnet)}`);
    }
    return ip ?? otherwise;
  };
  const rangeStart = inside("rangeStart", conf.rangeStart, first);
  const rangeEnd = inside("rangeEnd", conf.rangeEnd, last);
  if (compareIp(rangeStart, rangeEnd) > 0) {
    throw new RangeError(
      `rangeStart ${formatIp(rangeStart)} comes after rangeEnd ${formatIp(rangeEnd)}`,
    );
  }
  return { subnet, rangeStart, rangeEnd, gateway: conf.gateway ?? first };
}

/** Refuses sets that could give one address twice, and two sets of one family. */
export function checkSets(sets: readonly RangeSet[]): void {
  if (sets.length === 0) throw new RangeError("no range of addresses is given");
  const all = sets.flatMap((set, number) => set.map((range) => ({ range, number })));
  for (const [number, set] of sets.entries()) {
    if (set.length === 0) throw new RangeError(`ranges[${number}] is empty`);
    if (set.some((r) => r.subnet.ip.family !== set[0].subnet.ip.family)) {
      throw new RangeError(`ranges[${number}] mixes IPv4 and IPv6`);
    }
  }
  for (const [i, a] of all.entries()) {
    for (const b of all.slice(i + 1)) {
      const apart = a.range.subnet.ip.family !== b.range.subnet.ip.family ||
        compareIp(a.range.rangeEnd, b.range.rangeStart) < 0 ||
        compareIp(b.range.rangeEnd, a.range.rangeStart) < 0;
      if (!apart) {
        throw new RangeError(`${formatRange(a.range)} and ${formatRange(b.range)} overlap`);
      }
    }
  }
  const families = sets.map((set) => set[0].subnet.ip.family);
  if (new Set(families).size < families.length) {
    throw new RangeError("more than one set of a family: an interface has one address of each");
  }
}

export function formatRange({ rangeStart, rangeEnd }: Range): string {
  return `${formatIp(rangeStart)}-${formatIp(rangeEnd)}`;
}

export function formatSet(set: RangeSet): string {
  return set.map(formatRange).join(",");
}

/** The range of a set that holds the address. */
export function rangeOf(set: RangeSet, ip: Ip): Range | undefined {
  return set.find(({ rangeStart, rangeEnd }) =>
    rangeStart.family === ip.family && compareIp(rangeStart, ip) <= 0 &&
    compareIp(ip, rangeEnd) <= 0
  );
}

/** All addresses of a set but the gateways, once round, from behind `last`. */
export function* candidates(
  set: RangeSet,
  last: Ip | undefined,
): Generator<{ ip: Ip; range: Range }> {
  const behind = last && rangeOf(set, last);
  let index = behind ? set.indexOf(behind) : 0;
  let current = behind ? last : undefined;
  let start: Ip | undefined;
  for (;;) {
    if (!current) current = set[index].rangeStart;
    else if (sameIp(current, set[index].rangeEnd)) {
      index = (index + 1) % set.length;
      current = set[index].rangeStart;
    } else current = addToIp(current, 1);
    if (!start) start = current;
    else if (sameIp(current, start)) return;
    if (!sameIp(current, set[index].gateway)) yield { ip: current, range: set[index] };
  }
}
