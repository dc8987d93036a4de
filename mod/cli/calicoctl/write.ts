/**
 * `create`, `apply`, `replace` and `validate` as calicoctl does them: a file that cannot be read or
 * decoded ends it before anything is written; then each object is checked and written at its turn,
 * and one that is refused keeps none of the others from being written. (tortie's own verbs check all
 * before they write any.)
 */
import { type Manifest, parseManifest, resolveKind } from "../../model/manifest.ts";
import type { AnyKind } from "../../model/kinds.ts";
import type { Resource } from "../../model/resource.ts";
import { formatIssues, ModelError } from "../../model/validate.ts";
import { ResourceError, resourceName } from "../../store/resource_error.ts";
import type { Resources } from "../../store/resources.ts";
import { newFaults, storedOrNone } from "../checked.ts";
import { type Action, type Call, flagOption, listOption, textOption } from "../command.ts";
import { withResources } from "../context.ts";
import { readObjects, type SourceObject } from "../documents.ts";
import { CliError, EXIT, failure } from "../io.ts";
import { otherNamespace } from "../kind_argument.ts";
import { refuseManaged } from "../managed.ts";
import { unreadable, unreadableText } from "../unreadable.ts";
import { exitOf, isLost, lostMidway, partialSuccess, success } from "../report.ts";
import { progress } from "../terminal.ts";
import { calicoctlText } from "../voice.ts";
import { modeOf, VERBS } from "../write.ts";

type Word = "create" | "apply" | "replace" | "validate";

export const create: Action = (call) => run(call, "create");
export const apply: Action = (call) => run(call, "apply");
export const replace: Action = (call) => run(call, "replace");
export const validate: Action = (call) => run(call, "validate");

interface Decoded {
  readonly source: SourceObject;
  readonly kind: AnyKind;
}

async function run(call: Call, word: Word): Promise<number> {
  const objects = await decode(call);
  if (objects.length === 0) {
    call.io.stdout("No resources specified\n");
    return EXIT.ok;
  }
  const failures: Error[] = [];
  const each = async (resources?: Resources) => {
    await refuseUnreadable(objects, resources);
    const line = progress(call.io, PAST[word], objects.length);
    for (const [i, object] of objects.entries()) {
      line.at(i);
      try {
        const manifest = check(call, word, object);
        if (resources && word !== "validate") {
          refuseManaged(manifest.kind, manifest.object.metadata);
          const faults = await newFaults(resources, manifest);
          if (faults.length > 0) throw failure(`${manifest.subject}: ${formatIssues(faults)}`);
          await VERBS[word].write(resources, manifest, modeOf(manifest));
        }
      } catch (error) {
        const exists = error instanceof ResourceError && error.kind === "exists";
        if (exists && flagOption(call, "skipExists")) continue;
        if (!(error instanceof ModelError) && exitOf(error) === undefined) throw error;
        if (isLost(error)) {
          line.end();
          const { metadata } = object.source.value as Resource;
          const next = resourceName(object.kind.kind, metadata.name, metadata.namespace);
          const [total, done] = [objects.length, i - failures.length];
          const lost = lostMidway(error, { past: PAST[word], done, total, next });
          throw failure(`hit error: [${[...failures, lost].map(calicoctlText).join(" ")}]`);
        }
        failures.push(error as Error);
      }
    }
    line.end();
  };
  await (word === "validate" ? each() : withResources(call, each, { make: word !== "replace" }));
  return report(call, word, objects.map(({ kind }) => kind.kind), failures);
}

/** All objects of the file; one of no known kind ends it here. */
async function decode(call: Call): Promise<Decoded[]> {
  const files = listOption(call, "filename");
  if (files.length === 0) {
    throw failure("no resources specified: want -f with a file, a folder, or - for standard input");
  }
  let sources: SourceObject[];
  try {
    sources = await readObjects(files, call.io, {
      recursive: flagOption(call, "recursive"),
      skipEmpty: flagOption(call, "skipEmpty"),
    });
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    throw failure(`failed to execute command: ${error.message}`);
  }
  return sources.map((source) => {
    try {
      return { source, kind: resolveKind(source.value).kind };
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      throw failure(`failed to execute command: ${source.where}: ${error.message}`);
    }
  });
}

/**
 * A field that an object's kind does not know, or a value of another type than its field's, ends it before
 * anything is written, unless the stored object has the same (a newer version wrote it, and get printed it).
 */
async function refuseUnreadable(
  objects: readonly Decoded[],
  resources: Resources | undefined,
): Promise<void> {
  for (const { source, kind } of objects) {
    const faults = unreadable(kind, source.value);
    if (faults.length === 0) continue;
    const metadata = (source.value as Partial<Resource>).metadata;
    const namespace = kind.namespaced ? metadata?.namespace ?? "default" : undefined;
    const stored = await (resources &&
      storedOrNone(resources, kind, String(metadata?.name), namespace));
    const known = new Set((stored ? unreadable(kind, stored) : []).map(({ words }) => words));
    const fault = faults.find(({ words }) => !known.has(words));
    if (fault) throw failure(unreadableText(fault, source));
  }
}

function check(call: Call, word: Word, { source, kind }: Decoded): Manifest {
  const wished = textOption(call, "namespace");
  if (wished && !kind.namespaced) throw failure(`${kind.kind} is not namespaced`);
  const manifest = parseManifest(source.value, {
    namespace: wished,
    keepUnknown: true,
    stored: word === "apply" || word === "replace",
  });
  const { name, namespace } = manifest.object.metadata;
  if (wished && namespace !== wished) throw failure(otherNamespace(namespace ?? "", wished));
  if (kind.readOnly && word !== "validate") {
    throw failure(
      `operation ${word} is not supported on ${kind.kind}(${name}): resource is readonly, ` +
        kind.readOnly,
    );
  }
  for (const warning of manifest.warnings) call.io.stderr(`warning: ${source.where}: ${warning}\n`);
  return manifest;
}

const PAST = { create: "created", apply: "applied", replace: "replaced", validate: "validated" };

function report(
  { io }: Call,
  word: Word,
  kinds: readonly string[],
  failures: readonly Error[],
): number {
  const past = PAST[word];
  if (failures.length === 0) {
    io.stdout(success(past, kinds));
    return EXIT.ok;
  }
  const done = kinds.length - failures.length;
  const list = `[${failures.map(calicoctlText).join(" ")}]`;
  if (done > 0) {
    io.stdout(partialSuccess(past, done, kinds));
    throw failure(`hit error: ${list}`);
  }
  const one = kinds.every((kind) => kind === kinds[0]);
  throw failure(
    kinds.length === 1
      ? `failed to ${word} '${kinds[0]}' resource: ${list}`
      : `failed to ${word} any ${one ? `'${kinds[0]}' ` : ""}resources: ${list}`,
  );
}
