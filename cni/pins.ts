/**
 * Addresses pinned to the replicas of a workload, which Calico's ipAddrs cannot do (it names one pod's):
 *
 *     tortie.io/ip-pins         the addresses that the replicas share: a JSON list of texts, or a list
 *                               with commas; each part an address, a range a-b, or a CIDR
 *     tortie.io/ip-pins-spare   the same form: for a replica that finds none of them free
 *     tortie.io/ip-pins-keep    how long an ordinal's address is kept for it, once its pod is gone
 *                               (a duration such as 90s, 15m, 1h; one hour where it is missing)
 *
 * on the pod template. Every replica leases one address of each family that the list names. This is the
 * reading of it; `pin_leases.ts` carries it out. Pure.
 */

import {
  addToIp,
  compareIp,
  type Family,
  formatIp,
  type Ip,
  ipToBigInt,
  lastIp,
  parseIp,
  parsePrefix,
} from "../mod/net/mod.ts";
import { durationSeconds } from "../mod/model/duration.ts";
import { type AnnotationSource, quote } from "./annotation_source.ts";

/** First the one that names the addresses. */
export const PIN_NAMES = [
  "tortie.io/ip-pins",
  "tortie.io/ip-pins-spare",
  "tortie.io/ip-pins-keep",
] as const;

/** Addresses in the order in which they are tried. */
export type PinList = readonly Ip[];

export interface Pins {
  readonly addresses: PinList;
  readonly spare: PinList;
  /** Seconds for which an ordinal's address is kept for it. */
  readonly keep: number;
}

/** Of all parts together: each is looked at when a pod comes. */
const MOST = 4096;
const KEEP = 3600;
const LONGEST_KEEP = 10 * 365 * 86_400;

/**
 * undefined: nothing is pinned. An empty annotation is not none, as it is with Calico's own: it is an empty
 * list, by which a pod would get an ordinary address without a word. CniError `annotation` where it cannot
 * be read.
 */
export function readPins(pod: AnnotationSource): Pins | undefined {
  const [pins, spare, keep] = PIN_NAMES;
  if (!pod.isNamed(pins)) {
    for (const name of [spare, keep]) {
      if (pod.isNamed(name)) throw pod.refuse(name, `needs ${pins} beside it`);
    }
    return undefined;
  }
  const addresses = readList(pod, pins);
  if (addresses.length === 0) throw pod.refuse(pins, "is an empty list: name an address");
  const more = readList(pod, spare);
  const known = new Set(addresses.map(formatIp));
  const twice = more.find((ip) => known.has(formatIp(ip)));
  if (twice) throw pod.refuse(spare, `names ${formatIp(twice)}, which ${pins} names too`);
  const foreign = more.find((ip) => !addresses.some((a) => a.family === ip.family));
  if (foreign) {
    throw pod.refuse(spare, `names ${formatIp(foreign)}, and ${pins} no address of its family`);
  }
  return { addresses, spare: more, keep: readKeep(pod, keep) };
}

/** Families of which a replica gets an address. */
export function familiesOf(pins: Pins): Family[] {
  return ([4, 6] as const).filter((family) => pins.addresses.some((ip) => ip.family === family));
}

function readList(pod: AnnotationSource, name: string): Ip[] {
  const text = pod.text(name).trim();
  const parts = text.startsWith("[")
    ? pod.list(name).map((part) => part.trim())
    : text.split(",").map((part) => part.trim()).filter((part) => part !== "");
  const found = new Map<string, Ip>();
  for (const part of parts) {
    const range = readPart(part);
    if (!range) {
      throw pod.refuse(
        name,
        `${quote(part)} is not an address, a range of addresses a-b, or a CIDR without host bits`,
      );
    }
    const size = ipToBigInt(range.last) - ipToBigInt(range.first) + 1n;
    if (size + BigInt(found.size) > MOST) {
      throw pod.refuse(name, `names more than ${MOST} addresses: name fewer`);
    }
    for (let i = 0; i < Number(size); i++) {
      const ip = addToIp(range.first, i);
      if (found.has(formatIp(ip))) {
        throw pod.refuse(name, `names ${formatIp(ip)} twice`);
      }
      found.set(formatIp(ip), ip);
    }
  }
  return [...found.values()];
}

function readPart(part: string): { first: Ip; last: Ip } | undefined {
  if (part.includes("/")) {
    const prefix = parsePrefix(part);
    const ip = parseIp(part.slice(0, part.indexOf("/")));
    if (!prefix || !ip || compareIp(prefix.ip, ip) !== 0) return undefined;
    return { first: prefix.ip, last: lastIp(prefix) };
  }
  const ends = part.split("-").map((text) => parseIp(text.trim()));
  const [a, b] = ends.length === 1 ? [ends[0], ends[0]] : ends;
  if (!a || !b || ends.length > 2 || a.family !== b.family) return undefined;
  return compareIp(a, b) <= 0 ? { first: a, last: b } : undefined;
}

function readKeep(pod: AnnotationSource, name: string): number {
  if (!pod.isNamed(name)) return KEEP;
  const text = pod.text(name);
  const seconds = durationSeconds(text);
  if (seconds === undefined || seconds < 0 || seconds > LONGEST_KEEP) {
    throw pod.refuse(name, `${quote(text)} is not a duration, such as 90s, 15m or 1h`);
  }
  return Math.round(seconds);
}
