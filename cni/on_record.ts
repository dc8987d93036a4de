/** What an ADD asks before its answer, where the datastore may have gone back while it was under way. */
import { formatIp, type Ip } from "../mod/net/mod.ts";
import type { CniIpam } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";

/**
 * The datastore may have forgotten the ADD's addresses, or given them to another ADD: nobody else knows yet
 * that this one has them. CniError `tryAgain` then.
 */
export async function mustBeOnRecord(
  ipam: Pick<CniIpam, "assignment">,
  handle: string,
  addresses: readonly Ip[],
): Promise<void> {
  for (const ip of addresses) {
    const held = await ipam.assignment(ip);
    if ((held?.attributes.container ?? held?.handle) === handle) continue;
    throw new CniError(
      CniCode.tryAgain,
      `The datastore has lost what was written for this pod: ${formatIp(ip)} is ${
        held ? `on record for ${held.handle}` : "not on record"
      }. An older copy of it was put back; try again.`,
    );
  }
}
