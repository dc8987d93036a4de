/** When: after a while, or when everything else that is due has had its turn. */
import { setImmediate } from "node:timers";

/** Resolves when timers, sockets and other people's promises have had their turn. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Something to be looked at again after a while: one timer, however often it is asked for. */
export class Later {
  #timer: number | undefined;

  constructor(readonly run: () => void) {}

  in(milliseconds: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.run();
    }, milliseconds + 50);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
