/**
 * The server's side of one rpc conversation: reads requests, runs methods, sends answers, until the
 * client is gone. Requests run concurrently. Nothing of it outlives the connection: when it ends,
 * every method's signal is aborted, and the session ends when the methods have.
 *
 * What keeps a peer from doing harm: requests are not read while answers pile up unread; more than
 * a bounded number at once are refused as "busy"; streams send no more than the client's window; a
 * line that is no request ends the connection.
 */

import type { Connection } from "./connection.ts";
import { FramingError, LineParser, MAX_LINE_BYTES } from "./framing.ts";
import { encodeResponse, type MethodRequest, parseRequest, type Request } from "./message.ts";
import { type CallContext, errorBody, type Method, type Methods, RpcError } from "./method.ts";
import { Outbox } from "./outbox.ts";

export interface SessionOptions {
  /** Calls and streams of one connection at the same time. Default 1024. */
  readonly maxConcurrent?: number;
  /** Bytes of one line. Default 64 MiB. */
  readonly maxLineBytes?: number;
  /** Told of errors that are bugs: those without a kind of ours. */
  readonly onInternalError?: (method: string, error: unknown) => void;
}

/** One request that is being carried out. */
interface Running {
  readonly abort: AbortController;
  /** Events that the client still takes; undefined for no limit. */
  credit: number | undefined;
  /** Called when credit comes. */
  wake?: () => void;
}

export class Session {
  readonly #running = new Map<number, Running>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #outbox: Outbox;
  readonly #onDisconnect = new Set<() => void>();
  #ended = false;

  constructor(
    readonly connection: Connection,
    readonly methods: Methods,
    readonly options: SessionOptions = {},
  ) {
    this.#outbox = new Outbox((bytes) => connection.write(bytes), () => this.end());
  }

  /** Serves until the connection has ended and all methods have returned. Never rejects. */
  async run(first: Uint8Array): Promise<void> {
    const lines = new LineParser(this.options.maxLineBytes ?? MAX_LINE_BYTES);
    try {
      let chunk: Uint8Array | undefined = first;
      while (chunk && !this.#ended) {
        for (const line of lines.push(chunk)) {
          if (this.#ended) break;
          if (line !== "") this.#accept(parseRequest(line));
        }
        await this.#outbox.drained();
        if (!this.#ended) chunk = await this.connection.read();
      }
      await this.#finish();
    } catch (error) {
      if (error instanceof FramingError) {
        this.#outbox.push(
          encodeResponse({ id: null, error: { kind: "protocol", message: error.message } }),
        );
        await this.#outbox.flushed();
      }
    }
    this.end();
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  /** Ends the conversation at once. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const running of this.#running.values()) running.abort.abort();
    this.#running.clear();
    this.#outbox.close();
    this.connection.close();
    for (const run of this.#onDisconnect) run();
    this.#onDisconnect.clear();
  }

  /**
   * The client sends no more, or is gone: that looks the same. What waits for something is told to
   * give up; what is answered soon still finds whoever reads.
   */
  async #finish(): Promise<void> {
    for (const running of this.#running.values()) running.abort.abort();
    while (this.#tasks.size > 0 && !this.#ended) await Promise.race(this.#tasks);
    await this.#outbox.flushed();
  }

  #accept(request: Request): void {
    const { id } = request;
    if ("method" in request) return this.#begin(request);
    const running = this.#running.get(id);
    // The answer may have crossed what the client says about the request: then it is too late.
    if (!running) return;
    if ("cancel" in request) {
      running.abort.abort();
    } else if (running.credit !== undefined) {
      running.credit += request.credit;
      running.wake?.();
    }
  }

  #begin(request: MethodRequest): void {
    const { id, method: name, params, window } = request;
    if (this.#running.has(id)) throw new FramingError(`request ${id} is already under way`);
    const method = Object.hasOwn(this.methods, name) ? this.methods[name] : undefined;
    if (!method) {
      const message = `this server has no method "${name}"; is it an older version?`;
      return this.#refuse(id, new RpcError("unknownMethod", message));
    }
    const limit = this.options.maxConcurrent ?? 1024;
    if (this.#running.size >= limit) {
      const message = `more than ${limit} requests at once over one connection`;
      return this.#refuse(id, new RpcError("busy", message));
    }
    const running: Running = { abort: new AbortController(), credit: window };
    this.#running.set(id, running);
    const task = this.#carryOut(id, name, method, params, running).then(() => {
      this.#tasks.delete(task);
      if (this.#running.get(id) === running) this.#running.delete(id);
    });
    this.#tasks.add(task);
  }

  #refuse(id: number, error: RpcError): void {
    this.#outbox.push(encodeResponse({ id, error: errorBody(error) }));
  }

  async #carryOut(
    id: number,
    name: string,
    method: Method,
    params: unknown,
    running: Running,
  ): Promise<void> {
    const context: CallContext = {
      signal: running.abort.signal,
      peerUid: this.connection.peerUid,
      disconnect: () => this.end(),
      onDisconnect: (run) => this.#ended ? run() : this.#onDisconnect.add(run),
    };
    try {
      if (method.kind === "call") {
        const result = await method.run(params, context);
        this.#outbox.push(encodeResponse({ id, result }));
      } else {
        await this.#pump(id, method.run(params, context), running);
        this.#outbox.push(encodeResponse({ id, end: true }));
      }
    } catch (error) {
      if (!(error instanceof RpcError)) this.options.onInternalError?.(name, error);
      this.#outbox.push(encodeResponse({ id, error: errorBody(error) }));
    }
  }

  async #pump(id: number, events: AsyncIterable<unknown>, running: Running): Promise<void> {
    const { signal } = running.abort;
    for await (const event of events) {
      while (running.credit === 0 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          running.wake = resolve;
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
        running.wake = undefined;
      }
      await this.#outbox.drained();
      if (signal.aborted) return;
      if (running.credit !== undefined) running.credit--;
      this.#outbox.push(encodeResponse({ id, event }));
    }
  }
}
