/** Protocols and ports as policies write them: names in any case or numbers; ports, ranges, names. */
import type { PortRange } from "./rules.ts";

const numbers: ReadonlyMap<string, number> = new Map([
  ["icmp", 1],
  ["tcp", 6],
  ["udp", 17],
  ["icmpv6", 58],
  ["sctp", 132],
  ["udplite", 136],
]);
const names: ReadonlyMap<number, string> = new Map([
  [1, "ICMP"],
  [6, "TCP"],
  [17, "UDP"],
  [58, "ICMPv6"],
  [132, "SCTP"],
  [136, "UDPLite"],
]);

/** `TCP`, `tcp`, 6 and `"6"` are 6; undefined for what is no protocol. */
export function protocolNumber(value: string | number): number | undefined {
  if (typeof value !== "number" && typeof value !== "string") return undefined;
  const n = typeof value === "number"
    ? value
    : numbers.get(value.toLowerCase()) ?? (/^[0-9]{1,3}$/.test(value) ? Number(value) : NaN);
  return Number.isInteger(n) && n >= 0 && n <= 255 ? n : undefined;
}

/** `TCP` for 6; the number as text where it has no name in Calico. */
export function protocolName(protocol: number): string {
  return names.get(protocol) ?? String(protocol);
}

/** A number, a range `"a:b"` or a name; undefined for what is none of them. */
export function parsePort(value: number | string): PortRange | string | undefined {
  if (typeof value === "number") return isPort(value) ? [value, value] : undefined;
  if (typeof value !== "string") return undefined;
  const range = /^([0-9]{1,5}):([0-9]{1,5})$/.exec(value);
  if (range) {
    const [first, last] = [Number(range[1]), Number(range[2])];
    return isPort(first) && isPort(last) && first <= last ? [first, last] : undefined;
  }
  if (/^[0-9]+$/.test(value)) return parsePort(Number(value));
  return /^[a-zA-Z0-9_.-]{1,128}$/.test(value) ? value : undefined;
}

/** Port 0 is no port of a connection, but Calico's ranges may begin there. */
function isPort(n: number): boolean {
  return Number.isInteger(n) && n >= 0 && n <= 65535;
}
