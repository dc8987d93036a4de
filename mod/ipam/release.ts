/**
 * Giving addresses back, after Calico's ReleaseIPs and ReleaseByHandle. All of it can be cut off
 * anywhere and run again: the block is written first, then the handle is set to what the blocks now
 * hold (`handles.ts` says why that count is exact), then a block that is of no use to its node any
 * more is given up.
 */
import {
  type Family,
  formatIp,
  formatPrefix,
  type Ip,
  ipAt,
  ordinalOf,
  parsePrefix,
  type Prefix,
  prefixContains,
} from "../net/mod.ts";
import { damageOf } from "../store/damaged.ts";
import { addressOf } from "./assign_ip.ts";
import {
  type AllocationBlock,
  attributeOf,
  cleanHandle,
  holderOf,
  isEmpty,
  ordinalsOf,
  ownerOf,
} from "./block.ts";
import { collectCooled, giveBack, giveBackHandle, type Return } from "./block_changes.ts";
import type { BlockRecord } from "./block_table.ts";
import type { Cooldown } from "./cooling.ts";
import { unlessDamaged } from "./damage.ts";
import { IpamError, tooManyRetries } from "./errors.ts";
import type { Facts } from "./facts.ts";
import { type HandleRecord, RETRIES } from "./handles.ts";
import { blockOf, selectsNode } from "./pools.ts";
import type { Room } from "./room.ts";
import type { ReleaseRequest, ReleaseResult } from "./types.ts";

/** Releases all that a handle has. undefined: there is no such handle. */
export async function releaseByHandle(room: Room, id: string): Promise<Ip[] | undefined> {
  const handle = cleanHandle(id);
  const [cooldown, first] = await Promise.all([
    room.config().then((config) => room.cooldown(config)),
    room.handles.recent(handle),
  ]);
  if (!first) return undefined;
  const released: Ip[] = [];
  let record: HandleRecord | undefined = first;
  for (let i = 0; i < RETRIES && record; i++) {
    const counts: Record<string, number> = {};
    await Promise.all(
      Object.keys(record.counts).map(async (cidr) => {
        counts[cidr] = 0;
        const prefix = parsePrefix(cidr);
        // A name that is no CIDR tells of no block: it is dropped.
        if (!prefix) return;
        released.push(
          ...await unlessDamaged(
            () => releaseHandleFrom(room, prefix, handle, cooldown),
            // Its owner is gone, and must not wait for a record that nobody can read: what the block
            // may have of his, a check finds when the block is mended.
            ({ message }) => (room.warn(message), []),
          ),
        );
      }),
    );
    if (await room.handles.settle(record, counts)) return released;
    record = await room.handles.read(handle);
  }
  if (record) throw tooManyRetries(`IPAM handle ${handle}`);
  return released;
}

async function releaseHandleFrom(
  room: Room,
  prefix: Prefix,
  handle: string,
  cooldown: Cooldown,
): Promise<Ip[]> {
  const done = await room.blocks.change(prefix, (before) => {
    const { block, ordinals } = giveBackHandle(collectCooled(before, cooldown), handle, cooldown);
    // A copy is written also where nothing changed, see handles.ts.
    return { block: { ...block }, result: { ordinals, block } };
  });
  if (!done) return [];
  await giveUpIfUseless(room, prefix, done.block);
  return done.ordinals.map((ordinal) => ipAt(prefix, ordinal));
}

/**
 * Releases single addresses. Those of one block succeed or fail together; where a handle or a
 * sequence number is not the allocation's, this throws after the other blocks were done.
 */
export async function releaseIps(
  room: Room,
  requests: readonly ReleaseRequest[],
): Promise<ReleaseResult> {
  const wanted = requests.map((request) => ({ ...request, ip: addressOf(request.address) }));
  const facts = await room.facts.read();
  const finder = new BlockFinder(room, facts);
  const groups = new Map<string, { record: BlockRecord; returns: Return[] }>();
  const released: Ip[] = [];
  const unallocated: Ip[] = [];
  for (const { ip, handle, sequenceNumber } of wanted) {
    const record = await finder.find(ip);
    if (!record) {
      unallocated.push(ip);
      continue;
    }
    const key = formatPrefix(record.prefix);
    if (!groups.has(key)) groups.set(key, { record, returns: [] });
    const ordinal = Number(ordinalOf(record.prefix, ip));
    groups.get(key)!.returns.push({ ordinal, handle, sequenceNumber });
  }
  const errors: unknown[] = [];
  await Promise.all([...groups.values()].map(async ({ record, returns }) => {
    try {
      const done = await releaseFrom(room, facts, record, returns);
      released.push(...done.released);
      unallocated.push(...done.unallocated);
    } catch (error) {
      errors.push(error);
    }
  }));
  if (errors.length > 0) throw errors[0];
  return { released, unallocated };
}

async function releaseFrom(
  room: Room,
  facts: Facts,
  { prefix, block }: BlockRecord,
  returns: readonly Return[],
): Promise<ReleaseResult> {
  const cooldown = room.cooldown(facts.config);
  const cidr = formatPrefix(prefix);
  // Read before the block is written, see handles.ts.
  const handles = new Set(returns.map((r) => holderOf(block, r.ordinal)?.handle));
  const records = new Map<string, HandleRecord | undefined>();
  await Promise.all([...handles].map(async (handle) => {
    if (handle !== undefined) records.set(handle, await room.handles.recent(handle));
  }));
  const done = await room.blocks.change(prefix, (before) => {
    const collected = collectCooled(before, cooldown);
    const given = giveBack(collected, returns, cooldown);
    if ("mismatch" in given) throw mismatch(prefix, given.mismatch, returns);
    if (given.ordinals.length === 0) {
      return { block: before, result: { ...given, left: new Map<string, number>() } };
    }
    const touched = new Set(given.ordinals.flatMap((o) => holderOf(before, o)?.handle ?? []));
    const left = new Map([...touched].map((h) => [h, ordinalsOf(given.block, h).length]));
    return { block: given.block, result: { ...given, left } };
  });
  if (!done) return { released: [], unallocated: returns.map((r) => ipAt(prefix, r.ordinal)) };
  for (const [handle, count] of done.left) {
    const record = records.get(handle);
    if (record && await room.handles.settle(record, { [cidr]: count })) continue;
    await recount(room, handle, prefix);
  }
  if (done.ordinals.length > 0) await giveUpIfUseless(room, prefix, done.block);
  return {
    released: done.ordinals.map((ordinal) => ipAt(prefix, ordinal)),
    unallocated: done.unallocated.map((ordinal) => ipAt(prefix, ordinal)),
  };
}

function mismatch(
  prefix: Prefix,
  { ordinal, what, expected }: { ordinal: number; what: string; expected: string },
  returns: readonly Return[],
): IpamError {
  const asked = returns.find((r) => r.ordinal === ordinal);
  const given = what === "handle" ? asked?.handle : asked?.sequenceNumber;
  return new IpamError(
    "conflict",
    `update conflict: ${formatIp(ipAt(prefix, ordinal))}: the request has ${what} ${given}, the ` +
      `allocation has ${expected || "none"}: it is not the allocation that was meant`,
  );
}

/** Brings a handle's count of a block to what the block holds. */
export async function recount(room: Room, handle: string, prefix: Prefix): Promise<void> {
  const cidr = formatPrefix(prefix);
  for (let i = 0; i < RETRIES; i++) {
    const record = await room.handles.read(handle);
    if (!record?.counts[cidr]) return;
    const count = await room.blocks.change(
      prefix,
      (block) => ({ block: { ...block }, result: ordinalsOf(block, handle).length }),
    );
    if (await room.handles.settle(record, { [cidr]: count ?? 0 })) return;
  }
  throw tooManyRetries(`IPAM handle ${handle}`);
}

/** A block that became empty is released where its node is not to use it any more. */
export async function giveUpIfUseless(
  room: Room,
  prefix: Prefix,
  block: AllocationBlock,
): Promise<void> {
  const owner = ownerOf(block);
  if (!owner || owner.type !== "host" || !isEmpty(block)) return;
  const [facts, labels] = await Promise.all([
    room.facts.read(),
    room.facts.nodeLabels(owner.name).catch((error) => {
      // Which pools are for it, nobody knows: what is given back is given back all the same.
      if (damageOf(error)) return undefined;
      throw error;
    }),
  ]);
  const pool = facts.pools.ownerOfBlock(prefix);
  const useless = pool
    ? labels !== undefined && !selectsNode(pool, labels)
    : facts.pools.isStray(prefix);
  if (useless) await room.affinities.release(owner, prefix, { mustBeEmpty: true });
}

/** Finds the block that holds an address: where its pools would have it, else in a list of all. */
export class BlockFinder {
  readonly #lists = new Map<Family, Promise<BlockRecord[]>>();

  constructor(readonly room: Room, readonly facts: Facts) {}

  /**
   * As it is now; undefined where no block holds the address. IpamError "badRecord" where the one that
   * may hold it is damaged.
   */
  async find(ip: Ip): Promise<BlockRecord | undefined> {
    const likely = new Map(
      this.facts.pools.all.filter((pool) => prefixContains(pool.prefix, ip))
        .map((pool) => blockOf(pool, ip)).map((prefix) => [formatPrefix(prefix), prefix]),
    );
    let empty: BlockRecord | undefined;
    let damage: IpamError | undefined;
    for (const prefix of likely.values()) {
      const record = await unlessDamaged(
        () => this.room.blocks.read(prefix),
        (error) => void (damage = error),
      );
      if (record && isTaken(record, ip)) return record;
      empty ??= record;
    }
    // A block of another size may have it, beside one that a claimant left half made.
    const { family } = ip;
    if (!this.#lists.has(family)) this.#lists.set(family, this.room.blocks.list(family));
    const all = await this.#lists.get(family)!;
    const holding = all.filter((record) => prefixContains(record.prefix, ip));
    const found = holding.find((record) => isTaken(record, ip));
    if (found) return found;
    const damaged = this.room.blocks.damaged(family).find((prefix) => prefixContains(prefix, ip));
    if (damage) throw damage;
    // Says what is wrong with it.
    if (damaged) return await this.room.blocks.read(damaged);
    return empty ?? holding[0];
  }
}

function isTaken({ prefix, block }: BlockRecord, ip: Ip): boolean {
  return attributeOf(block, Number(ordinalOf(prefix, ip))) !== undefined;
}
