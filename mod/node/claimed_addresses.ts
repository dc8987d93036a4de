/**
 * Addresses that stand in a Pod's annotations alone (`CLAIMED_ADDRESSES`): the CNI plugin has written
 * them there, or whoever else may change the Pod, who then asks for the routes and the place in
 * policies of any address he likes. Until the kubelet has reported, they count where the block of the
 * address bears them out, which the Pod's owner cannot write: its allocation names this very pod, as
 * Calico's plugin and ours have it, or is the lease of the pod's ordinal, which a container uses. Others
 * are left out of the endpoint, which stays: its interface is known, and closed to them. So an address of
 * no block (host-local's, or one that was asked for by an annotation) counts for other nodes when the
 * kubelet has reported it, a second after the pod's start.
 *
 * Block and Pod are followed side by side, so what is not borne out yet is looked at again when its
 * block changes: claims are found by the widest block that could hold their addresses.
 */
import { CLAIMED_ADDRESSES, type WorkloadEndpoint } from "../model/workload_endpoint.ts";
import { holderOf } from "../ipam/block.ts";
import { leaseOf } from "../ipam/check/evidence.ts";
import type { Holder } from "../ipam/errors.ts";
import { parseBlockKey } from "../model/keys.ts";
import {
  addressBits,
  formatPrefix,
  type Ip,
  ordinalOf,
  parsePrefix,
  prefixContains,
  prefixOf,
} from "../net/mod.ts";
import { isJsonObject } from "../store/json.ts";
import type { Entry } from "../store/store.ts";
import type { ClusterState } from "./state.ts";

/** Calico's block sizes are /20 to /32 and /116 to /128: a block has at most so many bits below it. */
const BLOCK_BITS = 12;

interface Claim {
  readonly entry: Entry<WorkloadEndpoint>;
  readonly addresses: readonly Ip[];
  /** Of its addresses, those that were borne out, as a text. */
  readonly believed: string;
}

export class ClaimedAddresses {
  readonly #claims = new Map<string, Claim>();
  /** Their keys by the ranges of their addresses. */
  readonly #ranges = new Map<string, Set<string>>();

  constructor(readonly state: Pick<ClusterState, "blocks">) {}

  /** The entry as far as it is borne out; one that claims nothing is given back as it is. */
  take(entry: Entry): Entry {
    this.forget(entry.key);
    if (!isClaim(entry)) return entry;
    const { key, value } = entry;
    // As they stand in the datastore, perhaps half-written.
    const nets: unknown = value.spec.ipNetworks;
    const texts = (Array.isArray(nets) ? nets : []).filter((net) => typeof net === "string");
    const claimed = texts.map((net: string) => ({ net, ip: parsePrefix(net)?.ip }));
    const borneOut = claimed.filter(({ ip }) => ip && this.#isBorneOut(value, ip)).map((c) =>
      c.net
    );
    const addresses = claimed.flatMap(({ ip }) => ip ?? []);
    this.#claims.set(key, { entry, addresses, believed: borneOut.join() });
    for (const range of addresses.map(rangeOf)) {
      const keys = this.#ranges.get(range);
      if (keys) keys.add(key);
      else this.#ranges.set(range, new Set([key]));
    }
    return { ...entry, value: { ...value, spec: { ...value.spec, ipNetworks: borneOut } } };
  }

  forget(key: string): void {
    for (const range of this.#claims.get(key)?.addresses.map(rangeOf) ?? []) {
      const keys = this.#ranges.get(range);
      if (keys?.delete(key) && keys.size === 0) this.#ranges.delete(range);
    }
    this.#claims.delete(key);
  }

  /** Of a block that has changed: the endpoints that are borne out otherwise than before. */
  review(blockKey: string): Entry[] {
    const block = parseBlockKey(blockKey);
    if (!block) return [];
    const changed: Entry[] = [];
    for (const key of [...this.#ranges.get(rangeOf(block.ip)) ?? []]) {
      const { entry, addresses, believed } = this.#claims.get(key)!;
      if (!addresses.some((ip) => prefixContains(block, ip))) continue;
      const taken = this.take(entry);
      if (this.#claims.get(key)!.believed !== believed) changed.push(taken);
    }
    return changed;
  }

  #isBorneOut({ metadata, spec }: WorkloadEndpoint, ip: Ip): boolean {
    const bits = addressBits(ip.family);
    for (let length = bits; length >= bits - BLOCK_BITS; length--) {
      const prefix = prefixOf(ip, length);
      const block = this.state.blocks.get(formatPrefix(prefix));
      if (!block) continue;
      const owner = ownerOf(holderOf(block, Number(ordinalOf(prefix, ip))));
      return owner?.pod === spec.pod && owner?.namespace === metadata.namespace;
    }
    return false;
  }
}

/** The pod that an allocation names; a lease names that of its ordinal, and none while it is only kept. */
function ownerOf(holder: Holder | undefined): { pod?: string; namespace?: string } | undefined {
  const lease = holder && leaseOf(holder);
  if (!lease) return holder?.attributes;
  return lease.container === undefined ? undefined : lease;
}

/** The widest block that an address could be in. */
function rangeOf(ip: Ip): string {
  return formatPrefix(prefixOf(ip, addressBits(ip.family) - BLOCK_BITS));
}

function isClaim(entry: Entry): entry is Entry<WorkloadEndpoint> {
  if (!isJsonObject(entry.value) || entry.value.kind !== "WorkloadEndpoint") return false;
  const { metadata, spec } = entry.value as { metadata?: any; spec?: unknown };
  return isJsonObject(spec) && metadata?.annotations?.[CLAIMED_ADDRESSES] !== undefined;
}
