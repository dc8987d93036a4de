/** Puts a container that the datastore has forgotten on record (`lost_addresses.ts`), as this node knows it. */
import { attributesOf } from "../../cni/addresses.ts";
import type { Given } from "../../cni/deps.ts";
import { handleId } from "../../cni/identity.ts";
import { IpamError } from "../ipam/errors.ts";
import type { Ipam } from "../ipam/ipam.ts";
import { containerOf } from "../ipam/questions.ts";
import type { AssignIpRequest } from "../ipam/types.ts";
import { mustIp } from "../net/mod.ts";
import type { Clock } from "../store/clock.ts";
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
  readonly state: Pick<ClusterState, "usePodCidr" | "blocks" | "isInPool" | "holderOf">;
  /** Whether host-local has the address on record for the container. */
  readonly isHostLocals: (address: string, containerId: string) => Promise<boolean>;
  readonly machine: () => Promise<Pick<MachineFacts, "addresses" | "containers" | "unseen">>;
  /** What the runtime remembers. */
  readonly remembered: () => Promise<readonly Remembered[]>;
  /** Of the datastore: another number when it may have been put back (`Store.epoch`). */
  readonly epoch: () => number;
  /** Longer than an interface plugin takes from its IPAM plugin's DEL to the end of its interface. */
  readonly pause: () => Promise<void>;
  readonly clock: Pick<Clock, "monotonicMs">;
  readonly log: Log;
}

/** Addresses of containers under other interface plugins that are remembered. */
const MOST = 4096;
/** Looks in an epoch for what hangs on no pair, and the milliseconds between them. */
const LOOKS = 2, AGAIN = 60_000;
/** Milliseconds for which the runtime's memory is not read anew. */
const FRESH = 5000;

export class LostRecorder {
  /** The newest last. */
  readonly #given = new Map<string, Given>();
  /** In which it is looked for what hangs on no pair. */
  #epoch: number | undefined;
  /** How many looks are left in it, and when the next one is due. */
  #looks = 0;
  #due = 0;
  #looking = false;
  #cached: { until: number; given: Map<string, Given> } | undefined;

  constructor(readonly parts: LostRecorderParts) {}

  /** The IPAM plugin has given the address. */
  gave(address: string, given: Given): void {
    this.#given.delete(address);
    this.#given.set(address, given);
    if (this.#given.size > MOST) this.#given.delete(this.#given.keys().next().value!);
  }

  /** What it gave under the handle has been given back. */
  freed(handle: string): void {
    for (const [address, given] of this.#given) {
      if (given.handle === handle) this.#given.delete(address);
    }
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
      if (lost.mark && await isHostLocals(ip, lost.mark.containerId)) continue;
      addresses.push(ip);
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
      stands: (ip) => state.holderOf(mustIp(ip)),
      seen: (ip, given) => this.gave(ip, given),
      pause,
    }, { ...lost, addresses });
  }

  /**
   * For a time when all is known that the datastore has, again and again: looks in each epoch, at once and a
   * minute later, when changes have been told and interfaces that were being made have their addresses.
   */
  turn(): void {
    const { clock, epoch, log } = this.parts;
    const now = epoch();
    if (now !== this.#epoch) [this.#epoch, this.#looks, this.#due] = [now, LOOKS, 0];
    if (this.#looking || this.#looks === 0 || clock.monotonicMs() < this.#due) return;
    this.#due = clock.monotonicMs() + AGAIN;
    this.#looking = true;
    this.recover()
      .then((isWhole) => void (isWhole && now === this.#epoch && this.#looks--))
      .catch((error) => log.warn("cannot look for addresses off the record", { error }))
      .finally(() => void (this.#looking = false));
  }

  /**
   * Puts on record again what the IPAM plugin gave to containers that hang on no pair of this host (macvlan,
   * ipvlan): their interfaces say nothing, but they have their addresses. False where not all could be seen.
   */
  async recover(): Promise<boolean> {
    const { ipam, node, state, pause, machine } = this.parts;
    if (state.usePodCidr) return true;
    const free = new Map<string, Given>();
    for (const [address, given] of [...await this.#remembered(), ...this.#given]) {
      if (!state.holderOf(mustIp(address))) free.set(address, given);
    }
    if (free.size === 0) return true;
    const first = await machine();
    const missing = [...free].filter(([address, { handle }]) =>
      // What bears our mark is found by its interface.
      first.addresses.has(address) &&
      !containerOf({ handle }).some((id) => first.containers.has(id))
    );
    if (missing.length === 0) return first.unseen === undefined;
    await pause();
    const second = await machine();
    const done = new Map<string, Given>();
    for (const [address, { handle, attributes }] of missing) {
      if (!second.addresses.has(address)) continue;
      if (await this.#assign({ address, host: node, handle, attributes })) {
        done.set(address, { handle, attributes });
      }
    }
    if (done.size === 0) return second.unseen === undefined;
    // A DEL may have come by before there was anything on record that it could give back.
    const last = await machine();
    const gone = [...done].filter(([address]) => !last.addresses.has(address));
    if (last.unseen === undefined) {
      await ipam.releaseIps(gone.map(([address, { handle }]) => ({ address, handle })));
    }
    return last.unseen === undefined;
  }

  /** Whether it is on record by this. */
  async #assign(request: AssignIpRequest & { readonly address: string }): Promise<boolean> {
    const { ipam, log } = this.parts;
    const { address, handle } = request;
    try {
      if (await ipam.assignment(address)) return false;
      await ipam.assignIp(request);
      return true;
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      if (error.kind !== "notInPool") {
        log.warn("an address of a container is not on record", { address, handle, error });
      }
      return false;
    }
  }

  /** What the runtime remembers of addresses that our IPAM plugin gave. */
  async #remembered(): Promise<ReadonlyMap<string, Given>> {
    const { node, remembered, clock } = this.parts;
    if (this.#cached && clock.monotonicMs() < this.#cached.until) return this.#cached.given;
    const given = new Map<string, Given>();
    const doubtful = new Set<string>();
    for (const { isOurs, network, containerId, ifname, addresses } of await remembered()) {
      if (!isOurs) continue;
      const handle = handleId(network, containerId, ifname);
      const attributes = attributesOf({ handle, node, ifname }, new Date());
      for (const address of addresses) {
        // Of two one has ended without a DEL, and nothing says which.
        if (given.has(address)) doubtful.add(address);
        given.set(address, { handle, attributes });
      }
    }
    for (const address of doubtful) given.delete(address);
    this.#cached = { until: clock.monotonicMs() + FRESH, given };
    return given;
  }
}
