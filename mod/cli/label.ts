/** `label`: sets (`key=value`) or removes (`key --remove`, `key-`) one label of an object. */
import { isLabelKey, isLabelValue, WANT_LABEL_KEY, WANT_LABEL_VALUE } from "../model/fields.ts";
import type { Resource } from "../model/resource.ts";
import { type Call, flagOption } from "./command.ts";
import { withResources } from "./context.ts";
import { EXIT, failure, usageError } from "./io.ts";
import { refuseUnkept } from "./kept.ts";
import { kindAndNames, namespaceOf } from "./kind_argument.ts";
import { refuseManaged } from "./managed.ts";

export async function run(call: Call): Promise<number> {
  const { kind, names } = kindAndNames(call.args);
  if (names.length !== 2) throw usageError("label needs a kind, a name and key=value");
  if (kind.readOnly) {
    throw failure(`a ${kind.kind} cannot be written by users: ${kind.readOnly}`);
  }
  const [name, term] = names;
  const [key, value] = parseTerm(term, flagOption(call, "remove"));
  const namespace = namespaceOf(call, kind);
  refuseManaged(kind, { name, namespace });
  let did = "";
  let change: [before: Resource, wished: Resource] | undefined;
  return await withResources(call, async (resources) => {
    await resources.modify<Resource>(kind, name, namespace, (object) => {
      const labels = { ...object.metadata.labels };
      const before = Object.hasOwn(labels, key) ? labels[key] : undefined;
      if (value === undefined) {
        if (before === undefined) {
          throw failure(`cannot remove label: ${kind.kind} "${name}" has no label ${key}`);
        }
        delete labels[key];
        did = `removed label ${key} from`;
      } else {
        if (before !== undefined && before !== value && !flagOption(call, "overwrite")) {
          throw failure(
            `key ${key} is already present on ${kind.kind} "${name}" with value "${before}"; ` +
              "use --overwrite to change it",
          );
        }
        labels[key] = value;
        did = before === undefined ? `set label ${key} on` : `updated label ${key} on`;
      }
      const wished = { ...object, metadata: { ...object.metadata, labels } };
      change = [object, wished];
      return wished;
    });
    const derived = change &&
      await refuseUnkept({ resources, io: call.io }, kind, ...change, "nothingElse");
    if (derived?.has(key) && call.program !== "calicoctl") return EXIT.ok;
    // calicoctl says the kind as it was typed.
    const shown = call.program === "calicoctl" ? call.args[0] : kind.kind;
    call.io.stdout(`Successfully ${did} ${shown} ${name}\n`);
    return EXIT.ok;
  });
}

function parseTerm(term: string, remove: boolean): [key: string, value: string | undefined] {
  const equals = term.indexOf("=");
  const bare = equals < 0 && !remove && term.endsWith("-");
  const key = equals >= 0 ? term.slice(0, equals) : bare ? term.slice(0, -1) : term;
  if (!isLabelKey(key)) throw usageError(`"${key}" is not a label's key; want ${WANT_LABEL_KEY}`);
  if (remove || bare) {
    if (equals >= 0) throw usageError(`with --remove name the key alone: ${key}`);
    return [key, undefined];
  }
  if (equals < 0) throw usageError(`want ${key}=value, or ${key} with --remove`);
  const value = term.slice(equals + 1);
  if (!isLabelValue(value)) {
    throw usageError(`"${value}" is not a label's value; want ${WANT_LABEL_VALUE}`);
  }
  return [key, value];
}
