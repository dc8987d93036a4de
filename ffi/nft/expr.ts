/**
 * nf_tables expressions: the instructions of a rule. Each works on registers (0 is the verdict, 1 to 4
 * are 16 bytes wide, 8 to 23 are the same space in words of 4), loads something of the packet into one,
 * changes, compares or looks it up; the first comparison that fails ends the rule.
 *
 * One record a kind, and one table that says which attribute carries which field, in the order in
 * which libnftnl writes them, so that our bytes equal those of nft. An expression that the table does
 * not know is kept as bytes, so that a foreign rule can be read.
 */
import type { AttributeCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { type Data, getData, putData, type Verdict } from "./data.ts";

/** 0 verdict; 1 to 4 wide registers; 8 to 23 words (8 is the first word of register 1). */
export type Register = number;

const metaKeys = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  nfproto: 15,
  l4proto: 16,
} as const;
const payloadBases = { link: 0, network: 1, transport: 2 } as const;
const comparisons = { eq: 0, neq: 1, lt: 2, lte: 3, gt: 4, gte: 5 } as const;
const ctKeys = { state: 0, direction: 1, status: 2, mark: 3 } as const;
const fibResults = { oif: 1, oifname: 2, addrtype: 3 } as const;
const natTypes = { snat: 0, dnat: 1 } as const;
const natFamilies = { ip: 2, ip6: 10 } as const;
const rejectTypes = { icmp: 0, "tcp-reset": 1, icmpx: 2 } as const;

/** Bits of connection state, in a register of four bytes, host order. */
export const CT_STATE = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const;
/** Bits of connection status. */
export const CT_STATUS = { snat: 0x10, dnat: 0x20 } as const;
/** What a fib lookup takes from the packet. */
export const FIB = { saddr: 1, daddr: 2, mark: 4, iif: 8, oif: 16 } as const;
/** Route type that a fib lookup with `addrtype` yields for an address of this host. */
export const RTN_LOCAL = 2;
/** Flags of nat, masq and redir. */
export const NAT_RANGE = {
  addresses: 1,
  proto: 2,
  random: 4,
  persistent: 8,
  fullyRandom: 16,
} as const;

/** Loads a property of the packet's handling into `dreg`, or sets it from `sreg`. */
export interface MetaExpression {
  readonly kind: "meta";
  readonly key: keyof typeof metaKeys | number;
  readonly dreg?: Register;
  readonly sreg?: Register;
}
/** Loads `length` bytes of the packet. */
export interface PayloadExpression {
  readonly kind: "payload";
  readonly dreg?: Register;
  readonly base: keyof typeof payloadBases | number;
  readonly offset: number;
  readonly length: number;
  readonly sreg?: Register;
}
/** Ends the rule unless the register compares so with the value. */
export interface CmpExpression {
  readonly kind: "cmp";
  readonly sreg: Register;
  readonly op: keyof typeof comparisons | number;
  readonly data: Uint8Array;
}
/** Ends the rule unless the register lies (eq) or does not lie (neq) in the range, both ends in. */
export interface RangeExpression {
  readonly kind: "range";
  readonly sreg: Register;
  readonly op: keyof typeof comparisons | number;
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}
/** dreg = (sreg & mask) ^ xor. `op` 0 may be said or not; nft does either. */
export interface BitwiseExpression {
  readonly kind: "bitwise";
  readonly sreg: Register;
  readonly dreg: Register;
  readonly op?: number;
  readonly length: number;
  readonly mask: Uint8Array;
  readonly xor: Uint8Array;
}
/** Loads of the connection, or sets it. */
export interface CtExpression {
  readonly kind: "ct";
  readonly key: keyof typeof ctKeys | number;
  readonly dreg?: Register;
  readonly direction?: number;
  readonly sreg?: Register;
}
/** Loads a constant; into register 0 it is the rule's verdict. */
export interface ImmediateExpression {
  readonly kind: "immediate";
  readonly dreg: Register;
  readonly data: Data;
}
export interface CounterExpression {
  readonly kind: "counter";
  readonly bytes?: number;
  readonly packets?: number;
}
/** Ends the rule unless the set holds the register (`flags` 1: holds it not); a map loads `dreg`. */
export interface LookupExpression {
  readonly kind: "lookup";
  readonly sreg: Register;
  readonly dreg?: Register;
  readonly set: string;
  /** Names a set made in the same transaction. */
  readonly setId?: number;
  readonly flags?: number;
}
/** Asks the routing tables. `flags` of FIB. */
export interface FibExpression {
  readonly kind: "fib";
  readonly flags: number;
  readonly result: keyof typeof fibResults | number;
  readonly dreg: Register;
}
/** Translates to the addresses and ports in these registers. */
export interface NatExpression {
  readonly kind: "nat";
  readonly type: keyof typeof natTypes | number;
  readonly family: keyof typeof natFamilies | number;
  readonly addressMin?: Register;
  readonly addressMax?: Register;
  readonly protoMin?: Register;
  readonly protoMax?: Register;
  readonly flags?: number;
}
export interface MasqExpression {
  readonly kind: "masq";
  readonly flags?: number;
  readonly protoMin?: Register;
  readonly protoMax?: Register;
}
export interface RedirExpression {
  readonly kind: "redir";
  readonly protoMin?: Register;
  readonly protoMax?: Register;
  readonly flags?: number;
}
export interface RejectExpression {
  readonly kind: "reject";
  readonly type: keyof typeof rejectTypes | number;
  readonly code?: number;
}
/** With a group to nflog, else to the kernel's log. */
export interface LogExpression {
  readonly kind: "log";
  readonly prefix?: string;
  readonly group?: number;
  readonly snaplen?: number;
  readonly threshold?: number;
  readonly level?: number;
  readonly flags?: number;
}
/** `rate` a `unit` (seconds); `flags` 1: matches what is over. `type` 0 packets, 1 bytes. */
export interface LimitExpression {
  readonly kind: "limit";
  readonly rate: number;
  readonly unit: number;
  readonly burst?: number;
  readonly type?: number;
  readonly flags?: number;
}
export interface ConnlimitExpression {
  readonly kind: "connlimit";
  readonly count: number;
  readonly flags?: number;
}
export interface QuotaExpression {
  readonly kind: "quota";
  readonly bytes: number;
  readonly flags?: number;
  readonly consumed?: number;
}
/** Names a stateful object of the table. */
export interface ObjrefExpression {
  readonly kind: "objref";
  readonly type: number;
  readonly name: string;
}
export interface NotrackExpression {
  readonly kind: "notrack";
}
/** One that the table below does not know: its name and its DATA as it came. */
export interface UnknownExpression {
  readonly kind: "unknown";
  readonly name: string;
  readonly data: Uint8Array;
}

type KnownExpression =
  | MetaExpression
  | PayloadExpression
  | CmpExpression
  | RangeExpression
  | BitwiseExpression
  | CtExpression
  | ImmediateExpression
  | CounterExpression
  | LookupExpression
  | FibExpression
  | NatExpression
  | MasqExpression
  | RedirExpression
  | RejectExpression
  | LogExpression
  | LimitExpression
  | ConnlimitExpression
  | QuotaExpression
  | ObjrefExpression
  | NotrackExpression;

export type Expression = KnownExpression | UnknownExpression;

/** How one field is written under its attribute and read back. */
interface Codec {
  put(encoder: MessageEncoder, attribute: number, value: any): void;
  get(cursor: AttributeCursor): unknown;
}

const u8: Codec = { put: (e, a, v: number) => e.attrU8(a, v), get: (c) => c.u8() };
const be16: Codec = { put: (e, a, v: number) => e.attrBe16(a, v), get: (c) => c.be16() };
const be32: Codec = { put: (e, a, v: number) => e.attrBe32(a, v), get: (c) => c.be32() };
/** Counters and rates: exact up to 2^53, which no counter reaches. */
const be64: Codec = {
  put: (e, a, v: number) => e.attrBe64(a, BigInt(v)),
  get: (c) => Number(c.be64()),
};
const string: Codec = { put: (e, a, v: string) => e.attrString(a, v), get: (c) => c.string() };
/** Without NUL: libnftnl writes object names so. */
const text: Codec = { put: (e, a, v: string) => e.attrText(a, v), get: (c) => c.string() };
const data: Codec = { put: putData, get: getData };
const value: Codec = {
  put: (e, a, v: Uint8Array) => putData(e, a, { value: v }),
  get: (c) => getData(c).value ?? new Uint8Array(0),
};

/** A number with names; a number without one stays a number. */
function oneOf(names: Readonly<Record<string, number>>): Codec {
  const byNumber = new Map(Object.entries(names).map(([name, number]) => [number, name]));
  return {
    put: (e, a, v: string | number) => e.attrBe32(a, typeof v === "number" ? v : names[v]),
    get: (c) => byNumber.get(c.be32()) ?? c.be32(),
  };
}

type Field<E> = readonly [attribute: number, field: Exclude<keyof E, "kind"> & string, Codec];
type Tables = {
  readonly [K in KnownExpression["kind"]]: readonly Field<Extract<KnownExpression, { kind: K }>>[];
};

const tables: Tables = {
  meta: [[2, "key", oneOf(metaKeys)], [1, "dreg", be32], [3, "sreg", be32]],
  payload: [
    [5, "sreg", be32],
    [1, "dreg", be32],
    [2, "base", oneOf(payloadBases)],
    [3, "offset", be32],
    [4, "length", be32],
  ],
  cmp: [[1, "sreg", be32], [2, "op", oneOf(comparisons)], [3, "data", value]],
  range: [
    [1, "sreg", be32],
    [2, "op", oneOf(comparisons)],
    [3, "from", value],
    [4, "to", value],
  ],
  bitwise: [
    [1, "sreg", be32],
    [2, "dreg", be32],
    [6, "op", be32],
    [3, "length", be32],
    [4, "mask", value],
    [5, "xor", value],
  ],
  ct: [[2, "key", oneOf(ctKeys)], [1, "dreg", be32], [3, "direction", u8], [4, "sreg", be32]],
  immediate: [[1, "dreg", be32], [2, "data", data]],
  counter: [[1, "bytes", be64], [2, "packets", be64]],
  lookup: [
    [2, "sreg", be32],
    [3, "dreg", be32],
    [1, "set", string],
    [4, "setId", be32],
    [5, "flags", be32],
  ],
  fib: [[3, "flags", be32], [2, "result", oneOf(fibResults)], [1, "dreg", be32]],
  nat: [
    [1, "type", oneOf(natTypes)],
    [2, "family", oneOf(natFamilies)],
    [3, "addressMin", be32],
    [4, "addressMax", be32],
    [5, "protoMin", be32],
    [6, "protoMax", be32],
    [7, "flags", be32],
  ],
  masq: [[1, "flags", be32], [2, "protoMin", be32], [3, "protoMax", be32]],
  redir: [[1, "protoMin", be32], [2, "protoMax", be32], [3, "flags", be32]],
  reject: [[1, "type", oneOf(rejectTypes)], [2, "code", u8]],
  log: [
    [2, "prefix", string],
    [1, "group", be16],
    [3, "snaplen", be32],
    [4, "threshold", be16],
    [5, "level", be32],
    [6, "flags", be32],
  ],
  limit: [
    [1, "rate", be64],
    [2, "unit", be64],
    [3, "burst", be32],
    [4, "type", be32],
    [5, "flags", be32],
  ],
  connlimit: [[1, "count", be32], [2, "flags", be32]],
  quota: [[1, "bytes", be64], [4, "consumed", be64], [2, "flags", be32]],
  objref: [[1, "type", be32], [2, "name", text]],
  notrack: [],
};

const fieldsByAttribute = new Map(
  Object.entries(tables).map(([kind, fields]) => [
    kind,
    new Map((fields as readonly Field<any>[]).map(([attribute, field, codec]) => [
      attribute,
      { field, codec },
    ])),
  ]),
);

const NFTA_LIST_ELEM = 1;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA = 2;

/** Writes the expressions as a nest of list elements under this attribute. */
export function putExpressions(
  encoder: MessageEncoder,
  attribute: number,
  expressions: readonly Expression[],
): void {
  encoder.openNested(attribute);
  for (const expression of expressions) putExpression(encoder, expression);
  encoder.close();
}

function putExpression(encoder: MessageEncoder, expression: Expression): void {
  encoder.openNested(NFTA_LIST_ELEM);
  if (expression.kind === "unknown") {
    encoder.attrString(NFTA_EXPR_NAME, expression.name);
    encoder.openNested(NFTA_EXPR_DATA).putBytes(expression.data).close();
  } else {
    encoder.attrString(NFTA_EXPR_NAME, expression.kind);
    // notrack has no fields, and nft writes no DATA for it.
    const fields = tables[expression.kind] as readonly Field<any>[];
    if (fields.length > 0) {
      encoder.openNested(NFTA_EXPR_DATA);
      const record = expression as unknown as Record<string, unknown>;
      for (const [attribute, field, codec] of fields) {
        const fieldValue = record[field];
        if (fieldValue !== undefined) codec.put(encoder, attribute, fieldValue);
      }
      encoder.close();
    }
  }
  encoder.close();
}

/** Reads a nest of list elements. */
export function getExpressions(cursor: AttributeCursor): Expression[] {
  const expressions: Expression[] = [];
  const list = cursor.nested();
  while (list.next()) {
    if (list.type === NFTA_LIST_ELEM) expressions.push(getExpression(list.nested()));
  }
  return expressions;
}

function getExpression(element: AttributeCursor): Expression {
  let name = "";
  let fields: AttributeCursor | undefined;
  let raw: Uint8Array = new Uint8Array(0);
  while (element.next()) {
    if (element.type === NFTA_EXPR_NAME) name = element.string();
    else if (element.type === NFTA_EXPR_DATA) {
      fields = element.nested();
      if (!fieldsByAttribute.has(name)) raw = element.bytes();
    }
  }
  const table = fieldsByAttribute.get(name);
  if (!table) return { kind: "unknown", name, data: raw };
  const record: Record<string, unknown> = { kind: name };
  while (fields?.next()) {
    const known = table.get(fields.type);
    if (known) record[known.field] = known.codec.get(fields);
  }
  return record as unknown as Expression;
}

/** The rule's last word: `immediate` into the verdict register. */
export function verdictExpression(verdict: Verdict): ImmediateExpression {
  return { kind: "immediate", dreg: 0, data: { verdict } };
}

/** Words of few numbers occur in thousands of rules; nobody writes into them. */
const words = new Map<number, Uint8Array>();
const mostWords = 4096;

function remembered(key: number, make: () => Uint8Array): Uint8Array {
  let bytes = words.get(key);
  if (!bytes) {
    bytes = make();
    if (words.size < mostWords) words.set(key, bytes);
  }
  return bytes;
}

/** The four bytes of a number in host order, as marks, interface indexes and states are held. */
export function hostWord(number: number): Uint8Array {
  return remembered(number >>> 0, () => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, number, true);
    return bytes;
  });
}

/** The two bytes of a port in network order. */
export function portBytes(port: number): Uint8Array {
  return remembered(-1 - port, () => new Uint8Array([port >> 8 & 0xff, port & 0xff]));
}
