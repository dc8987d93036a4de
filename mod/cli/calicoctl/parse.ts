/**
 * Reads a command line as calicoctl does: the command is found first, whatever flags stand before or
 * between its words, then all flags are read, in any order with the operands, until `--`:
 *
 *     --output yaml   --output=yaml   -o yaml   -oyaml   -o=yaml   -Ao yaml   --export=false   --out yaml
 *
 * A long name may be shortened to a beginning that no other has. A flag is given once (but for those that
 * make a list), and a word that the command has no use for is refused: the shell made it of `*.yaml`, and what
 * it names would be passed over.
 *
 * Pure. What is wrong with a command line is thrown as a ParseError in calicoctl's words, with the nearest
 * word that would have been right.
 */
import { nearest } from "../../model/nearest.ts";
import { type CalicoctlCommand, childrenOf, type Flag, flagsOf, lastWord } from "./command.ts";

export class ParseError extends Error {
  override readonly name = "ParseError";
}

export interface Parsed {
  readonly command: CalicoctlCommand;
  readonly operands: readonly string[];
  /** By the flag's name; only those that were given. */
  readonly flags: ReadonlyMap<string, string | boolean | number | readonly string[]>;
}

export function parse(
  words: readonly string[],
  all: readonly CalicoctlCommand[],
  program: string,
): Parsed {
  const { command, rest } = findCommand(words, all, program);
  const { flags, operands } = readFlags(rest, flagsOf(command));
  if (flags.get("help") !== true) {
    if (command.operands === undefined && operands.length > 0) {
      throw surplus(operands[0], command, program);
    }
    if (command.count) checkCount(operands, command.count);
  }
  return { command, operands, flags };
}

/** The command that the words name, and the words that are left without its name. */
export function findCommand(
  words: readonly string[],
  all: readonly CalicoctlCommand[],
  program: string,
): { command: CalicoctlCommand; rest: readonly string[] } {
  let command = all.find(({ name }) => name === "")!;
  let rest = [...words];
  for (;;) {
    const below = childrenOf(command.name, all);
    const at = firstOperand(rest, flagsOf(command));
    if (below.length === 0 || at < 0) return { command, rest };
    const name = `${command.name} ${rest[at]}`.trim();
    const next = below.find((child) => child.name === name);
    if (!next) {
      const path = `${program} ${command.name}`.trim();
      throw new ParseError(
        `unknown command "${rest[at]}" for "${path}"` +
          (didYouMean(rest[at], below.map((child) => lastWord(child.name))) ||
            furtherDown(rest[at], command.name, all)),
      );
    }
    command = next;
    rest = rest.toSpliced(at, 1);
  }
}

/** A command of that name somewhere below: `datastore lock` is `datastore migrate lock`. */
function furtherDown(word: string, above: string, all: readonly CalicoctlCommand[]): string {
  const found = all.find(({ name, hidden }) =>
    !hidden && name.startsWith(`${above} `.trimStart()) && name.endsWith(` ${word}`)
  );
  return found ? meant(found.name.slice(above.length).trimStart()) : "";
}

/** Where the first word stands that is neither a flag nor a flag's value; -1 where there is none. */
function firstOperand(words: readonly string[], flags: readonly Flag[]): number {
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "--") return -1;
    if (!word.startsWith("-") || word === "-") return i;
    if (word.includes("=")) continue;
    const flag = word.startsWith("--")
      ? longFlags(word.slice(2), flags)[0]
      : flags.find(({ short }) => short === word.at(-1));
    if (flag && flag.type !== "bool") i++;
  }
  return -1;
}

type Value = string | boolean | number | readonly string[];

function readFlags(
  words: readonly string[],
  known: readonly Flag[],
): { flags: Map<string, Value>; operands: string[] } {
  const flags = new Map<string, Value>();
  const operands: string[] = [];
  const set = (flag: Flag, text: string, as: string) => {
    const value = valueOf(flag, text, as);
    const before = flags.get(flag.name);
    if (before !== undefined && flag.type !== "stringArray") {
      throw new ParseError(`--${flag.name} is given twice; give it once`);
    }
    flags.set(
      flag.name,
      flag.type === "stringArray" ? [...(before as string[] ?? []), text] : value,
    );
  };
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "--") {
      operands.push(...words.slice(i + 1));
      break;
    }
    if (word === "-" || !word.startsWith("-")) {
      operands.push(word);
    } else if (word.startsWith("--")) {
      const [name, ...value] = word.slice(2).split("=");
      const [flag, ...others] = longFlags(name, known);
      if (!flag) throw unknownFlag(name, known);
      if (others.length > 0) {
        const names = [flag, ...others].map((one) => `--${one.name}`).join(", ");
        throw new ParseError(`--${name} is not a unique prefix: ${names}`);
      }
      if (value.length > 0) set(flag, value.join("="), `--${name}`);
      else if (flag.type === "bool") set(flag, "true", `--${name}`);
      else if (++i < words.length) set(flag, words[i], `--${name}`);
      else throw new ParseError(`flag needs an argument: --${name}`);
    } else {
      i = readLetters(words, i, known, set);
    }
  }
  return { flags, operands };
}

/** `-Ao yaml`: letters of flags without a value, then perhaps one with; returns the last word used. */
function readLetters(
  words: readonly string[],
  at: number,
  known: readonly Flag[],
  set: (flag: Flag, text: string, as: string) => void,
): number {
  const letters = words[at].slice(1);
  for (let i = 0; i < letters.length; i++) {
    const flag = known.find(({ short }) => short === letters[i]);
    if (!flag) {
      throw new ParseError(`unknown shorthand flag: '${letters[i]}' in -${letters}`);
    }
    const as = `-${flag.short}, --${flag.name}`;
    const rest = letters.slice(i + 1);
    if (rest.startsWith("=")) {
      set(flag, rest.slice(1), as);
      return at;
    }
    if (flag.type === "bool") set(flag, "true", as);
    else if (rest !== "") {
      set(flag, rest, as);
      return at;
    } else if (at + 1 < words.length) {
      set(flag, words[at + 1], as);
      return at + 1;
    } else {
      throw new ParseError(`flag needs an argument: '${letters[i]}' in -${letters}`);
    }
  }
  return at;
}

const TRUE = ["1", "t", "T", "true", "TRUE", "True"];
const FALSE = ["0", "f", "F", "false", "FALSE", "False"];

function valueOf(flag: Flag, text: string, as: string): string | boolean | number {
  const refused = (want: string) =>
    new ParseError(`invalid argument ${JSON.stringify(text)} for "${as}" flag: want ${want}`);
  switch (flag.type) {
    case "bool":
      if (TRUE.includes(text)) return true;
      if (FALSE.includes(text)) return false;
      throw refused("true or false");
    case "int":
      if (/^[+-]?[0-9]+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
      throw refused("a whole number");
    default:
      return text;
  }
}

/** The flag of that name; else those that are shown and begin so. */
function longFlags(name: string, known: readonly Flag[]): readonly Flag[] {
  const flag = known.find((one) => one.name === name);
  if (flag) return [flag];
  return name === "" ? [] : known.filter((one) => !one.hidden && one.name.startsWith(name));
}

function surplus(word: string, { name, flags }: CalicoctlCommand, program: string): ParseError {
  const several = flags?.some((flag) => flag.name === "filename")
    ? "; -f takes one file or folder, or - for standard input"
    : "";
  return new ParseError(`${program} ${name} takes no "${word}"${several}`);
}

function unknownFlag(name: string, known: readonly Flag[]): ParseError {
  const shown = known.filter(({ hidden }) => !hidden).map((flag) => `--${flag.name}`);
  return new ParseError(`unknown flag: --${name}${didYouMean(`--${name}`, shown)}`);
}

function didYouMean(word: string, words: readonly string[]): string {
  const near = nearest(word, words);
  return near ? meant(near) : "";
}

function meant(what: string): string {
  return `\n\nDid you mean this?\n\t${what}\n`;
}

function checkCount(operands: readonly string[], [least, most]: readonly [number, number]): void {
  const { length } = operands;
  if (least === most && length !== least) {
    throw new ParseError(`accepts ${least} arg(s), received ${length}`);
  }
  if (length < least) {
    throw new ParseError(`requires at least ${least} arg(s), only received ${length}`);
  }
  if (length > most) throw new ParseError(`accepts at most ${most} arg(s), received ${length}`);
}
