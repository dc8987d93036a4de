/**
 * Kubernetes' NetworkPolicy -> effective policy, as Calico converts it (libcalico-go
 * backend/k8s/conversion): tier `default`, order 1000, only pods of Kubernetes
 * (`projectcalico.org/orchestrator == 'k8s'`), one rule for each protocol and peer, with all the
 * ports of that protocol. Rules that cannot be read are left out: fewer are allowed then, not more.
 */
import { parseCidr, type Prefix } from "../mod/net/mod.ts";
import {
  compareCodePoints,
  isSelectorLabel,
  isSelectorValue,
  Selector,
  type SelectorNode,
} from "../mod/selector/selector.ts";
import {
  type Direction,
  directions,
  type EffectivePolicy,
  type EffectiveProfile,
  type EffectiveRule,
  everything,
  normalizeRanges,
  type Side,
} from "./effective.ts";
import {
  type KubernetesPeerObject,
  type KubernetesPolicyObject,
  type KubernetesPortObject,
  type LabelSelectorObject,
  labelsOf,
  listOf,
  type PolicyObject,
  textOf,
} from "./inputs.ts";
import { parsePort, protocolNumber } from "./protocol.ts";
import type { PortRange } from "./rules.ts";
import {
  entitySelector,
  inNamespace,
  NAME_LABEL,
  NAMESPACE_PREFIX,
  ORCHESTRATOR_LABEL,
  SERVICE_ACCOUNT_PREFIX,
} from "./selectors.ts";
import type { Unreadable } from "./calico.ts";

/** Order of every policy of Kubernetes' in the tier `default`. */
export const KUBERNETES_ORDER = 1000;
/** The label that the API server gives every namespace. */
export const METADATA_NAME_LABEL = "kubernetes.io/metadata.name";

export function kubernetesPolicy(object: KubernetesPolicyObject): EffectivePolicy | Unreadable {
  const spec = object.spec ?? {};
  const namespace = object.metadata?.namespace || "default";
  const problems: string[] = [];
  let subject: SelectorNode;
  try {
    subject = podNode(spec.podSelector ?? undefined);
  } catch (error) {
    return { problem: `it applies to nothing: podSelector: ${(error as Error).message}` };
  }
  const rules: { [D in Direction]?: readonly EffectiveRule[] } = {};
  const types = policyTypes(spec);
  if (types.includes("ingress")) {
    rules.ingress = listOf(spec.ingress).flatMap((rule, i) =>
      readRule(rule?.from, rule?.ports, "ingress", i, namespace, problems)
    );
  }
  if (types.includes("egress")) {
    rules.egress = listOf(spec.egress).flatMap((rule, i) =>
      readRule(rule?.to, rule?.ports, "egress", i, namespace, problems)
    );
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

/** As the API server fills them in: Ingress always, Egress where there are egress rules. */
export function policyTypes(spec: NonNullable<KubernetesPolicyObject["spec"]>): Direction[] {
  const given = listOf(spec.policyTypes).map((t) => textOf(t).toLowerCase());
  if (given.length > 0) return directions.filter((d) => given.includes(d));
  return listOf(spec.egress).length > 0 ? ["ingress", "egress"] : ["ingress"];
}

/** One rule of the object gives one for each protocol and peer. */
function readRule(
  peers: readonly KubernetesPeerObject[] | null | undefined,
  ports: readonly KubernetesPortObject[] | null | undefined,
  direction: Direction,
  index: number,
  namespace: string,
  problems: string[],
): EffectiveRule[] {
  const result: EffectiveRule[] = [];
  let protocols: ReadonlyMap<number | undefined, Side["ports"]>;
  try {
    protocols = portsByProtocol(listOf(ports));
  } catch (error) {
    problems.push(`${direction} rule ${index + 1} is left out: ${(error as Error).message}`);
    return [];
  }
  const list = listOf(peers);
  for (const [protocol, match] of protocols) {
    for (const peer of list.length > 0 ? list : [undefined]) {
      let side: Side;
      try {
        side = peer ? peerSide(peer, namespace) : {};
      } catch (error) {
        problems.push(
          `a peer of ${direction} rule ${index + 1} is left out: ${(error as Error).message}`,
        );
        continue;
      }
      const here: Side = match ? { ports: match } : {};
      result.push({
        action: "allow",
        protocol,
        source: direction === "ingress" ? side : {},
        // The ports are the server's on either side.
        destination: direction === "ingress" ? here : { ...side, ...here },
        index,
      });
    }
  }
  return result;
}

/** No ports: any protocol. A port without number: every port of its protocol. */
export function portsByProtocol(
  ports: readonly KubernetesPortObject[],
): Map<number | undefined, Side["ports"]> {
  if (ports.length === 0) return new Map([[undefined, undefined]]);
  const found = new Map<string, { ranges: PortRange[]; names: string[] } | "all">();
  for (const port of ports) {
    const protocol = port?.protocol ?? "TCP";
    const numbers = found.get(protocol);
    if (port?.port === undefined || port.port === null) {
      found.set(protocol, "all");
      continue;
    }
    const read = parsePort(
      typeof port.endPort === "number" ? `${port.port}:${port.endPort}` : port.port,
    );
    if (read === undefined) {
      throw new Error(
        `port ${JSON.stringify(port)} is not a number, a range of numbers or a name`,
      );
    }
    if (numbers === "all") continue;
    const match = numbers ?? { ranges: [], names: [] };
    if (typeof read === "string") match.names.push(read);
    else match.ranges.push(read);
    found.set(protocol, match);
  }
  const result = new Map<number | undefined, Side["ports"]>();
  for (const name of [...found.keys()].sort(compareCodePoints)) {
    const protocol = protocolNumber(name);
    if (protocol === undefined) throw new Error(`"${name}" is not a protocol`);
    const match = found.get(name)!;
    result.set(
      protocol,
      match === "all"
        ? undefined
        : { ranges: normalizeRanges(match.ranges), names: [...new Set(match.names)] },
    );
  }
  return result;
}

function peerSide(peer: KubernetesPeerObject, namespace: string): Side {
  if (peer.ipBlock) {
    const nets = [cidr(peer.ipBlock.cidr)];
    const except = listOf(peer.ipBlock.except).map(cidr);
    return except.length > 0 ? { nets, notNets: except } : { nets };
  }
  return {
    selector: entitySelector({
      selector: podNode(peer.podSelector ?? undefined),
      namespaceSelector: peer.namespaceSelector
        ? labelNode(peer.namespaceSelector) ?? { is: "all" }
        : undefined,
    }, namespace),
  };
}

function cidr(text: string | undefined): Prefix {
  const read = typeof text === "string" ? parseCidr(text) : undefined;
  if (!read) throw new Error(`ipBlock "${text}" is not a CIDR`);
  return read.prefix;
}

/** A podSelector: pods of Kubernetes, and what it says of them. */
export function podNode(selector: LabelSelectorObject | undefined): SelectorNode {
  const orchestrator: SelectorNode = { is: "==", label: ORCHESTRATOR_LABEL, value: "k8s" };
  const terms = selector ? labelTerms(selector) : [];
  return terms.length === 0 ? orchestrator : { is: "&&", nodes: [orchestrator, ...terms] };
}

export function labelNode(selector: LabelSelectorObject): SelectorNode | undefined {
  const terms = labelTerms(selector);
  return terms.length <= 1 ? terms[0] : { is: "&&", nodes: terms };
}

/**
 * Sets are named by the text of selectors, so a name or a value that would read as something else in
 * it is refused. Kubernetes allows none such.
 */
function labelName(text: string): string {
  if (!isSelectorLabel(text)) throw new Error(`${JSON.stringify(text)} is not a label name`);
  return text;
}

function labelValue(text: string): string {
  if (!isSelectorValue(text)) throw new Error(`${JSON.stringify(text)} is not a label value`);
  return text;
}

/** matchLabels by sorted keys, then matchExpressions in their order. */
function labelTerms(selector: LabelSelectorObject): SelectorNode[] {
  const terms: SelectorNode[] = labelsOf(selector.matchLabels)
    .sort(([a], [b]) => compareCodePoints(a, b))
    .map(([label, value]) => ({ is: "==", label: labelName(label), value: labelValue(value) }));
  for (const expression of listOf(selector.matchExpressions)) {
    const key = labelName(textOf(expression?.key)), operator = expression?.operator;
    const list = [...new Set(listOf(expression?.values).map(labelValue))].sort(compareCodePoints);
    switch (operator) {
      case "In":
        terms.push({ is: "in", label: key, values: list });
        break;
      case "NotIn":
        terms.push({ is: "not in", label: key, values: list });
        break;
      case "Exists":
        terms.push({ is: "has", label: key });
        break;
      case "DoesNotExist":
        terms.push({ is: "!", node: { is: "has", label: key } });
        break;
      default:
        throw new Error(`operator "${operator}" is none of In, NotIn, Exists, DoesNotExist`);
    }
  }
  return terms;
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
