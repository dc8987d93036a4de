/** Every address that is given, with what the block says of it. Both the check and the collector read it so. */
import { formatIp, formatPrefix, type Ip, ipAt, type Prefix } from "../../net/mod.ts";
import type { AllocationBlock } from "../../model/ipam_block.ts";
import type { TunnelType } from "../../model/node.ts";
import { attributeOf, handleOf, ownerOf, sequenceOf } from "../block.ts";
import type { BlockRecord } from "../block_table.ts";

export interface Allocation {
  readonly ip: Ip;
  readonly address: string;
  readonly block: Prefix;
  readonly handle?: string;
  readonly sequenceNumber: bigint;
  readonly attributes: Readonly<Record<string, string>>;
  /** Of the attributes, else the block's owner; empty where neither is known. */
  readonly node: string;
  /** The node is another than the block's. */
  readonly borrowed: boolean;
}

/** The handle of addresses that Windows nodes keep for themselves. */
export const WINDOWS_RESERVED = "windows-reserved-ipam-handle";

/** What stands before the node's name in the handles of Calico's tunnel addresses, by their types. */
export const TUNNEL_HANDLES: Readonly<Record<TunnelType, string>> = {
  ipipTunnelAddress: "ipip-tunnel-addr-",
  vxlanTunnelAddress: "vxlan-tunnel-addr-",
  vxlanV6TunnelAddress: "vxlan-v6-tunnel-addr-",
  wireguardTunnelAddress: "wireguard-tunnel-addr-",
  wireguardV6TunnelAddress: "wireguard-v6-tunnel-addr-",
};

export const TUNNEL_TYPES: readonly string[] = Object.keys(TUNNEL_HANDLES);

/** Type of an address that is the gateway of a block under another interface plugin (`cni/gateways.ts`). */
export const GATEWAY_TYPE = "cniGateway";

export function allocationsOf(
  { prefix, block }: Pick<BlockRecord, "prefix" | "block">,
): Allocation[] {
  const owner = hostOf(block);
  const found: Allocation[] = [];
  block.allocations.forEach((_, ordinal) => {
    const attribute = attributeOf(block, ordinal);
    if (!attribute) return;
    const attributes = attribute.secondary ?? {};
    const node = attributes.node || owner;
    const ip = ipAt(prefix, ordinal);
    found.push({
      ip,
      address: formatIp(ip),
      block: prefix,
      handle: handleOf(attribute),
      sequenceNumber: sequenceOf(block, ordinal),
      attributes,
      node,
      borrowed: node !== owner,
    });
  });
  return found;
}

/** The node that owns a block; empty where none does. */
function hostOf(block: AllocationBlock): string {
  const owner = ownerOf(block);
  return owner?.type === "host" ? owner.name : "";
}

/** `Main:<handle> Extra:<key=value,…>`, as calicoctl prints an allocation's attributes. */
export function attributeText({ handle, attributes }: Allocation): string {
  const extra = Object.keys(attributes).sort().map((name) => `${name}=${attributes[name]}`);
  return `Main:${handle ?? "<none>"} Extra:${extra.join(",")}`;
}

export function blockName(allocation: Allocation): string {
  return formatPrefix(allocation.block);
}
