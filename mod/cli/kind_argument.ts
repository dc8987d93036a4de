/** From what a user types for a kind (`pools`, `wep`, `knp`, `ippool/default`) to the kind. */
import { type AnyKind, kindByName, KINDS } from "../model/kinds.ts";
import { nearest } from "../model/nearest.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { usageError } from "./io.ts";

/** The kind of a name; usage error with the nearest name where there is none. */
export function kindOf(name: string): AnyKind {
  const kind = kindByName(name);
  if (kind) return kind;
  const near = nearest(name.toLowerCase(), KINDS.flatMap((k) => [...k.names]));
  throw usageError(
    `resource type '${name}' is not supported${
      near ? ` (did you mean ${near}?)` : `; want one of ${KINDS.map((k) => k.names[0]).join(", ")}`
    }`,
  );
}

/** Kind and names of `KIND NAME…`; `KIND/NAME` as kubectl writes it is understood too. */
export function kindAndNames(args: readonly string[]): { kind: AnyKind; names: string[] } {
  const [first, ...rest] = args;
  const slash = first.indexOf("/");
  const names = slash < 0 ? rest : [first.slice(slash + 1), ...rest];
  if (names.some((name) => name === "")) throw usageError("resource name may not be empty");
  return { kind: kindOf(slash < 0 ? first : first.slice(0, slash)), names };
}

/**
 * The namespace that the command means for a kind: of -n, else `default`; undefined for all (-A), and
 * for kinds that have none.
 */
export function namespaceOf(call: Call, kind: AnyKind): string | undefined {
  const namespace = textOption(call, "namespace");
  const all = flagOption(call, "allNamespaces");
  if (all && namespace) {
    throw usageError("cannot use both --namespace and --all-namespaces flags at the same time");
  }
  if (kind.namespaced) return all ? undefined : namespace ?? "default";
  if (namespace) {
    throw usageError(noNamespace(kind, namespace));
  }
  if (all) throw usageError(`${kind.kind} is not namespaced: -A has no meaning`);
  return undefined;
}

/** What is said where a kind has no namespaces and the command names one. */
export function noNamespace({ kind }: AnyKind, namespace: string): string {
  return `${kind} is not namespaced: -n ${namespace} has no meaning`;
}

/** What is said where a file names another namespace than the command. */
export function otherNamespace(own: string, wished: string): string {
  return `resource namespace does not match client namespace. ${own} != ${wished}`;
}

/** For help: every kind with its names. */
export function kindTable(): string {
  const rows = KINDS.map((kind) => `  ${kind.kind.padEnd(30)} ${kind.names.join(", ")}`);
  return `Kinds:\n${rows.join("\n")}`;
}
