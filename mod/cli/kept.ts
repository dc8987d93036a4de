/**
 * A look back after `label` and `patch`. With the Kubernetes datastore some labels and annotations are
 * read from elsewhere, and a write of them is nothing: those of a Pod stand in its WorkloadEndpoint too, and
 * those that Kubernetes has of a Node win over Calico's; everywhere a policy's tier is its label. Nobody shall hear that such a change was made.
 */
import type { AnyKind } from "../model/kinds.ts";
import type { Resource } from "../model/resource.ts";
import { resourceName } from "../store/resource_error.ts";
import type { Resources } from "../store/resources.ts";
import { failure } from "./io.ts";

const FIELDS = ["labels", "annotations"] as const;

/** Throws where a label or annotation that differs between the two is not stored as `wished` has it. */
export async function refuseUnkept(
  resources: Resources,
  kind: AnyKind,
  before: Resource,
  wished: Resource,
): Promise<void> {
  const changed = FIELDS.flatMap((field) => {
    const keys = Object.keys({ ...before.metadata[field], ...wished.metadata[field] });
    return keys.filter((key) => valueOf(before, field, key) !== valueOf(wished, field, key))
      .map((key) => ({ field, key }));
  });
  if (changed.length === 0) return;
  const { name, namespace } = before.metadata;
  const stored = await resources.mustGet(kind, name, namespace);
  const lost = changed.filter(({ field, key }) =>
    valueOf(stored, field, key) !== valueOf(wished, field, key)
  );
  if (lost.length === 0) return;
  const what = lost.map(({ field, key }) =>
    `${field === "labels" ? "label" : "annotation"} ${key}`
  );
  throw failure(
    `${resourceName(kind.kind, name, namespace)}: ${what.join(", ")}: not changed, since the ` +
      "datastore makes it of something else; change Kubernetes' own Node or Pod with kubectl, or " +
      "the spec",
  );
}

function valueOf({ metadata }: Resource, field: typeof FIELDS[number], key: string) {
  const map: Record<string, unknown> = metadata[field] ?? {};
  return Object.hasOwn(map, key) ? map[key] : undefined;
}
