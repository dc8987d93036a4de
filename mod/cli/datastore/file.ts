/**
 * The file of an export, as `calicoctl datastore migrate export` writes it and its import reads it:
 * three parts between lines of `===`.
 *
 *     v3 resources     a YAML list of each kind, a document each
 *     ===
 *     ClusterInformation `default`, JSON
 *     ===
 *     IPAM, JSON       block_affinities, blocks, handles: [{Key, Value, TTL}], config: {Key, Value, TTL}
 *
 * Calico's export leaves out what a Kubernetes datastore gets from Kubernetes itself. A whole export
 * has that too, as member `tortie` of the last part: Calico's reader passes over members that it does
 * not know, so that it can read our file.
 */
import {
  type ClusterInformation,
  clusterInformationKind,
} from "../../model/cluster_information.ts";
import { type AnyKind, KINDS } from "../../model/kinds.ts";
import type { Issue } from "../../model/kind.ts";
import { parseManifest } from "../../model/manifest.ts";
import { type Resource, resourceId } from "../../model/resource.ts";
import { encodeObject, formatIssues, ModelError, readObject } from "../../model/validate.ts";
import { show } from "../../model/show.ts";
import { formatJson, parseJson, printJson } from "../../store/json.ts";
import { failure } from "../io.ts";
import { objectsOf, type SourceObject } from "../documents.ts";
import { asCalicoShows } from "../output.ts";
import { formatYaml } from "../yaml.ts";
import { type Content, type Item, itemKey, itemOf, type StoredRecord } from "./content.ts";
import { partsOf } from "./parts.ts";
import { IPAM_MEMBERS, readRecords } from "./records.ts";

/**
 * Kinds of the first part in the order in which they can be written: what others refer to comes
 * first. The order is Calico's.
 */
const ORDER = [
  "ippools",
  "bgpfilters",
  "bgppeers",
  "tiers",
  "globalnetworkpolicies",
  "stagedglobalnetworkpolicies",
  "globalnetworksets",
  "hostendpoints",
  "kubecontrollersconfigurations",
  "networkpolicies",
  "stagednetworkpolicies",
  "stagedkubernetesnetworkpolicies",
  "networksets",
  "nodes",
  "bgpconfigurations",
  "felixconfigurations",
  "ipreservations",
];

/** Kinds of the first part, in order. */
export const CALICO_KINDS: readonly AnyKind[] = ORDER.map((plural) =>
  KINDS.find((kind) => kind.home === "calico" && kind.plural === plural)!
);

/** Objects of one document: an import reads a document as a whole. */
const ITEMS_PER_DOCUMENT = 1000;
/** Policies that a controller made of Kubernetes' own, which the Kubernetes datastore reads itself. */
const CONVERTED = /^(knp|kcnp|kanp|kbanp)\.default\./;

/** Objects whose unknown fields are named: a newer version may have written its own into all of them. */
const MOST_STRANGE = 20;
/** Largest export that is read. */
export const MAX_BYTES = 512 * 1024 * 1024;

/** Whether an item stands in the first part. */
function isCalicos({ kind }: Item): boolean {
  return CALICO_KINDS.includes(kind);
}

/** Whether a Kubernetes datastore makes the item by itself. */
export function isConverted({ kind, object }: Item): boolean {
  return /NetworkPolicy$/.test(kind.kind) && kind.home === "calico" &&
    CONVERTED.test(object.metadata.name);
}

/** The text of an export, piece by piece. `whole`: with what Calico's export leaves out. */
export function* printArchive(content: Content, whole: boolean): Generator<string> {
  for (const kind of CALICO_KINDS) {
    const objects = content.items.filter((item) => item.kind === kind).map(({ object }) => object);
    const items = kind.listed?.(objects) ?? objects;
    for (let at = 0; at === 0 || at < items.length; at += ITEMS_PER_DOCUMENT) {
      yield formatYaml({
        apiVersion: kind.apiVersion,
        kind: `${kind.kind}List`,
        metadata: {},
        items: items.slice(at, at + ITEMS_PER_DOCUMENT).map((object) => {
          const encoded = encodeObject(kind, object) as Resource;
          return whole ? encoded : asCalicoShows(encoded);
        }),
      });
      yield "---\n";
    }
  }
  yield "===\n";
  const cluster = content.cluster ?? readObject(clusterInformationKind, {
    metadata: { name: "default" },
  });
  yield `${formatJson(encodeObject(clusterInformationKind, cluster))}\n===\n{`;
  let members = 0;
  for (const [part, member] of IPAM_MEMBERS) {
    if (content.records[part].length === 0) continue;
    yield `${members++ > 0 ? "," : ""}\n  ${JSON.stringify(member)}: [`;
    yield* listed(content.records[part], recordText);
  }
  const [config] = content.records.config;
  if (config) yield `${members++ > 0 ? "," : ""}\n  "config": ${recordText(config)}`;
  const rest = content.items.filter((item) => !isCalicos(item));
  if (whole && rest.length + content.records.kubernetes.length > 0) {
    yield `${members++ > 0 ? "," : ""}\n  "tortie": {"resources": [`;
    yield* listed(rest, ({ kind, object }) => printJson(encodeObject(kind, object)));
    yield `, "entries": [`;
    yield* listed(content.records.kubernetes, recordText);
    yield "}";
  }
  yield "\n}\n";
}

function* listed<T>(list: readonly T[], text: (item: T) => string): Generator<string> {
  for (const [i, item] of list.entries()) yield `${i > 0 ? "," : ""}\n    ${text(item)}`;
  yield "\n  ]";
}

function recordText({ key, value }: StoredRecord): string {
  return `{"Key": ${JSON.stringify(key)}, "Value": ${printJson(value)}, "TTL": 0}`;
}

/**
 * Reads an export of ours or of calicoctl; every fault of it is told at once, by CliError. An object that
 * breaks a rule and can be read, or has fields that nobody here knows, was taken by the datastore that it comes
 * from: it is carried over, and `warn` is told.
 */
export function parseArchive(
  text: string,
  name: string,
  warn: (warning: string) => void = () => {},
): Content {
  const parts = partsOf(text);
  if (parts.length !== 3) {
    throw failure(
      `${name} is no export: want three parts between lines of ===, as \`datastore export\` ` +
        `prints them, and found ${parts.length}`,
    );
  }
  const faults: string[] = [];
  const strange = { objects: 0 };
  const items = parts[0].trim() === ""
    ? []
    : readItems(objectsOf(parts[0], name, MAX_BYTES), faults, warn, strange);
  const lines = parts[0].split("\n").length;
  const cluster = readCluster(readJson(parts[1], `${name}: the part of ClusterInformation`), name);
  const last = readJson(
    parts[2],
    `${name}: the part of IPAM (from line ${lines + parts[1].split("\n").length})`,
  );
  const { records, more } = readRecords(last, name, faults);
  items.push(...readItems(more, faults, warn, strange));
  const seen = new Set<string>();
  for (const item of items) {
    const key = itemKey(item);
    if (seen.has(key)) faults.push(`${name}: there are two of ${key}`);
    seen.add(key);
  }
  if (faults.length > 0) throw failure(faults.join("\n"));
  const untold = strange.objects - MOST_STRANGE;
  if (untold > 0) warn(`${name}: ${untold} more with fields that are not known (carried over too)`);
  return { items, records, cluster, leftOut: [], broken: [], ofOtherVersion: [] };
}

function readItems(
  sources: readonly SourceObject[],
  faults: string[],
  warn: (warning: string) => void,
  strange: { objects: number },
): Item[] {
  const items: Item[] = [];
  for (const { value, where } of sources) {
    try {
      const manifest = parseManifest(repaired(value), { keepUnknown: true, stored: true });
      const { kind, object } = manifest;
      const tell = (issues: readonly Issue[]) => {
        const id = `${kind.kind} "${resourceId(object)}"`;
        warn(`${where}: ${id}: ${formatIssues(issues)} (carried over as it stands)`);
      };
      if (manifest.faults.length > 0) tell(manifest.faults);
      if (manifest.unknown.length > 0 && ++strange.objects <= MOST_STRANGE) tell(manifest.unknown);
      if (kind.readOnly || kind.home !== "calico") {
        faults.push(`${where}: a ${kind.kind} has no place in this part`);
        continue;
      }
      const bad = (["name", "namespace"] as const).find((field) =>
        !isPartOfKey(kind, object, field)
      );
      if (bad) {
        // No key is this object's: what was written would be nobody's.
        faults.push(
          `${where}: metadata.${bad} is ${show(object.metadata[bad])}: want a name without /`,
        );
      } else items.push(itemOf(kind, object));
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      faults.push(`${where}: ${error.message}`);
    }
  }
  return items;
}

function isPartOfKey({ namespaced }: AnyKind, { metadata }: Resource, field: "name" | "namespace") {
  const text = metadata[field];
  if (field === "namespace" && !namespaced) return true;
  return typeof text === "string" && text !== "" && !text.includes("/");
}

/** Actions that Calico's first API wrote in capitals, and its export puts right. */
const ACTIONS = [
  "defaultEndpointToHostAction",
  "iptablesFilterAllowAction",
  "iptablesMangleAllowAction",
  "iptablesFilterDenyAction",
];

function repaired(value: unknown): unknown {
  const object = value as { kind?: string; spec?: Record<string, unknown> } | null;
  if (object?.kind !== "FelixConfiguration" || !object.spec) return value;
  const spec = { ...object.spec };
  for (const field of ACTIONS) {
    const action = spec[field];
    if (typeof action === "string" && /^[A-Z]{2,}$/.test(action)) {
      spec[field] = action[0] + action.slice(1).toLowerCase();
    }
  }
  return { ...object, spec };
}

function readJson(text: string, where: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    throw failure(
      `${where} is not JSON: ${
        (error as Error).message
      }; the file may have been cut off: export again`,
    );
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw failure(`${where} is not an object of JSON`);
}

function readCluster(value: Record<string, unknown>, name: string): ClusterInformation {
  const { kind = clusterInformationKind.kind, metadata } = value as {
    kind?: unknown;
    metadata?: { name?: unknown };
  };
  if (kind !== clusterInformationKind.kind || metadata?.name !== "default") {
    throw failure(
      `${name}: the second part is not the ClusterInformation "default": its kind is ${
        show(kind)
      }, ` +
        `its name ${show(metadata?.name)}`,
    );
  }
  try {
    return readObject(clusterInformationKind, value);
  } catch (error) {
    if (error instanceof ModelError) throw failure(`${name}: ClusterInformation: ${error.message}`);
    throw error;
  }
}
