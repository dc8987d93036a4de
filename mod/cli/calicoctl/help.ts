/** Help as calicoctl lays it out: what it does, usage, examples, the commands below, flags. */
import {
  type CalicoctlCommand,
  childrenOf,
  type Flag,
  GLOBAL_FLAGS,
  helpFlag,
  lastWord,
} from "./command.ts";

export function helpText(
  command: CalicoctlCommand,
  all: readonly CalicoctlCommand[],
  program: string,
): string {
  const path = `${program} ${command.name}`.trim();
  const below = childrenOf(command.name, all);
  const parts = [command.long];
  const usage = below.length > 0
    ? `${path} [command]`
    : `${path}${command.operands ? ` ${command.operands}` : ""} [flags]`;
  parts.push(`Usage:\n  ${usage}`);
  if (command.examples?.length) {
    const lines = command.examples.map(([what, line]) => `  # ${what}\n  ${program} ${line}`);
    parts.push(`Examples:\n${lines.join("\n\n")}`);
  }
  if (below.length > 0) parts.push(`Available Commands:\n${commandTable(below)}`);
  const isProgram = command.name === "";
  const own = [...command.flags ?? [], helpFlag(command), ...isProgram ? GLOBAL_FLAGS : []];
  parts.push(`Flags:\n${flagTable(own)}`);
  if (!isProgram) parts.push(`Global Flags:\n${flagTable(GLOBAL_FLAGS)}`);
  if (below.length > 0) {
    parts.push(`Use "${path} [command] --help" for more information about a command.`);
  }
  return `${parts.join("\n\n")}\n`;
}

function commandTable(commands: readonly CalicoctlCommand[]): string {
  const sorted = commands.filter(({ hidden }) => !hidden).toSorted((a, b) =>
    a.name < b.name ? -1 : 1
  );
  const width = Math.max(11, ...sorted.map(({ name }) => lastWord(name).length));
  return sorted.map(({ name, short }) => `  ${lastWord(name).padEnd(width)} ${short}`).join("\n");
}

function flagTable(flags: readonly Flag[]): string {
  const rows = flags.filter(({ hidden }) => !hidden)
    .toSorted((a, b) => a.name < b.name ? -1 : 1)
    .map((flag): [string, string] => {
      const letter = flag.short ? `-${flag.short}, ` : "    ";
      const type = flag.type === "bool" ? "" : ` ${flag.type}`;
      return [`  ${letter}--${flag.name}${type}`, `${flag.usage}${defaultOf(flag)}`];
    });
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `${left.padEnd(width)}   ${right}`).join("\n");
}

function defaultOf(flag: Flag): string {
  if (flag.default === undefined) return "";
  return ` (default ${
    typeof flag.default === "string" ? JSON.stringify(flag.default) : flag.default
  })`;
}
