/**
 * For tests: the store as one process sees it through a bad day. Every operation waits for its turn
 * (`gate`), so that operations of several processes can be put in any order; writes can fail as if
 * another had been first; and the process can die at any write, before or after it reached the store.
 * From then on nothing that it calls returns an answer. And the store can be put back from a copy.
 */
import {
  type Entry,
  type JointWrite,
  type Listing,
  type Revision,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
} from "../../store/store.ts";

export interface Faults {
  /** Awaited before each operation. */
  gate?: (label: string) => Promise<unknown>;
  /** Whether this write is to fail with a conflict that is none. */
  conflict?: (write: number) => boolean;
  /** The process dies at its n-th write (from 0); `reached`: after the store has done it. */
  crash?: { at: number; reached: boolean };
  /** The store writes several objects in one step. */
  jointly?: boolean;
}

export class FaultyStore implements Store {
  writes = 0;
  reads = 0;
  dead = false;
  /** Resolves when the process dies. */
  readonly died: Promise<void>;
  readonly together?: Store["together"];
  #die!: () => void;
  #restorations = 0;

  constructor(public store: Store, readonly faults: Faults = {}) {
    this.died = new Promise((resolve) => this.#die = resolve);
    if (faults.jointly) {
      this.together = (writes: readonly JointWrite[], epoch?: number) =>
        this.#write(
          `together ${writes.map(({ key }) => key).join(" ")}`,
          "conflict",
          () => {
            if (epoch === undefined || epoch === this.epoch) return this.store.together!(writes);
            throw new StoreError("conflict", "another epoch", writes[0].key);
          },
        );
    }
  }

  get epoch(): number {
    return this.#restorations;
  }

  /** `noticed`: by the driver, as it does where its connections end. */
  putBack(copy: Store, noticed = true): void {
    this.store = copy;
    if (noticed) this.#restorations++;
  }

  get<T>(key: string): Promise<Entry<T> | undefined> {
    return this.#read(`get ${key}`, () => this.store.get<T>(key));
  }

  list<T>(prefix: string): Promise<Listing<T>> {
    return this.#read(`list ${prefix}`, () => this.store.list<T>(prefix));
  }

  create(key: string, value: unknown): Promise<Revision> {
    return this.#write(`create ${key}`, "exists", () => this.store.create(key, value));
  }

  update(key: string, value: unknown, revision: Revision): Promise<Revision> {
    return this.#write(`update ${key}`, "conflict", () => this.store.update(key, value, revision));
  }

  put(key: string, value: unknown): Promise<Revision> {
    return this.#write(`put ${key}`, undefined, () => this.store.put(key, value));
  }

  delete(key: string, revision?: Revision): Promise<Revision> {
    return this.#write(`delete ${key}`, "conflict", () => this.store.delete(key, revision));
  }

  async *watch<T>(prefix: string, options: WatchOptions): AsyncIterable<WatchEvent<T>> {
    yield* this.store.watch<T>(prefix, options);
  }

  close(): Promise<void> {
    return this.store.close();
  }

  async #read<T>(label: string, read: () => Promise<T>): Promise<T> {
    await this.faults.gate?.(label);
    await this.#alive();
    this.reads++;
    return await read();
  }

  async #write<R>(
    label: string,
    refusal: "exists" | "conflict" | undefined,
    write: () => Promise<R>,
  ): Promise<R> {
    await this.faults.gate?.(label);
    await this.#alive();
    const number = this.writes++;
    const { crash } = this.faults;
    if (crash?.at === number) {
      if (crash.reached) await write().then(() => {}, () => {});
      this.dead = true;
      this.#die();
      await this.#alive();
    }
    if (refusal && this.faults.conflict?.(number)) {
      throw new StoreError(refusal, `${label}: injected`);
    }
    return await write();
  }

  /** A dead process hears nothing any more: its calls never return. */
  #alive(): Promise<void> {
    return this.dead ? new Promise(() => {}) : Promise.resolve();
  }
}
