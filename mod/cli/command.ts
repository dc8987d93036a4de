/**
 * A command as data: names, options, examples, and where its action is found. `commands.ts` lists
 * them (a room with many has a list of its own there); `main.ts` builds the command line from the
 * list, so that help and parser cannot differ, and imports the one action that was asked for.
 */
import type { Io } from "./io.ts";
import type { Program } from "./voice.ts";

/**
 * What a word of the command line is, for completion: one of a list, a name from the datastore, a
 * file, or nothing that can be guessed.
 */
export type Completes =
  | readonly string[]
  | "kind"
  | "name"
  | "namespace"
  | "node"
  /** Several, between commas. */
  | "nodes"
  | "pool"
  | "cidr"
  | "file"
  | "nothing";

export interface OptionSpec {
  /** commander's notation: `-o, --output <format>`, `--show-blocks`. */
  readonly flags: string;
  readonly description: string;
  readonly default?: string;
  /** May be given several times; the action gets a list. */
  readonly repeat?: boolean;
  readonly hidden?: boolean;
  /** The only values that it takes; another is refused, with the nearest of these. */
  readonly values?: readonly string[];
  /** What its value is, where `values` does not say. */
  readonly completes?: Completes;
}

/** What an action gets: options by their long name in camel case. */
export interface Call {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly io: Io;
  /** As the program was called. */
  readonly program: Program;
  /** Environment variables that flags of calicoctl's stand for. */
  readonly variables?: ReadonlyMap<string, string>;
}

/** Returns the exit code. */
export type Action = (call: Call) => Promise<number>;

export interface ArgSpec {
  /** commander's notation: `[kind]`, `<name>`, `[names...]`. */
  readonly name: string;
  readonly description: string;
  readonly completes?: Completes;
}

export interface CommandSpec {
  /** Words after the program's name: `get`, `ipam show`. */
  readonly name: string;
  readonly args?: readonly ArgSpec[];
  readonly summary: string;
  /** More than the summary, for the command's own help. */
  readonly description?: string;
  readonly options?: readonly OptionSpec[];
  /** Command lines without the program's name, each with what it does. */
  readonly examples?: readonly (readonly [what: string, line: string])[];
  readonly hidden?: boolean;
  /** More for its help, made only when help is asked for. */
  moreHelp?(): Promise<string>;
  load(): Promise<{ run: Action }>;
}

/** An option that is a text, as the action reads it. */
export function textOption(call: Call, name: string): string | undefined {
  const value = call.options[name];
  return typeof value === "string" ? value : undefined;
}

export function flagOption(call: Call, name: string): boolean {
  return call.options[name] === true;
}

export function listOption(call: Call, name: string): string[] {
  const value = call.options[name];
  return Array.isArray(value) ? value : [];
}

/**
 * Empty, as `-n "$NAMESPACE"` is where the variable is not set, these were not given (a context under the
 * name calicoctl: it is refused before under ours).
 */
const NOT_GIVEN_WHEN_EMPTY = ["namespace", "context"];

export function dropEmpty(options: Record<string, unknown>): void {
  for (const name of NOT_GIVEN_WHEN_EMPTY) if (options[name] === "") delete options[name];
}

/**
 * Why a command line cannot be taken in which one of these options, which say where the datastore is, is
 * empty: it would be done to another datastore than was meant.
 */
export function emptyFault(
  options: Readonly<Record<string, unknown>>,
  names: readonly string[],
): string | undefined {
  const name = names.find((name) => options[name] === "");
  return name && `--${name} is empty; say which datastore is meant, or leave --${name} out`;
}
