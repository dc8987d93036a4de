/**
 * Work on one of many things, of which none may hold up the others. Objects are read so that nothing in
 * them throws; where something does all the same, it is a fault of this program, and it costs the one
 * object that it befell: that is closed as far as can be, named among the problems, and tried again with
 * each update until it is done.
 */
import type { Problem } from "./engine.ts";

export class Attempts {
  readonly #failed = new Map<unknown, Problem>();

  /**
   * Whether the work was done. What fails is a problem until work on the same succeeds: on `of`, or else
   * the same step of the same object. `namespace`: the object's; empty where it is in none.
   */
  run(
    step: string,
    object: string | (() => string),
    namespace: string,
    work: () => void,
    of: unknown = `${step} ${object}`,
  ): boolean {
    try {
      work();
      if (this.#failed.size > 0) this.#failed.delete(of);
      return true;
    } catch (error) {
      const { message } = error as Error;
      const said =
        `${step} failed (${message}); until that is done it is closed or as it was before`;
      const name = typeof object === "string" ? object : object();
      this.#failed.set(of, { object: name, namespace, message: said });
      return false;
    }
  }

  /** There is no more to do of it. */
  forget(step: string, object: string): void {
    this.#failed.delete(`${step} ${object}`);
  }

  /** What is not done. */
  problems(): Iterable<Problem> {
    return this.#failed.values();
  }
}
