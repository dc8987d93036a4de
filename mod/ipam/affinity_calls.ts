/**
 * Claims and releases of whole ranges: for the migration tool, for nodes that leave, for pools that
 * are deleted. After Calico's ClaimAffinity, ReleaseAffinity, ReleaseHostAffinities,
 * ReleasePoolAffinities and RemoveIPAMHost.
 */
import { formatPrefix, parsePrefix, type Prefix, prefixCovers } from "../net/mod.ts";
import { type AffinityOwner, hostMarkerKey } from "../model/keys.ts";
import { StoreError } from "../store/store.ts";
import { type AffinityRecord } from "./affinities.ts";
import { blockAt, boundsOf, coveredBy } from "./candidates.ts";
import { unlessDamaged } from "./damage.ts";
import { IpamError, notInPool } from "./errors.ts";
import type { Pool } from "./pools.ts";
import { rangeOf } from "./reservations.ts";
import type { Room } from "./room.ts";
import type { ClaimResult, HostBlock } from "./types.ts";

export interface ReleaseOptions {
  mustBeEmpty?: boolean;
}

/** A network from a caller; IpamError "badRequest" where it is none. */
export function networkOf(cidr: Prefix | string): Prefix {
  const prefix = typeof cidr === "string" ? parsePrefix(cidr) : cidr;
  if (!prefix) throw new IpamError("badRequest", `"${cidr}" is not a CIDR`);
  return prefix;
}

export function hostOwner(host: string): AffinityOwner {
  if (host === "") throw new IpamError("badRequest", "no node name was given");
  return { type: "host", name: host };
}

export async function claimAffinity(
  room: Room,
  cidr: Prefix,
  owner: AffinityOwner,
): Promise<ClaimResult> {
  const facts = await room.facts.read();
  const pool = poolOfRange(facts.pools.ownerOfAddress(cidr.ip), cidr);
  const claimed: Prefix[] = [];
  const failed: Prefix[] = [];
  for (const block of blocksIn(pool, cidr)) {
    const outcome = facts.pools.ownerOfBlock(block) === pool &&
      await room.affinities.claim(owner, block);
    (outcome && outcome.is === "claimed" ? claimed : failed).push(block);
  }
  return { claimed, failed };
}

/** Every block of the pool within a range. */
function* blocksIn(pool: Pool, cidr: Prefix): Iterable<Prefix> {
  const bounds = boundsOf(pool);
  const { start, end } = coveredBy(pool, rangeOf(cidr));
  for (let n = start < bounds.start ? bounds.start : start; n < end && n < bounds.end; n++) {
    yield blockAt(pool, n);
  }
}

function poolOfRange(pool: Pool | undefined, cidr: Prefix): Pool {
  if (!pool) throw notInPool(cidr);
  if (cidr.length > pool.blockSize) {
    throw new IpamError(
      "badRequest",
      `The requested CIDR (${formatPrefix(cidr)}) is smaller than the minimum: blocks of pool ` +
        `${pool.name} are /${pool.blockSize}`,
    );
  }
  return pool;
}

/** Blocks of others are left alone; a block that is not empty, where it must be, ends this. */
export async function releaseAffinity(
  room: Room,
  cidr: Prefix,
  owner: AffinityOwner,
  options: ReleaseOptions,
): Promise<void> {
  const facts = await room.facts.read();
  poolOfRange(facts.pools.ownerOfAddress(cidr.ip), cidr);
  const affinities = await room.affinities.list(owner, cidr.ip.family);
  await releaseAll(room, affinities.filter(({ block }) => prefixCovers(cidr, block)), options);
}

export async function releaseOwnerAffinities(
  room: Room,
  owner: AffinityOwner,
  options: ReleaseOptions,
): Promise<void> {
  const lists = await Promise.all(([4, 6] as const).map((f) => room.affinities.list(owner, f)));
  await releaseAll(room, lists.flat(), options);
}

/** Blocks that lie in the range of one of the heirs stay as they are: their nodes route them on. */
export async function releasePoolAffinities(
  room: Room,
  cidr: Prefix,
  heirs: readonly Prefix[],
): Promise<void> {
  const affinities = await room.affinities.listAll();
  const left = affinities.filter(({ block }) =>
    prefixCovers(cidr, block) && !heirs.some((heir) => prefixCovers(heir, block))
  );
  await releaseAll(room, left, {});
}

/** Blocks that are released side by side. */
const AT_ONCE = 16;

/** Releases as many as it can, then throws where one is damaged, or is not empty and should be. */
async function releaseAll(
  room: Room,
  affinities: readonly AffinityRecord[],
  options: ReleaseOptions,
): Promise<void> {
  const used: Prefix[] = [];
  let damage: IpamError | undefined;
  // A node that is gone may have left thousands, each of which costs several round trips.
  const left = affinities.values();
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, async () => {
    for (const { owner, block } of left) {
      const outcome = await unlessDamaged(
        () => room.affinities.release(owner, block, options),
        (error) => void (damage ??= error),
      );
      if (outcome === "notEmpty") used.push(block);
    }
  }));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  if (damage) throw damage;
  if (used.length === 0) return;
  throw new IpamError(
    "notEmpty",
    `block ${used.map(formatPrefix).join(", ")} must be empty to be released, and has allocations`,
  );
}

/** Allocations stay until they are released: the node's pods may still be there. */
export async function removeHost(room: Room, owner: AffinityOwner): Promise<void> {
  await releaseOwnerAffinities(room, owner, {});
  try {
    await room.store.delete(hostMarkerKey(owner.name));
  } catch (error) {
    if (!(error instanceof StoreError && error.kind === "notFound")) throw error;
  }
}

export async function blocksOf(room: Room, owner: AffinityOwner): Promise<HostBlock[]> {
  const lists = await Promise.all(([4, 6] as const).map((f) => room.affinities.list(owner, f)));
  return lists.flat().map(({ block, state }) => ({ block, state: state || "confirmed" }));
}
