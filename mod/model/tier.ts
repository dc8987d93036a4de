/** Tier: policies in groups that are judged one after the other. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { conditionSchema, objectSchema } from "./resource.ts";
import { oneOf } from "./fields.ts";

const schema = objectSchema("Tier", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      /** Absent: after all that have one. */
      order: v.optional(v.number()),
      /** For an endpoint to which a policy of the tier applies and none decided. */
      defaultAction: v.optional(oneOf("Deny", "Pass"), "Deny"),
    }),
    {},
  ),
  status: v.optional(v.object({ conditions: v.optional(v.array(conditionSchema)) }), {}),
});

export type Tier = v.InferOutput<typeof schema>;
export type TierInput = v.InferInput<typeof schema>;

export const tierKind: Kind<Tier, TierInput> = {
  kind: "Tier",
  apiVersion: "projectcalico.org/v3",
  plural: "tiers",
  home: "calico",
  namespaced: false,
  names: ["tier", "tiers"],
  schema,
  columns: [],
};

/** Tiers that are always there, as `ensureInitialized` writes them. */
export const BUILT_IN_TIERS: Readonly<Record<string, Required<Tier["spec"]>>> = {
  "default": { order: 1_000_000, defaultAction: "Deny" },
  "kube-admin": { order: 1_000, defaultAction: "Pass" },
  "kube-baseline": { order: 10_000_000, defaultAction: "Pass" },
};
