/**
 * Whether the watches of one pool still hear the server. A connection may die without a word (a firewall
 * that forgot it, a machine that lost its power), and a watch that says nothing may as well be idle. So
 * after a while in which no watch has said anything, one question is asked for all of them, by the
 * client that carries them; where no answer comes in time, all of them are told that they are deaf.
 *
 *     heard … silence -> question -> answer -> heard
 *                                 '-> none -> every watch ends, and is opened anew elsewhere
 *
 * Over HTTP/2 the watches and the question share one connection, and this is what Go's clients do with a
 * ping of HTTP/2: a process asks once in half a minute of silence, however many watches it has. Where a
 * server, or a proxy before it, speaks HTTP/1.1 alone, each watch has a connection of its own (`alone`)
 * and the question has another: it tells of a path on which nothing passes any more, and not of a watch
 * that was forgotten. So where a call was not answered in time, such a watch is deaf if it has said
 * nothing since that was sent. One that nothing else casts doubt on is opened anew by its own silence
 * (`config.ts`), which has to be longer than the minute between two bookmarks: shorter, every idle watch
 * of every node would be opened anew all the time.
 */
import type { Clock } from "../clock.ts";
import { Unreachable } from "./failure.ts";

/** A watch, as long as it is open. */
export interface Beat {
  /** It said something. */
  heard(): void;
  leave(): void;
}

export class Pulse {
  readonly #watches = new Map<(deaf: Unreachable) => void, { alone: boolean; heardMs: number }>();
  #heardMs: number;
  #cancel = () => {};
  #asking = false;

  constructor(
    readonly clock: Clock,
    readonly silenceMs: number,
    /** Rejects where there is no answer. */
    readonly ask: () => Promise<void>,
    /** The last watch has left. */
    readonly onIdle: () => void = () => {},
  ) {
    this.#heardMs = clock.monotonicMs();
  }

  get watches(): number {
    return this.#watches.size;
  }

  /**
   * `onDeaf` is called at most once, and means: leave, and open another watch. `alone`: it has a connection
   * of its own.
   */
  join(onDeaf: (deaf: Unreachable) => void, alone = false): Beat {
    // A function of its own for each, whatever was given.
    const told = (deaf: Unreachable) => onDeaf(deaf);
    const watch = { alone, heardMs: this.clock.monotonicMs() };
    this.#watches.set(told, watch);
    this.#heard();
    if (this.#watches.size === 1) this.#wait();
    return {
      heard: () => {
        this.#heard();
        watch.heardMs = this.#heardMs;
      },
      leave: () => {
        if (!this.#watches.delete(told) || this.#watches.size > 0) return;
        this.#cancel();
        this.onIdle();
      },
    };
  }

  /** What was sent then was not answered in time: asks at once, for those for whom an answer can speak. */
  doubt(sinceMs: number): void {
    for (const [told, { alone, heardMs }] of [...this.#watches]) {
      if (!alone || heardMs >= sinceMs) continue;
      const now = this.clock.monotonicMs(), why = "a call was not answered in time";
      told(deafness(now - heardMs, why, now - sinceMs));
    }
    if (this.#watches.size > 0) this.#question();
  }

  #heard(): void {
    this.#heardMs = this.clock.monotonicMs();
  }

  #wait(): void {
    this.#cancel();
    const left = this.#heardMs + this.silenceMs - this.clock.monotonicMs();
    this.#cancel = this.clock.after(Math.max(left, 1), () => {
      const silent = this.clock.monotonicMs() - this.#heardMs;
      if (silent < this.silenceMs) this.#wait();
      else this.#question();
    });
  }

  async #question(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const heard = this.#heardMs;
    try {
      await this.ask();
      this.#heard();
    } catch (error) {
      // Who said something meanwhile is heard.
      if (this.#heardMs === heard) this.#tell((error as Error).message);
    } finally {
      this.#asking = false;
    }
    if (this.#watches.size > 0) this.#wait();
  }

  #tell(why: string): void {
    const awayMs = this.clock.monotonicMs() - this.#heardMs;
    for (const told of [...this.#watches.keys()]) told(deafness(awayMs, why, awayMs));
  }
}

/** `awayMs`: for how long the server, and not this watch alone, has been silent. */
function deafness(silentMs: number, why: string, awayMs: number): Unreachable {
  const seconds = Math.round(silentMs / 1000);
  return new Unreachable(`nothing was heard for ${seconds} s: ${why}`, true, awayMs);
}
