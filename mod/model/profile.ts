/**
 * Profile: labels that its endpoints inherit, and rules for when no policy decided. Profiles
 * `kns.<namespace>` and `ksa.<namespace>.<account>` stand for Kubernetes' namespaces and accounts.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { stringMap } from "./fields.ts";
import { ruleSchema } from "./rule.ts";

const schema = objectSchema("Profile", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      ingress: v.optional(v.array(ruleSchema)),
      egress: v.optional(v.array(ruleSchema)),
      labelsToApply: v.optional(stringMap),
    }),
    {},
  ),
});

export type Profile = v.InferOutput<typeof schema>;
export type ProfileInput = v.InferInput<typeof schema>;

export const profileKind: Kind<Profile, ProfileInput> = {
  kind: "Profile",
  apiVersion: "projectcalico.org/v3",
  plural: "profiles",
  home: "calico",
  namespaced: false,
  names: ["profile", "profiles", "pro", "pros"],
  schema,
  columns: [],
};
