/**
 * What a case of network policy is about, read from its objects and not from what its author says of
 * it: so a table of features shows which cases there are of each, and that none is missing.
 */
import type { Labels, PolicyManifest } from "./policy_lab.ts";

export const FEATURES = [
  "podSelector",
  "namespaceSelector",
  "podSelector and namespaceSelector in one peer",
  "ipBlock",
  "ipBlock with except",
  "IPv6 ipBlock",
  "several peers",
  "port by number",
  "port by name",
  "endPort",
  "protocol without port",
  "TCP",
  "UDP",
  "SCTP",
  "several ports",
  "matchExpressions In",
  "matchExpressions NotIn",
  "matchExpressions Exists",
  "matchExpressions DoesNotExist",
  "no policyTypes",
  "policyTypes Ingress",
  "policyTypes Egress",
  "policyTypes Ingress and Egress",
  "default deny ingress",
  "default deny egress",
  "allow all ingress",
  "allow all egress",
  "several policies",
  "policies in two namespaces",
  "pod labels change",
  "namespace labels change",
  "policy changes",
  "policy goes",
  "pod comes",
  "pod goes",
] as const;
export type Feature = typeof FEATURES[number];

/** One moment of a case. */
export interface Moment {
  readonly namespaces: Readonly<Record<string, Labels>>;
  /** By `namespace/pod`. */
  readonly pods: Readonly<Record<string, Labels>>;
  readonly policies: readonly PolicyManifest[];
}

type Json = Record<string, any>;

/** Features of a case, from its moments in order. */
export function featuresOf(moments: readonly Moment[]): Set<Feature> {
  const found = new Set<Feature>();
  for (const { policies } of moments) {
    for (const policy of policies) ofPolicy(policy.spec as Json ?? {}, found);
    if (policies.length > 1) found.add("several policies");
    const spaces = new Set(policies.map((p) => p.metadata?.namespace ?? "default"));
    if (spaces.size > 1) found.add("policies in two namespaces");
  }
  moments.slice(1).forEach((now, i) => ofChange(moments[i], now, found));
  return found;
}

function ofPolicy(spec: Json, found: Set<Feature>): void {
  const { ingress, egress, policyTypes } = spec;
  ofSelector(spec.podSelector, found);
  const types: string[] = policyTypes ?? [];
  if (types.length === 0) found.add("no policyTypes");
  else {
    found.add(
      types.length === 2
        ? "policyTypes Ingress and Egress"
        : types[0] === "Ingress"
        ? "policyTypes Ingress"
        : "policyTypes Egress",
    );
  }
  const directions = types.length > 0
    ? types
    : egress?.length
    ? ["Ingress", "Egress"]
    : ["Ingress"];
  for (const direction of directions) {
    const to = direction === "Ingress" ? "ingress" : "egress";
    const rules: Json[] = (direction === "Ingress" ? ingress : egress) ?? [];
    if (rules.length === 0) found.add(`default deny ${to}`);
    for (const rule of rules) {
      const peers: Json[] = rule.from ?? rule.to ?? [];
      const ports: Json[] = rule.ports ?? [];
      if (peers.length === 0 && ports.length === 0) found.add(`allow all ${to}`);
      if (peers.length > 1) found.add("several peers");
      if (ports.length > 1) found.add("several ports");
      for (const peer of peers) ofPeer(peer, found);
      for (const port of ports) ofPort(port, found);
    }
  }
}

function ofPeer({ podSelector, namespaceSelector, ipBlock }: Json, found: Set<Feature>): void {
  if (ipBlock) {
    found.add("ipBlock");
    if (ipBlock.except?.length > 0) found.add("ipBlock with except");
    if (ipBlock.cidr.includes(":")) found.add("IPv6 ipBlock");
    return;
  }
  if (podSelector && namespaceSelector) found.add("podSelector and namespaceSelector in one peer");
  else if (podSelector) found.add("podSelector");
  else found.add("namespaceSelector");
  ofSelector(podSelector, found);
  ofSelector(namespaceSelector, found);
}

function ofSelector(selector: Json | undefined | null, found: Set<Feature>): void {
  for (const { operator } of selector?.matchExpressions ?? []) {
    found.add(`matchExpressions ${operator}` as Feature);
  }
}

function ofPort({ port, endPort, protocol = "TCP" }: Json, found: Set<Feature>): void {
  found.add(protocol);
  if (port === undefined || port === null) found.add("protocol without port");
  else if (typeof port === "string") found.add("port by name");
  else found.add("port by number");
  if (endPort) found.add("endPort");
}

function ofChange(before: Moment, now: Moment, found: Set<Feature>): void {
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  for (const [key, labels] of Object.entries(now.pods)) {
    if (!(key in before.pods)) found.add("pod comes");
    else if (!same(before.pods[key], labels)) found.add("pod labels change");
  }
  if (Object.keys(before.pods).some((key) => !(key in now.pods))) found.add("pod goes");
  for (const [name, labels] of Object.entries(now.namespaces)) {
    if (!same(before.namespaces[name] ?? {}, labels)) found.add("namespace labels change");
  }
  const name = ({ metadata }: PolicyManifest) => `${metadata?.namespace}/${metadata?.name}`;
  const after = new Map(now.policies.map((p) => [name(p), p.spec]));
  for (const policy of before.policies) {
    if (!after.has(name(policy))) found.add("policy goes");
    else if (!same(policy.spec, after.get(name(policy)))) found.add("policy changes");
  }
}

/** The table: names of the cases by feature. */
export function tableOf(
  cases: readonly { readonly name: string; readonly features: ReadonlySet<Feature> }[],
): Map<Feature, string[]> {
  return new Map(FEATURES.map((feature) => [
    feature,
    cases.filter((c) => c.features.has(feature)).map((c) => c.name),
  ]));
}
