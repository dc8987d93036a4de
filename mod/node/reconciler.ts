/**
 * Desired, actual, difference: the one way in which the node service changes the kernel.
 *
 *     desired  what the resources say should be          setDesired, want, unwant
 *     actual   what the kernel was last seen to hold      read (resync), observed (notification)
 *     apply    brings every key whose two sides differ to the desired one
 *
 * A lost notification, a restart, a change made by hand and a first start are all the same case: the
 * sides differ and `apply` mends it. Keys that failed stay different and are tried again at the next
 * `apply`. What is nobody's desire is removed only where the kind says that it is ours.
 *
 * Kinds of kernel objects (`Kind` below) are small tables of functions; see links.ts, routes.ts,
 * neighbours.ts, sysctls.ts.
 */

/** One kind of kernel object, keyed by text. */
export interface ObjectKind<V> {
  /** For logs and status: `route`, `neighbour`. */
  readonly name: string;
  /** All objects in the kernel that are ours, or lie where ours would. */
  read(): Map<string, V>;
  same(desired: V, actual: V): boolean;
  /** Creates or changes; `actual` is what was last seen under the key. */
  put(key: string, desired: V, actual: V | undefined): void | Promise<void>;
  remove(key: string, actual: V): void | Promise<void>;
  /** Whether an object that nobody desires may be removed now. Absent: always. */
  ours?(key: string, actual: V): boolean;
  /** Several puts at once, where the kernel takes them so; gives back what failed. */
  putMany?(
    items: [key: string, desired: V, actual: V | undefined][],
  ): [key: string, error: Error][];
}

export interface Failure {
  readonly kind: string;
  readonly key: string;
  readonly error: Error;
}

export class Reconciler<V> {
  readonly #kind: ObjectKind<V>;
  #desired: ReadonlyMap<string, V> = new Map();
  #actual = new Map<string, V>();
  /** Keys whose sides may differ. */
  #dirty = new Set<string>();
  #readOnce = false;

  constructor(kind: ObjectKind<V>) {
    this.#kind = kind;
  }

  /** The whole desired state, in place of the former one. */
  setDesired(desired: ReadonlyMap<string, V>): void {
    for (const [key, value] of desired) {
      const before = this.#desired.get(key);
      if (before === undefined || !this.#kind.same(value, before)) this.#dirty.add(key);
    }
    for (const key of this.#desired.keys()) if (!desired.has(key)) this.#dirty.add(key);
    this.#desired = desired;
  }

  /** Reads the kernel anew: the next `apply` mends whatever differs. */
  resync(): void {
    this.#actual = this.#kind.read();
    this.#readOnce = true;
    this.#dirty = new Set([...this.#desired.keys(), ...this.#actual.keys()]);
  }

  /** The kernel was seen to hold this (undefined: no longer) under the key. */
  observed(key: string, value: V | undefined): void {
    if (value === undefined) this.#actual.delete(key);
    else this.#actual.set(key, value);
    this.#dirty.add(key);
  }

  /** Objects that are gone without a word of the kernel (routes of a link that went down). */
  forget(gone: (key: string, actual: V) => boolean): void {
    for (const [key, actual] of this.#actual) {
      if (gone(key, actual)) {
        this.#actual.delete(key);
        this.#dirty.add(key);
      }
    }
  }

  /** Looks at every key again at the next `apply`, e.g. when `ours` would answer otherwise. */
  touchAll(): void {
    for (const key of this.#actual.keys()) this.#dirty.add(key);
    for (const key of this.#desired.keys()) this.#dirty.add(key);
  }

  /** Whether the kernel was last seen to hold what is desired under the key. */
  holds(key: string): boolean {
    const desired = this.#desired.get(key), actual = this.#actual.get(key);
    return desired !== undefined && actual !== undefined && this.#kind.same(desired, actual);
  }

  get pending(): boolean {
    return this.#dirty.size > 0;
  }

  /** Mends the differences; gives back what could not be mended (it stays to be tried again). */
  async apply(): Promise<Failure[]> {
    if (!this.#readOnce) this.resync();
    const failures: Failure[] = [];
    const todo = [...this.#dirty];
    this.#dirty = new Set();
    const fail = (key: string, error: unknown) => {
      this.#dirty.add(key);
      failures.push({ kind: this.#kind.name, key, error: error as Error });
    };
    // Removals first: a new object may need the place of an old one.
    for (const key of todo) {
      const actual = this.#actual.get(key);
      if (this.#desired.has(key) || actual === undefined) continue;
      if (this.#kind.ours && !this.#kind.ours(key, actual)) continue;
      try {
        await this.#kind.remove(key, actual);
        this.#actual.delete(key);
      } catch (error) {
        fail(key, error);
      }
    }
    const puts: [string, V, V | undefined][] = [];
    for (const key of todo) {
      const desired = this.#desired.get(key);
      if (desired === undefined) continue;
      const actual = this.#actual.get(key);
      if (actual === undefined || !this.#kind.same(desired, actual)) {
        puts.push([key, desired, actual]);
      }
    }
    if (this.#kind.putMany && puts.length > 1) {
      const failed = new Map(this.#kind.putMany(puts));
      for (const [key, desired] of puts) {
        const error = failed.get(key);
        if (error) fail(key, error);
        else this.#actual.set(key, desired);
      }
      return failures;
    }
    for (const [key, desired, actual] of puts) {
      try {
        await this.#kind.put(key, desired, actual);
        this.#actual.set(key, desired);
      } catch (error) {
        fail(key, error);
      }
    }
    return failures;
  }
}
