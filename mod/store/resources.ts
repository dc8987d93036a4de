/**
 * The typed client over a store, as Calico's clientv3: objects go in as users write them, are
 * completed and checked (schema, then rules beside what is stored), get uid and creation time, and
 * come out with defaults filled in and with their revision. Every write is a compare-and-swap.
 *
 * Kubernetes' own objects go the same way under our own keys. `decodeEntry` is for those who watch.
 */
import type { Prefix } from "../net/mod.ts";
import { parseResourceKey, type ResourceKey, resourceKey, resourcePrefix } from "../model/keys.ts";
import type { Kind } from "../model/kind.ts";
import type { AnyKind } from "../model/kinds.ts";
import { type Metadata, type Resource, resourceId } from "../model/resource.ts";
import {
  encodeObject,
  formatIssues,
  ModelError,
  parseObject,
  readObject,
  standingFaults,
} from "../model/validate.ts";
import { carryUnknown } from "../model/shape.ts";
import { clusterInformationKind } from "../model/cluster_information.ts";
import { BUILT_IN_TIERS, tierKind } from "../model/tier.ts";
import { type Entry, type Revision, type Store, StoreError } from "./store.ts";
import {
  bareObject,
  type Damaged,
  damagedEntry,
  damagedError,
  damageOf,
  identityOf,
  mendable,
} from "./damaged.ts";
import { fromStoreError, ResourceError, resourceName } from "./resource_error.ts";
import { otherVersion, refuseOtherVersion } from "./other_version.ts";
import { hasPrefixedKey, STORE_RULES } from "./resource_rules.ts";

export { ResourceError, type ResourceErrorKind } from "./resource_error.ts";

export interface ResourcesOptions {
  now?: () => Date;
  /** A random UUID. */
  uuid?: () => string;
  /**
   * Before a pool is deleted (it is disabled then): wait for assignments under way and release the
   * affinities of its blocks, but for those in the ranges of other pools (`heirs`). mod/ipam's, passed
   * in because the store must not know it.
   */
  releasePoolAffinities?: (cidr: Prefix, heirs: readonly Prefix[]) => Promise<void>;
  /** Before a node is deleted: release these addresses, then the node's blocks. mod/ipam's too. */
  releaseNode?: (node: string, addresses: string[]) => Promise<void>;
}

export interface WriteMode {
  /** As kubectl writes crd.projectcalico.org/v1: pools may overlap. */
  crd?: boolean;
  /** As Calico's UnsafeCreate and UnsafeDelete: no look at other objects, no release of affinities. */
  unsafe?: boolean;
  /** Not checked at all: an object that came from the store, of which one thing is changed. */
  unchecked?: boolean;
  /** modify: the object before the change; faults that it has already are no reason to refuse. */
  changed?: Resource;
  /** Fields that we do not know are kept, not refused (an object that came from the store). */
  keepUnknown?: boolean;
  /** modify: what stands there and is no object is changed too, as it is (`damaged.ts`). */
  mend?: boolean;
  /** For programs that report about themselves: gone after these many seconds. */
  ttlSeconds?: number;
}

export interface ResourceList<T> {
  items: T[];
  /** Of the store: watch from here. */
  revision: Revision;
  /** Entries that could not be read, each with the reason. They are left out of `items`. */
  broken: { key: string; error: ModelError }[];
}

/**
 * The object of a store entry, completed; ModelError "malformed" where it has not the kind's shape, or
 * stands where no object of the kind can. The key says which object it is, as with Calico, and not what
 * value calls itself: by that name nobody could get or delete it. Of another version (`other_version.ts`)
 * it is read as one of ours, and says so.
 */
export function decodeEntry<T extends Resource>(kind: Kind<T, any>, entry: Entry): T {
  const record = STORE_RULES.get(kind)?.record;
  const key = parseResourceKey(entry.key);
  const id = key && resourceId({ metadata: key });
  const object = readObject(kind, record ? record.read(entry.value) : entry.value, undefined, id);
  if (!record) {
    const fault = placeFault(kind, key);
    if (fault) throw new ModelError("malformed", fault);
    object.metadata.name ||= key!.name;
    if (kind.namespaced) object.metadata.namespace = key!.namespace;
  }
  STORE_RULES.get(kind)?.fromStorage?.(object);
  if (key && !isStoredAs(kind, object.metadata.name, key.name)) object.metadata.name = key.name;
  const version = record ? undefined : otherVersion(kind, entry.value);
  if (version !== undefined) object.apiVersion = version;
  delete object.metadata.selfLink;
  object.metadata.resourceVersion = entry.revision;
  return object;
}

export class Resources {
  #initialized: Promise<void> | undefined;

  constructor(readonly store: Store, readonly options: ResourcesOptions = {}) {}

  /** undefined where there is none. */
  async get<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace?: string,
  ): Promise<T | undefined> {
    return (await this.#find(kind, name, namespace))?.object;
  }

  /** As get; ResourceError "notFound" where there is none. */
  async mustGet<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace?: string,
  ): Promise<T> {
    const object = await this.get(kind, name, namespace);
    if (object) return object;
    const resource = resourceName(kind.kind, name, namespace);
    throw new ResourceError("notFound", resource, `${resource} does not exist`);
  }

  /** All of a kind, or those of one namespace, ordered by namespace and name. */
  async list<T extends Resource>(kind: Kind<T, any>, namespace?: string): Promise<ResourceList<T>> {
    const prefix = STORE_RULES.get(kind)?.record?.key ?? resourcePrefix(kind, namespace);
    const listing = await this.#do(kind.kind, () => this.store.list(prefix));
    const list: ResourceList<T> = { items: [], revision: listing.revision, broken: [] };
    for (const { key, reason } of listing.broken ?? []) {
      list.broken.push({
        key,
        error: new ModelError("malformed", `${kind.kind} ${key}: ${reason}`),
      });
    }
    for (const object of STORE_RULES.get(kind)?.builtIn ?? []) {
      list.items.push(structuredClone(object) as T);
    }
    for (const entry of listing.entries) {
      try {
        list.items.push(decodeEntry(kind, entry));
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        list.broken.push({ key: entry.key, error });
      }
    }
    if (STORE_RULES.get(kind)?.builtIn) {
      list.items.sort((a, b) => a.metadata.name < b.metadata.name ? -1 : 1);
    }
    return list;
  }

  /** Creates an object; ResourceError "exists" or "invalid". Returns it as stored. */
  async create<T extends Resource, I>(
    kind: Kind<T, I>,
    input: I,
    mode: WriteMode = {},
  ): Promise<T> {
    if (kind !== clusterInformationKind as unknown) {
      await this.ensureInitialized();
    }
    return this.#create(kind, input, mode);
  }

  async #create<T extends Resource>(kind: Kind<T, any>, input: unknown, mode: WriteMode) {
    const object = this.#parse(kind, input, mode);
    const { metadata } = object;
    const resource = resourceName(kind.kind, metadata.name, metadata.namespace);
    if (metadata.resourceVersion) {
      throw new ResourceError(
        "invalid",
        resource,
        `${resource}: metadata.resourceVersion must not be set when it is created`,
      );
    }
    // Looked for first, so that applying a pool twice says "exists", not that it overlaps itself.
    if (await this.#find(kind, metadata.name, metadata.namespace)) {
      throw new ResourceError("exists", resource, `${resource} already exists`);
    }
    await this.#check(kind, object, undefined, mode);
    this.#giveBirth(kind, metadata);
    metadata.resourceVersion = await this.#do(resource, async () => {
      try {
        return await this.store.create(
          storeKey(kind, metadata.name, metadata.namespace),
          this.#encode(kind, object),
          mode,
        );
      } catch (error) {
        if (!(error instanceof StoreError && error.kind === "notFound")) throw error;
        // Not it, which was to be made: what it was to be in.
        const { message } = error;
        const told = `${resource} cannot be created: ${message}; create that first`;
        throw new ResourceError("notFound", resource, told, message);
      }
    });
    return finish(kind, object);
  }

  /**
   * Writes a whole object over the stored one. `metadata.resourceVersion` must be that of the object
   * that was read; uid and creation time stay as stored.
   */
  async update<T extends Resource, I>(
    kind: Kind<T, I>,
    input: I,
    mode: WriteMode = {},
  ): Promise<T> {
    const object = this.#parse(kind, input, { keepUnknown: true, ...mode });
    const { metadata } = object;
    const resource = resourceName(kind.kind, metadata.name, metadata.namespace);
    if (!metadata.resourceVersion) {
      throw new ResourceError(
        "invalid",
        resource,
        `${resource}: metadata.resourceVersion must be set when it is updated`,
      );
    }
    const found = await this.#look(kind, metadata.name, metadata.namespace);
    refuseBuiltIn(kind, metadata.name, resource, "changed");
    if (!found) {
      throw new ResourceError("notFound", resource, `${resource} does not exist`);
    }
    const stands = "object" in found ? found.object : undefined;
    // A change of one thing alone leaves the version as it is.
    if (mode.unchecked && stands) object.apiVersion = stands.apiVersion;
    else refuseOtherVersion(kind, resource, standing(found));
    await this.#check(kind, object, stands, mode);
    const before = "damaged" in found ? identityOf(found.damaged.value) : found.object.metadata;
    // It may have been asked for by the name of its key.
    metadata.name = stands?.metadata.name ?? metadata.name;
    metadata.creationTimestamp = before.creationTimestamp ?? metadata.creationTimestamp;
    metadata.uid = before.uid ?? metadata.uid;
    if (!stands) this.#giveBirth(kind, metadata);
    metadata.resourceVersion = await this.#do(
      resource,
      () =>
        this.store.update(
          found.key,
          this.#encode(kind, object),
          metadata.resourceVersion!,
          mode,
        ),
    );
    return finish(kind, object);
  }

  /**
   * Writes the object whatever revision is stored: its spec replaces the stored one, all metadata
   * but labels and annotations stay as stored. A resourceVersion in the object must be the latest.
   * ResourceError "notFound" where there is none.
   */
  async replace<T extends Resource, I>(
    kind: Kind<T, I>,
    input: I,
    mode: WriteMode = {},
  ): Promise<T> {
    const object = this.#parse(kind, input, mode);
    const { metadata } = object;
    for (let attempt = 1;; attempt++) {
      const found = await this.#look(kind, metadata.name, metadata.namespace);
      const resource = resourceName(kind.kind, metadata.name, metadata.namespace);
      if (found) refuseOtherVersion(kind, resource, standing(found));
      const stored = !found || "object" in found
        ? found?.object ?? await this.mustGet(kind, metadata.name, metadata.namespace)
        : bareObject<T>(kind, metadata.name, metadata.namespace, found.damaged);
      const kept: Metadata = {
        ...stored.metadata,
        resourceVersion: metadata.resourceVersion ?? stored.metadata.resourceVersion,
      };
      delete kept.labels;
      delete kept.annotations;
      if (metadata.labels) kept.labels = metadata.labels;
      if (metadata.annotations) kept.annotations = metadata.annotations;
      const next = { ...structuredClone(object), metadata: kept };
      // Of an open kind we read a part alone: what the file leaves out of the rest is gone.
      if (!kind.open) carryUnknown(kind.schema, stored, next);
      if (object.status === undefined && stored.status !== undefined) next.status = stored.status;
      try {
        return await this.update(kind, next as unknown as I, { ...mode, keepUnknown: true });
      } catch (error) {
        const again = error instanceof ResourceError && error.kind === "conflict" &&
          !metadata.resourceVersion && attempt < RETRIES;
        if (!again) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS << attempt));
      }
    }
  }

  /** Creates the object, or replaces the one that is there. */
  async apply<T extends Resource, I>(
    kind: Kind<T, I>,
    input: I,
    mode: WriteMode = {},
  ): Promise<{ object: T; created: boolean }> {
    for (let attempt = 1;; attempt++) {
      try {
        const { metadata } = this.#parse(kind, input, mode);
        if (await this.#look(kind, metadata.name, metadata.namespace)) {
          return { object: await this.replace(kind, input, mode), created: false };
        }
        // What was read once and is gone since has a resourceVersion that means nothing now.
        const fresh = { ...input as Resource, metadata: { ...(input as Resource).metadata } };
        delete fresh.metadata.resourceVersion;
        return { object: await this.create(kind, fresh as unknown as I, mode), created: true };
      } catch (error) {
        const raced = error instanceof ResourceError &&
          (error.kind === "exists" || error.kind === "notFound") && !error.detail &&
          attempt < RETRIES;
        if (!raced) throw error;
      }
    }
  }

  /**
   * Reads, changes and writes one object until no one else wrote in between. `change` returns the new
   * object, or undefined to leave it: what is of another version can be left, and not changed. Returns what
   * is stored then.
   */
  async modify<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace: string | undefined,
    change: (object: T) => T | undefined,
    mode: WriteMode = {},
  ): Promise<T> {
    for (let attempt = 1;; attempt++) {
      const found = mode.mend ? await this.#look(kind, name, namespace) : undefined;
      const stored =
        found && "damaged" in found && mendable<T>(kind, name, namespace, found.damaged) ||
        await this.mustGet(kind, name, namespace);
      const mustBeOurs = () => {
        if (mode.unchecked) return;
        const stands = found ? standing(found) : stored;
        refuseOtherVersion(kind, resourceName(kind.kind, name, namespace), stands);
      };
      let next: T | undefined;
      try {
        next = change(structuredClone(stored));
      } catch (error) {
        // What it says is judged by our version.
        mustBeOurs();
        throw error;
      }
      if (next === undefined) return stored;
      mustBeOurs();
      try {
        return await this.update(kind, next, { keepUnknown: true, changed: stored, ...mode });
      } catch (error) {
        const again = error instanceof ResourceError && error.kind === "conflict" &&
          attempt < MODIFY_RETRIES;
        if (!again) throw error;
      }
    }
  }

  /** Deletes one object, at a revision where that is given. Returns what was deleted. */
  async delete<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace?: string,
    mode: WriteMode & { resourceVersion?: Revision; uid?: string } = {},
  ): Promise<T> {
    const resource = resourceName(kind.kind, name, namespace);
    const found = await this.#look(kind, name, namespace);
    refuseBuiltIn(kind, name, resource, "deleted");
    if (!found) {
      throw new ResourceError("notFound", resource, `${resource} does not exist`);
    }
    if ("damaged" in found) {
      const { key, damaged } = found;
      // Which object it was, and whether that one is meant, nobody can say.
      if (mode.uid) throw damagedError(kind, name, namespace, damaged);
      if (mode.resourceVersion && mode.resourceVersion !== damaged.revision) {
        throw fromStoreError(new StoreError("conflict", ""), resource);
      }
      const bare = bareObject<T>(kind, name, namespace, damaged);
      if (!mode.unsafe) await STORE_RULES.get(kind)?.beforeDeleteDamaged?.(this, bare, damaged);
      await this.#do(resource, () => this.store.delete(key, damaged.revision));
      return bare;
    }
    if (mode.uid && found.object.metadata.uid !== mode.uid) {
      throw new ResourceError("conflict", resource, `${resource} is another object of that name`);
    }
    if (mode.resourceVersion && mode.resourceVersion !== found.object.metadata.resourceVersion) {
      throw fromStoreError(new StoreError("conflict", ""), resource);
    }
    const rules = STORE_RULES.get(kind);
    let object: T = found.object;
    let revision = mode.resourceVersion;
    try {
      if (rules?.beforeDelete) {
        object = await rules.beforeDelete(this, object, mode);
        if (revision) revision = object.metadata.resourceVersion;
      }
      await this.#do(resource, () => this.store.delete(found.key, revision));
    } catch (error) {
      const failed = fromStoreError(error, resource);
      const lost = failed instanceof ResourceError && failed.kind === "unavailable";
      if (!lost || !rules?.cutOff) throw failed;
      throw new ResourceError(
        "unavailable",
        resource,
        `${failed.message}; ${rules.cutOff(object)}`,
      );
    }
    return object;
  }

  /**
   * Writes ClusterInformation `default` and the built-in tiers where they are missing, as the first
   * write of any Calico client does. Done once; every create does it first.
   */
  ensureInitialized(): Promise<void> {
    this.#initialized ??= this.#initialize().catch((error) => {
      this.#initialized = undefined;
      throw error;
    });
    return this.#initialized;
  }

  async #initialize(): Promise<void> {
    const uuid = this.options.uuid ?? (() => crypto.randomUUID());
    await this.#createMissing(clusterInformationKind, "default", {
      clusterGUID: uuid().replaceAll("-", ""),
      datastoreReady: true,
    });
    for (const [name, spec] of Object.entries(BUILT_IN_TIERS)) {
      await this.#createMissing(tierKind, name, spec);
    }
  }

  async #createMissing(kind: AnyKind, name: string, spec: unknown): Promise<void> {
    try {
      if (await this.store.get(resourceKey(kind, name))) return;
    } catch (error) {
      // Half-written: it is there, and what others write has nothing to do with it.
      if (error instanceof StoreError && error.kind === "invalid") return;
      throw error;
    }
    try {
      await this.#create(kind, { metadata: { name }, spec }, {});
    } catch (error) {
      if (!(error instanceof ResourceError && error.kind === "exists")) throw error;
    }
  }

  #parse<T extends Resource>(kind: Kind<T, any>, input: unknown, mode: WriteMode): T {
    if (mode.unchecked) return readObject(kind, input);
    const options = {
      unknownFields: mode.keepUnknown ? "keep" : "refuse",
      crd: mode.crd,
      write: true,
    } as const;
    try {
      return parseObject(kind, input, options);
    } catch (error) {
      const standing = mode.changed && standingFaults(kind, mode.changed);
      if (!standing?.size) throw asInvalid(error, kind);
      try {
        return parseObject(kind, input, { ...options, standing });
      } catch (error) {
        throw asInvalid(error, kind);
      }
    }
  }

  async #check<T extends Resource>(
    kind: Kind<T, any>,
    object: T,
    old: T | undefined,
    mode: WriteMode,
  ): Promise<void> {
    if (mode.unchecked) return;
    const issues = await STORE_RULES.get(kind)?.check?.(this, object, old, mode) ?? [];
    if (issues.length === 0) return;
    const resource = resourceName(kind.kind, object.metadata.name, object.metadata.namespace);
    throw new ResourceError("invalid", resource, `${resource}: ${formatIssues(issues)}`);
  }

  #encode<T extends Resource>(kind: Kind<T, any>, object: T): unknown {
    const rules = STORE_RULES.get(kind);
    if (rules?.record) return rules.record.write(object);
    if (!rules?.toStorage) return encodeObject(kind, object);
    const copy = structuredClone(object);
    rules.toStorage(copy);
    return encodeObject(kind, copy);
  }

  async #find<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace: string | undefined,
  ): Promise<{ key: string; object: T } | undefined> {
    const found = await this.#look(kind, name, namespace);
    if (!found || "object" in found) return found;
    throw damagedError(kind, name, namespace, found.damaged);
  }

  /** As #find; also what stands under the object's key and is none. */
  async #look<T extends Resource>(
    kind: Kind<T, any>,
    name: string,
    namespace: string | undefined,
  ): Promise<Found<T> | undefined> {
    const resource = resourceName(kind.kind, name, namespace);
    const names = hasPrefixedKey(kind) ? [name, `default.${name}`] : [name];
    for (const stored of names) {
      const key = storeKey(kind, stored, namespace);
      let damaged: Damaged | undefined;
      try {
        const entry = await this.store.get(key);
        if (!entry) continue;
        try {
          const object = decodeEntry(kind, entry);
          const own = object.metadata.name;
          if (own === name) return { key, object };
          // Up to 3.31 a policy was called by the name of its key too, and manifests still do.
          if (hasPrefixedKey(kind) && stored === name && name === `default.${own}`) {
            return { key, object };
          }
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
          damaged = damagedEntry(kind, entry, error.message);
        }
      } catch (error) {
        damaged = damageOf(error);
        if (!damaged) throw fromStoreError(error, resource);
      }
      if (!damaged) continue;
      if (stored === name) return { key, damaged };
      // It may be another object than the one that is meant: only its own name reaches it.
      throw damagedError(kind, stored, namespace, damaged);
    }
    const builtIn = STORE_RULES.get(kind)?.builtIn?.find((o) => o.metadata.name === name);
    return builtIn && { key: resourceKey(kind, name), object: structuredClone(builtIn) as T };
  }

  /** Time and uid of an object that is made now. */
  #giveBirth(kind: AnyKind, metadata: Metadata): void {
    if (STORE_RULES.get(kind)?.record) return;
    metadata.creationTimestamp ??= formatTime((this.options.now ?? (() => new Date()))());
    metadata.uid ??= (this.options.uuid ?? (() => crypto.randomUUID()))();
  }

  async #do<T>(resource: string, operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      throw fromStoreError(error, resource);
    }
  }
}

/** What stands under an object's key: it, or what is none. */
type Found<T> = { key: string; object: T } | { key: string; damaged: Damaged };

function standing<T>(found: Found<T>): unknown {
  return "object" in found ? found.object : found.damaged.value;
}

/** Why no object of the kind can stand at a key that was taken apart so; undefined where it can. */
export function placeFault(
  { kind, namespaced }: AnyKind,
  key: ResourceKey | undefined,
): string | undefined {
  if (key && namespaced === (key.namespace !== undefined)) return undefined;
  return `the key is nobody's: that of a ${kind} ends in ${namespaced ? "namespace and" : "its"} ` +
    "name; Calico passes it over too, and etcdctl can delete it";
}

/** Up to Calico 3.31 a policy of the default tier stood under a longer name than its own. */
function isStoredAs(kind: AnyKind, name: string, stored: string): boolean {
  return stored === name || hasPrefixedKey(kind) && stored === `default.${name}`;
}

/** Where an object is kept; a kind that is one record has its own key, whatever the name. */
function storeKey(kind: AnyKind, name: string, namespace?: string): string {
  return STORE_RULES.get(kind)?.record?.key ?? resourceKey(kind, name, namespace);
}

/** How often a write is tried again when someone else was quicker (Calico tries 5 times, 1 s apart). */
const RETRIES = 5;
/** Before the first retry of a replace; twice as long before each further one. */
const RETRY_MS = 10;
const MODIFY_RETRIES = 100;

function finish<T extends Resource>(kind: Kind<T, any>, object: T): T {
  // What the next read would give: policies have their tier's label.
  const rules = STORE_RULES.get(kind);
  if (rules?.toStorage) {
    rules.toStorage(object);
    rules.fromStorage?.(object);
  }
  return object;
}

function asInvalid(error: unknown, kind: AnyKind): unknown {
  return error instanceof ModelError
    ? new ResourceError("invalid", kind.kind, error.message)
    : error;
}

/** RFC 3339 in UTC with whole seconds, as Kubernetes writes times. */
export function formatTime(time: Date): string {
  return time.toISOString().replace(/\.[0-9]+Z$/, "Z");
}

/** What is there without being stored stays as it is. */
function refuseBuiltIn(kind: AnyKind, name: string, resource: string, done: string): void {
  const builtIn = STORE_RULES.get(kind)?.builtIn?.some((object) => object.metadata.name === name);
  if (!builtIn) return;
  throw new ResourceError("refused", resource, `${resource} is built in and cannot be ${done}`);
}
