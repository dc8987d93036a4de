/**
 * Keyed locks within one process: what concerns one container, one pod or one interface name happens
 * one after the other, everything else side by side. Whoever came first goes first: all keys of a
 * request are queued for at once, so a holder waits only for those who came before it, and two never
 * wait for each other.
 */

export class KeyedLocks {
  readonly #tails = new Map<string, Promise<void>>();

  /** Runs the work while holding all keys. The work must not hold further keys that others queue for. */
  async hold<T>(keys: readonly string[], work: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = [...new Set(keys)].map((key) => {
      const tail = this.#tails.get(key);
      this.#tails.set(key, promise);
      return tail;
    });
    try {
      await Promise.all(before);
      return await work();
    } finally {
      resolve();
      for (const key of keys) {
        if (this.#tails.get(key) === promise) this.#tails.delete(key);
      }
    }
  }

  /** Is anybody holding this key, or waiting for it? */
  held(key: string): boolean {
    return this.#tails.has(key);
  }
}
