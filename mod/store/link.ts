/**
 * A connection to a served store that is made again when it breaks. Whoever needs it asks `ready`
 * with a deadline; attempts are shared and paced, so a hundred waiting operations knock once. While
 * somebody watches, the server is asked for a sign of life now and then: a server that hangs counts
 * as gone.
 */

import { RpcClient } from "../rpc/client.ts";
import type { Connect } from "../rpc/connection.ts";
import { type Clock, sleep } from "./clock.ts";
import { StoreError } from "./store.ts";
import type { Hello } from "./wire.ts";

export interface LinkOptions {
  readonly clock: Clock;
  /** 0 to 1, as Math.random: spreads the attempts of many clients. */
  readonly random: () => number;
  /** How long the server may take to greet or to give a sign of life. */
  readonly answerMs: number;
  /** Between signs of life. */
  readonly pingMs: number;
}

/** Pauses between attempts grow from the first to the second; after a link that was of use, from the first */
const FIRST_PAUSE_MS = 10, LONGEST_PAUSE_MS = 500;

/** A connection that has been greeted. */
export class Link {
  /** The newest revision of the store that we have heard of. */
  revision: string;

  constructor(
    readonly rpc: RpcClient,
    readonly store: string,
    readonly opening: string | undefined,
    revision: string,
    readonly onAnswer: () => void,
  ) {
    this.revision = revision;
  }

  /** An answer came, perhaps with the store's revision at that time. */
  hear(revision?: string): void {
    this.onAnswer();
    if (revision === undefined) return;
    if (revision.length > this.revision.length || revision > this.revision) {
      this.revision = revision;
    }
  }
}

export class Links {
  readonly #client = crypto.randomUUID();
  #current: Link | undefined;
  #attempt: Promise<Link> | undefined;
  #lastError: Error | undefined;
  #pause = 0;
  #watchers = 0;
  #epoch = 0;
  readonly #abort = new AbortController();

  constructor(readonly connect: Connect, readonly options: LinkOptions) {}

  /** How often the store at the other end was another, or was opened anew. */
  get epoch(): number {
    return this.#epoch;
  }

  get closed(): boolean {
    return this.#abort.signal.aborted;
  }

  /** A greeted connection; StoreError "unavailable" when there is none by the deadline. */
  async ready(deadline: number, signal?: AbortSignal): Promise<Link> {
    const { clock } = this.options;
    for (;;) {
      if (this.closed) throw unavailable("this process closed it");
      signal?.throwIfAborted();
      if (this.#current?.rpc.alive) return this.#current;
      this.#attempt ??= this.#connect().finally(() => this.#attempt = undefined);
      this.#attempt.catch(() => {});
      const left = deadline - clock.monotonicMs();
      if (left <= 0) throw unavailable(this.#lastError?.message ?? "it did not answer in time");
      const link = await firstOf(this.#attempt, sleeping(clock, left, signal));
      if (link) return link;
    }
  }

  /** Keeps asking for signs of life until the function that it returns is called. */
  watch(): () => void {
    this.#watchers++;
    return () => this.#watchers--;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#current?.rpc.close();
    await this.#attempt?.catch(() => {});
  }

  async #connect(): Promise<Link> {
    const { clock, random, answerMs } = this.options;
    const { signal } = this.#abort;
    await sleep(clock, this.#pause * random(), signal);
    this.#pause = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pause * 2));
    let rpc: RpcClient | undefined;
    const expired = new AbortController();
    const cancel = clock.after(answerMs, () => expired.abort(new Error("it did not greet us")));
    try {
      const attempt = AbortSignal.any([signal, expired.signal]);
      rpc = new RpcClient(await this.connect(attempt));
      const hello = await rpc.call("store.hello", { client: this.#client }, { signal: attempt });
      const { store, opening, revision } = hello as Hello;
      const link = new Link(rpc, store, opening, revision, () => this.#pause = FIRST_PAUSE_MS);
      if (this.#current && !isSameOpening(this.#current, link)) this.#epoch++;
      this.#current = link;
      this.#lastError = undefined;
      this.#keep(link);
      return link;
    } catch (error) {
      this.#lastError = error as Error;
      await rpc?.close();
      throw error;
    } finally {
      cancel();
    }
  }

  /** Watches over a link for as long as it is there. */
  async #keep(link: Link): Promise<void> {
    const { clock, pingMs } = this.options;
    const over = new AbortController();
    link.rpc.ended().then(() => over.abort());
    while (!over.signal.aborted) {
      await sleep(clock, pingMs, over.signal);
      if (over.signal.aborted || this.#watchers === 0) continue;
      await this.#ping(link, over.signal);
    }
  }

  async #ping(link: Link, over: AbortSignal): Promise<void> {
    const { clock, answerMs } = this.options;
    const silent = new AbortController();
    const cancel = clock.after(answerMs, () => silent.abort());
    try {
      const signal = AbortSignal.any([over, silent.signal]);
      const answer = await link.rpc.call("store.ping", {}, { signal });
      link.hear((answer as Hello).revision);
    } catch {
      if (silent.signal.aborted) await link.rpc.close();
    } finally {
      cancel();
    }
  }
}

export function unavailable(reason: string): StoreError {
  return new StoreError(
    "unavailable",
    `the datastore cannot be reached: ${reason}; is the process that serves it running?`,
  );
}

/** An older server does not tell; then it may be another each time. */
function isSameOpening(a: Link, b: Link): boolean {
  return a.store === b.store && a.opening === b.opening && a.opening !== undefined;
}

/** The link, or undefined when the attempt failed or the time is over. */
async function firstOf(
  attempt: Promise<Link>,
  timer: { over: Promise<void>; cancel: () => void },
): Promise<Link | undefined> {
  try {
    return await Promise.race([attempt.catch(() => undefined), timer.over.then(() => undefined)]);
  } finally {
    timer.cancel();
  }
}

function sleeping(clock: Clock, ms: number, signal?: AbortSignal) {
  const stop = new AbortController();
  const either = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  return { over: sleep(clock, ms, either), cancel: () => stop.abort() };
}
