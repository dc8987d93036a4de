/**
 * What policy commands judge: the objects of the files that are named, without a cluster, or those of
 * the datastore. Of files, an object that policy hangs on and that Calico or Kubernetes would refuse
 * ends the command: a verdict without it would be about another cluster. All such are told at once.
 * The file of `datastore export` is judged as the datastore that it is of.
 * Kinds that policy does not hang on (Service, Deployment …) pass without a word.
 */
import { inputKind, type PolicyObject } from "../../policy/inputs.ts";
import { engineOf, flattenObjects, type JudgedObjects } from "../../policy/matrix.ts";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { kindByKey } from "../model/kinds.ts";
import { CALICO_RESOURCES, KUBERNETES_RESOURCES, parseResourceKey } from "../model/keys.ts";
import { parseManifest } from "../model/manifest.ts";
import { LABEL_METADATA_NAME } from "../model/namespace.ts";
import type { Resource } from "../model/resource.ts";
import { encodeObject, formatIssues, ModelError } from "../model/validate.ts";
import { felixParameters, policyParameters } from "../node/felix.ts";
import { type FelixVariables, felixVariables } from "../node/felix_variables.ts";
import { policyChange } from "../node/policy_change.ts";
import { decodeEntry } from "../store/resources.ts";
import type { Entry } from "../store/store.ts";
import { type Call, flagOption, listOption } from "./command.ts";
import { withStore } from "./context.ts";
import { isArchive } from "./datastore/parts.ts";
import { readObjects } from "./documents.ts";
import { failure } from "./io.ts";

export interface PolicyInput {
  readonly objects: readonly unknown[];
  /** By node, what its service says of its FELIX_ variables; undefined: files, and no nodes to say. */
  readonly variables?: ReadonlyMap<string, FelixVariables>;
}

/** All objects that the command is about. */
export async function policyObjects(call: Call): Promise<PolicyInput> {
  const files = listOption(call, "filename");
  return files.length > 0 ? await ofFiles(call, files) : await ofStore(call);
}

/** The objects as they would be stored: what Go's reader takes for a field of Calico's is that field. */
async function ofFiles(call: Call, files: readonly string[]): Promise<PolicyInput> {
  const exports: string[][] = [];
  const sources = await readObjects(files, call.io, {
    recursive: flagOption(call, "recursive"),
    take: (text, name) => isArchive(text) && exports.push([text, name]) > 0,
  });
  const faults: string[] = [];
  const objects: unknown[] = [];
  for (const [text, name] of exports) objects.push(...await objectsOfExport(call, text, name));
  for (const { value, where } of sources) {
    const { apiVersion, kind: name } = (value ?? {}) as Record<string, unknown>;
    if (typeof apiVersion !== "string" || typeof name !== "string" || !apiVersion || !name) {
      faults.push(
        `${where}: this is no object of Kubernetes or Calico: it needs apiVersion and kind`,
      );
      continue;
    }
    try {
      // Of Kubernetes' kinds nothing passes that kubectl's own (strict) check would refuse.
      const isCalico = /(^|\.)projectcalico\.org\//.test(apiVersion);
      const { kind, object, unknown } = parseManifest(value, { keepUnknown: isCalico });
      objects.push(object);
      const tell = (text: string) => call.io.stderr(`${text}\n`);
      if (isPolicyKind(apiVersion, name)) {
        for (const issue of unknown) tell(`warning: ${where}: ${name}: ${formatIssues([issue])}`);
      }
      if (kind.kind === "Namespace") namespaceNote(value, where, tell);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      if (isPolicyKind(apiVersion, name)) faults.push(`${where}: ${error.message}`);
      else {
        objects.push(value);
        if (error.kind !== "unknownKind") {
          call.io.stderr(`warning: ${where}: ${error.message}\n`);
        }
      }
    }
  }
  if (faults.length > 0) throw failure(faults.join("\n"));
  // An export does not hold what its nodes said of themselves.
  return { objects, ...exports.length > 0 && { variables: new Map() } };
}

async function objectsOfExport(call: Call, text: string, name: string): Promise<unknown[]> {
  const { parseArchive } = await import("./datastore/file.ts");
  const { itemKey } = await import("./datastore/content.ts");
  const { items, records } = parseArchive(text, name);
  const objects: unknown[] = items.map((item) => {
    const object = encodeObject(item.kind, item.object);
    const change = policyChange(itemKey(item), object);
    return change && "put" in change ? change.put : object;
  });
  for (const record of records.kubernetes) addStored(call, { ...record, revision: "" }, objects);
  return objects;
}

function namespaceNote(value: unknown, where: string, tell: (text: string) => void): void {
  const { name, labels } = (value as Partial<Resource>).metadata ?? {};
  const given = labels?.[LABEL_METADATA_NAME];
  if (given === undefined || given === name) return;
  tell(
    `note: ${where}: Namespace "${name}": Kubernetes sets the label ${LABEL_METADATA_NAME} itself: ` +
      `"${name}" is taken, not "${given}"`,
  );
}

/**
 * An engine over the objects, with the parameters that each node takes from its environment, as far
 * as it has said so, and from the FelixConfigurations among them. What of the settings is not
 * understood is told.
 */
export function judged(call: Call, { objects, variables }: PolicyInput): JudgedObjects {
  const configurations = new Map<string, FelixConfiguration>();
  for (const object of flattenObjects(objects)) {
    const isCalico = /^(crd\.)?projectcalico\.org\//.test(object.apiVersion ?? "");
    if (!isCalico || object.kind !== "FelixConfiguration" || !object.metadata?.name) continue;
    configurations.set(object.metadata.name, object as FelixConfiguration);
  }
  const warn = (text: string) => call.io.stderr(`warning: ${text}\n`);
  const told = new Set<string>();
  const found = engineOf(objects, (node) => {
    const felix = felixParameters(node, variables?.get(node) ?? new Map(), configurations);
    for (const problem of felix.problems) {
      const text = problem.startsWith("FELIX_")
        ? `node ${node}: ${problem}`
        : `FelixConfiguration: ${problem}`;
      if (!told.has(text)) warn(text);
      told.add(text);
    }
    return policyParameters(felix);
  }, variables !== undefined && isOfACluster(objects));
  return found;
}

/**
 * Whether nodes have networked pods here. Where Pods were but written to a datastore, to be judged before
 * there is a cluster, they are judged like those of files.
 */
function isOfACluster(objects: readonly unknown[]): boolean {
  return flattenObjects(objects).some(({ apiVersion, kind }) =>
    inputKind(apiVersion, kind ?? "") === "WorkloadEndpoint"
  );
}

/** Words about what a judgement of these nodes' endpoints rests on. */
export function inputNotes(input: PolicyInput, nodes: ReadonlySet<string>): string[] {
  return [networkNote(input), felixNote(input, nodes)].filter((note) => note !== undefined);
}

/** A word where a datastore's pods are judged like those of files, though no node has one yet. */
function networkNote({ objects, variables }: PolicyInput): string | undefined {
  if (!variables || isOfACluster(objects)) return undefined;
  return "the datastore has no WorkloadEndpoint: its Pods are judged as if nodes had given them their " +
    "interfaces; until they have, nothing passes";
}

/** A word about nodes ("" for one of which nothing is said) whose environment is not known. */
function felixNote(
  { variables }: PolicyInput,
  nodes: ReadonlySet<string>,
): string | undefined {
  const unknown = [...nodes].filter((node) => !variables || (node !== "" && !variables.has(node)));
  if (unknown.length === 0) return undefined;
  const names = unknown.filter((node) => node !== "");
  const whose = names.length === 0
    ? "the node"
    : `${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;
  return `FELIX_… variables of ${whose} are not known here: settings are those of ` +
    "FelixConfigurations alone";
}

/** Also where the version is not one that is known, so that a misspelt one is not passed over. */
function isPolicyKind(apiVersion: string, kind: string): boolean {
  return inputKind(apiVersion, kind) !== undefined ||
    ["NetworkPolicy", "GlobalNetworkPolicy", "FelixConfiguration", "Pod", "Namespace"]
      .includes(kind);
}

/** Whether the engine itself tells what it does not understand of an object. */
function isOwnReader({ kind }: PolicyObject): boolean {
  return /Policy$|^Profile$/.test(kind ?? "");
}

async function ofStore(call: Call): Promise<PolicyInput> {
  return await withStore(call, async (store) => {
    const objects: unknown[] = [];
    for (const prefix of [CALICO_RESOURCES, KUBERNETES_RESOURCES]) {
      const { entries, broken = [] } = await store.list(prefix);
      for (const { key, reason } of broken) {
        call.io.stderr(`warning: ${key} is left out: ${reason}\n`);
      }
      for (const entry of entries) {
        addStored(call, entry, objects);
      }
    }
    return { objects, variables: await felixVariables(store) };
  });
}

function addStored(call: Call, entry: Entry, objects: unknown[]): void {
  const key = parseResourceKey(entry.key);
  const kind = key && kindByKey(key);
  // What policy hangs on is judged as it is stored, by the rules by which the nodes judge it.
  const change = policyChange(entry.key, entry.value);
  if (change && "put" in change) objects.push(change.put);
  if (!kind || change && "put" in change && isOwnReader(change.put)) return;
  try {
    const object = decodeEntry(kind, entry);
    if (!change) objects.push(object);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const what = change && "put" in change ? "is read as far as it goes" : "is left out";
    call.io.stderr(`warning: ${entry.key} ${what}: ${error.message}\n`);
  }
}
