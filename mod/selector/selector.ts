/**
 * Calico's label selectors (libcalico-go/lib/selector): `role in {"db", "cache"} && !has(old)`.
 * `parseSelector` reads one; the result matches label sets, prints itself in the canonical form and
 * has the id under which Calico names sets of addresses.
 *
 *     selector := "" | or
 *     or       := and { "||" and }             and := op { "&&" op }
 *     op       := { "!" } ( label comparison | "has(" label ")" | "all()" | "global()" | "(" or ")" )
 *     comparison := "==" str | "!=" str | "contains" str | "starts with" str | "ends with" str
 *                 | "in" set | "not in" set
 *     set      := "{" [ str { "," str } [","] ] "}"           str := "…" or '…', no escapes
 *
 * The parser keeps a stack of its own, so that no depth of parentheses can exhaust the program's.
 */
import { createHash } from "node:crypto";
import {
  compareCodePoints,
  compileNode,
  type LabelSource,
  mapLabels,
  type Matcher,
  printNode,
  type Requirement,
  requirements,
  type SelectorNode,
} from "./node.ts";
import { OPERATORS, SelectorError, type Token, tokenize } from "./token.ts";

export { SelectorError } from "./token.ts";
export {
  compareCodePoints,
  type LabelSource,
  type Requirement,
  type SelectorNode,
} from "./node.ts";

/** Labels of one object: plain, or a map (the quicker form for many matches). */
export type Labels = Readonly<Record<string, string>> | ReadonlyMap<string, string>;

/** A selector that was read. Never changes; equal ids mean equal canonical texts. */
export class Selector {
  #matcher: Matcher | undefined;
  #text: string | undefined;
  #id: string | undefined;
  #requirements: ReadonlyMap<string, Requirement> | undefined;

  constructor(readonly node: SelectorNode) {}

  matches(labels: Labels): boolean {
    return this.matchesSource(
      labels instanceof Map ? labels : recordSource(labels as Readonly<Record<string, string>>),
    );
  }

  /** As `matches`, for labels that are looked up in a way of their own. */
  matchesSource(labels: LabelSource): boolean {
    this.#matcher ??= compileNode(this.node);
    return this.#matcher(labels);
  }

  /** Calico's canonical text: another selector that prints the same is the same. */
  toString(): string {
    return this.#text ??= printNode(this.node);
  }

  /** `s:` and the base64url of SHA-224 over `s:` and the canonical text, as Calico's UniqueID. */
  get id(): string {
    return this.#id ??= uniqueId("s", this.toString());
  }

  /** Labels without which nothing matches (see node.ts). */
  get requirements(): ReadonlyMap<string, Requirement> {
    return this.#requirements ??= requirements(this.node);
  }

  /** The same selector over other labels: each name through `rename`, `all()`, `global()` through `leaf`. */
  map(
    rename: (label: string) => string,
    leaf: (node: SelectorNode & { readonly is: "all" | "global" }) => SelectorNode = (n) => n,
  ): Selector {
    return new Selector(mapLabels(this.node, rename, leaf));
  }
}

/** Calico's name for a thing by its content: the kind, a colon, a hash over both (lib/hash). */
export function uniqueId(kind: string, content: string): string {
  const hash = createHash("sha224").update(`${kind}:${content}`).digest("base64url");
  return `${kind}:${hash}`;
}

function recordSource(labels: Readonly<Record<string, string>>): LabelSource {
  // Only own members: a label may be called `constructor`.
  return { get: (name) => Object.hasOwn(labels, name) ? labels[name] : undefined };
}

/** Reads a selector; an empty one matches everything. Throws a SelectorError. */
export function parseSelector(text: string): Selector {
  const tokens = tokenize(text);
  return new Selector(tokens.length === 1 ? { is: "all" } : new Parser(text, tokens).parse());
}

/** Whether the text can be a string in a selector: it cannot where it holds both kinds of quotes. */
export function isSelectorValue(text: unknown): text is string {
  return typeof text === "string" && !(text.includes("'") && text.includes('"'));
}

/** One open parenthesis (or the whole text): what was read in it so far. */
interface Level {
  /** Of the parenthesis, for messages. */
  readonly at: number;
  /** The parenthesis stood behind an odd number of `!`. */
  readonly negated: boolean;
  /** Finished terms of `||`. */
  readonly ors: SelectorNode[];
  /** Terms of the `&&` that is being read. */
  ands: SelectorNode[];
  /** Of the deepest tree among the terms. */
  depth: number;
}

/**
 * Trees may nest so far (parentheses around one term make no tree deeper): printing and matching go
 * down by recursion. (Calico 3.33 has a limit of 1024 characters a selector, which lies far below.)
 */
const MAX_DEPTH = 1500;

class Parser {
  #next = 0;

  constructor(readonly text: string, readonly tokens: readonly Token[]) {}

  parse(): SelectorNode {
    const levels: Level[] = [{ at: 0, negated: false, ors: [], ands: [], depth: 1 }];
    for (;;) {
      // An operand, or parentheses that open before one.
      let negated = false;
      while (this.#peek().is === "!") {
        negated = !negated;
        this.#next++;
      }
      const token = this.#peek();
      if (token.is === "(") {
        this.#next++;
        levels.push({ at: token.at, negated, ors: [], ands: [], depth: 1 });
        continue;
      }
      levels.at(-1)!.ands.push(negate(negated, this.#operand()));

      // Then what may follow it: parentheses that close, and an operator or the end.
      for (;;) {
        const level = levels.at(-1)!;
        const token = this.#take();
        if (token.is === "&&") break;
        if (token.is === "||") {
          level.ors.push(join("&&", level.ands));
          level.ands = [];
          break;
        }
        if (token.is === ")" && levels.length > 1) {
          levels.pop();
          const outer = levels.at(-1)!;
          const node = negate(level.negated, closeLevel(level));
          outer.ands.push(node);
          // A level adds at most "!", "&&" and "||"; one term alone adds nothing.
          const added = node.is === "!" || node.is === "&&" || node.is === "||" ? 3 : 0;
          outer.depth = Math.max(outer.depth, level.depth + added);
          if (outer.depth > MAX_DEPTH) {
            this.#fail(token, `the selector nests deeper than ${MAX_DEPTH / 3} levels`);
          }
          continue;
        }
        if (token.is === "end") {
          if (levels.length === 1) return closeLevel(level);
          this.#fail(token, `the "(" at character ${level.at + 1} has no ")"`);
        }
        this.#fail(
          token,
          `unexpected ${describe(token)}, want && or ||` +
            (levels.length > 1 ? ' or ")"' : " or the end"),
        );
      }
    }
  }

  /** One test of labels. */
  #operand(): SelectorNode {
    const token = this.#take();
    switch (token.is) {
      case "all":
      case "global":
        return { is: token.is };
      case "has":
        return { is: "has", label: token.text };
      case "label":
        return this.#comparison(token.text);
      default:
        this.#fail(
          token,
          `unexpected ${describe(token)}, want a label name, has(…), all(), global(), "!" or "("`,
        );
    }
  }

  #comparison(label: string): SelectorNode {
    const operator = this.#take();
    switch (operator.is) {
      case "==":
      case "!=":
      case "contains":
      case "starts with":
      case "ends with": {
        const value = this.#take();
        if (value.is !== "string") {
          this.#fail(
            value,
            `unexpected ${describe(value)} after ${operator.is}, want a quoted string`,
          );
        }
        return { is: operator.is, label, value: value.text };
      }
      case "in":
      case "not in":
        return { is: operator.is, label, values: this.#set(operator.is) };
      default:
        this.#fail(
          operator,
          `unexpected ${describe(operator)}, want an operator after label "${label}": ${OPERATORS}`,
        );
    }
  }

  #set(operator: string): string[] {
    const open = this.#take();
    if (open.is !== "{") {
      this.#fail(open, `unexpected ${describe(open)} after ${operator}, want a set: {"…", "…"}`);
    }
    const values = new Set<string>();
    for (;;) {
      const token = this.#take();
      if (token.is === "}") break;
      if (token.is !== "string") {
        this.#fail(token, `unexpected ${describe(token)} in a set, want a quoted string or "}"`);
      }
      values.add(token.text);
      const after = this.#take();
      if (after.is === "}") break;
      if (after.is !== ",") {
        this.#fail(after, `unexpected ${describe(after)} in a set, want "," or "}"`);
      }
    }
    return [...values].sort(compareCodePoints);
  }

  #peek(): Token {
    return this.tokens[this.#next];
  }

  /** The last token is `end`, and whatever takes it stops. */
  #take(): Token {
    return this.tokens[this.#next++];
  }

  #fail(token: Token, reason: string): never {
    throw new SelectorError(this.text, token.at, reason);
  }
}

function negate(negated: boolean, node: SelectorNode): SelectorNode {
  return negated ? { is: "!", node } : node;
}

function join(is: "&&" | "||", nodes: readonly SelectorNode[]): SelectorNode {
  return nodes.length === 1 ? nodes[0] : { is, nodes };
}

function closeLevel(level: Level): SelectorNode {
  return join("||", [...level.ors, join("&&", level.ands)]);
}

function describe(token: Token): string {
  switch (token.is) {
    case "end":
      return "end";
    case "label":
      return `label "${token.text}"`;
    case "string":
      return `string ${JSON.stringify(token.text)}`;
    case "has":
      return `has(${token.text})`;
    case "all":
    case "global":
      return `${token.is}()`;
    default:
      return `"${token.is}"`;
  }
}
