/**
 * Kubernetes' NetworkPolicy -> effective policy, as Calico converts it (libcalico-go
 * backend/k8s/conversion): tier `default`, order 1000, only pods of Kubernetes
 * (`projectcalico.org/orchestrator == 'k8s'`), one rule for each protocol and peer, with all the
 * ports of that protocol. What is made of an object that is not as it should be, its reading says
 * (`kubernetes_reading.ts`).
 */
import { Selector } from "../mod/selector/selector.ts";
import {
  type Direction,
  directions,
  type EffectivePolicy,
  type EffectiveProfile,
  type EffectiveRule,
  everything,
  type Side,
} from "./effective.ts";
import { type KubernetesPolicyObject, labelsOf, type PolicyObject } from "./inputs.ts";
import { readKubernetesPolicy, type ReadPeer, type ReadRule } from "./kubernetes_reading.ts";
import {
  entitySelector,
  inNamespace,
  NAME_LABEL,
  NAMESPACE_PREFIX,
  SERVICE_ACCOUNT_PREFIX,
} from "./selectors.ts";

/** Order of every policy of Kubernetes' in the tier `default`. */
export const KUBERNETES_ORDER = 1000;
/** The label that the API server gives every namespace. */
export const METADATA_NAME_LABEL = "kubernetes.io/metadata.name";

export function kubernetesPolicy(object: KubernetesPolicyObject): EffectivePolicy {
  const namespace = object.metadata?.namespace || "default";
  const { subject, rules: read, problems } = readKubernetesPolicy(object);
  const rules: { [D in Direction]?: readonly EffectiveRule[] } = {};
  for (const direction of directions) {
    const list = read[direction];
    if (list) rules[direction] = list.flatMap((rule) => rulesOf(rule, direction, namespace));
  }
  return {
    id: {
      kind: "KubernetesNetworkPolicy",
      namespace,
      name: object.metadata?.name ?? "",
      tier: "default",
    },
    order: KUBERNETES_ORDER,
    subject: new Selector({ is: "&&", nodes: [subject, inNamespace(namespace)] }),
    rules,
    problems,
  };
}

/** One rule of the object gives one for each protocol and peer. */
function rulesOf(
  { ports, peers, index }: ReadRule,
  direction: Direction,
  namespace: string,
): EffectiveRule[] {
  const sides = peers ? peers.map((peer) => peerSide(peer, namespace)) : [{}];
  return [...ports].flatMap(([protocol, match]) =>
    sides.map((side): EffectiveRule => {
      const here: Side = match ? { ports: match } : {};
      return {
        action: "allow",
        protocol,
        source: direction === "ingress" ? side : {},
        // The ports are the server's on either side.
        destination: direction === "ingress" ? here : { ...side, ...here },
        index,
      };
    })
  );
}

function peerSide(peer: ReadPeer, namespace: string): Side {
  if (peer.is === "block") {
    const nets = [peer.cidr];
    return peer.except.length > 0 ? { nets, notNets: peer.except } : { nets };
  }
  return {
    selector: entitySelector(
      { selector: peer.pods, namespaceSelector: peer.namespaces },
      namespace,
    ),
  };
}

/**
 * The profile `kns.<namespace>`: allows everything (so a pod that no policy selects is open), and
 * hands the namespace's labels down. Without an object the namespace has its name for a label, as
 * the API server gives it.
 */
export function namespaceProfile(name: string, object?: PolicyObject): EffectiveProfile {
  const labels = new Map<string, string>();
  for (const [label, value] of labelsOf(object?.metadata?.labels)) {
    labels.set(NAMESPACE_PREFIX + label, value);
  }
  // The API server sets it, whatever a file says.
  labels.set(NAMESPACE_PREFIX + METADATA_NAME_LABEL, name);
  labels.set(NAMESPACE_PREFIX + NAME_LABEL, name);
  return {
    name: `kns.${name}`,
    labels: [...labels],
    rules: { ingress: [everything("allow")], egress: [everything("allow")] },
    problems: [],
  };
}

/** The profile `ksa.<namespace>.<account>`: labels alone. */
export function serviceAccountProfile(
  namespace: string,
  name: string,
  object: PolicyObject,
): EffectiveProfile {
  const labels = new Map<string, string>();
  for (const [label, value] of labelsOf(object.metadata?.labels)) {
    labels.set(SERVICE_ACCOUNT_PREFIX + label, value);
  }
  labels.set(SERVICE_ACCOUNT_PREFIX + NAME_LABEL, name);
  return {
    name: `ksa.${namespace}.${name}`,
    labels: [...labels],
    rules: { ingress: [], egress: [] },
    problems: [],
  };
}
