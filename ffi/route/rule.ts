/** Routing policy rules (`ip rule`): RTM_NEWRULE and its kin, as typed objects. */

import { type Family, formatPrefix, type Prefix } from "../../mod/net/mod.ts";
import type { MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { type Command, CREATE_NEW, RTM_DELRULE, RTM_NEWRULE } from "./command.ts";
import { familyNumber, ipOf } from "./values.ts";

const FRA_DST = 1, FRA_SRC = 2, FRA_IIFNAME = 3, FRA_PRIORITY = 6, FRA_FWMARK = 10;
const FRA_TABLE = 15, FRA_FWMASK = 16, FRA_OIFNAME = 17, FRA_PROTOCOL = 21;
const FR_ACT_TO_TBL = 1, FIB_RULE_INVERT = 2;
const HEADER = 12;

/** A rule that sends matching packets to a routing table. */
export interface RoutingRule {
  readonly family: Family;
  /** The lower, the earlier. The kernel chooses one if it is absent. */
  readonly priority?: number;
  readonly table: number;
  readonly mark?: { readonly value: number; readonly mask: number };
  readonly source?: Prefix;
  readonly destination?: Prefix;
  readonly inputInterface?: string;
  readonly outputInterface?: string;
  /** Matches what does *not* match the rest. */
  readonly invert?: boolean;
  /** Who made it, RTPROT_…: ours is 80. */
  readonly protocol?: number;
}

/** EEXIST if the very same rule is there. */
export function addRule(rule: RoutingRule): Command {
  return command("add", RTM_NEWRULE, CREATE_NEW, rule);
}

/** Deletes one rule that matches all that is said. ENOENT if there is none. */
export function deleteRule(rule: RoutingRule): Command {
  return command("delete", RTM_DELRULE, 0, rule);
}

function command(verb: string, type: number, flags: number, rule: RoutingRule): Command {
  return {
    type,
    flags,
    operation: () => `${verb} routing rule ${ruleText(rule)}`,
    encode(message) {
      const { source, destination } = rule;
      message.putU8(familyNumber(rule.family)).putU8(destination?.length ?? 0)
        .putU8(source?.length ?? 0).putU8(0)
        .putU8(rule.table < 256 ? rule.table : 0).putU8(0).putU8(0)
        .putU8(type === RTM_NEWRULE ? FR_ACT_TO_TBL : 0)
        .putU32(rule.invert ? FIB_RULE_INVERT : 0);
      if (source) message.attrBytes(FRA_SRC, source.ip.bytes);
      if (destination) message.attrBytes(FRA_DST, destination.ip.bytes);
      if (rule.mark) {
        message.attrU32(FRA_FWMARK, rule.mark.value).attrU32(FRA_FWMASK, rule.mark.mask);
      }
      if (rule.inputInterface) message.attrString(FRA_IIFNAME, rule.inputInterface);
      if (rule.outputInterface) message.attrString(FRA_OIFNAME, rule.outputInterface);
      if (rule.table >= 256) message.attrU32(FRA_TABLE, rule.table);
      if (rule.priority !== undefined) message.attrU32(FRA_PRIORITY, rule.priority);
      if (rule.protocol !== undefined) message.attrU8(FRA_PROTOCOL, rule.protocol);
    },
  };
}

/** The body of RTM_GETRULE. */
export function encodeDumpRules(message: MessageEncoder, family: number): void {
  message.putU8(family).putZeros(HEADER - 1);
}

/** An RTM_NEWRULE or RTM_DELRULE message; undefined for a rule that leads to no table. */
export function decodeRule(message: MessageCursor): RoutingRule | undefined {
  const number = message.u8(0);
  if ((number !== 2 && number !== 10) || message.u8(7) !== FR_ACT_TO_TBL) return undefined;
  const family: Family = number === 2 ? 4 : 6;
  let table = message.u8(4), value: number | undefined, mask: number | undefined;
  const rule: { -readonly [K in keyof RoutingRule]: RoutingRule[K] } = {
    family,
    table,
    priority: 0,
    invert: (message.u32(8) & FIB_RULE_INVERT) !== 0,
  };
  const attributes = message.attributes(HEADER);
  while (attributes.next()) {
    switch (attributes.type) {
      case FRA_SRC: {
        const ip = ipOf(attributes.bytes());
        if (ip) rule.source = { ip, length: message.u8(2) };
        break;
      }
      case FRA_DST: {
        const ip = ipOf(attributes.bytes());
        if (ip) rule.destination = { ip, length: message.u8(1) };
        break;
      }
      case FRA_IIFNAME:
        rule.inputInterface = attributes.string();
        break;
      case FRA_OIFNAME:
        rule.outputInterface = attributes.string();
        break;
      case FRA_PRIORITY:
        rule.priority = attributes.u32();
        break;
      case FRA_FWMARK:
        value = attributes.u32();
        break;
      case FRA_FWMASK:
        mask = attributes.u32();
        break;
      case FRA_TABLE:
        table = attributes.u32();
        break;
      case FRA_PROTOCOL:
        rule.protocol = attributes.u8();
        break;
    }
  }
  rule.table = table;
  // Without a mark to look for, the kernel reports mask and value 0.
  if (value || mask) rule.mark = { value: value ?? 0, mask: mask ?? 0xffffffff };
  return rule;
}

/** `ip -4 rule 99: not fwmark 0x100000/0x100000 lookup 1000`. */
export function ruleText(rule: RoutingRule): string {
  const words = [`ip -${rule.family} rule`];
  if (rule.priority !== undefined) words.push(`${rule.priority}:`);
  if (rule.invert) words.push("not");
  if (rule.source) words.push(`from ${formatPrefix(rule.source)}`);
  if (rule.destination) words.push(`to ${formatPrefix(rule.destination)}`);
  if (rule.mark) {
    words.push(`fwmark 0x${rule.mark.value.toString(16)}/0x${rule.mark.mask.toString(16)}`);
  }
  if (rule.inputInterface) words.push(`iif ${rule.inputInterface}`);
  if (rule.outputInterface) words.push(`oif ${rule.outputInterface}`);
  words.push(`lookup ${rule.table}`);
  return words.join(" ");
}
