/**
 * Two ways in which concurrent calls of one process share work. Both are about speed alone: what is
 * right is decided by compare-and-swap in the store, against other processes as well.
 */

/** One holder of a key at a time, first come, first served. */
export class Locks {
  readonly #tails = new Map<string, Promise<unknown>>();

  async hold<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const turn = (async () => {
      await before;
      return await work();
    })();
    // The tail never fails: the next holder does not care how the last one fared.
    const tail = turn.then(() => {}, () => {});
    this.#tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}

/**
 * Reads that many want at the same time. An answer is only given to those who asked before the read
 * began, so nobody hears of a past older than his question; who asks while a read is under way shares
 * the next one with all others who do. A burst of any size costs two reads.
 */
export class SharedReads {
  readonly #reads = new Map<string, { current: Promise<unknown>; next?: Promise<unknown> }>();

  read<T>(key: string, read: () => Promise<T>): Promise<T> {
    const running = this.#reads.get(key);
    if (!running) return this.#start(key, read);
    running.next ??= running.current.then(() => {}, () => {}).then(() => this.#start(key, read));
    return running.next as Promise<T>;
  }

  #start<T>(key: string, read: () => Promise<T>): Promise<T> {
    const current = read();
    const mine = { current };
    this.#reads.set(key, mine);
    const done = () => {
      if (this.#reads.get(key) === mine && !("next" in mine)) this.#reads.delete(key);
    };
    current.then(done, done);
    return current;
  }
}
