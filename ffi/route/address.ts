/** Addresses on interfaces: RTM_NEWADDR and its kin, as typed objects. */

import { formatIp, type Ip } from "../../mod/net/mod.ts";
import { AttributeCursor, type MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { type Command, CREATE_NEW, RTM_DELADDR, RTM_NEWADDR } from "./command.ts";
import { familyNumber, ipOf } from "./values.ts";

const IFA_ADDRESS = 1, IFA_LOCAL = 2, IFA_LABEL = 3, IFA_BROADCAST = 4, IFA_FLAGS = 8;
const IFA_TARGET_NETNSID = 10;
const IFADDRMSG = 8;

/** IPv6: skip duplicate address detection, the address is usable at once. */
export const IFA_F_NODAD = 0x02;
/** Still being checked for duplicates: not usable yet. */
export const IFA_F_TENTATIVE = 0x40;
export const IFA_F_PERMANENT = 0x80;

/** RT_SCOPE_…: 0 universe, 253 link, 254 host. */
export interface Address {
  /** The interface's. */
  readonly index: number;
  readonly ip: Ip;
  /** Prefix length. */
  readonly length: number;
  /** Default 0, universe. */
  readonly scope?: number;
  /** IFA_F_… */
  readonly flags?: number;
  /** The far side of a point-to-point link. */
  readonly peer?: Ip;
  readonly broadcast?: Ip;
  readonly label?: string;
}

/** Puts an address on an interface. EEXIST if it is there. IPv6 ones should have IFA_F_NODAD. */
export function addAddress(address: Address): Command {
  return command("add", RTM_NEWADDR, CREATE_NEW, address);
}

/** Takes it off. EADDRNOTAVAIL if it is not there. */
export function deleteAddress(address: Address): Command {
  return command("delete", RTM_DELADDR, 0, address);
}

function command(verb: string, type: number, flags: number, address: Address): Command {
  return {
    type,
    flags,
    operation: () =>
      `${verb} address ${formatIp(address.ip)}/${address.length} on interface ${address.index}`,
    encode(message) {
      const { ip } = address;
      const isAdd = type === RTM_NEWADDR;
      message.putU8(familyNumber(ip.family)).putU8(address.length)
        .putU8(isAdd ? (address.flags ?? 0) & 0xff : 0).putU8(address.scope ?? 0)
        .putU32(address.index);
      message.attrBytes(IFA_LOCAL, ip.bytes);
      if (isAdd && address.broadcast) {
        message.attrBytes(IFA_BROADCAST, address.broadcast.bytes);
      }
      message.attrBytes(IFA_ADDRESS, (address.peer ?? ip).bytes);
      if (!isAdd) return;
      if (address.label !== undefined) message.attrString(IFA_LABEL, address.label);
      if (address.flags !== undefined && address.flags > 0xff) {
        message.attrU32(IFA_FLAGS, address.flags);
      }
    },
  };
}

/**
 * The body of RTM_GETADDR: all addresses, or one interface's (the kernel filters). `netnsId`: in the
 * namespace that has this number here.
 */
export function encodeDumpAddresses(
  message: MessageEncoder,
  family = 0,
  index = 0,
  netnsId?: number,
): void {
  message.putU8(family).putU8(0).putU8(0).putU8(0).putU32(index);
  if (netnsId !== undefined) message.attrU32(IFA_TARGET_NETNSID, netnsId);
}

const cursor = new AttributeCursor();

/** An RTM_NEWADDR or RTM_DELADDR message as an object; undefined for a family that is not IP. */
export function decodeAddress(message: MessageCursor): Address | undefined {
  let local: Ip | undefined, other: Ip | undefined, broadcast: Ip | undefined;
  let label: string | undefined;
  let flags = message.u8(2);
  const attributes = message.attributesInto(cursor, IFADDRMSG);
  while (attributes.next()) {
    switch (attributes.type) {
      case IFA_LOCAL:
        local = ipOf(attributes.bytes());
        break;
      case IFA_ADDRESS:
        other = ipOf(attributes.bytes());
        break;
      case IFA_BROADCAST:
        broadcast = ipOf(attributes.bytes());
        break;
      case IFA_LABEL:
        label = attributes.string();
        break;
      case IFA_FLAGS:
        flags = attributes.u32();
        break;
    }
  }
  // IPv6 says IFA_LOCAL only where there is a peer.
  const ip = local ?? other;
  if (!ip) return undefined;
  const peer = local && other && formatIp(local) !== formatIp(other) ? other : undefined;
  return {
    index: message.u32(4),
    ip,
    length: message.u8(1),
    scope: message.u8(3),
    flags,
    ...(peer && { peer }),
    ...(broadcast && { broadcast }),
    ...(label !== undefined && { label }),
  };
}
