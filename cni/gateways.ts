/**
 * Gateways for interface plugins that need one inside the address's own network (stock ptp, bridge).
 * Calico's blocks have no such address, so for each block in which this node gives addresses to such
 * a network one address is taken as gateway, and beside it those that a network of that length cannot
 * use: the first (a router's anycast address, the old broadcast) and for IPv4 the last (broadcast).
 *
 * They are held in IPAM under a handle of their own, so nobody else gets them, they survive restarts,
 * and `ipam show` says what they are. When the network's last address in the block is gone from this
 * node, they go too. A block of one address has no room for a gateway; a /31 or /127 has just that.
 *
 * The handle's name is one that Kubernetes takes for an object, since there a handle is one. Earlier
 * names, which had `_26` at their end, and a `:` where the block was IPv6, are found and freed still.
 *
 * The caller holds a lock for the network.
 */

import { createHash } from "node:crypto";
import {
  compareIp,
  formatIp,
  formatPrefix,
  hostPrefix,
  type Ip,
  ipAt,
  lastIp,
  parseStrictPrefix,
  type Prefix,
  prefixContains,
  sameIp,
} from "../mod/net/mod.ts";
import { isBroken, readRaw } from "../mod/store/raw.ts";
import { IpamError } from "../mod/ipam/errors.ts";
import { goTimestamp } from "../mod/ipam/time.ts";
import type { AssignedAddress } from "../mod/ipam/types.ts";
import type { AllocationBlock } from "../mod/model/ipam_block.ts";
import type { IpamHandle } from "../mod/model/ipam_handle.ts";
import { blockKey, handlePrefix, parseHandleKey } from "../mod/model/keys.ts";
import { attributesOf } from "./allocations.ts";
import type { CniDeps } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import {
  type HolderDeps,
  holdersAmong,
  isMachines,
  liveHolders,
  recordHolder,
} from "./live_holders.ts";

export type GatewayDeps = HolderDeps & Pick<CniDeps, "now">;

/** Addresses of a network of this length that no interface should have. */
export function specialAddresses(block: Prefix): Ip[] {
  const bits = hostPrefix(block.ip).length;
  if (bits - block.length < 2) return [];
  return block.ip.family === 4 ? [block.ip, lastIp(block)] : [block.ip];
}

/** Is the address one that the block's gateway, or nobody, should have? */
export function isSpecial(address: AssignedAddress): boolean {
  return specialAddresses(address.block).some((ip) => sameIp(ip, address.ip));
}

/**
 * The gateway of an address's block, taken now where there is none. undefined: the block has no free
 * address left for it. CniError `configuration` where the block is one address. `bridge`: the host's interface
 * that has the gateway of all of the network's containers.
 */
export async function ensureGateway(
  deps: GatewayDeps,
  network: string,
  address: AssignedAddress,
  bridge?: string,
): Promise<Ip | undefined> {
  const { block } = address;
  if (block.length === hostPrefix(block.ip).length) {
    throw new CniError(
      CniCode.configuration,
      `IPPool ${address.pool} has blocks of one address, which leave no room for the gateway that ` +
        "the interface plugin needs: use a pool with a smaller blockSize.",
    );
  }
  const special = specialAddresses(block);
  const handle = gatewayHandle(network, deps.nodeName, block);
  for (const name of [handle, earlierHandle(network, deps.nodeName, block)]) {
    const held = await deps.ipam.ipsByHandle(name) ?? [];
    const known = held.filter((ip) => !special.some((s) => sameIp(s, ip))).sort(compareIp);
    const [ours] = await unheld(deps, network, known);
    if (ours) return ours;
  }

  for (const ip of special) await take(deps, ip, handle);
  // The stock bridge keeps its gateway after its last container, and takes no other; an older copy of the
  // datastore may have forgotten that of containers that live.
  const kept = bridge === undefined ? [] : await deps.kernel.addressesOf(bridge);
  for (const ip of kept.filter((ip) => prefixContains(block, ip))) {
    if (sameIp(ip, address.ip) || special.some((s) => sameIp(s, ip))) continue;
    if (await take(deps, ip, handle) || await takeFromMachine(deps, ip, handle)) return ip;
  }
  const machines = new Set((await deps.kernel.hostAddresses()).map(formatIp));
  const size = 2 ** Math.min(12, hostPrefix(block.ip).length - block.length);
  for (let ordinal = special.length > 0 ? 1 : 0; ordinal < size; ordinal++) {
    const ip = ipAt(block, ordinal);
    if (sameIp(ip, address.ip) || special.some((s) => sameIp(s, ip))) continue;
    // It may be another network's gateway, or a pod's, that is not on record.
    if (machines.has(formatIp(ip)) || (await liveHolders(deps, [ip], undefined)).length > 0) {
      continue;
    }
    if (await take(deps, ip, handle)) return ip;
  }
  return undefined;
}

/**
 * Those that no container of the node has. An older copy of the datastore has a gateway on record that was
 * given back since, and is a container's now: it goes on record for that one.
 */
async function unheld(
  deps: GatewayDeps,
  network: string,
  addresses: readonly Ip[],
): Promise<readonly Ip[]> {
  const holders = (await holdersAmong(deps, addresses)).filter(({ link }) => link !== "host");
  for (const holder of holders) {
    await recordHolder(deps, network, holder, deps.now?.() ?? new Date());
  }
  return addresses.filter((ip) => !holders.some((holder) => sameIp(holder.ip, ip)));
}

function gatewayAttributes({ nodeName, now }: GatewayDeps): Record<string, string> {
  return {
    node: nodeName,
    note: "gateway of a network whose interfaces another plugin makes",
    timestamp: goTimestamp((now?.() ?? new Date()).getTime()),
    type: "cniGateway",
  };
}

/**
 * From the record that an ADD of any network made which found that the machine has the address
 * (`live_holders.ts`).
 */
async function takeFromMachine(
  deps: GatewayDeps,
  address: Ip,
  handle: string,
): Promise<boolean> {
  const { ipam, nodeName } = deps;
  const held = await ipam.assignment(address);
  if (!held || !isMachines(held.handle, held.attributes, nodeName)) return false;
  const to = { handle, attributes: gatewayAttributes(deps) };
  return await ipam.handOver({ address, handle: held.handle!, to });
}

async function take(deps: GatewayDeps, address: Ip, handle: string): Promise<boolean> {
  try {
    await deps.ipam.assignIp({
      ...{ address, host: deps.nodeName, handle, attributes: gatewayAttributes(deps) },
    });
    return true;
  } catch (error) {
    if (error instanceof IpamError && error.kind === "addressTaken") return false;
    throw error;
  }
}

/** Frees the gateways of blocks in which the network has no address left on this node. */
export async function dropIdleGateways(deps: GatewayDeps, network: string): Promise<void> {
  const prefixes = new Set([
    gatewayPrefix(network, deps.nodeName),
    earlierPrefix(network, deps.nodeName),
  ]);
  for (const prefix of prefixes) {
    const listing = await deps.store.list<IpamHandle>(handlePrefix + prefix);
    for (const { key, value } of listing.entries) {
      const handle = parseHandleKey(key)!;
      // The name of another network or node may begin alike, and then goes on otherwise.
      const blocks = Object.keys(value?.block ?? {}).flatMap((cidr) =>
        parseStrictPrefix(cidr) ?? []
      )
        .filter((block) => namesOf(network, deps.nodeName, block).includes(handle));
      for (const block of blocks) {
        if (!await isInUse(deps, network, block)) await deps.ipam.releaseByHandle(handle);
      }
    }
  }
}

/** Has the network an address in the block on this node? */
async function isInUse(deps: GatewayDeps, network: string, block: Prefix): Promise<boolean> {
  const entry = await readRaw<AllocationBlock>(deps.store, blockKey(block));
  // Of a block that cannot be read nobody knows.
  if (isBroken(entry)) return true;
  // A network whose name begins alike keeps the gateway too long at worst, never too short.
  return attributesOf(entry?.value).some(({ handle_id: handle, secondary }) =>
    typeof handle === "string" && handle.startsWith(`${network}.`) &&
    secondary?.node === deps.nodeName && !isMachines(handle, secondary, deps.nodeName)
  );
}

/** What Kubernetes takes for an object's name, short enough for a block's behind it. */
const FIT = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LONGEST_PREFIX = 200;

/** A network's name may have capitals and `_`, and be long: then a hash stands for both names. */
function gatewayPrefix(network: string, node: string): string {
  const names = `${network}-${node}`;
  const fit = FIT.test(names) && names.length <= LONGEST_PREFIX;
  const hash = () => createHash("sha256").update(`${network}/${node}`).digest("hex").slice(0, 24);
  return `tortie-gateway-${fit ? names : hash()}-`;
}

function gatewayHandle(network: string, node: string, block: Prefix): string {
  return gatewayPrefix(network, node) + formatPrefix(block).replace(/[.:/]/g, "-");
}

function earlierPrefix(network: string, node: string): string {
  return `tortie-gateway-${network}-${node}-`;
}

function earlierHandle(network: string, node: string, block: Prefix): string {
  return earlierPrefix(network, node) + formatPrefix(block).replace("/", "_");
}

function namesOf(network: string, node: string, block: Prefix): string[] {
  return [gatewayHandle(network, node, block), earlierHandle(network, node, block)];
}
