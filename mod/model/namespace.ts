/** Namespace (Kubernetes): its labels are what namespaceSelectors match. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { text } from "./fields.ts";

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
  columns: [],
};
