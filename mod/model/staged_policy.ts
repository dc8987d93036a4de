/**
 * Staged policies: what a policy would do, for people to look at; never enforced. The spec of the
 * policy that they stage, and an action (Delete stages the removal of a policy, so it has no rules).
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { oneOf } from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import {
  completePolicy,
  globalPolicyIssues,
  networkPolicyIssues,
  policyColumns,
  policyEntries,
  widePolicyColumns,
} from "./policy_schema.ts";
import { globalPolicyEntries } from "./network_policy.ts";
import { kubernetesPolicyEntries, kubernetesPolicyIssues } from "./kubernetes_network_policy.ts";

const stagedAction = v.optional(oneOf("Set", "Delete", "Learn", "Ignore"), "Set");

const namespacedSchema = objectSchema("StagedNetworkPolicy", "projectcalico.org/v3", {
  spec: v.optional(v.object({ stagedAction, ...policyEntries }), {}),
});
const globalSchema = objectSchema("StagedGlobalNetworkPolicy", "projectcalico.org/v3", {
  spec: v.optional(v.object({ stagedAction, ...globalPolicyEntries }), {}),
});
const kubernetesSchema = objectSchema("StagedKubernetesNetworkPolicy", "projectcalico.org/v3", {
  spec: v.optional(v.object({ stagedAction, ...kubernetesPolicyEntries }), {}),
});

export type StagedNetworkPolicy = v.InferOutput<typeof namespacedSchema>;
export type StagedNetworkPolicyInput = v.InferInput<typeof namespacedSchema>;
export type StagedGlobalNetworkPolicy = v.InferOutput<typeof globalSchema>;
export type StagedGlobalNetworkPolicyInput = v.InferInput<typeof globalSchema>;
export type StagedKubernetesNetworkPolicy = v.InferOutput<typeof kubernetesSchema>;
export type StagedKubernetesNetworkPolicyInput = v.InferInput<typeof kubernetesSchema>;

/** Fields that say something, other than `stagedAction` and `tier`. */
function rulesOfDelete(spec: Record<string, unknown>): Issue[] {
  const said = Object.entries(spec).filter(([key, value]) =>
    !["stagedAction", "tier"].includes(key) && value !== undefined && value !== false &&
    !(typeof value === "object" && value !== null && Object.keys(value).length === 0)
  );
  return said.map(([key]) => ({
    path: `spec.${key}`,
    message: "is not allowed with stagedAction Delete, which stages no rules",
  }));
}

const stagesDeletion = (spec: { stagedAction: string }) => spec.stagedAction === "Delete";

/** As Calico's client, before its validator, which wants a deletion to say nothing else. */
function dropTypesOfDelete({ spec }: StagedNetworkPolicy | StagedGlobalNetworkPolicy): void {
  if (stagesDeletion(spec)) spec.types = [];
}

export const stagedNetworkPolicyKind: Kind<StagedNetworkPolicy, StagedNetworkPolicyInput> = {
  kind: "StagedNetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "stagednetworkpolicies",
  home: "calico",
  namespaced: true,
  crd: true,
  names: [
    "stagednetworkpolicy",
    "stagednetworkpolicies",
    "stagedpolicy",
    "snp",
    "stagedpolicies",
    "spol",
    "spols",
  ],
  schema: namespacedSchema,
  columns: policyColumns,
  wideColumns: widePolicyColumns,
  ownNameCheck: true,
  complete: (p) => stagesDeletion(p.spec) || completePolicy(p),
  prepare: dropTypesOfDelete,
  check: (p) =>
    stagesDeletion(p.spec)
      ? [...networkPolicyIssues({ ...p, spec: EMPTY }), ...rulesOfDelete(p.spec)]
      : networkPolicyIssues(p),
};

export const stagedGlobalNetworkPolicyKind: Kind<
  StagedGlobalNetworkPolicy,
  StagedGlobalNetworkPolicyInput
> = {
  kind: "StagedGlobalNetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "stagedglobalnetworkpolicies",
  home: "calico",
  namespaced: false,
  crd: true,
  names: ["stagedglobalnetworkpolicy", "stagedglobalnetworkpolicies", "sgnp", "sgnps"],
  schema: globalSchema,
  columns: policyColumns,
  wideColumns: widePolicyColumns,
  ownNameCheck: true,
  complete: (p) => stagesDeletion(p.spec) || completePolicy(p),
  prepare: dropTypesOfDelete,
  check: (p) =>
    stagesDeletion(p.spec)
      ? [...globalPolicyIssues({ ...p, spec: EMPTY }), ...rulesOfDelete(p.spec)]
      : globalPolicyIssues(p),
};

const EMPTY = { tier: "default", types: [] };

export const stagedKubernetesNetworkPolicyKind: Kind<
  StagedKubernetesNetworkPolicy,
  StagedKubernetesNetworkPolicyInput
> = {
  kind: "StagedKubernetesNetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "stagedkubernetesnetworkpolicies",
  home: "calico",
  namespaced: true,
  crd: true,
  names: [
    "stagedkubernetesnetworkpolicy",
    "stagedkubernetesnetworkpolicies",
    "stagedkubernetespolicy",
    "sknp",
    "stagedkubernetespolicies",
    "skpol",
    "skpols",
  ],
  schema: kubernetesSchema,
  columns: [nameColumn],
  wideColumns: [
    nameColumn,
    column("PODSELECTOR", (p) => {
      const { matchLabels = {}, matchExpressions = [] } = p.spec.podSelector;
      const labels = Object.entries(matchLabels).sort().map(([key, value]) => `${key}:${value}`);
      const terms = matchExpressions.map((e) =>
        `{${e.key} ${e.operator} [${(e.values ?? []).join(" ")}]}`
      );
      return `{map[${labels.join(" ")}] [${terms.join(" ")}]}`;
    }),
  ],
  check: (p) => stagesDeletion(p.spec) ? rulesOfDelete(p.spec) : kubernetesPolicyIssues(p),
};
