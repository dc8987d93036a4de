/**
 * The lease of an ordinal of a StatefulSet, as an attachment of it finds it, and how it takes it up:
 * first all is read and judged (`readLease`), and only when the attachment has everything else is
 * anything changed (`takeUp`), by compare-and-swap on what was read.
 */

import { formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import { IpamError } from "../mod/ipam/errors.ts";
import { goTimestamp } from "../mod/ipam/time.ts";
import type { Assignment, LeaseClient } from "../mod/ipam/types.ts";
import type { Pod } from "../mod/model/pod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { Claimant } from "./addresses.ts";
import type { CniIpam } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import { type FormerParts, mustBeIdle, usedBy } from "./former_container.ts";
import { PIN_NAMES, type Pins } from "./pins.ts";

export interface PinParts extends FormerParts {
  readonly ipam: CniIpam;
  readonly leases?: LeaseClient;
}

export type LeaseParts = PinParts & { readonly leases: LeaseClient };

export interface Ordinal {
  readonly statefulSet: string;
  readonly ordinal: string;
}

/** The ordinal that a pod is of its StatefulSet, as its owner and its name say; else undefined. */
export function ordinalOfPod(pod: Pod | undefined): Ordinal | undefined {
  const owner = (pod?.metadata.ownerReferences ?? []).find((o) =>
    o.controller && o.kind === "StatefulSet"
  );
  const parts = pod && /^(.+)-(\d+)$/.exec(pod.metadata.name);
  if (!owner?.name || !parts || parts[1] !== owner.name) return undefined;
  return { statefulSet: owner.name, ordinal: parts[2] };
}

export interface Lease {
  /** Those that the ordinal goes on using, at most one of a family. */
  readonly kept: readonly Assignment[];
  /** Those that leave the lease. */
  readonly leaving: readonly Assignment[];
}

/**
 * The addresses that the ordinal has leased: those that it goes on using, at most one of a family, and
 * those that leave the lease. Nothing is changed. CniError where a container may still use one, or where
 * one may not be used here.
 */
export async function readLease(
  parts: LeaseParts,
  handle: string,
  pins: Pins,
  claimant: Claimant,
  older: WorkloadEndpoint | undefined,
  now: Date,
): Promise<Lease> {
  const all = [...pins.addresses, ...pins.spare];
  const leased: Assignment[] = [];
  for (const ip of await parts.ipam.ipsByHandle(handle) ?? []) {
    const held = await parts.ipam.assignment(ip);
    if (held?.handle !== handle) continue; // taken away meanwhile
    await mustBeIdle(parts, claimant, held, older, now);
    leased.push(held);
  }
  // Of two of a family, the one that the earlier sandbox has: the other is of an ADD that was cut off.
  const first = leased.filter((held) => usedBy(older, held));
  const kept: Assignment[] = [], leaving: Assignment[] = [];
  for (const held of [...first, ...leased.filter((one) => !first.includes(one))]) {
    const { ip } = held;
    const goesOn = all.some((a) => sameIp(a, ip)) && !kept.some((k) => k.ip.family === ip.family);
    (goesOn ? kept : leaving).push(held);
  }
  for (const { ip } of kept) {
    const why = await whyNot(parts, claimant, ip);
    if (why === undefined) continue;
    throw new CniError(
      CniCode.tryAgain,
      `${podName(claimant)}: its pinned address ${
        formatIp(ip)
      }, which is kept for it, may not be ` +
        `used on node ${claimant.node} now: ${why}. It stays kept; this pod waits until it may be ` +
        `used again, or is no longer in annotation ${PIN_NAMES[0]}.`,
    );
  }
  return { kept, leaving };
}

/** CniError where it has changed since it was read. */
export async function takeUp(
  parts: LeaseParts,
  handle: string,
  claimant: Claimant,
  { kept, leaving }: Lease,
  attributes: Readonly<Record<string, string>>,
): Promise<void> {
  for (const { ip, attributes: seen } of kept) {
    const done = await parts.leases.relabel({
      address: ip,
      handle,
      change: (found) => JSON.stringify(found) === JSON.stringify(seen) ? attributes : undefined,
    });
    if (done) continue;
    throw new CniError(
      CniCode.tryAgain,
      `The lease of ${formatIp(ip)} for ${podName(claimant)} has changed meanwhile; try again.`,
    );
  }
  for (const one of leaving) await release(parts, one);
}

/** What this attachment has just got, and no other by now. */
export async function giveBack(
  parts: LeaseParts,
  handle: string,
  claimant: Claimant,
  addresses: readonly Ip[],
): Promise<void> {
  for (const ip of addresses) {
    const held = await parts.ipam.assignment(ip);
    const isOwn = held?.handle === handle && held.attributes.container === claimant.handle;
    if (isOwn) await release(parts, held);
  }
}

/** Unless it has changed since it was looked at. */
async function release(
  { ipam }: LeaseParts,
  { ip, handle, sequenceNumber }: Assignment,
): Promise<void> {
  try {
    await ipam.releaseIps([{ address: ip, handle, sequenceNumber }]);
  } catch (error) {
    if (!(error instanceof IpamError && error.kind === "conflict")) throw error;
  }
}

export function leaseAttributes(
  claimant: Claimant,
  { statefulSet, ordinal }: Ordinal,
  pins: Pins,
  now: Date,
): Record<string, string> {
  return {
    container: claimant.handle,
    keepSeconds: String(pins.keep),
    node: claimant.node,
    ordinal,
    statefulset: `${claimant.pod!.namespace}/${statefulSet}`,
    timestamp: goTimestamp(now.getTime()),
  };
}

/** Why the address would not be given as a fresh pin, in words; undefined: it would. */
export function whyNot(
  { leases }: LeaseParts,
  { node, pod }: Claimant,
  ip: Ip,
): Promise<string | undefined> {
  return leases.whyNotPinned({
    address: ip,
    host: node,
    use: "Workload",
    namespace: pod?.namespace,
  });
}

export function podName({ pod }: Claimant): string {
  return pod ? `Pod ${pod.namespace}/${pod.name}` : "Pod";
}
