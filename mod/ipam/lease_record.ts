/**
 * A lease is an allocation that outlives the pod that uses it. It is an ordinary allocation in the block,
 * under the handle of an ordinal of a StatefulSet:
 *
 *     tortie-pin.<namespace>.<statefulset>.<ordinal>
 *
 * and what changes during its life are its attributes, by compare-and-swap on the block (`relabel` of
 * `leases.ts`): `container` says which attachment uses it, `keptUntil` that none does and how long it is
 * kept. It has no attributes `pod` and `namespace`, so a collector that looks for addresses of vanished
 * pods (ours, Calico's) leaves it alone.
 *
 * That its time is over is the word of this one record, which may be wrong (damaged, or put back from a
 * backup): before its address goes to another, the others are asked who know (`leases_over.ts`,
 * `check/evidence.ts`). Pure.
 */
import type { Holder } from "./errors.ts";
import { rfc3339 } from "./time.ts";
import type { RelabelRequest } from "./types.ts";

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
