/**
 * When something is tried again that failed, or that did not last: things under keys, each with pauses
 * of its own, so that one that cannot be done holds up none that can.
 *
 *     failed    tried again after a pause that grows with each failure. Nothing that is heard of it
 *               meanwhile shortens the pause: what we hear may be the echo of our own attempt.
 *     again     a thing that was done, and was undone by somebody (or by a kernel that keeps what we set
 *               otherwise than we set it). It is done again at once, a few times; then once a second,
 *               so that two who disagree do not keep a processor busy with it.
 *     hasten    something else has changed that may have been in the way: soon, not at once.
 *
 * Pure: the clock is passed in.
 */
import type { Clock } from "../store/clock.ts";

/** Milliseconds after the first failure, the second, …; the last one for all further ones. */
const PAUSES = [100, 500, 2000, 10_000];
/** Milliseconds from an attempt to the next one where there is new hope. */
const SOON = 500;
/** What is undone is done again so often without a pause, and then once in so many milliseconds. */
const BURST = 30, REFILL = 1000;
/** More than so many keys are looked through for some that need no keeping. */
const MANY = 1000;

/** Something that failed and waits for its next attempt. */
export interface Trial {
  readonly error: Error;
  /** Failures without a success between them. */
  readonly times: number;
  /** When it is due, in the clock's monotonic milliseconds. */
  readonly due: number;
}

export class Retries {
  readonly #trials = new Map<string, Trial & { readonly last: number }>();
  /** How often a key may still be done again without a pause, as of a moment. */
  readonly #credits = new Map<string, { left: number; at: number }>();

  constructor(readonly clock: Pick<Clock, "monotonicMs">) {}

  /** Whether nothing has failed that was not done since. */
  get idle(): boolean {
    return this.#trials.size === 0;
  }

  /** It was tried, and failed. */
  failed(key: string, error: Error): Trial {
    const times = (this.#trials.get(key)?.times ?? 0) + 1;
    const last = this.clock.monotonicMs();
    const trial = { error, times, last, due: last + PAUSES[Math.min(times, PAUSES.length) - 1] };
    this.#trials.set(key, trial);
    return trial;
  }

  /** It is about to be done once more, having been undone: not now, if it was too often of late. */
  again(key: string, error: () => Error): Trial | undefined {
    const now = this.clock.monotonicMs();
    const before = this.#credits.get(key);
    const left = before ? Math.min(BURST, before.left + (now - before.at) / REFILL) : BURST;
    if (left < 1) {
      const trial = { error: error(), times: 1, last: now, due: now + (1 - left) * REFILL };
      this.#trials.set(key, trial);
      return trial;
    }
    this.#credits.set(key, { left: left - 1, at: now });
    if (this.#credits.size > MANY) this.#prune(now);
    return undefined;
  }

  /** What failed under the key and is not due yet. */
  waiting(key: string): Trial | undefined {
    const trial = this.#trials.get(key);
    return trial && trial.due > this.clock.monotonicMs() ? trial : undefined;
  }

  /** What failed under the key, due or not. */
  trial(key: string): Trial | undefined {
    return this.#trials.get(key);
  }

  /** It is done, or something else is wanted there now. */
  forget(key: string): void {
    this.#trials.delete(key);
  }

  hasten(): void {
    for (const [key, trial] of this.#trials) {
      const due = Math.min(trial.due, trial.last + SOON);
      if (due < trial.due) this.#trials.set(key, { ...trial, due });
    }
  }

  #prune(now: number): void {
    for (const [key, { left, at }] of this.#credits) {
      if (left + (now - at) / REFILL >= BURST) this.#credits.delete(key);
    }
  }
}
