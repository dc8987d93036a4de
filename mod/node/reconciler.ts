/**
 * Desired, actual, difference: the one way in which the node service changes the kernel.
 *
 *     desired  what the resources say should be          setDesired, want
 *     actual   what the kernel was last seen to hold      read (resync), observed (notification)
 *     apply    brings every key whose two sides differ to the desired one
 *
 * A lost notification, a restart, a change made by hand and a first start are all the same case: the
 * sides differ and `apply` mends it. Keys that failed stay different and are tried again when they are
 * due (`retries.ts`), or something else is desired of them; what is undone again and again is mended
 * more slowly. What is nobody's desire is removed only where the kind says that it is ours.
 *
 * Many objects are changed a thousand at a time, with a turn of the event loop after each thousand, so
 * that ten thousand routes do not hold up sessions, endpoints and events; what is desired or seen
 * meanwhile counts from the next thousand on.
 *
 * Kinds of kernel objects (`ObjectKind` below) are small tables of functions: see `kernel/`.
 */
import { type Clock, systemClock } from "../store/clock.ts";
import { eventLoopTurn } from "./later.ts";
import { Retries, type Trial } from "./retries.ts";

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
  /** What the kernel has under the key when `desired` has been put there. Absent: just that. */
  afterPut?(desired: V, actual: V | undefined): V;
  /** What it still has there when the object has been removed. Absent: nothing. */
  afterRemoval?(actual: V): V | undefined;
  /** Several puts at once, where the kernel takes them so; gives back what failed. */
  putMany?(
    items: [key: string, desired: V, actual: V | undefined][],
  ): [key: string, error: Error][];
  /** Several removals at once; gives back what failed. */
  removeMany?(items: [key: string, actual: V][]): [key: string, error: Error][];
}

/** Objects that are changed without a pause. */
const CHUNK = 1000;

export interface Failure {
  readonly kind: string;
  readonly key: string;
  readonly error: Error;
  /** When it is tried again, by the clock's monotonic milliseconds; absent: at nobody's time. */
  readonly due?: number;
}

const fought = () => new Error("somebody changes it back each time; it is set once a second");

export class Reconciler<V> {
  readonly #kind: ObjectKind<V>;
  #desired = new Map<string, V>();
  #actual = new Map<string, V>();
  /** Keys whose sides may differ. */
  #dirty = new Set<string>();
  /** Keys that were as desired, and were seen otherwise then. */
  readonly #undone = new Set<string>();
  readonly #retries: Retries;
  #readOnce = false;

  constructor(kind: ObjectKind<V>, clock: Pick<Clock, "monotonicMs"> = systemClock) {
    this.#kind = kind;
    this.#retries = new Retries(clock);
  }

  /** The whole desired state, in place of the former one. The map is the reconciler's from now on. */
  setDesired(desired: Map<string, V>): void {
    for (const [key, value] of desired) {
      const before = this.#desired.get(key);
      if (value === before) continue;
      if (before === undefined || !this.#kind.same(value, before)) this.#wish(key);
    }
    for (const key of this.#desired.keys()) if (!desired.has(key)) this.#wish(key);
    this.#desired = desired;
  }

  /** What is desired under one key; undefined: nothing. */
  want(key: string, value: V | undefined): void {
    const before = this.#desired.get(key);
    if (value === undefined) this.#desired.delete(key);
    else this.#desired.set(key, value);
    if (before === undefined && value === undefined) return;
    if (before === undefined || value === undefined || !this.#kind.same(value, before)) {
      this.#wish(key);
    }
  }

  /** Another wish: that the former one failed, or was fought over, says nothing of it. */
  #wish(key: string): void {
    this.#dirty.add(key);
    this.#undone.delete(key);
    this.#retries.forget(key);
  }

  /** Reads the kernel anew: the next `apply` mends whatever differs. */
  resync(): void {
    this.#actual = this.#kind.read();
    this.#readOnce = true;
    this.#dirty = new Set([...this.#desired.keys(), ...this.#actual.keys()]);
  }

  /** What was seen does not hold: the next `apply` reads anew. */
  doubt(): void {
    this.#readOnce = false;
  }

  /** The kernel was seen to hold this (undefined: no longer) under the key. */
  observed(key: string, value: V | undefined): void {
    if (!this.#differs(key)) this.#undone.add(key);
    if (value === undefined) this.#actual.delete(key);
    else this.#actual.set(key, value);
    this.#dirty.add(key);
  }

  /** Something has changed that may have been in the way of what failed: it is tried again soon. */
  hasten(): void {
    this.#retries.hasten();
  }

  /** What the kernel was last seen to hold under the key. */
  seen(key: string): V | undefined {
    return this.#actual.get(key);
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

  /** Looks at the key again at the next `apply`. */
  touch(key: string): void {
    this.#dirty.add(key);
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
    const wait = (key: string, { error, due }: Trial) => {
      this.#dirty.add(key);
      failures.push({ kind: this.#kind.name, key, error, due });
    };
    const fail: Fail = (key, error) => wait(key, this.#retries.failed(key, error));
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const todo = this.#due(dirty, wait);
    try {
      // Removals first: a new object may need the place of an old one.
      for (const step of [this.#remove, this.#put]) {
        for (let at = 0; at < todo.length; at += CHUNK) {
          const some = await step.call(this, todo.slice(at, at + CHUNK), fail);
          if (some && todo.length > CHUNK) await eventLoopTurn();
        }
      }
    } catch (error) {
      // Nobody knows how far it came.
      this.#readOnce = false;
      throw error;
    }
    return failures;
  }

  /** Those of the keys that may be tried now. */
  #due(keys: ReadonlySet<string>, wait: (key: string, trial: Trial) => void): string[] {
    const todo: string[] = [];
    for (const key of keys) {
      const undone = this.#undone.delete(key);
      if (this.#retries.idle && !undone) {
        todo.push(key);
        continue;
      }
      if (!this.#differs(key)) {
        this.#retries.forget(key);
        continue;
      }
      const waiting = this.#retries.waiting(key) ??
        (undone ? this.#retries.again(key, fought) : undefined);
      if (!waiting) todo.push(key);
      else {
        if (undone) this.#undone.add(key);
        wait(key, waiting);
      }
    }
    return todo;
  }

  /** Whether there would be something to do under the key. */
  #differs(key: string): boolean {
    const desired = this.#desired.get(key), actual = this.#actual.get(key);
    if (desired !== undefined) return actual === undefined || !this.#kind.same(desired, actual);
    return actual !== undefined && (this.#kind.ours?.(key, actual) ?? true);
  }

  /** Whether there was something to do. */
  async #remove(keys: readonly string[], fail: Fail): Promise<boolean> {
    const gone: [string, V][] = [];
    for (const key of keys) {
      const actual = this.#actual.get(key);
      if (this.#desired.has(key) || actual === undefined) continue;
      if (this.#kind.ours && !this.#kind.ours(key, actual)) continue;
      gone.push([key, actual]);
    }
    const done = (key: string, actual: V) => {
      this.#retries.forget(key);
      const left = this.#kind.afterRemoval?.(actual);
      if (left === undefined) this.#actual.delete(key);
      else this.#actual.set(key, left);
    };
    if (this.#kind.removeMany && gone.length > 1) {
      share(gone, this.#kind.removeMany(gone), done, fail);
    } else {
      for (const [key, actual] of gone) {
        try {
          await this.#kind.remove(key, actual);
          done(key, actual);
        } catch (error) {
          fail(key, error as Error);
        }
      }
    }
    return gone.length > 0;
  }

  /** Whether there was something to do. */
  async #put(keys: readonly string[], fail: Fail): Promise<boolean> {
    const puts: [string, V, V | undefined][] = [];
    for (const key of keys) {
      const desired = this.#desired.get(key);
      if (desired === undefined) continue;
      const actual = this.#actual.get(key);
      if (actual === undefined || !this.#kind.same(desired, actual)) {
        puts.push([key, desired, actual]);
      }
    }
    const { afterPut } = this.#kind;
    const done = (key: string, desired: V, actual: V | undefined) => {
      this.#retries.forget(key);
      this.#actual.set(key, afterPut ? afterPut(desired, actual) : desired);
    };
    if (this.#kind.putMany && puts.length > 1) {
      share(puts, this.#kind.putMany(puts), done, fail);
    } else {
      for (const [key, desired, actual] of puts) {
        try {
          await this.#kind.put(key, desired, actual);
          done(key, desired, actual);
        } catch (error) {
          fail(key, error as Error);
        }
      }
    }
    return puts.length > 0;
  }
}

type Fail = (key: string, error: Error) => void;

/** Tells of each of many whether it was done. */
function share<V>(
  items: readonly [key: string, value: V, other?: V][],
  refused: readonly [key: string, error: Error][],
  done: (key: string, value: V, other: V | undefined) => void,
  fail: Fail,
): void {
  const failed = new Map(refused);
  for (const [key, value, other] of items) {
    const error = failed.get(key);
    if (error) fail(key, error);
    else done(key, value, other);
  }
}
