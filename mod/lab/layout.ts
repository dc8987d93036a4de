/**
 * What a lab is made of, before anything is made: names, addresses, directories. Pure.
 *
 *     router namespace  ──br1── 10.10.1.1/24 ── node1 .11, node2 .12        a plain router: it knows
 *                       ──br2── 10.10.2.1/24 ── node3 .11                   the subnets and no pods
 *
 * With IPv6 each subnet has fd00:10:10:<n>::/64 too, or that alone; host numbers are those of IPv4.
 *
 * Every node is a network namespace with its own run, state and CNI directories; the datastore is a
 * process of its own outside of them, reached over a Unix socket. All names begin with the lab's, so
 * that `lab down` finds what a killed `lab up` left behind.
 */
import {
  addToIp,
  type Family,
  formatIp,
  formatPrefix,
  mustPrefix,
  parseCidr,
  parsePrefix,
  type Prefix,
  prefixContains,
} from "../net/mod.ts";
import { LabError } from "./workloads.ts";

export interface LabNode {
  readonly name: string;
  readonly namespace: string;
  readonly subnet: number;
  /** With prefix length, IPv4 before IPv6: one for each family of the lab. */
  readonly addresses: readonly string[];
  readonly directory: string;
}

export interface LabSubnet {
  readonly bridge: string;
  /** The router's addresses, with prefix length; the nodes' default gateways. */
  readonly routers: readonly string[];
}

export interface LabLayout {
  readonly name: string;
  readonly directory: string;
  /** Of nodes and pods. */
  readonly families: readonly Family[];
  readonly routerNamespace: string;
  readonly storeSocket: string;
  readonly storeFile: string;
  readonly subnets: readonly LabSubnet[];
  readonly nodes: readonly LabNode[];
}

/** Where labs keep their files. */
export const LAB_ROOT = "/run/tortie-lab";

export const namespacePrefix = (lab: string) => `tortie-${lab}-`;

/**
 * Reads `--subnets`: for each subnet the number of its nodes, its CIDR, or both. `2,1` (subnets
 * 10.10.1.0/24, 10.10.2.0/24 …), `192.168.5.0/24:2,192.168.6.0/24:1`, or with `nodes` given
 * `192.168.5.0/24,192.168.6.0/24`, over which the nodes are spread, the first ones getting more.
 */
export function parseSubnets(text: string, nodes?: number): { cidr: Prefix; nodes: number }[] {
  const parts = text.split(",").map((part, i) => {
    const [, cidrText, countText] = /^(?:([^:]+\/\d+)?:?)(\d+)?$/.exec(part) ?? [];
    const cidr = cidrText ? parsePrefix(cidrText) : mustPrefix(`10.10.${i + 1}.0/24`);
    const count = countText === undefined ? undefined : Number(countText);
    const nothing = cidrText === undefined && count === undefined;
    if (nothing || !cidr || cidr.ip.family !== 4 || cidr.length > 28 || count === 0) {
      throw new LabError(
        `--subnets: "${part}" is not a number of nodes, a CIDR or CIDR:NODES, with an IPv4 CIDR of ` +
          "/28 or wider",
      );
    }
    return { part, cidr, count };
  });
  const counted = parts.filter((p) => p.count !== undefined);
  const sum = counted.reduce((n, p) => n + p.count!, 0);
  const open = parts.length - counted.length;
  const rest = (nodes ?? sum + open) - sum;
  if (open === 0 ? rest !== 0 : rest < open) {
    throw new LabError(`--subnets ${text} does not go with --nodes ${nodes}`);
  }
  let given = 0;
  return parts.map(({ part, cidr, count }) => {
    const share = count ?? Math.floor(rest / open) + (given++ < rest % open ? 1 : 0);
    if (BigInt(share) + 12n > 1n << BigInt(32 - cidr.length)) {
      throw new LabError(`--subnets: "${part}" has no room for ${share} nodes`);
    }
    return { cidr, nodes: share };
  });
}

/** Reads `--ip-families`: IPv4, IPv6 or both. */
export function parseFamilies(text: string): Family[] {
  const families = text.split(",").map((part): Family => {
    const word = part.trim().toLowerCase();
    if (word === "ipv4") return 4;
    if (word === "ipv6") return 6;
    throw new LabError(`--ip-families: "${part}" is neither IPv4 nor IPv6`);
  });
  if (new Set(families).size !== families.length) {
    throw new LabError(`--ip-families ${text} names a family twice`);
  }
  return families.sort();
}

/** The prefix of a family that the subnet of a number (from 0) has. */
function subnetPrefix(cidr: Prefix, number: number, family: Family): Prefix {
  return family === 4 ? cidr : mustPrefix(`fd00:10:10:${(number + 1).toString(16)}::/64`);
}

/** The address that is written .11 or ::11 in a subnet, with prefix length. */
function hostAddress({ ip, length }: Prefix, last: number): string {
  const number = ip.family === 4 ? last : parseInt(`${last}`, 16);
  return `${formatIp(addToIp(ip, number))}/${length}`;
}

/** The addresses of a host number in a subnet that is laid out: one for each of its families. */
export function hostAddresses(subnet: LabSubnet, last: number): string[] {
  return subnet.routers.map((text) => {
    const { prefix } = parseCidr(text)!;
    const host = hostAddress(prefix, last);
    if (last < 2 || !prefixContains(prefix, parseCidr(host)!.ip)) {
      throw new LabError(`the subnet ${formatPrefix(prefix)} has no host number ${last}`);
    }
    return host;
  });
}

export function layout(
  name: string,
  subnets: readonly { cidr: Prefix; nodes: number }[],
  families: readonly Family[] = [4],
  root: string = LAB_ROOT,
): LabLayout {
  // No dash: no lab's names begin with another's.
  if (!/^[a-z0-9]{1,16}$/.test(name)) {
    throw new LabError(
      `the lab name "${name}" is not allowed: want at most 16 lower-case letters and digits`,
    );
  }
  const directory = `${root}/${name}`;
  const addresses = (subnet: number, last: number) =>
    families.map((family) => hostAddress(subnetPrefix(subnets[subnet].cidr, subnet, family), last));
  const nodes: LabNode[] = [];
  subnets.forEach(({ nodes: count }, subnet) => {
    for (let i = 0; i < count; i++) {
      const node = `node${nodes.length + 1}`;
      nodes.push({
        name: node,
        namespace: namespacePrefix(name) + node,
        subnet,
        addresses: addresses(subnet, 11 + i),
        directory: `${directory}/${node}`,
      });
    }
  });
  return {
    name,
    directory,
    families,
    routerNamespace: `${namespacePrefix(name)}router`,
    storeSocket: `${directory}/store.sock`,
    storeFile: `${directory}/store.kv`,
    subnets: subnets.map((_, i) => ({ bridge: `br${i + 1}`, routers: addresses(i, 1) })),
    nodes,
  };
}
