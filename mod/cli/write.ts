/**
 * `create`, `apply` and `replace`: everything in the files is parsed and checked before anything is
 * written, then written in the order of the files; the first that the datastore refuses ends it, and
 * what was written before it stays and is counted. (calicoctl writes what it can and goes on:
 * `calicoctl/write.ts`.)
 */
import type { AnyKind } from "../model/kinds.ts";
import { type Manifest, resolveKind } from "../model/manifest.ts";
import type { Resource } from "../model/resource.ts";
import { ModelError, readObject } from "../model/validate.ts";
import { STORE_RULES } from "../store/resource_rules.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";
import type { Resources, WriteMode } from "../store/resources.ts";
import { type Call, flagOption, listOption, textOption } from "./command.ts";
import { withResources } from "./context.ts";
import { checkAll, type CheckedObject, refuseStrangeFields } from "./checked.ts";
import { readObjects } from "./documents.ts";
import { CliError, EXIT, usageError } from "./io.ts";
import { refuseManaged } from "./managed.ts";
import { progress } from "./terminal.ts";
import { exitOf, isLost, lostMidway, partialSuccess, success } from "./report.ts";

export interface Verb {
  readonly word: "create" | "apply" | "replace";
  readonly past: string;
  write(resources: Resources, object: Manifest, mode: WriteMode): Promise<Resource>;
}

export const VERBS: Record<Verb["word"], Verb> = {
  create: {
    word: "create",
    past: "created",
    write: (resources, { kind, object }, mode) =>
      resources.create(kind, withUsersMetadata(kind, object), mode),
  },
  apply: {
    word: "apply",
    past: "applied",
    write: async (resources, { kind, object }, mode) =>
      (await resources.apply(kind, withUsersMetadata(kind, object), mode)).object,
  },
  replace: {
    word: "replace",
    past: "replaced",
    write: (resources, { kind, object }, mode) => resources.replace(kind, object, mode),
  },
};

/**
 * Of an object's metadata what is the user's: as in calicoctl, a file that was printed by another
 * cluster brings no uid, no finalizers and no times along.
 */
function withUsersMetadata(kind: AnyKind, object: Resource): Resource {
  if (kind.home !== "calico") return object;
  const { name, namespace, resourceVersion, labels, annotations } = object.metadata;
  return {
    ...object,
    metadata: {
      name,
      ...namespace && { namespace },
      ...resourceVersion && { resourceVersion },
      ...labels && { labels },
      ...annotations && { annotations },
    },
  };
}

/** How an object is written of which newFaults has found nothing. */
export function modeOf({ crd, unknown, faults, object }: Manifest): WriteMode {
  return { crd, keepUnknown: unknown.length > 0, ...faults.length > 0 && { changed: object } };
}

export function verb(word: Verb["word"]): (call: Call) => Promise<number> {
  return (call) => writeFiles(call, VERBS[word]);
}

async function writeFiles(call: Call, { word, past, write }: Verb): Promise<number> {
  const { io } = call;
  const checked = await readChecked(call, word);
  if (checked.length === 0) {
    io.stdout("No resources specified\n");
    return EXIT.ok;
  }
  for (const each of checked) {
    try {
      refuseManaged(each.kind, each.object.metadata);
    } catch (error) {
      throw placed(error, each);
    }
  }
  const kinds = checked.map(({ kind }) => kind.kind);
  return await withResources(call, async (resources) => {
    await refuseStrangeFields(checked, resources);
    let done = 0;
    const line = progress(io, past, checked.length);
    for (const object of checked) {
      try {
        await write(resources, object, modeOf(object));
      } catch (error) {
        const exists = error instanceof ResourceError && error.kind === "exists";
        if (!(exists && flagOption(call, "skipExists"))) {
          line.end();
          if (done > 0) io.stdout(partialSuccess(past, done, kinds));
          const { metadata } = object.object;
          const next = resourceName(object.kind.kind, metadata.name, metadata.namespace);
          throw placed(
            isLost(error) ? lostMidway(error, { past, done, total: checked.length, next }) : error,
            object,
          );
        }
      }
      line.at(++done);
    }
    line.end();
    io.stdout(success(past, kinds));
    return EXIT.ok;
  }, { make: word !== "replace" });
}

/** The error of one object, with its place. */
function placed(error: unknown, object: CheckedObject): unknown {
  const exit = exitOf(error);
  if (exit === undefined) return error;
  return new CliError(exit, `${object.source.where}: ${(error as Error).message}`);
}

/** Everything that -f names, checked; a usage error where it names nothing. */
export async function readChecked(call: Call, word: string): Promise<CheckedObject[]> {
  const files = listOption(call, "filename");
  if (files.length === 0) {
    throw usageError(`${word} needs -f with a file, a directory, or - for standard input`);
  }
  const sources = await readObjects(files, call.io, {
    recursive: flagOption(call, "recursive"),
    skipEmpty: flagOption(call, "skipEmpty"),
  });
  const own = word === "create" ? sources : sources.filter((source) => {
    if (!isBuiltIn(source.value)) return true;
    call.io.stderr(`${source.where}: passed over: it is built in, and as it always is\n`);
    return false;
  });
  return checkAll(own, call.io, {
    namespace: textOption(call, "namespace"),
    // What is stored may have fields that only a newer version knows (refuseStrangeFields).
    keepUnknown: word === "apply" || word === "replace",
    stored: word === "apply" || word === "replace",
  });
}

/** An object that is there without being stored, as `get` prints it: there is nothing to write. */
function isBuiltIn(value: unknown): boolean {
  try {
    const { kind } = resolveKind(value);
    const { metadata } = value as Partial<Resource>;
    const builtIn = STORE_RULES.get(kind)?.builtIn
      ?.find((object) => object.metadata.name === metadata?.name);
    if (!builtIn) return false;
    return JSON.stringify(readObject(kind, value).spec) === JSON.stringify(builtIn.spec);
  } catch (error) {
    if (error instanceof ModelError) return false;
    throw error;
  }
}
