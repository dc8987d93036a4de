/**
 * Addresses that a pod's new attachment has from an earlier one, without their ever being free: they stay
 * the earlier one's on record until all else that the new one needs is there and the earlier one has lost
 * its interface. So a take-over that fails, or is cut off, takes nothing from a container that still runs;
 * and an address that stays the pod's does not cool down.
 */

import { formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import { attributesOf, type Claimant } from "./addresses.ts";
import type { AddressPlan } from "./annotations.ts";
import type { CniIpam } from "./deps.ts";
import { addressesOf } from "./endpoint.ts";
import { CniCode, CniError } from "./errors.ts";

/** What an attachment gets. */
export interface Obtained {
  readonly addresses: Ip[];
  /**
   * Puts those on record for it that are an earlier attachment's till now, whose interface is gone.
   * CniError where they have changed hands meanwhile.
   */
  readonly takeOver: () => Promise<void>;
}

/** An address of the pod's earlier sandbox, and the handle that it is under. */
export interface Inherited {
  readonly ip: Ip;
  readonly handle: string | undefined;
}

/**
 * Those of the fixed or pinned addresses that the earlier sandbox of the same pod still holds. Addresses of
 * anybody else are left alone, and leases (`pin_leases.ts` sees to them).
 */
export async function heldByOlder(
  ipam: CniIpam,
  plan: AddressPlan,
  claimant: Claimant,
  older: WorkloadEndpoint,
): Promise<Inherited[]> {
  if (!claimant.pod) return [];
  const wished = plan.kind === "fixed"
    ? plan.addresses
    : plan.kind === "pinned"
    ? [...plan.pins.addresses, ...plan.pins.spare]
    : [];
  const found: Inherited[] = [];
  for (const ip of addressesOf(older)) {
    if (!wished.some((one) => sameIp(one, ip))) continue;
    const held = await ipam.assignment(ip);
    if (
      held?.attributes.pod !== claimant.pod.name ||
      held.attributes.namespace !== claimant.pod.namespace
    ) continue;
    found.push({ ip, handle: held.handle });
  }
  return found;
}

export async function takeOver(
  ipam: CniIpam,
  inherited: readonly Inherited[],
  claimant: Claimant,
  now: Date,
): Promise<void> {
  const to = { handle: claimant.handle, attributes: attributesOf(claimant, now) };
  for (const { ip, handle } of inherited) {
    if (handle === claimant.handle || await ipam.handOver({ address: ip, handle, to })) continue;
    throw new CniError(
      CniCode.tryAgain,
      `${
        formatIp(ip)
      }, which the pod's earlier sandbox had, has changed hands meanwhile; try again.`,
    );
  }
}
