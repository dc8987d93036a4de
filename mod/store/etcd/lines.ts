/**
 * JSON values, one a line, of an HTTP answer that goes on for ever. It reads on only when it is asked,
 * so that a slow reader holds the sender back, and it can be asked with a time limit without losing
 * what comes after it.
 */

import type { EtcdClient } from "./client.ts";
import { EtcdFailure, failureOfFetch } from "./failure.ts";

export class LineStream<T> {
  readonly #decoder = new TextDecoder();
  #lines: string[] = [];
  /** Of a line whose end has not come. */
  #parts: string[] = [];
  #reading: Promise<ReadableStreamReadResult<Uint8Array>> | undefined;
  readonly #untrack: () => void;
  #over = false;

  constructor(
    readonly reader: ReadableStreamDefaultReader<Uint8Array>,
    readonly client: EtcdClient,
    readonly signal: AbortSignal,
  ) {
    this.#untrack = client.track(() => void this.cancel());
    signal.addEventListener("abort", this.#onAbort);
    if (signal.aborted) this.#onAbort();
  }

  /** The next value; "silent" where none came in time, undefined at the end. */
  async next(limitMs: number): Promise<T | "silent" | undefined> {
    const { clock } = this.client;
    const until = clock.monotonicMs() + limitMs;
    while (this.#lines.length === 0) {
      if (this.#over) return undefined;
      this.#reading ??= this.reader.read();
      const result = await this.#within(this.#reading, until - clock.monotonicMs());
      if (result === "silent") return "silent";
      this.#reading = undefined;
      if (result.done) return undefined;
      this.#take(result.value);
    }
    const line = this.#lines.shift()!;
    try {
      return JSON.parse(line);
    } catch {
      throw new EtcdFailure("member", "it sends a watch that is not JSON");
    }
  }

  async #within(
    reading: Promise<ReadableStreamReadResult<Uint8Array>>,
    limitMs: number,
  ): Promise<ReadableStreamReadResult<Uint8Array> | "silent"> {
    let cancel = () => {};
    const silent = new Promise<"silent">((resolve) => {
      cancel = this.client.clock.after(limitMs, () => resolve("silent"));
    });
    try {
      return await Promise.race([reading, silent]);
    } catch (error) {
      throw failureOfFetch(error as Error, false);
    } finally {
      cancel();
    }
  }

  #take(chunk: Uint8Array): void {
    const text = this.#decoder.decode(chunk, { stream: true });
    if (!text.includes("\n")) {
      this.#parts.push(text);
      return;
    }
    const lines = text.split("\n");
    lines[0] = this.#parts.join("") + lines[0];
    const rest = lines.pop()!;
    this.#parts = rest === "" ? [] : [rest];
    this.#lines.push(...lines.filter((line) => line !== ""));
  }

  #onAbort = (): void => void this.cancel();

  async cancel(): Promise<void> {
    if (this.#over) return;
    this.#over = true;
    this.#untrack();
    this.signal.removeEventListener("abort", this.#onAbort);
    this.#reading?.catch(() => {});
    await this.reader.cancel().catch(() => {}); // broken already
  }
}
