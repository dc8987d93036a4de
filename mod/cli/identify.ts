/** Which objects a file names, without asking whether they are well made: for `get -f`, `delete -f`. */
import type { AnyKind } from "../model/kinds.ts";
import { resolveKind } from "../model/manifest.ts";
import { show } from "../model/show.ts";
import { ModelError } from "../model/validate.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { readObjects } from "./documents.ts";
import { CliError, EXIT } from "./io.ts";
import { noNamespace, otherNamespace } from "./kind_argument.ts";
import { unreadable, unreadableText } from "./unreadable.ts";

export interface Identity {
  readonly kind: AnyKind;
  readonly name: string;
  readonly namespace?: string;
  /** The file's: an object that was changed since it was printed is another one. */
  readonly resourceVersion?: string;
}

/**
 * All objects of the files; CliError that names those without kind or name. What does not go together with
 * -n is put into `failures` where that is given, and else ends it likewise.
 */
export async function identify(
  call: Call,
  files: readonly string[],
  failures?: unknown[],
): Promise<Identity[]> {
  const sources = await readObjects(files, call.io, {
    recursive: flagOption(call, "recursive"),
    skipEmpty: flagOption(call, "skipEmpty"),
  });
  const wished = textOption(call, "namespace");
  const identities: Identity[] = [];
  const faults: string[] = [];
  for (const source of sources) {
    try {
      const { kind } = resolveKind(source.value);
      // calicoctl reads the whole document first.
      if (call.program === "calicoctl") {
        const found = unreadable(kind, source.value);
        faults.push(...found.map((fault) => unreadableText(fault, source)));
      }
      const { name, namespace, resourceVersion } =
        (source.value as { metadata?: Record<string, unknown> }).metadata ?? {};
      if (typeof name !== "string" || name === "") {
        faults.push(`${source.where}: ${kind.kind}: metadata.name: is missing`);
        continue;
      }
      const own = typeof namespace === "string" && namespace !== "" ? namespace : undefined;
      const elsewhere = own && !kind.namespaced
        ? `${source.at("metadata.namespace")}: ${kind.kind} "${name}": metadata.namespace: ` +
          `${show(own)} is not allowed: ${kind.plural} are not namespaced`
        : wished && !kind.namespaced
        ? `${source.where}: ${noNamespace(kind, wished)}`
        : wished && own && wished !== own
        ? `${source.at("metadata.namespace")}: ${kind.kind} "${name}": metadata.namespace: ${
          otherNamespace(own, wished)
        }`
        : undefined;
      if (elsewhere !== undefined) {
        if (!failures) faults.push(elsewhere);
        failures?.push(new CliError(EXIT.failed, elsewhere));
        continue;
      }
      identities.push({
        kind,
        name,
        namespace: kind.namespaced ? own ?? wished ?? "default" : undefined,
        ...typeof resourceVersion === "string" && resourceVersion !== "" && { resourceVersion },
      });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      const early = call.program === "calicoctl" ? "failed to execute command: " : "";
      faults.push(`${early}${source.where}: ${error.message}`);
    }
  }
  if (faults.length > 0) throw new CliError(EXIT.failed, faults.join("\n"));
  return identities;
}
