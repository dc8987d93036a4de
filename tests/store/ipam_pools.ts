/**
 * The pools of the runs in which many nodes assign and release addresses at once (`ipam_process.ts`). In
 * the wide one every node finds blocks of its own, and writes them alone. The narrow one has fewer blocks
 * than there are nodes: they race for them, then those that have none borrow from the others, and several
 * write one block all the time. Only there a write that overwrites another's shows: as an address that
 * two were given.
 */
import { POOLS } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { Store } from "../../mod/store/store.ts";

export type PoolName = "wide" | "narrow";

const CIDRS: Record<PoolName, string> = { wide: "10.0.0.0/12", narrow: "10.32.0.0/24" };

/** Addresses of the narrow pool that each of eight nodes holds at least; twice as many at most. */
export const NARROW_HOLD = 12;

export const poolOf = (address: string): PoolName =>
  address.startsWith("10.32.0.") ? "narrow" : "wide";

export async function putPools(store: Store): Promise<void> {
  for (const [name, cidr] of Object.entries(CIDRS)) {
    await store.put(resourceKey(POOLS, name), {
      metadata: { name },
      spec: { cidr, blockSize: 26 },
    });
  }
}
