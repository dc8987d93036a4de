/**
 * What a lab has made, written down before it is made: so `lab down` can take everything away, also
 * after `lab up` was killed half-way. One JSON file for the lab, one for each process and each pod, so
 * that a damaged one hides nothing but what it told itself.
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

/** What a file holds, undefined where it is not there; a LabError where it is damaged. */
function readJson<T>(path: string, whole: (value: T) => boolean): T | undefined {
  try {
    const value = JSON.parse(Deno.readTextFileSync(path));
    if (value !== null && whole(value)) return value;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw new LabError(
    `${path} is damaged; take its lab down with "tortie lab down --lab NAME", and up again`,
  );
}

const isLab = (lab: LabRecord) =>
  Array.isArray(lab.layout.nodes) && Array.isArray(lab.workloads) &&
  typeof lab.processes === "object";
const isPod = (pod: PodRecord) => typeof pod.netns === "string" && typeof pod.name === "string";
const isProcess = (process: ProcessIdentity) =>
  Number.isInteger(process.pid) && process.pid > 1 && typeof process.startTime === "string";

export function saveLab(record: LabRecord): void {
  writeJson(labFile(record.layout.directory), record);
}

export function findLab(name: string, root = LAB_ROOT): LabRecord | undefined {
  return readJson<LabRecord>(labFile(`${root}/${name}`), isLab);
}

/** Names of the labs that are there, whole or not. */
export function listLabs(root = LAB_ROOT): string[] {
  try {
    return [...Deno.readDirSync(root)].filter((entry) => entry.isDirectory)
      .map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
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
  return readJson<PodRecord>(podFile(record, { namespace, name }), isPod);
}

/** Names of the files in a folder; none where it is not there. */
function filesIn(folder: string, end: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => `${folder}/${entry.name}`)
      .filter((path) => path.endsWith(end));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

export function listPods(record: LabRecord): PodRecord[] {
  return filesIn(podsFolder(record), ".json")
    .flatMap((path) => readJson<PodRecord>(path, isPod) ?? [])
    .sort((a, b) => `${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1);
}

export const processFile = (directory: string, name: string) => `${directory}/${name}.process`;

/** Notes a process of the lab (`store`, a node, another member) for `listProcesses`. */
export function saveProcess(directory: string, name: string, process: ProcessIdentity): void {
  writeJson(processFile(directory, name), process);
}

/** All processes of which a readable file in the lab's directory tells. */
export function listProcesses(directory: string): ProcessIdentity[] {
  const readable = <T>(path: string, whole: (value: T) => boolean): T[] => {
    try {
      return [readJson<T>(path, whole)].filter((value) => value !== undefined);
    } catch (error) {
      if (error instanceof LabError) return []; // damaged: the others are still told
      throw error;
    }
  };
  return [
    ...filesIn(`${directory}/pods`, ".json").flatMap((path) => readable(path, isPod))
      .flatMap((pod) => pod.server ?? []).filter(isProcess),
    ...filesIn(directory, ".process").flatMap((path) => readable(path, isProcess)),
  ];
}
