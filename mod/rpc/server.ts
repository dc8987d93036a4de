/**
 * The local socket's server, over connections that somebody else accepts (the node service's Unix
 * listener checks the peer's uid first). It reads the opening words and gives the connection to the
 * CNI handler or to an rpc session.
 */

import type { Connection } from "./connection.ts";
import {
  type CniAnswer,
  type CniRequest,
  concat,
  encodeCniAnswer,
  FramingError,
  MAX_CNI_BYTES,
  parseCniWords,
  WordsParser,
} from "./framing.ts";
import { encodeResponse } from "./message.ts";
import type { Methods } from "./method.ts";
import { Session, type SessionOptions } from "./session.ts";

export interface CniContext {
  /** Aborted when the server closes. */
  readonly signal: AbortSignal;
  readonly peerUid: number | undefined;
  /**
   * Sends the answer now, instead of when the handler returns: false where the plugin went away
   * without having read all of it, so that what was done for it can be undone.
   */
  deliver(answer: CniAnswer): Promise<boolean>;
}

export interface RpcServerOptions extends SessionOptions {
  readonly methods: Methods;
  /** Answers requests of kind `cni`; without it they are refused. It must not throw. */
  readonly cni?: (request: CniRequest, context: CniContext) => Promise<CniAnswer>;
  /** How long a client may take to send its words, and a plugin its standard input. Default 10 s. */
  readonly openingMs?: number;
}

export class RpcServer {
  readonly #abort = new AbortController();
  readonly #open = new Map<Connection, () => void>();
  readonly #served = new Set<Promise<void>>();

  constructor(readonly options: RpcServerOptions) {}

  /** Connections that are being served. */
  get connections(): number {
    return this.#open.size;
  }

  /** Serves the connection and closes it; resolves when all about it is over. Never rejects. */
  accept(connection: Connection): Promise<void> {
    if (this.#abort.signal.aborted) {
      connection.close();
      return Promise.resolve();
    }
    this.#open.set(connection, () => connection.close());
    const served = this.#serve(connection)
      .catch(() => {}) // The peer went away or broke the protocol; it has been told what it can hear.
      .finally(() => {
        connection.close();
        this.#open.delete(connection);
        this.#served.delete(served);
      });
    this.#served.add(served);
    return served;
  }

  /** Ends all conversations; resolves when every method has returned. */
  async close(): Promise<void> {
    this.#abort.abort();
    for (const end of this.#open.values()) end();
    await Promise.all(this.#served);
  }

  async #serve(connection: Connection): Promise<void> {
    const timer = setTimeout(() => connection.close(), this.options.openingMs ?? 10_000);
    const parser = new WordsParser();
    try {
      const opening = await readOpening(connection, parser);
      if (!opening) return;
      const [kind, ...words] = opening.words;
      switch (kind) {
        case "rpc": {
          clearTimeout(timer);
          const session = new Session(connection, this.options.methods, this.options);
          this.#open.set(connection, () => session.end());
          return await session.run(opening.rest);
        }
        case "cni": {
          const stdin = await readStdin(connection, opening);
          clearTimeout(timer);
          return await this.#answerCni(connection, { ...parseCniWords(words), stdin });
        }
        default:
          throw new FramingError(
            `this server knows the kinds cni and rpc, not ${JSON.stringify(kind ?? "")}`,
          );
      }
    } catch (error) {
      if (error instanceof FramingError) {
        await connection.write(
          parser.kind === "cni" ? encodeCniAnswer(unreadable(error.message)) : new TextEncoder()
            .encode(encodeResponse({
              id: null,
              error: { kind: "protocol", message: error.message },
            })),
        );
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #answerCni(connection: Connection, request: CniRequest): Promise<void> {
    const { cni } = this.options;
    if (!cni) throw new FramingError("this server does not answer CNI requests");
    let sent = false;
    const deliver = (answer: CniAnswer) => {
      sent = true;
      return deliverCni(connection, answer);
    };
    const { signal } = this.#abort;
    const answer = await cni(request, { signal, peerUid: connection.peerUid, deliver });
    if (!sent) await deliver(answer);
    await connection.closeWrite();
  }
}

/** How long a plugin may take to read and print its answer before it is left to itself. */
const CNI_READ_MS = 2_000;

async function deliverCni(connection: Connection, answer: CniAnswer): Promise<boolean> {
  try {
    await connection.write(encodeCniAnswer(answer));
  } catch {
    return false;
  }
  if (!connection.peerClosed) return true;
  let timer: number | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), CNI_READ_MS);
  });
  // A rejection means that this server is closing: the answer is in the socket, and the plugin reads.
  const read = connection.peerClosed().catch(() => true);
  return await Promise.race([read, late]).finally(() => clearTimeout(timer));
}

async function readOpening(connection: Connection, parser: WordsParser) {
  for (let chunk; (chunk = await connection.read());) {
    const opening = parser.push(chunk);
    if (opening) return opening;
  }
  return undefined;
}

/** What the plugin got on its standard input; FramingError where that is too much. */
async function readStdin(
  connection: Connection,
  opening: { rest: Uint8Array; bytes: number },
): Promise<Uint8Array> {
  const parts = [opening.rest];
  let size = opening.bytes + opening.rest.length;
  for (let chunk; (chunk = await connection.read());) {
    size += chunk.length;
    // The rest is read and thrown away: a client that still writes would not see the answer.
    if (size <= MAX_CNI_BYTES) parts.push(chunk.slice());
    else parts.length = 0;
  }
  if (size > MAX_CNI_BYTES) {
    throw new FramingError(
      `environment and standard input have ${size} bytes together; at most ${MAX_CNI_BYTES} are read`,
    );
  }
  return concat(parts);
}

/** The CNI specification's answer to a request that cannot be read: code 6. */
function unreadable(details: string): CniAnswer {
  const body = { cniVersion: "1.1.0", code: 6, msg: "the CNI request cannot be read", details };
  return { exit: 1, body: JSON.stringify(body) };
}
