/**
 * What others have put on objects that we write whole: labels, annotations, finalizers and owners. A
 * write replaces the object, so these must be known of the very revision that it replaces. Whoever writes
 * has as a rule just read, or written, that revision: so what the objects bore that were met last is
 * remembered, and an object that is not among them is read once more.
 */
import type { KubeObject, KubeResource, KubernetesApi } from "./api.ts";
import { METADATA_ANNOTATION } from "./metadata.ts";
import { revisionOf } from "./source.ts";

/** As they stand in the metadata; those that are not there are left out. */
export interface Marks {
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly finalizers?: string[];
  readonly ownerReferences?: unknown[];
}

/** As many as one process writes to at a time, and some. */
const REMEMBERED = 1024;

export class Others {
  /** By name, those that were met last at the end. */
  readonly #met = new Map<string, { revision: string; marks: Marks }>();

  constructor(readonly resource: KubeResource) {}

  note(object: KubeObject): void {
    const { name } = object.metadata;
    this.#met.delete(name);
    this.#met.set(name, { revision: revisionOf(object), marks: marksOf(object) });
    if (this.#met.size > REMEMBERED) this.#met.delete(this.#met.keys().next().value!);
  }

  /** Of the object as it is at a revision; of one that is at another the write will be refused. */
  async at(api: KubernetesApi, name: string, revision: string): Promise<Marks> {
    const met = this.#met.get(name);
    if (met?.revision === revision) return met.marks;
    const object = await api.get(this.resource, name);
    if (!object) return {};
    this.note(object);
    return marksOf(object);
  }
}

function marksOf({ metadata }: KubeObject): Marks {
  const { labels, finalizers, ownerReferences } = metadata;
  const { [METADATA_ANNOTATION]: _ours, ...annotations } = metadata.annotations ?? {};
  return {
    ...(labels && { labels }),
    ...(Object.keys(annotations).length > 0 && { annotations }),
    ...(finalizers?.length && { finalizers }),
    ...(ownerReferences?.length && { ownerReferences }),
  };
}
