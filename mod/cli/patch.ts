/**
 * `patch`: changes fields of one object. The result is checked as any object that a user writes. A patch
 * that names a resourceVersion (a merge of it, a `test` on it) is for that one: another is a conflict.
 */
import type { AnyKind } from "../model/kinds.ts";
import type { Resource } from "../model/resource.ts";
import { encodeObject, formatIssues, unknownFields } from "../model/validate.ts";
import { show } from "../model/show.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";
import { isJsonObject, parseJson, printJson } from "../store/json.ts";
import { type Call, textOption } from "./command.ts";
import { withResources } from "./context.ts";
import { CliError, EXIT, failure, usageError } from "./io.ts";
import { jsonPatch, mergePatch, PatchError } from "./json_patch.ts";
import { refuseUnkept } from "./kept.ts";
import { kindAndNames, namespaceOf } from "./kind_argument.ts";
import { refuseManaged } from "./managed.ts";
import { strategicPatch } from "./strategic_patch.ts";
import { parseYaml, YamlError } from "./yaml.ts";

type Patch = (target: unknown, change: unknown) => unknown;

const PATCHES: Readonly<Record<string, Patch>> = {
  strategic: strategicPatch,
  merge: mergePatch,
  json: jsonPatch,
};

export async function run(call: Call): Promise<number> {
  const { kind, names } = kindAndNames(call.args);
  if (names.length !== 1) throw usageError("patch needs a kind and one name");
  if (kind.readOnly) {
    throw failure(`a ${kind.kind} cannot be written by users: ${kind.readOnly}`);
  }
  const text = textOption(call, "patch");
  if (text === undefined) throw usageError("patch needs -p with the change, as JSON or YAML");
  const type = textOption(call, "type") ?? "strategic";
  if (!Object.hasOwn(PATCHES, type)) {
    throw usageError(`--type ${type}: want strategic, merge or json`);
  }
  const change = parsePatch(call, text, type);
  const patch = patchOf(call, type, change);
  const namespace = namespaceOf(call, kind);
  refuseManaged(kind, { name: names[0], namespace });
  return await withResources(call, async (resources) => {
    let pair: [before: Resource, wished: Resource] | undefined;
    await resources.modify<Resource>(
      kind,
      names[0],
      namespace,
      (stored) => {
        const wished = patched(kind, stored, change, patch);
        pair = [stored, structuredClone(wished)];
        return wished;
      },
      { mend: true },
    );
    if (pair) await refuseUnkept({ resources, io: call.io }, kind, ...pair, "allElse");
    call.io.stdout(`Successfully patched 1 '${kind.kind}' resource\n`);
    return EXIT.ok;
  });
}

/** calicoctl has one kind of patch, whatever --type says, and its examples write `--type json` beside it. */
function patchOf({ program }: Call, type: string, change: unknown): Patch {
  return program === "calicoctl" && !Array.isArray(change) ? strategicPatch : PATCHES[type];
}

function parsePatch({ program }: Call, text: string, type: string): unknown {
  const want = type === "json" ? "a list of operations" : "an object with the fields to change";
  let documents;
  try {
    documents = parseYaml(text, "the patch");
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw usageError(error.message);
  }
  // As to calicoctl: a change of nothing.
  if (program === "calicoctl" && text.trim() === "null") return {};
  if (documents.length !== 1) throw usageError(`the patch of -p must be one document: ${want}`);
  const [{ value }] = documents;
  if (program === "calicoctl" && isJsonObject(value)) return value;
  if (type === "json" ? Array.isArray(value) : isJsonObject(value)) return value;
  throw usageError(
    `the patch ${show(value)} is not ${want}, as --type ${type} takes it: ` +
      (type === "json"
        ? `-p '[{"op": "replace", "path": "/spec/disabled", "value": true}]'`
        : `-p '{"spec": {"disabled": true}}'`),
  );
}

function patched(kind: AnyKind, stored: Resource, change: unknown, patch: Patch): Resource {
  const { resourceVersion, uid, name, namespace } = stored.metadata;
  const plain = parseJson(printJson(encodeObject(kind, stored))) as any;
  plain.metadata.resourceVersion = resourceVersion;
  let next: any;
  try {
    next = patch(plain, change);
  } catch (error) {
    if (!(error instanceof PatchError)) throw error;
    throw new CliError(
      EXIT.failed,
      `the patch cannot be applied to ${kind.kind} "${name}": ${error.message}`,
    );
  }
  if (next?.metadata?.name !== name || next.metadata.namespace !== namespace) {
    throw failure(`the patch would rename ${kind.kind} "${name}"; delete it and create another`);
  }
  refuseIdentity(kind, plain, next);
  const wanted = next.metadata.resourceVersion ?? "";
  if (String(wanted) !== resourceVersion) {
    const resource = resourceName(kind.kind, name, namespace);
    throw wanted === ""
      ? failure(
        `${resource}: metadata.resourceVersion cannot be taken away; leave it out of the patch`,
      )
      : new ResourceError(
        "conflict",
        resource,
        `${resource} is at resourceVersion ${resourceVersion}, and the patch is for ${
          show(wanted)
        }; ` + "read it again, or leave resourceVersion out of the patch",
      );
  }
  // Fields of a newer version stay; a new field that nobody knows is a slip.
  const before = new Set(unknownFields(kind, plain).map((issue) => issue.path));
  const slips = unknownFields(kind, next).filter((issue) => !before.has(issue.path));
  if (slips.length > 0 && !kind.open) {
    throw failure(`${kind.kind} "${name}": ${formatIssues(slips)}`);
  }
  return { ...next, metadata: { ...next.metadata, uid, resourceVersion } };
}

/** What makes an object the one that it is stays as it is stored: nobody shall hear that it was changed. */
function refuseIdentity(kind: AnyKind, plain: Resource, next: Resource): void {
  const born = next.metadata.creationTimestamp;
  const wanted: [field: string, before: unknown, after: unknown][] = [
    ["kind", plain.kind, next.kind],
    ["apiVersion", plain.apiVersion, next.apiVersion],
    ["metadata.uid", plain.metadata.uid, next.metadata.uid],
    // As Go's programs print one that is not known: nothing is wanted.
    ["metadata.creationTimestamp", plain.metadata.creationTimestamp, born ?? undefined],
  ];
  for (const [field, before, after] of wanted) {
    if (after === before || field === "metadata.creationTimestamp" && after === undefined) continue;
    throw failure(
      `${kind.kind} "${plain.metadata.name}": ${field} is ${show(before)} and cannot be changed ` +
        `to ${show(after ?? null)}; leave it out of the patch`,
    );
  }
}
