/**
 * All that a datastore holds for good, whatever driver keeps it: v3 resources and Kubernetes' own
 * objects, IPAM's records, ClusterInformation. It is what an export writes and an import compares.
 *
 *     entries of /calico/ and /tortie/kubernetes/ -> readContent -> Content
 *
 * What is left out lives shorter than a datastore: what nodes report (/calico/felix/…) and records
 * that are being deleted. What cannot be read, or is of a kind that we do not know, is listed, so
 * that nobody believes it to be in the export.
 */
import {
  type ClusterInformation,
  clusterInformationKind,
} from "../../model/cluster_information.ts";
import {
  affinitiesPrefix,
  handlePrefix,
  IPAM_PREFIX,
  ipamConfigKey,
  KUBERNETES_RESOURCES,
  parseAffinityKey,
  parseBlockKey,
  parseHandleKey,
  parseResourceKey,
  resourceKey,
} from "../../model/keys.ts";
import { type AnyKind, kindByKey } from "../../model/kinds.ts";
import type { Metadata, Resource } from "../../model/resource.ts";
import { encodeObject, ModelError } from "../../model/validate.ts";
import { otherVersion } from "../../store/other_version.ts";
import { STORE_RULES } from "../../store/resource_rules.ts";
import { decodeEntry, placeFault } from "../../store/resources.ts";
import type { Entry, Store } from "../../store/store.ts";
import { recordFault } from "./record_fault.ts";

export interface Item {
  readonly kind: AnyKind;
  /** Without what belongs to one datastore alone: uid, revision, times. */
  readonly object: Resource;
}

/** What is no resource of a kind that we know, under its key in Calico's etcd layout or ours. */
export interface StoredRecord {
  readonly key: string;
  readonly value: Record<string, unknown>;
}

/**
 * In the order of writing: a handle may know of more addresses than its blocks, never of fewer.
 * `kubernetes` are Kubernetes' own objects, whole: of their fields we know a part.
 */
export const PARTS = ["kubernetes", "affinities", "handles", "blocks", "config"] as const;
export type Part = typeof PARTS[number];
export type Records = Readonly<Record<Part, readonly StoredRecord[]>>;

export function noRecords(): Record<Part, StoredRecord[]> {
  return { kubernetes: [], affinities: [], handles: [], blocks: [], config: [] };
}

export interface Content {
  readonly items: readonly Item[];
  readonly records: Records;
  readonly cluster: ClusterInformation | undefined;
  /** Entries that are of no kind that we know, with the reason. */
  readonly leftOut: readonly string[];
  /** Entries that are of a kind but cannot be read. */
  readonly broken: readonly string[];
  /** Entries that can be read as far as our version goes, and are of another (`other_version.ts`). */
  readonly ofOtherVersion: readonly string[];
}

const NODES_REPORTS = "/calico/felix/";

/** An entry as it stands in the datastore, to be put back where an import fails. */
export type Entries = ReadonlyMap<string, Entry>;

export async function readContent(store: Store): Promise<Content & { entries: Entries }> {
  const listings = [await store.list("/calico/"), await store.list(KUBERNETES_RESOURCES)];
  const entries = new Map(listings.flatMap((l) => l.entries.map((e) => [e.key, e] as const)));
  const content = contentOf([...entries.values()]);
  // What is no JSON is of no kind, but it was written as something: a block without its end has the
  // addresses of running pods.
  const torn = listings.flatMap((l) => l.broken ?? [])
    .filter(({ key }) => !key.startsWith(NODES_REPORTS))
    .map(({ key, reason }) => `${key}: ${reason}`);
  return { ...content, broken: [...content.broken, ...torn].sort(), entries };
}

export function contentOf(entries: readonly Entry[]): Content {
  const items: Item[] = [];
  const records = noRecords();
  const [leftOut, broken, ofOtherVersion]: string[][] = [[], [], []];
  const names = new Map<string, string>();
  let cluster: ClusterInformation | undefined;
  for (const entry of entries) {
    const { key } = entry;
    if (key.startsWith(NODES_REPORTS)) continue;
    const part = partOfKey(key);
    if (part) {
      if ((entry.value as { deleted?: unknown } | null)?.deleted === true) continue;
      const fault = recordFault(part, key, entry.value);
      if (fault !== undefined) broken.push(`${key}: ${fault}`);
      else records[part].push({ key, value: recordValue(part, entry.value) });
      continue;
    }
    const parsed = parseResourceKey(key);
    const kind = parsed && kindByKey(parsed);
    if (!kind || STORE_RULES.get(kind)?.record) {
      // Markers that very old versions wrote beside a node's affinities say nothing.
      if (!key.startsWith(affinitiesPrefix)) leftOut.push(`${key}: not of a known kind`);
      continue;
    }
    const fault = placeFault(kind, parsed);
    if (fault) {
      leftOut.push(`${key}: ${fault}`);
      continue;
    }
    try {
      const object = decodeEntry<Resource>(kind, entry);
      const version = otherVersion(kind, object);
      if (version !== undefined) {
        ofOtherVersion.push(
          `${key}: it is of ${version}, and ${kind.apiVersion} alone is known here`,
        );
        continue;
      }
      if (kind === clusterInformationKind as AnyKind) cluster = object as ClusterInformation;
      else {
        const item = itemOf(kind, object);
        const there = names.get(itemKey(item));
        // Before 3.32 a policy `foo` was stored as `default.foo`.
        if (there) broken.push(`${key}: ${there} has the same name; delete one of them`);
        else items.push(item);
        names.set(itemKey(item), key);
      }
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      broken.push(`${key}: ${error.message}`);
    }
  }
  return { items, records, cluster, leftOut, broken, ofOtherVersion };
}

/** undefined for the key of a resource, and for one that is nothing. */
export function partOfKey(key: string): Part | undefined {
  if (key.startsWith(KUBERNETES_RESOURCES)) {
    return parseResourceKey(key) && "kubernetes";
  }
  if (!key.startsWith(IPAM_PREFIX)) return undefined;
  if (key === ipamConfigKey) return "config";
  if (key.startsWith(handlePrefix) && parseHandleKey(key) !== undefined) return "handles";
  if (parseBlockKey(key)) return "blocks";
  return parseAffinityKey(key) ? "affinities" : undefined;
}

/** What is kept of a value that `recordFault` has let pass. */
export function recordValue(part: Part, value: unknown): Record<string, unknown> {
  // The oldest form of a confirmed affinity is an empty value.
  if (value === null || value === "") return { state: "confirmed", deleted: false };
  const record = value as Record<string, unknown>;
  return part === "kubernetes" ? withoutRevision(record) : record;
}

/** What the API server says of its own copy. */
function withoutRevision(record: Record<string, unknown>): Record<string, unknown> {
  if (typeof record.metadata !== "object" || record.metadata === null) return record;
  const { resourceVersion: _, managedFields: _2, ...metadata } = record.metadata as Record<
    string,
    unknown
  >;
  return { ...record, metadata };
}

/** The object as it will be read from the datastore to which it goes. */
export function itemOf(kind: AnyKind, object: Resource): Item {
  const copy = portable(object);
  const rules = STORE_RULES.get(kind);
  // Labels and names that follow from the spec, which older versions did not write.
  kind.prepare?.(copy);
  rules?.toStorage?.(copy);
  rules?.fromStorage?.(copy);
  return { kind, object: copy };
}

/** As it may go to another datastore. */
function portable(object: Resource): Resource {
  const copy = structuredClone(object);
  const { name, namespace, generateName, labels, annotations } = copy.metadata as Metadata & {
    generateName?: string;
  };
  return {
    ...copy,
    metadata: {
      name,
      ...namespace && { namespace },
      ...generateName && { generateName },
      ...labels && Object.keys(labels).length > 0 && { labels },
      ...annotations && Object.keys(annotations).length > 0 && { annotations },
    } as Metadata,
  };
}

export function itemKey({ kind, object: { metadata } }: Item): string {
  return resourceKey(kind, metadata.name, metadata.namespace);
}

/** Two items with the same text are the same in any datastore. */
export function itemText({ kind, object }: Item): string {
  return canonical(encodeObject(kind, object));
}

/** JSON with members in the order of their names, without those that say nothing. */
export function canonical(value: unknown): string {
  if (typeof value === "bigint") return `${value}`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const members = Object.entries(value).filter(([, v]) => v !== undefined && v !== null)
    .sort(([a], [b]) => a < b ? -1 : 1);
  return `{${members.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join()}}`;
}
