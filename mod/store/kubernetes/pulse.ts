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
 * server, or a proxy before it, speaks HTTP/1.1 alone, each watch has a connection of its own and the
 * question has another: it tells of a path on which nothing passes any more, and not of a single watch
 * that was forgotten. That one is opened anew by its own silence (`config.ts`), which has to be longer
 * than the minute between two bookmarks: shorter, every idle watch of every node would be opened anew
 * all the time.
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
  readonly #watches = new Set<(deaf: Unreachable) => void>();
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

  /** `onDeaf` is called at most once, and means: leave, and open another watch. */
  join(onDeaf: (deaf: Unreachable) => void): Beat {
    // A function of its own for each, whatever was given.
    const told = (deaf: Unreachable) => onDeaf(deaf);
    this.#watches.add(told);
    this.#heard();
    if (this.#watches.size === 1) this.#wait();
    return {
      heard: () => this.#heard(),
      leave: () => {
        if (!this.#watches.delete(told) || this.#watches.size > 0) return;
        this.#cancel();
        this.onIdle();
      },
    };
  }

  /** Something else suggests that the server is lost: asks at once. */
  doubt(): void {
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
    const seconds = Math.round(awayMs / 1000);
    for (const told of [...this.#watches]) {
      told(new Unreachable(`nothing was heard for ${seconds} s: ${why}`, true, awayMs));
    }
  }
}
