/**
 * The cluster behind the API: the store, the resources that are served, the clock, and the few things
 * that controllers do in a real cluster and that clients rely on. A new namespace gets its service
 * account `default`; a namespace that is being deleted loses its objects and then itself; a definition
 * begins or ends to serve its resource.
 */
import { type KubeObject, timestamp } from "./object.ts";
import { CORE_KINDS } from "./core_kinds.ts";
import { definitionKind, resourcesOf } from "./custom_resources.ts";
import { bucketOf, keyOf, type ResourceKind, type World } from "./resource_kind.ts";
import { Revisions, type Snapshot } from "./revisions.ts";
import { fillDefaults, prune } from "./schema.ts";
import { copy } from "./object.ts";

export const NAMESPACES = CORE_KINDS.find((kind) => kind.plural === "namespaces")!;
export const PODS = CORE_KINDS.find((kind) => kind.plural === "pods")!;
export const SERVICE_ACCOUNTS = CORE_KINDS.find((kind) => kind.plural === "serviceaccounts")!;
const SERVICES = CORE_KINDS.find((kind) => kind.plural === "services")!;

/** Namespaces that a cluster has from the beginning, and that nobody may delete. */
export const FIRST_NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system"];

export class Cluster implements World {
  readonly revisions: Revisions;
  /** The revision at which a cache that lags behind answers reads of "any" state; undefined: now. */
  cacheRevision?: number;
  #kinds = new Map<string, ResourceKind>();
  #clock: () => number;
  #nextClusterIp = 0;
  #draining = new Set<string>();

  constructor(options: { revision: number; now: () => number }) {
    this.revisions = new Revisions(options.revision);
    this.#clock = options.now;
    for (const kind of [...CORE_KINDS, definitionKind]) this.#serve(kind);
    for (const name of FIRST_NAMESPACES) this.#makeNamespace(name);
  }

  now(): number {
    return this.#clock();
  }

  /** All that is served, in no order. */
  kinds(): ResourceKind[] {
    return [...this.#kinds.values()];
  }

  kind(group: string, version: string, plural: string): ResourceKind | undefined {
    return this.#kinds.get(`${group}/${version}/${plural}`);
  }

  get(
    kind: ResourceKind,
    namespace: string,
    name: string,
    revision?: number,
  ): KubeObject | undefined {
    const key = keyOf(namespace, name);
    if (revision === undefined) return this.revisions.get(bucketOf(kind), key);
    for (const [found, object] of this.revisions.list(bucketOf(kind), key, key, revision)) {
      if (found === key) return object;
    }
  }

  exists(group: string, plural: string, namespace: string, name: string): boolean {
    return this.revisions.get(`${group}/${plural}`, keyOf(namespace, name)) !== undefined;
  }

  freeClusterIp(): string {
    const taken = new Set<string>();
    for (const [, service] of this.revisions.list(bucketOf(SERVICES), "", "")) {
      taken.add(service.spec?.clusterIP);
    }
    for (;;) {
      const n = ++this.#nextClusterIp;
      const address = `10.${96 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
      if (!taken.has(address)) return address;
    }
  }

  /** Stores an object that has passed all checks, and does what follows from it. */
  store(kind: ResourceKind, object: KubeObject): KubeObject {
    const { name, namespace = "" } = object.metadata;
    const bucket = bucketOf(kind);
    const isNew = this.revisions.get(bucket, keyOf(namespace, name)) === undefined;
    const stored = this.revisions.put(bucket, keyOf(namespace, name), object);
    if (kind === definitionKind) this.#define(stored);
    if (kind === NAMESPACES && isNew) this.#account(name);
    if (kind === NAMESPACES && stored.metadata.deletionTimestamp) this.#drainSoon(name);
    return stored;
  }

  /** Takes an object away for good; `last` is what watchers see of it. */
  erase(kind: ResourceKind, object: KubeObject, last?: KubeObject): KubeObject {
    const { name, namespace = "" } = object.metadata;
    if (kind === definitionKind) this.#undefine(object);
    const gone = this.revisions.delete(bucketOf(kind), keyOf(namespace, name), last)!;
    if (namespace !== "" && this.#terminating(namespace)) this.#drainSoon(namespace);
    return gone;
  }

  /** Revision of the answer to a read that takes any state. */
  get anyRevision(): number | undefined {
    const lagging = this.cacheRevision;
    return lagging !== undefined && lagging >= this.revisions.compacted ? lagging : undefined;
  }

  snapshot(): Snapshot {
    return this.revisions.snapshot();
  }

  restore(snapshot: Snapshot): void {
    for (const kind of this.kinds()) {
      if (kind.custom) this.#kinds.delete(`${kind.group}/${kind.version}/${kind.plural}`);
    }
    this.cacheRevision = undefined;
    this.revisions.restore(snapshot);
    for (const definition of this.#all(definitionKind, "")) {
      for (const kind of resourcesOf(definition)) this.#serve(kind);
    }
  }

  #serve(kind: ResourceKind): void {
    this.#kinds.set(`${kind.group}/${kind.version}/${kind.plural}`, kind);
  }

  #all(kind: ResourceKind, namespace: string): KubeObject[] {
    const prefix = namespace === "" ? "" : `${namespace}/`;
    return [...this.revisions.list(bucketOf(kind), prefix, "")].map(([, object]) => object);
  }

  #makeNamespace(name: string): void {
    const object: KubeObject = {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: {
        name,
        uid: crypto.randomUUID(),
        creationTimestamp: timestamp(this.now()),
      },
    };
    NAMESPACES.prepare!(object, undefined, this);
    this.store(NAMESPACES, object);
  }

  #account(namespace: string): void {
    this.store(SERVICE_ACCOUNTS, {
      apiVersion: "v1",
      kind: "ServiceAccount",
      metadata: {
        name: "default",
        namespace,
        uid: crypto.randomUUID(),
        creationTimestamp: timestamp(this.now()),
      },
    });
  }

  #terminating(namespace: string): boolean {
    return this.get(NAMESPACES, "", namespace)?.metadata.deletionTimestamp !== undefined;
  }

  /** The namespace controller works after the answer was given, as it does in a cluster. */
  #drainSoon(namespace: string): void {
    if (this.#draining.has(namespace)) return;
    this.#draining.add(namespace);
    setTimeout(() => {
      this.#draining.delete(namespace);
      if (this.#terminating(namespace)) this.#drain(namespace);
    }, 0);
  }

  #drain(name: string): void {
    let left = 0;
    const namespaced = new Map(
      this.kinds().filter((kind) => kind.namespaced).map((kind) => [bucketOf(kind), kind]),
    );
    for (const kind of namespaced.values()) {
      for (const object of this.#all(kind, name)) {
        if (!object.metadata.finalizers?.length) this.erase(kind, object);
        else {
          left++;
          if (!object.metadata.deletionTimestamp) {
            this.store(kind, markDeleted(object, 0, this.now()));
          }
        }
      }
    }
    const namespace = this.get(NAMESPACES, "", name)!;
    if (left > 0) return;
    if (namespace.metadata.finalizers?.length) {
      if (!namespace.spec.finalizers) return;
      const { finalizers: _, ...spec } = namespace.spec;
      this.store(NAMESPACES, { ...namespace, metadata: { ...namespace.metadata }, spec });
    } else this.erase(NAMESPACES, namespace);
  }

  #define(definition: KubeObject): void {
    const kinds = resourcesOf(definition);
    for (const old of this.kinds()) {
      if (old.custom && old.group === kinds[0]?.group && old.plural === kinds[0].plural) {
        this.#kinds.delete(`${old.group}/${old.version}/${old.plural}`);
      }
    }
    for (const kind of kinds) this.#serve(kind);
    if (kinds.length === 0) return;
    // Objects of an older schema are read through the new one: pruned and with its defaults.
    const bucket = bucketOf(kinds[0]);
    for (const [key, object] of this.revisions.list(bucket, "", "")) {
      const read = copy(object);
      prune(read, kinds[0].custom!.schema);
      fillDefaults(read, kinds[0].custom!.schema);
      this.revisions.rewrite(bucket, key, read);
    }
  }

  #undefine(definition: KubeObject): void {
    for (const kind of resourcesOf(definition)) {
      for (const object of this.#all(kind, "")) this.erase(kind, object);
      this.#kinds.delete(`${kind.group}/${kind.version}/${kind.plural}`);
    }
  }
}

/** The object with the marks of a deletion that has begun. */
export function markDeleted(object: KubeObject, grace: number, now: number): KubeObject {
  const metadata = {
    ...object.metadata,
    deletionTimestamp: timestamp(now + grace * 1000),
    deletionGracePeriodSeconds: grace,
  };
  if (metadata.generation !== undefined) metadata.generation++;
  return { ...object, metadata };
}
