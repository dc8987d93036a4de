/**
 * Files that users name on the command line. `-` is standard input, and so is every name under which
 * the kernel has it: what the runtime opens of /dev and /proc is little, and it says so in words about
 * its own compilation.
 */
import { failure, type Io, textOf } from "./io.ts";

const STANDARD = {
  input: ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"],
  output: ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"],
  error: ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"],
};

export function isStandardInput(name: string): boolean {
  return STANDARD.input.includes(name);
}

/** As a message names it. */
export function describeFile(name: string): string {
  return isStandardInput(name) ? "standard input" : name;
}

/** The text of a file; throws what the system says (`fileReason`), or a CliError of what is in it. */
export async function readTextOf(name: string, io: Io): Promise<string> {
  return isStandardInput(name) ? await io.stdin() : textOf(await Deno.readFile(name), name);
}

/** The same of a file of at most so many bytes; CliError of a larger one, with what to do about it. */
export async function readTextWithin(
  name: string,
  io: Io,
  most: number,
  remedy = "",
): Promise<string> {
  if (!isStandardInput(name) && (await Deno.stat(name)).size > most) {
    throw failure(`${name} is larger than ${most / 1024 / 1024} MiB${remedy}`);
  }
  return await readTextOf(name, io);
}

/** Writes a text to a file, which may be one of the standard streams. */
export async function writeTextTo(name: string, text: string, io: Io): Promise<void> {
  if (STANDARD.output.includes(name)) io.stdout(text);
  else if (STANDARD.error.includes(name)) io.stderr(text);
  else await Deno.writeTextFile(name, text);
}

/** Why the system refused a file, without the words of the runtime. */
export function fileReason(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) {
    return "it is a device or a file of the kernel's, and none of the standard streams; name a file";
  }
  return (error as Error).message.replace(/ \(os error \d+\).*$/s, "");
}
