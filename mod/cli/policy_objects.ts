/**
 * What policy commands judge: the objects of the files that are named, without a cluster, or those of
 * the datastore. Objects go to the engine as they are; what Calico or Kubernetes would refuse is said
 * on standard error, since a policy that would never be stored decides nothing.
 */
import { kindByKey } from "../model/kinds.ts";
import { CALICO_RESOURCES, KUBERNETES_RESOURCES, parseResourceKey } from "../model/keys.ts";
import { resolveKind } from "../model/manifest.ts";
import { ModelError, parseObject } from "../model/validate.ts";
import { decodeEntry } from "../store/resources.ts";
import { type Call, flagOption, listOption } from "./command.ts";
import { withStore } from "./context.ts";
import { readObjects } from "./documents.ts";

/** All objects that the command is about. */
export async function policyObjects(call: Call): Promise<unknown[]> {
  const files = listOption(call, "filename");
  return files.length > 0 ? await objectsOfFiles(call, files) : await objectsOfStore(call);
}

async function objectsOfFiles(call: Call, files: readonly string[]): Promise<unknown[]> {
  const sources = await readObjects(files, call.io, { recursive: flagOption(call, "recursive") });
  for (const { value, where } of sources) {
    try {
      const { kind, crd } = resolveKind(value);
      parseObject(kind, withNamespace(value, kind.namespaced), { unknownFields: "keep", crd });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      // Kinds that say nothing about policy (Service, Deployment …) pass without a word.
      if (error.kind !== "unknownKind") call.io.stderr(`warning: ${where}: ${error.message}\n`);
    }
  }
  return sources.map(({ value }) => value);
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
