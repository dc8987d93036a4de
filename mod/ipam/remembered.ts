/**
 * What this process remembers of the store's records, so that it need not ask again: only as long as the
 * store has surely not gone back in time. Where one is put back from a backup, revisions are given anew, and
 * a copy from before would pass a compare-and-swap by chance and write over what others have been given
 * since. So each copy is of an epoch, and with a new one all is forgotten.
 *
 * A new epoch begins where the store's driver says so (`Store.epoch`), and where somebody reads what is
 * older than what was known before he asked (`Epoch.over`): it is then everything that has gone back.
 */
import type { Store } from "../store/store.ts";

export class Epoch {
  #noticed = 0;

  constructor(readonly store: Pick<Store, "epoch">) {}

  get now(): number {
    return this.store.epoch + this.#noticed;
  }

  /** The store has gone back, whatever the driver has seen of it. */
  over(): void {
    this.#noticed++;
  }
}

/** Epochs may follow upon each other while the store comes and goes. */
const MOST_AGAIN = 10;

/**
 * Whether work on a remembered record was done. Where it was not, and an epoch has begun meanwhile, it may be
 * for the record's having been forgotten between a look and the write: it is tried again.
 */
export async function doneInOneEpoch(epoch: Epoch, work: () => Promise<boolean>): Promise<boolean> {
  for (let i = 0; i < MOST_AGAIN; i++) {
    const began = epoch.now;
    if (await work()) return true;
    if (epoch.now === began) return false;
  }
  return false;
}

/** Copies by key; beyond the limit the one that was kept first goes. */
export class Remembered<V> {
  readonly #copies = new Map<string, V>();
  #of: number;

  constructor(readonly epoch: Epoch, readonly limit = Infinity) {
    this.#of = epoch.now;
  }

  get(key: string): V | undefined {
    return this.#current().get(key);
  }

  values(): Iterable<V> {
    return this.#current().values();
  }

  /** `epoch`: at which it was asked for, or its write began. One of an earlier epoch is not kept. */
  keep(key: string, copy: V, epoch: number): void {
    const copies = this.#current();
    copies.delete(key);
    if (epoch !== this.#of) return;
    copies.set(key, copy);
    if (copies.size > this.limit) copies.delete(copies.keys().next().value!);
  }

  forget(key: string): void {
    this.#copies.delete(key);
  }

  #current(): Map<string, V> {
    const { now } = this.epoch;
    if (now !== this.#of) this.#copies.clear();
    this.#of = now;
    return this.#copies;
  }
}
