/**
 * Assignment of one certain address, after Calico's AssignIP. The address belongs to the longest
 * enabled pool that holds it; its block is claimed for the node where nobody has it. Reservations,
 * selectors and assignmentMode do not count. With strict affinity the block must be the node's.
 */
import {
  formatIp,
  formatPrefix,
  type Ip,
  ordinalOf,
  parseIp,
  type Prefix,
  prefixContains,
  prefixesOverlap,
} from "../net/mod.ts";
import type { AffinityOwner } from "../model/keys.ts";
import { LOAD_BALANCER } from "./affinities.ts";
import { holderOf, isEmpty, isOwnedBy } from "./block.ts";
import { collectCooled, takeOrdinal } from "./block_changes.ts";
import { addressTaken, IpamError, notInPool, tooManyRetries } from "./errors.ts";
import type { Facts } from "./facts.ts";
import { RETRIES } from "./handles.ts";
import { blockOf, type Pool, unreadWords } from "./pools.ts";
import type { Room } from "./room.ts";
import type { AssignedAddress, AssignIpRequest } from "./types.ts";

/** An address from a caller; IpamError "badRequest" where it is none. */
export function addressOf(address: Ip | string): Ip {
  const ip = typeof address === "string" ? parseIp(address) : address;
  if (!ip) throw new IpamError("badRequest", `"${address}" is not an IP address`);
  return ip;
}

export async function assignIp(room: Room, request: AssignIpRequest): Promise<AssignedAddress> {
  const ip = addressOf(request.address);
  if (request.host === "" && request.use !== "LoadBalancer") {
    throw new IpamError("badRequest", `no node name was given for ${formatIp(ip)}`);
  }
  for (let i = 0; i < RETRIES; i++) {
    const facts = await room.facts.read();
    if (facts.configDamage) throw facts.configDamage;
    const pool = facts.pools.ownerOfAddress(ip);
    if (!pool) throw outsideOfPools(facts, ip);
    if (request.use && !pool.uses.includes(request.use)) {
      throw new IpamError(
        "notForUse",
        `IP address ${formatIp(ip)} is in IP pool "${pool.name}", which is not allowed for use ` +
          `"${request.use}" (allowedUses: [${pool.uses.join(" ")}])`,
      );
    }
    const done = await tryAssign(room, request, facts, pool, ip);
    if (done) return done;
  }
  throw tooManyRetries(`the block of ${formatIp(ip)}`);
}

/** Of an address that no enabled pool has. */
export function outsideOfPools({ pools }: Facts, ip: Ip): IpamError {
  const closed = pools.homeOf(ip);
  if (!closed && pools.unread.length > 0) {
    return new IpamError(
      "badRecord",
      `The provided IP address is not in a configured pool: ${
        formatIp(ip)
      } lies in none that can be ` +
        `read; ${unreadWords(pools.unread)}`,
    );
  }
  if (!closed) return notInPool(ip);
  return new IpamError(
    "notInPool",
    `The provided IP address is not in a configured pool: ${formatIp(ip)} lies in IPPool ` +
      `${closed.name}, and ${closed.closed}`,
  );
}

/** undefined: something changed meanwhile, look again. */
async function tryAssign(
  room: Room,
  request: AssignIpRequest,
  facts: Facts,
  pool: Pool,
  ip: Ip,
): Promise<AssignedAddress | undefined> {
  const prefix = blockOf(pool, ip);
  const owner: AffinityOwner = request.use === "LoadBalancer"
    ? LOAD_BALANCER
    : { type: "host", name: request.host };
  const record = await room.blocks.read(prefix);
  if (!record) {
    await claimFor(room, facts, pool, ip, owner);
    return undefined;
  }
  if (!await room.affinities.isSound(record)) {
    if (isOwnedBy(record.block, owner)) {
      const loaded = await room.affinities.load(owner, prefix);
      if (loaded.is === "claimed") return undefined;
    }
    await makeRoom(room, facts, pool, ip, prefix);
    return undefined;
  }
  const { strictAffinity } = facts.config;
  const { handle, attributes } = request;
  const ordinal = Number(ordinalOf(prefix, ip));
  const cooldown = room.cooldown(facts.config);
  const taken = await room.blocks.change(prefix, (block) => {
    if (strictAffinity && !isOwnedBy(block, owner)) {
      throw new IpamError(
        "affinityMismatch",
        `Block host affinity does not match: ${formatIp(ip)} lies in block ` +
          `${formatPrefix(prefix)} of ${block.affinity ?? "nobody"}, and strictAffinity keeps ` +
          `${owner.name} out of it`,
      );
    }
    const done = takeOrdinal(
      collectCooled(block, cooldown),
      ordinal,
      { handle, attributes },
      cooldown,
    );
    if ("holder" in done) throw addressTaken(ip, done.holder);
    return {
      block: done.block,
      result: true,
      ...(handle !== undefined && { reserve: { handle, count: 1 } }),
    };
  }, { life: record });
  return taken ? { ip, block: prefix, pool: pool.name } : undefined;
}

/** Claims the block of an address that has none. */
async function claimFor(
  room: Room,
  facts: Facts,
  pool: Pool,
  ip: Ip,
  owner: AffinityOwner,
): Promise<void> {
  const prefix = blockOf(pool, ip);
  if (facts.pools.ownerOfBlock(prefix) !== pool) {
    const inner = facts.pools.ceded(pool).find((range) => prefixesOverlap(range, prefix));
    throw new IpamError(
      "draining",
      `${formatIp(ip)} cannot be given: its block ${formatPrefix(prefix)} of pool ${pool.name} ` +
        `overlaps the range ${inner ? formatPrefix(inner) : ""} of a narrower pool`,
    );
  }
  if (await makeRoom(room, facts, pool, ip, prefix)) return;
  await room.affinities.claim(owner, prefix);
}

/**
 * Releases empty blocks that overlap the one we need; throws where one is in use: `addressTaken`
 * where it is for this very address. True where something was released.
 */
async function makeRoom(
  room: Room,
  facts: Facts,
  pool: Pool,
  ip: Ip,
  prefix: Prefix,
): Promise<boolean> {
  const others = await room.affinities.overlapping(prefix);
  const damaged = room.affinities.damagedOver(prefix);
  // Says what is wrong with it.
  if (damaged) await room.blocks.read(damaged);
  for (const other of others) {
    if (isEmpty(other.block)) {
      if (facts.pools.isStray(other.prefix)) await room.affinities.releaseEmpty(other);
      continue;
    }
    if (prefixContains(other.prefix, ip)) {
      const holder = holderOf(other.block, Number(ordinalOf(other.prefix, ip)));
      if (holder) throw addressTaken(ip, holder);
    }
    const used = other.block.allocations.filter((index) => index !== null).length;
    throw new IpamError(
      "draining",
      `${formatIp(ip)} of pool ${pool.name} cannot be given yet: block ` +
        `${formatPrefix(other.prefix)}, which was made for another pool or block size, still has ` +
        `${used} address${used === 1 ? "" : "es"} in use; it goes when these are released`,
    );
  }
  return others.length > 0;
}
