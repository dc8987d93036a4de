/**
 * Cuts a selector into tokens (Calico's libcalico-go/lib/selector/tokenizer). What a word means hangs
 * on its place: right after a label a word is an operator, everywhere else it is a label, unless it
 * is `has(`, `all(` or `global(` written without a space. So a label may be called `in`.
 */

export type Comparison = "==" | "!=" | "contains" | "starts with" | "ends with";
export type Membership = "in" | "not in";

export type Token =
  | { readonly is: "label" | "string" | "has"; readonly text: string; readonly at: number }
  | { readonly is: Comparison | Membership; readonly at: number }
  | {
    readonly is: "{" | "}" | "," | "!" | "(" | ")" | "&&" | "||" | "all" | "global" | "end";
    readonly at: number;
  };

/** Characters of a label name, at most. */
export const MAX_LABEL = 512;

/** A selector that cannot be read: where, and what could stand there. */
export class SelectorError extends Error {
  override readonly name = "SelectorError";
  constructor(
    /** The whole selector. */
    readonly selector: string,
    /** Characters before the place of the error. */
    readonly position: number,
    /** What is wrong there, and what is allowed. */
    readonly reason: string,
  ) {
    const shown = selector.length > 120 ? selector.slice(0, 120) + "…" : selector;
    super(`selector ${JSON.stringify(shown)}, character ${position + 1}: ${reason}`);
  }
}

const operators: readonly (readonly [RegExp, Comparison | Membership])[] = [
  [/contains(?![a-zA-Z0-9_./-])/y, "contains"],
  [/starts[ \t]*with(?![a-zA-Z0-9_./-])/y, "starts with"],
  [/ends[ \t]*with(?![a-zA-Z0-9_./-])/y, "ends with"],
  [/not[ \t]*in(?![a-zA-Z0-9_./-])/y, "not in"],
  [/in(?![a-zA-Z0-9_./-])/y, "in"],
];
const labelPattern = /[a-zA-Z0-9_./-]+/y;
const blank = /[ \t]*/y;
const call = /(has|all|global)\(/y;

export const OPERATORS = `==, !=, in {…}, not in {…}, contains, starts with or ends with`;
const OPERAND = `a label name, has(…), all(), global(), "!" or "("`;

/** Reads one thing after another; the last token is always `end`. */
export function tokenize(input: string): Token[] {
  const tokens: Token[] = [];
  const fail = (at: number, reason: string): never => {
    throw new SelectorError(input, at, reason);
  };
  const skipBlank = (at: number): number => {
    blank.lastIndex = at;
    blank.test(input);
    return blank.lastIndex;
  };
  const label = (at: number): string => {
    labelPattern.lastIndex = at;
    const found = labelPattern.exec(input)?.[0];
    if (found === undefined) {
      return fail(
        at,
        at < input.length
          ? `unexpected ${quoteCharacter(input, at)}, want ${OPERAND}`
          : `unexpected end, want ${OPERAND}`,
      );
    }
    if (found.length > MAX_LABEL) {
      fail(at, `a label name has at most ${MAX_LABEL} characters, this one ${found.length}`);
    }
    return found;
  };
  const two = (at: number, want: "==" | "&&" | "||"): void => {
    if (!input.startsWith(want, at)) fail(at, `"${input[at]}" stands alone, want "${want}"`);
    tokens.push({ is: want, at });
  };

  for (let at = skipBlank(0);; at = skipBlank(at)) {
    if (at >= input.length) {
      tokens.push({ is: "end", at });
      return tokens;
    }
    const c = input[at];
    switch (c) {
      case "(":
      case ")":
      case "{":
      case "}":
      case ",":
        tokens.push({ is: c, at });
        at++;
        continue;
      case '"':
      case "'": {
        const end = input.indexOf(c, at + 1);
        if (end < 0) fail(at, `the string that begins here has no closing ${c}`);
        tokens.push({ is: "string", text: input.slice(at + 1, end), at });
        at = end + 1;
        continue;
      }
      case "=":
        two(at, "==");
        at += 2;
        continue;
      case "&":
        two(at, "&&");
        at += 2;
        continue;
      case "|":
        two(at, "||");
        at += 2;
        continue;
      case "!":
        if (input[at + 1] === "=") {
          tokens.push({ is: "!=", at });
          at += 2;
        } else {
          tokens.push({ is: "!", at });
          at++;
        }
        continue;
    }
    const last = tokens.at(-1);
    if (last?.is === "label") {
      const operator = operators.find(([pattern]) => {
        pattern.lastIndex = at;
        return pattern.test(input);
      });
      if (!operator) {
        fail(at, `expected an operator after label "${last.text}": ${OPERATORS}`);
      } else {
        tokens.push({ is: operator[1], at });
        at = operator[0].lastIndex;
      }
      continue;
    }
    call.lastIndex = at;
    const name = call.exec(input)?.[1];
    if (name !== undefined) {
      const start = at;
      at = skipBlank(call.lastIndex);
      let text = "";
      if (name === "has") {
        text = label(at);
        at = skipBlank(at + text.length);
      }
      if (input[at] !== ")") fail(at, `no closing ")" after ${name}(${text}`);
      tokens.push(
        name === "has"
          ? { is: "has", text, at: start }
          : { is: name as "all" | "global", at: start },
      );
      at++;
      continue;
    }
    const text = label(at);
    tokens.push({ is: "label", text, at });
    at += text.length;
  }
}

/** A character as it is shown in a message: whole, also where it takes two UTF-16 units. */
function quoteCharacter(input: string, at: number): string {
  return JSON.stringify(String.fromCodePoint(input.codePointAt(at)!));
}
