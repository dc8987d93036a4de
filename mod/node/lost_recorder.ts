/** Puts a container that the datastore has forgotten on record (`lost_addresses.ts`), as this node knows it. */
import { attributesOf } from "../../cni/addresses.ts";
import type { Given } from "../../cni/deps.ts";
import { handleId } from "../../cni/identity.ts";
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
  /** Whether host-local has the address on record. */
  readonly isHostLocals: (address: string) => Promise<boolean>;
}

/** Milliseconds that an interface plugin may take from its IPAM plugin's DEL to the end of its interface. */
const FOREIGN_DEL = 3000;
/** Addresses of containers under other interface plugins that are remembered. */
const MOST = 4096;

export class LostRecorder {
  /** The newest last. */
  readonly #given = new Map<string, Given>();

  constructor(readonly parts: LostRecorderParts) {}

  /** The IPAM plugin has given the address. */
  gave(address: string, given: Given): void {
    this.#given.delete(address);
    this.#given.set(address, given);
    if (this.#given.size > MOST) this.#given.delete(this.#given.keys().next().value!);
  }

  /** How the IPAM plugin gave an address that a container under another interface plugin has. */
  async given(address: string): Promise<Given | undefined> {
    return this.#given.get(address) ?? await this.#remembered(address);
  }

  async record(lost: LostContainer): Promise<Unrecorded> {
    const { ipam, node, state, isHostLocals } = this.parts;
    // Host-local's addresses are none of IPAM's.
    if (state.usePodCidr) return new Map();
    const addresses: string[] = [];
    for (const ip of lost.addresses) {
      if (lost.foreign && !state.isInPool(mustIp(ip))) continue;
      if (!await isHostLocals(ip)) addresses.push(ip);
    }
    if (addresses.length === 0) return new Map();
    if (!lost.foreign) {
      const network = cachedNetwork(await cachedAttachments(), lost.mark) ??
        networkOf(node, state.blocks.values());
      return await recordLost(ipam, { node, network }, { ...lost, addresses }, new Date());
    }
    return await recordForeign(ipam, {
      node,
      given: (ip) => this.given(ip),
      seen: (ip, given) => this.gave(ip, given),
      pause: () => new Promise((resolve) => setTimeout(resolve, FOREIGN_DEL)),
    }, { ...lost, addresses });
  }

  async #remembered(address: string): Promise<Given | undefined> {
    const found = await rememberedWith(address);
    if (!found?.isOurs) return undefined;
    const { network, containerId, ifname } = found;
    const handle = handleId(network, containerId, ifname);
    return {
      handle,
      attributes: attributesOf({ handle, node: this.parts.node, ifname }, new Date()),
    };
  }
}
