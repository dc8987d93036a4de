/**
 * What IPAM's blocks hold for nodes' tunnels, by the handles under which Calico records them: the
 * records of one cluster are common. Pure, and of blocks as `state.ts` has read them.
 */
import { handleOf, ordinalsOf } from "../ipam/block.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { type Family, formatIp, ipAt, mustPrefix } from "../net/mod.ts";

/** What stands before the node's name. */
export const TUNNEL_HANDLES: Readonly<Record<Family, string>> = {
  4: "vxlan-tunnel-addr-",
  6: "vxlan-v6-tunnel-addr-",
};

const known = new WeakMap<AllocationBlock, ReadonlyMap<string, readonly string[]>>();

/** Addresses for tunnels, by handle. Blocks are replaced when they change: each is read once. */
export function tunnelHolders(block: AllocationBlock): ReadonlyMap<string, readonly string[]> {
  let holders = known.get(block);
  if (!holders) {
    const found = new Map<string, string[]>();
    const prefix = mustPrefix(block.cidr);
    for (const attribute of block.attributes) {
      const handle = handleOf(attribute);
      if (!handle || !Object.values(TUNNEL_HANDLES).some((h) => handle.startsWith(h))) continue;
      found.set(handle, ordinalsOf(block, handle).map((n) => formatIp(ipAt(prefix, n))));
    }
    known.set(block, holders = found);
  }
  return holders;
}
