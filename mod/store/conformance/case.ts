/**
 * A case of the store's conformance suite, and the room in which it runs: keys and values of its own,
 * and watches that are gathered in the background and ended with the case.
 */

import assert from "node:assert/strict";
import { Picture } from "./picture.ts";
import {
  type Entry,
  type Store,
  StoreError,
  type StoreErrorKind,
  type WatchEvent,
} from "../store.ts";

/** A driver that is open for one case. */
export interface Subject {
  readonly store: Store;
  close(): Promise<void>;
  /** Makes the store forget all of its history up to now. */
  compact(): Promise<void>;
  /**
   * Breaks the connection to the store, which is there again at once: now, or in place of the next
   * answer, so that what was asked for has been done and the asker does not know.
   */
  breakConnection?(when: "now" | "answer"): void;
  /** Takes the server away from the store, until the function that comes of it gives it back. */
  outage?(): Promise<() => Promise<void>>;
  /**
   * Copies the data, as an administrator would. The function that comes of it takes the server away,
   * puts the copy in the place of the data, and gives the server back when others have written to it.
   */
  backUp?(): Promise<(others: (store: Store) => Promise<void>) => Promise<void>>;
  /** Closes the store and opens the same data again; `store` is then another. */
  reopen?(): Promise<Store>;
}

/**
 * What only some drivers can do. "knownOutcome": a write whose connection broke is found again and
 * carried out once, so that its outcome is always known.
 */
export type Need = "breakConnection" | "outage" | "backUp" | "reopen" | "knownOutcome";

export interface Case {
  readonly name: string;
  /** What the driver must have for the case to make sense. */
  readonly needs?: readonly Need[];
  run(room: Room): Promise<void>;
}

export class Room {
  readonly #collectors = new Set<Collector | Picture>();

  constructor(
    readonly subject: Subject,
    readonly options: {
      readonly has?: readonly Need[];
      readonly key?: (name: string) => string;
      readonly value?: (n: number) => unknown;
    },
  ) {}

  get store(): Store {
    return this.subject.store;
  }

  /** A key of this case; `key("")` is the prefix of them all. */
  key(name: string): string {
    return this.options.key?.(name) ?? `/calico/test/${name}`;
  }

  value(n: number): unknown {
    return this.options.value?.(n) ?? { n, text: `value ${n}` };
  }

  /** The names (without prefix) of what a list holds. */
  names(entries: readonly Entry[]): string[] {
    return entries.map((entry) => entry.key.slice(this.key("").length));
  }

  /** Watches in the background, from now to the end of the case. */
  watch(prefix: string, from: string, store = this.store): Collector {
    const collector = new Collector(store, prefix, from);
    this.#collectors.add(collector);
    return collector;
  }

  /** Follows in the background, to the end of the case, and has told all that is there. */
  async follow(prefix: string): Promise<Picture> {
    const picture = new Picture(this.store, prefix);
    this.#collectors.add(picture);
    await picture.until("the first list", () => picture.lists > 0);
    return picture;
  }

  async leave(): Promise<void> {
    for (const collector of this.#collectors) await collector.end();
  }
}

/** A watch whose events are gathered. */
export class Collector {
  readonly events: WatchEvent[] = [];
  error: unknown;
  over = false;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wake = () => {};

  constructor(store: Store, prefix: string, from: string) {
    this.#done = this.#gather(store, prefix, from);
  }

  /** The events as soon as there are so many; fails when they do not come. */
  async first(count: number, withinMs = 10_000): Promise<WatchEvent[]> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, withinMs);
    try {
      while (this.events.length < count) {
        if (this.error) throw this.error;
        assert(!this.over, `the watch ended after ${this.events.length} of ${count} events`);
        assert(!late, `${this.events.length} of ${count} events within ${withinMs} ms`);
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
    } finally {
      clearTimeout(timer);
    }
    return this.events.slice(0, count);
  }

  /** Waits for the watch to end by itself, and gives what it threw. */
  async failure(): Promise<unknown> {
    await this.#done;
    return this.error;
  }

  async end(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #gather(store: Store, prefix: string, from: string): Promise<void> {
    try {
      for await (const event of store.watch(prefix, { from, signal: this.#abort.signal })) {
        this.events.push(event);
        this.#wake();
      }
    } catch (error) {
      this.error = error;
    }
    this.over = true;
    this.#wake();
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The StoreError of this kind with which the operation fails; anything else fails the case. */
export async function refusal(
  kind: StoreErrorKind,
  operation: Promise<unknown>,
): Promise<StoreError> {
  try {
    const result = await operation;
    assert.fail(`expected "${kind}", got ${JSON.stringify(result)}`);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    assert.equal(error.kind, kind, error.message);
    assert(error.message.length > 10, "the message must say what was wrong");
    return error;
  }
}

/** What the events make of a set of entries. */
export function fold(
  entries: readonly Entry[],
  events: readonly WatchEvent[],
): Map<string, { value: unknown; revision: string }> {
  const state = new Map(
    entries.map(({ key, value, revision }) => [key, { value, revision }] as const),
  );
  for (const event of events) {
    if (event.type === "delete") state.delete(event.key);
    else state.set(event.key, { value: event.value, revision: event.revision });
  }
  return state;
}
