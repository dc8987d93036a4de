/**
 * What IPAM gives back when a node is deleted: the addresses of its endpoints and tunnels, then its
 * blocks. Whose an address is, the allocation says, not the endpoint: one of another node that somebody
 * names by ipAddrsNoIpam stays that node's. The lease of an ordinal that ran there is kept for it, as
 * when its pod is deleted (`lease_record.ts`); one that is kept already is no node's.
 */
import { type Family, formatIp, parseIp } from "../net/mod.ts";
import { hostOwner, removeHost } from "./affinity_calls.ts";
import { type Allocation, allocationsOf } from "./check/allocations.ts";
import { IpamError } from "./errors.ts";
import { LEASE_PREFIX, parking } from "./lease_record.ts";
import { relabel } from "./leases.ts";
import { releaseIps } from "./release.ts";
import type { Room } from "./room.ts";

/** `addresses`: of the node's endpoints and tunnels. */
export async function releaseNode(
  room: Room,
  node: string,
  addresses: readonly string[],
): Promise<void> {
  const named = new Set(addresses.flatMap((text) => {
    const ip = parseIp(text);
    return ip ? [formatIp(ip)] : [];
  }));
  const records = (await Promise.all(([4, 6] as Family[]).map((f) => room.blocks.list(f)))).flat();
  const own = records.flatMap(allocationsOf).filter((one) => one.node === node);
  for (const one of own) {
    const { address, handle, attributes } = one;
    if (handle?.startsWith(LEASE_PREFIX)) {
      await relabel(room, { address, handle, change: parking(attributes, room.now()) });
    } else if (named.has(address)) await release(room, one);
  }
  await removeHost(room, hostOwner(node));
}

async function release(room: Room, { address, handle, sequenceNumber }: Allocation): Promise<void> {
  try {
    await releaseIps(room, [{ address, handle, sequenceNumber }]);
  } catch (error) {
    // It went on to another, who has it now.
    if (!(error instanceof IpamError && error.kind === "conflict")) throw error;
  }
}
