/**
 * Addresses that no pod may have, whoever asks: those of no single interface on a network (loopback,
 * multicast and the like), link-local ones (the pods' gateway is one, and so are the metadata services
 * of clouds), and those of the machines themselves. A pod that names a machine's address, by
 * ipAddrsNoIpam, floatingIPs, ipAddrs, tortie.io/ip-pins or IP= in CNI_ARGS, would draw the machine's
 * traffic to itself: the route to a workload is the longest there is.
 *
 * What Nodes say holds for the whole cluster; what the kernel says holds also where no Node says it
 * (addresses of services on a local interface, further addresses of this machine).
 */
import {
  formatIp,
  type Ip,
  mustPrefix,
  parseCidr,
  parseIp,
  prefixContains,
} from "../mod/net/mod.ts";
import { describeHolder } from "../mod/ipam/errors.ts";
import { parseResourceKey, resourcePrefix } from "../mod/model/keys.ts";
import { machineAddressesOf, type Node, nodeKind, tunnelAddressesOf } from "../mod/model/node.ts";
import type { CniDeps } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import type { EndpointIdentity } from "./identity.ts";

/** RFC 6890, RFC 4291: what a prefix is for. */
const SPECIAL = ([
  ["0.0.0.0/8", "an address of no interface (this network)"],
  ["127.0.0.0/8", "a loopback address"],
  ["169.254.0.0/16", "a link-local address"],
  ["224.0.0.0/4", "a multicast address"],
  ["255.255.255.255/32", "the broadcast address"],
  ["::/128", "the unspecified address"],
  ["::1/128", "the loopback address"],
  ["::ffff:0:0/96", "an IPv4 address in IPv6's form"],
  ["fe80::/10", "a link-local address"],
  ["ff00::/8", "a multicast address"],
] as const).map(([cidr, what]) => ({ prefix: mustPrefix(cidr), what }));

/** What the address is, in words, where it can be no pod's by itself; else undefined. */
export function specialUse(ip: Ip): string | undefined {
  return SPECIAL.find(({ prefix }) => prefix.ip.family === ip.family && prefixContains(prefix, ip))
    ?.what;
}

/** Addresses that somebody named, and where: `Pod blue/p: annotation …`, `CNI_ARGS: IP=`. */
export interface Named {
  readonly by: string;
  readonly addresses: readonly Ip[];
}

/** CniError `annotation` where one of the addresses is a machine's. */
export async function refuseMachines(
  { store, kernel }: Pick<CniDeps, "store" | "kernel">,
  named: readonly Named[],
): Promise<void> {
  const wanted = named.flatMap(({ addresses }) => addresses);
  if (wanted.length === 0) return;
  const [{ entries }, own] = await Promise.all([
    store.list<Node>(resourcePrefix(nodeKind)),
    kernel.hostAddresses(),
  ]);
  const owners = new Map<string, string>();
  for (const ip of own) owners.set(formatIp(ip), "this node itself");
  for (const { key, value } of entries) {
    for (const ip of addressesOf(value)) {
      owners.set(formatIp(ip), `node ${parseResourceKey(key)?.name}`);
    }
  }
  for (const { by, addresses } of named) {
    for (const ip of addresses) {
      const owner = owners.get(formatIp(ip));
      if (!owner) continue;
      throw new CniError(
        CniCode.annotation,
        `${by} asks for ${
          formatIp(ip)
        }, which is an address of ${owner}: name one that no machine has.`,
      );
    }
  }
}

/**
 * CniError `annotation` where a floating address is another's by IPAM's record: what goes to him would go
 * to this pod on its node. (Calico asks nobody.) Two pods may share one that is nobody's.
 */
export async function refuseGiven(
  { ipam }: Pick<CniDeps, "ipam">,
  { by, addresses }: Named,
  { namespace, pod, handle }: Pick<EndpointIdentity, "namespace" | "pod" | "handle">,
): Promise<void> {
  for (const ip of addresses) {
    const held = await ipam.assignment(ip);
    if (!held || held.handle === handle) continue;
    const { attributes } = held;
    if (attributes.pod === pod && attributes.namespace === namespace) continue;
    throw new CniError(
      CniCode.annotation,
      `${by} asks for ${formatIp(ip)}, which is given to ${describeHolder(held)}: name one that ` +
        "IPAM gives to nobody.",
    );
  }
}

/** All that a Node says it has: of its interfaces and of its tunnels. */
function addressesOf(node: Node | null): Ip[] {
  // A Node that somebody wrote wrongly must not open the door: whatever of it can be read counts.
  return [...machineAddressesOf(node), ...tunnelAddressesOf(node)]
    .flatMap((text) => parseCidr(text)?.ip ?? parseIp(text) ?? []);
}
