/**
 * What can be wrong with one record of an address by itself, or beside its like: a handle that says other
 * than the attributes, a node that is not said, two leases for one ordinal.
 */
import type { Family } from "../../net/mod.ts";
import { LEASE_PREFIX } from "../lease_record.ts";
import { type Allocation, TUNNEL_TYPES } from "./allocations.ts";
import type { Finding } from "./finding.ts";
import { describe, type Holder, holderOf, tunnelHandle } from "./holders.ts";
import type { Users } from "./users.ts";

export function recordFaults(allocations: readonly Allocation[], users: Users): Finding[] {
  const findings: Finding[] = [];
  const leases = new Map<string, { handle: string; family: Family; addresses: string[] }>();
  for (const record of allocations) {
    const { address, handle, ip: { family } } = record;
    const said = contradiction(record);
    if (said !== undefined) {
      findings.push({
        kind: "recordContradicts",
        subject: address,
        message: `${address} is given to handle ${handle}, and its attributes say ${said}`,
      });
    }
    const holder = holderOf(record);
    if (!saysNode(record, holder, users.has(address))) {
      findings.push({
        kind: "nodeUnsaid",
        subject: address,
        message: `${address} is given to ${describe(holder)}, and on which node is not on record`,
      });
    }
    if (holder.is !== "lease" || handle === undefined) continue;
    const id = `${family} ${handle}`;
    const known = leases.get(id);
    if (known) known.addresses.push(address);
    else leases.set(id, { handle, family, addresses: [address] });
  }
  for (const { handle, family, addresses } of leases.values()) {
    if (addresses.length === 1) continue;
    findings.push({
      kind: "leaseTwice",
      subject: `${handle} IPv${family}`,
      message:
        `handle ${handle} has the IPv${family} addresses ${addresses.join(" and ")}, where an ` +
        "ordinal has one",
    });
  }
  return findings;
}

/** What the attributes say, where the handle says another thing. */
function contradiction({ handle, attributes }: Allocation): string | undefined {
  if (handle === undefined) return undefined;
  const { type, node, pod, namespace, statefulset, ordinal } = attributes;
  if (handle.startsWith(LEASE_PREFIX)) {
    if (pod !== undefined) return `pod ${namespace}/${pod}`;
    const own = `${LEASE_PREFIX}${(statefulset ?? "").replace("/", ".")}.${ordinal ?? ""}`;
    // After it, an interface other than eth0 is named.
    if (handle === own || handle.startsWith(`${own}.`)) return undefined;
    return statefulset === undefined || ordinal === undefined
      ? "nothing of an ordinal"
      : `ordinal ${ordinal} of ${statefulset}`;
  }
  if (statefulset !== undefined && ordinal !== undefined) {
    return `ordinal ${ordinal} of ${statefulset}`;
  }
  const tunnel = tunnelHandle(handle);
  if (tunnel) {
    if (tunnel.type === type && (node === undefined || node === tunnel.node)) return undefined;
    return type === undefined ? "nothing of a tunnel" : `${type} of node ${node ?? "unknown"}`;
  }
  return type !== undefined && TUNNEL_TYPES.includes(type)
    ? `${type} of node ${node ?? "unknown"}`
    : undefined;
}

/** Of an address that nobody uses, `unproven` says that it is not known whose it is. */
function saysNode({ attributes }: Allocation, holder: Holder, used: boolean): boolean {
  if (attributes.node) return true;
  switch (holder.is) {
    case "windows":
    case "service":
    case "unsaid":
      return true;
    case "lease":
      // That of a node that is gone is kept without it.
      return holder.container === undefined;
    case "container":
    case "stranger":
      return !used;
    default:
      return false;
  }
}
