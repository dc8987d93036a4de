/**
 * Endpoints as they stand in the datastore, where anybody with etcdctl can write: what is no JSON, or has
 * not the shape of an endpoint in what CNI reads of it, is no endpoint, and none of its words is believed.
 * It stands under a key that says whose it is, all the same: it counts as a remainder, which ADD clears
 * away and DEL deletes. Nothing else of an endpoint is judged here: whatever Calico has written is one.
 */

import { parseResourceKey } from "../mod/model/keys.ts";
import {
  parseWorkloadEndpointName,
  type WorkloadEndpoint,
} from "../mod/model/workload_endpoint.ts";
import { isJsonObject } from "../mod/store/json.ts";
import { isBroken, readRaw } from "../mod/store/raw.ts";
import type { Entry, Store } from "../mod/store/store.ts";

export interface EndpointEntry extends Entry<WorkloadEndpoint | undefined> {
  /** Why it is no endpoint; there is no value then. */
  readonly damage?: string;
}

export type SoundEntry = Entry<WorkloadEndpoint>;

/** What stands under the key; undefined: nothing. */
export async function readEndpoint(store: Store, key: string): Promise<EndpointEntry | undefined> {
  const entry = await readRaw(store, key);
  if (!entry) return undefined;
  if (!isBroken(entry)) return judged(entry);
  return { key, revision: entry.revision, value: undefined, damage: entry.reason };
}

/** All under the prefix, damaged ones among them. */
export async function listEndpoints(
  store: Pick<Store, "list">,
  prefix: string,
): Promise<EndpointEntry[]> {
  const { entries, broken = [] } = await store.list(prefix);
  return [
    ...entries.map(judged),
    ...broken.map(({ key, revision, reason }) => ({
      key,
      revision,
      value: undefined,
      damage: reason,
    })),
  ];
}

export function isSound(entry: EndpointEntry): entry is EndpointEntry & SoundEntry {
  return entry.value !== undefined;
}

/** What the key alone says of an endpoint. */
export interface EndpointPlace {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly orchestrator: string;
  /** The pod, or the container. */
  readonly id: string;
  readonly ifname: string;
}

/** undefined where it is no endpoint's key. */
export function placeOf(key: string): EndpointPlace | undefined {
  const { name, namespace = "default" } = parseResourceKey(key) ?? {};
  const parts = name === undefined ? undefined : parseWorkloadEndpointName(name);
  if (!parts) return undefined;
  const { endpoint: ifname, ...more } = parts;
  return { ...more, namespace, name: name!, ifname };
}

function judged(entry: Entry): EndpointEntry {
  const { key, revision, value } = entry;
  const damage = endpointFault(value);
  if (damage === undefined) return { key, revision, value: value as WorkloadEndpoint };
  return { key, revision, value: undefined, damage };
}

const isText = (value: unknown) => typeof value === "string";
const isList = (of: (item: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.every(of);

/** What CNI reads, where it is there; null is nothing, as in Go. */
const FIELDS: readonly (readonly [string, (value: unknown) => boolean, string])[] = [
  ...["name", "namespace", "uid", "creationTimestamp"].map((field) =>
    [`metadata.${field}`, isText, "a text"] as const
  ),
  ...["orchestrator", "node", "containerID", "pod", "endpoint", "interfaceName"].map((field) =>
    [`spec.${field}`, isText, "a text"] as const
  ),
  ["spec.ipNetworks", isList(isText), "a list of texts"],
  ["spec.profiles", isList(isText), "a list of texts"],
  ["spec.ipNATs", isList(isJsonObject), "a list of objects"],
];

/** Why a stored value is no endpoint; undefined: it is one. */
export function endpointFault(value: unknown): string | undefined {
  if (!isJsonObject(value)) return "it is not a JSON object";
  for (const member of ["metadata", "spec"]) {
    if (!isJsonObject(value[member])) return `its ${member} is not an object`;
  }
  for (const [path, isGood, want] of FIELDS) {
    const [member, field] = path.split(".");
    const found = (value[member] as Record<string, unknown>)[field] ?? undefined;
    if (found !== undefined && !isGood(found)) return `its ${path} is not ${want}`;
  }
}
