/**
 * The mark of an address that was given back and cools down before the next use (IPAMConfiguration's
 * `ipCooldownSeconds`): an attribute of its own, that says since when, and has no handle.
 *
 *     {"secondary": {"releasedAt": "2026-11-26T00:00:00Z"}, "releasedAt": "2026-11-26T00:00:00Z"}
 *
 * The member `releasedAt` is Calico 3.33's. Up to 3.32 Calico drops it with every write to the block, on
 * Kubernetes the API server does (the definitions of 3.32 do not have it), and what were left is an
 * allocation without an end. So it stands in `secondary` too, which both keep. Either says it; one that has a
 * handle is somebody's, whatever its `secondary` holds.
 *
 * What v3.32.1 does with an attribute that has `secondary` and no handle: its garbage collection passes over
 * it (kube-controllers' node/ipam.go), so does Felix, which makes no route for an address without `node`
 * (l3_route_resolver.go); no release by handle finds it, one by address frees it at once; the block counts as
 * used, and is kept; `calicoctl ipam show --ip` prints the time, `ipam check` lists it as an address that
 * nobody uses, and a release from its report frees it at once. A node's start does not take it for a tunnel's
 * address of old, as it takes one that has neither handle nor attributes (allocateip.go). Its load balancer controller alone
 * reads the handle of each address in its blocks, and breaks off where there is none: `cools` leaves these out.
 */
import type { AllocationAttribute, AllocationBlock } from "../model/ipam_block.ts";
import { parseAffinity } from "../model/keys.ts";
import { rfc3339 } from "./time.ts";

/** Configured by IPAMConfiguration.ipCooldownSeconds: 0 frees at once. */
export interface Cooldown {
  readonly seconds: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Since when an address with this attribute cools down (RFC 3339); undefined where it does not. */
export function coolingSince(attribute: AllocationAttribute): string | undefined {
  if (attribute.releasedAt) return attribute.releasedAt;
  return attribute.handle_id ? undefined : attribute.secondary?.releasedAt || undefined;
}

/** In whole seconds, as Calico's: rounded up, so that none cools down for less than was asked. */
export function coolingMark(now: number): AllocationAttribute {
  const releasedAt = rfc3339(Math.ceil(now / 1000) * 1000);
  return { secondary: { releasedAt }, releasedAt };
}

/** Whether addresses of the block cool down when they are given back; those of services do not. */
export function cools(block: AllocationBlock, { seconds }: Pick<Cooldown, "seconds">): boolean {
  return seconds > 0 && parseAffinity(block.affinity)?.type !== "virtual";
}
