/**
 * The addresses of an attachment that nobody else on this node has: what IPAM gives by the plan, after
 * the last look at the kernel (`live_holders.ts`). An address that another has goes on record as his and
 * is passed over; where the plan leaves no other, the pod waits (code 11), as for one that IPAM knows to
 * be taken.
 */

import { type Family, formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import { type AssignOptions, type Claimant, obtainAddresses } from "./addresses.ts";
import type { AddressPlan } from "./annotations.ts";
import type { CniDeps } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import type { JointEndpoint } from "./joint_endpoint.ts";
import { liveHolders, recordHolder, whoHas } from "./live_holders.ts";
import type { NetConf } from "./netconf.ts";
import { obtainPinned } from "./pin_leases.ts";
import { heldByOlder, type Obtained, takeOver } from "./take_over.ts";

/** More than any node has pods; the next ADD goes on from there. */
export const MOST_PASSED_OVER = 512;

type For = Parameters<typeof obtainPinned>[3];

/**
 * CniError; what the handle has got by then, the caller gives back. Nothing of the pod's earlier sandbox
 * is changed before `takeOver`.
 */
export async function freeAddresses(
  deps: CniDeps,
  conf: NetConf,
  plan: AddressPlan,
  claimant: Claimant,
  { pod, older, ahead, joint }: Pick<For, "pod" | "older"> & Pick<AssignOptions, "ahead"> & {
    /** For a plan of one automatic address. */
    readonly joint?: JointEndpoint;
  },
  now: Date,
): Promise<Obtained> {
  const inherited = older ? await heldByOlder(deps.ipam, plan, claimant, older) : [];
  const subject = { pod, older, inherited };
  const kept: Ip[] = [];
  for (let i = 0; i < MOST_PASSED_OVER; i++) {
    const options = { ahead: i === 0 ? ahead : undefined, beside: joint };
    const asked = await ask(deps, without(plan, kept), claimant, subject, now, options);
    const given = asked.addresses;
    // Looked at before it was written.
    if (joint?.endpoint) return asked;
    const holders = await liveHolders(deps, given, older?.spec.interfaceName);
    if (holders.length === 0) {
      if (kept.length === 0) return asked;
      const addresses = [...kept, ...given].sort((a, b) => a.family - b.family);
      return { ...asked, addresses };
    }
    if (plan.kind === "unmanaged") {
      throw inUse(claimant, holders[0].ip, await whoHas(deps, conf.name, holders[0]));
    }
    for (const holder of holders) {
      const whose = await recordHolder(deps, conf.name, holder, now);
      if (plan.kind === "fixed") throw inUse(claimant, holder.ip, whose);
    }
    const free = given.filter((ip) => !holders.some((holder) => sameIp(holder.ip, ip)));
    // host-local gives one of every range set, whatever there is of them already.
    if (plan.kind === "automatic" && !conf.ipam.hostLocal) kept.push(...free);
    else for (const ip of free) await giveBackOwn(deps, ip, claimant);
  }
  throw amiss();
}

export function amiss(): CniError {
  return new CniError(
    CniCode.tryAgain,
    `${MOST_PASSED_OVER} addresses that IPAM gave are those of other workloads on this node; it is ` +
      "their records that are amiss: see `tortie ipam check`.",
  );
}

async function ask(
  deps: CniDeps,
  plan: AddressPlan,
  claimant: Claimant,
  subject: For,
  now: Date,
  options: AssignOptions,
): Promise<Obtained> {
  if (plan.kind === "pinned") return await obtainPinned(deps, plan.pins, claimant, subject, now);
  const nothing = () => Promise.resolve();
  if (plan.kind === "unmanaged") return { addresses: [...plan.addresses], takeOver: nothing };
  if (plan.kind === "automatic") {
    const given = await obtainAddresses(deps.ipam, plan, claimant, now, options);
    return { addresses: given.map((a) => a.ip), takeOver: nothing };
  }
  const { inherited } = subject;
  const others = plan.addresses.filter((ip) => !inherited.some((one) => sameIp(one.ip, ip)));
  await obtainAddresses(deps.ipam, { ...plan, addresses: others }, claimant, now);
  return {
    addresses: [...plan.addresses],
    takeOver: () => takeOver(deps.ipam, inherited, claimant, now),
  };
}

/** The plan, but for families of which there is an address. */
function without(plan: AddressPlan, kept: readonly Ip[]): AddressPlan {
  if (plan.kind !== "automatic") return plan;
  const lacks = (family: Family) => !kept.some((ip) => ip.family === family);
  return { ...plan, ipv4: plan.ipv4 && lacks(4), ipv6: plan.ipv6 && lacks(6) };
}

/** Not what is an ordinal's: it finds that again in its lease. */
async function giveBackOwn({ ipam }: CniDeps, ip: Ip, { handle }: Claimant): Promise<void> {
  if ((await ipam.assignment(ip))?.handle !== handle) return;
  await ipam.releaseIps([{ address: ip, handle }]);
}

export function inUse({ pod, handle }: Claimant, ip: Ip, whose: string): CniError {
  return new CniError(
    CniCode.tryAgain,
    `${pod ? `Pod ${pod.namespace}/${pod.name}` : handle} asks for ${formatIp(ip)}, which ` +
      `${whose} has: it waits until that one is gone.`,
  );
}
