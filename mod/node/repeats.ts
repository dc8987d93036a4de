/**
 * Complaints that come again and again, for the log: each is said once, then at growing intervals, with
 * a count. What has been quiet for as long as its interval is new again. Pure: the clock is passed in.
 */
import type { Clock } from "../store/clock.ts";

/** Milliseconds between two times that the same is said. */
const INTERVALS = [10_000, 60_000, 600_000, 3_600_000];
/** Complaints said at once; of more, the number. */
const MOST = 20;

interface Heard {
  /** How often it was said. */
  told: number;
  /** How often it was heard. */
  times: number;
  /** When it is to be said next. */
  next: number;
  last: number;
}

export interface Complaint {
  readonly error: string;
  /** How often it has been heard. */
  readonly times: number;
}

const interval = (told: number) => INTERVALS[Math.min(told, INTERVALS.length) - 1];

export class Repeats {
  readonly #heard = new Map<string, Heard>();

  constructor(readonly clock: Pick<Clock, "monotonicMs">) {}

  /** What of these is to be said now; `more`: how many others there would be. */
  hear(errors: Iterable<string>): { say: Complaint[]; more: number } {
    const now = this.clock.monotonicMs();
    const say: Complaint[] = [];
    let more = 0;
    for (const error of errors) {
      const heard = this.#heard.get(error) ?? { told: 0, times: 0, next: now, last: now };
      this.#heard.set(error, heard);
      heard.times++;
      heard.last = now;
      if (now < heard.next) continue;
      heard.told++;
      heard.next = now + interval(heard.told);
      if (say.length < MOST) say.push({ error, times: heard.times });
      else more++;
    }
    for (const [error, { last, told }] of this.#heard) {
      if (now - last > interval(told)) this.#heard.delete(error);
    }
    return { say, more };
  }
}
