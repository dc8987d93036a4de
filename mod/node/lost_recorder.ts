/** Puts a container that the datastore has forgotten on record (`lost_addresses.ts`), as this node knows it. */
import type { Ipam } from "../ipam/ipam.ts";
import { mustIp } from "../net/mod.ts";
import { cachedAttachments, rememberedWith } from "./held_addresses.ts";
import {
  cachedNetwork,
  type LostContainer,
  networkOf,
  recordForeign,
  recordLost,
  type Unrecorded,
} from "./lost_addresses.ts";
import type { ClusterState } from "./state.ts";

export interface LostRecorderParts {
  readonly ipam: Ipam;
  readonly node: string;
  readonly state: Pick<ClusterState, "usePodCidr" | "blocks" | "isInPool">;
}

/** Milliseconds that an interface plugin may take from its IPAM plugin's DEL to the end of its interface. */
const FOREIGN_DEL = 3000;

export function lostRecorder({ ipam, node, state }: LostRecorderParts) {
  return async (lost: LostContainer): Promise<Unrecorded> => {
    // Host-local's addresses are none of IPAM's.
    if (state.usePodCidr) return new Map();
    const usual = networkOf(node, state.blocks.values());
    const now = new Date();
    if (!lost.foreign) {
      const network = cachedNetwork(await cachedAttachments(), lost.mark) ?? usual;
      return await recordLost(ipam, { node, network }, lost, now);
    }
    const addresses = lost.addresses.filter((ip) => state.isInPool(mustIp(ip)));
    const pause = () => new Promise<void>((resolve) => setTimeout(resolve, FOREIGN_DEL));
    return await recordForeign(
      ipam,
      { node, network: usual, remembered: rememberedWith, pause },
      { ...lost, addresses },
      now,
    );
  };
}
