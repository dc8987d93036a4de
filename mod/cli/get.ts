/** `get`: objects of a kind, some by name, or those that a file names. */
import { bgpConfigurationKind } from "../model/bgp_configuration.ts";
import type { AnyKind } from "../model/kinds.ts";
import type { Resource } from "../model/resource.ts";
import type { Resources } from "../store/resources.ts";
import { type Call, flagOption, listOption, textOption } from "./command.ts";
import { withResources } from "./context.ts";
import { identify } from "./identify.ts";
import { EXIT, usageError } from "./io.ts";
import { kindAndNames, namespaceOf } from "./kind_argument.ts";
import { type Group, needsContext, parseOutput, print } from "./output.ts";
import { isLost, reportFailures } from "./report.ts";

export async function run(call: Call): Promise<number> {
  const { args, io } = call;
  const output = parseOutput(textOption(call, "output"));
  const files = listOption(call, "filename");
  if (args.length === 0 && files.length === 0) {
    throw usageError("get needs a kind, such as `get ippools`, or a file with -f");
  }
  if (args.length > 0 && files.length > 0) {
    throw usageError("get takes a kind or -f, not both");
  }
  const together = call.program !== "calicoctl";
  const failures: unknown[] = [];
  // calicoctl prints those to which -n has something to say, and fails for the others.
  const wanted = files.length > 0
    ? await identify(call, files, together ? undefined : failures)
    : named(call);
  return await withResources(call, async (resources) => {
    const groups = await fetchAll(resources, wanted, failures, io.stderr, together);
    const context = needsContext(output, groups)
      ? { asNumber: await clusterAsNumber(resources) }
      : undefined;
    // Nothing but errors: no empty table above them.
    if (groups.length > 0) {
      io.stdout(
        await print(output, groups, {
          namespaces: flagOption(call, "allNamespaces") ||
            textOption(call, "namespace") !== undefined,
          // calicoctl takes it for objects by name alone, and prints all others as they are.
          exported: flagOption(call, "export") &&
            (together || files.length === 0 && wanted.every(({ name }) => name !== undefined)),
          keepNamespace: flagOption(call, "allNamespaces"),
          context,
          bare: !together,
        }),
      );
    }
    return failures.length > 0 ? reportFailures(call, failures) : EXIT.ok;
  });
}

/** An object that is asked for; without a name all of the kind. */
interface Wanted {
  readonly kind: AnyKind;
  readonly namespace?: string;
  readonly name?: string;
}

function named(call: Call): Wanted[] {
  const { kind, names } = kindAndNames(call.args);
  const namespace = namespaceOf(call, kind);
  if (names.length === 0) return [{ kind, namespace }];
  if (kind.namespaced && namespace === undefined) {
    throw usageError(`-A lists all ${kind.plural}; with a name say the namespace with -n`);
  }
  return names.map((name) => ({ kind, namespace, name }));
}

/** What was found, neighbours of one kind together; what was not is added to `failures`. */
async function fetchAll(
  resources: Resources,
  wanted: readonly Wanted[],
  failures: unknown[],
  warn: (text: string) => void,
  together: boolean,
): Promise<Group[]> {
  const groups: { kind: AnyKind; objects: Resource[]; whole: boolean; revision?: string }[] = [];
  for (const { kind, namespace, name } of wanted) {
    if (name === undefined) {
      const { items, revision, broken } = await resources.list(kind, namespace);
      for (const { key, error } of broken) warn(`warning: ${key} is left out: ${error.message}\n`);
      groups.push({ kind, objects: kind.listed?.(items) ?? items, whole: true, revision });
      continue;
    }
    try {
      const object = await resources.mustGet(kind, name, namespace);
      const last = groups.at(-1);
      // calicoctl makes a table of its own for each.
      if (together && last?.kind === kind && !last.whole) last.objects.push(object);
      else groups.push({ kind, objects: [object], whole: false });
    } catch (error) {
      failures.push(error);
      if (isLost(error)) break;
    }
  }
  return groups;
}

async function clusterAsNumber(resources: Resources): Promise<number> {
  const { DEFAULT_AS_NUMBER } = await import("../model/bgp_configuration.ts");
  const configuration = await resources.get(bgpConfigurationKind, "default");
  return configuration?.spec.asNumber ?? DEFAULT_AS_NUMBER;
}
