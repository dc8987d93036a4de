/**
 * A plain client for the server's own tests, and for tests that play scheduler, kubelet or another
 * user. It knows requests and watches and nothing of the product.
 */
import type { Identity } from "./certificates.ts";

export interface Outcome {
  status: number;
  headers: Headers;
  /** JSON; the text where it is none. */
  body: any;
}

export interface WatchEvent {
  type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  object: any;
}

export class Client {
  #http: Deno.HttpClient;
  /** Without a certificate, which a server believes before any token. */
  #bare: Deno.HttpClient;

  constructor(
    readonly url: string,
    ca: string,
    private readonly as: { token?: string; certificate?: Identity } = {},
  ) {
    const pair = as.certificate && { cert: as.certificate.certificate, key: as.certificate.key };
    this.#http = Deno.createHttpClient({ caCerts: [ca], ...pair });
    this.#bare = Deno.createHttpClient({ caCerts: [ca] });
  }

  close(): void {
    this.#http.close();
    this.#bare.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    const client = headers.has("authorization") ? this.#bare : this.#http;
    if (this.as.token && !headers.has("authorization")) {
      headers.set("authorization", `Bearer ${this.as.token}`);
    }
    return await fetch(this.url + path, { ...init, headers, client });
  }

  /** A body that is no string is sent as JSON. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    more: HeadersInit = {},
  ): Promise<Outcome> {
    const headers = new Headers(more);
    if (body !== undefined && !headers.has("content-type")) {
      headers.set("content-type", "application/json");
    }
    const sent = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const response = await this.fetch(path, { method, body: sent, headers });
    const text = await response.text();
    let parsed: unknown = text;
    try {
      parsed = JSON.parse(text);
    } catch {
      // Not JSON: the text stands.
    }
    return { status: response.status, headers: response.headers, body: parsed };
  }

  /** Opens a watch; `path` may have a query of its own. */
  async watch(path: string): Promise<WatchStream> {
    const response = await this.fetch(`${path}${path.includes("?") ? "&" : "?"}watch=true`);
    if (response.status !== 200) {
      throw new Error(`the watch is refused: ${response.status} ${await response.text()}`);
    }
    return new WatchStream(response.body!);
  }
}

/** Events of a watch, one at a time, each within a deadline. */
export class WatchStream {
  #reader: ReadableStreamDefaultReader<string>;
  #text = "";
  #pending?: Promise<ReadableStreamReadResult<string>>;

  constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = body.pipeThrough(new TextDecoderStream() as any).getReader() as any;
  }

  /** The next event; undefined at the end. Throws where none comes in time, or the stream breaks. */
  async next(timeout = 10_000): Promise<WatchEvent | undefined> {
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end >= 0) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line);
      }
      const { done, value } = await this.#read(timeout);
      if (done) return undefined;
      this.#text += value;
    }
  }

  /** The next event that is no bookmark. */
  async change(timeout = 10_000): Promise<WatchEvent | undefined> {
    for (;;) {
      const event = await this.next(timeout);
      if (event?.type !== "BOOKMARK") return event;
    }
  }

  /** So many changes. */
  async changes(count: number, timeout = 10_000): Promise<WatchEvent[]> {
    const events: WatchEvent[] = [];
    while (events.length < count) {
      const event = await this.change(timeout);
      if (!event) throw new Error(`the watch ended after ${events.length} of ${count} changes`);
      events.push(event);
    }
    return events;
  }

  /** Whether nothing comes for so many milliseconds. */
  async isSilent(milliseconds: number): Promise<boolean> {
    try {
      await this.next(milliseconds);
      return false;
    } catch (error) {
      if (error instanceof Deno.errors.TimedOut) return true;
      throw error;
    }
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cancel();
  }

  async #read(timeout: number): Promise<ReadableStreamReadResult<string>> {
    this.#pending ??= this.#reader.read();
    let timer = 0;
    const late = new Promise<never>((_, refuse) => {
      timer = setTimeout(
        () => refuse(new Deno.errors.TimedOut(`no event within ${timeout} ms`)),
        timeout,
      );
    });
    try {
      const result = await Promise.race([this.#pending, late]);
      this.#pending = undefined;
      return result;
    } finally {
      clearTimeout(timer);
    }
  }
}
