/**
 * The command line for people. The tree of commands is built from `commands.ts` (definitions are
 * data), the action of the one that was asked for is imported and run, and whatever it throws becomes
 * one sentence on standard error and an exit code:
 *
 *   0 done   1 failed, or faults were found   2 called wrongly   3 datastore or service out of reach
 *   141 nobody read the output to its end
 *
 * Under the name calicoctl the command line is calicoctl's (`calicoctl/`).
 */
import { Command, CommanderError, Option } from "commander";
import { type Call, type CommandSpec, dropEmpty, emptyFault } from "./command.ts";
import { COMMANDS, GROUPS, WHERE_HELP } from "./commands.ts";
import { nearest } from "../model/nearest.ts";
import { EXIT, type Io, processIo, usageError } from "./io.ts";
import type { Program } from "./voice.ts";

export interface RunOptions {
  /** As the program was called; `calicoctl` is this command line under its own name. */
  readonly name?: string;
  readonly io?: Io;
}

/** Runs one command line (without the program's name) and returns its exit code. Never rejects. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<number> {
  const io = options.io ?? processIo();
  const exit = await runLine(argv, io, options);
  return io.unread ? EXIT.brokenPipe : exit;
}

async function runLine(argv: readonly string[], io: Io, options: RunOptions): Promise<number> {
  if (argv[0] === "__complete") {
    const { runComplete } = await import("./completion/run.ts");
    const name = options.name === "calicoctl" ? "calicoctl" : "tortie";
    return await runComplete(argv.slice(1), io, name).catch(() => EXIT.ok);
  }
  if (options.name === "calicoctl") {
    const { runCalicoctl } = await import("./calicoctl/main.ts");
    return await runCalicoctl(argv, io);
  }
  const program = "tortie";
  try {
    if (argv[0] === "help") argv = helpOf(argv.slice(1));
    else refuseUnknown(argv);
    let exit: number = EXIT.ok;
    const root = await build(program, io, argv, (code) => exit = code);
    if (argv.length === 0) {
      io.stdout(root.helpInformation());
      return EXIT.ok;
    }
    await root.parseAsync(withoutEquals(argv), { from: "user" });
    return exit;
  } catch (error) {
    return await endOf(error, io);
  }
}

/** `-o=json`, as kubectl and calicoctl take it, is `-ojson` to commander; words after `--` are not ours. */
function withoutEquals(argv: readonly string[]): string[] {
  const end = argv.indexOf("--");
  return argv.flatMap((word, i) => {
    const [, flag, value] = (end < 0 || i < end) && /^(-[A-Za-z])=(.*)$/s.exec(word) || [];
    if (flag === undefined) return [word];
    return value === "" ? [flag, ""] : [flag + value];
  });
}

/** `help WORDS` as `WORDS --help`. (commander takes the first word alone.) */
function helpOf(words: readonly string[]): string[] {
  const named = words.filter((word) => word !== "help");
  refuseUnknown(named);
  return [...named, "--help"];
}

/** Words that are no command, with the nearest that is one: beside them, or further down under their name. */
function refuseUnknown(words: readonly string[]): void {
  let above = "";
  for (const word of words) {
    if (word.startsWith("-")) return;
    const names = COMMANDS.map(({ name }) => name).filter((name) => name.startsWith(above));
    const below = names.map((name) => name.slice(above.length).split(" ")[0]);
    if (below.length === 0 || word === "help") return;
    if (!below.includes(word)) {
      const near = nearest(word, below);
      const known = near ? above + near : names.find((name) => name.endsWith(` ${word}`));
      throw usageError(
        `unknown command '${above}${word}'${known ? ` (did you mean ${known}?)` : ""}; ` +
          `\`tortie ${above}--help\` lists those that there are`,
      );
    }
    above += `${word} `;
  }
}

/** What is said of an error, and the exit code that it means. */
async function endOf(error: unknown, io: Io): Promise<number> {
  if (error instanceof CommanderError) {
    // commander has said it already; help that was asked for is no error.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  const { tellEnd } = await import("./report.ts");
  return tellEnd(error, io, "tortie");
}

async function build(
  program: Program,
  io: Io,
  argv: readonly string[],
  done: (exit: number) => void,
): Promise<Command> {
  const root = new Command(program);
  prepare(root, io);
  root.description(
    "A Kubernetes layer-3 network in one executable, on Calico's data model: addresses of pods, " +
      "routes by BGP, network policy.",
  );
  root.addHelpText("after", () => `\n${WHERE_HELP}`);
  const groups = new Map<string, Command>();
  const parentOf = (name: string): Command => {
    const above = name.slice(0, Math.max(0, name.lastIndexOf(" ")));
    if (above === "") return root;
    const known = groups.get(above);
    if (known) return known;
    const word = above.slice(above.lastIndexOf(" ") + 1);
    const group = parentOf(above).command(word).description(GROUPS[above] ?? "");
    prepare(group, io);
    groups.set(above, group);
    return group;
  };
  for (const spec of COMMANDS) {
    const asked = argv.some((word) => word === "--help" || word === "-h" || word === "help");
    const named = spec.name.split(" ").every((word) => argv.includes(word));
    const more = asked && named ? await spec.moreHelp?.() : undefined;
    add(parentOf(spec.name), spec, { io, program, done, more });
  }
  root.version(
    await versionText(argv),
    "-v, --version",
    "version of this executable",
  );
  return root;
}

/** Read only where it is asked for. */
async function versionText(argv: readonly string[]): Promise<string> {
  if (argv[0] !== "--version" && argv[0] !== "-v") return "";
  return (await import("./build_info.ts")).buildInfo().version;
}

function prepare(command: Command, io: Io): void {
  command
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError("(add --help for usage)")
    .configureHelp({ sortSubcommands: false })
    .configureOutput({
      writeOut: (text) => io.stdout(text),
      writeErr: (text) => io.stderr(text),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
}

interface Parts {
  readonly io: Io;
  readonly program: Program;
  readonly done: (exit: number) => void;
  readonly more?: string;
}

function add(parent: Command, spec: CommandSpec, { io, program, done, more }: Parts): void {
  const command = parent.command(spec.name.split(" ").at(-1)!, { hidden: spec.hidden });
  prepare(command, io);
  command.summary(spec.summary).description(spec.description ?? sentence(spec.summary));
  for (const arg of spec.args ?? []) command.argument(arg.name, arg.description);
  for (const { flags, description, repeat, hidden, default: value } of spec.options ?? []) {
    const option = new Option(flags, description);
    if (value !== undefined) option.default(value);
    if (repeat) {
      option.argParser((text: string, list: string[] | undefined) => [...list ?? [], text]);
    } else if (option.required || option.optional) {
      option.argParser(once(option));
    }
    command.addOption(hidden ? option.hideHelp() : option);
  }
  const examples = (spec.examples ?? [])
    .map(([what, line]) => `  # ${what}\n  ${program} ${line}\n`).join("");
  if (examples) command.addHelpText("after", `\nExamples:\n${examples.trimEnd()}`);
  if (more) command.addHelpText("after", `\n${more}`);
  command.action(async () => {
    const options = { ...command.opts() };
    if (options.a === true) options.allNamespaces = true;
    const empty = emptyFault(options, ["store", "config", "context"]);
    if (empty) throw usageError(empty);
    dropEmpty(options);
    const call: Call = { args: command.args, options, io, program };
    checkValues(spec, options);
    const { run } = await spec.load();
    done(await run(call));
  });
}

/** The value of an option that is given once: of two, one would be passed over. */
function once({ long, short }: Option): (text: string) => string {
  let before: string | undefined;
  return (text) => {
    if (before !== undefined) {
      const [a, b] = [before, text].map((value) => JSON.stringify(value));
      throw usageError(`${long ?? short} is given twice, ${a} and ${b}; give it once`);
    }
    before = text;
    return text;
  };
}

/** An option of few values that has another is refused, with the nearest of them. */
function checkValues(spec: CommandSpec, options: Record<string, unknown>): void {
  for (const { flags, values } of spec.options ?? []) {
    const name = new Option(flags).attributeName();
    const value = options[name];
    if (!values || typeof value !== "string" || values.includes(value)) continue;
    const near = value.length > 1 ? nearest(value, values) : undefined;
    const want = `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
    throw usageError(
      `${new Option(flags).long} ${value}: want ${want}${near ? ` (did you mean ${near}?)` : ""}`,
    );
  }
}

function sentence(text: string): string {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}
