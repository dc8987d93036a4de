/** A node's claim on a block. A block is a node's only if the block itself says so too. */

/** "" is the oldest form of confirmed. */
export type AffinityState = "confirmed" | "pending" | "pendingDeletion" | "";

export interface BlockAffinity {
  state: AffinityState;
  deleted: boolean;
}
