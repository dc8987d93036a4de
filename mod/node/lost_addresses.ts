/**
 * Puts the addresses of a container that the datastore has forgotten on record again, under the
 * container's own handle. An older copy of the datastore that was put back knows neither the endpoint nor
 * the block; the node that has the container gives its addresses to nobody (`unrouted_holders.ts`), but
 * another node would claim the block and give them. With the record the block is this node's again, the
 * container's DEL gives the address back, and where that never comes the controllers free it on this node's
 * word, as any container's without a pod.
 *
 * Only what IPAM has free is taken: an address that another has on record stays his, and is named.
 */
import { attributesOf } from "../../cni/addresses.ts";
import { handleId } from "../../cni/identity.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { IpamError } from "../ipam/errors.ts";
import type { Ipam } from "../ipam/ipam.ts";
import { LEASE_PREFIX } from "../ipam/lease_record.ts";
import { containerOf } from "../ipam/questions.ts";
import { StoreError } from "../store/store.ts";

export interface LostContainer {
  readonly containerId: string;
  readonly ifname: string;
  readonly addresses: readonly string[];
  /** Whether its interface is there still. */
  readonly isThere: () => boolean;
}

/** Why addresses are not on record for the container, in words, by address; empty: all are. */
export type Unrecorded = ReadonlyMap<string, string>;

/** The network of Calico's own configuration. */
const NETWORK = "k8s-pod-network";

/**
 * The network that containers of a node are in, by whose name their handles begin (`<network>.<container>`):
 * of most that are on record. A DEL of another network leaves the address to the controllers.
 */
export function networkOf(node: string, blocks: Iterable<AllocationBlock>): string {
  const counts = new Map<string, number>();
  for (const { attributes } of blocks) {
    for (const { handle_id: handle, secondary } of attributes) {
      const { type, interface: ifname, ...said } = secondary ?? {};
      const isContainers = said.node === node && type === undefined && ifname === undefined;
      const end = handle?.lastIndexOf(".") ?? -1;
      if (!isContainers || end <= 0 || handle!.startsWith(LEASE_PREFIX)) continue;
      const network = handle!.slice(0, end);
      counts.set(network, (counts.get(network) ?? 0) + 1);
    }
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? NETWORK;
}

export async function recordLost(
  ipam: Pick<Ipam, "assignment" | "assignIp" | "releaseIps">,
  { node, network }: { readonly node: string; readonly network: string },
  { containerId, ifname, addresses, isThere }: LostContainer,
  now: Date,
): Promise<Unrecorded> {
  const unrecorded = new Map<string, string>();
  const handle = handleId(network, containerId, ifname);
  const attributes = attributesOf({ handle, node, ifname }, now);
  for (const address of addresses) {
    try {
      const held = await ipam.assignment(address);
      if (held) {
        const by = held.attributes.container ?? held.handle ?? "";
        const isOwn = containerOf({ handle: by }).includes(containerId) ||
          `${by}.`.includes(`.${containerId}.`);
        if (!isOwn) unrecorded.set(address, `IPAM has given it to handle ${held.handle}`);
        continue;
      }
      if (!isThere()) continue;
      await ipam.assignIp({ address, host: node, handle, attributes });
      // Its DEL may have come by before there was anything on record that it could give back.
      if (!isThere()) await ipam.releaseIps([{ address, handle }]);
    } catch (error) {
      if (!(error instanceof IpamError || error instanceof StoreError)) throw error;
      // Of another IPAM's address, which no pool of ours gives to anybody.
      const isForeign = error instanceof IpamError && error.kind === "notInPool";
      if (!isForeign) unrecorded.set(address, error.message);
    }
  }
  return unrecorded;
}
