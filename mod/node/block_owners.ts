/**
 * On which node the addresses of the cluster are, as IPAM's blocks say it: a block stands for all of
 * its addresses, but for those that another node has borrowed; of a block that is nobody's any more
 * each address that is still given stands for itself. Pure, and of blocks as `state.ts` has read them.
 */
import { attributeOf, ownerOf } from "../ipam/block.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { formatPrefix, hostPrefix, ipAt, mustPrefix, type Prefix } from "../net/mod.ts";
import { tunnelHolders } from "./tunnel_holders.ts";

export interface Located {
  readonly prefix: Prefix;
  readonly node: string;
}

const known = new WeakMap<AllocationBlock, readonly Located[]>();

/** Blocks are replaced when they change and never changed themselves: each is read once. */
export function locatedIn(block: AllocationBlock): readonly Located[] {
  let located = known.get(block);
  if (!located) known.set(block, located = read(block));
  return located;
}

/**
 * Whether two states of a block say the same of where its addresses are, tunnels' among them: all that
 * routing reads of it. Every pod of the cluster changes some block, and hardly ever this.
 */
export function locatesAlike(a: AllocationBlock, b: AllocationBlock): boolean {
  return a.cidr === b.cidr && a.affinity === b.affinity &&
    sameList(locatedIn(a), locatedIn(b), (one) => `${formatPrefix(one.prefix)} ${one.node}`) &&
    sameList([...tunnelHolders(a)], [...tunnelHolders(b)], ([handle, ips]) => `${handle} ${ips}`);
}

function sameList<T>(a: readonly T[], b: readonly T[], textOf: (one: T) => string): boolean {
  return a.length === b.length && a.every((one, i) => textOf(one) === textOf(b[i]));
}

function read(block: AllocationBlock): Located[] {
  const prefix = mustPrefix(block.cidr);
  const owner = ownerOf(block);
  const holder = owner?.type === "host" ? owner.name : undefined;
  const located: Located[] = holder ? [{ prefix, node: holder }] : [];
  for (let ordinal = 0; ordinal < block.allocations.length; ordinal++) {
    const node = attributeOf(block, ordinal)?.secondary?.node;
    if (!node || node === holder) continue;
    located.push({ prefix: hostPrefix(ipAt(prefix, ordinal)), node });
  }
  return located;
}
