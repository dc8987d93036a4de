/**
 * calicoctl's usage texts: the words of a program's interface (usage line, commands below, flags with
 * letter, type and default, in their order, and command lines that it gives as examples) must be ours
 * under its name. What the texts say about them is each program's own.
 */
import { CALICOCTL_COMMANDS } from "../../mod/cli/calicoctl/commands.ts";
import { findCommand, parse } from "../../mod/cli/calicoctl/parse.ts";
import { command } from "../cli/harness.ts";
import type { FileResult } from "./selector.ts";

interface UsageCase {
  id: string;
  text: string;
}

export async function run(dir: string): Promise<FileResult> {
  const file = "cli/calicoctl-usage.jsonl";
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const line of (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n")) {
    const test: UsageCase = JSON.parse(line);
    const wrong = await judge(test.text).catch((error: Error) => error.message);
    if (wrong === undefined) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id}: ${wrong}`);
    }
  }
  return result;
}

async function judge(text: string): Promise<string | undefined> {
  const [, usage] = /Usage:\n {2}(.*)\n/.exec(text) ?? [];
  const words = usage.replace(/ \[.*$/, "").split(" ").slice(1)
    .filter((word) => /^[a-z-]+$/.test(word));
  const help = await command([...words, "--help"], { name: "calicoctl" });
  if (help.exit !== 0 || help.err !== "") return `--help: exit ${help.exit}: ${help.err}`;
  const [want, have] = [interfaceOf(text), interfaceOf(help.out)];
  for (const part of Object.keys(want) as (keyof typeof want)[]) {
    const [a, b] = [JSON.stringify(want[part]), JSON.stringify(have[part])];
    if (a !== b) return `${part}: have ${b}, want ${a}`;
  }
  for (const line of exampleLines(text)) {
    const found = findCommand(line, CALICOCTL_COMMANDS, "calicoctl");
    if (found.command.name !== words.join(" ")) {
      return `example ${line} is of ${found.command.name}`;
    }
    parse(line, CALICOCTL_COMMANDS, "calicoctl");
  }
  const asked = await command(["help", ...words], { name: "calicoctl" });
  if (asked.out !== help.out) return "help COMMAND differs from COMMAND --help";
}

function interfaceOf(text: string) {
  const section = (name: string) =>
    text.trimEnd().split("\n\n").find((part) => part.startsWith(`${name}:\n`))?.split("\n").slice(
      1,
    ) ?? [];
  return {
    usage: section("Usage"),
    commands: section("Available Commands").map((line) => /^ {2}(\S+) +\S/.exec(line)?.[1]),
    flags: section("Flags").map(flagOf),
    globalFlags: section("Global Flags").map(flagOf),
    last: /Use ".*" for more information about a command\./.exec(text)?.[0] ?? "",
  };
}

/** `  -o, --output string      what it is (default "ps")` without what it is. */
function flagOf(line: string): string[] {
  const [, name = line] = /^( +(?:-\w, )?--[\w-]+(?: \w+)?) {3}/.exec(line) ?? [];
  const [, value = ""] = /\(default (.*)\)$/.exec(line) ?? [];
  return [name, value];
}

/** Command lines of the examples, without the program, quotes and redirections. */
function exampleLines(text: string): string[][] {
  const examples = /Examples:\n([^]*?)\n\n(?:Flags|Available)/.exec(text)?.[1] ?? "";
  return [...examples.matchAll(/^ {2}(?:cat \S+ \| )?calicoctl (.*)$/gm)].map(([, line]) => {
    const words = line.replace(/ > .*$/, "").match(/'[^']*'|\S+/g) ?? [];
    return words.map((word) => word.replace(/^'(.*)'$/, "$1"));
  });
}
