/**
 * The command line under the name calicoctl: calicoctl's commands, flags, words and exit codes (0, and
 * 1 for whatever went wrong). The actions are tortie's own where they say the same in both.
 */
import { type Action, type Call, dropEmpty, emptyFault } from "../command.ts";
import { CliError, EXIT, type Io } from "../io.ts";
import { type CalicoctlCommand, childrenOf } from "./command.ts";
import { CALICOCTL_COMMANDS } from "./commands.ts";
import { helpText } from "./help.ts";
import { parse, type Parsed, ParseError } from "./parse.ts";

const PROGRAM = "calicoctl";
const LOG_LEVELS = ["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"];

/** Runs one command line; returns its exit code. What is thrown is for the caller to tell. */
export async function runCalicoctl(words: readonly string[], io: Io): Promise<number> {
  const all = CALICOCTL_COMMANDS;
  try {
    const parsed = parse(words, all, PROGRAM);
    const { command } = parsed;
    if (parsed.flags.get("help") === true) {
      io.stdout(helpText(command, all, PROGRAM));
      return EXIT.ok;
    }
    if (parsed.flags.get("version") === true) {
      io.stdout(`Run '${PROGRAM} version' to see version information.\n`);
      return EXIT.ok;
    }
    // A group of commands does nothing by itself.
    if (childrenOf(command.name, all).length > 0) {
      io.stderr(helpText(command, all, PROGRAM));
      return EXIT.failed;
    }
    checkLogLevel(parsed);
    checkTaken(parsed);
    checkTogether(parsed);
    const empty = emptyFault(Object.fromEntries(parsed.flags), ["config"]);
    if (empty) throw new ParseError(empty);
    const action = await actionOf(command);
    return await action(await callOf(parsed, io)) === EXIT.ok ? EXIT.ok : EXIT.failed;
  } catch (error) {
    return endOf(error, io);
  }
}

async function endOf(error: unknown, io: Io): Promise<number> {
  if (error instanceof ParseError) {
    io.stderr(`${error.message}\n`);
    return EXIT.failed;
  }
  const { tellEnd } = await import("../report.ts");
  tellEnd(error, io, PROGRAM);
  return EXIT.failed;
}

function checkLogLevel({ flags }: Parsed): void {
  const level = flags.get("log-level");
  if (level === undefined || LOG_LEVELS.includes(String(level).toLowerCase())) return;
  throw new ParseError(
    `unknown log level: ${level}, expected one of: panic, fatal, error, warn, info, debug`,
  );
}

/** A flag that would do nothing is not passed over. */
function checkTaken({ command, flags }: Parsed): void {
  for (const { name, instead } of command.flags ?? []) {
    if (instead === undefined || !flags.has(name) || flags.get(name) === false) continue;
    throw new ParseError(`--${name} is not taken by ${PROGRAM} ${command.name} here: ${instead}`);
  }
}

/** Flags that say something about files alone, and those of which one is given. */
function checkTogether({ command, flags }: Parsed): void {
  for (const { name, of } of command.flags ?? []) {
    if (of === undefined || !flags.has(name) || flags.get(name) === false || flags.has(of)) {
      continue;
    }
    throw new ParseError(`--${name} of ${PROGRAM} ${command.name} is about --${of}; give both`);
  }
  const given = (command.oneOf ?? []).filter((name) =>
    flags.has(name) && flags.get(name) !== false
  );
  if (given.length > 1) {
    throw new ParseError(`give one of --${given.join(" and --")}, not ${given.length} of them`);
  }
}

async function actionOf(command: CalicoctlCommand): Promise<Action> {
  const load = command.load ?? (await tortieCommand(command.name))?.load;
  if (load) return (await load()).run;
  throw new CliError(EXIT.failed, `${PROGRAM} ${command.name} is not part of this build`);
}

/** The command of the same name of tortie's own command line. */
async function tortieCommand(name: string) {
  const { COMMANDS } = await import("../commands.ts");
  return COMMANDS.find((spec) => spec.name === name);
}

/** The flags as an action wants them: in camel case, a list where tortie's option may be repeated. */
async function callOf({ command, flags, operands }: Parsed, io: Io): Promise<Call> {
  const own = await tortieCommand(command.name);
  const options: Record<string, unknown> = {};
  for (const [name, value] of flags) {
    const repeated = own?.options?.some((option) =>
      option.repeat && new RegExp(`--${name}(?![\\w-])`).test(option.flags)
    );
    const as = command.flags?.find((flag) => flag.name === name)?.option ?? name;
    const key = as.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());
    options[key] = repeated && !Array.isArray(value)
      ? [value]
      : typeof value === "number"
      ? String(value)
      : value;
  }
  const variables = new Map(
    (command.flags ?? []).filter(({ name, variable }) => variable && (flags.get(name) ?? "") !== "")
      .map(({ name, variable }) => [variable!, String(flags.get(name))]),
  );
  dropEmpty(options);
  if (options.allNamespacesA === true) options.allNamespaces = true;
  return { args: operands, options, io, program: PROGRAM, variables };
}
