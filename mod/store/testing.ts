/** What the tests of this room share: small logs, and a clock that is moved by hand. */

import type { LogBounds } from "./change_log.ts";
import type { Clock } from "./clock.ts";
import type { Store } from "./store.ts";

/** A log that a test can push its history out of. */
export const SMALL_LOG: LogBounds = { entries: 11_500, bytes: 16 * 1024 * 1024 };

/** Writes until a log of that size holds nothing that was there before. */
export async function forgetHistory(store: Store): Promise<void> {
  for (let i = 0; i < SMALL_LOG.entries + 300; i += 500) {
    await Promise.all(Array.from({ length: 500 }, () => store.put("/elsewhere/filler", i)));
  }
}

/** Time that stands still until it is moved. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; run: () => void }>();

  constructor(public wallOffset = 1_700_000_000_000) {}

  wallMs(): number {
    return this.wallOffset + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Time passes in which nothing runs: what was to run then is late. */
  leap(ms: number): void {
    this.#now += ms;
  }

  /** Moves on, timer by timer, and lets what is to run run as far as it comes. */
  async advance(ms: number): Promise<void> {
    await settle();
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= end)
        .sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#now = Math.max(this.#now, due.at);
      this.#timers.delete(due);
      due.run();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets everything run that waits for nothing but each other. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}
