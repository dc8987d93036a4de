/**
 * The endpoint of a fresh attachment, written in one step with the record of its address: a round trip to
 * the datastore less, and no moment in which there is the one without the other. Only where nothing
 * stands in its place, there is one address and IPAM chooses it. What hinders it (a datastore that
 * writes one object at a time, an address that another of this node has, an endpoint that cannot be
 * made) is none of its business: then IPAM gives the address alone, and whoever writes the endpoint by itself
 * meets the same and says so. What has taken the address past IPAM since the look, while the datastore
 * was slow, is not seen: nor is it where the endpoint is written by itself.
 */

import type { Beside } from "../mod/ipam/types.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { Ip } from "../mod/net/mod.ts";
import type { JointWrite } from "../mod/store/store.ts";
import type { CniDeps } from "./deps.ts";
import type { EndpointEntry } from "./endpoint_record.ts";
import { findHostName } from "./host_name.ts";
import type { EndpointIdentity } from "./identity.ts";
import { type HolderDeps, liveHolders } from "./live_holders.ts";

export class JointEndpoint implements Beside {
  /** As it was written. */
  endpoint: WorkloadEndpoint | undefined;

  constructor(
    readonly deps: HolderDeps,
    readonly key: string,
    /** Whole, as it is to stand in the store. */
    readonly build: (address: Ip) => WorkloadEndpoint,
  ) {}

  async plan(address: Ip): Promise<JointWrite | undefined> {
    try {
      const holders = await liveHolders(this.deps, [address], undefined);
      if (holders.length > 0) return undefined;
      return { op: "create", key: this.key, value: this.build(address) };
    } catch {
      return undefined;
    }
  }

  written({ value }: JointWrite): void {
    this.endpoint = value as WorkloadEndpoint;
  }
}

/**
 * undefined where the datastore has no such step, or the host side's name has to be made free first: what is
 * in its way goes when nothing more can be refused.
 */
export async function jointEndpoint(
  deps: CniDeps,
  identity: EndpointIdentity,
  others: readonly EndpointEntry[],
  build: (address: Ip, hostName: string) => WorkloadEndpoint,
): Promise<JointEndpoint | undefined> {
  if (!deps.store.together) return undefined;
  const { name, remnant } = await findHostName(deps, identity, others);
  if (remnant) return undefined;
  return new JointEndpoint(deps, identity.key, (address) => build(address, name));
}
