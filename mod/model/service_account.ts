/** ServiceAccount (Kubernetes): its labels are what serviceAccountSelectors match. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { bool, text } from "./fields.ts";
import { nameColumn } from "./columns.ts";

const schema = objectSchema("ServiceAccount", "v1", {
  secrets: v.optional(v.array(v.unknown())),
  imagePullSecrets: v.optional(v.array(v.object({ name: v.optional(text) }))),
  automountServiceAccountToken: v.optional(bool),
});

export type ServiceAccount = v.InferOutput<typeof schema>;
export type ServiceAccountInput = v.InferInput<typeof schema>;

export const serviceAccountKind: Kind<ServiceAccount, ServiceAccountInput> = {
  kind: "ServiceAccount",
  apiVersion: "v1",
  plural: "serviceaccounts",
  home: "kubernetes",
  namespaced: true,
  names: ["serviceaccount", "serviceaccounts", "sa"],
  schema,
  columns: [nameColumn],
};
