/**
 * Neighbours (ARP and NDP), proxy entries and the forwarding entries of a VXLAN device: all are
 * RTM_NEWNEIGH, told apart by family and flags.
 *
 *     neighbour   who has 10.65.0.2 on this interface: this MAC
 *     proxy       we answer for this address on this interface
 *     fdb         frames for this MAC leave the VXLAN device towards this host
 */

import { formatIp, type Ip } from "../../mod/net/mod.ts";
import { AttributeCursor, type MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import {
  type Command,
  CREATE_NEW,
  CREATE_OR_REPLACE,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
} from "./command.ts";
import { familyNumber, ipOf, macBytes, macText } from "./values.ts";

const NDA_DST = 1, NDA_LLADDR = 2, NDA_PORT = 6, NDA_VNI = 7, NDA_IFINDEX = 8;
const NTF_SELF = 0x02, NTF_PROXY = 0x08;
const AF_BRIDGE = 7;
const HEADER = 12;

/** NUD_… */
export const NUD_REACHABLE = 0x02;
export const NUD_STALE = 0x04;
export const NUD_FAILED = 0x20;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;

/** One entry; `index` is the interface's. */
export type Neighbour =
  | {
    readonly kind: "neighbour";
    readonly index: number;
    readonly ip: Ip;
    /** Absent while it is being asked for. */
    readonly mac?: string;
    /** NUD_…; default NUD_PERMANENT. */
    readonly state?: number;
  }
  | { readonly kind: "proxy"; readonly index: number; readonly ip: Ip }
  | {
    readonly kind: "fdb";
    readonly index: number;
    readonly mac: string;
    /** The host behind which the MAC is. Absent: the device's own entries, which the kernel makes. */
    readonly ip?: Ip;
    /** NUD_…; default NUD_PERMANENT with NUD_NOARP, as bridge(8) says it. */
    readonly state?: number;
    /** UDP port, VNI and outgoing interface, where they are not the device's own. Read only. */
    readonly port?: number;
    readonly vni?: number;
    readonly viaIndex?: number;
  };

/** EEXIST if there is an entry for the same address (or MAC) on the interface. */
export function addNeighbour(entry: Neighbour): Command {
  return command("add", RTM_NEWNEIGH, CREATE_NEW, entry);
}

/** Adds it, or changes the one that is there. */
export function replaceNeighbour(entry: Neighbour): Command {
  return command("replace", RTM_NEWNEIGH, CREATE_OR_REPLACE, entry);
}

/** ENOENT if there is none. */
export function deleteNeighbour(entry: Neighbour): Command {
  return command("delete", RTM_DELNEIGH, 0, entry);
}

function command(verb: string, type: number, flags: number, entry: Neighbour): Command {
  return {
    type,
    flags,
    operation: () => `${verb} ${neighbourText(entry)}`,
    encode(message) {
      switch (entry.kind) {
        case "neighbour":
          putHeader(
            message,
            familyNumber(entry.ip.family),
            entry.index,
            entry.state ?? NUD_PERMANENT,
            0,
          );
          message.attrBytes(NDA_DST, entry.ip.bytes);
          if (entry.mac !== undefined) message.attrBytes(NDA_LLADDR, macBytes(entry.mac));
          return;
        case "proxy":
          putHeader(
            message,
            familyNumber(entry.ip.family),
            entry.index,
            NUD_PERMANENT,
            NTF_PROXY,
          );
          message.attrBytes(NDA_DST, entry.ip.bytes);
          return;
        case "fdb":
          putHeader(
            message,
            AF_BRIDGE,
            entry.index,
            entry.state ?? (NUD_PERMANENT | NUD_NOARP),
            NTF_SELF,
          );
          message.attrBytes(NDA_LLADDR, macBytes(entry.mac));
          if (entry.ip) message.attrBytes(NDA_DST, entry.ip.bytes);
          return;
      }
    },
  };
}

/** ndmsg. */
function putHeader(
  message: MessageEncoder,
  family: number,
  index: number,
  state: number,
  flags: number,
): void {
  message.putU32(family).putU32(index).putU16(state).putU8(flags).putU8(0);
}

/** Which table, and of which interface. */
export interface NeighbourFilter {
  readonly kind: Neighbour["kind"];
  readonly index?: number;
}

/**
 * The body of RTM_GETNEIGH under strict checking, where the two tables want their interface in
 * different places: forwarding entries in the header, the others in NDA_IFINDEX.
 */
export function encodeDumpNeighbours(message: MessageEncoder, filter: NeighbourFilter): void {
  const index = filter.index ?? 0;
  switch (filter.kind) {
    case "fdb":
      return putHeader(message, AF_BRIDGE, index, 0, 0);
    case "proxy":
      return putHeader(message, 0, 0, 0, NTF_PROXY); // proxies are dumped whole
    case "neighbour":
      putHeader(message, 0, 0, 0, 0);
      if (index) message.attrU32(NDA_IFINDEX, index);
      return;
  }
}

const cursor = new AttributeCursor();

/** An RTM_NEWNEIGH or RTM_DELNEIGH message; undefined for families and entries that are not ours. */
export function decodeNeighbour(message: MessageCursor): Neighbour | undefined {
  const family = message.u8(0), index = message.u32(4), state = message.u16(8);
  const flags = message.u8(10);
  let ip: Ip | undefined, mac: string | undefined;
  let port: number | undefined, vni: number | undefined, viaIndex: number | undefined;
  const attributes = message.attributesInto(cursor, HEADER);
  while (attributes.next()) {
    if (attributes.type === NDA_DST) ip = ipOf(attributes.bytes());
    else if (attributes.type === NDA_LLADDR) mac = macText(attributes.bytes());
    else if (attributes.type === NDA_PORT) port = attributes.be16();
    else if (attributes.type === NDA_VNI) vni = attributes.u32();
    else if (attributes.type === NDA_IFINDEX) viaIndex = attributes.u32();
  }
  if (family === AF_BRIDGE) {
    // Without SELF it is an entry of the bridge that the device is a port of.
    if (!mac || !(flags & NTF_SELF)) return undefined;
    return {
      ...{ kind: "fdb", index, mac, state },
      ...(ip && { ip }),
      ...(port !== undefined && { port }),
      ...(vni !== undefined && { vni }),
      ...(viaIndex !== undefined && { viaIndex }),
    };
  }
  if (!ip || (family !== 2 && family !== 10)) return undefined;
  if (flags & NTF_PROXY) return { kind: "proxy", index, ip };
  return { kind: "neighbour", index, ip, state, ...(mac && { mac }) };
}

/** `neighbour 10.65.0.2 at 0a:58:0a:41:00:02 on interface 4`. */
export function neighbourText(entry: Neighbour): string {
  const on = `on interface ${entry.index}`;
  switch (entry.kind) {
    case "neighbour":
      return `neighbour ${formatIp(entry.ip)}${entry.mac ? ` at ${entry.mac}` : ""} ${on}`;
    case "proxy":
      return `proxy entry for ${formatIp(entry.ip)} ${on}`;
    case "fdb":
      return `forwarding entry ${entry.mac}${entry.ip ? ` to ${formatIp(entry.ip)}` : ""} ${on}`;
  }
}
