/**
 * Kubernetes' NetworkPolicy as Calico's kube-controllers write it into etcd: a v3 NetworkPolicy
 * `knp.default.<name>` in tier `default` at order 1000, of pods of Kubernetes alone. One rule for each
 * protocol and peer; what cannot be read is left out, so that fewer are allowed then, not more. Selectors
 * are spelled as Calico spells them, so that the two find nothing to change in each other's.
 */
import type { NetworkPolicyInput } from "../model/network_policy.ts";
import { formatPrefix, parseCidr } from "../net/mod.ts";
import type { SelectorNode } from "../selector/selector.ts";
import { protocolName } from "../../policy/protocol.ts";
import {
  KUBERNETES_ORDER,
  labelNode,
  podNode,
  policyTypes,
  portsByProtocol,
} from "../../policy/kubernetes.ts";
import type {
  KubernetesPeerObject,
  KubernetesPolicyObject,
  KubernetesPortObject,
} from "../../policy/inputs.ts";
import type { Side } from "../../policy/effective.ts";

type Rule = NonNullable<NonNullable<NetworkPolicyInput["spec"]>["ingress"]>[number];
type Entity = NonNullable<Rule["source"]>;

export const KNP = "knp.default.";

/** Throws where the policy's own selector is none: to whom it applies is not known then. */
export function calicoPolicy(object: KubernetesPolicyObject): NetworkPolicyInput {
  const spec = object.spec ?? {};
  const { name = "", namespace = "default" } = object.metadata ?? {};
  const types = policyTypes(spec);
  return {
    kind: "NetworkPolicy",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: KNP + name, namespace },
    spec: {
      tier: "default",
      order: KUBERNETES_ORDER,
      selector: spelled(podNode(spec.podSelector ?? undefined)),
      types: types.map((type) => type === "ingress" ? "Ingress" as const : "Egress" as const),
      ...(types.includes("ingress") && {
        ingress: (spec.ingress ?? []).flatMap((rule) => rulesOf(rule?.from, rule?.ports, true)),
      }),
      ...(types.includes("egress") && {
        egress: (spec.egress ?? []).flatMap((rule) => rulesOf(rule?.to, rule?.ports, false)),
      }),
    },
  };
}

function rulesOf(
  peers: readonly KubernetesPeerObject[] | null | undefined,
  ports: readonly KubernetesPortObject[] | null | undefined,
  ingress: boolean,
): Rule[] {
  let protocols: ReturnType<typeof portsByProtocol>;
  try {
    protocols = portsByProtocol(ports ?? []);
  } catch {
    return [];
  }
  const rules: Rule[] = [];
  for (const [protocol, match] of protocols) {
    for (const peer of peers?.length ? peers : [undefined]) {
      let entity: Entity;
      try {
        entity = peer ? entityOf(peer) : {};
      } catch {
        continue;
      }
      const here: Entity = match ? { ports: portTexts(match) } : {};
      rules.push({
        action: "Allow",
        ...(protocol !== undefined && { protocol: protocolName(protocol) }),
        source: ingress ? entity : {},
        // The ports are the server's on either side.
        destination: ingress ? here : { ...entity, ...here },
      });
    }
  }
  return rules;
}

function portTexts({ ranges, names }: NonNullable<Side["ports"]>): (number | string)[] {
  return [
    ...ranges.map(([first, last]) => first === last ? first : `${first}:${last}`),
    ...names,
  ];
}

function entityOf(peer: KubernetesPeerObject): Entity {
  if (peer.ipBlock) {
    const nets = [cidr(peer.ipBlock.cidr)];
    const notNets = (peer.ipBlock.except ?? []).map(cidr);
    return notNets.length > 0 ? { nets, notNets } : { nets };
  }
  const { namespaceSelector: namespaces } = peer;
  const node = namespaces ? labelNode(namespaces) : undefined;
  return {
    selector: spelled(podNode(peer.podSelector ?? undefined)),
    ...(namespaces && { namespaceSelector: node ? spelled(node) : "all()" }),
  };
}

function cidr(text: string | undefined): string {
  const read = typeof text === "string" ? parseCidr(text) : undefined;
  if (!read) throw new Error(`ipBlock "${text}" is not a CIDR`);
  return formatPrefix(read.prefix);
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
    case "has":
      return `has(${node.label})`;
    case "!":
      return `! ${spelled(node.node)}`;
    default:
      throw new TypeError(`a label selector has no "${node.is}"`);
  }
}
