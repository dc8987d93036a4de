/**
 * Addresses for the replicas of a workload, which share a list of them: `assignFirst` gives one of
 * several candidates, `relabel` changes whose a lease is (`lease_record.ts`). Once its time is over
 * whoever has the address on his own list may take it, whether or not the collector has come by
 * meanwhile, if nobody is seen to use it (`leases_over.ts`).
 *
 * Candidates must lie in pools that let the node and the namespace have them: unlike Calico's ipAddrs,
 * selectors count, so an administrator decides with namespaceSelector who may pin what.
 */
import { formatIp, formatPrefix, type Ip, ordinalOf, sameIp } from "../net/mod.ts";
import { addressOf, assignIp, outsideOfPools } from "./assign_ip.ts";
import { attributeOf, handleOf, holderOf, isOwnedBy } from "./block.ts";
import { reattribute } from "./block_changes.ts";
import { type Allocation, allocationsOf } from "./check/allocations.ts";
import { unlessDamaged } from "./damage.ts";
import { type Holder, IpamError } from "./errors.ts";
import { isExpiredLease } from "./lease_record.ts";
import { usersOfOver } from "./leases_over.ts";
import { blockOf, type Pool, selectsNamespace, selectsNode } from "./pools.ts";
import { BlockFinder, releaseIps } from "./release.ts";
import { doneInOneEpoch } from "./remembered.ts";
import type { Room } from "./room.ts";
import type {
  AssignFirstRequest,
  AssignFirstResult,
  PinQuestion,
  RelabelRequest,
} from "./types.ts";

/** Leases that are over, of which nodes are asked in one go. */
const AT_ONCE = 32;

/** Gives the first candidate that is free; else says who has them. IpamError where one is forbidden. */
export async function assignFirst(
  room: Room,
  request: AssignFirstRequest,
): Promise<AssignFirstResult> {
  const { host, handle, attributes, use } = request;
  const usable = await usableCandidates(room, request);
  const taken: { ip: Ip; holder: Holder }[] = [];
  const refused: IpamError[] = [];
  const over: Allocation[] = [];
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
      over.push(...allocationsOf(record).filter((one) => sameIp(one.ip, ip)));
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
  for (let i = 0; i < over.length; i += AT_ONCE) {
    const leases = over.slice(i, i + AT_ONCE);
    const users = await usersOfOver(room, leases);
    for (const lease of leases) {
      const { ip, address, handle, sequenceNumber } = lease;
      const user = users.get(address);
      if (user !== undefined) {
        refused.push(stillUsed(lease, user));
        continue;
      }
      try {
        await releaseIps(room, [{ address: ip, handle, sequenceNumber }]);
      } catch (error) {
        // Its ordinal, or another taker, was first.
        if (!(error instanceof IpamError && error.kind === "conflict")) throw error;
        taken.push({ ip, holder: lease });
        continue;
      }
      const given = await attempt(ip);
      if (given) return { given };
    }
  }
  return { taken, refused, elsewhere: usable.elsewhere };
}

function stillUsed({ address, handle, attributes }: Allocation, why: string): IpamError {
  const { statefulset, ordinal } = attributes;
  return new IpamError(
    "addressTaken",
    `${address}: its lease for ordinal ${ordinal} of StatefulSet ${statefulset} is over, but ${why}`,
    { handle, attributes },
  );
}

/**
 * Why an ordinal may not go on with an address of its lease, by what a fresh pin is asked for;
 * undefined: it may.
 */
export async function whyNotPinned(room: Room, request: PinQuestion): Promise<string | undefined> {
  const { address, host } = request;
  try {
    const { elsewhere } = await usableCandidates(room, { ...request, candidates: [address] });
    const facts = await room.facts.read();
    if (elsewhere.length > 0) {
      const pool = facts.pools.ownerOfAddress(address);
      return `IP pool "${pool?.name}" is not for this node (nodeSelector: ${pool?.nodeSelector})`;
    }
    if (!facts.config.strictAffinity) return undefined;
    const record = await new BlockFinder(room, facts).find(address);
    if (!record || isOwnedBy(record.block, { type: "host", name: host })) return undefined;
    return `strictAffinity keeps node ${host} out of block ${formatPrefix(record.prefix)} of ` +
      (record.block.affinity ?? "nobody");
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    return error.message;
  }
}

/** Candidates whose pools are for this node, and those for other nodes. */
async function usableCandidates(
  room: Room,
  { candidates, host, use, namespace }: Pick<
    AssignFirstRequest,
    "candidates" | "host" | "use" | "namespace"
  >,
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
    if (!pool) throw outsideOfPools(facts, ip);
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
export function relabel(room: Room, request: RelabelRequest): Promise<boolean> {
  return doneInOneEpoch(room.handles.epoch, () => relabelOnce(room, request));
}

async function relabelOnce(room: Room, request: RelabelRequest): Promise<boolean> {
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
