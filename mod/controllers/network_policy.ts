/**
 * Kubernetes' NetworkPolicy as Calico's kube-controllers write it into etcd: a v3 NetworkPolicy
 * `knp.default.<name>` in tier `default` at order 1000, of pods of Kubernetes alone. One rule for each
 * protocol and peer; what cannot be understood is read as a node reads it. Selectors are spelled as
 * Calico spells them, so that the two find nothing to change in each other's.
 */
import type { NetworkPolicyInput } from "../model/network_policy.ts";
import { formatPrefix } from "../net/mod.ts";
import type { SelectorNode } from "../selector/selector.ts";
import { protocolName } from "../../policy/protocol.ts";
import { KUBERNETES_ORDER } from "../../policy/kubernetes.ts";
import {
  readKubernetesPolicy,
  type ReadPeer,
  type ReadRule,
} from "../../policy/kubernetes_reading.ts";
import type { KubernetesPolicyObject } from "../../policy/inputs.ts";
import type { Side } from "../../policy/effective.ts";

type Rule = NonNullable<NonNullable<NetworkPolicyInput["spec"]>["ingress"]>[number];
type Entity = NonNullable<Rule["source"]>;

export const KNP = "knp.default.";

/** Adds to `problems` what of the object could not be understood. */
export function calicoPolicy(
  object: KubernetesPolicyObject,
  problems: string[] = [],
): NetworkPolicyInput {
  const { name = "", namespace = "default" } = object.metadata ?? {};
  const { subject, rules, problems: misread } = readKubernetesPolicy(object);
  problems.push(...misread);
  return {
    kind: "NetworkPolicy",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: KNP + name, namespace },
    spec: {
      tier: "default",
      order: KUBERNETES_ORDER,
      selector: spelled(subject),
      types: [
        ...(rules.ingress ? ["Ingress" as const] : []),
        ...(rules.egress ? ["Egress" as const] : []),
      ],
      ...(rules.ingress && { ingress: rules.ingress.flatMap((rule) => rulesOf(rule, true)) }),
      ...(rules.egress && { egress: rules.egress.flatMap((rule) => rulesOf(rule, false)) }),
    },
  };
}

function rulesOf({ ports, peers }: ReadRule, ingress: boolean): Rule[] {
  const entities: Entity[] = peers ? peers.map(entityOf) : [{}];
  return [...ports].flatMap(([protocol, match]) =>
    entities.map((entity): Rule => {
      const here: Entity = match ? { ports: portTexts(match) } : {};
      return {
        action: "Allow",
        ...(protocol !== undefined && { protocol: protocolName(protocol) }),
        source: ingress ? entity : {},
        // The ports are the server's on either side.
        destination: ingress ? here : { ...entity, ...here },
      };
    })
  );
}

function portTexts({ ranges, names }: NonNullable<Side["ports"]>): (number | string)[] {
  return [
    ...ranges.map(([first, last]) => first === last ? first : `${first}:${last}`),
    ...names,
  ];
}

function entityOf(peer: ReadPeer): Entity {
  if (peer.is === "block") {
    const nets = [formatPrefix(peer.cidr)], notNets = peer.except.map(formatPrefix);
    return notNets.length > 0 ? { nets, notNets } : { nets };
  }
  return {
    selector: spelled(peer.pods),
    ...(peer.namespaces && { namespaceSelector: spelled(peer.namespaces) }),
  };
}

/** The selectors that Kubernetes has: a conjunction of simple terms. */
function spelled(node: SelectorNode): string {
  const value = (text: string) => text.includes("'") ? `"${text}"` : `'${text}'`;
  switch (node.is) {
    case "&&":
      return node.nodes.map(spelled).join(" && ");
    case "==":
      return `${node.label} == ${value(node.value)}`;
    case "in":
    case "not in":
      return `${node.label} ${node.is} { ${node.values.map(value).join(", ")} }`;
    case "all":
      return "all()";
    case "has":
      return `has(${node.label})`;
    case "!":
      return `! ${spelled(node.node)}`;
    default:
      throw new TypeError(`a label selector has no "${node.is}"`);
  }
}
