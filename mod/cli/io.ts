/**
 * What a command has of the world beside the datastore: standard streams, environment, files. Passed
 * in, so that a test runs a whole command in its own process and reads what it said.
 */

export interface Io {
  /** Writes text as it is; no line end is added. */
  stdout(text: string): void;
  stderr(text: string): void;
  /** All of standard input. */
  stdin(): Promise<string>;
  env(name: string): string | undefined;
  /** Aborted by SIGINT and SIGTERM, for commands that serve or watch. */
  readonly signal: AbortSignal;
  /** Standard error is a terminal: somebody sees progress and colours. */
  readonly terminal?: boolean;
  /** Nobody reads what the command says any more: whatever it comes to, it is not told. */
  readonly unread?: boolean;
}

/** How a command ended; the number is the process's exit code. */
export const EXIT = {
  ok: 0,
  /** It failed, or it looked for faults and found some. */
  failed: 1,
  /** It was called wrongly. */
  usage: 2,
  /** The datastore or the node service cannot be reached. */
  unreachable: 3,
  /** Nobody read its output any more: as a shell tells of a program that SIGPIPE ended. */
  brokenPipe: 141,
} as const;

/** What a command says when it cannot be done: one sentence of what, where and what to do. */
export class CliError extends Error {
  override readonly name = "CliError";
  constructor(readonly exit: number, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

export function usageError(message: string): CliError {
  return new CliError(EXIT.usage, message);
}

export function failure(message: string): CliError {
  return new CliError(EXIT.failed, message);
}

/** The process's own streams. */
export function processIo(): Io {
  const encoder = new TextEncoder();
  const write = (stream: { writeSync(bytes: Uint8Array): number }, name: string, text: string) => {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length;) {
      try {
        at += stream.writeSync(bytes.subarray(at));
      } catch (error) {
        // `tortie get … | head`: the reader has seen enough. What the command had still to do is not
        // done, so that it has not succeeded. Who asked for the signal has to clean up.
        if (error instanceof Deno.errors.BrokenPipe) {
          if (!stopping) Deno.exit(EXIT.brokenPipe);
          unread = true;
          return stopping.abort(ending("nobody reads the output any more"));
        }
        if (!(error instanceof Deno.errors.WouldBlock)) {
          throw failure(`${name} cannot be written: ${(error as Error).message}`);
        }
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  };
  return {
    stdout: (text) => write(Deno.stdout, "standard output", text),
    stderr(text) {
      try {
        write(Deno.stderr, "standard error", text);
      } catch {
        // Nobody can be told.
      }
    },
    stdin() {
      if (Deno.stdin.readable.locked) {
        throw failure("standard input is named twice, and can be read once");
      }
      return readAll(Deno.stdin.readable);
    },
    env: (name) => Deno.env.get(name),
    terminal: Deno.stderr.isTerminal(),
    get signal() {
      return processSignal();
    },
    get unread() {
      return unread;
    },
  };
}

/** Text of a stream, refused beyond `max` bytes (default 64 MiB: many files of the most that is read). */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  max = 64 * 1024 * 1024,
): Promise<string> {
  const chunks: BlobPart[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > max) throw failure(`standard input is larger than ${max / 1024 / 1024} MiB`);
    chunks.push(chunk as Uint8Array<ArrayBuffer>);
  }
  return textOf(await new Blob(chunks).bytes(), "standard input");
}

/**
 * The text of a file: UTF-8, or UTF-16 with a byte order mark, as YAML says. Nothing else is taken: with
 * letters replaced, a name or a selector would be another than the file's.
 */
export function textOf(bytes: Uint8Array, what: string): string {
  const [first, second] = bytes;
  const wide = first === 0xff && second === 0xfe
    ? "utf-16le"
    : first === 0xfe && second === 0xff
    ? "utf-16be"
    : undefined;
  try {
    return new TextDecoder(wide ?? "utf-8", { fatal: true }).decode(bytes);
  } catch {
    const where = wide ? "" : `line ${lineOfFault(bytes)} of `;
    throw failure(
      `${where}${what} is no ${
        wide ? "UTF-16" : "UTF-8"
      }: write it as UTF-8 (\`iconv -t utf-8\` does)`,
    );
  }
}

/** Counted from 1; no letter of UTF-8 has a line end in it. */
function lineOfFault(bytes: Uint8Array): number {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let line = 1, at = 0;; line++) {
    const end = bytes.indexOf(10, at);
    try {
      decoder.decode(bytes.subarray(at, end < 0 ? bytes.length : end));
    } catch {
      return line;
    }
    if (end < 0) return line;
    at = end + 1;
  }
}

/** Why a command is to end, as its signal's reason. */
const ending = (why: string) => new DOMException(why, "AbortError");

/** Whether a reader of the output has gone. */
let unread = false;

/** Of the command that asked to be told when it is to end. */
let stopping: AbortController | undefined;

function processSignal(): AbortSignal {
  if (stopping) return stopping.signal;
  const controller = stopping = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => controller.abort(ending("stopped by a signal")));
  }
  return controller.signal;
}
