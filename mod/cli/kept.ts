/**
 * A look back after `label` and `patch`. Some labels and annotations are made of something else, and a write
 * of them is nothing. A policy's tier, and an endpoint's namespace and orchestrator, are labels too: such a
 * label follows from the object itself, and a warning says that it has not changed. With the Kubernetes
 * datastore those of a Pod stand in its WorkloadEndpoint, and those that Kubernetes has of a Node win over
 * Calico's: what was wanted has not been done, which is an error. Nobody shall hear that such a change was made.
 */
import type { AnyKind } from "../model/kinds.ts";
import type { Resource } from "../model/resource.ts";
import {
  LABEL_NAMESPACE,
  LABEL_ORCHESTRATOR,
  workloadEndpointKind,
} from "../model/workload_endpoint.ts";
import { resourceName } from "../store/resource_error.ts";
import { hasPrefixedKey, LABEL_TIER, METADATA_ANNOTATION } from "../store/resource_rules.ts";
import type { Resources } from "../store/resources.ts";
import { failure, type Io } from "./io.ts";

const FIELDS = ["labels", "annotations"] as const;

interface Unkept {
  readonly field: typeof FIELDS[number];
  readonly key: string;
}

/**
 * Throws where a label or annotation that differs between the two is not stored as `wished` has it, and
 * warns of those that follow from the object itself; returns the keys of these. `others`: what else the
 * command was to change.
 */
export async function refuseUnkept(
  { resources, io }: { resources: Resources; io: Io },
  kind: AnyKind,
  before: Resource,
  wished: Resource,
  others: "allElse" | "nothingElse",
): Promise<ReadonlySet<string>> {
  const changed = FIELDS.flatMap((field) => {
    const keys = Object.keys({ ...before.metadata[field], ...wished.metadata[field] });
    return keys.filter((key) => valueOf(before, field, key) !== valueOf(wished, field, key))
      .map((key): Unkept => ({ field, key }));
  });
  if (changed.length === 0) return new Set();
  const { name, namespace } = before.metadata;
  const stored = await resources.mustGet(kind, name, namespace);
  const lost = changed.filter(({ field, key }) =>
    valueOf(stored, field, key) !== valueOf(wished, field, key)
  );
  const resource = resourceName(kind.kind, name, namespace);
  const derived = lost.filter(({ key }) => derivedKeys(kind).includes(key));
  const refused = lost.filter((one) => !derived.includes(one));
  if (refused.length > 0) {
    throw failure(
      `${resource}: ${told(refused)}: not changed, since the datastore makes it of something ` +
        `else; ${remedyOf(kind)}`,
    );
  }
  if (derived.length > 0) {
    io.stderr(
      `warning: ${resource}: ${told(derived)}: not changed, since it follows from the object ` +
        `itself${others === "allElse" ? "; all else is stored" : ""}\n`,
    );
  }
  return new Set(derived.map(({ key }) => key));
}

function derivedKeys(kind: AnyKind): readonly string[] {
  if (hasPrefixedKey(kind)) return [LABEL_TIER, METADATA_ANNOTATION];
  return kind === workloadEndpointKind as AnyKind ? [LABEL_NAMESPACE, LABEL_ORCHESTRATOR] : [];
}

function told(unkept: readonly Unkept[]): string {
  return unkept.map(({ field, key }) => `${field === "labels" ? "label" : "annotation"} ${key}`)
    .join(", ");
}

function remedyOf({ kind }: AnyKind): string {
  switch (kind) {
    case "Node":
      return "change Kubernetes' own Node with kubectl";
    case "WorkloadEndpoint":
      return "change Kubernetes' own Pod with kubectl";
    default:
      return "change that";
  }
}

function valueOf({ metadata }: Resource, field: typeof FIELDS[number], key: string) {
  const map: Record<string, unknown> = metadata[field] ?? {};
  return Object.hasOwn(map, key) ? map[key] : undefined;
}
