/**
 * Addresses for an attachment: the plan that the annotations, CNI_ARGS and the configuration add up to
 * (`annotations.ts`), carried out with IPAM.
 *
 * A fixed address that somebody holds is refused with code 11 and the holder's name: a Deployment's
 * replacement waits so for the pod that it replaces. Only the same pod's earlier sandbox gives way at
 * once, as in Calico (`take_over.ts`).
 */

import { goTimestamp } from "../mod/ipam/time.ts";
import type { AssignedAddress, Beside, ReadAhead } from "../mod/ipam/types.ts";
import type { AddressPlan } from "./annotations.ts";
import type { CniIpam } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import { toCniError } from "./failure.ts";
import type { EndpointIdentity } from "./identity.ts";

/** Who the addresses are for. */
export interface Claimant {
  readonly handle: string;
  readonly node: string;
  readonly ifname: string;
  readonly pod?: { readonly namespace: string; readonly name: string };
}

export function claimantOf(identity: EndpointIdentity): Claimant {
  return {
    handle: identity.handle,
    node: identity.node,
    ifname: identity.ifname,
    pod: identity.pod === undefined
      ? undefined
      : { namespace: identity.namespace, name: identity.pod },
  };
}

/** What an automatic assignment is given besides. */
export interface AssignOptions {
  readonly ahead?: ReadAhead;
  readonly beside?: Beside;
}

/**
 * Addresses on record, IPv4 before IPv6. CniError; what the handle has got by then, and what stands beside
 * it, the caller takes away in the order of DEL.
 */
export async function obtainAddresses(
  ipam: CniIpam,
  plan: Exclude<AddressPlan, { kind: "unmanaged" | "pinned" }>,
  claimant: Claimant,
  now: Date,
  { ahead, beside }: AssignOptions = {},
): Promise<AssignedAddress[]> {
  const attributes = attributesOf(claimant, now);
  const common = { host: claimant.node, handle: claimant.handle, attributes };
  try {
    if (plan.kind === "automatic") {
      return await ipam.assign({
        ...common,
        num4: plan.ipv4 ? 1 : 0,
        num6: plan.ipv6 ? 1 : 0,
        ...(plan.ipv4Pools.length > 0 && { pools4: plan.ipv4Pools }),
        ...(plan.ipv6Pools.length > 0 && { pools6: plan.ipv6Pools }),
        use: "Workload",
        namespace: claimant.pod?.namespace,
        ahead,
        beside,
      });
    }
    const assigned: AssignedAddress[] = [];
    for (const address of plan.addresses) {
      assigned.push(await ipam.assignIp({ ...common, address, use: "Workload" }));
    }
    return assigned;
  } catch (error) {
    throw refusal(plan.by, error);
  }
}

/** What IPAM refuses for good is the fault of whoever asked for just that, and names him. */
export function refusal(by: string | undefined, error: unknown): CniError {
  const told = toCniError(error);
  if (by === undefined || told.code !== CniCode.addresses) return told;
  const message = `${by} cannot be followed: ${told.message}`;
  return new CniError(told.code, message, told.details, { cause: error });
}

/**
 * Calico's attributes, in its order; plain containers have no pod. An interface other than eth0 is
 * named, since its handle is not one of Calico's.
 */
export function attributesOf(claimant: Claimant, now: Date): Record<string, string> {
  const { pod } = claimant;
  return {
    ...(claimant.ifname !== "eth0" && { interface: claimant.ifname }),
    ...(pod && { namespace: pod.namespace }),
    node: claimant.node,
    ...(pod && { pod: pod.name }),
    timestamp: goTimestamp(now.getTime()),
  };
}

/** The IPAM types that we answer for, in the role that was called. */
export function checkIpamType(type: string, role: "interface" | "ipam"): void {
  if (type === "" || type === "tortie-ipam" || type === "calico-ipam") return;
  if (type === "host-local" && role === "interface") return;
  throw new CniError(
    CniCode.configuration,
    `Network configuration: ipam.type ${
      JSON.stringify(type.slice(0, 80))
    } is not served, since no ` +
      "other plugin is executed: use tortie-ipam or calico-ipam" +
      (role === "interface" ? ", or host-local." : "."),
  );
}
