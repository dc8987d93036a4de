/**
 * Everything that a file holds, checked before anything is done with it: a fault in the last document
 * must not leave the first ones written. All faults of all documents are told at once.
 */
import type { AnyKind } from "../model/kinds.ts";
import { type Manifest, parseManifest } from "../model/manifest.ts";
import { formatIssues, ModelError, unknownFields } from "../model/validate.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";
import type { Resources } from "../store/resources.ts";
import { CliError, EXIT, type Io } from "./io.ts";
import { noNamespace, otherNamespace } from "./kind_argument.ts";
import type { SourceObject } from "./documents.ts";

export interface CheckedObject extends Manifest {
  readonly source: SourceObject;
}

/** Checks all; CliError that names every object that is refused. Warnings go to stderr. */
export function checkAll(
  sources: readonly SourceObject[],
  io: Io,
  options: { namespace?: string; keepUnknown?: boolean } = {},
): CheckedObject[] {
  const checked: CheckedObject[] = [];
  const faults: string[] = [];
  for (const source of sources) {
    try {
      const manifest = parseManifest(source.value, { ...options, write: true });
      faults.push(...namespaceFaults(manifest, source, options.namespace));
      const { kind: { kind, readOnly } } = manifest;
      if (readOnly) {
        faults.push(`${source.where}: a ${kind} cannot be written by users: ${readOnly}`);
      }
      checked.push({ ...manifest, source });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      faults.push(describeFault(error, source));
    }
  }
  if (faults.length > 0) throw new CliError(EXIT.failed, faults.join("\n"));
  for (const { source, warnings } of checked) {
    for (const warning of warnings) io.stderr(`warning: ${source.where}: ${warning}\n`);
  }
  return checked;
}

/**
 * Refuses fields that nobody knows, but for those that the stored object has: a newer version wrote
 * them, and what get printed must go through apply unharmed. Nothing is asked of the datastore where no
 * object has such a field.
 */
export async function refuseStrangeFields(
  objects: readonly CheckedObject[],
  resources: Resources,
): Promise<void> {
  const faults: string[] = [];
  for (const { kind, object, unknown, source } of objects) {
    if (unknown.length === 0) continue;
    const { name, namespace } = object.metadata;
    const known = await strangeFieldsOf(resources, kind, name, namespace);
    const id = resourceName(kind.kind, name, namespace);
    for (const issue of unknown.filter(({ path }) => !known.has(path))) {
      faults.push(`${source.at(issue.path)}: ${id}: ${formatIssues([issue])}`);
    }
  }
  if (faults.length > 0) throw new CliError(EXIT.failed, faults.join("\n"));
}

/** Paths of the fields of the stored object that its kind does not know. */
export async function strangeFieldsOf(
  resources: Resources,
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
): Promise<Set<string>> {
  try {
    const stored = await resources.get(kind, name, namespace);
    return new Set(stored ? unknownFields(kind, stored).map(({ path }) => path) : []);
  } catch (error) {
    // What cannot be read is written anew as a whole.
    if (error instanceof ResourceError && error.kind === "malformed") return new Set();
    throw error;
  }
}

/** With the line of the first fault, and each further one on a line of its own. */
function describeFault(error: ModelError, source: SourceObject): string {
  if (error.issues.length === 0) return `${source.where}: ${error.message}`;
  const subject = error.message.slice(0, error.message.length - formatIssues(error.issues).length);
  return error.issues.map((issue) => `${source.at(issue.path)}: ${subject}${formatIssues([issue])}`)
    .join("\n");
}

function namespaceFaults(
  { kind, object }: Manifest,
  source: SourceObject,
  namespace: string | undefined,
): string[] {
  const own = object.metadata.namespace;
  if (namespace === undefined || own === namespace) return [];
  if (!kind.namespaced) return [`${source.where}: ${noNamespace(kind, namespace)}`];
  return [
    `${source.at("metadata.namespace")}: ${kind.kind} "${object.metadata.name}": ` +
    `metadata.namespace: ${otherNamespace(own ?? "", namespace)}`,
  ];
}
