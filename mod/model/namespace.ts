/** Namespace (Kubernetes): its labels are what namespaceSelectors match. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { LABEL, text } from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

/** Every namespace has it, with its name as value. */
export const LABEL_METADATA_NAME = "kubernetes.io/metadata.name";

const schema = objectSchema("Namespace", "v1", {
  spec: v.optional(v.object({ finalizers: v.optional(v.array(text)) })),
  status: v.optional(v.object({
    phase: v.optional(text),
    conditions: v.optional(v.array(v.unknown())),
  })),
});

export type Namespace = v.InferOutput<typeof schema>;
export type NamespaceInput = v.InferInput<typeof schema>;

export const namespaceKind: Kind<Namespace, NamespaceInput> = {
  kind: "Namespace",
  apiVersion: "v1",
  plural: "namespaces",
  home: "kubernetes",
  namespaced: false,
  names: ["namespace", "namespaces", "ns"],
  schema,
  columns: [nameColumn],
  wideColumns: [
    nameColumn,
    column(
      "LABELS",
      (n) => Object.entries(n.metadata.labels ?? {}).map(([k, v]) => `${k}=${v}`).sort().join(","),
    ),
  ],
  ownNameCheck: true,
  // The API server gives every namespace this label; policies select by it.
  complete({ metadata }) {
    metadata.labels = { ...metadata.labels, [LABEL_METADATA_NAME]: metadata.name };
  },
  check: ({ metadata: { name } }) =>
    LABEL.test(name) && name.length <= 63 ? [] : [{
      path: "metadata.name",
      message:
        `${show(name)} is not allowed: want at most 63 lower-case letters, digits and '-', ` +
        "beginning and ending with a letter or digit",
    }],
};
