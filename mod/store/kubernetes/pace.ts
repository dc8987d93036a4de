/** How hard the server is pressed: calls side by side, and pauses between attempts. */
import { type Clock, sleep } from "../clock.ts";
import { Unreachable } from "./failure.ts";

/** Calls that are on their way at the same time, each on a connection; more wait for their turn. */
export const SIDE_BY_SIDE = 24;

/** Lets so many in at a time, in the order in which they came. */
export class Turns {
  #inside = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly clock: Clock) {}

  /** Resolves when it is the caller's turn, with what ends it. */
  async enter(patienceMs: number): Promise<() => void> {
    if (this.#inside < SIDE_BY_SIDE) this.#inside++;
    else {
      await new Promise<void>((resolve, reject) => {
        const cancel = this.clock.after(patienceMs, () => {
          this.#waiting.splice(this.#waiting.indexOf(go), 1);
          reject(new Unreachable("it answers none of the calls that came before", false));
        });
        const go = () => {
          cancel();
          resolve();
        };
        this.#waiting.push(go);
      });
    }
    return () => {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#inside--;
    };
  }
}

/**
 * Pauses between attempts: doubling, spread, at least what the server asks for, and no shorter for
 * whoever begins to try while the server has been away for long already (`leastMs`).
 */
export class Backoff {
  #failures = 0;

  constructor(readonly clock: Clock, readonly random: () => number = Math.random) {}

  reset(): void {
    this.#failures = 0;
  }

  async pause(askedMs = 0, signal?: AbortSignal, leastMs = 0): Promise<void> {
    const longest = Math.min(5000, Math.max(leastMs, 50 * 2 ** Math.min(this.#failures++, 10)));
    await sleep(this.clock, Math.max(askedMs, longest * (0.5 + this.random() / 2)), signal);
  }
}
