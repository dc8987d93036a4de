/**
 * What IPAM has on record for one network on this node, found by reading the blocks themselves: the
 * handles' own records may count too much after a crash, the blocks never do. Used by GC, which must
 * see what no container remembers.
 */

import type { AllocationAttribute, AllocationBlock } from "../mod/model/ipam_block.ts";
import { readAttribute } from "../mod/ipam/block.ts";
import { LEASE_PREFIX } from "../mod/ipam/lease_record.ts";
import { blockPrefix } from "../mod/model/keys.ts";
import type { Store } from "../mod/store/store.ts";

/**
 * Is this a handle of the network? `net.c` is one of `net`; `net.blue.c` is none, since it may be one
 * of the network `net.blue`: what cannot be told is left to its DEL. Where the interface is not eth0
 * the attributes name it, and the handle ends with it.
 */
export function isHandleOf(
  network: string,
  handle: string,
  attributes: Readonly<Record<string, string>>,
): boolean {
  if (!handle.startsWith(`${network}.`)) return false;
  const rest = handle.slice(network.length + 1);
  const ifname = attributes.interface;
  if (ifname === undefined) return !rest.includes(".");
  return rest.endsWith(`.${ifname}`) && !rest.slice(0, -ifname.length - 1).includes(".");
}

/** Who has addresses of the network that were given on this node, each once. */
export interface Holders {
  readonly handles: Set<string>;
  /** Those who use the leases of ordinals, which are not under their own handles. */
  readonly leaseUsers: Set<string>;
}

export async function holdersOnNode(
  store: Store,
  network: string,
  node: string,
): Promise<Holders> {
  const handles = new Set<string>(), leaseUsers = new Set<string>();
  for (const family of [4, 6] as const) {
    const listing = await store.list<AllocationBlock>(blockPrefix(family));
    // As they stand in the store: a damaged block says nothing, and hides nothing in the others.
    for (const { handle_id: handle, secondary } of listing.entries.flatMap(attributesIn)) {
      if (typeof handle !== "string" || secondary?.node !== node) continue;
      const { container } = secondary;
      if (isHandleOf(network, handle, secondary)) handles.add(handle);
      if (!handle.startsWith(LEASE_PREFIX) || container === undefined) continue;
      if (isHandleOf(network, container, secondary)) leaseUsers.add(container);
    }
  }
  return { handles, leaseUsers };
}

const attributesIn = ({ value }: { value: unknown }) => attributesOf(value);

/** Of a block as it stands in the store, whatever it looks like. */
export function attributesOf(block: unknown): AllocationAttribute[] {
  const attributes: unknown = (block as Partial<AllocationBlock> | null)?.attributes;
  return Array.isArray(attributes) ? attributes.map(readAttribute) : [];
}
