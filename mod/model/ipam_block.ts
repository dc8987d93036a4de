/**
 * IPAM's own records as they stand in etcd: block, affinity, handle and configuration. They are plain
 * JSON, not v3 resources: `deleted` is always written, in Go's member order. `mod/ipam` owns what
 * they mean; here is only their form.
 */

/** Which handle holds an address, and facts for people. */
export interface AllocationAttribute {
  /** Left out where an address is held without a handle. */
  handle_id?: string | null;
  /** pod, namespace, node, timestamp, type, note …; left out where there are none. */
  secondary?: Record<string, string> | null;
  alternateOwnerAttrs?: Record<string, string>;
  /**
   * Calico 3.33: free, but cooling down since this time (RFC 3339). Then there is no handle. Who asks whether
   * an address cools down asks `coolingSince` of `ipam/cooling.ts`: there is another mark of it.
   */
  releasedAt?: string;
}

/** One block of addresses. Ordinal n is the n-th address of the CIDR. */
export interface AllocationBlock {
  /** Canonical. */
  cidr: string;
  /** `host:<node>`, `virtual:load-balancer`, or null: nobody's. */
  affinity?: string | null;
  /** RFC 3339. */
  affinity_claim_time?: string | null;
  /** Very old data: the node's name. */
  hostAffinity?: string | null;
  /** For each ordinal an index into `attributes`, or null where the address is free. */
  allocations: (number | null)[];
  /** Free ordinals; the next to be given stands first. */
  unallocated: number[];
  attributes: AllocationAttribute[];
  /** Nanoseconds of the block's creation plus its number of updates: beyond 2^53 (store/json.ts). */
  sequenceNumber: number | bigint;
  /** By ordinal: the block's number when the address was given. */
  sequenceNumberForAllocation: Record<string, number | bigint>;
  deleted: boolean;
}
