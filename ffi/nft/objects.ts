/**
 * The objects of nf_tables as records, and how each is written as a message's attributes and read back.
 * A table holds chains (of rules), sets (set.ts) of elements (elements.ts) and stateful objects;
 * everything in it is named by family, table and name, rules by a handle that the kernel gives.
 *
 * Attributes are written in the order in which nft writes them.
 */
import type { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { type Expression, getExpressions, putExpressions } from "./expr.ts";
import {
  NFGENMSG,
  type NftFamily,
  nftFamilyName,
  nftFamilyNumber,
  type NftHook,
  nftHooks,
} from "./wire.ts";

export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
  /** NFT_TABLE_F_DORMANT and its kin. */
  readonly flags?: number;
  /** The port id of the socket that alone may change it (NFT_TABLE_F_OWNER); told by the kernel. */
  readonly owner?: number;
  /** Given by the kernel. */
  readonly handle?: number;
}

export interface NftBase {
  readonly type: string;
  readonly hook: NftHook;
  readonly priority: number;
  readonly policy?: "accept" | "drop";
}

export interface NftChain {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  /** Where it hangs on a hook. */
  readonly base?: NftBase;
  readonly handle?: number;
}

export interface NftRule {
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  readonly expressions: readonly Expression[];
  /** At most 256 bytes; see userdata.ts. */
  readonly userdata?: Uint8Array;
  readonly handle?: number;
  /** In an answer: the handle of the rule before this one. */
  readonly position?: number;
}

/** A rule without its expressions: what a reconciler needs of the thousands in a dump. */
export interface NftRuleHead {
  readonly chain: string;
  readonly handle: number;
  readonly userdata?: Uint8Array;
}

/** A stateful object: a named counter. */
export interface NftCounter {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  readonly bytes?: number;
  readonly packets?: number;
}

/** nfgenmsg: family, version 0, resource id. */
export function putFamily(encoder: MessageEncoder, family: number, resource = 0): void {
  encoder.putU8(family).putU8(0).putBe16(resource);
}

const NFTA_TABLE_NAME = 1, NFTA_TABLE_FLAGS = 2, NFTA_TABLE_HANDLE = 4, NFTA_TABLE_OWNER = 7;

export function putTable(encoder: MessageEncoder, table: NftTable): void {
  putFamily(encoder, nftFamilyNumber(table.family));
  encoder.attrString(NFTA_TABLE_NAME, table.name);
  if (table.flags !== undefined) encoder.attrBe32(NFTA_TABLE_FLAGS, table.flags);
}

export function getTable(message: MessageCursor): NftTable | undefined {
  const family = nftFamilyName(message.u8(0));
  if (!family) return undefined;
  let name = "", flags = 0, handle = 0;
  let owner: number | undefined;
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type === NFTA_TABLE_NAME) name = a.string();
    else if (a.type === NFTA_TABLE_FLAGS) flags = a.be32();
    else if (a.type === NFTA_TABLE_HANDLE) handle = Number(a.be64());
    else if (a.type === NFTA_TABLE_OWNER) owner = a.be32();
  }
  return { family, name, flags, handle, owner };
}

const NFTA_CHAIN_TABLE = 1,
  NFTA_CHAIN_HANDLE = 2,
  NFTA_CHAIN_NAME = 3,
  NFTA_CHAIN_HOOK = 4,
  NFTA_CHAIN_POLICY = 5,
  NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1, NFTA_HOOK_PRIORITY = 2;
const NF_DROP = 0, NF_ACCEPT = 1;

export function putChain(encoder: MessageEncoder, chain: NftChain): void {
  putFamily(encoder, nftFamilyNumber(chain.family));
  encoder.attrString(NFTA_CHAIN_TABLE, chain.table);
  encoder.attrString(NFTA_CHAIN_NAME, chain.name);
  const { base } = chain;
  if (!base) return;
  encoder.attrString(NFTA_CHAIN_TYPE, base.type);
  if (base.policy) {
    encoder.attrBe32(NFTA_CHAIN_POLICY, base.policy === "drop" ? NF_DROP : NF_ACCEPT);
  }
  encoder.openNested(NFTA_CHAIN_HOOK)
    .attrBe32(NFTA_HOOK_HOOKNUM, nftHooks.indexOf(base.hook))
    .attrBe32(NFTA_HOOK_PRIORITY, base.priority)
    .close();
}

export function getChain(message: MessageCursor): NftChain | undefined {
  const family = nftFamilyName(message.u8(0));
  if (!family) return undefined;
  let table = "", name = "", type = "", handle = 0, isBase = false;
  let hook: NftHook = "prerouting", priority = 0;
  let policy: NftBase["policy"];
  for (const a = message.attributes(NFGENMSG); a.next();) {
    switch (a.type) {
      case NFTA_CHAIN_TABLE:
        table = a.string();
        break;
      case NFTA_CHAIN_NAME:
        name = a.string();
        break;
      case NFTA_CHAIN_HANDLE:
        handle = Number(a.be64());
        break;
      case NFTA_CHAIN_TYPE:
        type = a.string();
        break;
      case NFTA_CHAIN_POLICY:
        policy = a.be32() === NF_DROP ? "drop" : "accept";
        break;
      case NFTA_CHAIN_HOOK:
        isBase = true;
        for (const h = a.nested(); h.next();) {
          if (h.type === NFTA_HOOK_HOOKNUM) hook = nftHooks[h.be32()] ?? "prerouting";
          else if (h.type === NFTA_HOOK_PRIORITY) priority = h.beI32();
        }
        break;
    }
  }
  const base = isBase ? { type, hook, priority, policy } : undefined;
  return { family, table, name, handle, base };
}

const NFTA_RULE_TABLE = 1,
  NFTA_RULE_CHAIN = 2,
  NFTA_RULE_HANDLE = 3,
  NFTA_RULE_EXPRESSIONS = 4,
  NFTA_RULE_POSITION = 6,
  NFTA_RULE_USERDATA = 7;

/** `handle` names a rule to replace, `position` one to stand behind or before. */
export function putRule(encoder: MessageEncoder, rule: NftRule): void {
  putFamily(encoder, nftFamilyNumber(rule.family));
  encoder.attrString(NFTA_RULE_TABLE, rule.table);
  encoder.attrString(NFTA_RULE_CHAIN, rule.chain);
  if (rule.handle !== undefined) encoder.attrBe64(NFTA_RULE_HANDLE, BigInt(rule.handle));
  putExpressions(encoder, NFTA_RULE_EXPRESSIONS, rule.expressions);
  if (rule.position !== undefined) encoder.attrBe64(NFTA_RULE_POSITION, BigInt(rule.position));
  if (rule.userdata) encoder.attrBytes(NFTA_RULE_USERDATA, rule.userdata);
}

/** Names one rule (`handle`), the rules of a chain, or those of a table. */
export function putRuleName(
  encoder: MessageEncoder,
  name: { family: NftFamily; table: string; chain?: string; handle?: number },
): void {
  putFamily(encoder, nftFamilyNumber(name.family));
  encoder.attrString(NFTA_RULE_TABLE, name.table);
  if (name.chain !== undefined) encoder.attrString(NFTA_RULE_CHAIN, name.chain);
  if (name.handle !== undefined) encoder.attrBe64(NFTA_RULE_HANDLE, BigInt(name.handle));
}

export function getRule(message: MessageCursor): NftRule | undefined {
  const family = nftFamilyName(message.u8(0));
  if (!family) return undefined;
  let table = "", chain = "", handle: number | undefined, position: number | undefined;
  let expressions: Expression[] = [];
  let userdata: Uint8Array | undefined;
  for (const a = message.attributes(NFGENMSG); a.next();) {
    switch (a.type) {
      case NFTA_RULE_TABLE:
        table = a.string();
        break;
      case NFTA_RULE_CHAIN:
        chain = a.string();
        break;
      case NFTA_RULE_HANDLE:
        handle = Number(a.be64());
        break;
      case NFTA_RULE_POSITION:
        position = Number(a.be64());
        break;
      case NFTA_RULE_EXPRESSIONS:
        expressions = getExpressions(a);
        break;
      case NFTA_RULE_USERDATA:
        userdata = a.bytes();
        break;
    }
  }
  return { family, table, chain, handle, position, expressions, userdata };
}

/** As getRule, with the expressions passed over; `expressions` comes to stand on them. */
export function getRuleHead(
  message: MessageCursor,
  cursor: AttributeCursor,
  expressions?: AttributeCursor,
): NftRuleHead {
  let chain = "", handle = 0;
  let userdata: Uint8Array | undefined;
  if (expressions) expressions.start = expressions.end = 0;
  for (const a = message.attributesInto(cursor, NFGENMSG); a.next();) {
    if (a.type === NFTA_RULE_EXPRESSIONS) expressions?.standWith(a);
    else if (a.type === NFTA_RULE_CHAIN) chain = a.string();
    else if (a.type === NFTA_RULE_HANDLE) handle = Number(a.be64());
    else if (a.type === NFTA_RULE_USERDATA) userdata = a.bytes();
  }
  return { chain, handle, userdata };
}

const NFTA_OBJ_TABLE = 1, NFTA_OBJ_NAME = 2, NFTA_OBJ_TYPE = 3, NFTA_OBJ_DATA = 4;
const NFTA_COUNTER_BYTES = 1, NFTA_COUNTER_PACKETS = 2;
const NFT_OBJECT_COUNTER = 1;

export function putCounter(encoder: MessageEncoder, counter: NftCounter): void {
  putFamily(encoder, nftFamilyNumber(counter.family));
  encoder.attrString(NFTA_OBJ_TABLE, counter.table);
  encoder.attrString(NFTA_OBJ_NAME, counter.name);
  encoder.attrBe32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
  encoder.openNested(NFTA_OBJ_DATA)
    .attrBe64(NFTA_COUNTER_BYTES, BigInt(counter.bytes ?? 0))
    .attrBe64(NFTA_COUNTER_PACKETS, BigInt(counter.packets ?? 0))
    .close();
}

/** Table, and chain, set or element's set, that a message is about: for errors and events. */
export function getSubject(
  message: MessageCursor,
): { family: NftFamily | undefined; table: string; name: string } {
  const kind = message.type & 0xff;
  // Tables carry their name under 1; chains their table under 1 and name under 3; rules the chain
  // under 2; sets, elements and objects their name under 2.
  const nameAttribute = kind >= 3 && kind <= 5 ? NFTA_CHAIN_NAME : NFTA_RULE_CHAIN;
  let table = "", name = "";
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type === 1) table = a.string();
    else if (kind > 2 && a.type === nameAttribute) name = a.string();
  }
  return { family: nftFamilyName(message.u8(0)), table, name };
}
