/**
 * Numbers of nf_tables (linux/netfilter/nf_tables.h): messages, families, hooks, priorities, flags.
 * An nf_tables message is a netlink message of NETLINK_NETFILTER, type `subsystem << 8 | message`,
 * with a four-byte nfgenmsg (family, version, resource id big endian) before its attributes. All
 * numbers in attributes are big endian; what a register holds is in the order in which the kernel
 * holds it: packet fields in network order, marks, interface indexes and connection state in host
 * order.
 */

/** nfnetlink subsystems (high byte of the message type). */
export const NFNL_SUBSYS_CTNETLINK = 1;
export const NFNL_SUBSYS_NFTABLES = 10;

/** Messages around a batch; of no subsystem. */
export const NFNL_MSG_BATCH_BEGIN = 0x10;
export const NFNL_MSG_BATCH_END = 0x11;
/** Attribute of BATCH_BEGIN: the generation that the sender believes to be the present one. */
export const NFNL_BATCH_GENID = 1;

/** Length of nfgenmsg. */
export const NFGENMSG = 4;

/** Multicast groups of NETLINK_NETFILTER. */
export const NFNLGRP_CONNTRACK_NEW = 1;
export const NFNLGRP_CONNTRACK_DESTROY = 3;
export const NFNLGRP_NFTABLES = 7;

const NFT = NFNL_SUBSYS_NFTABLES << 8;
export const NFT_MSG_NEWTABLE = NFT | 0;
export const NFT_MSG_GETTABLE = NFT | 1;
export const NFT_MSG_DELTABLE = NFT | 2;
export const NFT_MSG_NEWCHAIN = NFT | 3;
export const NFT_MSG_GETCHAIN = NFT | 4;
export const NFT_MSG_DELCHAIN = NFT | 5;
export const NFT_MSG_NEWRULE = NFT | 6;
export const NFT_MSG_GETRULE = NFT | 7;
export const NFT_MSG_DELRULE = NFT | 8;
export const NFT_MSG_NEWSET = NFT | 9;
export const NFT_MSG_GETSET = NFT | 10;
export const NFT_MSG_DELSET = NFT | 11;
export const NFT_MSG_NEWSETELEM = NFT | 12;
export const NFT_MSG_GETSETELEM = NFT | 13;
export const NFT_MSG_DELSETELEM = NFT | 14;
export const NFT_MSG_NEWGEN = NFT | 15;
export const NFT_MSG_GETGEN = NFT | 16;
export const NFT_MSG_NEWOBJ = NFT | 18;
export const NFT_MSG_GETOBJ = NFT | 19;
export const NFT_MSG_DELOBJ = NFT | 20;

const messageNames = new Map<number, string>([
  [NFNL_MSG_BATCH_BEGIN, "begin batch"],
  [NFNL_MSG_BATCH_END, "end batch"],
  [NFT_MSG_NEWTABLE, "add table"],
  [NFT_MSG_GETTABLE, "get table"],
  [NFT_MSG_DELTABLE, "delete table"],
  [NFT_MSG_NEWCHAIN, "add chain"],
  [NFT_MSG_GETCHAIN, "get chain"],
  [NFT_MSG_DELCHAIN, "delete chain"],
  [NFT_MSG_NEWRULE, "add rule"],
  [NFT_MSG_GETRULE, "get rule"],
  [NFT_MSG_DELRULE, "delete rule"],
  [NFT_MSG_NEWSET, "add set"],
  [NFT_MSG_GETSET, "get set"],
  [NFT_MSG_DELSET, "delete set"],
  [NFT_MSG_NEWSETELEM, "add elements"],
  [NFT_MSG_GETSETELEM, "get elements"],
  [NFT_MSG_DELSETELEM, "delete elements"],
  [NFT_MSG_NEWGEN, "new generation"],
  [NFT_MSG_GETGEN, "get generation"],
  [NFT_MSG_NEWOBJ, "add object"],
  [NFT_MSG_GETOBJ, "get object"],
  [NFT_MSG_DELOBJ, "delete object"],
]);

/** `0xa06` -> `"add rule"`. */
export function nftMessageName(type: number): string {
  return messageNames.get(type) ?? `message 0x${type.toString(16)}`;
}

/** Families of tables, as nft names them. */
export type NftFamily = "ip" | "ip6" | "inet" | "arp" | "bridge" | "netdev";

const familyNumbers: Readonly<Record<NftFamily, number>> = {
  inet: 1,
  ip: 2,
  arp: 3,
  netdev: 5,
  bridge: 7,
  ip6: 10,
};
const familyNames = new Map(
  Object.entries(familyNumbers).map(([name, number]) => [number, name as NftFamily]),
);

export function nftFamilyNumber(family: NftFamily): number {
  return familyNumbers[family];
}

/** Undefined for a family that nf_tables has none of (0: a message of all families). */
export function nftFamilyName(number: number): NftFamily | undefined {
  return familyNames.get(number);
}

/** Hooks of the families ip, ip6 and inet, in the kernel's numbers. */
export const nftHooks = ["prerouting", "input", "forward", "output", "postrouting"] as const;
export type NftHook = typeof nftHooks[number];

/** Names have at most 255 bytes (NFT_NAME_MAXLEN less its NUL). */
export const NFT_NAME_MAX = 255;
/** Userdata of a rule or set has at most 256 bytes. */
export const NFT_USERDATA_MAX = 256;

/** Flags of a table: switched off; changed by the socket that made it alone, and gone with it. */
export const NFT_TABLE_F_DORMANT = 0x1;
export const NFT_TABLE_F_OWNER = 0x2;

/** Flags of sets. */
export const NFT_SET_ANONYMOUS = 0x1;
export const NFT_SET_CONSTANT = 0x2;
export const NFT_SET_INTERVAL = 0x4;
export const NFT_SET_MAP = 0x8;
export const NFT_SET_TIMEOUT = 0x10;
export const NFT_SET_OBJECT = 0x40;
export const NFT_SET_CONCAT = 0x80;

/** Flag of an element: it stands behind the last key of an interval. */
export const NFT_SET_ELEM_INTERVAL_END = 0x1;
/** Flag of an element that has no key: it stands for all that no other holds. */
export const NFT_SET_ELEM_CATCHALL = 0x2;

/** DATA_TYPE of a map whose values are verdicts. */
export const NFT_DATA_VERDICT = 0xffffff00;

/** Key types that nft knows; the kernel only keeps them for it. */
export const nftTypes = {
  ipv4_addr: 7,
  ipv6_addr: 8,
  inet_proto: 12,
  inet_service: 13,
  mark: 19,
  ifname: 41,
} as const;
export type NftType = keyof typeof nftTypes;

/** Type objects in a table. */
export const NFT_OBJECT_COUNTER = 1;

/** Expressions in one rule. */
export const NFT_RULE_MAXEXPRS = 128;
