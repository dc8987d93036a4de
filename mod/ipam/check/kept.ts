/**
 * Addresses that are on record although nobody may use them now: the lease of an ordinal of a StatefulSet
 * outlives its pods. Its handle begins with `tortie-pin.`; `container` in its attributes says who uses
 * it, `keptUntil` that nobody does and for how long it is kept. Neither the check nor the collector takes
 * a lease for lost before that time is over.
 */
import type { Allocation } from "./allocations.ts";

const LEASE_PREFIX = "tortie-pin.";

/** For whom it is kept, in words; undefined where it is an ordinary allocation, or its time is over. */
export function keptFor(
  { handle, attributes }: Pick<Allocation, "handle" | "attributes">,
  now: number,
): string | undefined {
  if (!handle?.startsWith(LEASE_PREFIX)) return undefined;
  const { container, keptUntil, statefulset = "", ordinal = "" } = attributes;
  const over = container === undefined && keptUntil !== undefined && !(Date.parse(keptUntil) > now);
  return over ? undefined : `Lease(${statefulset}-${ordinal})`;
}
