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
  const change = parsePatch(text, type);
  const namespace = namespaceOf(call, kind);
  refuseManaged(kind, { name: names[0], namespace });
  return await withResources(call, async (resources) => {
    let pair: [before: Resource, wished: Resource] | undefined;
    await resources.modify<Resource>(
      kind,
      names[0],
      namespace,
      (stored) => {
        const wished = patched(kind, stored, change, PATCHES[type]);
        pair = [stored, structuredClone(wished)];
        return wished;
      },
      { mend: true },
    );
    if (pair) await refuseUnkept(resources, kind, ...pair);
    call.io.stdout(`Successfully patched 1 '${kind.kind}' resource\n`);
    return EXIT.ok;
  });
}

function parsePatch(text: string, type: string): unknown {
  const want = type === "json" ? "a list of operations" : "an object with the fields to change";
  let documents;
  try {
    documents = parseYaml(text, "the patch");
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw usageError(error.message);
  }
  if (documents.length !== 1) throw usageError(`the patch of -p must be one document: ${want}`);
  const [{ value }] = documents;
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
