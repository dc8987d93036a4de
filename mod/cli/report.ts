/** What commands say of what they did, in calicoctl's words, and of what went wrong. */
import { ResourceError } from "../store/resource_error.ts";
import { StoreError } from "../store/store.ts";
import { CliError, EXIT, type Io } from "./io.ts";

/** `Successfully applied 2 'IPPool' resource(s)`; without the kind where there are several. */
export function success(done: string, kinds: readonly string[]): string {
  const [kind] = kinds;
  const one = kinds.every((k) => k === kind);
  return `Successfully ${done} ${kinds.length} ${one ? `'${kind}' ` : ""}resource(s)\n`;
}

/** The exit code that an error means; undefined for a bug. */
export function exitOf(error: unknown): number | undefined {
  if (error instanceof CliError) return error.exit;
  if (error instanceof ResourceError || error instanceof StoreError) {
    return error.kind === "unavailable" ? EXIT.unreachable : EXIT.failed;
  }
  return undefined;
}

/** Tells each failure on a line of its own; a bug among them is thrown. Returns the exit code. */
export function reportFailures(io: Io, failures: readonly unknown[]): number {
  let exit: number = EXIT.ok;
  for (const error of failures) {
    const code = exitOf(error);
    if (code === undefined) throw error;
    exit = Math.max(exit, code);
    io.stderr(`error: ${(error as Error).message}\n`);
  }
  return exit;
}
