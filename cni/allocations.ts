/**
 * What IPAM has on record for one network on this node, found by reading the blocks themselves: the
 * handles' own records may count too much after a crash, the blocks never do. Used by GC, which must
 * see what no container remembers.
 */

import type { AllocationBlock } from "../mod/model/ipam_block.ts";
import { blockPrefix } from "../mod/model/keys.ts";
import type { Store } from "../mod/store/store.ts";

/** Handles of the network whose addresses were given on this node, each once. */
export async function handlesOnNode(
  store: Store,
  network: string,
  node: string,
): Promise<Set<string>> {
  const found = new Set<string>();
  for (const family of [4, 6] as const) {
    const listing = await store.list<AllocationBlock>(blockPrefix(family));
    for (const { value: block } of listing.entries) {
      for (const attribute of block.attributes ?? []) {
        const handle = attribute.handle_id ?? "";
        if (handle.startsWith(`${network}.`) && attribute.secondary?.node === node) {
          found.add(handle);
        }
      }
    }
  }
  return found;
}
