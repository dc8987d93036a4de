/**
 * Records of IPAM that cannot be read: half-written, or of a shape that none has. What is lost with one
 * is known to nobody, so it is never taken for "not there": a damaged block gives nothing and stands in
 * the way of blocks that overlap it, a damaged handle is made anew from the blocks, a damaged affinity
 * is claimed again, and with a damaged configuration nothing new is given. Everything else goes on.
 */
import { formatPrefix, type Prefix } from "../net/mod.ts";
import { blockKey, ipamConfigKey } from "../model/keys.ts";
import { IpamError } from "./errors.ts";

export { isBroken, readRaw } from "../store/raw.ts";

export const CHECK_HELPS = "`tortie ipam check` says what helps";

export function damagedBlock(prefix: Prefix, why: string): IpamError {
  return new IpamError(
    "badRecord",
    `the stored IPAM block ${formatPrefix(prefix)} (${blockKey(prefix)}) is damaged: ${why}; ` +
      CHECK_HELPS,
  );
}

export function damagedConfig(why: string): IpamError {
  return new IpamError(
    "badRecord",
    `the IPAM configuration (${ipamConfigKey}) is damaged: ${why}; write it anew with ` +
      "`tortie ipam configure --strictaffinity=false`, and what else it shall say",
  );
}

export function isDamage(error: unknown): error is IpamError {
  return error instanceof IpamError && error.kind === "badRecord";
}

/** What the work gives, or `otherwise` of the error where it meets a damaged record. */
export async function unlessDamaged<T, U>(
  work: () => Promise<T>,
  otherwise: (error: IpamError) => U,
): Promise<T | U> {
  try {
    return await work();
  } catch (error) {
    if (!isDamage(error)) throw error;
    return otherwise(error);
  }
}
