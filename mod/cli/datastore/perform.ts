/**
 * Carries out the plan of an import. Objects of one kind are written several at a time, kinds one
 * after the other, IPAM's records last (affinities, handles, blocks: a handle may know of more
 * addresses than its blocks, never of fewer).
 *
 * Whole or nothing: where the datastore refuses a write, all that was written is taken back. Where it
 * cannot be reached any more nothing can be taken back; it is locked, though, and marked, and the same
 * import goes on when it is called again.
 */
import { resourceKey } from "../../model/keys.ts";
import { clusterInformationKind } from "../../model/cluster_information.ts";
import type { AnyKind } from "../../model/kinds.ts";
import type { Resources } from "../../store/resources.ts";
import { type Entry, type Revision, StoreError } from "../../store/store.ts";
import { ResourceError } from "../../store/resource_error.ts";
import { type Content, type Entries, type Item, itemKey } from "./content.ts";
import { modifyCluster, withAnnotation } from "./lock.ts";
import type { Plan } from "./plan.ts";

/** Writes that are under way at a time. */
const WIDTH = 16;

/** With `changed`: what its own datastore took of it, fields and faults, is no reason to refuse it. */
const AS_IT_STOOD = { keepUnknown: true } as const;

interface Written {
  readonly key: string;
  readonly revision: Revision;
  readonly before: Entry | undefined;
}

export interface Performing {
  readonly resources: Resources;
  readonly plan: Plan;
  readonly wanted: Content;
  readonly entries: Entries;
  /** Of the file, for the mark in ClusterInformation. */
  readonly digest: string;
  at(done: number): void;
}

/** Something was refused and all is as it was; or something could not be taken back: `left`. */
export class ImportError extends Error {
  override readonly name = "ImportError";
  constructor(
    message: string,
    readonly kind: "undone" | "unfinished",
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export async function performImport(performing: Performing): Promise<void> {
  const { resources, digest } = performing;
  const written: Written[] = [];
  const clusterKey = resourceKey(clusterInformationKind, "default");
  await modifyCluster(resources, (cluster) => ({
    ...withAnnotation(cluster, digest),
    spec: { ...cluster.spec, datastoreReady: false },
  }));
  try {
    await writeAll(performing, written);
    await modifyCluster(resources, (cluster) => {
      const { clusterGUID, calicoVersion, clusterType, variant } = performing.wanted.cluster
        ?.spec ?? {};
      const spec = {
        ...cluster.spec,
        ...clusterGUID && { clusterGUID },
        ...calicoVersion && { calicoVersion },
        // What is said of the datastore's own kind stays: Calico takes over these two alone.
        ...clusterType && !cluster.spec.clusterType && { clusterType },
        ...variant && !cluster.spec.variant && { variant },
      };
      return { ...withAnnotation(cluster, undefined), spec };
    });
  } catch (error) {
    if (isUnavailable(error)) {
      throw new ImportError((error as Error).message, "unfinished", { cause: error });
    }
    const left = await takeBack(resources, written);
    if (left.length === 0) {
      await restoreCluster(resources, performing.entries.get(clusterKey));
      throw new ImportError((error as Error).message, "undone", { cause: error });
    }
    throw new ImportError(
      `${(error as Error).message}; and these could not be taken back: ${left.join(", ")}`,
      "unfinished",
      { cause: error },
    );
  }
}

async function writeAll(performing: Performing, written: Written[]): Promise<void> {
  const { resources, plan, entries, at } = performing;
  const { store } = resources;
  let done = 0;
  const note = (key: string, revision: Revision, before?: Entry) => {
    written.push({ key, revision, before });
    at(++done);
  };
  for (const items of byKind(plan.create)) {
    await inParallel(items, async ({ kind, object }) => {
      const made = await resources.create(kind, structuredClone(object), {
        ...AS_IT_STOOD,
        unsafe: true,
        changed: object,
      });
      note(itemKey({ kind, object }), made.metadata.resourceVersion!);
    });
  }
  for (const { kind, object } of plan.replace) {
    const key = itemKey({ kind, object });
    const made = await resources.replace(kind, structuredClone(object), {
      ...AS_IT_STOOD,
      changed: object,
    });
    note(key, made.metadata.resourceVersion!, entries.get(key));
  }
  await inParallel(plan.records, async ({ key, value }) => {
    note(key, await store.create(key, value));
  });
}

/** Neighbours of one kind together: the order of kinds counts, that within a kind does not. */
function byKind(items: readonly Item[]): Item[][] {
  const groups: Item[][] = [];
  let last: AnyKind | undefined;
  for (const item of items) {
    if (item.kind !== last) groups.push([]);
    last = item.kind;
    groups.at(-1)!.push(item);
  }
  return groups;
}

async function inParallel<T>(list: readonly T[], action: (item: T) => Promise<void>) {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < list.length && !failed) {
      try {
        await action(list[next++]);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  // All come to their end before the first failure is told: what they wrote is to be taken back.
  const ends = await Promise.allSettled(Array.from({ length: WIDTH }, worker));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/** In the opposite order; returns the keys that did not go. */
async function takeBack({ store }: Resources, written: readonly Written[]): Promise<string[]> {
  const left: string[] = [];
  for (const { key, revision, before } of written.toReversed()) {
    try {
      if (before) await store.update(key, before.value, revision);
      else await store.delete(key, revision);
    } catch (error) {
      if (!(error instanceof StoreError && error.kind === "notFound")) left.push(key);
    }
  }
  return left;
}

/** Locked or not as it was; where there was none, one is there now, as every client makes it. */
async function restoreCluster(resources: Resources, before: Entry | undefined): Promise<void> {
  const value = before?.value as { spec?: { datastoreReady?: boolean } } | undefined;
  await modifyCluster(resources, (cluster) => ({
    ...withAnnotation(cluster, undefined),
    spec: { ...cluster.spec, datastoreReady: value?.spec?.datastoreReady ?? true },
  }));
}

function isUnavailable(error: unknown): boolean {
  return (error instanceof StoreError || error instanceof ResourceError) &&
    error.kind === "unavailable";
}
