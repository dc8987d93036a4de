/**
 * For tests: the words in which nft thinks, so that a rule reads in a test nearly as it does in nft's
 * own language; and datagrams as lines, so that a difference shows where it is.
 */
import assert from "node:assert/strict";
import { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import type { Data } from "./data.ts";
import type { NftElement } from "./elements.ts";
import {
  type CmpExpression,
  type Expression,
  type MetaExpression,
  type PayloadExpression,
  verdictExpression,
} from "./expr.ts";
import type { NftSetRef } from "./set.ts";
import type { Transaction } from "./transaction.ts";
import { commentUserdata } from "./userdata.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { NFT_SET_ELEM_INTERVAL_END, type NftFamily } from "./wire.ts";

const table = "calico";

export function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.replaceAll(/\s/g, "").match(/../g) ?? [], (b) => parseInt(b, 16));
}
export function hex(data: Uint8Array): string {
  return [...data].map((b) => b.toString(16).padStart(2, "0")).join("");
}
/** One line a message, so that a difference shows where it is. */
export function messages(datagram: Uint8Array): string[] {
  const lines: string[] = [];
  let end = 0;
  for (const m = new MessageCursor(datagram); m.next(); end = m.end + 3 & ~3) {
    lines.push(`${m.type} ${m.flags} ${m.sequence} ${hex(m.bytes())}`);
  }
  assert.equal(end, datagram.length, "bytes behind the last message");
  return lines;
}
/** A message's padding between attributes as zeros: conntrack(8) leaves there what was in its buffer. */
export function clearPadding(datagram: Uint8Array): Uint8Array {
  const clear = (attributes: AttributeCursor) => {
    while (attributes.next()) {
      datagram.fill(0, attributes.end, attributes.end + 3 & ~3);
      if (attributes.isNested) clear(attributes.nested());
    }
  };
  clear(new AttributeCursor(datagram, 20));
  return datagram;
}

export function ip(text: string): Uint8Array {
  return mustIp(text).bytes;
}
export function ifname(name: string): Uint8Array {
  const padded = new Uint8Array(16);
  padded.set(new TextEncoder().encode(name));
  return padded;
}

// Words of the little language in which nft thinks.

export const meta = (key: MetaExpression["key"], dreg = 1): Expression => ({
  kind: "meta",
  key,
  dreg,
});
export const cmp = (op: CmpExpression["op"], data: Uint8Array): Expression => ({
  kind: "cmp",
  sreg: 1,
  op,
  data,
});
export const payload = (
  base: PayloadExpression["base"],
  offset: number,
  length: number,
  dreg = 1,
): Expression => ({ kind: "payload", dreg, base, offset, length });
export const mask = (word: Uint8Array, op?: number): Expression => ({
  kind: "bitwise",
  sreg: 1,
  dreg: 1,
  op,
  length: word.length,
  mask: word,
  xor: new Uint8Array(word.length),
});
export const lookup = (set: string, setId: number, flags?: number): Expression => ({
  kind: "lookup",
  sreg: 1,
  set,
  setId,
  flags,
});
export const fib = (flags: number, result: "oif" | "addrtype"): Expression => ({
  kind: "fib",
  flags,
  result,
  dreg: 1,
});
export const counter: Expression = { kind: "counter" };
export const accept = verdictExpression({ code: "accept" });
export const drop = verdictExpression({ code: "drop" });
export const leave = verdictExpression({ code: "return" });
export const jump = (chain: string) => verdictExpression({ code: "jump", chain });
export const goTo = (chain: string) => verdictExpression({ code: "goto", chain });
export const protocol = (number: number, op: CmpExpression["op"] = "eq"): Expression[] => [
  meta("l4proto"),
  cmp(op, new Uint8Array([number])),
];
export const saddr = payload("network", 12, 4), daddr = payload("network", 16, 4);
export const saddr6 = payload("network", 8, 16), daddr6 = payload("network", 24, 16);
export const sport = payload("transport", 0, 2), dport = payload("transport", 2, 2);

export function rule(
  tx: Transaction,
  chain: string,
  expressions: Expression[],
  comment?: string,
  family: NftFamily = "ip",
): void {
  const userdata = comment === undefined ? undefined : commentUserdata(comment);
  tx.addRule({ family, table, chain, expressions, userdata });
}

export const set = (name: string, id?: number, family: NftFamily = "ip"): NftSetRef => ({
  family,
  table,
  name,
  id,
});

/** What nft puts before the first interval of a set: from 0 on there is nothing. */
export const nothingFrom = (length: number): NftElement => ({
  key: new Uint8Array(length),
  flags: NFT_SET_ELEM_INTERVAL_END,
});

export const verdict = (code: "goto" | "jump", chain: string): Data => ({
  verdict: { code, chain },
});
