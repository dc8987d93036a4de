/**
 * NetworkPolicy (Kubernetes, networking.k8s.io/v1), stored apart from Calico's kind of that name. The
 * rules are those of the API server's own validation.
 */
import * as v from "valibot";
import { parseCidr, prefixCovers, samePrefix } from "../net/mod.ts";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema, type Resource } from "./resource.ts";
import {
  checkedText,
  integer,
  intOrText,
  isLabelKey,
  isLabelValue,
  labelMap,
  oneOf,
  pointer,
  portNameText,
  slashText,
  text,
  WANT_LABEL_KEY,
  WANT_LABEL_VALUE,
} from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

/**
 * A text of Go's that is always there: "" where it was not written. Nobody may write that, but a staged
 * policy, which Calico does not check, can be read and carried over with it.
 */
function orEmpty<const S extends v.GenericSchema<string>>(schema: S) {
  return v.optional(schema, "" as v.InferInput<S> & string);
}

export const labelSelectorSchema = v.object({
  matchLabels: v.optional(labelMap),
  matchExpressions: v.optional(v.array(v.object({
    key: v.optional(checkedText(isLabelKey, `a label key: ${WANT_LABEL_KEY}`), ""),
    operator: orEmpty(oneOf("In", "NotIn", "Exists", "DoesNotExist")),
    values: v.optional(v.array(text)),
  }))),
});
/** Empty: matches everything. */
export type LabelSelector = v.InferOutput<typeof labelSelectorSchema>;

const port = v.object({
  /** Absent: TCP (kept absent). */
  protocol: v.optional(pointer(oneOf("TCP", "UDP", "SCTP"))),
  /** A number or the name of a container port; absent: all ports of the protocol. */
  port: v.optional(pointer(intOrText(v.union([integer(1, 65535), portNameText])))),
  endPort: v.optional(integer(1, 65535, "int32")),
});
const peer = v.object({
  podSelector: v.optional(labelSelectorSchema),
  namespaceSelector: v.optional(labelSelectorSchema),
  ipBlock: v.optional(v.object({
    cidr: v.optional(slashText, ""),
    except: v.optional(v.array(slashText)),
  })),
});

/** Fields of the spec. */
export const kubernetesPolicyEntries = {
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
  /** Never empty after reading: Ingress, and Egress where there are egress rules. */
  policyTypes: v.optional(v.array(oneOf("Ingress", "Egress")), () => []),
};

const schema = objectSchema("NetworkPolicy", "networking.k8s.io/v1", {
  spec: v.optional(v.object(kubernetesPolicyEntries), {}),
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
  columns: [nameColumn, column("POD-SELECTOR", (p) => printSelector(p.spec.podSelector))],
  wideColumns: [
    nameColumn,
    column("POD-SELECTOR", (p) => printSelector(p.spec.podSelector)),
    column("TYPES", (p) => p.spec.policyTypes.join(",")),
  ],
  complete({ spec }) {
    if (spec.policyTypes.length > 0) return;
    spec.policyTypes = (spec.egress?.length ?? 0) > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  },
  check: kubernetesPolicyIssues,
};

/** As kubectl prints a selector: `app=web,tier in (a,b),!old`; `<none>` for an empty one. */
export function printSelector(selector: LabelSelector): string {
  const terms = [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values }) => {
      const set = `(${(values ?? []).join(",")})`;
      switch (operator) {
        case "In":
          return `${key} in ${set}`;
        case "NotIn":
          return `${key} notin ${set}`;
        case "Exists":
          return key;
        case "DoesNotExist":
          return `!${key}`;
      }
    }),
  ];
  return terms.length === 0 ? "<none>" : terms.sort().join(",");
}

type PolicySpec = Pick<
  KubernetesNetworkPolicy["spec"],
  "podSelector" | "ingress" | "egress" | "policyTypes"
>;

/** What the API server asks beyond the shape. */
export function kubernetesPolicyIssues(policy: Resource & { spec: PolicySpec }): Issue[] {
  const { spec } = policy;
  const issues: Issue[] = [];
  const say = (path: string, message: string) => issues.push({ path: `spec.${path}`, message });
  checkSelector(spec.podSelector, "podSelector", say);
  const directions = [["ingress", "from"], ["egress", "to"]] as const;
  for (const [direction, peers] of directions) {
    (spec[direction] ?? []).forEach((rule, i) => {
      const at = `${direction}[${i}]`;
      (rule.ports ?? []).forEach((p, j) => checkPort(p, `${at}.ports[${j}]`, say));
      const list = (rule as Record<string, KubernetesPolicyPeer[] | undefined>)[peers] ?? [];
      list.forEach((p, j) => checkPeer(p, `${at}.${peers}[${j}]`, say));
    });
  }
  // One may stand there twice.
  if (spec.policyTypes.length > 2) {
    say("policyTypes", `${show(spec.policyTypes)} are more than two; want Ingress, Egress or both`);
  }
  return issues;
}

type Say = (path: string, message: string) => void;

function checkPort(port: KubernetesPolicyPort, path: string, say: Say): void {
  if (port.endPort === undefined) return;
  if (typeof port.port !== "number") {
    say(`${path}.endPort`, `${port.endPort} needs a number in port beside it`);
  } else if (port.endPort < port.port) {
    say(`${path}.endPort`, `${port.endPort} is less than port ${port.port}`);
  }
}

function checkPeer(peer: KubernetesPolicyPeer, path: string, say: Say): void {
  const { podSelector, namespaceSelector, ipBlock } = peer;
  if (!podSelector && !namespaceSelector && !ipBlock) {
    say(path, "is empty; want podSelector, namespaceSelector or ipBlock");
  }
  if (ipBlock && (podSelector || namespaceSelector)) {
    say(`${path}.ipBlock`, "cannot stand beside podSelector or namespaceSelector; make two peers");
  }
  if (podSelector) checkSelector(podSelector, `${path}.podSelector`, say);
  if (namespaceSelector) checkSelector(namespaceSelector, `${path}.namespaceSelector`, say);
  const block = ipBlock && parseCidr(ipBlock.cidr)?.prefix;
  if (!block) return;
  (ipBlock.except ?? []).forEach((except, i) => {
    const hole = parseCidr(except)?.prefix;
    if (hole && (!prefixCovers(block, hole) || samePrefix(block, hole))) {
      say(
        `${path}.ipBlock.except[${i}]`,
        `${except} is not a part of ${ipBlock.cidr}; want a longer prefix inside it`,
      );
    }
  });
}

function checkSelector(selector: LabelSelector, path: string, say: Say): void {
  (selector.matchExpressions ?? []).forEach(({ operator, values = [] }, i) => {
    const at = `${path}.matchExpressions[${i}].values`;
    const set = operator === "In" || operator === "NotIn";
    if (set && values.length === 0) say(at, `is missing: ${operator} needs at least one value`);
    if (!set && values.length > 0) say(at, `is not allowed with operator ${operator}`);
    for (const value of values) {
      if (!isLabelValue(value)) say(at, `${show(value)} is not allowed: want ${WANT_LABEL_VALUE}`);
    }
  });
}
