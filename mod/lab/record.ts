/**
 * What a lab has made, written down before it is made: so `lab down` can take everything away, also
 * after `lab up` was killed half-way. One JSON file for the lab, one for each pod.
 */
import type { ProcessIdentity } from "../../ffi/process.ts";
import { LAB_ROOT, type LabLayout } from "./layout.ts";
import type { PodManifest, Workload } from "./workloads.ts";
import { LabError } from "./workloads.ts";

export interface LabRecord {
  readonly layout: LabLayout;
  /** Environment of the node services, e.g. CALICO_IPV4POOL_CIDR. */
  readonly env: Readonly<Record<string, string>>;
  /** `store` and the nodes' names. */
  processes: Record<string, ProcessIdentity>;
  workloads: Workload[];
}

export interface PodRecord {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** Name of its network namespace. */
  readonly netns: string;
  readonly containerId: string;
  readonly manifest: PodManifest;
  readonly workload?: string;
  server?: ProcessIdentity;
  /** The plugin's answer, for DEL. */
  result?: unknown;
}

const labFile = (directory: string) => `${directory}/lab.json`;

/** Replaces a file whole, so that a reader never sees half of it. */
function writeJson(path: string, value: unknown): void {
  Deno.writeTextFileSync(`${path}.part`, JSON.stringify(value, undefined, 1));
  Deno.renameSync(`${path}.part`, path);
}

function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(path)) as T;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

export function saveLab(record: LabRecord): void {
  writeJson(labFile(record.layout.directory), record);
}

export function findLab(name: string, root = LAB_ROOT): LabRecord | undefined {
  return readJson<LabRecord>(labFile(`${root}/${name}`));
}

export function mustFindLab(name: string): LabRecord {
  const record = findLab(name);
  if (!record) throw new LabError(`the lab "${name}" is not up; start it with: tortie lab up`);
  return record;
}

const podsFolder = (record: LabRecord) => `${record.layout.directory}/pods`;
const podFile = (record: LabRecord, pod: { namespace: string; name: string }) =>
  `${podsFolder(record)}/${pod.namespace}_${pod.name}.json`;

export function savePod(record: LabRecord, pod: PodRecord): void {
  writeJson(podFile(record, pod), pod);
}

export function forgetPod(record: LabRecord, pod: PodRecord): void {
  Deno.removeSync(podFile(record, pod));
}

export function findPod(
  record: LabRecord,
  namespace: string,
  name: string,
): PodRecord | undefined {
  return readJson<PodRecord>(podFile(record, { namespace, name }));
}

export function listPods(record: LabRecord): PodRecord[] {
  try {
    return [...Deno.readDirSync(podsFolder(record))]
      .filter((entry) => entry.name.endsWith(".json"))
      .map((entry) => readJson<PodRecord>(`${podsFolder(record)}/${entry.name}`))
      .filter((pod) => pod !== undefined)
      .sort((a, b) => `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
