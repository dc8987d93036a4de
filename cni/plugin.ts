/**
 * The plugin as the container runtime starts it, once for every call: it must be small and quick. It
 * reads the call (CNI_ variables, standard input), hands it to the node service over its socket and
 * prints the answer. VERSION it answers itself.
 *
 * The socket is the one that the configuration names (`"tortie": {"socket": …}`), else
 * `$TORTIE_RUN_DIR/tortie.sock`, else `/run/tortie/tortie.sock`. Where nobody listens the call goes to
 * `offline.ts`, which is loaded only then: it does what kernel and store alone can tell, and refuses
 * the rest with a sentence.
 *
 * Static imports: constants and the wire format, a few kilobytes. No credentials, no datastore client.
 */

import { encodeRequest, MAX_BYTES, parseHead } from "./request.ts";
import { LATEST_VERSION, VERSION_ANSWER } from "./versions.ts";

/** Standard input as far as it is needed: Deno.stdin is one. */
export interface Input {
  read(into: Uint8Array): Promise<number | null>;
}

/** Where the node service listens, unless the configuration or the environment say otherwise. */
export const RUN_DIR = "/run/tortie", SOCKET_NAME = "tortie.sock";
/** While the service's queue of connections is full, in milliseconds. */
export const CONNECT_TIMEOUT = 5_000;
export const TOO_LARGE = `The configuration on standard input is larger than ${MAX_BYTES} bytes.`;
/** As long as a runtime waits for a plugin, in milliseconds. */
export const ANSWER_TIMEOUT = 120_000;

/**
 * One call. `argv0` is the name by which the program was started, `env` its environment; the answer
 * goes to standard output. Returns the exit code and throws nothing.
 */
export async function run(
  argv0: string,
  env: Readonly<Record<string, string>>,
  stdin: Input,
): Promise<number> {
  if (env.CNI_COMMAND === "VERSION") return await print(VERSION_ANSWER, 0);
  let input: Uint8Array;
  try {
    input = await readAll(stdin);
  } catch (error) {
    return await fail(5, `Standard input cannot be read: ${(error as Error).message}.`);
  }
  if (input.length > MAX_BYTES) {
    return await fail(6, TOO_LARGE);
  }
  const request = { argv0, env, stdin: input };
  const bytes = encodeRequest(request);
  if (bytes.length > MAX_BYTES) {
    return await fail(
      6,
      `Variables and configuration are larger than ${MAX_BYTES} bytes together.`,
    );
  }
  const path = socketPath(input, env);
  let socket: Deno.UnixConn | undefined;
  try {
    socket = await connect(path);
  } catch (error) {
    const { runOffline } = await import("./offline.ts");
    const reply = await runOffline(request, env, path, (error as Error).message);
    return await print(reply.body, reply.exit);
  }
  try {
    return await converse(socket, bytes);
  } catch (error) {
    return await fail(11, `The node service at ${path} ${(error as Error).message}; try again.`);
  } finally {
    close(socket);
  }
}

/** Where the node service listens, as far as the configuration and the environment say. */
function socketPath(input: Uint8Array, env: Readonly<Record<string, string>>): string {
  const fallback = `${env.TORTIE_RUN_DIR || RUN_DIR}/${SOCKET_NAME}`;
  try {
    const path = JSON.parse(new TextDecoder().decode(input))?.tortie?.socket;
    return typeof path === "string" && path.startsWith("/") ? path : fallback;
  } catch {
    // The service, or offline.ts, says what is wrong with the configuration.
    return fallback;
  }
}

/** At most one byte more than is allowed, so that the caller can tell. */
async function readAll(stdin: Input): Promise<Uint8Array> {
  let buffer = new Uint8Array(16384);
  let length = 0;
  for (let n; (n = await readSome(stdin, buffer.subarray(length))) !== null;) {
    length += n;
    if (length > MAX_BYTES) break;
    if (length === buffer.length) {
      const larger = new Uint8Array(buffer.length * 2);
      larger.set(buffer);
      buffer = larger;
    }
  }
  return buffer.subarray(0, length);
}

/** Waits also where standard input came as one that does not block. */
async function readSome(stdin: Input, into: Uint8Array): Promise<number | null> {
  for (;;) {
    try {
      return await stdin.read(into);
    } catch (error) {
      if (!isNotReady(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** EAGAIN. */
function isNotReady(error: unknown): boolean {
  return error instanceof Deno.errors.WouldBlock || /os error 11\b/.test((error as Error).message);
}

/** Connects; waits while the queue is full (EAGAIN), throws at once where nobody listens. */
async function connect(path: string): Promise<Deno.UnixConn> {
  const deadline = performance.now() + CONNECT_TIMEOUT;
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!isNotReady(error) || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/**
 * Sends the call and prints the answer. The answer's last byte is read only when the rest is printed:
 * by that the service knows that the caller has it. If this process is killed before, the byte stays
 * unread, and the service undoes what it did.
 */
async function converse(
  socket: Deno.UnixConn,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<number> {
  let inTime = patience();
  try {
    for (let at = 0; at < bytes.length;) at += await inTime.wait(socket.write(bytes.subarray(at)));
    await socket.closeWrite();
    const { head, start } = await inTime.wait(readHead(socket));
    const body = new Uint8Array(head.length);
    body.set(start.subarray(0, head.length));
    let have = Math.min(start.length, head.length);
    const fill = async (end: number) => {
      while (have < end) {
        const n = await inTime.wait(socket.read(body.subarray(have, end)));
        if (n === null) throw new Error("broke off in the middle of its answer");
        have += n;
      }
    };
    await fill(head.length - 1);
    inTime.end();
    if (head.length > 0) {
      // The last byte is a newline; were it not, white space before it would do no harm.
      const printed = body.slice(0, head.length);
      printed[head.length - 1] = 10;
      if (!await write(printed)) return 1;
      inTime = patience();
      await fill(head.length);
      if (body[head.length - 1] !== 10) await write(body.subarray(head.length - 1));
    }
    return head.exit;
  } finally {
    inTime.end();
  }
}

/** Waits for the service, for all steps together no longer than ANSWER_TIMEOUT. */
function patience() {
  let timer: number | undefined;
  const over = new Promise<never>((_, reject) => {
    const late = new Error(`did not answer within ${ANSWER_TIMEOUT / 1000} s`);
    timer = setTimeout(() => reject(late), ANSWER_TIMEOUT);
  });
  over.catch(() => {});
  return {
    // A write that waits for room does not end when its socket is closed.
    wait: <T>(step: Promise<T>) => Promise.race([step, over]),
    end: () => clearTimeout(timer),
  };
}

/** Exit code and length, and the few bytes of the body that came with them. */
async function readHead(
  socket: Deno.UnixConn,
): Promise<{ head: { exit: number; length: number }; start: Uint8Array }> {
  // Shorter than any answer whose last byte matters.
  const buffer = new Uint8Array(16);
  for (let have = 0; have < buffer.length;) {
    const n = await socket.read(buffer.subarray(have));
    if (n === null) throw new Error("broke off before its answer");
    have += n;
    const newline = buffer.subarray(0, have).indexOf(10);
    if (newline < 0) continue;
    const head = parseHead(buffer.subarray(0, newline));
    if (!head) break;
    return { head, start: buffer.slice(newline + 1, have) };
  }
  throw new Error("sent something that is no answer");
}

function close(socket: Deno.UnixConn): void {
  try {
    socket.close();
  } catch {
    // Closed already, by the timer.
  }
}

async function print(body: string, exit: number): Promise<number> {
  return await write(new TextEncoder().encode(body)) ? exit : 1;
}

/** False where whoever called is gone: there is nobody to tell. */
async function write(bytes: Uint8Array): Promise<boolean> {
  try {
    for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
    return true;
  } catch {
    return false;
  }
}

/** The specification's error object, for what went wrong here. */
async function fail(code: number, msg: string): Promise<number> {
  return await print(JSON.stringify({ cniVersion: LATEST_VERSION, code, msg }) + "\n", 1);
}
