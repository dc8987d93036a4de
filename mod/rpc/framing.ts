/**
 * What goes over the local socket, as bytes. Pure and incremental: parsers take chunks as they come,
 * cut anywhere, and never hold more than their limit.
 *
 * A connection opens with words, each ended by a NUL byte, up to an empty word:
 *
 *     TORTIE1 NUL kind NUL word NUL … NUL NUL
 *
 * kind `cni`: the words are argv0 and the CNI_ variables as NAME=value; after the empty word comes
 * the plugin's standard input until the client shuts its sending side. The answer is
 * `<exit code> <length of the body in bytes>\n<body>`. The client closes when it has read that many
 * bytes (the server after 2 s in any case): a client that prints all but the last byte before it reads
 * that one tells so that its caller has the answer, and one that dies before is undone. A C program
 * speaks this with writev and read.
 *
 * kind `rpc`: no further word; then lines of JSON both ways (`message.ts`).
 */

export const MAGIC = "TORTIE1";

/** Words and standard input of a CNI request, together. */
export const MAX_CNI_BYTES = 1024 * 1024;

/** Words before any kind is known. */
export const MAX_WORDS_BYTES = MAX_CNI_BYTES;

/** One line of JSON. A datastore's value is at most 1.5 MiB; lists and watches go in batches. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** The peer did not keep to the protocol; the connection cannot go on. */
export class FramingError extends Error {
  override readonly name = "FramingError";
}

const NUL = 0, NEWLINE = 0x0a;
const encoder = new TextEncoder();

/** Gathers the pieces between delimiters, over chunks that are cut anywhere. */
class Splitter {
  #parts: Uint8Array[] = [];
  #held = 0;

  constructor(readonly delimiter: number, readonly limit: number, readonly what: string) {}

  /** Bytes of a piece whose end has not come yet. */
  get held(): number {
    return this.#held;
  }

  /** The next piece that ends in the chunk from `start` on; undefined keeps the rest for later. */
  take(chunk: Uint8Array, start: number): { piece: string; next: number } | undefined {
    const end = chunk.indexOf(this.delimiter, start);
    const part = chunk.subarray(start, end < 0 ? chunk.length : end);
    this.#held += part.length;
    if (this.#held > this.limit) {
      throw new FramingError(`${this.what} exceeds ${this.limit} bytes`);
    }
    if (end < 0) {
      // A copy: the chunk's buffer may be the transport's.
      if (part.length > 0) this.#parts.push(part.slice());
      return undefined;
    }
    const whole = this.#parts.length === 0 ? part : concat([...this.#parts, part]);
    this.#parts = [];
    this.#held = 0;
    return { piece: decodeUtf8(whole, this.what), next: end + 1 };
  }
}

/** Reads the opening words. */
export class WordsParser {
  readonly #splitter: Splitter;
  readonly #words: string[] = [];
  #seen = 0;

  constructor(readonly limit = MAX_WORDS_BYTES) {
    this.#splitter = new Splitter(NUL, limit, "a word of the request");
  }

  /** The first word after the magic one, as soon as it has come. */
  get kind(): string | undefined {
    return this.#words[1];
  }

  /**
   * Takes the next bytes. Returns the words (without the magic one), what follows them and how many
   * bytes they took, once the empty word has come; undefined before that. Throws FramingError.
   */
  push(chunk: Uint8Array): { words: string[]; rest: Uint8Array; bytes: number } | undefined {
    let start = 0;
    for (;;) {
      const taken = this.#splitter.take(chunk, start);
      const bytes = this.#seen + (taken?.next ?? chunk.length);
      if (bytes > this.limit) {
        throw new FramingError(`the words of the request exceed ${this.limit} bytes`);
      }
      if (!taken) {
        this.#seen = bytes;
        if (this.#words.length === 0 && this.#splitter.held > MAGIC.length) throw notOurs();
        return undefined;
      }
      if (this.#words.length === 0 && taken.piece !== MAGIC) throw notOurs();
      start = taken.next;
      if (taken.piece === "") {
        return { words: this.#words.slice(1), rest: chunk.slice(start), bytes };
      }
      this.#words.push(taken.piece);
    }
  }
}

function notOurs(): FramingError {
  return new FramingError(`the request does not begin with the word ${MAGIC}`);
}

/** The opening words as bytes. No word may be empty or hold a NUL. */
export function encodeWords(words: readonly string[]): Uint8Array {
  for (const word of words) {
    if (word === "" || word.includes("\0")) {
      throw new TypeError(`${JSON.stringify(word)} cannot be a word of a request`);
    }
  }
  return encoder.encode([MAGIC, ...words].join("\0") + "\0\0");
}

/** What a container runtime asked of the plugin. */
export interface CniRequest {
  /** The name under which the plugin was started. */
  readonly argv0: string;
  /** The CNI_ variables of its environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
}

/** What the plugin is to do: exit with this code after writing this body to standard output. */
export interface CniAnswer {
  readonly exit: number;
  readonly body: Uint8Array | string;
}

/** Argv0 and environment from the words after `cni`; FramingError where they are none. */
export function parseCniWords(words: readonly string[]): Omit<CniRequest, "stdin"> {
  const [argv0, ...variables] = words;
  if (argv0 === undefined) throw new FramingError("the CNI request does not name its program");
  const env = variables.map((word): [string, string] => {
    const equals = word.indexOf("=");
    if (equals < 1) {
      throw new FramingError(
        `the word ${JSON.stringify(word.slice(0, 40))} of the CNI request is not NAME=value`,
      );
    }
    return [word.slice(0, equals), word.slice(equals + 1)];
  });
  return { argv0, env: Object.fromEntries(env) };
}

/** The whole of a CNI request; its end is the shutdown of the sending side. */
export function encodeCniRequest(request: CniRequest): Uint8Array {
  const variables = Object.entries(request.env).map(([name, value]) => `${name}=${value}`);
  return concat([encodeWords(["cni", request.argv0, ...variables]), request.stdin]);
}

export function encodeCniAnswer(answer: CniAnswer): Uint8Array {
  const body = typeof answer.body === "string" ? encoder.encode(answer.body) : answer.body;
  return concat([encoder.encode(`${answer.exit} ${body.length}\n`), body]);
}

/** Reads the answer when it has come whole; FramingError where it has not or is none. */
export function parseCniAnswer(bytes: Uint8Array): { exit: number; body: Uint8Array } {
  const end = bytes.indexOf(NEWLINE);
  const head = end < 0 || end > 32 ? undefined : new TextDecoder().decode(bytes.subarray(0, end));
  const match = head?.match(/^([0-9]{1,3}) ([0-9]{1,10})$/);
  if (!match) throw new FramingError("the answer does not begin with an exit code and a length");
  const body = bytes.subarray(end + 1);
  if (body.length !== Number(match[2])) {
    throw new FramingError(`the answer was cut off: ${body.length} of ${match[2]} bytes came`);
  }
  return { exit: Number(match[1]), body };
}

/** Cuts a stream of bytes into lines. */
export class LineParser {
  readonly #splitter: Splitter;

  constructor(limit = MAX_LINE_BYTES) {
    this.#splitter = new Splitter(NEWLINE, limit, "a line of the conversation");
  }

  /** Bytes of a line whose end has not come yet. */
  get held(): number {
    return this.#splitter.held;
  }

  /** Takes the next bytes; returns the lines that they end, without their newline. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (;;) {
      const taken = this.#splitter.take(chunk, start);
      if (!taken) return lines;
      lines.push(taken.piece);
      start = taken.next;
    }
  }
}

function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    throw new FramingError(`${what} is not UTF-8`);
  }
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
