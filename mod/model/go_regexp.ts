/**
 * Regular expressions as Calico's agents read them: Go's regexp package, which is RE2's syntax with Perl's
 * classes (https://github.com/google/re2/wiki/Syntax). JavaScript reads other ones: it knows `\cA` and
 * look-around, and neither `(?s)` nor `\pN` nor `[[:alpha:]]`. So the text is parsed here, and written anew
 * in JavaScript's words, with flags at each letter: what Go refuses is refused, and what it takes
 * matches the same. Groups are not captured: such patterns only say whether a name fits. (A port of RE2
 * to JavaScript would do it too; every node service would bear its tables, 7 MB, for a pattern or two.)
 */

import { complement, LAST, literal, PERL, POSIX, ranges } from "./letter_classes.ts";

/** A text that is no regular expression to Go. */
export class GoRegExpError extends Error {
  override readonly name = "GoRegExpError";
}

/** The expression; GoRegExpError where Go takes it for none. */
export function goRegExp(text: string): RegExp {
  const source = new Parser(text).whole();
  try {
    return new RegExp(source, "u");
  } catch (error) {
    throw new GoRegExpError((error as Error).message);
  }
}

const MOST_REPEATS = 1000, DEEPEST = 1000;
/** Before a letter of `\Q…\E`. */
const QUOTED = "Q";
const CONTROLS: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };

interface Flags {
  i: boolean;
  m: boolean;
  s: boolean;
  U: boolean;
}

/** A part of the expression, and how often its innermost repetition is repeated. */
interface Part {
  readonly source: string;
  readonly repeats: number;
}

class Parser {
  readonly #letters: string[];
  #at = 0;
  #depth = 0;
  #flags: Flags = { i: false, m: false, s: false, U: false };
  readonly #names = new Set<string>();

  constructor(text: string) {
    this.#letters = Array.from(text);
  }

  whole(): string {
    const { source } = this.#alternatives();
    if (this.#at < this.#letters.length) throw this.#fault("a ) that nothing opens");
    return source;
  }

  #alternatives(): Part {
    const parts: Part[] = [];
    let sources = [""];
    for (;;) {
      const letter = this.#peek();
      if (letter === undefined || letter === ")") break;
      if (letter === "|") {
        this.#at++;
        sources = [...sources, ""];
        continue;
      }
      const part = this.#repeated();
      parts.push(part);
      sources[sources.length - 1] += part.source;
    }
    return { source: sources.join("|"), repeats: Math.max(1, ...parts.map((p) => p.repeats)) };
  }

  #repeated(): Part {
    const before = this.#at;
    if (this.#bounds()) throw this.#fault("a repetition of nothing", before);
    const atom = this.#atom();
    if (atom === undefined) return { source: "", repeats: 1 };
    const start = this.#at;
    const bounds = this.#bounds();
    if (!bounds) return atom;
    const lazy = this.#take("?") !== this.#flags.U;
    const again = this.#at;
    if (this.#bounds()) throw this.#fault("a repetition of a repetition", again);
    const { least, most, counted } = bounds;
    let { repeats } = atom;
    if (counted) {
      if (most !== undefined && most < least) {
        throw this.#fault("a repetition from more to less", start);
      }
      repeats *= Math.max(1, most ?? least);
      if (Math.max(least, most ?? 0, repeats) > MOST_REPEATS) {
        throw this.#fault(`more than ${MOST_REPEATS} repetitions`, start);
      }
    }
    const range = least === most ? `{${least}}` : `{${least},${most ?? ""}}`;
    return { source: `(?:${atom.source})${range}${lazy ? "?" : ""}`, repeats };
  }

  /** What repeats the part before it; undefined, and nothing read, where that is not repeated. */
  #bounds(): { least: number; most?: number; counted?: boolean } | undefined {
    const letter = this.#peek();
    if (letter === "*" || letter === "+" || letter === "?") {
      this.#at++;
      return { least: letter === "+" ? 1 : 0, ...letter === "?" && { most: 1 } };
    }
    if (letter !== "{") return undefined;
    const end = this.#letters.indexOf("}", this.#at);
    const inside = end < 0 ? "" : this.#letters.slice(this.#at + 1, end).join("");
    const [, least, comma, most] = /^(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?$/.exec(inside) ?? [];
    if (least === undefined) return undefined;
    this.#at = end + 1;
    const highest = comma === undefined ? least : most;
    return { least: +least, ...highest !== undefined && { most: +highest }, counted: true };
  }

  /** undefined for what only changes flags. */
  #atom(): Part | undefined {
    const letter = this.#next();
    switch (letter) {
      case "(":
        return this.#group();
      case "[":
        return this.#one(this.#class());
      case ".":
        return this.#one(this.#flags.s ? "[^]" : "[^\\n]");
      case "^":
        return one(this.#flags.m ? "(?<![^\\n])" : "(?<![^])");
      case "$":
        return one(this.#flags.m ? "(?![^\\n])" : "(?![^])");
      case "\\":
        return this.#escape();
    }
    const isQuoted = letter.length > 1 && letter.startsWith(QUOTED);
    return this.#one(literal(letter.codePointAt(isQuoted ? 1 : 0)!));
  }

  #group(): Part | undefined {
    if (++this.#depth > DEEPEST) throw this.#fault("too many groups in each other");
    const outer = { ...this.#flags };
    if (this.#take("?")) {
      if (this.#take("P") || this.#peek() === "<") this.#name();
      else if (this.#readFlags()) {
        this.#depth--;
        return undefined;
      }
    }
    const { source, repeats } = this.#alternatives();
    if (!this.#take(")")) throw this.#fault("a ( that nothing closes");
    this.#flags = outer;
    this.#depth--;
    return { source: `(?:${source})`, repeats };
  }

  #name(): void {
    const end = this.#letters.indexOf(">", this.#at);
    const name = end < 0 ? "" : this.#letters.slice(this.#at, end).join("");
    if (!/^<[A-Za-z0-9_]+$/.test(name) || this.#names.has(name)) {
      throw this.#fault("a group's name that is none, or stands there twice");
    }
    this.#names.add(name);
    this.#at = end + 1;
  }

  /** `i-s)` or `i-s:`; whether they are for what follows in the same group. */
  #readFlags(): boolean {
    let value = true, isOpen = false;
    for (;;) {
      const letter = this.#next();
      if (letter === "i" || letter === "m" || letter === "s" || letter === "U") {
        this.#flags[letter] = value;
        isOpen = false;
      } else if (letter === "-" && value) {
        value = false;
        isOpen = true;
      } else if ((letter === ":" || letter === ")") && !isOpen) return letter === ")";
      else throw this.#fault("a group of a kind that Go does not know", this.#at - 1);
    }
  }

  #escape(): Part | undefined {
    const letter = this.#peek();
    switch (letter) {
      case "A":
      case "z":
      case "b":
      case "B":
        this.#at++;
        return one({ A: "(?<![^])", z: "(?![^])", b: "\\b", B: "\\B" }[letter]);
      case "Q":
        return this.#quoted();
    }
    const set = this.#set();
    return this.#one(set !== undefined ? `[${set}]` : literal(this.#escaped()));
  }

  /** `\Q…\E`: its letters are marked, so that they mean nothing but themselves. */
  #quoted(): undefined {
    const rest = this.#letters.slice(this.#at + 1).join("");
    const end = rest.indexOf("\\E");
    const text = Array.from(end < 0 ? rest : rest.slice(0, end));
    const length = 1 + text.length + (end < 0 ? 0 : 2);
    this.#letters.splice(this.#at, length, ...text.map((letter) => QUOTED + letter));
  }

  /** Behind a backslash: the members of a class of Perl's or Unicode's; undefined where there is none. */
  #set(): string | undefined {
    const letter = this.#peek() ?? "";
    const perl = PERL[letter.toLowerCase()];
    if (perl && /^[dswDSW]$/.test(letter)) {
      this.#at++;
      return ranges(letter === letter.toLowerCase() ? perl : complement(perl));
    }
    if (letter !== "p" && letter !== "P") return undefined;
    this.#at++;
    let name = this.#next();
    if (name === "{") {
      const end = this.#letters.indexOf("}", this.#at);
      if (end < 0) throw this.#fault("a class of Unicode that does not end");
      name = this.#letters.slice(this.#at, end).join("");
      this.#at = end + 1;
    }
    const isNegated = name.startsWith("^");
    const plain = isNegated ? name.slice(1) : name;
    const property = plain === "Any" || /^[CLMNPSZ][a-z]?$/.test(plain) ? plain : `Script=${plain}`;
    const word = (letter === "P") === isNegated ? "p" : "P";
    const set = `\\${word}{${property}}`;
    try {
      new RegExp(set, "u");
    } catch {
      throw this.#fault(`${plain}, which is no class of Unicode`);
    }
    return set;
  }

  /** The letter that is behind a backslash. */
  #escaped(): number {
    const start = this.#at;
    const letter = this.#next();
    const control = Object.hasOwn(CONTROLS, letter) ? CONTROLS[letter] : undefined;
    if (control !== undefined) return control;
    const rest = this.#letters.slice(this.#at, this.#at + 12).join("");
    const octal = letter === "0" ? /^[0-7]{0,2}/.exec(rest) : /^[0-7]{1,2}/.exec(rest);
    if (/^[0-7]$/.test(letter) && octal) {
      this.#at += octal[0].length;
      return parseInt(letter + octal[0], 8);
    }
    if (letter === "x") {
      const found = /^(?:\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2}))/.exec(rest);
      const code = found ? parseInt(found[1] ?? found[2], 16) : LAST + 1;
      if (code <= LAST) {
        this.#at += found![0].length;
        return code;
      }
    } else if (letter.charCodeAt(0) < 128 && !/^[A-Za-z0-9]/.test(letter)) {
      return letter.codePointAt(0)!;
    }
    throw this.#fault(`\\${letter}, which means nothing`, start);
  }

  #class(): string {
    const start = this.#at;
    const isNegated = this.#take("^");
    let members = "";
    for (let isFirst = true;; isFirst = false) {
      const letter = this.#peek();
      if (letter === undefined) throw this.#fault("a [ that nothing closes", start);
      if (letter === "]" && !isFirst) break;
      const named = letter === "[" ? this.#posix() : undefined;
      if (named !== undefined) {
        members += named;
        continue;
      }
      if (letter === "\\") {
        this.#at++;
        const set = this.#set();
        if (set !== undefined) {
          members += set;
          continue;
        }
        this.#at--;
      }
      const low = this.#member();
      let high = low;
      if (this.#peek() === "-" && ![undefined, "]"].includes(this.#letters[this.#at + 1])) {
        this.#at++;
        high = this.#member();
        if (high < low) throw this.#fault("a range from more to less", start);
      }
      members += ranges([[low, high]]);
    }
    this.#at++;
    return `[${isNegated ? "^" : ""}${members}]`;
  }

  #member(): number {
    return this.#take("\\") ? this.#escaped() : this.#next().codePointAt(0)!;
  }

  /** `[:alpha:]` in a class. */
  #posix(): string | undefined {
    const rest = this.#letters.slice(this.#at).join("");
    const [all, negated, name] = /^\[:(\^?)([^:\]]*):\]/.exec(rest) ?? [];
    if (all === undefined) return undefined;
    if (!Object.hasOwn(POSIX, name)) throw this.#fault(`${all}, which is no class`);
    this.#at += all.length;
    return ranges(negated ? complement(POSIX[name]) : POSIX[name]);
  }

  /** A part of one letter, in the case that is asked for. */
  #one(source: string): Part {
    return one(this.#flags.i ? `(?i:${source})` : source);
  }

  #peek(): string | undefined {
    return this.#letters[this.#at];
  }

  #next(): string {
    const letter = this.#letters[this.#at++];
    if (letter === undefined) throw this.#fault("something that is not finished");
    return letter;
  }

  #take(letter: string): boolean {
    if (this.#peek() !== letter) return false;
    this.#at++;
    return true;
  }

  #fault(what: string, at = this.#at): GoRegExpError {
    return new GoRegExpError(`at letter ${at + 1}: ${what}`);
  }
}

function one(source: string): Part {
  return { source, repeats: 1 };
}
