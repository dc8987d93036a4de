/**
 * The store under the API: objects in buckets (one for each resource), one counter of revisions for all
 * of them, and the history of changes since the last compaction. From the history come watches from a
 * revision, and lists of the state at an older revision ("Retrieving large results sets in chunks" of the
 * API concepts asks that all pages show one state).
 *
 * A change takes the next revision and is told to the followers of its bucket at once, in order.
 */
import type { KubeObject } from "./object.ts";

export interface Change {
  readonly revision: number;
  readonly key: string;
  /** The new object; for a deletion the last one, with the deletion's revision. */
  readonly object: KubeObject;
  readonly deleted: boolean;
  readonly previous?: KubeObject;
}

export type Follower = (change: Change) => void;

interface Bucket {
  objects: Map<string, KubeObject>;
  /** Keys in order; undefined where it must be made anew. */
  order?: string[];
  history: Change[];
  followers: Set<Follower>;
}

/** A state to go back to. */
export interface Snapshot {
  readonly revision: number;
  readonly objects: ReadonlyMap<string, ReadonlyMap<string, KubeObject>>;
}

/** The state at that revision is not known any more. */
export class Compacted extends Error {}

export class Revisions {
  #buckets = new Map<string, Bucket>();
  #revision: number;
  #compacted: number;

  constructor(first: number) {
    this.#revision = first;
    this.#compacted = first;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Of this revision and later ones the changes are known. */
  get compacted(): number {
    return this.#compacted;
  }

  get(bucket: string, key: string): KubeObject | undefined {
    return this.#bucket(bucket).objects.get(key);
  }

  size(bucket: string): number {
    return this.#bucket(bucket).objects.size;
  }

  buckets(): string[] {
    return [...this.#buckets.keys()];
  }

  /** Stores the object, which from now on belongs to the store. */
  put(bucket: string, key: string, object: KubeObject): KubeObject {
    const place = this.#bucket(bucket);
    const previous = place.objects.get(key);
    object.metadata.resourceVersion = String(++this.#revision);
    if (!previous) place.order = undefined;
    place.objects.set(key, object);
    this.#tell(place, { revision: this.#revision, key, object, deleted: false, previous });
    return object;
  }

  /** Deletes; `last` is what watchers shall see (the object as it was, where absent). */
  delete(bucket: string, key: string, last?: KubeObject): KubeObject | undefined {
    const place = this.#bucket(bucket);
    const previous = place.objects.get(key);
    if (!previous) return undefined;
    const revision = ++this.#revision;
    place.objects.delete(key);
    place.order = undefined;
    const seen = last ?? previous;
    const object = {
      ...seen,
      metadata: { ...seen.metadata, resourceVersion: String(revision) },
    };
    this.#tell(place, { revision, key, object, deleted: true, previous });
    return object;
  }

  /** Puts another form of the same object and revision, which is no change. */
  rewrite(bucket: string, key: string, object: KubeObject): void {
    this.#bucket(bucket).objects.set(key, object);
  }

  /**
   * Keys and objects in the order of keys, those whose keys begin with `prefix` and are not less than
   * `from`, at a revision (now, where absent). Throws Compacted.
   */
  *list(
    bucket: string,
    prefix: string,
    from: string,
    at?: number,
  ): Generator<[string, KubeObject]> {
    const place = this.#bucket(bucket);
    let objects: Map<string, KubeObject> = place.objects;
    let order: string[];
    const last = place.history.at(-1);
    if (at !== undefined && at < this.#compacted) throw new Compacted();
    if (at !== undefined && last && last.revision > at) {
      objects = new Map(objects);
      for (let i = place.history.length - 1; i >= 0 && place.history[i].revision > at; i--) {
        const { key, previous } = place.history[i];
        if (previous) objects.set(key, previous);
        else objects.delete(key);
      }
      order = [...objects.keys()].sort();
    } else order = place.order ??= [...objects.keys()].sort();
    for (let i = lowerBound(order, from < prefix ? prefix : from); i < order.length; i++) {
      if (!order[i].startsWith(prefix)) break;
      yield [order[i], objects.get(order[i])!];
    }
  }

  /** Changes after a revision. Throws Compacted. */
  since(bucket: string, revision: number): Change[] {
    if (revision < this.#compacted) throw new Compacted();
    const { history } = this.#bucket(bucket);
    let low = 0;
    let high = history.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (history[middle].revision > revision) high = middle;
      else low = middle + 1;
    }
    return history.slice(low);
  }

  /** Calls back for each change to come; the result ends it. */
  follow(bucket: string, follower: Follower): () => void {
    const { followers } = this.#bucket(bucket);
    followers.add(follower);
    return () => followers.delete(follower);
  }

  /** Forgets the changes up to and with a revision. */
  compact(revision = this.#revision): void {
    if (revision <= this.#compacted) return;
    this.#compacted = Math.min(revision, this.#revision);
    for (const place of this.#buckets.values()) {
      place.history = place.history.filter((change) => change.revision > this.#compacted);
    }
  }

  snapshot(): Snapshot {
    const objects = new Map(
      [...this.#buckets].map(([name, place]) => [name, new Map(place.objects)]),
    );
    return { revision: this.#revision, objects };
  }

  /** Goes to a state, with its revision and without a history; followers hear nothing of it. */
  restore(snapshot: Snapshot): void {
    for (const place of this.#buckets.values()) {
      place.objects = new Map();
      place.order = undefined;
      place.history = [];
    }
    for (const [name, objects] of snapshot.objects) {
      this.#bucket(name).objects = new Map(objects);
    }
    this.#revision = snapshot.revision;
    this.#compacted = snapshot.revision;
  }

  #bucket(name: string): Bucket {
    let place = this.#buckets.get(name);
    if (!place) {
      place = { objects: new Map(), history: [], followers: new Set() };
      this.#buckets.set(name, place);
    }
    return place;
  }

  #tell(place: Bucket, change: Change): void {
    place.history.push(change);
    for (const follower of [...place.followers]) follower(change);
  }
}

function lowerBound(order: string[], key: string): number {
  let low = 0;
  let high = order.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (order[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
