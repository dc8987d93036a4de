/**
 * Addresses for the replicas of a workload, which share a list of them: `assignFirst` gives one of
 * several candidates, and a lease is an allocation that outlives the pod that uses it.
 *
 * A lease is an ordinary allocation in the block, under the handle of an ordinal of a StatefulSet:
 *
 *     tortie-pin.<namespace>.<statefulset>.<ordinal>
 *
 * and what changes during its life are its attributes, by compare-and-swap on the block (`relabel`):
 * `container` says which attachment uses it, `keptUntil` that none does and how long it is kept. It has
 * no attributes `pod` and `namespace`, so a collector that looks for addresses of vanished pods (ours,
 * Calico's) leaves it alone. Once its time is over whoever has the address on his own list may take it,
 * whether or not the collector has come by meanwhile (`check/kept.ts`).
 *
 * Candidates must lie in pools that let the node and the namespace have them: unlike Calico's ipAddrs,
 * selectors count, so an administrator decides with namespaceSelector who may pin what.
 */
import { formatIp, type Ip, ordinalOf } from "../net/mod.ts";
import { addressOf, assignIp } from "./assign_ip.ts";
import { attributeOf, handleOf, holderOf, sequenceOf } from "./block.ts";
import { reattribute } from "./block_changes.ts";
import { unlessDamaged } from "./damage.ts";
import { type Holder, IpamError, notInPool } from "./errors.ts";
import { blockOf, type Pool, selectsNamespace, selectsNode } from "./pools.ts";
import { BlockFinder, releaseIps } from "./release.ts";
import type { Room } from "./room.ts";
import { rfc3339 } from "./time.ts";
import type { AssignFirstRequest, AssignFirstResult, RelabelRequest } from "./types.ts";

export const LEASE_PREFIX = "tortie-pin.";

/** The handle of an ordinal; interfaces other than eth0 are named. */
export function leaseHandle(
  namespace: string,
  statefulSet: string,
  ordinal: string,
  ifname: string,
): string {
  // A namespace and a number have no dots, so no two ordinals make the same handle.
  const handle = `${LEASE_PREFIX}${namespace}.${statefulSet}.${ordinal}`;
  return ifname === "eth0" ? handle : `${handle}.${ifname}`;
}

/** A lease that nobody uses and whose time is over. `now` in milliseconds. */
export function isExpiredLease({ handle, attributes }: Holder, now: number): boolean {
  if (!handle?.startsWith(LEASE_PREFIX) || attributes.container !== undefined) return false;
  // A time that cannot be read counts as over: nobody uses the address.
  return attributes.keptUntil !== undefined && !(Date.parse(attributes.keptUntil) > now);
}

/**
 * A lease's attributes when the container that used it is gone: kept for its ordinal, for as long as it
 * says. `now` in milliseconds.
 */
export function parked(
  { container: _, ...rest }: Readonly<Record<string, string>>,
  now: number,
): Record<string, string> {
  return { ...rest, keptUntil: rfc3339(now + (Number(rest.keepSeconds) || 0) * 1000) };
}

/**
 * What `relabel` makes of a lease that was seen with these attributes, now that its container is gone:
 * parked, unless it is already or another attachment of the ordinal was first.
 */
export function parking(
  seen: Readonly<Record<string, string>>,
  now: number,
): RelabelRequest["change"] {
  const isSame = (found: Readonly<Record<string, string>>) =>
    (["container", "node", "timestamp"] as const).every((name) => found[name] === seen[name]);
  return ({ node, ...found }) =>
    seen.container !== undefined && isSame({ node, ...found }) ? parked(found, now) : undefined;
}

/** Gives the first candidate that is free; else says who has them. IpamError where one is forbidden. */
export async function assignFirst(
  room: Room,
  request: AssignFirstRequest,
): Promise<AssignFirstResult> {
  const { host, handle, attributes, use } = request;
  const usable = await usableCandidates(room, request);
  const taken: { ip: Ip; holder: Holder }[] = [];
  const refused: IpamError[] = [];
  const expired: { ip: Ip; holder: Holder; sequenceNumber: bigint }[] = [];
  const likely: Ip[] = [];
  for (const { ip, pool } of usable.here) {
    const record = await unlessDamaged(
      () => room.blocks.read(blockOf(pool, ip)),
      (error) => (refused.push(error), "damaged" as const),
    );
    if (record === "damaged") continue;
    const ordinal = record && Number(ordinalOf(record.prefix, ip));
    const holder = record && holderOf(record.block, ordinal!);
    if (!holder) likely.push(ip);
    else if (isExpiredLease(holder, room.now())) {
      expired.push({ ip, holder, sequenceNumber: sequenceOf(record.block, ordinal!) });
    } else taken.push({ ip, holder });
  }
  const attempt = async (ip: Ip) => {
    try {
      return await assignIp(room, { address: ip, host, handle, attributes, use });
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      if (error.kind === "addressTaken") {
        taken.push({ ip, holder: error.holder ?? { attributes: {} } });
      } else if (error.kind === "draining" || error.kind === "affinityMismatch") {
        refused.push(error);
      } else throw error;
      return undefined;
    }
  };
  for (const ip of likely) {
    const given = await attempt(ip);
    if (given) return { given };
  }
  for (const { ip, holder, sequenceNumber } of expired) {
    try {
      await releaseIps(room, [{ address: ip, handle: holder.handle, sequenceNumber }]);
    } catch (error) {
      // Its ordinal, or another taker, was first.
      if (!(error instanceof IpamError && error.kind === "conflict")) throw error;
      taken.push({ ip, holder });
      continue;
    }
    const given = await attempt(ip);
    if (given) return { given };
  }
  return { taken, refused, elsewhere: usable.elsewhere };
}

/** Candidates whose pools are for this node, and those for other nodes. */
async function usableCandidates(
  room: Room,
  { candidates, host, use, namespace }: AssignFirstRequest,
): Promise<{ here: { ip: Ip; pool: Pool }[]; elsewhere: Ip[] }> {
  const [facts, node, labels] = await Promise.all([
    room.facts.read(),
    room.facts.nodeLabels(host),
    namespace === undefined ? {} : room.facts.namespaceLabels(namespace),
  ]);
  if (!node) throw new IpamError("nodeUnknown", `there is no Node ${host}`);
  const here: { ip: Ip; pool: Pool }[] = [], elsewhere: Ip[] = [];
  for (const ip of candidates) {
    const pool = facts.pools.ownerOfAddress(ip);
    if (!pool) throw notInPool(ip);
    if (!pool.uses.includes(use)) {
      throw new IpamError(
        "notForUse",
        `IP address ${formatIp(ip)} is in IP pool "${pool.name}", which is not allowed for use ` +
          `"${use}" (allowedUses: [${pool.uses.join(" ")}])`,
      );
    }
    if (!selectsNamespace(pool, labels)) {
      throw new IpamError(
        "noPools",
        `IP address ${formatIp(ip)} is in IP pool "${pool.name}", whose namespaceSelector ` +
          `(${pool.namespaceSelector}) does not take ` +
          (namespace === undefined ? "a container without a namespace" : `namespace ${namespace}`),
      );
    }
    if (selectsNode(pool, node)) here.push({ ip, pool });
    else elsewhere.push(ip);
  }
  return { here, elsewhere };
}

/** Changes the attributes of an allocation that is the handle's; false where it is not, or may not. */
export async function relabel(room: Room, request: RelabelRequest): Promise<boolean> {
  const ip = addressOf(request.address);
  const { handle } = request;
  const record = await new BlockFinder(room, await room.facts.read()).find(ip);
  if (!record) return false;
  const ordinal = Number(ordinalOf(record.prefix, ip));
  const done = await room.blocks.change(record.prefix, (block) => {
    const attribute = attributeOf(block, ordinal);
    const next = attribute && handleOf(attribute) === handle
      ? request.change(attribute.secondary ?? {})
      : undefined;
    if (!next) return { block, result: false };
    return { block: reattribute(block, ordinal, { handle, attributes: next }), result: true };
  }, { life: record });
  return done ?? false;
}
