/**
 * A watch over one kind or many: one watch of the API for each kind, from one revision, told as they
 * come in. Events of a kind keep their order; between kinds there is none, since a quiet kind tells how
 * far it is only once a minute (bookmarks). So a reader resumes from the revision of a list, as
 * `follow` does, or, where his prefix lies within one kind, from any event.
 *
 * Each kind goes on by itself where the server ends its stream (it ends each after some minutes), from
 * its last event or bookmark. Three things end the whole: "compacted", where the history does not reach
 * back so far; "compacted" too, where the server was lost and is there again; and "unavailable", where
 * it has been away for long. A server that was lost may have got its etcd back from a backup, which has
 * come by our revision since: its events from there on would say nothing of what it has forgotten. A
 * server that was silent for long, and then found dead (`pulse.ts`), has been away for all that time.
 *
 * The reader sets the pace: with many events waiting for him nothing more is read from the streams.
 */
import type { Clock } from "../clock.ts";
import { compareRevisions, type Revision, StoreError, type WatchEvent } from "../store.ts";
import type { KubeEvent, KubeObject, KubernetesApi } from "./api.ts";
import { Backoff } from "./pace.ts";
import { ApiError, isLoss, Unreachable } from "./failure.ts";
import type { Missing } from "./missing.ts";
import { revisionOf } from "./source.ts";
import type { Part } from "./sources.ts";
import { Projection } from "./projection.ts";

/** Events that may wait for their reader. */
const ROOM = 512;

export interface WatchWorld {
  readonly api: KubernetesApi;
  readonly missing: Missing;
  readonly clock: Clock;
  readonly outageMs: number;
  readonly missingMs: number;
}

export async function* watchParts(
  world: WatchWorld,
  parts: readonly Part[],
  prefix: string,
  from: Revision,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent> {
  const queue = new Queue();
  const abort = new AbortController();
  const stop = () => {
    abort.abort();
    queue.wake();
  };
  signal.addEventListener("abort", stop);
  const followers = parts.map((part) =>
    new KindWatch(world, part, prefix, from, queue, abort.signal).run()
      .catch((error) => queue.fail(error))
  );
  try {
    if (signal.aborted) return;
    for (;;) {
      const event = await queue.next(abort.signal);
      if (!event || signal.aborted) return;
      yield event;
      if (signal.aborted) return;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
    await Promise.all(followers);
  }
}

/** Follows one kind. */
class KindWatch {
  #revision: string;
  readonly #projection: Projection;

  constructor(
    readonly world: WatchWorld,
    readonly part: Part,
    readonly prefix: string,
    from: Revision,
    readonly queue: Queue,
    readonly signal: AbortSignal,
  ) {
    this.#revision = from;
    this.#projection = new Projection(part.source, prefix);
  }

  async run(): Promise<void> {
    const { world, part: { source, narrowings }, signal } = this;
    const { clock } = world;
    // Of several parts of a kind, each for itself would be a watch more; keys are looked at anyway.
    const narrowing = narrowings.length === 1 ? narrowings[0] : {};
    const backoff = new Backoff(clock);
    let failingSince: number | undefined, lost: string | undefined;
    for (let opened = 0; !signal.aborted; opened++) {
      const began = clock.monotonicMs();
      let asked = 0;
      try {
        if (world.missing.isKnown(source)) {
          await this.#appear();
          continue;
        }
        if (opened > 0) {
          const whole = source.apart ? narrowing : {};
          const { losses } = world.api.connection;
          this.#mustNotGoBack(await world.api.revision(source.resource, whole));
          if (losses !== world.api.connection.losses) lost ??= "a request was not answered";
          if (lost !== undefined) throw this.#interrupted(lost);
        }
        const stream = world.api.watch(source.resource, narrowing, this.#revision, signal);
        for await (const event of stream) {
          failingSince = undefined;
          backoff.reset();
          await this.#take(event);
        }
        // The server ends a watch after minutes; one that ends at once must not make us spin.
        if (clock.monotonicMs() - began > 1000) continue;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = await world.missing.meaning(source, thrown);
        if (signal.aborted) return;
        if (error === undefined) continue;
        if (error instanceof ApiError) {
          if (!error.isPassing) throw error;
          asked = error.retryAfterMs ?? 0;
        } else if (!(error instanceof Unreachable)) throw error;
        if (isLoss(error)) {
          lost = error.message;
          world.api.connection.interrupted();
        }
        failingSince ??= clock.monotonicMs() - (error instanceof Unreachable ? error.awayMs : 0);
        if (clock.monotonicMs() - failingSince >= world.outageMs) throw error;
      }
      await backoff.pause(asked, signal, world.api.connection.failingMs / 2);
    }
  }

  /** The kind is not served: waits until it is, and tells what it holds then. */
  async #appear(): Promise<void> {
    const { world: { api, missing, clock, missingMs }, part, signal } = this;
    const { source } = part;
    for (;;) {
      await new Promise<void>((resolve) => {
        const cancel = clock.after(missingMs * (0.8 + Math.random() * 0.4), resolve);
        signal.addEventListener("abort", () => {
          cancel();
          resolve();
        }, { once: true });
      });
      if (signal.aborted) return;
      if (!await missing.isStill(source)) break;
    }
    let revision: string | undefined;
    for (const narrowing of part.narrowings) {
      for await (const page of api.pages(source.resource, narrowing, revision)) {
        revision ??= page.resourceVersion;
        for (const object of page.items) await this.#tell("MODIFIED", object);
      }
    }
    if (revision !== undefined) this.#revision = revision;
  }

  async #take(event: KubeEvent): Promise<void> {
    const revision = event.type === "BOOKMARK" ? event.resourceVersion : revisionOf(event.object);
    if (revision === "") return;
    this.#mustNotGoBack(revision);
    if (event.type !== "BOOKMARK") await this.#tell(event.type, event.object);
    this.#revision = revision;
  }

  /**
   * A cluster that was restored from a backup counts from an older revision: a watch from ours would
   * be told nothing until that is reached again.
   */
  #mustNotGoBack(revision: Revision): void {
    if (compareRevisions(revision, this.#revision) >= 0) return;
    this.world.api.connection.interrupted();
    throw new StoreError(
      "compacted",
      `the Kubernetes API ${this.world.api.server} is at revision ${revision} and was at ` +
        `${this.#revision}: its datastore was set back; list again`,
    );
  }

  #interrupted(why: string): StoreError {
    this.world.api.connection.interrupted();
    return new StoreError(
      "compacted",
      `the Kubernetes API ${this.world.api.server} was lost (${why}) and is there again; whether its ` +
        "data is what it was cannot be told: list again",
    );
  }

  async #tell(type: "ADDED" | "MODIFIED" | "DELETED", object: KubeObject): Promise<void> {
    for (const event of this.#projection.events(type, object)) {
      await this.queue.push(event, this.signal);
    }
  }
}

/** What waits for the reader. */
class Queue {
  #events: WatchEvent[] = [];
  #at = 0;
  #error: unknown;
  #wakeReader = () => {};
  #writers: (() => void)[] = [];

  async push(event: WatchEvent, signal: AbortSignal): Promise<void> {
    while (this.#events.length - this.#at >= ROOM && !signal.aborted) {
      await new Promise<void>((resolve) => this.#writers.push(resolve));
    }
    if (signal.aborted) return;
    this.#events.push(event);
    this.#wakeReader();
  }

  fail(error: unknown): void {
    this.#error ??= error ?? new StoreError("unavailable", "the watch ended");
    this.#wakeReader();
  }

  /** Everybody looks whether it is over. */
  wake(): void {
    this.#wakeReader();
    this.#release();
  }

  /** undefined: aborted. Throws what a kind has failed with, after what came before it. */
  async next(signal: AbortSignal): Promise<WatchEvent | undefined> {
    for (;;) {
      if (signal.aborted) return undefined;
      if (this.#at < this.#events.length) {
        const event = this.#events[this.#at++];
        if (this.#at >= ROOM / 2 || this.#at === this.#events.length) {
          this.#events.splice(0, this.#at);
          this.#at = 0;
          this.#release();
        }
        return event;
      }
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
  }

  #release(): void {
    for (const wake of this.#writers.splice(0)) wake();
  }
}
