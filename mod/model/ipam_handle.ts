/** All addresses of one owner: how many it holds in which block. May over-count, never under-count. */
export interface IpamHandle {
  /** Addresses by block CIDR. */
  block: Record<string, number>;
  deleted: boolean;
}
