/**
 * Pinned addresses (`pins.ts`) carried out with IPAM. Each is one allocation in its block, made by
 * compare-and-swap, and nothing is kept beside it: two replicas can never have the same one, on
 * whatever nodes, and who has it is what `ipam show` says.
 *
 * A replica of a Deployment has its address under its container's handle, as any pod; the DEL frees it.
 * The ordinal of a StatefulSet has a lease (`mod/ipam/lease_record.ts`) which stays when its pod goes:
 *
 *     no lease        -> one is made: the ordinal's own place in the list, else the first free one
 *     kept            -> used again, on whatever node that a fresh pin would be given on
 *     in use          -> by the pod's earlier sandbox: taken over, when all else that the new one needs
 *                        is there and the earlier one has lost its interface; by another container of the
 *                        ordinal: the pod waits until that one is gone (`former_container.ts`)
 *     DEL             -> kept, for the time that the annotation says; then whoever lists it may have it
 *
 * So an ordinal that is scaled away, or whose StatefulSet is deleted, gives its address back to the
 * list when that time is over; `ipam release` gives it back at once. Who finds nothing free is refused
 * with code 11, which the runtime tries again, and told who has what.
 */

import { formatIp, type Ip } from "../mod/net/mod.ts";
import { describeHolder } from "../mod/ipam/errors.ts";
import { leaseHandle, parked } from "../mod/ipam/lease_record.ts";
import type { LeaseClient } from "../mod/ipam/types.ts";
import type { Pod } from "../mod/model/pod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import { attributesOf, type Claimant, refusal } from "./addresses.ts";
import { CniCode, CniError } from "./errors.ts";
import type { EndpointIdentity } from "./identity.ts";
import {
  giveBack,
  leaseAttributes,
  type LeaseParts,
  type Ordinal,
  ordinalOfPod,
  type PinParts,
  podName,
  readLease,
  takeUp,
  whyNot,
} from "./ordinal_lease.ts";
import { familiesOf, PIN_NAMES, type Pins } from "./pins.ts";
import { type Inherited, type Obtained, takeOver } from "./take_over.ts";

/**
 * One address of each family that the list names, IPv4 first. What the pod's earlier sandbox has, or its
 * ordinal's lease, is left as it is until `takeOver`: a container that still runs loses nothing to an ADD
 * that comes to nothing. CniError: the caller detaches then, which gives back, or keeps for its ordinal,
 * what there is.
 */
export async function obtainPinned(
  parts: PinParts,
  pins: Pins,
  claimant: Claimant,
  subject: {
    readonly pod: Pod | undefined;
    /** The pod's earlier sandbox, and what it has of the addresses. */
    readonly older: WorkloadEndpoint | undefined;
    readonly inherited: readonly Inherited[];
  },
  now: Date,
): Promise<Obtained> {
  const { leases } = parts;
  if (!leases) {
    throw new CniError(
      CniCode.annotation,
      `${podName(claimant)}: annotation ${PIN_NAMES[0]} cannot be followed by this plugin.`,
    );
  }
  const ordinal = ordinalOfPod(subject.pod);
  try {
    return ordinal && claimant.pod
      ? await obtainForOrdinal({ ...parts, leases }, pins, claimant, ordinal, subject, now)
      : await obtainForReplica({ ...parts, leases }, pins, claimant, subject, now);
  } catch (error) {
    throw refusal(`${podName(claimant)}: annotation ${PIN_NAMES[0]}`, error);
  }
}

async function obtainForReplica(
  parts: LeaseParts,
  pins: Pins,
  claimant: Claimant,
  { inherited }: { readonly inherited: readonly Inherited[] },
  now: Date,
): Promise<Obtained> {
  const has: Inherited[] = [];
  for (const one of inherited) {
    if (await whyNot(parts, claimant, one.ip) === undefined) has.push(one);
  }
  const attributes = attributesOf(claimant, now);
  const addresses: Ip[] = [];
  for (const family of familiesOf(pins)) {
    const own = has.find(({ ip }) => ip.family === family);
    addresses.push(
      own?.ip ?? await assignOne(parts, pins, claimant, family, 0, claimant.handle, attributes),
    );
  }
  const used = has.filter(({ ip }) => addresses.includes(ip));
  return { addresses, takeOver: () => takeOver(parts.ipam, used, claimant, now) };
}

async function obtainForOrdinal(
  parts: LeaseParts,
  pins: Pins,
  claimant: Claimant,
  ordinal: Ordinal,
  { older }: { readonly older: WorkloadEndpoint | undefined },
  now: Date,
): Promise<Obtained> {
  const { pod, ifname } = claimant;
  const handle = leaseHandle(pod!.namespace, ordinal.statefulSet, ordinal.ordinal, ifname);
  const attributes = leaseAttributes(claimant, ordinal, pins, now);
  const { kept, leaving } = await readLease(parts, handle, pins, claimant, older, now);
  const addresses: Ip[] = [], fresh: Ip[] = [];
  try {
    for (const family of familiesOf(pins)) {
      const own = kept.find(({ ip }) => ip.family === family);
      if (own) {
        addresses.push(own.ip);
        continue;
      }
      const place = Number(ordinal.ordinal);
      const ip = await assignOne(parts, pins, claimant, family, place, handle, attributes);
      fresh.push(ip);
      addresses.push(ip);
    }
  } catch (error) {
    // The ordinal has another still: it is not to have two of one family.
    const second = fresh.filter(({ family }) => leaving.some(({ ip }) => ip.family === family));
    // What cannot be given back now is kept, as after a DEL.
    await giveBack(parts, handle, claimant, second).catch(() => {});
    throw error;
  }
  return {
    addresses,
    takeOver: () => takeUp(parts, handle, claimant, { kept, leaving }, attributes),
  };
}

/** CniError, or IpamError, where none of the family can be had now. */
async function assignOne(
  { leases }: LeaseParts,
  pins: Pins,
  claimant: Claimant,
  family: 4 | 6,
  place: number,
  handle: string,
  attributes: Readonly<Record<string, string>>,
): Promise<Ip> {
  const ofFamily = (ips: readonly Ip[]) => ips.filter((ip) => ip.family === family);
  const listed = ofFamily(pins.addresses);
  const own = place % listed.length;
  const candidates = [
    listed[own],
    ...listed.filter((_, i) => i !== own),
    ...ofFamily(pins.spare),
  ];
  const { node: host, pod } = claimant;
  const done = await leases.assignFirst({
    candidates,
    host,
    handle,
    attributes,
    use: "Workload",
    namespace: pod?.namespace,
  });
  if (!("given" in done)) throw nothingFree(claimant, candidates.length, done);
  return done.given.ip;
}

/** What an attachment may have leased. */
export interface Leased {
  readonly handle: string;
  readonly addresses: readonly Ip[];
}

export async function leasedTo(
  { ipam, leases }: PinParts,
  identity: EndpointIdentity,
): Promise<Leased | undefined> {
  const name = identity.pod === undefined ? undefined : /^(.+)-(\d+)$/.exec(identity.pod);
  if (!leases || !name) return undefined;
  const handle = leaseHandle(identity.namespace, name[1], name[2], identity.ifname);
  return { handle, addresses: await ipam.ipsByHandle(handle) ?? [] };
}

/** After the attachment is gone: what it had leased is kept for its ordinal. */
export async function parkLease(
  { leases }: PinParts,
  by: { readonly handle: string },
  leased: Leased | undefined,
  now: Date,
): Promise<void> {
  for (const address of leased?.addresses ?? []) {
    await leases!.relabel({
      address,
      handle: leased!.handle,
      change: (attributes) =>
        attributes.container === by.handle ? parked(attributes, now.getTime()) : undefined,
    });
  }
}

function nothingFree(
  claimant: Claimant,
  count: number,
  { taken, refused, elsewhere }: Exclude<
    Awaited<ReturnType<LeaseClient["assignFirst"]>>,
    { given: unknown }
  >,
): CniError {
  const most = 5;
  const reasons = [
    ...taken.slice(0, most).map(({ ip, holder }) => `${formatIp(ip)} by ${describeHolder(holder)}`),
    ...(taken.length > most ? [`${taken.length - most} more`] : []),
    ...refused.slice(0, most).map((error) => error.message),
    ...(elsewhere.length > 0
      ? [`${elsewhere.map(formatIp).slice(0, most).join(", ")}: their pools are not for this node`]
      : []),
  ];
  return new CniError(
    CniCode.tryAgain,
    `${podName(claimant)}: none of the ${count} addresses of annotation ${PIN_NAMES[0]} is free ` +
      `(${reasons.join("; ")}). This pod waits for one; name more, or some for replacements with ` +
      `${PIN_NAMES[1]}.`,
  );
}
