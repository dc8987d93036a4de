/**
 * The one pool of connections to the API server, with its certificates and its token.
 *
 * Files are read again when they are older than a minute, because the kubelet exchanges a projected
 * token long before it expires, and tools exchange certificates; a 401 reads the token at once. Other
 * certificates, and an answer that did not come in time, make a new pool: a connection whose other end
 * has gone without a word would otherwise be waited for by all that share it. Watches go on in the pool
 * in which they began, for as long as that has a pulse (`pulse.ts`). Files that cannot be used
 * (half exchanged: an empty file, a key that is not yet that of the certificate) change nothing, and are
 * looked at again soon.
 *
 * Watches share one connection of HTTP/2, as with client-go: a node has thirty of them. Calls go over a
 * few connections of HTTP/1.1, because Deno writes head and body of an HTTP/2 request one after the
 * other, and a server's kernel acknowledges the first only after 40 ms.
 */

import type { Clock } from "../clock.ts";
import { sentOnce } from "../once.ts";
import { StoreError } from "../store.ts";
import { pairFault } from "../tls_pair.ts";
import { makeHttpClient, plainWords, proxyWords } from "../http_client.ts";
import type { Surroundings } from "./cluster.ts";
import type { Pem, Timing } from "./config.ts";
import { ApiError, explainFetch, isLoss, type Request, Unreachable } from "./failure.ts";
import type { Access } from "./access.ts";
import { Pulse } from "./pulse.ts";
import { SIDE_BY_SIDE, Turns } from "./pace.ts";

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** From the server on, with its query. */
  readonly path: string;
  readonly request: Request;
  /** JSON text. */
  readonly body?: string;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

/** A watch as it was opened. */
export interface Stream {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  /** Of the pool that carries it: to be joined while it is read. */
  readonly pulse: Pulse;
  /** It has a connection of its own: HTTP/1.1. */
  readonly alone: boolean;
}

/** Of one call. */
interface Limit {
  readonly abort: AbortController;
  readonly beganMs: number;
  /** By which it goes, as soon as that is known. */
  pool?: Pool;
  /** It was aborted because no answer came in time. */
  late: boolean;
}

/** What the files held. */
interface Pems {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

interface Pool {
  readonly calls: Deno.HttpClient;
  readonly streams: Deno.HttpClient;
  /** What it was made of. */
  readonly pems: string;
  readonly pulse: Pulse;
  /** It takes nothing new; and its last client is closed. */
  retired: boolean;
  ended: boolean;
}

/** Milliseconds after which files that could not be used are read again. */
const MIXED_MS = 5000;

/** What everybody may ask, and costs the server nothing. */
const SIGN: Call = {
  method: "GET",
  path: "/version",
  request: { verb: "discover", group: "", resource: "version" },
};

export class Connection {
  #pool: Promise<Pool> | undefined;
  /** That which came out of it. */
  #made: Pool | undefined;
  #checkedMs = -Infinity;
  #good: Pems | undefined;
  /** What was told last. */
  #trouble = "";
  #token: { readonly text: string; readonly readMs: number } | undefined;
  readonly #active = new Set<AbortController>();
  readonly #turns: Turns;
  #closed = false;
  #losses = 0;
  #interruptions = 0;
  /** When a request was lost first since one was answered. */
  #failingSinceMs: number | undefined;

  constructor(
    readonly access: Access,
    readonly around: Surroundings,
    readonly timing: Timing,
    readonly clock: Clock,
    /** Hears what is wrong and does not keep us from going on. */
    readonly onTrouble: (message: string) => void = () => {},
    /** Hears what the server says of a request that it took. */
    readonly onWarning: (warning: string, request: Request) => void = () => {},
  ) {
    this.#turns = new Turns(clock);
    if (access.insecure && access.server.startsWith("https:")) {
      throw new StoreError(
        "invalid",
        `${access.origin} says insecure-skip-tls-verify, and tortie always checks the server's ` +
          "certificate; give it the cluster's certificate-authority instead",
      );
    }
    if (access.tlsServerName) {
      throw new StoreError(
        "invalid",
        `${access.origin} says tls-server-name ${access.tlsServerName}, which tortie cannot use; ` +
          "give a server under the name for which its certificate is",
      );
    }
  }

  get server(): string {
    return this.access.server;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** How often a request came to no server that could answer it, or got no answer from it. */
  get losses(): number {
    return this.#losses;
  }

  /** Another number wherever the data may be another than before (`Store.epoch`). */
  get doubts(): number {
    return this.#losses + this.#interruptions;
  }

  /** A watch broke, or is there again after that, or was told of an older revision. */
  interrupted(): void {
    this.#interruptions++;
  }

  /** For how long no request has been answered; 0: the last one was. */
  get failingMs(): number {
    return this.#failingSinceMs === undefined ? 0 : this.clock.monotonicMs() - this.#failingSinceMs;
  }

  close(): void {
    this.#closed = true;
    for (const abort of this.#active) abort.abort();
    this.#pool?.then((pool) => {
      this.#drop(pool);
      end(pool);
    }, () => {});
  }

  /** The answer's text; ApiError for every answer that is no success, Unreachable for none in time. */
  async text(call: Call): Promise<string> {
    const leave = await this.#turns.enter(this.timing.answerMs);
    try {
      return await this.#text(call);
    } finally {
      leave();
    }
  }

  #text(call: Call): Promise<string> {
    return this.#inTime(call, async (limit) => {
      const response = await this.#send(call, limit, "calls");
      const text = await this.#body(response, limit);
      if (!response.ok) throw apiError(response, text, call.request);
      for (const warning of warningsOf(response)) this.onWarning(warning, call.request);
      return text;
    });
  }

  /** The answer as a stream, whose beginning must come in time. The caller cancels its reader. */
  stream(call: Call): Promise<Stream> {
    return this.#inTime(call, async (limit) => {
      const response = await this.#send(call, limit, "streams");
      if (!response.ok) {
        throw apiError(response, await this.#body(response, limit), call.request);
      }
      const reader = response.body!.getReader();
      // A field of HTTP/1.1, which HTTP/2 forbids (RFC 9113, section 8.2.2).
      const alone = response.headers.has("transfer-encoding");
      if (!limit.abort.signal.aborted) return { reader, pulse: limit.pool!.pulse, alone };
      await reader.cancel().catch(() => {});
      throw limit.late ? this.#tooLate(limit) : new Unreachable("it was called off", true);
    });
  }

  /** Gives the work a signal that is aborted when it takes too long, is called off, or we close. */
  async #inTime<T>(call: Call, work: (limit: Limit) => Promise<T>): Promise<T> {
    const beganMs = this.clock.monotonicMs();
    const limit: Limit = { abort: new AbortController(), beganMs, late: false };
    const stop = () => limit.abort.abort();
    const cancel = this.clock.after(this.timing.answerMs, () => {
      limit.late = true;
      stop();
    });
    call.signal?.addEventListener("abort", stop);
    this.#active.add(limit.abort);
    try {
      const done = await work(limit);
      this.#failingSinceMs = undefined;
      return done;
    } catch (error) {
      if (!call.signal?.aborted) this.#failed(error);
      throw error;
    } finally {
      cancel();
      call.signal?.removeEventListener("abort", stop);
      this.#active.delete(limit.abort);
    }
  }

  #failed(error: unknown): void {
    if (isLoss(error)) {
      this.#losses++;
      this.#failingSinceMs ??= this.clock.monotonicMs();
    } else if (error instanceof ApiError) this.#failingSinceMs = undefined;
  }

  async #body(response: Response, limit: Limit): Promise<string> {
    try {
      return await response.text();
    } catch (error) {
      await response.body?.cancel().catch(() => {});
      if (this.closed) throw new Unreachable("the store is closed", true);
      if (limit.late) throw this.#tooLate(limit);
      throw new Unreachable(`the answer broke off: ${plainWords((error as Error).message)}`, true);
    }
  }

  async #send(call: Call, limit: Limit, way: "calls" | "streams"): Promise<Response> {
    for (let attempt = 1;; attempt++) {
      const response = await this.#fetch(call, limit, way, attempt > 1);
      const { token } = this.access;
      if (response.status !== 401 || attempt > 1 || !token || !("file" in token)) return response;
      await response.body?.cancel();
    }
  }

  async #fetch(
    call: Call,
    limit: Limit,
    way: "calls" | "streams",
    freshToken: boolean,
    through?: Pool,
  ): Promise<Response> {
    if (this.closed) throw new Unreachable("the store is closed", false);
    try {
      const pool = limit.pool = through ?? await this.#current();
      return await fetch(this.access.server + call.path, {
        method: call.method,
        client: pool[way],
        headers: {
          accept: "application/json",
          "user-agent": "tortie",
          ...await this.#credentials(freshToken),
          ...(call.body !== undefined &&
            {
              "content-type": call.contentType ?? "application/json",
            }),
        },
        body: call.body === undefined ? undefined : sentOnce(call.body),
        redirect: "manual",
        signal: limit.abort.signal,
      });
    } catch (error) {
      if (error instanceof StoreError) throw error;
      if (this.closed) throw new Unreachable("the store is closed", true);
      if (call.signal?.aborted) throw new Unreachable("it was called off", true);
      if (limit.late) throw this.#tooLate(limit);
      const told = explainFetch(error, this.access.origin, this.access.ca !== undefined);
      if (told instanceof Unreachable) {
        throw new Unreachable(told.message + proxyWords(this.server), told.sent);
      }
      throw new StoreError(told.kind, `the Kubernetes API ${this.server}: ${told.message}`);
    }
  }

  /** Whether the watches of that pool still hear the server is another question. */
  #tooLate({ pool, beganMs }: Limit): Unreachable {
    this.#drop(pool);
    pool?.pulse.doubt(beganMs);
    return new Unreachable(`no answer within ${this.timing.answerMs / 1000} s`, true);
  }

  async #credentials(fresh: boolean): Promise<Record<string, string>> {
    const { token, basic } = this.access;
    if (basic && !token) {
      const bytes = new TextEncoder().encode(`${basic.username}:${basic.password}`);
      return { authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
    }
    if (!token) return {};
    if ("text" in token) return { authorization: `Bearer ${token.text}` };
    const now = this.clock.monotonicMs();
    if (fresh || !this.#token || now - this.#token.readMs >= this.timing.tokenMs) {
      const text = (await this.around.readFile(token.file))?.trim();
      // An empty or missing file is in the middle of being exchanged: the one we have may still do.
      if (text) this.#token = { text, readMs: now };
      else if (!this.#token) {
        throw new StoreError("invalid", `the token file ${token.file} is not there, or empty`);
      }
    }
    return { authorization: `Bearer ${this.#token!.text}` };
  }

  /** The pool; a new one where files that it was made of have changed. */
  async #current(): Promise<Pool> {
    const now = this.clock.monotonicMs();
    const stale = hasFiles(this.access) && now - this.#checkedMs >= this.timing.tokenMs;
    if (!this.#pool || stale) {
      this.#checkedMs = now;
      this.#pool = this.#renewed(this.#pool).catch((error) => {
        this.#pool = undefined;
        throw error;
      });
    }
    return await this.#pool;
  }

  /** Of what the files hold now, or, where that cannot be used, of what they held before. */
  async #renewed(former: Promise<Pool> | undefined): Promise<Pool> {
    const old = await former?.catch(() => undefined);
    try {
      const pems = await this.#readPems();
      const same = old?.retired === false && old.pems === JSON.stringify(pems);
      const pool = same ? old : this.#make(pems);
      if (!same && old) retire(old);
      this.#made = pool;
      this.#good = pems;
      this.#trouble = "";
      return pool;
    } catch (error) {
      if (!this.#good || !(error instanceof StoreError)) throw error;
      const { tokenMs } = this.timing;
      this.#checkedMs = this.clock.monotonicMs() - tokenMs + Math.min(MIXED_MS, tokenMs);
      if (this.#trouble !== error.message) {
        this.onTrouble(`${error.message}; what was there before stays in use`);
      }
      this.#trouble = error.message;
      return this.#made = old?.retired === false ? old : this.#make(this.#good);
    }
  }

  #make(pems: Pems): Pool {
    const { ca, cert, key } = pems;
    try {
      const tls = { ...(ca && { caCerts: [ca] }), ...(cert && key && { cert, key }) };
      const secure = this.server.startsWith("https:");
      const { clock, timing: { pulseMs } } = this;
      const pool: Pool = {
        calls: makeHttpClient({ ...tls, http2: false, poolMaxIdlePerHost: SIDE_BY_SIDE }, secure),
        streams: makeHttpClient(tls, secure),
        pems: JSON.stringify(pems),
        pulse: new Pulse(clock, pulseMs, () => this.#sign(pool), () => {
          if (pool.retired) end(pool);
        }),
        retired: false,
        ended: false,
      };
      return pool;
    } catch (error) {
      throw new StoreError(
        "invalid",
        `the certificates of ${this.access.origin} cannot be used: ${(error as Error).message}`,
      );
    }
  }

  async #readPems(): Promise<Pems> {
    const { ca, cert, key } = this.access;
    const [a, c, k] = await Promise.all([ca, cert, key].map((pem) => this.#pem(pem)));
    const fault = c && k && pairFault(c, k);
    if (fault) {
      throw new StoreError(
        "invalid",
        `the client certificate and key of ${this.access.origin} cannot be used: ${fault}`,
      );
    }
    return { ca: a, cert: c, key: k };
  }

  async #pem(pem: Pem | undefined): Promise<string | undefined> {
    if (!pem) return undefined;
    const text = "pem" in pem ? pem.pem : await this.around.readFile(pem.file);
    // A text without any would be taken for an authority that has signed nothing.
    if (text !== undefined && !text.includes("-----BEGIN ")) {
      const where = "file" in pem ? `the file ${pem.file}` : `data of ${this.access.origin}`;
      throw new StoreError("invalid", `a certificate or key is no PEM: ${where}`);
    }
    if (text === undefined && "file" in pem) {
      throw new StoreError(
        "invalid",
        `the file ${pem.file}, which ${this.access.origin} names, is not there`,
      );
    }
    return text;
  }

  /** Any answer will do, from the client that carries the pool's watches. */
  #sign(pool: Pool): Promise<void> {
    return this.#inTime(SIGN, async (limit) => {
      const response = await this.#fetch(SIGN, limit, "streams", false, pool);
      await this.#body(response, limit);
    });
  }

  /** The next request makes a new pool. */
  #drop(pool: Pool | undefined): void {
    if (!pool) return;
    retire(pool);
    if (this.#made !== pool) return;
    this.#made = undefined;
    this.#pool = undefined;
  }
}

/** Nothing new goes by this pool; its last watch closes what it still needs. */
function retire(pool: Pool): void {
  if (pool.retired) return;
  pool.retired = true;
  pool.calls.close();
  if (pool.pulse.watches === 0) end(pool);
}

function end(pool: Pool): void {
  if (!pool.ended) pool.streams.close();
  pool.ended = true;
}

function hasFiles({ ca, cert, key }: Access): boolean {
  return [ca, cert, key].some((pem) => pem !== undefined && "file" in pem);
}

function apiError(response: Response, text: string, request: Request): ApiError {
  const after = Number(response.headers.get("retry-after"));
  return statusError(response.status, text, request, after > 0 ? after * 1000 : undefined);
}

/** From the text of an answer that is no success: a Status object, or whatever a proxy says. */
export function statusError(
  code: number,
  text: string,
  request: Request,
  retryAfterMs?: number,
): ApiError {
  let reason = "", message = text.trim().split("\n")[0].slice(0, 300);
  try {
    const status = JSON.parse(text);
    if (status?.kind === "Status") {
      reason = String(status.reason ?? "");
      message = String(status.message ?? message);
    }
  } catch {
    // Not JSON: "404 page not found".
  }
  return new ApiError(code, reason, message, request, retryAfterMs);
}

/** The texts of the answer's Warning fields, `299 - "text"` (RFC 7234, section 5.5). */
function warningsOf({ headers }: Response): string[] {
  const quoted = (headers.get("warning") ?? "").matchAll(/\b299 \S+ "((?:[^"\\]|\\.)*)"/g);
  return Array.from(quoted, ([, text]) => text.replace(/\\(.)/g, "$1"));
}
