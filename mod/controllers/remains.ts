/**
 * Records under a node's own name that nobody but it writes, and that nobody takes away when its Node is
 * deleted: what it and the controllers say to each other (`ipam/questions.ts`), what it has told of its
 * variables, what it has reported last, markers of very old versions. They are a node's remains where it
 * is gone, whether or not IPAM still has anything of it.
 */
const FORMS: readonly RegExp[] = [
  /^\/tortie\/nodes\/([^/]+)\/[^/]+$/,
  /^\/calico\/felix\/v2\/[^/]+\/host\/([^/]+)\/last_reported_status$/,
  /^\/calico\/felix\/v2\/[^/]+\/host\/([^/]+)\/workload\/.+$/,
  /^\/calico\/felix\/v1\/host\/([^/]+)\/endpoint\/.+$/,
  /^\/calico\/ipam\/v2\/host\/([^/]+)$/,
];

/** Keys of such records by node. */
export class Remains {
  readonly #keys = new Map<string, Set<string>>();

  /** Whether the key is a new one, or one less: their values are renewed all the time. */
  take(key: string, isThere: boolean): boolean {
    const node = FORMS.map((form) => form.exec(key)?.[1]).find((name) => name !== undefined);
    if (node === undefined) return false;
    const keys = this.#keys.get(node) ?? new Set();
    if (keys.has(key) === isThere) return false;
    if (isThere) this.#keys.set(node, keys.add(key));
    else if (keys.delete(key) && keys.size === 0) this.#keys.delete(node);
    return true;
  }

  /** Nothing is known any more of the keys that begin so. */
  forget(prefix: string): void {
    for (const keys of this.#keys.values()) {
      for (const key of [...keys]) if (key.startsWith(prefix)) this.take(key, false);
    }
  }

  nodes(): Iterable<string> {
    return this.#keys.keys();
  }

  of(node: string): string[] {
    return [...this.#keys.get(node) ?? []];
  }
}
