/**
 * What random worlds really came to ask. A generator that could draw `endPort` proves nothing if no
 * connection ever met a rule that hangs on it; so each connection's walk is looked through, and of
 * each feature, in each family, is counted how often a rule with it held and how often it did not,
 * and what became of the connections of either kind.
 *
 * A rule of Kubernetes' is an alternative of peers and of ports: it counts for a peer's features
 * where it has one peer, and for a port's where it has one port, so that nothing else made it hold.
 */
import type { Explanation, WalkStep } from "../../policy/explain.ts";
import type { PolicyObject } from "../../policy/inputs.ts";

type Json = Record<string, any>;

export interface Count {
  /** Rules that held, and rules that did not, of connections that the side then let through … */
  heldAllowed: number;
  failedAllowed: number;
  /** … and of those that it refused. */
  heldDenied: number;
  failedDenied: number;
}

/** Features that must come up, of either kind of policy. */
export const COVERED = [
  "kubernetes ingress",
  "kubernetes egress",
  "kubernetes podSelector",
  "kubernetes namespaceSelector",
  "kubernetes podSelector and namespaceSelector",
  "kubernetes ipBlock",
  "kubernetes except",
  "kubernetes In",
  "kubernetes NotIn",
  "kubernetes Exists",
  "kubernetes DoesNotExist",
  "kubernetes port number",
  "kubernetes port name",
  "kubernetes endPort",
  "kubernetes TCP",
  "kubernetes UDP",
  "kubernetes SCTP",
  "calico ingress",
  "calico egress",
  "calico Allow",
  "calico Deny",
  "calico Pass",
  "calico selector",
  "calico notSelector",
  "calico namespaceSelector",
  "calico nets",
  "calico notNets",
  "calico ports",
  "calico named port",
  "calico notPorts",
  "calico SCTP",
  "calico notProtocol",
  "calico serviceAccounts",
] as const;

export class Coverage {
  /** By feature and family, such as `kubernetes except IPv6`. */
  readonly counts = new Map<string, Count>();

  observe(policies: readonly PolicyObject[], { family, egress, ingress }: Explanation): void {
    for (const side of [egress, ingress]) {
      for (const step of side?.walk ?? []) {
        if (step.is !== "rule" || !step.policy) continue;
        const { kind, namespace, name } = step.policy;
        const kubernetes = kind === "KubernetesNetworkPolicy";
        // Of two with one name the last one stands.
        const object = policies.findLast(({ apiVersion, metadata, ...o }) =>
          apiVersion?.startsWith("networking.k8s.io") === kubernetes &&
          (kubernetes || o.kind === kind) && metadata?.name === name &&
          (metadata?.namespace ?? "") === namespace
        ) as Json | undefined;
        const rule = object?.spec[side!.direction][step.rule!];
        if (!rule) throw new Error(`the walk names a rule that is not there: ${step.text}`);
        const features = kubernetes
          ? kubernetesFeatures(rule, step)
          : calicoFeatures(rule, side!.direction);
        for (const feature of [...features, side!.direction]) {
          this.#count(
            `${kubernetes ? "kubernetes" : "calico"} ${feature} IPv${family}`,
            step.outcome !== "no-match",
            side!.allowed,
          );
        }
      }
    }
  }

  #count(feature: string, held: boolean, allowed: boolean): void {
    const none: Count = { heldAllowed: 0, failedAllowed: 0, heldDenied: 0, failedDenied: 0 };
    const count = this.counts.get(feature) ?? none;
    count[`${held ? "held" : "failed"}${allowed ? "Allowed" : "Denied"}`]++;
    this.counts.set(feature, count);
  }

  /**
   * What has not come up: of each feature and family, a rule must have held for a connection that was
   * let through (for Deny: refused), and have failed for one that was refused.
   */
  missing(): string[] {
    return COVERED.flatMap((feature) =>
      [4, 6].flatMap((family) => {
        const name = `${feature} IPv${family}`;
        const count = this.counts.get(name);
        const held = feature.endsWith("Deny") ? count?.heldDenied : count?.heldAllowed;
        return [
          ...(held ? [] : [`${name} held`]),
          ...(count?.failedDenied ? [] : [`${name} failed`]),
        ];
      })
    );
  }
}

function kubernetesFeatures(rule: Json, step: WalkStep): string[] {
  const features: string[] = [];
  const peers: Json[] = rule.from ?? rule.to ?? [];
  const ports: Json[] = rule.ports ?? [];
  const failed = step.outcome === "no-match";
  if (peers.length === 1) {
    const [{ podSelector, namespaceSelector, ipBlock }] = peers;
    if (ipBlock) features.push("ipBlock");
    else if (podSelector && namespaceSelector) features.push("podSelector and namespaceSelector");
    else features.push(podSelector ? "podSelector" : "namespaceSelector");
    // It fails by its except only where the address is in one.
    if (ipBlock?.except && (!failed || /(source|destination) is in /.test(step.text))) {
      features.push("except");
    }
    for (const selector of [podSelector, namespaceSelector]) {
      for (const { operator } of selector?.matchExpressions ?? []) features.push(operator);
    }
  }
  if (ports.length === 1) {
    const [{ protocol = "TCP", port, endPort }] = ports;
    features.push(protocol);
    if (typeof port === "string") features.push("port name");
    else if (endPort === undefined && port !== undefined) features.push("port number");
    // It fails by its range only where the protocol was right.
    if (endPort && (!failed || /port is not in \d+-\d+/.test(step.text))) features.push("endPort");
  }
  return features;
}

function calicoFeatures(rule: Json, direction: "ingress" | "egress"): string[] {
  const { source = {}, destination = {} } = rule;
  const peer = direction === "ingress" ? source : destination;
  const features: string[] = [rule.action];
  for (
    const field of [
      ...["selector", "notSelector", "namespaceSelector", "nets", "notNets", "serviceAccounts"],
    ]
  ) if (peer[field]) features.push(field);
  if (destination.ports) features.push("ports");
  if (destination.ports?.length === 1 && typeof destination.ports[0] === "string") {
    if (!destination.ports[0].includes(":")) features.push("named port");
  }
  if (destination.notPorts) features.push("notPorts");
  if (rule.protocol === "SCTP") features.push("SCTP");
  if (rule.notProtocol) features.push("notProtocol");
  return features;
}
