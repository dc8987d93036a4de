/**
 * What keeps an address from being given or taken back, as a value with a kind. The texts begin as
 * Calico's do, for people and scripts that know them, and go on to say who is in the way and what
 * helps. Errors of the store itself (unreachable, refused) pass through as StoreError.
 */
import { formatIp, formatPrefix, type Ip, type Prefix } from "../net/mod.ts";

export type IpamErrorKind =
  | "badRequest" // the call itself makes no sense: negative count, no node name
  | "nodeUnknown" // there is no Node object of that name
  | "poolFamily" // a pool that was asked for is of the other family
  | "poolUnknown" // a pool that was asked for does not exist
  | "poolDisabled" // a pool that was asked for exists and gives no addresses
  | "noPools" // no pool is meant for this node, namespace and use
  | "noFreeAddresses" // the pools have nothing left for this node
  | "blockLimit" // a further block is needed and the node has as many as it may
  | "addressTaken" // the address is somebody's; `holder` says whose
  | "notInPool" // the address or CIDR lies in no enabled pool
  | "notForUse" // the pool of the address is not meant for this use
  | "affinityMismatch" // strict affinity, and the address's block is another node's
  | "draining" // the address lies in a block of another pool or size that gives no more
  | "notEmpty" // a block that should be empty has allocations
  | "conflict" // handle or sequence number differ from the record, or too many others write at once
  | "badRecord"; // a record in the store cannot be read

/** Who holds an address. */
export interface Holder {
  readonly handle?: string;
  /** pod, namespace, node, type, timestamp … as they were given with the allocation. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Nobody has it any more, and nobody may have it before this time (RFC 3339). */
  readonly coolsUntil?: string;
}

export class IpamError extends Error {
  override readonly name = "IpamError";
  constructor(
    readonly kind: IpamErrorKind,
    message: string,
    /** Of addressTaken. */
    readonly holder?: Holder,
  ) {
    super(message);
  }
}

/** In words: `pod blue/web-0 on node n1`, `the vxlanTunnelAddress of node n2`, `handle x`. */
export function describeHolder(holder: Holder): string {
  if (holder.coolsUntil) {
    return `nobody: it was given back, and cools down until ${holder.coolsUntil}`;
  }
  const { pod, namespace, node, type, statefulset, ordinal, keptUntil } = holder.attributes;
  const where = node ? ` on node ${node}` : "";
  if (statefulset) {
    const kept = keptUntil ? `, for which it is kept until ${keptUntil}` : where;
    return `ordinal ${ordinal} of StatefulSet ${statefulset}${kept}`;
  }
  if (pod) return `pod ${namespace ? `${namespace}/` : ""}${pod}${where}`;
  if (type && node) return `the ${type} of node ${node}`;
  if (holder.handle) return `handle ${holder.handle}${where}`;
  return node ? `node ${node}` : "an allocation without a handle";
}

export function addressTaken(ip: Ip, holder: Holder): IpamError {
  return new IpamError(
    "addressTaken",
    `resource already exists: ${formatIp(ip)} with error: Address already assigned in block; ` +
      `it is held by ${describeHolder(holder)}`,
    holder,
  );
}

export function notInPool(what: Ip | Prefix): IpamError {
  return new IpamError(
    "notInPool",
    "ip" in what
      ? `The requested CIDR (${formatPrefix(what)}) is not within any configured pools`
      : `The provided IP address is not in a configured pool: ${
        formatIp(what)
      } lies in no enabled ` +
        `IPPool`,
  );
}

export function blockLimit(limit: number): IpamError {
  return new IpamError(
    "blockLimit",
    `cannot allocate new block due to per host block limit; Need to allocate an IPAM block but ` +
      `could not - limit of ${limit} blocks reached for this node`,
  );
}

export function tooManyRetries(what: string): IpamError {
  return new IpamError(
    "conflict",
    `Max retries hit - excessive concurrent IPAM requests while writing ${what}; try again`,
  );
}
