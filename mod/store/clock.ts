/**
 * Time, passed in: what expires, waits and backs off in this room asks a Clock, so that a test moves
 * time by hand. Deadlines are kept on the monotonic clock; the wall clock only carries them over a
 * restart of the process.
 */

export interface Clock {
  /** Milliseconds since 1970, as the machine believes. May jump. */
  wallMs(): number;
  /** Milliseconds since some moment. Never goes back. */
  monotonicMs(): number;
  /** Calls `run` once after so many milliseconds; the function that it returns takes that back. */
  after(ms: number, run: () => void): () => void;
}

/** Longest delay that setTimeout takes; longer ones fire early and are asked for again. */
const LONGEST_TIMER_MS = 0x7fffffff;

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(Math.max(0, Math.ceil(ms)), LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** Resolves after so many milliseconds, or as soon as the signal is aborted. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  if (ms <= 0 || signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(ms, done);
    signal?.addEventListener("abort", done);
  });
}
