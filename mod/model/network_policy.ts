/**
 * Calico's own policies: NetworkPolicy (in a namespace) and GlobalNetworkPolicy (pods everywhere and
 * host endpoints). Kubernetes' NetworkPolicy is `kubernetes_network_policy.ts`.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { selectorText, zeroBool } from "./fields.ts";
import {
  completePolicy,
  globalPolicyIssues,
  networkPolicyIssues,
  policyColumns,
  policyEntries,
  widePolicyColumns,
} from "./policy_schema.ts";

const namespacedSchema = objectSchema("NetworkPolicy", "projectcalico.org/v3", {
  spec: v.optional(v.object(policyEntries), {}),
});

export const globalPolicyEntries = {
  ...policyEntries,
  doNotTrack: zeroBool,
  preDNAT: zeroBool,
  applyOnForward: zeroBool,
  namespaceSelector: v.optional(selectorText),
};

const globalSchema = objectSchema("GlobalNetworkPolicy", "projectcalico.org/v3", {
  spec: v.optional(v.object(globalPolicyEntries), {}),
});

export type NetworkPolicy = v.InferOutput<typeof namespacedSchema>;
export type NetworkPolicyInput = v.InferInput<typeof namespacedSchema>;
export type GlobalNetworkPolicy = v.InferOutput<typeof globalSchema>;
export type GlobalNetworkPolicyInput = v.InferInput<typeof globalSchema>;

export const networkPolicyKind: Kind<NetworkPolicy, NetworkPolicyInput> = {
  kind: "NetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "networkpolicies",
  home: "calico",
  namespaced: true,
  crd: true,
  names: ["networkpolicy", "networkpolicies", "policy", "np", "policies", "pol", "pols"],
  schema: namespacedSchema,
  columns: policyColumns,
  wideColumns: widePolicyColumns,
  ownNameCheck: true,
  complete: completePolicy,
  check: networkPolicyIssues,
};

export const globalNetworkPolicyKind: Kind<GlobalNetworkPolicy, GlobalNetworkPolicyInput> = {
  kind: "GlobalNetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "globalnetworkpolicies",
  home: "calico",
  namespaced: false,
  crd: true,
  names: ["globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"],
  schema: globalSchema,
  columns: policyColumns,
  wideColumns: widePolicyColumns,
  ownNameCheck: true,
  complete: completePolicy,
  check: globalPolicyIssues,
};
