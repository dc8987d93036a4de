/**
 * The CNI call as it crosses the node's local socket: a few words ended by NUL, then the standard
 * input as it is; the answer is one line with the exit code and the length, then that many bytes.
 *
 *     TORTIE1 0  cni 0  <argv0> 0  { CNI_NAME=value 0 }…  0  <stdin>       and the client half-closes
 *     <exit> SP <length> LF <body>                        and the client closes, having read it all
 *
 * So simple because a client of a few kilobytes of C must be able to speak it too. Only variables
 * that begin with CNI_ leave the caller's process. Both ways are limited to 1 MiB.
 *
 * Here is the caller's end; the service's is `mod/rpc`. This file imports nothing: it is on the path
 * of every start of the plugin.
 */

/** One call, as the runtime made it. */
export interface CniRequest {
  /** The name by which the plugin was called: its last path component decides between the roles. */
  readonly argv0: string;
  /** The variables whose names begin with CNI_. */
  readonly env: Readonly<Record<string, string>>;
  /** Standard input, unread. */
  readonly stdin: Uint8Array;
}

/** What the caller prints on standard output, and its exit code. */
export interface CniReply {
  readonly exit: number;
  readonly body: string;
}

/** Of a request, of a reply, and of standard input: bytes. */
export const MAX_BYTES = 1 << 20;

/** The first two words. */
export const MAGIC = "TORTIE1", KIND = "cni";

/** The bytes of a call. Throws RangeError where a word holds a NUL, which no environment can. */
export function encodeRequest(request: CniRequest): Uint8Array<ArrayBuffer> {
  const words = [MAGIC, KIND, request.argv0 || "-"];
  for (const [name, value] of Object.entries(request.env)) {
    if (name.startsWith("CNI_")) words.push(`${name}=${value}`);
  }
  if (words.some((word) => word.includes("\0"))) {
    throw new RangeError("A word of a CNI call holds a NUL byte.");
  }
  const head = new TextEncoder().encode(words.join("\0") + "\0\0");
  const bytes = new Uint8Array(head.length + request.stdin.length);
  bytes.set(head);
  bytes.set(request.stdin, head.length);
  return bytes;
}

/** The first line of an answer, without its newline; undefined where it is none. */
export function parseHead(line: Uint8Array): { exit: number; length: number } | undefined {
  const words = /^(\d{1,3}) (\d{1,8})$/.exec(
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(line),
  );
  if (!words || Number(words[2]) > MAX_BYTES) return undefined;
  return { exit: Number(words[1]), length: Number(words[2]) };
}
