/**
 * A command line as completion sees it: commands with their flags and operands, made from the very
 * tables that the parsers read (`../commands.ts`, `../calicoctl/commands.ts`).
 */
import type { CalicoctlCommand } from "../calicoctl/command.ts";
import { childrenOf, flagsOf, lastWord } from "../calicoctl/command.ts";
import type { CommandSpec, Completes, OptionSpec } from "../command.ts";

export interface CompletedFlag {
  readonly long?: string;
  readonly short?: string;
  /** What its value is; absent for a flag without one. */
  readonly value?: Completes;
  readonly about: string;
  /** Understood, and not offered. */
  readonly hidden?: boolean;
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
    flags: [...(spec.options ?? []).map(flagOf), HELP],
    children: [],
    operands: (spec.args ?? []).map(({ completes }) => completes ?? "nothing"),
  });
  const shown = specs.filter(({ hidden }) => !hidden);
  const below = (above: string): CompletedCommand[] => {
    const children: CompletedCommand[] = [];
    const start = above === "" ? "" : `${above} `;
    for (const spec of shown.filter(({ name }) => name.startsWith(start))) {
      const [word, further] = spec.name.slice(start.length).split(" ");
      if (children.some((child) => child.word === word)) continue;
      children.push(
        further === undefined ? leaf(spec) : {
          word,
          about: groups[start + word] ?? "",
          flags: [HELP],
          children: below(start + word),
          operands: [],
        },
      );
    }
    return children;
  };
  const version = { long: "version", short: "v", about: "version of this executable" };
  const help = {
    word: "help",
    about: "help about a command",
    flags: [],
    children: [],
    operands: [],
  };
  return {
    word: "tortie",
    about: "",
    flags: [HELP, version],
    children: [...below(""), help],
    operands: [],
  };
}

const HELP: CompletedFlag = { long: "help", short: "h", about: "help" };

function flagOf({ flags, description, values, completes, hidden }: OptionSpec): CompletedFlag {
  const long = /--([\w-]+)/.exec(flags)?.[1];
  const short = /(?:^|[\s,])-(\w)\b/.exec(flags)?.[1];
  const takesValue = /[<[]/.test(flags);
  const otherwise = /<(file|folder|path)>/.test(flags) ? "file" : "nothing";
  const value = takesValue ? completes ?? values ?? otherwise : undefined;
  return { long, short, about: description, hidden, ...value !== undefined && { value } };
}

/** calicoctl's commands, from one on down. */
export function calicoctlTree(
  all: readonly CalicoctlCommand[],
  command = all.find(({ name }) => name === "")!,
): CompletedCommand {
  return {
    word: lastWord(command.name) || "calicoctl",
    about: command.short,
    flags: flagsOf(command).map((flag) => ({
      hidden: flag.hidden,
      long: flag.name,
      short: flag.short,
      about: flag.usage,
      ...flag.type !== "bool" && { value: flag.completes ?? "nothing" },
    })),
    children: childrenOf(command.name, all).filter(({ hidden }) => !hidden).map((child) =>
      calicoctlTree(all, child)
    ),
    operands: command.completes ?? [],
  };
}
