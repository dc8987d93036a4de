/**
 * The Kubernetes datastore: the `Store` over Calico's etcd keys, kept as Calico keeps them in a cluster
 * without an etcd of its own.
 *
 *     /calico/resources/v3/projectcalico.org/<plural>/…   custom resources     crd.ts, metadata.ts
 *     …/nodes/<name>                                      Node's annotations   node.ts
 *     …/workloadendpoints/<ns>/<name>                     Pod's annotations    pod.ts
 *     …/profiles/kns.<ns>, ksa.<ns>.<account>             Namespace, ServiceAccount   native.ts
 *     /calico/ipam/v2/…                                   custom resources     ipam.ts
 *     /tortie/kubernetes/<plural>/…                       the objects themselves      native.ts, pod.ts
 *     /tortie/kubernetes/leases/…, /tortie/nodes/…        one Lease, ConfigMaps: in no list but of these
 *                                                         very keys                lease.ts, words.ts
 *     /calico/felix/…, /calico/ipam/v2/host/<host>        nowhere, as with Calico: a write is forgotten
 *                                                         and succeeds, a read finds nothing, a deletion
 *                                                         says "notFound"; so the node service reports
 *                                                         as ever, and nobody reads it
 *
 * Revisions are the resourceVersions of the API, which are those of its etcd: decimal numbers of one
 * counter for all kinds (Kubernetes 1.35 promises as much). `list.ts` says how a list over all kinds
 * is of one moment, and what happens where a kind is counted apart; `watch.ts` what a watch promises.
 * Two things follow from how the API works. A write that changes nothing is none: it gives back the
 * revision that stands. And there is no time to live: a write that asks for one is refused, but for the
 * keys that are forgotten anyway.
 *
 * Every write is a compare-and-swap on the resourceVersion. One whose answer was lost is "unavailable",
 * and may have been done or not, as everywhere; no write is repeated that could have been carried out.
 */
import { type Clock, sleep } from "../clock.ts";
import { DELETE_OR_WRITE } from "../damaged.ts";
import { parseJson } from "../json.ts";
import { checkKey, encodeValue, ttlMs } from "../limits.ts";
import {
  type Entry,
  type Json,
  type Listing,
  type Revision,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "../store.ts";
import type { KubeObject, KubernetesApi } from "./api.ts";
import type { Timing } from "./config.ts";
import { ApiError, storeError, Unreachable } from "./failure.ts";
import { anyRevision, checkOneCounter, listParts } from "./list.ts";
import { Missing } from "./missing.ts";
import { isProfileKey, refuseProfile } from "./native.ts";
import { type Place, revisionOf, type Source } from "./source.ts";
import { isForgotten, partsOf, sourceOf, type Sources } from "./sources.ts";
import { watchParts } from "./watch.ts";

const RETRIES = 50;

interface Target {
  readonly source: Source;
  readonly at: Place;
}

export class KubernetesStore implements Store {
  readonly #missing: Missing;
  readonly #closing = new AbortController();
  #counted: Promise<void> | undefined;

  constructor(
    readonly api: KubernetesApi,
    readonly sources: Sources,
    readonly timing: Timing,
    readonly clock: Clock,
  ) {
    this.#missing = new Missing(api, clock, timing.missingMs);
  }

  get epoch(): number {
    return this.api.connection.doubts;
  }

  get<T>(key: string): Promise<Entry<T> | undefined> {
    return this.#do(key, async () => {
      checkKey(key);
      const target = this.#find(key);
      if (!target) return undefined;
      const object = await this.#object(target);
      const damage = object && damageOf(target.source, object, key);
      if (damage) throw damage;
      return object && entryOf<T>(target.source, object, key);
    });
  }

  list<T>(prefix: string): Promise<Listing<T>> {
    return this.#do(prefix, async () => {
      const parts = partsOf(this.sources, prefix);
      const { cheapest } = this.sources;
      if (parts.length === 0) {
        return { entries: [], revision: await anyRevision(this.api, this.#missing, cheapest) };
      }
      if (parts.length > 1) await this.#oneCounter();
      return await listParts<T>(this.api, this.#missing, cheapest, parts, prefix);
    });
  }

  create(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return this.#write(key, value, options, async (target, written) => {
      for (let attempt = 0; attempt < RETRIES; attempt++) {
        try {
          return await target.source.write.create(this.api, key, target.at, written);
        } catch (error) {
          if (!isStatus(error, 409)) throw error;
          const current = await this.#current(target, key);
          if (current) {
            throw new StoreError("exists", `${key} is there already`, key, current);
          }
          // It is on its way out (marked, or its pod was written to meanwhile): try again.
          await this.#mustGo(target, key);
          await this.#breathe(attempt);
        }
      }
      throw tooOften(key);
    });
  }

  update(
    key: string,
    value: unknown,
    revision: Revision,
    options: WriteOptions = {},
  ): Promise<Revision> {
    return this.#write(key, value, options, async (target, written) => {
      try {
        return await target.source.write.update(this.api, key, target.at, written, revision);
      } catch (error) {
        throw await this.#refused(error, target, key);
      }
    });
  }

  put(key: string, value: unknown, options: WriteOptions = {}): Promise<Revision> {
    return this.#write(key, value, options, async (target, written) => {
      const { source: { write }, at } = target;
      for (let attempt = 0; attempt < RETRIES; attempt++) {
        const revision = await this.#revision(target, key);
        try {
          return revision !== undefined
            ? await write.update(this.api, key, at, written, revision)
            : await write.create(this.api, key, at, written);
        } catch (error) {
          if (!isStatus(error, 409) && !isGone(error)) throw error;
          await this.#breathe(attempt);
        }
      }
      throw tooOften(key);
    });
  }

  delete(key: string, revision?: Revision): Promise<Revision> {
    return this.#do(key, async () => {
      checkKey(key);
      const target = this.#find(key);
      if (!target) throw new StoreError("notFound", `there is no ${key}`, key);
      for (let attempt = 0; attempt < RETRIES; attempt++) {
        try {
          const object = await this.#toRemove(target, key, revision);
          return await target.source.write.remove(this.api, key, object);
        } catch (error) {
          if (revision === undefined && isStatus(error, 409)) {
            await this.#breathe(attempt);
            continue;
          }
          throw await this.#refused(error, target, key);
        }
      }
      throw tooOften(key);
    });
  }

  async *watch<T>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    const { from, signal } = options;
    if (signal?.aborted) return;
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal?.addEventListener("abort", stop);
    this.#closing.signal.addEventListener("abort", stop);
    try {
      this.#mustBeOpen();
      const parts = partsOf(this.sources, prefix);
      // 0 means "from wherever you are" to the API, and nothing can be missed from there.
      if (BigInt(from) <= 0n) {
        throw new StoreError("compacted", `no history of ${prefix} begins at ${from}; list it`);
      }
      const { api, clock } = this;
      const { outageMs, missingMs } = this.timing;
      const world = { api, clock, outageMs, missingMs, missing: this.#missing };
      if (parts.length === 0) await untilAborted(abort.signal);
      for await (const event of watchParts(world, parts, prefix, from, abort.signal)) {
        yield event as WatchEvent<T>;
      }
      this.#mustBeOpen();
    } catch (error) {
      throw storeError(error, this.api.server);
    } finally {
      signal?.removeEventListener("abort", stop);
      this.#closing.signal.removeEventListener("abort", stop);
    }
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.api.connection.close();
    return Promise.resolve();
  }

  /** What a key is in; undefined where no object can stand for it. */
  #find(key: string): Target | undefined {
    const source = sourceOf(this.sources, key);
    const at = source?.locate(key);
    return source && at && { source, at };
  }

  /** The object as it is; one that is marked is cleared away, and is not there. */
  async #object({ source, at }: Target): Promise<KubeObject | undefined> {
    const object = await this.api.get(source.resource, at.name, at.namespace);
    if (!object || !source.isMarked?.(object)) return object;
    await source.clear?.(this.api, object);
    return undefined;
  }

  /** One that was deleted, and does not go, is in the way for good; what cannot be read is there. */
  async #mustGo({ source, at }: Target, key: string): Promise<void> {
    const object = await this.api.get(source.resource, at.name, at.namespace);
    if (!object) return;
    const { finalizers } = object.metadata;
    if (source.isMarked?.(object) && Array.isArray(finalizers) && finalizers.length > 0) {
      throw new StoreError(
        "unavailable",
        `${key} cannot be made: ${source.resource.kind} ${at.name} was deleted, and is held by the ` +
          `finalizers ${
            finalizers.join(", ")
          }; end what they wait for, or take them off the object`,
        key,
      );
    }
    const damage = damageOf(source, object, key);
    if (damage) throw new StoreError("exists", `${key} is there already: ${damage.message}`, key);
  }

  /** Of what stands there, readable or not; undefined where nothing does. */
  async #revision(target: Target, key: string): Promise<Revision | undefined> {
    const object = await this.#object(target);
    if (!object) return undefined;
    const { source } = target;
    return (entryOf(source, object, key) ?? damageOf(source, object, key)) && revisionOf(object);
  }

  async #current(target: Target, key: string): Promise<Entry | undefined> {
    const object = await this.#object(target);
    return object && entryOf(target.source, object, key);
  }

  /** The object to delete, read only where there is more to know of it than its revision. */
  async #toRemove(target: Target, key: string, revision: Revision | undefined) {
    const { source, at } = target;
    if (source.isMarked && revision !== undefined) {
      return { metadata: { name: at.name, resourceVersion: revision } };
    }
    const object = await this.#object(target);
    const entry = object && entryOf(source, object, key);
    if (!object || !entry && !damageOf(source, object, key)) {
      throw new StoreError("notFound", `there is no ${key}`, key);
    }
    if (revision !== undefined && revisionOf(object) !== revision) throw changed(key, entry);
    return object;
  }

  /** The error of a write at a revision, with what stands there. */
  async #refused(error: unknown, target: Target, key: string): Promise<unknown> {
    if (isGone(error)) return new StoreError("notFound", `there is no ${key}`, key);
    if (!isStatus(error, 409)) return error;
    const object = await this.#object(target);
    const current = object && entryOf(target.source, object, key);
    // What cannot be read is there too, and was changed by whoever damaged it.
    const isThere = current || object && damageOf(target.source, object, key);
    return isThere ? changed(key, current) : new StoreError("notFound", `there is no ${key}`, key);
  }

  #write(
    key: string,
    value: unknown,
    options: WriteOptions,
    write: (target: Target, value: Json) => Promise<Revision>,
  ): Promise<Revision> {
    return this.#do(key, () => {
      checkKey(key);
      // A copy, of now: what the caller does to his own afterwards is nothing to us.
      const written = parseJson(encodeValue(key, value));
      const limited = ttlMs(key, options.ttlSeconds) > 0;
      if (isForgotten(key)) return Promise.resolve("0");
      if (limited) {
        throw new StoreError(
          "invalid",
          `${key} is to go away by itself, and the Kubernetes API has no time to live; ` +
            "delete it when it is of no use any more",
          key,
        );
      }
      const target = this.#find(key);
      if (target) return write(target, written);
      if (isProfileKey(key)) throw refuseProfile(key);
      throw new StoreError(
        "invalid",
        key.startsWith("/calico/resources/v3/projectcalico.org/workloadendpoints/")
          ? `${key}: the Kubernetes datastore keeps endpoints on their Pods: one for each pod, ` +
            "of orchestrator k8s, for the interface eth0"
          : `the Kubernetes datastore has no place for the key ${key}`,
        key,
      );
    });
  }

  /** Once for each opened store. */
  #oneCounter(): Promise<void> {
    const { cheapest, all } = this.sources;
    const sources = [cheapest, ...all.filter((source) => source !== cheapest && !source.apart)];
    this.#counted ??= checkOneCounter(this.api, this.#missing, sources).catch((error) => {
      this.#counted = undefined;
      throw error;
    });
    return this.#counted;
  }

  async #do<T>(key: string, operation: () => Promise<T>): Promise<T> {
    try {
      this.#mustBeOpen();
      return await operation();
    } catch (error) {
      if (this.#closing.signal.aborted && error instanceof Unreachable) this.#mustBeOpen();
      throw storeError(error, this.api.server, key);
    }
  }

  #mustBeOpen(): void {
    if (this.#closing.signal.aborted) {
      throw new StoreError("unavailable", "the Kubernetes datastore was closed by this program");
    }
  }

  async #breathe(attempt: number): Promise<void> {
    if (attempt === 0) return;
    await sleep(this.clock, Math.random() * Math.min(200, 5 * 2 ** attempt), this.#closing.signal);
    this.#mustBeOpen();
  }
}

function entryOf<T>(source: Source, object: KubeObject, key: string): Entry<T> | undefined {
  const reading = source.read(object).find((one) => one.key === key);
  if (reading?.value === undefined) return undefined;
  return { key, value: reading.value as T, revision: revisionOf(object) };
}

/** What stands under the key and cannot be read, as an error; a marked one is no more. */
function damageOf(source: Source, object: KubeObject, key: string): StoreError | undefined {
  if (!source.strange || source.isMarked?.(object) || source.read(object).length > 0) {
    return undefined;
  }
  const told = source.strange(object);
  const { reason } = told.find((one) => one.key === key) ?? told[0];
  const message = `the value of ${key} cannot be read: ${reason}; ${DELETE_OR_WRITE}`;
  return new StoreError("invalid", message, key, undefined, {
    damaged: revisionOf(object),
    reason,
  });
}

function changed(key: string, current: Entry | undefined): StoreError {
  return new StoreError("conflict", `${key} was changed by somebody else`, key, current);
}

function tooOften(key: string): StoreError {
  return new StoreError("unavailable", `${key} changes faster than it can be written`, key);
}

function isStatus(error: unknown, status: number): error is ApiError {
  return error instanceof ApiError && error.status === status;
}

/** The object is not there; not: its kind is not served. */
function isGone(error: unknown): boolean {
  return isStatus(error, 404) && !error.isUnserved;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
