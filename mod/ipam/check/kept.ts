/**
 * Addresses that are on record although nobody uses them now: an owner that outlives its pods has them
 * (a StatefulSet's ordinal, say). The attribute `keptFor` names that owner; neither the check nor the
 * collector takes such an address for lost.
 */
import type { Allocation } from "./allocations.ts";

export const KEPT_FOR = "keptFor";

/** For whom it is kept, in words; undefined where it is an ordinary allocation. */
export function isKept({ attributes }: Pick<Allocation, "attributes">): string | undefined {
  const owner = attributes[KEPT_FOR];
  return owner ? `Kept(${owner})` : undefined;
}
