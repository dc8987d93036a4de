/**
 * calicoctl's commands as data. Names, order, flags with letters, types and defaults, and the usage
 * lines are calicoctl's (3.32: a tree of commands with GNU-like flags); what they say of themselves
 * is ours. `parse.ts` reads a command line by this table, `help.ts` prints it, `../completion` completes by
 * it: no second list can differ.
 */
import type { Action, Completes } from "../command.ts";

export interface Flag {
  /** Long name without dashes; the action gets it in camel case. */
  readonly name: string;
  readonly short?: string;
  readonly type: "bool" | "string" | "int" | "stringArray";
  readonly usage: string;
  readonly default?: string | number;
  readonly hidden?: boolean;
  /** What its value is, for completion. */
  readonly completes?: Completes;
  /** The name under which the action has it, where that is another. */
  readonly option?: string;
  /** The flag without which it has no meaning: alone it is refused. */
  readonly of?: string;
  /** The environment variable that it sets for the action. */
  readonly variable?: string;
  /** It is refused, since it does nothing here; this is what to do instead. */
  readonly instead?: string;
}

export interface CalicoctlCommand {
  /** Words after the program's name: `get`, `datastore migrate export`; "" for the program itself. */
  readonly name: string;
  /** Taken, and not shown: another way to say what is. */
  readonly hidden?: boolean;
  /** What stands behind the name in the usage line: `[KIND [NAME...]]`. */
  readonly operands?: string;
  readonly short: string;
  readonly long: string;
  /** Whole command lines without the program's name, each with what it does. */
  readonly examples?: readonly (readonly [what: string, line: string])[];
  readonly flags?: readonly Flag[];
  /** Flags of which one at most is given. */
  readonly oneOf?: readonly string[];
  /** Least and most operands. */
  readonly count?: readonly [least: number, most: number];
  /** What each operand is, for completion; the last one is for all that follow. */
  readonly completes?: readonly Completes[];
  /** Absent: the action of the command of that name in `../commands.ts`. */
  load?(): Promise<{ run: Action }>;
}

/** Flags of every command. */
export const GLOBAL_FLAGS: readonly Flag[] = [
  {
    name: "allow-version-mismatch",
    type: "bool",
    usage: "Accepted; the versions of client and cluster are never compared",
  },
  {
    name: "context",
    type: "string",
    usage: "The context of the kubeconfig; leaves another datastore as it is",
  },
  {
    name: "log-level",
    short: "l",
    type: "string",
    default: "panic",
    usage: "What is logged: panic, fatal, error, warn, info or debug",
    completes: ["panic", "fatal", "error", "warn", "info", "debug"],
  },
];

/** The last word of a command's name. */
export function lastWord(name: string): string {
  return name.slice(name.lastIndexOf(" ") + 1);
}

/** The name of the command above; undefined for the program itself. */
export function parentName(name: string): string | undefined {
  if (name === "") return undefined;
  return name.slice(0, Math.max(0, name.lastIndexOf(" ")));
}

/** The commands right below one. */
export function childrenOf(
  name: string,
  all: readonly CalicoctlCommand[],
): readonly CalicoctlCommand[] {
  return all.filter((command) => parentName(command.name) === name);
}

/** All flags that a command takes: its own, the global ones, and help. */
export function flagsOf(command: CalicoctlCommand): readonly Flag[] {
  return [...command.flags ?? [], helpFlag(command), ...GLOBAL_FLAGS];
}

export function helpFlag(command: CalicoctlCommand): Flag {
  return {
    name: "help",
    short: "h",
    type: "bool",
    usage: `Help for ${lastWord(command.name) || "calicoctl"}`,
  };
}
