/**
 * What policy commands judge: the objects of the files that are named, without a cluster, or those of
 * the datastore. Of files, an object that policy hangs on and that Calico or Kubernetes would refuse
 * ends the command: a verdict without it would be about another cluster. All such are told at once.
 * Kinds that policy does not hang on (Service, Deployment …) pass without a word.
 */
import { inputKind } from "../../policy/inputs.ts";
import { engineOf, flattenObjects, type JudgedObjects } from "../../policy/matrix.ts";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { kindByKey } from "../model/kinds.ts";
import { CALICO_RESOURCES, KUBERNETES_RESOURCES, parseResourceKey } from "../model/keys.ts";
import { resolveKind } from "../model/manifest.ts";
import { ModelError, parseObject } from "../model/validate.ts";
import { felixParameters, policyParameters } from "../node/felix.ts";
import { decodeEntry } from "../store/resources.ts";
import { type Call, flagOption, listOption } from "./command.ts";
import { withStore } from "./context.ts";
import { readObjects } from "./documents.ts";
import { failure } from "./io.ts";

/** All objects that the command is about. */
export async function policyObjects(call: Call): Promise<unknown[]> {
  const files = listOption(call, "filename");
  return files.length > 0 ? await objectsOfFiles(call, files) : await objectsOfStore(call);
}

async function objectsOfFiles(call: Call, files: readonly string[]): Promise<unknown[]> {
  const sources = await readObjects(files, call.io, { recursive: flagOption(call, "recursive") });
  const faults: string[] = [];
  for (const { value, where } of sources) {
    const { apiVersion, kind: name } = (value ?? {}) as Record<string, unknown>;
    if (typeof apiVersion !== "string" || typeof name !== "string" || !apiVersion || !name) {
      faults.push(
        `${where}: this is no object of Kubernetes or Calico: it needs apiVersion and kind`,
      );
      continue;
    }
    try {
      const { kind, crd } = resolveKind(value);
      parseObject(kind, withNamespace(value, kind.namespaced), { unknownFields: "keep", crd });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      if (isPolicyKind(apiVersion, name)) faults.push(`${where}: ${error.message}`);
      else if (error.kind !== "unknownKind") {
        call.io.stderr(`warning: ${where}: ${error.message}\n`);
      }
    }
  }
  if (faults.length > 0) throw failure(faults.join("\n"));
  return sources.map(({ value }) => value);
}

/**
 * An engine over the objects, with the parameters that each node takes from the FelixConfigurations
 * among them (what stands in a node's environment is not known here). What of the objects or of the
 * settings is not understood is told.
 */
export function judged(call: Call, objects: readonly unknown[]): JudgedObjects {
  const configurations = new Map<string, FelixConfiguration>();
  for (const object of flattenObjects(objects)) {
    const isCalico = /^(crd\.)?projectcalico\.org\//.test(object.apiVersion ?? "");
    if (!isCalico || object.kind !== "FelixConfiguration" || !object.metadata?.name) continue;
    configurations.set(object.metadata.name, object as FelixConfiguration);
  }
  const warn = (text: string) => call.io.stderr(`warning: ${text}\n`);
  const told = new Set<string>();
  const found = engineOf(objects, (node) => {
    const felix = felixParameters(node, new Map(), configurations);
    for (const problem of felix.problems) {
      if (told.has(problem)) continue;
      told.add(problem);
      warn(`FelixConfiguration: ${problem}`);
    }
    return policyParameters(felix);
  });
  for (const { object, message } of found.engine.problems()) warn(`${object}: ${message}`);
  return found;
}

/** Also where the version is not one that is known, so that a misspelt one is not passed over. */
function isPolicyKind(apiVersion: string, kind: string): boolean {
  return inputKind(apiVersion, kind) !== undefined ||
    ["NetworkPolicy", "GlobalNetworkPolicy", "FelixConfiguration", "Pod", "Namespace"]
      .includes(kind);
}

function withNamespace(value: unknown, namespaced: boolean): unknown {
  const { metadata } = value as { metadata?: { namespace?: unknown } };
  if (!namespaced || typeof metadata !== "object" || metadata === null || metadata.namespace) {
    return value;
  }
  return { ...value as object, metadata: { ...metadata, namespace: "default" } };
}

async function objectsOfStore(call: Call): Promise<unknown[]> {
  return await withStore(call, async (store) => {
    const objects: unknown[] = [];
    for (const prefix of [CALICO_RESOURCES, KUBERNETES_RESOURCES]) {
      for (const entry of (await store.list(prefix)).entries) {
        const key = parseResourceKey(entry.key);
        const kind = key && kindByKey(key);
        if (!kind) continue;
        try {
          objects.push(decodeEntry(kind, entry));
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
          call.io.stderr(`warning: ${entry.key} is left out: ${error.message}\n`);
        }
      }
    }
    return objects;
  });
}
