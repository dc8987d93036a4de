/**
 * The timers of one session on the clock that was passed in. A timer that is started anew all the
 * time (hold, with every message) costs nothing but a number: the clock is asked again only when the
 * old time has come.
 */
import type { Clock, Timer } from "../transport.ts";
import type { TimerName } from "./session.ts";

interface Running {
  deadline: number;
  timer: Timer;
  /** When `timer` calls. */
  at: number;
}

/**
 * A hold timer that is noticed this late, in milliseconds, finds a process that was not running rather
 * than a silent peer: what the peer has sent meanwhile is still to be read.
 */
const LATE = 500;
const SECOND_CHANCE = 1_000;

export class Timers {
  readonly #running = new Map<TimerName, Running>();

  constructor(
    private readonly clock: Clock,
    private readonly expired: (name: TimerName) => void,
  ) {}

  start(name: TimerName, seconds: number, jitter: boolean): void {
    // RFC 4271 section 10: a random factor from 0.75 to 1.
    const ms = 1000 * seconds * (jitter ? 0.75 + 0.25 * this.clock.random() : 1);
    const deadline = this.clock.now() + ms;
    const running = this.#running.get(name);
    if (running && running.at <= deadline) {
      running.deadline = deadline;
      return;
    }
    running?.timer.cancel();
    this.#arm(name, deadline);
  }

  running(name: TimerName): boolean {
    return this.#running.has(name);
  }

  stop(name: TimerName): void {
    this.#running.get(name)?.timer.cancel();
    this.#running.delete(name);
  }

  stopAll(): void {
    for (const name of [...this.#running.keys()]) this.stop(name);
  }

  #arm(name: TimerName, deadline: number): void {
    const ms = Math.max(0, deadline - this.clock.now());
    const timer = this.clock.after(ms, () => this.#due(name));
    this.#running.set(name, { deadline, timer, at: this.clock.now() + ms });
  }

  #due(name: TimerName): void {
    const running = this.#running.get(name)!;
    const late = this.clock.now() - running.deadline;
    if (late < 0) {
      this.#arm(name, running.deadline);
      return;
    }
    if (name === "hold" && late > LATE) {
      this.#arm(name, this.clock.now() + SECOND_CHANCE);
      return;
    }
    this.#running.delete(name);
    this.expired(name);
  }
}
