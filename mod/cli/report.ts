/** What commands say of what they did, in calicoctl's words, and of what went wrong. */
import { ResourceError } from "../store/resource_error.ts";
import { StoreError } from "../store/store.ts";
import type { Call } from "./command.ts";
import { CliError, EXIT, type Io } from "./io.ts";
import { type Program, told } from "./voice.ts";

/** `Successfully applied 2 'IPPool' resource(s)`; without the kind where there are several. */
export function success(done: string, kinds: readonly string[]): string {
  return `Successfully ${done} ${kinds.length} ${quoted(kinds)}resource(s)\n`;
}

/** `Partial success: applied the first 1 out of 2 'IPPool' resources:`, above the failure. */
export function partialSuccess(done: string, count: number, kinds: readonly string[]): string {
  return `Partial success: ${done} the first ${count} out of ${kinds.length} ` +
    `${quoted(kinds)}resources:\n`;
}

function quoted(kinds: readonly string[]): string {
  const [kind] = kinds;
  return kinds.every((k) => k === kind) ? `'${kind}' ` : "";
}

/** The exit code that an error means; undefined for a bug. */
export function exitOf(error: unknown): number | undefined {
  if (error instanceof CliError) return error.exit;
  if (error instanceof ResourceError || error instanceof StoreError) {
    return error.kind === "unavailable" ? EXIT.unreachable : EXIT.failed;
  }
  return undefined;
}

/** Whether the datastore is lost: whatever comes next would wait for it as long, and for nothing. */
export function isLost(error: unknown): boolean {
  return exitOf(error) === EXIT.unreachable;
}

/** The loss of the datastore (or an interrupt) in the midst of many objects: how many were done, and which one was next. */
export function lostMidway(
  error: unknown,
  { past, done, total, next }: { past: string; done: number; total: number; next: string },
): CliError {
  const { message } = error as Error;
  const exit = exitOf(error) ?? EXIT.failed;
  if (total === 1) return new CliError(exit, message);
  return new CliError(
    exit,
    `${message}; ${done} of ${total} resources ${done === 1 ? "was" : "were"} ${past}, ` +
      `${total - done} not, beginning with ${next}, of which it is not certain`,
  );
}

/** Tells what ended a command, and gives the exit code that it means. */
export function tellEnd(error: unknown, io: Io, program: Program): number {
  const ipam = error instanceof Error && error.name === "IpamError";
  const exit = exitOf(error) ?? (ipam ? EXIT.failed : undefined);
  if (exit === undefined) {
    const stack = error instanceof Error ? error.stack ?? error.message : String(error);
    io.stderr(`error: this is a bug in ${program}: ${stack}\n`);
    return EXIT.failed;
  }
  io.stderr(told(error as Error, program, io));
  if (program === "tortie" && error instanceof CliError && exit === EXIT.usage) {
    io.stderr(`(\`${program} --help\` and \`${program} COMMAND --help\` tell more)\n`);
  }
  return exit;
}

/**
 * Tells each failure on a line of its own; a bug among them is thrown. Returns the exit code. Under
 * the name calicoctl `prefix` stands in front of each.
 */
export function reportFailures(
  { io, program }: Call,
  failures: readonly unknown[],
  prefix = "",
): number {
  let exit: number = EXIT.ok;
  for (const error of failures) {
    const code = exitOf(error);
    if (code === undefined) throw error;
    exit = Math.max(exit, code);
    io.stderr((program === "calicoctl" ? prefix : "") + told(error as Error, program, io));
  }
  return exit;
}
