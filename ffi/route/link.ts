/**
 * Network interfaces: RTM_NEWLINK and its kin, as typed objects. Reading gives `Link`; making takes a
 * `LinkSpec` (veth, vxlan, ipip and what needs no data of its own); changing takes `LinkChanges`.
 *
 * A veth is made with its peer straight in another network namespace (VETH_INFO_PEER with
 * IFLA_NET_NS_FD): the peer never appears in ours. Neither side may be set up by the same message
 * (ENOTCONN), so up is a change of its own. The kernel ignores an alias on creation; `addLink` sends
 * it as a second message of the same datagram, which the kernel serves in one system call: a process
 * killed at any moment leaves both or neither.
 */

import { formatIp, type Ip } from "../../mod/net/mod.ts";
import { KernelError } from "../errors.ts";
import { AttributeCursor, type MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import type { Netns } from "../netns.ts";
import { type Command, CREATE_NEW, RTM_DELLINK, RTM_NEWLINK } from "./command.ts";
import { ipOf, macBytes, macText } from "./values.ts";

const IFLA_ADDRESS = 1, IFLA_IFNAME = 3, IFLA_MTU = 4, IFLA_LINK = 5, IFLA_MASTER = 10;
const IFLA_TXQLEN = 13, IFLA_OPERSTATE = 16, IFLA_LINKINFO = 18, IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26,
  IFLA_GROUP = 27,
  IFLA_NET_NS_FD = 28,
  IFLA_EXT_MASK = 29,
  IFLA_NUM_TX_QUEUES = 31;
const IFLA_LINK_NETNSID = 37, IFLA_TARGET_NETNSID = 46;
const IFLA_INFO_KIND = 1, IFLA_INFO_DATA = 2, VETH_INFO_PEER = 1;
const INET6_ADDR_GEN_MODE = 8, AF_INET6 = 10;
const VXLAN_ID = 1, VXLAN_LINK = 3, VXLAN_LOCAL = 4, VXLAN_LEARNING = 7, VXLAN_PORT = 15;
const VXLAN_GROUP = 2, VXLAN_GROUP6 = 16, VXLAN_LOCAL6 = 17, VXLAN_LOCALBYPASS = 31;
/**
 * What we never set, in ip(8)'s words. Checksums (18, 20) and ages of learned entries (8) are left out:
 * a device that Calico or somebody else made with others carries the same packets.
 */
const VXLAN_OPTIONS: ReadonlyMap<number, string> = new Map([
  ...[[5, "ttl"], [6, "tos"], [9, "maxaddress"], [10, "srcport"], [11, "proxy"]] as const,
  ...[[12, "rsc"], [13, "l2miss"], [14, "l3miss"], [19, "udp6zerocsumtx"]] as const,
  ...[[21, "remcsumtx"], [22, "remcsumrx"], [23, "gbp"], [24, "remcsum nopartial"]] as const,
  ...[[25, "external"], [26, "flowlabel"], [27, "gpe"], [28, "ttl inherit"], [29, "df"]] as const,
  ...[[30, "vnifilter"], [32, "label policy"]] as const,
]);
const IPTUN_LINK = 1, IPTUN_LOCAL = 2, IPTUN_REMOTE = 3, IPTUN_TTL = 4, IPTUN_TOS = 5;
const IPTUN_PROTO = 9, IPTUN_PMTUDISC = 10, IPTUN_ENCAP_TYPE = 15, IPTUN_ENCAP_FLAGS = 16;
const IPTUN_ENCAP_SPORT = 17, IPTUN_ENCAP_DPORT = 18, IPTUN_FWMARK = 20;

/** Flags of an interface. */
export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_RUNNING = 0x40;
export const IFF_NOARP = 0x80;

/** Leave statistics out: a link is a third smaller then. */
export const RTEXT_FILTER_SKIP_STATS = 8;

const IFINFOMSG = 16;
/** IFNAMSIZ less its NUL. */
const longestName = 15;
const longestAlias = 255;

/** What makes a VXLAN device what it is; to change any of it, make it anew. */
export interface VxlanDetails {
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Tunnel's source address. */
  readonly local?: Ip;
  /** Index of the interface that carries the tunnel. */
  readonly parentIndex?: number;
  readonly learning: boolean;
  /** What we never set and somebody else has, in words (`ttl 1`). */
  readonly astray?: string;
}

/** An interface as the kernel shows it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** `veth`, `vxlan`, `ipip`; undefined for hardware and loopback. */
  readonly kind?: string;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu: number;
  /** IFF_… */
  readonly flags: number;
  /** Administratively up. */
  readonly up: boolean;
  /** Up and with a carrier: it carries packets. */
  readonly running: boolean;
  /** IF_OPER_…; 6 is up. */
  readonly operState: number;
  readonly alias?: string;
  /** The other side of a veth, or what a tunnel stands on; in `linkNetnsId`'s namespace if set. */
  readonly linkIndex?: number;
  /** Our number for the namespace of `linkIndex`. */
  readonly linkNetnsId?: number;
  readonly masterIndex?: number;
  readonly addrGenMode?: AddrGenMode;
  readonly vxlan?: VxlanDetails;
}

/** How IPv6 link-local addresses are made. */
export type AddrGenMode = "eui64" | "none" | "stable-privacy" | "random";
const addrGenModes: readonly AddrGenMode[] = ["eui64", "none", "stable-privacy", "random"];

interface LinkBasics {
  readonly name: string;
  readonly mtu?: number;
  readonly mac?: string;
  readonly alias?: string;
}

/** The other side of a veth to be made. */
export interface VethPeer {
  readonly name: string;
  /** Where it is made; absent: beside the first side. */
  readonly netns?: Netns;
  readonly mtu?: number;
  readonly mac?: string;
  readonly txQueues?: number;
}

/** An interface to be made. */
export type LinkSpec =
  | LinkBasics & { readonly kind: "veth"; readonly peer: VethPeer }
  | LinkBasics & {
    readonly kind: "vxlan";
    readonly vni: number;
    readonly port: number;
    readonly local?: Ip;
    readonly parentIndex?: number;
    /** Default false: forwarding entries are ours. */
    readonly learning?: boolean;
  }
  | LinkBasics & {
    readonly kind: "ipip";
    /** Absent: any. */
    readonly local?: Ip;
    readonly remote?: Ip;
  }
  | LinkBasics & { readonly kind: "bridge" | "ifb" | "dummy" };

/** What is to change about an interface. */
export interface LinkChanges {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  readonly name?: string;
  readonly alias?: string;
  readonly txQueueLength?: number;
  /** 0: leave the bridge. */
  readonly masterIndex?: number;
  /** Whether it asks for and answers with addresses of its link: not IFF_NOARP. */
  readonly arp?: boolean;
  readonly addrGenMode?: AddrGenMode;
  /** A number that links have in common; 0 is everybody's. */
  readonly group?: number;
  /** Moves it: it goes down, loses addresses and routes, and may get another index. */
  readonly netns?: Netns;
}

/** By index, or by name. */
export type LinkRef = number | string;

/** The messages that make an interface: one, and one for its alias. */
export function addLink(spec: LinkSpec): Command[] {
  checkName(spec.name);
  if (spec.kind === "veth") checkName(spec.peer.name);
  if (spec.alias !== undefined) checkAlias(spec.name, spec.alias);
  const make: Command = {
    type: RTM_NEWLINK,
    flags: CREATE_NEW,
    operation: () => `add ${spec.kind} ${spec.name}`,
    encode(message) {
      putHeader(message, 0, 0, 0);
      putBasics(message, spec);
      message.attrString(IFLA_IFNAME, spec.name);
      message.open(IFLA_LINKINFO).attrText(IFLA_INFO_KIND, spec.kind);
      putData(message, spec);
      message.close();
    },
  };
  return spec.alias === undefined ? [make] : [make, setLink(spec.name, { alias: spec.alias })];
}

/** Changes an interface; what `changes` leaves out stays. */
export function setLink(link: LinkRef, changes: LinkChanges): Command {
  if (changes.name !== undefined) checkName(changes.name);
  if (changes.alias !== undefined) checkAlias(String(link), changes.alias);
  return {
    type: RTM_NEWLINK,
    flags: 0,
    operation: () => `set ${refText(link)} ${describe(changes)}`,
    encode(message) {
      const { up, arp } = changes;
      const flags = (up ? IFF_UP : 0) | (arp === false ? IFF_NOARP : 0);
      const changed = (up === undefined ? 0 : IFF_UP) | (arp === undefined ? 0 : IFF_NOARP);
      putRef(message, link, flags, changed);
      putBasics(message, changes);
      if (changes.name !== undefined) message.attrString(IFLA_IFNAME, changes.name);
      if (changes.txQueueLength !== undefined) {
        message.attrU32(IFLA_TXQLEN, changes.txQueueLength);
      }
      if (changes.masterIndex !== undefined) message.attrU32(IFLA_MASTER, changes.masterIndex);
      if (changes.group !== undefined) message.attrU32(IFLA_GROUP, changes.group);
      if (changes.netns) message.attrU32(IFLA_NET_NS_FD, changes.netns.fd);
      if (changes.alias !== undefined) message.attrText(IFLA_IFALIAS, changes.alias);
      if (changes.addrGenMode) {
        message.open(IFLA_AF_SPEC).open(AF_INET6)
          .attrU8(INET6_ADDR_GEN_MODE, addrGenModes.indexOf(changes.addrGenMode))
          .close().close();
      }
    },
  };
}

/** Removes an interface; of a veth both sides go. ENODEV if there is none. */
export function deleteLink(link: LinkRef): Command {
  return {
    type: RTM_DELLINK,
    flags: 0,
    operation: () => `delete ${refText(link)}`,
    encode: (message) => putRef(message, link, 0, 0),
  };
}

/** Removes all interfaces of a group. ENODEV if it has none. */
export function deleteLinkGroup(group: number): Command {
  return {
    type: RTM_DELLINK,
    flags: 0,
    operation: () => `delete the links of group ${group}`,
    encode(message) {
      putHeader(message, 0, 0, 0);
      message.attrU32(IFLA_GROUP, group);
    },
  };
}

/** The body of RTM_GETLINK for one interface; `netnsId`: in the namespace that has this number here. */
export function encodeGetLink(
  message: MessageEncoder,
  link: LinkRef,
  extMask = RTEXT_FILTER_SKIP_STATS,
  netnsId?: number,
): void {
  putHeader(message, typeof link === "number" ? link : 0, 0, 0);
  message.attrU32(IFLA_EXT_MASK, extMask);
  if (netnsId !== undefined) message.attrU32(IFLA_TARGET_NETNSID, netnsId);
  if (typeof link === "string") message.attrString(IFLA_IFNAME, link);
}

/** The body of RTM_GETLINK for all interfaces. */
export function encodeDumpLinks(
  message: MessageEncoder,
  extMask = RTEXT_FILTER_SKIP_STATS,
  family = 0,
): void {
  message.putU8(family).putZeros(IFINFOMSG - 1).attrU32(IFLA_EXT_MASK, extMask);
}

const cursor = new AttributeCursor();

/** An RTM_NEWLINK or RTM_DELLINK message as an object. */
export function decodeLink(message: MessageCursor): Link {
  const flags = message.u32(8);
  const link: Writable<Link> = {
    index: message.i32(4),
    name: "",
    mtu: 0,
    flags,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    operState: 0,
  };
  const attributes = message.attributesInto(cursor, IFINFOMSG);
  while (attributes.next()) {
    switch (attributes.type) {
      case IFLA_ADDRESS:
        link.mac = macText(attributes.bytes());
        break;
      case IFLA_IFNAME:
        link.name = attributes.string();
        break;
      case IFLA_MTU:
        link.mtu = attributes.u32();
        break;
      case IFLA_LINK:
        link.linkIndex = attributes.u32();
        break;
      case IFLA_MASTER:
        link.masterIndex = attributes.u32();
        break;
      case IFLA_OPERSTATE:
        link.operState = attributes.u8();
        break;
      case IFLA_IFALIAS:
        link.alias = attributes.string();
        break;
      case IFLA_LINK_NETNSID:
        link.linkNetnsId = attributes.i32();
        break;
      case IFLA_LINKINFO:
        readInfo(attributes.nested(), link);
        break;
      case IFLA_AF_SPEC:
        link.addrGenMode = readAddrGenMode(attributes.nested());
        break;
    }
  }
  return link;
}

function readInfo(info: AttributeCursor, link: Writable<Link>): void {
  while (info.next()) {
    if (info.type === IFLA_INFO_KIND) link.kind = info.string();
    else if (info.type === IFLA_INFO_DATA && link.kind === "vxlan") {
      link.vxlan = readVxlan(info.nested());
    }
  }
}

function readVxlan(data: AttributeCursor): VxlanDetails {
  const details: Writable<VxlanDetails> = { vni: 0, port: 0, learning: false };
  const astray: string[] = [];
  while (data.next()) {
    switch (data.type) {
      case VXLAN_ID:
        details.vni = data.u32();
        break;
      case VXLAN_PORT:
        details.port = data.be16();
        break;
      case VXLAN_LINK:
        details.parentIndex = data.u32() || undefined;
        break;
      case VXLAN_LOCAL:
      case VXLAN_LOCAL6:
        details.local = ipOf(data.bytes());
        break;
      case VXLAN_LEARNING:
        details.learning = data.u8() !== 0;
        break;
      case VXLAN_GROUP:
      case VXLAN_GROUP6: {
        const group = ipOf(data.bytes());
        if (group) astray.push(`remote ${formatIp(group)}`);
        break;
      }
      case VXLAN_LOCALBYPASS:
        if (data.u8() === 0) astray.push("nolocalbypass");
        break;
      default: {
        const word = VXLAN_OPTIONS.get(data.type);
        if (word === undefined || !isSet(data)) break;
        astray.push(data.length === 1 && data.u8() > 1 ? `${word} ${data.u8()}` : word);
      }
    }
  }
  if (astray.length > 0) details.astray = astray.join(", ");
  return details;
}

/** A flag that is there, or a number that is not 0. */
function isSet(attribute: AttributeCursor): boolean {
  return attribute.length === 0 || attribute.bytes().some((byte) => byte !== 0);
}

function readAddrGenMode(families: AttributeCursor): AddrGenMode | undefined {
  while (families.next()) {
    if (families.type !== AF_INET6) continue;
    for (const inet6 = families.nested(); inet6.next();) {
      if (inet6.type === INET6_ADDR_GEN_MODE) return addrGenModes[inet6.u8()];
    }
  }
  return undefined;
}

/** ifinfomsg. */
function putHeader(message: MessageEncoder, index: number, flags: number, change: number): void {
  message.putU32(0).putU32(index).putU32(flags).putU32(change);
}

function putRef(message: MessageEncoder, link: LinkRef, flags: number, change: number): void {
  if (typeof link === "number") return putHeader(message, link, flags, change);
  putHeader(message, 0, flags, change);
  message.attrString(IFLA_IFNAME, link);
}

function putBasics(message: MessageEncoder, basics: { mtu?: number; mac?: string }): void {
  if (basics.mtu !== undefined) message.attrU32(IFLA_MTU, basics.mtu);
  if (basics.mac !== undefined) message.attrBytes(IFLA_ADDRESS, macBytes(basics.mac));
}

function putData(message: MessageEncoder, spec: LinkSpec): void {
  switch (spec.kind) {
    case "veth": {
      const { peer } = spec;
      message.open(IFLA_INFO_DATA).open(VETH_INFO_PEER);
      putHeader(message, 0, 0, 0);
      putBasics(message, peer);
      if (peer.txQueues !== undefined) message.attrU32(IFLA_NUM_TX_QUEUES, peer.txQueues);
      if (peer.netns) message.attrU32(IFLA_NET_NS_FD, peer.netns.fd);
      message.attrString(IFLA_IFNAME, peer.name).close().close();
      return;
    }
    case "vxlan":
      message.open(IFLA_INFO_DATA);
      if (spec.parentIndex !== undefined) message.attrU32(VXLAN_LINK, spec.parentIndex);
      message.attrU32(VXLAN_ID, spec.vni);
      if (spec.local) {
        message.attrBytes(spec.local.family === 4 ? VXLAN_LOCAL : VXLAN_LOCAL6, spec.local.bytes);
      }
      message.attrU8(VXLAN_LEARNING, spec.learning ? 1 : 0).attrBe16(VXLAN_PORT, spec.port);
      message.close();
      return;
    case "ipip":
      // With everything else at its default, in the order in which iproute2 says it.
      message.open(IFLA_INFO_DATA);
      message.attrU8(IPTUN_PROTO, 0).attrU8(IPTUN_PMTUDISC, 1);
      message.attrU8(IPTUN_TOS, 0).attrU8(IPTUN_TTL, 0);
      if (spec.local) message.attrBytes(IPTUN_LOCAL, spec.local.bytes);
      if (spec.remote) message.attrBytes(IPTUN_REMOTE, spec.remote.bytes);
      message.attrU32(IPTUN_LINK, 0).attrU32(IPTUN_FWMARK, 0);
      message.attrU16(IPTUN_ENCAP_TYPE, 0).attrU16(IPTUN_ENCAP_FLAGS, 0);
      message.attrU16(IPTUN_ENCAP_SPORT, 0).attrU16(IPTUN_ENCAP_DPORT, 0);
      message.close();
      return;
    case "bridge":
    case "ifb":
    case "dummy":
      return;
  }
}

/**
 * As the kernel's dev_valid_name: the same refusal, before anything was sent. A percent sign the kernel
 * would take for a template (`eth%d`) and choose the name itself.
 */
function checkName(name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  const bad = bytes === 0
    ? "a name is empty"
    : bytes > longestName
    ? `a name has at most ${longestName} bytes, this one ${bytes}`
    : name === "." || name === ".." || /[/:%\s\0]/.test(name)
    ? "a name holds no slash, colon, percent sign or white space, and is not . or .."
    : undefined;
  if (bad) {
    throw new KernelError(bytes > longestName ? 34 : 22, `name an interface "${name}"`, {
      detail: bad,
    });
  }
}

function checkAlias(link: string, alias: string): void {
  if (new TextEncoder().encode(alias).length > longestAlias) {
    throw new KernelError(34, `set alias of ${link}`, {
      detail: `an alias has at most ${longestAlias} bytes`,
    });
  }
}

function refText(link: LinkRef): string {
  return typeof link === "number" ? `link with index ${link}` : `link ${link}`;
}

function describe(changes: LinkChanges): string {
  return Object.entries(changes).filter(([, value]) => value !== undefined).map(([key, value]) => {
    if (key === "up") return value ? "up" : "down";
    return `${key} ${key === "netns" ? (value as Netns).path : value}`;
  }).join(" ");
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
