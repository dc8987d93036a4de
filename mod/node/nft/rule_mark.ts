/**
 * The mark of a rule: 16 characters in its comment, `cali:<mark>; what policy says to people`, that
 * stand for all that the rule says: its expressions, the elements of its anonymous sets, the names and
 * kinds of the sets that it looks up, its text. Two rules are the same if and only if their marks are;
 * so a process that finds a table can tell what of it is already as it should be, and a newer version
 * that compiles a statement otherwise replaces what an older one wrote.
 *
 * A comment is easily kept while the rule under it is changed (`nft list ruleset`, an editor, `nft -f`).
 * So the mark is computed from one form that what we send and what the kernel gives back have in common
 * (`normal`), and whoever reads a rule computes it again (rule_reader.ts). Left out of that form is what
 * the kernel counts, numbers or adds by itself.
 */
import { createHash } from "node:crypto";
import { MessageEncoder } from "../../../ffi/netlink/encoder.ts";
import { compareKeys, readIntervals } from "../../../ffi/nft/elements.ts";
import {
  type Expression,
  NAT_RANGE,
  putExpressions,
  type Register,
} from "../../../ffi/nft/expr.ts";
import { NFT_COMMENT_MAX } from "../../../ffi/nft/userdata.ts";
import type { SetKind } from "../../../policy/rules.ts";
import type { AnonymousSet } from "./statements.ts";
import { cutBytes } from "./terms.ts";

/** All that a mark stands for. */
export interface RuleContent {
  readonly expressions: readonly Expression[];
  /** Those that the rule's lookups name, in the order of the lookups. */
  readonly anonymous: readonly AnonymousSet[];
  /** The other sets that they name, in the same order (`namedSet`). */
  readonly named: readonly string[];
  /** As it stands in the comment (`markedText`). */
  readonly text: string;
}

const markLength = 16;
const prefix = "cali:";
/** `cali:<mark>;` */
const ownLength = prefix.length + markLength + 1;

/** The mark in a comment; "" where there is none: then the rule is not ours. */
export function readMark(comment: string): string {
  return comment.startsWith(prefix) && comment[ownLength - 1] === ";"
    ? comment.slice(prefix.length, ownLength - 1)
    : "";
}

/** What a comment that has a mark says to people. */
export function readText(comment: string): string {
  return comment.slice(ownLength + 1);
}

/** As much of a text for people as goes into a comment behind the mark. */
export function markedText(text = ""): string {
  const end = text.indexOf("\0");
  return cutBytes(end < 0 ? text : text.slice(0, end), NFT_COMMENT_MAX - 1 - ownLength - 1);
}

export function markedComment(mark: string, text: string): string {
  const own = `${prefix}${mark};`;
  return text ? `${own} ${text}` : own;
}

/** A set that a rule looks up, by the kernel's name. A rule must be made anew when its kind changes. */
export function namedSet(name: string, kind: SetKind | undefined): string {
  return `${name} ${kind ?? "?"}`;
}

const scratch = new MessageEncoder();

export function markOf({ expressions, anonymous, named, text }: RuleContent): string {
  scratch.reset().begin(0, 0, 0);
  putExpressions(scratch, 0, expressions.map(normal));
  for (const set of anonymous) putAnonymous(set);
  for (const name of named) scratch.attrString(4, name);
  scratch.attrString(5, text);
  const bytes = scratch.end().finish();
  return createHash("sha256").update(bytes).digest("base64url").slice(0, markLength);
}

/** The kernel lists elements in an order of its own, and nft writes an end before the first interval. */
function putAnonymous({ hasIntervals, elements }: AnonymousSet): void {
  if (hasIntervals) {
    for (const { first, last } of readIntervals(elements)) {
      scratch.attrBytes(1, first).attrBytes(2, last);
    }
  } else {
    const keys = elements.map(({ key }) => key).sort(compareKeys);
    for (const key of keys) scratch.attrBytes(3, key);
  }
}

/** The same form for what is sent and for what the kernel makes of it. */
function normal(expression: Expression): Expression {
  switch (expression.kind) {
    case "counter":
      return { kind: "counter" };
    case "lookup": {
      // The kernel gives an anonymous set its name; what is in it is marked with the rest.
      const set = expression.set.startsWith("__") ? "" : expression.set;
      return { ...expression, set, setId: undefined, flags: expression.flags || undefined };
    }
    case "payload":
    case "meta":
      // A field of a concatenation that begins a wide register is called by that one's number.
      return expression.dreg === undefined || expression.dreg < 8
        ? expression
        : { ...expression, dreg: register(expression.dreg) };
    case "bitwise":
      return expression.op === 0 ? { ...expression, op: undefined } : expression;
    case "nat": {
      const { addressMin, protoMin } = expression;
      const { addressMax = addressMin, protoMax = protoMin } = expression;
      return { ...expression, addressMax, protoMax, flags: rangeFlags(expression.flags) };
    }
    case "masq": {
      const { protoMin, protoMax = protoMin } = expression;
      return { ...expression, protoMax, flags: rangeFlags(expression.flags) };
    }
    case "limit":
      return {
        ...expression,
        type: expression.type || undefined,
        flags: expression.flags || undefined,
      };
    case "connlimit":
      return expression.flags === 0 ? { ...expression, flags: undefined } : expression;
    case "log": {
      const { snaplen, threshold, flags } = expression;
      return {
        ...expression,
        snaplen: snaplen || undefined,
        threshold: threshold || undefined,
        flags: flags || undefined,
      };
    }
    default:
      return expression;
  }
}

/** Words 8, 12, 16, 20 are the beginnings of the wide registers 1 to 4. */
function register(word: Register): Register {
  return word % 4 === 0 ? word / 4 - 1 : word;
}

/** That addresses or ports are given is said by the registers; kernels set these two themselves. */
function rangeFlags(flags = 0): number | undefined {
  return flags & ~(NAT_RANGE.addresses | NAT_RANGE.proto) || undefined;
}
