/**
 * Profile: labels that its endpoints inherit, and rules for when no policy decided. Profiles
 * `kns.<namespace>` and `ksa.<namespace>.<account>` stand for Kubernetes' namespaces and accounts.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { labelMap } from "./fields.ts";
import { column, joined, nameColumn } from "./columns.ts";
import { ruleIssues } from "./rule_check.ts";
import { ruleSchema } from "./rule.ts";

/** There without being stored; allows everything. */
export const DEFAULT_ALLOW_PROFILE = "projectcalico-default-allow";

const schema = objectSchema("Profile", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      ingress: v.optional(v.array(ruleSchema)),
      egress: v.optional(v.array(ruleSchema)),
      labelsToApply: v.optional(labelMap),
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
  columns: [nameColumn],
  wideColumns: [
    nameColumn,
    column(
      "LABELS",
      (p) => joined(Object.entries(p.spec.labelsToApply ?? {}).map(([k, v]) => `${k}=${v}`).sort()),
    ),
  ],
  checkWrite: ({ metadata }) =>
    metadata.name !== DEFAULT_ALLOW_PROFILE ? [] : [{
      path: "metadata.name",
      message: `"${DEFAULT_ALLOW_PROFILE}" is built in and cannot be written`,
    }],
  check: ({ spec }) => [
    ...ruleIssues(spec.ingress, { direction: "ingress", profile: true }),
    ...ruleIssues(spec.egress, { direction: "egress", profile: true }),
  ],
};
