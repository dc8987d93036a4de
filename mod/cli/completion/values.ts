/**
 * Names for completion, out of the datastore: whoever presses TAB waits, so after a second, and
 * whenever the datastore cannot be read, there are none, and nothing is said.
 */
import { kindByName } from "../../model/kinds.ts";
import { ippoolKind } from "../../model/ippool.ts";
import { namespaceKind } from "../../model/namespace.ts";
import { nodeKind } from "../../model/node.ts";
import type { Resources } from "../../store/resources.ts";
import type { Call } from "../command.ts";
import { withResources } from "../context.ts";
import type { Candidate, Question } from "./complete.ts";

const PATIENCE_MS = 1000;
/** More than anybody reads. */
const MOST = 1000;
/** What a shell may be given without quotes; no other name exists in a sound datastore. */
const SAFE = /^[A-Za-z0-9][A-Za-z0-9._:@/-]*$/;

/** The candidates that answer the question; none where the datastore does not answer in time. */
export async function valuesFor(
  question: Question,
  call: Call,
  patienceMs = PATIENCE_MS,
): Promise<Candidate[]> {
  let timer: number | undefined;
  const late = new Promise<string[]>((resolve) => timer = setTimeout(resolve, patienceMs, []));
  const found = withResources(call, (resources) => namesOf(question, resources)).catch(() => []);
  const names = await Promise.race([found, late]);
  clearTimeout(timer);
  const { partial, prefix, without } = question;
  return names
    .filter((name) => name.startsWith(partial) && SAFE.test(name) && !without.includes(name))
    .slice(0, MOST)
    .map((name) => ({ word: prefix + name }));
}

async function namesOf(
  { what, kind: typed, options }: Question,
  resources: Resources,
): Promise<string[]> {
  if (what === "nodes") return names(await resources.list(nodeKind));
  if (what === "cidrs") {
    return (await resources.list(ippoolKind)).items.map(({ spec }) => spec.cidr);
  }
  const kind = kindByName((typed ?? "").split("/")[0]);
  if (what === "namespaces") {
    const known = ["default", ...names(await resources.list(namespaceKind))];
    // Where no Kubernetes is, namespaces are what objects say; those of the kind that is typed.
    const { items } = kind?.namespaced ? await resources.list(kind) : { items: [] };
    return [...new Set([...known, ...items.flatMap(({ metadata }) => metadata.namespace ?? [])])]
      .sort();
  }
  if (!kind) return [];
  const namespace = kind.namespaced && options["all-namespaces"] !== true
    ? String(options.namespace ?? "default")
    : undefined;
  return names(await resources.list(kind, namespace));
}

function names({ items }: { items: readonly { metadata: { name: string } }[] }): string[] {
  return items.map(({ metadata }) => metadata.name);
}
