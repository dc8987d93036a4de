/**
 * `tortie __complete -- WORDS`: what the shells' scripts ask at each TAB. The words are those up to
 * the cursor, without the program's name, the last one half typed; nothing of them is evaluated.
 * Answers one candidate a line, a tab and what it is behind it, and `:files` where the shell is to
 * add file names. Never says anything on standard error, never fails.
 */
import type { Call } from "../command.ts";
import { EXIT, type Io } from "../io.ts";
import type { Program } from "../voice.ts";
import { complete } from "./complete.ts";
import { calicoctlTree, tortieTree } from "./tree.ts";
import { valuesFor } from "./values.ts";

export async function runComplete(
  words: readonly string[],
  io: Io,
  program: Program,
): Promise<number> {
  const typed = words[0] === "--" ? words.slice(1) : words;
  const completion = complete(await treeOf(program), typed);
  const candidates = [...completion.candidates];
  if (completion.ask) {
    const quiet: Io = { ...io, stdout: () => {}, stderr: () => {} };
    const call: Call = { args: [], options: completion.ask.options, io: quiet, program };
    candidates.push(...await valuesFor(completion.ask, call));
  }
  for (const { word, about } of candidates) io.stdout(`${word}\t${about ?? ""}\n`);
  if (completion.files) io.stdout(":files\n");
  return EXIT.ok;
}

async function treeOf(program: Program) {
  if (program === "calicoctl") {
    return calicoctlTree((await import("../calicoctl/commands.ts")).CALICOCTL_COMMANDS);
  }
  const { COMMANDS, GROUPS } = await import("../commands.ts");
  return tortieTree(COMMANDS, GROUPS);
}
