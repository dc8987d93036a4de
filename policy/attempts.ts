/**
 * Work on one of many things, of which none may hold up the others. Objects are read so that nothing in
 * them throws; where something does all the same, it is a fault of this program, and it costs the one
 * object that it befell: that is closed as far as can be, named among the problems, and tried again with
 * each update until it is done.
 */
import type { Problem } from "./engine.ts";

export class Attempts {
  readonly #failed = new Map<string, Problem>();

  /**
   * Whether the work was done. `step` and `object` together name it: what fails under the name is a
   * problem until it succeeds. `namespace`: the object's; empty where it is in none.
   */
  run(step: string, object: string, namespace: string, work: () => void): boolean {
    const name = `${step} ${object}`;
    try {
      work();
      if (this.#failed.size > 0) this.#failed.delete(name);
      return true;
    } catch (error) {
      const { message } = error as Error;
      const said =
        `${step} failed (${message}); until that is done it is closed or as it was before`;
      this.#failed.set(name, { object, namespace, message: said });
      return false;
    }
  }

  /** What is not done. */
  problems(): Iterable<Problem> {
    return this.#failed.values();
  }
}
