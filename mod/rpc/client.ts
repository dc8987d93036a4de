/**
 * The client's side of an rpc conversation over one connection: many calls and streams at once. It
 * does not reconnect; when the connection ends, everything under way is rejected with
 * RpcDisconnected, which says whether the request may have reached the server.
 */

import type { Connection } from "./connection.ts";
import { encodeWords, LineParser, MAX_LINE_BYTES } from "./framing.ts";
import { encodeRequest, type ErrorBody, parseResponse, type Response } from "./message.ts";
import { RpcDisconnected, RpcError } from "./method.ts";
import { Outbox } from "./outbox.ts";

export interface CallOptions {
  /** Gives the call up: it rejects with the signal's reason, and the server is told. */
  readonly signal?: AbortSignal;
}

export interface StreamOptions extends CallOptions {
  /** Events that may be on their way unread. Default 16. */
  readonly window?: number;
  /** Tells the event behind which the server ends the stream: who reads no further then cancels nothing. */
  readonly isLast?: (event: unknown) => boolean;
}

/** What waits for responses under one id. */
interface Waiting {
  sent: boolean;
  on(response: Exclude<Response, { id: null }>): void;
  fail(error: Error): void;
}

export interface RpcClientOptions {
  /** Bytes of one line. Default 64 MiB. */
  readonly maxLineBytes?: number;
}

export class RpcClient {
  readonly #waiting = new Map<number, Waiting>();
  readonly #outbox: Outbox;
  readonly #done: Promise<void>;
  #lastId = 0;
  #ended: string | undefined;
  #onEnd: (() => void)[] = [];

  constructor(readonly connection: Connection, readonly options: RpcClientOptions = {}) {
    let opened = false;
    this.#outbox = new Outbox(async (bytes) => {
      if (!opened) {
        opened = true;
        await connection.write(encodeWords(["rpc"]));
      }
      await connection.write(bytes);
    }, (error) => this.#end(error.message));
    this.#done = this.#read();
  }

  /** False once the connection has ended. */
  get alive(): boolean {
    return this.#ended === undefined;
  }

  /** Resolves when the connection has ended. */
  ended(): Promise<void> {
    if (!this.alive) return Promise.resolve();
    return new Promise((resolve) => this.#onEnd.push(resolve));
  }

  /** The answer, or RpcError with the server's kind, or RpcDisconnected. */
  call(method: string, params: unknown = {}, { signal }: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const finish = () => {
        this.#waiting.delete(id);
        signal?.removeEventListener("abort", cancel);
      };
      const cancel = () => {
        finish();
        this.#outbox.push(encodeRequest({ id, cancel: true }));
        reject(signal!.reason);
      };
      const id = this.#send({ method, params }, {
        sent: false,
        on(response) {
          if ("result" in response) resolve(response.result);
          else if ("error" in response) reject(errorFrom(response.error));
          else return;
          finish();
        },
        fail(error) {
          finish();
          reject(error);
        },
      });
      signal?.addEventListener("abort", cancel);
    });
  }

  /** A stream's events. Ends when the server ends it or the signal is aborted. */
  async *stream(
    method: string,
    params: unknown = {},
    { signal, window = 16, isLast }: StreamOptions = {},
  ): AsyncGenerator<unknown, void> {
    if (signal?.aborted) return;
    const events: unknown[] = [];
    let over: { error?: Error } | undefined;
    let ending = false;
    let wake = () => {};
    const id = this.#send({ method, params, window }, {
      sent: false,
      on(response) {
        if ("event" in response) events.push(response.event);
        else if ("end" in response) over = {};
        else if ("error" in response) over = { error: errorFrom(response.error) };
        wake();
      },
      fail(error) {
        over = { error };
        wake();
      },
    });
    const onAbort = () => wake();
    signal?.addEventListener("abort", onAbort);
    try {
      let unacknowledged = 0;
      while (!signal?.aborted) {
        if (events.length > 0) {
          const event = events.shift();
          ending = isLast?.(event) ?? false;
          yield event;
          if (++unacknowledged * 2 >= window && !over) {
            this.#outbox.push(encodeRequest({ id, credit: unacknowledged }));
            unacknowledged = 0;
          }
        } else if (over) {
          if (over.error) throw over.error;
          return;
        } else {
          await new Promise<void>((resolve) => wake = resolve);
        }
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#waiting.delete(id);
      if (!over && !ending) this.#outbox.push(encodeRequest({ id, cancel: true }));
    }
  }

  /** Ends the connection; resolves when nothing of it is left. */
  async close(): Promise<void> {
    this.#end("this process closed it");
    await this.#done;
  }

  #send(request: { method: string; params: unknown; window?: number }, waiting: Waiting): number {
    const id = ++this.#lastId;
    if (this.#ended !== undefined) {
      queueMicrotask(() => waiting.fail(disconnected(this.#ended!, false)));
      return id;
    }
    this.#waiting.set(id, waiting);
    this.#outbox.push(encodeRequest({ id, ...request }), () => waiting.sent = true);
    return id;
  }

  async #read(): Promise<void> {
    const lines = new LineParser(this.options.maxLineBytes ?? MAX_LINE_BYTES);
    try {
      for (let chunk; this.alive && (chunk = await this.connection.read());) {
        for (const line of lines.push(chunk)) this.#take(parseResponse(line));
      }
      this.#end("the server closed it");
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error));
    }
  }

  #take(response: Response): void {
    if (response.id === null) {
      // The server could not read what we sent and closes the connection.
      if ("error" in response) this.#end(response.error.message);
      return;
    }
    this.#waiting.get(response.id)?.on(response as Exclude<Response, { id: null }>);
  }

  #end(reason: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#outbox.close();
    this.connection.close();
    for (const waiting of [...this.#waiting.values()]) {
      waiting.fail(disconnected(reason, waiting.sent));
    }
    this.#waiting.clear();
    for (const resolve of this.#onEnd.splice(0)) resolve();
  }
}

function errorFrom(body: ErrorBody): RpcError {
  return new RpcError(body.kind, body.message, body.detail);
}

function disconnected(reason: string, sent: boolean): RpcDisconnected {
  return new RpcDisconnected(`the connection to the server ended: ${reason}`, sent);
}
