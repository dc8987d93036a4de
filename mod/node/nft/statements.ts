/**
 * Policy's statements (policy/rules.ts) as nf_tables expressions: the loads and comparisons that nft
 * itself would write for the same words, so that `nft list ruleset` shows to people what policy meant.
 * One statement after another goes in; expressions, sets of ports and the names of sets come out.
 */
import type { Verdict } from "../../../ffi/nft/data.ts";
import { intervalElements, type NftElement } from "../../../ffi/nft/elements.ts";
import {
  CT_STATE,
  CT_STATUS,
  type Expression,
  FIB,
  hostWord,
  NAT_RANGE,
  portBytes,
  RTN_LOCAL,
  verdictExpression,
} from "../../../ffi/nft/expr.ts";
import type {
  Action,
  Family,
  Match,
  PortRange,
  SetKind,
  Statement,
} from "../../../policy/rules.ts";
import { type Ip, parseIp, parseStrictPrefix, type Prefix } from "../../net/mod.ts";
import { namedSet } from "./rule_mark.ts";
import { anonymousName, CompileError, cutBytes, interfaceBytes, kernelName } from "./terms.ts";

/** What the compiler must know of the sets that a rule names: undefined: there is no such set. */
export type SetKinds = (name: string) => SetKind | undefined;

/** A set that lives and dies with one rule: its ports. The rule names it by its place in the list. */
export interface AnonymousSet {
  readonly hasIntervals: boolean;
  readonly elements: readonly NftElement[];
}

export class StatementCompiler {
  readonly expressions: Expression[] = [];
  readonly anonymous: AnonymousSet[] = [];
  /** Sets that the rule names, each with its kind (`namedSet`). */
  readonly named: string[] = [];

  constructor(
    readonly chain: string,
    readonly family: Family,
    readonly kinds: SetKinds,
  ) {}

  statement(statement: Statement): void {
    if ("match" in statement) this.#match(statement);
    else this.#action(statement);
  }

  #put(...expressions: Expression[]): void {
    this.expressions.push(...expressions);
  }

  #fail(reason: string): never {
    throw new CompileError(`rule of chain ${this.chain} of IPv${this.family}`, reason);
  }

  /** The kernel's name of a set that must be of one of these kinds. */
  #set(name: string, ...kinds: SetKind[]): string {
    const kind = this.kinds(name);
    if (!kind) this.#fail(`there is no set ${name}`);
    if (!kinds.includes(kind)) {
      this.#fail(`set ${name} is of kind ${kind}, not ${kinds.join(" or ")}`);
    }
    const inKernel = kernelName(name);
    this.named.push(namedSet(inKernel, kind));
    return inKernel;
  }

  #match(match: Match): void {
    const op = "not" in match && match.not ? "neq" : "eq";
    switch (match.match) {
      case "iifname":
      case "oifname":
        this.#put({ kind: "meta", key: match.match, dreg: 1 }, {
          kind: "cmp",
          sreg: 1,
          op,
          data: interfaceKey(match.value),
        });
        return;
      case "saddr":
      case "daddr":
        if ("set" in match) {
          const set = this.#set(match.set, "addr", "net");
          this.#put(this.#address(match.match), {
            kind: "lookup",
            sreg: 1,
            set,
            flags: match.not ? 1 : undefined,
          });
        } else this.#prefix(match.match, match.prefix, op);
        return;
      case "protocol":
        this.#put({ kind: "meta", key: "l4proto", dreg: 1 }, {
          kind: "cmp",
          sreg: 1,
          op,
          data: new Uint8Array([match.value]),
        });
        return;
      case "sport":
      case "dport":
        this.#ports(match.match, match.ranges, match.not ?? false);
        return;
      case "address-port":
        this.#addressPort(match.side, match.set, match.not ?? false);
        return;
      case "icmp": {
        // Type and code stand side by side and are compared as one, so that `not` means both.
        const data = match.code === undefined ? [match.type] : [match.type, match.code];
        this.#put(
          { kind: "payload", dreg: 1, base: "transport", offset: 0, length: data.length },
          { kind: "cmp", sreg: 1, op, data: new Uint8Array(data) },
        );
        return;
      }
      case "ctstate":
        this.#anyBit(
          { kind: "ct", key: "state", dreg: 1 },
          match.states.reduce((bits, state) => bits | CT_STATE[state], 0),
          match.not ?? false,
        );
        return;
      case "ctstatus":
        this.#anyBit(
          { kind: "ct", key: "status", dreg: 1 },
          CT_STATUS[match.status],
          match.not ?? false,
        );
        return;
      case "mark":
      case "ctmark":
        this.#put(
          { kind: match.match === "mark" ? "meta" : "ct", key: "mark", dreg: 1 },
          ...(match.mask >>> 0 === 0xffffffff ? [] : [mask(hostWord(match.mask))]),
          { kind: "cmp", sreg: 1, op, data: hostWord(match.value) },
        );
        return;
      case "fib-daddr-local":
        return this.#isLocal(FIB.daddr, op);
      case "fib-saddr-local":
        return this.#isLocal(FIB.saddr, op);
      case "fib-saddr-oif-local":
        return this.#isLocal(FIB.saddr | FIB.oif, op);
      case "over-rate":
        this.#put({
          kind: "limit",
          rate: match.rate,
          unit: 1,
          burst: match.burst,
          type: match.unit === "bytes" ? 1 : 0,
          flags: 1,
        });
        return;
      case "over-connections":
        this.#put({ kind: "connlimit", count: match.count, flags: 1 });
        return;
      case "rpf-fail":
        // The way back through this interface: none.
        this.#put(
          { kind: "fib", flags: FIB.saddr | FIB.mark | FIB.iif, result: "oif", dreg: 1 },
          { kind: "cmp", sreg: 1, op: "eq", data: hostWord(0) },
        );
        return;
      default:
        return never(match);
    }
  }

  #action(action: Action): void {
    switch (action.do) {
      case "mark": {
        const changed = (action.mask | action.value) >>> 0;
        if (changed === 0xffffffff) {
          this.#put({ kind: "immediate", dreg: 1, data: { value: hostWord(action.value) } });
        } else {
          this.#put({ kind: "meta", key: "mark", dreg: 1 }, {
            ...mask(hostWord(~changed >>> 0)),
            xor: hostWord(action.value),
          });
        }
        this.#put({ kind: "meta", key: "mark", sreg: 1 });
        return;
      }
      case "counter":
        return this.#put({ kind: "counter" });
      case "accept":
      case "drop":
      case "return":
      case "continue":
        return this.#verdict({ code: action.do });
      case "jump":
      case "goto":
        return this.#verdict({ code: action.do, chain: kernelName(action.chain) });
      case "notrack":
        return this.#put({ kind: "notrack" });
      case "reject":
        // Port unreachable, in either family's numbers.
        return this.#put({ kind: "reject", type: "icmp", code: this.family === 4 ? 3 : 4 });
      case "vmap":
        return this.#put({ kind: "meta", key: action.key, dreg: 1 }, {
          kind: "lookup",
          sreg: 1,
          dreg: 0,
          set: this.#set(action.map, "verdict-map"),
        });
      case "masquerade":
        return this.#masquerade(action.ports);
      case "dnat":
      case "snat": {
        const ip = parseIp(action.address);
        if (ip?.family !== this.family) this.#fail(`${action.address} is not of IPv${this.family}`);
        return this.#put({ kind: "immediate", dreg: 1, data: { value: ip.bytes } }, {
          kind: "nat",
          type: action.do,
          family: this.family === 4 ? "ip" : "ip6",
          addressMin: 1,
        });
      }
      case "log": {
        const prefix = cutBytes(action.prefix, 127);
        return this.#put(
          action.group === undefined
            ? { kind: "log", prefix, level: 6 }
            : { kind: "log", prefix, group: action.group },
        );
      }
      default:
        return never(action);
    }
  }

  #verdict(verdict: Verdict): void {
    this.#put(verdictExpression(verdict));
  }

  #address(side: "saddr" | "daddr", length?: number): Expression {
    const offsets = this.family === 4 ? { saddr: 12, daddr: 16 } : { saddr: 8, daddr: 24 };
    return {
      kind: "payload",
      dreg: 1,
      base: "network",
      offset: offsets[side],
      length: length ?? (this.family === 4 ? 4 : 16),
    };
  }

  #prefix(side: "saddr" | "daddr", text: string, op: "eq" | "neq"): void {
    const prefix = this.#parsePrefix(text);
    const { length, ip: { bytes } } = prefix;
    if (length === 0 && op === "eq") return;
    if (length % 8 === 0 && length > 0) {
      // Whole bytes need no mask: fewer of the packet's bytes are compared.
      const count = length / 8;
      this.#put(this.#address(side, count), {
        kind: "cmp",
        sreg: 1,
        op,
        data: bytes.slice(0, count),
      });
      return;
    }
    this.#put(this.#address(side), mask(prefixMask(prefix)), {
      kind: "cmp",
      sreg: 1,
      op,
      data: bytes,
    });
  }

  #parsePrefix(text: string): Prefix {
    const ip: Ip | undefined = parseIp(text);
    const prefix = ip ? { ip, length: ip.bytes.length * 8 } : parseStrictPrefix(text);
    if (!prefix) this.#fail(`"${text}" is not an address or network`);
    if (prefix.ip.family !== this.family) this.#fail(`${text} is not of IPv${this.family}`);
    return prefix;
  }

  #ports(side: "sport" | "dport", ranges: readonly PortRange[], not: boolean): void {
    this.#put({
      kind: "payload",
      dreg: 1,
      base: "transport",
      offset: side === "sport" ? 0 : 2,
      length: 2,
    });
    if (ranges.length === 0) this.#fail(`a match on ${side} names no port`);
    for (const [first, last] of ranges) {
      if (!(first >= 0 && first <= last && last <= 0xffff)) {
        this.#fail(`${first} to ${last} is not a range of ports`);
      }
    }
    if (ranges.length > 1) {
      const hasIntervals = ranges.some(([first, last]) => first !== last);
      this.anonymous.push({ hasIntervals, elements: portElements(ranges, hasIntervals) });
      this.#put({
        kind: "lookup",
        sreg: 1,
        set: anonymousName,
        setId: this.anonymous.length,
        flags: not ? 1 : undefined,
      });
      return;
    }
    const [first, last] = ranges[0].map(portBytes);
    const [from, to] = ranges[0];
    if (from === to) this.#put({ kind: "cmp", sreg: 1, op: not ? "neq" : "eq", data: first });
    else if (not) this.#put({ kind: "range", sreg: 1, op: "neq", from: first, to: last });
    else {
      this.#put(
        { kind: "cmp", sreg: 1, op: "gte", data: first },
        { kind: "cmp", sreg: 1, op: "lte", data: last },
      );
    }
  }

  /** Address, protocol and port behind one another, as the elements of the set are. */
  #addressPort(side: "source" | "destination", name: string, not: boolean): void {
    const set = this.#set(name, "addr-port");
    const words = this.family === 4 ? 1 : 4;
    this.#put(
      this.#address(side === "source" ? "saddr" : "daddr"),
      { kind: "meta", key: "l4proto", dreg: firstWord + words },
      {
        kind: "payload",
        dreg: firstWord + words + 1,
        base: "transport",
        offset: side === "source" ? 0 : 2,
        length: 2,
      },
      { kind: "lookup", sreg: 1, set, flags: not ? 1 : undefined },
    );
  }

  #anyBit(load: Expression, bits: number, not: boolean): void {
    this.#put(load, mask(hostWord(bits), false), {
      kind: "cmp",
      sreg: 1,
      op: not ? "eq" : "neq",
      data: hostWord(0),
    });
  }

  #isLocal(flags: number, op: "eq" | "neq"): void {
    this.#put({ kind: "fib", flags, result: "addrtype", dreg: 1 }, {
      kind: "cmp",
      sreg: 1,
      op,
      data: hostWord(RTN_LOCAL),
    });
  }

  #masquerade(ports: PortRange | undefined): void {
    if (!ports) return this.#put({ kind: "masq", flags: NAT_RANGE.fullyRandom });
    this.#put(
      { kind: "immediate", dreg: 1, data: { value: portBytes(ports[0]) } },
      { kind: "immediate", dreg: 2, data: { value: portBytes(ports[1]) } },
      { kind: "masq", flags: NAT_RANGE.proto, protoMin: 1, protoMax: 2 },
    );
  }
}

/** Register 1 is the words 8 to 11. */
const firstWord = 8;

function mask(word: Uint8Array, sayOperation = true): Expression & { kind: "bitwise" } {
  return {
    kind: "bitwise",
    sreg: 1,
    dreg: 1,
    op: sayOperation ? 0 : undefined,
    length: word.length,
    mask: word,
    xor: new Uint8Array(word.length),
  };
}

function prefixMask(prefix: Prefix): Uint8Array {
  return prefix.ip.bytes.map((_, i) =>
    0xff00 >> Math.min(8, Math.max(0, prefix.length - 8 * i)) & 0xff
  );
}

/** `cali*` compares the bytes before the star; a whole name the 16 bytes that the kernel holds. */
function interfaceKey(name: string): Uint8Array {
  if (name.endsWith("*")) return new TextEncoder().encode(name.slice(0, -1));
  return interfaceBytes(name);
}

function portElements(ranges: readonly PortRange[], hasIntervals: boolean): NftElement[] {
  return hasIntervals
    ? ranges.flatMap(([first, last]) => intervalElements(portBytes(first), portBytes(last)))
    : ranges.map(([port]) => ({ key: portBytes(port) }));
}

function never(value: never): never {
  throw new TypeError(`unknown statement ${JSON.stringify(value)}`);
}
