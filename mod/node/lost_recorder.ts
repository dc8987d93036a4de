/** Puts a container that the datastore has forgotten on record (`lost_addresses.ts`), as this node knows it. */
import { attributesOf } from "../../cni/addresses.ts";
import type { Given } from "../../cni/deps.ts";
import { handleId } from "../../cni/identity.ts";
import type { Ipam } from "../ipam/ipam.ts";
import { mustIp } from "../net/mod.ts";
import { IpamError } from "../ipam/errors.ts";
import { containerOf } from "../ipam/questions.ts";
import { cachedAttachments, type MachineFacts, type Remembered } from "./held_addresses.ts";
import type { Log } from "./log.ts";
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
  readonly machine: () => Promise<Pick<MachineFacts, "addresses" | "containers">>;
  /** What the runtime remembers. */
  readonly remembered: () => Promise<readonly Remembered[]>;
  /** Of the datastore: another number when it may have been put back (`Store.epoch`). */
  readonly epoch: () => number;
  /** Longer than an interface plugin takes from its IPAM plugin's DEL to the end of its interface. */
  readonly pause: () => Promise<void>;
  readonly log: Log;
}

/** Addresses of containers under other interface plugins that are remembered. */
const MOST = 4096;

export class LostRecorder {
  /** The newest last. */
  readonly #given = new Map<string, Given>();
  /** In which it was looked for what hangs on no pair; undefined: not yet. */
  #epoch: number | undefined;
  #looking = false;

  constructor(readonly parts: LostRecorderParts) {}

  /** The IPAM plugin has given the address. */
  gave(address: string, given: Given): void {
    this.#given.delete(address);
    this.#given.set(address, given);
    if (this.#given.size > MOST) this.#given.delete(this.#given.keys().next().value!);
  }

  /** How the IPAM plugin gave an address that a container under another interface plugin has. */
  async given(address: string): Promise<Given | undefined> {
    return this.#given.get(address) ?? (await this.#remembered()).get(address);
  }

  async record(lost: LostContainer): Promise<Unrecorded> {
    const { ipam, node, state, isHostLocals, pause } = this.parts;
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
      pause,
    }, { ...lost, addresses });
  }

  /** For a time when all is known that the datastore has, again and again: looks once in each epoch. */
  turn(): void {
    const epoch = this.parts.epoch();
    if (this.#looking || epoch === this.#epoch) return;
    this.#looking = true;
    this.recover()
      .then(() => void (this.#epoch = epoch))
      .catch((error) => this.parts.log.warn("cannot look for addresses off the record", { error }))
      .finally(() => void (this.#looking = false));
  }

  /**
   * Puts on record again what the IPAM plugin gave to containers that hang on no pair of this host (macvlan,
   * ipvlan): their interfaces say nothing, but they have their addresses.
   */
  async recover(): Promise<void> {
    const { ipam, node, state, pause, log } = this.parts;
    if (state.usePodCidr) return;
    const all = new Map([...await this.#remembered(), ...this.#given]);
    let missing = await this.#missing(all);
    if (missing.size === 0) return;
    await pause();
    missing = await this.#missing(missing);
    for (const [address, { handle, attributes }] of missing) {
      try {
        await ipam.assignIp({ address, host: node, handle, attributes });
      } catch (error) {
        if (!(error instanceof IpamError)) throw error;
        if (error.kind === "notInPool") continue;
        log.warn("an address of a container is not on record", { address, handle, error });
      }
    }
    if (missing.size === 0) return;
    // A DEL may have come by before there was anything on record that it could give back.
    const { addresses } = await this.parts.machine();
    const gone = [...missing].filter(([address]) => !addresses.has(address));
    await ipam.releaseIps(gone.map(([address, { handle }]) => ({ address, handle })));
  }

  /** Those that nobody has on record, and a container of this machine has. */
  async #missing(all: ReadonlyMap<string, Given>): Promise<Map<string, Given>> {
    const { ipam, machine } = this.parts;
    const free = new Map<string, Given>();
    for (const [address, given] of all) {
      if (!await ipam.assignment(address)) free.set(address, given);
    }
    if (free.size === 0) return free;
    const { addresses, containers } = await machine();
    return new Map([...free].filter(([address, { handle }]) =>
      // What bears our mark is found by its interface.
      addresses.has(address) && !containerOf({ handle }).some((id) => containers.has(id))
    ));
  }

  /** What the runtime remembers of addresses that our IPAM plugin gave. */
  async #remembered(): Promise<Map<string, Given>> {
    const { node, remembered } = this.parts;
    const found = new Map<string, Given>();
    for (const { isOurs, network, containerId, ifname, addresses } of await remembered()) {
      if (!isOurs) continue;
      const handle = handleId(network, containerId, ifname);
      const given = { handle, attributes: attributesOf({ handle, node, ifname }, new Date()) };
      for (const address of addresses) found.set(address, given);
    }
    return found;
  }
}
