/**
 * A command line as completion sees it: commands with their flags and operands, made from the very
 * tables that the parsers read (`../commands.ts`, `../calicoctl/commands.ts`).
 */
import type { CalicoctlCommand } from "../calicoctl/command.ts";
import { childrenOf, flagsOf, lastWord } from "../calicoctl/command.ts";
import type { CommandSpec, Completes } from "../command.ts";

export interface CompletedFlag {
  readonly long?: string;
  readonly short?: string;
  /** What its value is; absent for a flag without one. */
  readonly value?: Completes;
  readonly about: string;
}

export interface CompletedCommand {
  /** Its last word; the program's name at the root. */
  readonly word: string;
  readonly about: string;
  readonly flags: readonly CompletedFlag[];
  readonly children: readonly CompletedCommand[];
  /** What each operand is; the last one is for all that follow. */
  readonly operands: readonly Completes[];
}

/** tortie's own commands. */
export function tortieTree(
  specs: readonly CommandSpec[],
  groups: Readonly<Record<string, string>>,
): CompletedCommand {
  const leaf = (spec: CommandSpec): CompletedCommand => ({
    word: lastWord(spec.name),
    about: spec.summary,
    flags: [...(spec.options ?? []).filter(({ hidden }) => !hidden).map(flagOf), HELP],
    children: [],
    operands: (spec.args ?? []).map(({ completes }) => completes ?? "nothing"),
  });
  const children: CompletedCommand[] = [];
  for (const spec of specs.filter(({ hidden }) => !hidden)) {
    const [first, second] = spec.name.split(" ");
    if (second === undefined) {
      children.push(leaf(spec));
      continue;
    }
    if (children.some(({ word }) => word === first)) continue;
    const below = specs.filter(({ name, hidden }) => !hidden && name.startsWith(`${first} `));
    children.push({
      word: first,
      about: groups[first] ?? "",
      flags: [HELP],
      children: below.map(leaf),
      operands: [],
    });
  }
  const version = { long: "version", short: "v", about: "version of this executable" };
  return { word: "tortie", about: "", flags: [HELP, version], children, operands: [] };
}

const HELP: CompletedFlag = { long: "help", short: "h", about: "help" };

function flagOf({ flags, description, values, completes }: {
  flags: string;
  description: string;
  values?: readonly string[];
  completes?: Completes;
}): CompletedFlag {
  const long = /--([\w-]+)/.exec(flags)?.[1];
  const short = /(?:^|[\s,])-(\w)\b/.exec(flags)?.[1];
  const takesValue = /[<[]/.test(flags);
  const value = takesValue ? completes ?? values ?? "nothing" : undefined;
  return { long, short, about: description, ...value !== undefined && { value } };
}

/** calicoctl's commands, from one on down. */
export function calicoctlTree(
  all: readonly CalicoctlCommand[],
  command = all.find(({ name }) => name === "")!,
): CompletedCommand {
  return {
    word: lastWord(command.name) || "calicoctl",
    about: command.short,
    flags: flagsOf(command).filter(({ hidden }) => !hidden).map((flag) => ({
      long: flag.name,
      short: flag.short,
      about: flag.usage,
      ...flag.type !== "bool" && { value: flag.completes ?? "nothing" },
    })),
    children: childrenOf(command.name, all).map((child) => calicoctlTree(all, child)),
    operands: command.completes ?? [],
  };
}
