/**
 * A source is one kind of Kubernetes objects and the keys that they stand for: how an object is read
 * as entries, where the object of a key is, and how an entry is written into it. One object may stand
 * for several keys (a Pod for itself and for its WorkloadEndpoint), which then share its revision.
 * `sources.ts` lists them all; lists, watches and writes know no kind by name.
 */
import type { BrokenEntry, Revision } from "../store.ts";
import type { KubeObject, KubeResource, KubernetesApi, Narrowing } from "./api.ts";

/** A key that an object stands for. undefined: it could, and there is nothing under it now. */
export interface Reading {
  readonly key: string;
  readonly value: unknown;
}

/** Where an object is. */
export interface Place {
  readonly name: string;
  readonly namespace?: string;
}

export interface Source {
  readonly resource: KubeResource;
  /** What the keys begin with. */
  readonly prefixes: readonly string[];
  /**
   * What of the resource to read for the keys that begin with a prefix; several parts have no object
   * in common. None: no object can stand for such a key.
   */
  narrow(prefix: string): readonly Narrowing[];
  /** undefined: no object can stand for this key. */
  locate(key: string): Place | undefined;
  /** Every key that the object can stand for. */
  read(object: KubeObject): Reading[];
  /**
   * For a few alone: no part of a list or watch that does not ask for these very keys. Every node
   * follows everything, and may not even read these.
   */
  readonly apart?: boolean;
  /** Only a part of the object is read: a change of the rest is no event. */
  readonly partial?: boolean;
  /** Somebody has begun to delete it: it is gone, and to be cleared away. */
  isMarked?(object: KubeObject): boolean;
  /** What an object of no reading is listed as: one for each key that it could stand for. */
  strange?(object: KubeObject): Omit<BrokenEntry, "revision">[];
  /** Ends a deletion that somebody began. */
  clear?(api: KubernetesApi, object: KubeObject): Promise<void>;
  readonly write: Writer;
}

/** Writes entries; ApiError for what the server refuses, StoreError "invalid" for what has no place. */
export interface Writer {
  create(api: KubernetesApi, key: string, at: Place, value: unknown): Promise<Revision>;
  update(
    api: KubernetesApi,
    key: string,
    at: Place,
    value: unknown,
    revision: Revision,
  ): Promise<Revision>;
  /** The object as it is, at the revision that counts. */
  remove(api: KubernetesApi, key: string, object: KubeObject): Promise<Revision>;
}

/** The namespace that a prefix names, of keys `<base>[<namespace>/]<name>`. */
export function namespaceOf(base: string, prefix: string): string | undefined {
  if (!prefix.startsWith(base)) return undefined;
  const tail = prefix.slice(base.length);
  const slash = tail.indexOf("/");
  return slash > 0 ? tail.slice(0, slash) : undefined;
}

export function revisionOf(object: KubeObject): Revision {
  const { resourceVersion } = object.metadata;
  return typeof resourceVersion === "string" ? resourceVersion : "0";
}
