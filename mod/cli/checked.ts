/**
 * Everything that a file holds, checked before anything is done with it: a fault in the last document
 * must not leave the first ones written. All faults of all documents are told at once.
 */
import type { AnyKind } from "../model/kinds.ts";
import { type Manifest, parseManifest } from "../model/manifest.ts";
import type { Issue } from "../model/kind.ts";
import type { Resource } from "../model/resource.ts";
import { formatIssues, ModelError, standingFaults, unknownFields } from "../model/validate.ts";
import { ResourceError } from "../store/resource_error.ts";
import { STORE_RULES } from "../store/resource_rules.ts";
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
  options: { namespace?: string; keepUnknown?: boolean; stored?: boolean } = {},
): CheckedObject[] {
  const checked: CheckedObject[] = [];
  const faults: string[] = [];
  // Those that the stored object may have too (refuseStrangeFields).
  const doubtful: string[] = [];
  for (const source of sources) {
    try {
      const manifest = parseManifest(source.value, { ...options, write: true });
      faults.push(...namespaceFaults(manifest, source, options.namespace));
      const { kind: { kind, readOnly } } = manifest;
      if (readOnly) {
        faults.push(`${source.where}: a ${kind} cannot be written by users: ${readOnly}`);
      }
      doubtful.push(...manifest.faults.map((issue) => describeIssue(manifest, source, issue)));
      checked.push({ ...manifest, source });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      faults.push(describeFault(error, source));
    }
  }
  if (faults.length > 0) throw new CliError(EXIT.failed, [...faults, ...doubtful].join("\n"));
  for (const { source, warnings } of checked) {
    for (const warning of warnings) io.stderr(`warning: ${source.where}: ${warning}\n`);
  }
  return checked;
}

/**
 * Refuses fields that nobody knows and rules that are broken, but for those of the stored object: a newer
 * version wrote them, or a program that checks less, and what get printed must go through apply unharmed.
 * Nothing is asked of the datastore where no object has such.
 */
export async function refuseStrangeFields(
  objects: readonly CheckedObject[],
  resources: Resources,
): Promise<void> {
  const faults: string[] = [];
  for (const checked of objects) {
    for (const issue of await newFaults(resources, checked)) {
      faults.push(describeIssue(checked, checked.source, issue));
    }
  }
  if (faults.length > 0) throw new CliError(EXIT.failed, faults.join("\n"));
}

/** Which of the unknown fields and broken rules of an object the stored one has not. */
export async function newFaults(
  resources: Resources,
  { kind, object, unknown, faults }: Manifest,
): Promise<Issue[]> {
  if (unknown.length + faults.length === 0) return [];
  const { name, namespace } = object.metadata;
  const known = await strangeFieldsOf(resources, kind, name, namespace);
  const strange = unknown.filter(({ path }) => !known.has(path));
  if (faults.length === 0) return strange;
  // What is built in stands nowhere.
  const builtIn = STORE_RULES.get(kind)?.builtIn?.some((one) => one.metadata.name === name);
  const stored = builtIn ? undefined : await storedOrNone(resources, kind, name, namespace);
  const standing = stored ? standingFaults(kind, stored) : new Set<string>();
  return [...strange, ...faults.filter((issue) => !standing.has(formatIssues([issue])))];
}

function describeIssue({ subject }: Manifest, source: SourceObject, issue: Issue): string {
  return `${source.at(issue.path)}: ${subject}: ${formatIssues([issue])}`;
}

/** Paths of the fields of the stored object that its kind does not know. */
async function strangeFieldsOf(
  resources: Resources,
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
): Promise<Set<string>> {
  const stored = await storedOrNone(resources, kind, name, namespace);
  return new Set(stored ? unknownFields(kind, stored).map(({ path }) => path) : []);
}

export async function storedOrNone(
  resources: Resources,
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
): Promise<Resource | undefined> {
  try {
    return await resources.get<Resource>(kind, name, namespace);
  } catch (error) {
    // What cannot be read is written anew as a whole.
    if (error instanceof ResourceError && error.kind === "malformed") return undefined;
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
