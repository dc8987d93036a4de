/**
 * A store that another process serves over a local socket. It reconnects by itself, and what was
 * under way when the connection broke goes on:
 *
 * - get and list are asked again;
 * - a write is sent again under its name, and is carried out once (`wire.ts` says how); only where
 *   that can no longer be told does it end in "unavailable", outcome unknown;
 * - a watch is taken up after the last revision that it was told of: nothing is lost, nothing comes
 *   twice. It ends in "compacted" where the process that serves the store is another by then.
 *
 * When the store has not answered for `patienceMs`, the operation ends in StoreError "unavailable".
 * After an "unavailable" of a write whose request may have arrived, the message says that its outcome
 * is unknown; the caller reads the object before it decides.
 */

import type { Connect } from "../rpc/connection.ts";
import { JsonText } from "../rpc/message.ts";
import { RpcDisconnected, RpcError } from "../rpc/method.ts";
import { type Clock, sleep, systemClock } from "./clock.ts";
import { checkKey, encodeValue, mustBeJoint, ttlMs } from "./limits.ts";
import { type Link, Links } from "./link.ts";
import {
  type Entry,
  type JointWrite,
  type Listing,
  OTHER_EPOCH,
  type Revision,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "./store.ts";
import { readEntry, readEvent, toStoreError, valueMember } from "./wire.ts";

export interface RemoteOptions {
  /** How long an operation waits for the store to come (back). Default 10,000 ms. */
  readonly patienceMs?: number;
  /** How often a watched server is asked for a sign of life. Default 5,000 ms. */
  readonly pingMs?: number;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** The store that is served at this Unix socket. Nothing is connected before it is used. */
export function remoteStore(path: string, options: RemoteOptions = {}): RemoteStore {
  const connect: Connect = async (signal) => {
    const { connectUnix } = await import("../rpc/connect.ts");
    return connectUnix(path, signal);
  };
  return new RemoteStore(connect, options);
}

export class RemoteStore implements Store {
  readonly #links: Links;
  readonly #clock: Clock;
  readonly #patienceMs: number;
  readonly #writer = crypto.randomUUID().replaceAll("-", "").slice(0, 16);
  #writes = 0;

  constructor(connect: Connect, options: RemoteOptions = {}) {
    const { patienceMs = 10_000, pingMs = 5000, clock = systemClock, random = Math.random } =
      options;
    this.#clock = clock;
    this.#patienceMs = patienceMs;
    this.#links = new Links(connect, { clock, random, answerMs: patienceMs, pingMs });
  }

  get epoch(): number {
    return this.#links.epoch;
  }

  async get<T = unknown>(key: string): Promise<Entry<T> | undefined> {
    checkKey(key);
    const deadline = this.#deadline();
    for (;;) {
      const link = await this.#links.ready(deadline);
      try {
        const entry = await this.#call(link, "store.get", { key }, deadline);
        link.hear();
        return entry === null ? undefined : readEntry<T>(entry);
      } catch (error) {
        await this.#mayRepeat(error, "store.get", deadline);
      }
    }
  }

  async list<T = unknown>(prefix: string): Promise<Listing<T>> {
    const deadline = this.#deadline();
    for (;;) {
      const link = await this.#links.ready(deadline);
      try {
        return await this.#listOver<T>(link, prefix);
      } catch (error) {
        await this.#mayRepeat(error, "store.list", deadline);
      }
    }
  }

  create(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return this.#writeValue("store.create", key, value, {}, options);
  }

  update(
    key: string,
    value: unknown,
    revision: Revision,
    options: WriteOptions = {},
  ): Promise<Revision> {
    return this.#writeValue("store.update", key, value, { revision }, options);
  }

  put(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return this.#writeValue("store.put", key, value, {}, options);
  }

  async delete(key: string, revision?: Revision): Promise<Revision> {
    checkKey(key);
    const { revision: at } = await this.#write<{ revision: Revision }>(
      "store.delete",
      key,
      (id) => JSON.stringify({ key, revision, ...id }),
    );
    return at;
  }

  /** undefined: an older version serves the store. */
  async together(
    writes: readonly JointWrite[],
    epoch?: number,
  ): Promise<Revision[] | undefined> {
    mustBeJoint(writes.map(({ key }) => key));
    if (writes.length === 0) return [];
    const members = writes.map(({ key, value, ...head }) => {
      checkKey(key);
      return { head: { key, ...head }, value: valueMember(encodeValue(key, value)) };
    });
    const { key } = writes[0];
    try {
      const answer = await this.#write<{ revisions: Revision[] }>("store.together", key, (id) => {
        const { writeId, store, ...repeated } = id;
        const texts = members.map(({ head, value }, i) => {
          const named = { ...head, writeId: `${writeId}.${i}`, ...(i === 0 && repeated) };
          return withMember(named, value);
        });
        return `{"writes":[${texts.join(",")}],"store":${JSON.stringify(store ?? "")}}`;
      }, epoch);
      return answer.revisions;
    } catch (error) {
      if (error instanceof RpcError && error.kind === "unknownMethod") return undefined;
      throw error;
    }
  }

  async *watch<T = unknown>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const { signal } = options;
    let from = options.from;
    let store: string | undefined, opening: string | undefined;
    let deadline = this.#deadline();
    const release = this.#links.watch();
    try {
      while (!signal?.aborted) {
        const link = await this.#links.ready(deadline, signal);
        store ??= link.store;
        opening ??= link.opening;
        try {
          const params = { prefix, from, store, opening };
          for await (const batch of link.rpc.stream("store.watch", params, { signal })) {
            const { events, revision } = batch as { events: unknown[]; revision: Revision };
            for (const wire of events) {
              if (signal?.aborted) return;
              const event = readEvent<T>(wire);
              from = event.revision;
              yield event;
            }
            from = revision;
            link.hear(revision);
            // Each sign that the watch goes on renews the patience for its next interruption.
            deadline = Infinity;
          }
          if (link.rpc.alive) return;
          deadline = this.#deadline();
        } catch (error) {
          if (deadline === Infinity) deadline = this.#deadline();
          await this.#mayRepeat(error, "store.watch", deadline);
        }
      }
    } catch (error) {
      if (!signal?.aborted) throw error;
    } finally {
      release();
    }
  }

  async close(): Promise<void> {
    await this.#links.close();
  }

  #deadline(): number {
    return this.#clock.monotonicMs() + this.#patienceMs;
  }

  async #writeValue(
    method: string,
    key: string,
    value: unknown,
    more: Record<string, unknown>,
    { ttlSeconds }: WriteOptions,
  ): Promise<Revision> {
    checkKey(key);
    const member = valueMember(encodeValue(key, value));
    ttlMs(key, ttlSeconds);
    const { revision } = await this.#write<{ revision: Revision }>(
      method,
      key,
      (id) => withMember({ key, ...more, ttlSeconds, ...id }, member),
    );
    return revision;
  }

  /**
   * Sends the write until it is answered; under its name the server carries it out once. `params` is its
   * JSON with what names it. In another epoch than the one given it is not sent.
   */
  async #write<Answer extends { revision: Revision } | { revisions: Revision[] }>(
    method: string,
    key: string,
    params: (id: WriteName) => string,
    epoch?: number,
  ): Promise<Answer> {
    const deadline = this.#deadline();
    const writeId = `${this.#writer}.${(++this.#writes).toString(36)}`;
    let first: { repeatedSince: Revision; store: string } | undefined;
    let arrived = false;
    try {
      for (;;) {
        const link = await this.#links.ready(deadline);
        if (epoch !== undefined && epoch !== this.epoch) {
          throw new StoreError(arrived ? "unavailable" : "conflict", OTHER_EPOCH, key);
        }
        first ??= { repeatedSince: link.revision, store: link.store };
        const json = new JsonText(params({ writeId, ...(arrived && first) }));
        try {
          const answer = await this.#call(link, method, json, deadline) as Answer;
          link.hear("revision" in answer ? answer.revision : answer.revisions.at(-1));
          return answer;
        } catch (error) {
          if (!(error instanceof RpcError) || (error instanceof RpcDisconnected && error.sent)) {
            arrived = true;
          }
          await this.#mayRepeat(error, method, deadline);
        }
      }
    } catch (error) {
      // An older server, after a newer one that may have carried it out, knows of nothing.
      const isUnsure = error instanceof RpcError ||
        error instanceof StoreError && error.kind === "unavailable";
      if (!arrived || !isUnsure) throw error;
      throw new StoreError(
        "unavailable",
        `the outcome of ${method} of ${key} is unknown, read the object again: ${error.message}`,
        key,
      );
    }
  }

  /** One call, given up at the deadline. Rejects with RpcError, or StoreError "unavailable". */
  async #call(link: Link, method: string, params: unknown, deadline: number): Promise<unknown> {
    const late = new AbortController();
    const left = deadline - this.#clock.monotonicMs();
    const cancel = this.#clock.after(left, () => late.abort(this.#tooLate(method)));
    try {
      return await link.rpc.call(method, params, { signal: late.signal });
    } finally {
      cancel();
    }
  }

  /** A list comes in batches; patience is for each of them. */
  async #listOver<T>(link: Link, prefix: string): Promise<Listing<T>> {
    const late = new AbortController();
    const watch = () => this.#clock.after(this.#patienceMs, () => late.abort());
    let cancel = watch();
    try {
      const entries: Entry<T>[] = [];
      for await (
        const batch of link.rpc.stream("store.list", { prefix }, {
          signal: late.signal,
          isLast: (batch) => "revision" in (batch as object),
        })
      ) {
        const part = batch as { entries: unknown[] } | { revision: Revision };
        if ("revision" in part) {
          link.hear(part.revision);
          return { entries, revision: part.revision };
        }
        for (const wire of part.entries) entries.push(readEntry<T>(wire));
        cancel();
        cancel = watch();
      }
      throw this.#tooLate("store.list");
    } finally {
      cancel();
    }
  }

  #tooLate(method: string): StoreError {
    return new StoreError(
      "unavailable",
      `the datastore did not answer ${method} within ${this.#patienceMs} ms`,
    );
  }

  /** Returns if the operation may be tried again now; else throws what the caller gets. */
  async #mayRepeat(error: unknown, method: string, deadline: number): Promise<void> {
    if (error instanceof RpcDisconnected) return; // `ready` waits, and keeps to the deadline.
    if (!(error instanceof RpcError)) throw error;
    if (error.kind === "unknownMethod" && method === "store.together") throw error;
    if (error.kind !== "busy" || this.#clock.monotonicMs() >= deadline) {
      throw toStoreError(error, method);
    }
    await sleep(this.#clock, 20);
  }
}

/** What names a request, and says of one that is sent again what it needs to be told from another. */
interface WriteName {
  readonly writeId: string;
  readonly repeatedSince?: Revision;
  readonly store?: string;
}

/** The object as JSON with the member `value` or `text` as it is. */
function withMember(object: Record<string, unknown>, member: string): string {
  return `${JSON.stringify(object).slice(0, -1)},${member}}`;
}
