/** NetworkPolicy (Kubernetes, networking.k8s.io/v1), stored apart from Calico's kind of that name. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { cidrText, integer, oneOf, stringMap, text } from "./fields.ts";

export const labelSelectorSchema = v.object({
  matchLabels: v.optional(stringMap),
  matchExpressions: v.optional(v.array(v.object({
    key: text,
    operator: oneOf("In", "NotIn", "Exists", "DoesNotExist"),
    values: v.optional(v.array(text)),
  }))),
});
/** Empty: matches everything. */
export type LabelSelector = v.InferOutput<typeof labelSelectorSchema>;

const port = v.object({
  /** Absent: TCP (kept absent, as the API server's default is TCP). */
  protocol: v.optional(oneOf("TCP", "UDP", "SCTP")),
  /** A number or the name of a container port; absent: all ports of the protocol. */
  port: v.optional(v.union([integer(1, 65535), text])),
  endPort: v.optional(integer(1, 65535)),
});
const peer = v.object({
  podSelector: v.optional(labelSelectorSchema),
  namespaceSelector: v.optional(labelSelectorSchema),
  ipBlock: v.optional(v.object({ cidr: cidrText, except: v.optional(v.array(cidrText)) })),
});

const schema = objectSchema("NetworkPolicy", "networking.k8s.io/v1", {
  spec: v.optional(
    v.object({
      podSelector: v.optional(labelSelectorSchema, {}),
      /** Peers absent or empty: everyone; ports absent or empty: all. */
      ingress: v.optional(v.array(v.object({
        ports: v.optional(v.array(port)),
        from: v.optional(v.array(peer)),
      }))),
      egress: v.optional(v.array(v.object({
        ports: v.optional(v.array(port)),
        to: v.optional(v.array(peer)),
      }))),
      /** After reading always there: Ingress, and Egress where there are egress rules. */
      policyTypes: v.optional(v.array(oneOf("Ingress", "Egress")), () => []),
    }),
    {},
  ),
});

export type KubernetesNetworkPolicy = v.InferOutput<typeof schema>;
export type KubernetesNetworkPolicyInput = v.InferInput<typeof schema>;
export type KubernetesPolicyPeer = v.InferOutput<typeof peer>;
export type KubernetesPolicyPort = v.InferOutput<typeof port>;

export const kubernetesNetworkPolicyKind: Kind<
  KubernetesNetworkPolicy,
  KubernetesNetworkPolicyInput
> = {
  kind: "NetworkPolicy",
  apiVersion: "networking.k8s.io/v1",
  plural: "networkpolicies",
  home: "kubernetes",
  namespaced: true,
  names: ["kubernetesnetworkpolicy", "kubernetesnetworkpolicies", "knp", "knps"],
  schema,
  columns: [],
};
