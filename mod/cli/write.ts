/**
 * `create`, `apply` and `replace`: everything in the files is parsed and checked before anything is
 * written, then written in the order of the files; the first that the datastore refuses ends it, and
 * what was written before it stays and is counted.
 */
import type { Resource } from "../model/resource.ts";
import { ResourceError } from "../store/resource_error.ts";
import type { Resources, WriteMode } from "../store/resources.ts";
import { type Call, flagOption, listOption, textOption } from "./command.ts";
import { withResources } from "./context.ts";
import { checkAll, type CheckedObject } from "./checked.ts";
import { readObjects } from "./documents.ts";
import { CliError, EXIT, usageError } from "./io.ts";
import { exitOf, success } from "./report.ts";

interface Verb {
  readonly word: "create" | "apply" | "replace";
  readonly past: string;
  write(resources: Resources, object: CheckedObject, mode: WriteMode): Promise<Resource>;
}

const VERBS: Record<Verb["word"], Verb> = {
  create: {
    word: "create",
    past: "created",
    write: (resources, { kind, object }, mode) => resources.create(kind, object, mode),
  },
  apply: {
    word: "apply",
    past: "applied",
    write: async (resources, { kind, object }, mode) =>
      (await resources.apply(kind, object, mode)).object,
  },
  replace: {
    word: "replace",
    past: "replaced",
    write: (resources, { kind, object }, mode) => resources.replace(kind, object, mode),
  },
};

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
  const readOnly = checked.find(({ kind }) => kind.readOnly);
  if (readOnly) {
    throw new CliError(
      EXIT.failed,
      `${readOnly.source.where}: a ${readOnly.kind.kind} cannot be written by users: ` +
        readOnly.kind.readOnly,
    );
  }
  return await withResources(call, async (resources) => {
    let done = 0;
    for (const object of checked) {
      try {
        await write(resources, object, { crd: object.crd });
      } catch (error) {
        const exists = error instanceof ResourceError && error.kind === "exists";
        if (!(exists && flagOption(call, "skipExists"))) {
          throw partial(error, object, done, checked.length, past);
        }
      }
      done++;
    }
    io.stdout(success(past, checked.map(({ kind }) => kind.kind)));
    return EXIT.ok;
  });
}

/** The error of one object, with its place and with what was done before it. */
function partial(
  error: unknown,
  object: CheckedObject,
  done: number,
  all: number,
  past: string,
): unknown {
  const exit = exitOf(error);
  if (exit === undefined) return error;
  const before = done === 0 ? "" : ` (the first ${done} of ${all} resources were ${past})`;
  return new CliError(exit, `${object.source.where}: ${(error as Error).message}${before}`);
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
  return checkAll(sources, call.io, { namespace: textOption(call, "namespace") });
}
