/**
 * Calico's own policies: NetworkPolicy (in a namespace) and GlobalNetworkPolicy (pods everywhere and
 * host endpoints). Kubernetes' NetworkPolicy is `kubernetes_network_policy.ts`.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { oneOf, selectorText, text, zeroBool } from "./fields.ts";
import { ruleSchema } from "./rule.ts";

const common = {
  tier: v.optional(text, "default"),
  /** Absent: after all that have one. */
  order: v.optional(v.number()),
  ingress: v.optional(v.array(ruleSchema)),
  egress: v.optional(v.array(ruleSchema)),
  /** Absent or empty: all. */
  selector: v.optional(selectorText),
  /** After reading always there (Ingress alone unless there are egress rules only, or both). */
  types: v.optional(v.array(oneOf("Ingress", "Egress")), () => []),
  serviceAccountSelector: v.optional(selectorText),
  performanceHints: v.optional(v.array(oneOf("AssumeNeededOnEveryNode"))),
};

const namespacedSchema = objectSchema("NetworkPolicy", "projectcalico.org/v3", {
  spec: v.object(common),
});

const globalSchema = objectSchema("GlobalNetworkPolicy", "projectcalico.org/v3", {
  spec: v.object({
    ...common,
    doNotTrack: zeroBool,
    preDNAT: zeroBool,
    applyOnForward: zeroBool,
    namespaceSelector: v.optional(selectorText),
  }),
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
  names: ["networkpolicy", "networkpolicies", "policy", "np", "policies", "pol", "pols"],
  schema: namespacedSchema,
  columns: [],
};

export const globalNetworkPolicyKind: Kind<GlobalNetworkPolicy, GlobalNetworkPolicyInput> = {
  kind: "GlobalNetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  plural: "globalnetworkpolicies",
  home: "calico",
  namespaced: false,
  names: ["globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"],
  schema: globalSchema,
  columns: [],
};
