/**
 * Addresses: who gets which, on record before anybody uses it. `Ipam` is what callers have; the parts
 * behind it stand in files of their own:
 *
 *     pure    block.ts          one block             block_changes.ts   what happens to it
 *             pools.ts          who owns an address   candidates.ts      order of search
 *             reservations.ts   what is left alone
 *     store   block_table.ts    blocks                affinities.ts      which node owns a block
 *             handles.ts        owners of addresses   facts.ts           what the store says now
 *     calls   auto_assign.ts    any address           block_search.ts    which block to claim
 *             assign_ip.ts      a certain address     release.ts         giving back
 *             leases.ts         one of a list, kept for its owner (lease_record.ts, leases_over.ts)
 *             hand_over.ts      from one owner to another
 *             node_release.ts   all that is a node's
 *             affinity_calls.ts whole ranges          utilization.ts     how full it all is
 *             sweep.ts          upkeep                check/             what is wrong with all of it
 *             damage.ts         records that cannot be read
 *
 * It is Calico's IPAM (libcalico-go/lib/ipam), on Calico's records, so that both can work on one
 * datastore. What differs is written where it differs; in short: pools may overlap without harm,
 * handles are counted exactly, requests of one moment share reads and writes.
 *
 * One `Ipam` serves a whole process. Any number of processes may work on one store.
 */
import { type Family, type Ip, ipAt, ordinalOf, parsePrefix, type Prefix } from "../net/mod.ts";
import {
  type IpamConfig,
  MOST_COOLDOWN,
  readIpamConfig,
  type StoredIpamConfig,
  storedIpamConfig,
} from "../model/ipam_config.ts";
import { type AffinityOwner, ipamConfigKey } from "../model/keys.ts";
import { type Revision, type Store, StoreError } from "../store/store.ts";
import {
  blocksOf,
  claimAffinity,
  hostOwner,
  networkOf,
  releaseAffinity,
  type ReleaseOptions,
  releaseOwnerAffinities,
  releasePoolAffinities,
  removeHost,
} from "./affinity_calls.ts";
import { addressOf, assignIp } from "./assign_ip.ts";
import { autoAssign, type Progress, readAhead } from "./auto_assign.ts";
import { attributeOf, holderOf, isEmpty, ordinalsOf, sequenceOf } from "./block.ts";
import { isBroken, readRaw, unlessDamaged } from "./damage.ts";
import { collectCooled, coolingUntil } from "./block_changes.ts";
import { IpamError, tooManyRetries } from "./errors.ts";
import { readSettings } from "./facts.ts";
import { handOver } from "./hand_over.ts";
import { isRaced, RETRIES } from "./handles.ts";
import { assignFirst, relabel, whyNotPinned } from "./leases.ts";
import { BlockFinder, releaseByHandle, releaseIps } from "./release.ts";
import { type IpamOptions, Room } from "./room.ts";
import { releaseNode } from "./node_release.ts";
import { cooled, mendHandle, sweepCooled } from "./sweep.ts";
import type {
  AssignedAddress,
  AssignFirstRequest,
  AssignFirstResult,
  AssignIpRequest,
  Assignment,
  AutoAssignRequest,
  AutoAssignResult,
  ClaimResult,
  FamilyResult,
  HandOverRequest,
  HostBlock,
  IpamClient,
  LeaseClient,
  PinQuestion,
  ReadAhead,
  RelabelRequest,
  ReleaseRequest,
  ReleaseResult,
} from "./types.ts";
import { type PoolUtilization, utilization } from "./utilization.ts";

export class Ipam implements IpamClient, LeaseClient {
  readonly #room: Room;

  constructor(store: Store, options: IpamOptions = {}) {
    this.#room = new Room(store, options);
  }

  async autoAssign(request: AutoAssignRequest): Promise<AutoAssignResult> {
    check(request);
    const v4: Progress = { addresses: [], messages: new Set() };
    const v6: Progress = { addresses: [], messages: new Set() };
    const { num4 = 0, num6 = 0 } = request;
    let error: IpamError | StoreError | undefined;
    try {
      if (num4 > 0) await autoAssign(this.#room, request, 4, num4, v4);
      if (num6 > 0) await autoAssign(this.#room, request, 6, num6, v6);
    } catch (thrown) {
      if (!(thrown instanceof IpamError || thrown instanceof StoreError)) throw thrown;
      error = thrown;
    }
    return { v4: resultOf(num4, v4), v6: resultOf(num6, v6), error };
  }

  readAhead(
    about: Pick<AutoAssignRequest, "host" | "namespace" | "use">,
    families: readonly Family[],
  ): ReadAhead {
    return readAhead(this.#room, about, families);
  }

  async assign(request: AutoAssignRequest): Promise<AssignedAddress[]> {
    const { v4, v6, error } = await this.autoAssign(request);
    const addresses = [...v4.addresses, ...v6.addresses];
    const failure = error ?? shortage(4, v4) ?? shortage(6, v6);
    if (!failure) return addresses;
    if (addresses.length > 0) {
      await this.releaseIps(
        addresses.map(({ ip }) => ({ address: ip, handle: request.handle })),
      );
    }
    throw failure;
  }

  assignIp(request: AssignIpRequest): Promise<AssignedAddress> {
    return assignIp(this.#room, request);
  }

  assignFirst(request: AssignFirstRequest): Promise<AssignFirstResult> {
    return assignFirst(this.#room, request);
  }

  whyNotPinned(question: PinQuestion): Promise<string | undefined> {
    return whyNotPinned(this.#room, question);
  }

  relabel(request: RelabelRequest): Promise<boolean> {
    return relabel(this.#room, request);
  }

  handOver(request: HandOverRequest): Promise<boolean> {
    return handOver(this.#room, request);
  }

  releaseIps(requests: readonly ReleaseRequest[]): Promise<ReleaseResult> {
    return releaseIps(this.#room, requests);
  }

  releaseByHandle(handle: string): Promise<Ip[] | undefined> {
    return releaseByHandle(this.#room, handle);
  }

  async ipsByHandle(handle: string): Promise<Ip[] | undefined> {
    const record = await this.#room.handles.read(handle);
    if (!record) return undefined;
    const lists = await Promise.all(
      Object.keys(record.counts).map(async (cidr) => {
        const prefix = parsePrefix(cidr);
        const found = prefix && await unlessDamaged(
          () => this.#room.blocks.read(prefix),
          ({ message }) => void this.#room.warn(message),
        );
        if (!found) return [];
        return ordinalsOf(found.block, record.id).map((ordinal) => ipAt(found.prefix, ordinal));
      }),
    );
    return lists.flat();
  }

  async assignment(address: Ip | string): Promise<Assignment | undefined> {
    const ip = addressOf(address);
    const finder = new BlockFinder(this.#room, await this.#room.facts.read());
    const found = await finder.find(ip);
    if (!found) return undefined;
    const { prefix, block } = found;
    const ordinal = Number(ordinalOf(prefix, ip));
    const holder = holderOf(block, ordinal);
    const alternate = attributeOf(block, ordinal)?.alternateOwnerAttrs;
    return holder && {
      ...holder,
      ip,
      block: prefix,
      sequenceNumber: sequenceOf(block, ordinal),
      ...(alternate && { alternateAttributes: alternate }),
    };
  }

  /** Until when an address that was given back cools down; undefined where it does not. */
  async coolsUntil(address: Ip | string): Promise<string | undefined> {
    const ip = addressOf(address);
    const facts = await this.#room.facts.read();
    const found = await new BlockFinder(this.#room, facts).find(ip);
    if (!found) return undefined;
    const cooldown = this.#room.cooldown(facts.config);
    const block = collectCooled(found.block, cooldown);
    return coolingUntil(block, Number(ordinalOf(found.prefix, ip)), cooldown.seconds);
  }

  async claimAffinity(cidr: Prefix | string, host: string): Promise<ClaimResult> {
    return await claimAffinity(this.#room, networkOf(cidr), hostOwner(host));
  }

  async releaseAffinity(
    cidr: Prefix | string,
    host: string,
    options: ReleaseOptions = {},
  ): Promise<void> {
    await releaseAffinity(this.#room, networkOf(cidr), hostOwner(host), options);
  }

  async releaseHostAffinities(host: string, options: ReleaseOptions = {}): Promise<void> {
    await releaseOwnerAffinities(this.#room, hostOwner(host), options);
  }

  async releasePoolAffinities(
    cidr: Prefix | string,
    heirs: readonly Prefix[] = [],
  ): Promise<void> {
    await releasePoolAffinities(this.#room, networkOf(cidr), heirs);
  }

  async removeHost(host: string): Promise<void> {
    await removeHost(this.#room, hostOwner(host));
  }

  /** When a node is deleted: its addresses, of which these are its endpoints' and tunnels', and blocks. */
  async releaseNode(node: string, addresses: readonly string[]): Promise<void> {
    await releaseNode(this.#room, node, addresses);
  }

  async blocksOf(host: string): Promise<HostBlock[]> {
    return await blocksOf(this.#room, hostOwner(host));
  }

  /**
   * Ends whoever's claim on a block that is empty and has the number that was seen; false where it is
   * not so any more. An owner of several blocks loses one that he does not need.
   */
  async releaseEmptyBlock(
    cidr: Prefix | string,
    sequenceNumber: number | bigint,
  ): Promise<boolean> {
    const record = await this.#room.blocks.read(networkOf(cidr));
    if (!record || BigInt(record.block.sequenceNumber) !== BigInt(sequenceNumber)) return false;
    const empty = await cooled(this.#room, record);
    return empty !== undefined && isEmpty(empty.block) &&
      await this.#room.affinities.releaseEmpty(empty);
  }

  /**
   * Ends what a claim or a release left that was cut off: an affinity of the owner's block is confirmed,
   * one of no block or of another's block goes. False: there is none any more.
   */
  async settleAffinity(cidr: Prefix | string, owner: AffinityOwner): Promise<boolean> {
    const prefix = networkOf(cidr);
    const { affinities, blocks } = this.#room;
    if (await blocks.read(prefix)) return (await affinities.load(owner, prefix)).is !== "gone";
    return await affinities.release(owner, prefix, { mustBeEmpty: true }) === "released";
  }

  /** Frees addresses that have cooled down in blocks that nobody asks. How many. */
  sweepCooled(): Promise<number> {
    return sweepCooled(this.#room);
  }

  /** Brings a handle's counts to what the blocks hold, where it is still at the revision. */
  mendHandle(handle: string, revision?: Revision): Promise<"mended" | "changed" | "gone"> {
    return mendHandle(this.#room, handle, revision);
  }

  /** Of pools by name or CIDR; of all of them, and of blocks in no pool, where none is named. */
  utilization(pools: readonly string[] = []): Promise<PoolUtilization[]> {
    return utilization(this.#room, pools);
  }

  /** IpamError "badRecord" where it is damaged. */
  async getIpamConfig(): Promise<IpamConfig> {
    const { config, damage } = await this.#room.facts.settings();
    if (damage) throw damage;
    return config;
  }

  async setIpamConfig(config: IpamConfig): Promise<void> {
    await this.changeIpamConfig(() => config);
  }

  /**
   * Reads, changes and writes the settings until nobody else wrote in between. What is stored then. A
   * damaged record is written anew, from the defaults.
   */
  async changeIpamConfig(change: (config: IpamConfig) => IpamConfig): Promise<IpamConfig> {
    const { store } = this.#room;
    for (let i = 0; i < RETRIES; i++) {
      const entry = await readRaw(store, ipamConfigKey);
      const { config: before, damage } = isBroken(entry)
        ? { config: readIpamConfig(undefined), damage: true }
        : readSettings(entry?.value);
      const next = change(before);
      checkConfig(next);
      const stored = storedIpamConfig(next);
      const kept = damage || isBroken(entry) ? {} : entry?.value as StoredIpamConfig | undefined;
      if (!damage && JSON.stringify(storedIpamConfig(before)) === JSON.stringify(stored)) {
        return next;
      }
      try {
        if (entry) {
          await store.update(
            ipamConfigKey,
            { ...unset, ...kept, ...unset, ...stored },
            entry.revision,
          );
        } else await store.create(ipamConfigKey, stored);
        return next;
      } catch (error) {
        if (!isRaced(error)) throw error;
      }
    }
    throw tooManyRetries("the IPAM configuration");
  }
}

/** Zero values are left out; what a newer version wrote stays, behind ours in Calico's order. */
const unset: Record<keyof StoredIpamConfig, undefined> = {
  strict_affinity: undefined,
  auto_allocate_blocks: undefined,
  maxBlocksPerHost: undefined,
  kubeVirtVMAddressPersistence: undefined,
  ipCooldownSeconds: undefined,
};

function check(request: AutoAssignRequest): void {
  const { num4 = 0, num6 = 0, host, use, beside, handle } = request;
  for (const count of [num4, num6]) {
    if (!Number.isInteger(count) || count < 0) {
      throw new IpamError("badRequest", `${count} is not a number of addresses`);
    }
  }
  if (beside && (num4 + num6 !== 1 || handle === undefined)) {
    throw new IpamError(
      "badRequest",
      "something beside an address wants one address, and a handle",
    );
  }
  if (!use) {
    throw new IpamError("badRequest", "must specify the intended use when assigning an IP");
  }
  if (host === "" && use !== "LoadBalancer") {
    throw new IpamError("badRequest", "no node name was given");
  }
}

/** Calico's rules, in its words. */
function checkConfig(config: IpamConfig): void {
  const { maxBlocksPerHost, ipCooldownSeconds } = config;
  if (!Number.isInteger(maxBlocksPerHost)) {
    throw new IpamError("badRequest", `MaxBlocksPerHost ${maxBlocksPerHost} is no whole number`);
  }
  if (
    !Number.isInteger(ipCooldownSeconds) || ipCooldownSeconds < 0 ||
    ipCooldownSeconds > MOST_COOLDOWN
  ) {
    throw new IpamError(
      "badRequest",
      `IPCooldownSeconds ${ipCooldownSeconds} is not from 0 to ${MOST_COOLDOWN}`,
    );
  }
  if (!config.strictAffinity && !config.autoAllocateBlocks) {
    throw new IpamError(
      "badRequest",
      "Cannot disable 'StrictAffinity' and 'AutoAllocateBlocks' at the same time",
    );
  }
  if (config.maxBlocksPerHost > 0 && !config.strictAffinity) {
    throw new IpamError(
      "badRequest",
      "MaxBlocksPerHost requires StrictAffinity to be enabled",
    );
  }
}

function resultOf(requested: number, { addresses, messages }: Progress): FamilyResult {
  return { requested, addresses, messages: [...messages] };
}

function shortage(family: 4 | 6, result: FamilyResult): IpamError | undefined {
  const { requested, addresses, messages } = result;
  if (addresses.length >= requested) return undefined;
  return new IpamError(
    "noFreeAddresses",
    [
      `Assigned ${addresses.length} out of ${requested} requested IPv${family} addresses`,
      ...messages,
    ].join("; "),
  );
}
