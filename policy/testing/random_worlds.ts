/**
 * Small random worlds for tests: a few pods in two namespaces, two addresses outside, policies of both
 * kinds over few labels, ports and networks, so that what is made at random meets.
 */
import fc from "fast-check";
import type { PolicyObject } from "../inputs.ts";
import { account, endpoint, namespace, pod } from "../testing.ts";

export interface WorldPod {
  ns: string;
  name: string;
  labels: Record<string, string>;
  account: string;
  ports: Record<string, string>;
  ip: Record<4 | 6, string>;
}
export type Namespaces = Record<string, Record<string, string>>;
export interface World {
  namespaces: Namespaces;
  pods: WorldPod[];
}
/** A connection; sides are pods or addresses outside. */
export interface Conn {
  from: WorldPod | undefined;
  to: WorldPod | undefined;
  source: string;
  destination: string;
  protocol: "TCP" | "UDP" | "SCTP";
  port: number;
  sourcePort: number;
}

export const labels = fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y"));
export const world: fc.Arbitrary<World> = fc.record({
  namespaces: fc.record({ n1: labels, n2: labels }),
  pods: fc.array(
    fc.record({
      ns: fc.constantFrom("n1", "n2"),
      labels: fc.oneof(
        { weight: 6, arbitrary: labels },
        // One of them pretends to be the namespace's.
        {
          weight: 1,
          arbitrary: fc.dictionary(fc.constantFrom("a", "pcns.a"), fc.constantFrom("x", "y")),
        },
      ),
      account: fc.constantFrom("default", "sa"),
      // Most have both names, of any protocol.
      ports: fc.dictionary(
        fc.constantFrom("http", "dns"),
        fc.constantFrom("80/TCP", "81/UDP", "80/SCTP"),
        { size: "max", maxKeys: 2 },
      ),
    }),
    { minLength: 2, maxLength: 4 },
  ),
}).map(({ namespaces, pods }) => ({
  namespaces,
  pods: pods.map((p, i) => ({
    ...p,
    name: `p${i}`,
    // In different halves of 10.0.0.0/24, so that blocks tell them apart.
    ip: { 4: `10.0.0.${i * 64 + 1}`, 6: `fd00::${(i * 64 + 1).toString(16)}` },
  })),
}));
export const outside = { 4: ["192.0.2.1", "10.0.0.250"], 6: ["2001:db8::1", "fd00::fa"] };

export function* connections(w: World, family: 4 | 6): Generator<Conn> {
  const sides = [
    ...w.pods.map((p) => ({ pod: p, ip: p.ip[family] })),
    ...outside[family].map((ip) => ({ pod: undefined, ip })),
  ];
  for (const from of sides) {
    for (const to of sides) {
      if (!from.pod && !to.pod) continue;
      for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
        for (const port of [80, 81]) {
          yield {
            from: from.pod,
            to: to.pod,
            source: from.ip,
            destination: to.ip,
            protocol,
            port,
            sourcePort: 40_000,
          };
        }
      }
    }
  }
}

export function objectsOf(w: World): PolicyObject[] {
  return [
    ...Object.entries(w.namespaces).map(([name, l]) => namespace(name, l)),
    ...Object.keys(w.namespaces).flatMap((ns) => [account(ns, "default"), account(ns, "sa")]),
    ...w.pods.flatMap((p) => [
      pod(p.ns, p.name, p.labels, { ports: p.ports, account: p.account }),
      endpoint(p.ns, p.name, [p.ip[4], p.ip[6]], { interfaceName: `cali${p.name}` }),
    ]),
  ];
}

// Kubernetes

export interface K8sSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}
export interface K8sPeer {
  podSelector?: K8sSelector;
  namespaceSelector?: K8sSelector;
  ipBlock?: { cidr: string; except?: readonly string[] };
}
export interface K8sPort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}
export interface K8sSpec {
  podSelector: K8sSelector;
  policyTypes?: string[];
  ingress?: { from?: K8sPeer[]; ports?: K8sPort[] }[];
  egress?: { to?: K8sPeer[]; ports?: K8sPort[] }[];
}

const k8sExpression = fc.record({
  // Nobody has c.
  key: fc.constantFrom("a", "a", "b", "b", "c"),
  operator: fc.constantFrom("In", "NotIn", "Exists", "DoesNotExist"),
}).chain(({ key, operator }) =>
  operator.endsWith("In")
    ? fc.uniqueArray(fc.constantFrom("x", "y"), { minLength: 1 })
      .map((values) => ({ key, operator, values }))
    : fc.constant({ key, operator })
);
/** One expression, so that whether it holds decides. */
export const k8sExpressions: fc.Arbitrary<K8sSelector> = k8sExpression
  .map((expression) => ({ matchExpressions: [expression] }));
const k8sSelector: fc.Arbitrary<K8sSelector> = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  // Matches nothing: nobody has this value.
  fc.constant({ matchLabels: { a: "nobody" } }),
  k8sExpressions,
  fc.record({ matchExpressions: fc.array(k8sExpression, { minLength: 2, maxLength: 2 }) }),
);
export const k8sPeer: fc.Arbitrary<K8sPeer> = fc.oneof(
  fc.record({ podSelector: k8sSelector }),
  fc.record({ namespaceSelector: k8sSelector }),
  fc.record({ podSelector: k8sSelector, namespaceSelector: k8sSelector }),
  fc.constantFrom<K8sPeer>(
    { ipBlock: { cidr: "10.0.0.0/24" } },
    { ipBlock: { cidr: "0.0.0.0/0", except: ["10.0.0.0/25"] } },
    { ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.64/26", "10.0.0.192/26"] } },
    { ipBlock: { cidr: "::/0" } },
    { ipBlock: { cidr: "fd00::/64", except: ["fd00::/122"] } },
  ),
);
export const k8sPort: fc.Arbitrary<K8sPort> = fc.constantFrom<K8sPort>(
  { port: 80 },
  { port: 81, protocol: "UDP" },
  { protocol: "SCTP" },
  { port: "http" },
  { port: "dns", protocol: "UDP" },
  { port: "http", protocol: "SCTP" },
  { port: 79, endPort: 80, protocol: "UDP" },
  { port: 60, endPort: 81 },
  {},
);
const k8sRule = <K extends string>(side: K) =>
  fc.record({
    [side]: fc.option(fc.array(k8sPeer, { maxLength: 2 }), { nil: undefined }),
    ports: fc.option(fc.array(k8sPort, { maxLength: 3 }), { nil: undefined }),
  });
export const k8sSpec = fc.record({
  podSelector: k8sSelector,
  policyTypes: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.option(fc.array(k8sRule("from"), { maxLength: 2 }), { nil: undefined }),
  egress: fc.option(fc.array(k8sRule("to"), { maxLength: 2 }), { nil: undefined }),
}) as fc.Arbitrary<K8sSpec>;

// Calico

export interface Entity {
  selector?: string;
  notSelector?: string;
  namespaceSelector?: string;
  nets?: string[];
  notNets?: string[];
  ports?: (number | string)[];
  notPorts?: (number | string)[];
  serviceAccounts?: { names?: string[] };
}
export interface CalicoRule {
  action: "Allow" | "Deny" | "Pass" | "Log";
  protocol?: "TCP" | "UDP" | "SCTP";
  notProtocol?: "TCP";
  ipVersion?: 4 | 6;
  source: Entity;
  destination: Entity;
}
export interface CalicoSpec {
  tier?: string;
  order?: number;
  selector?: string;
  namespaceSelector?: string;
  serviceAccountSelector?: string;
  types?: string[];
  ingress?: CalicoRule[];
  egress?: CalicoRule[];
}

const text = fc.constantFrom(
  "a == 'x'",
  "a != 'x'",
  "has(b)",
  "a in {'x','y'} && !has(b)",
  "all()",
  // Matches nothing.
  "a == 'nobody'",
);
/** Every second time; `freq` is how many draws there are to one that is nothing. */
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
/** At most two fields: a rule with many conditions never holds. */
export const entity: fc.Arbitrary<Entity> = fc.record({
  selector: text,
  notSelector: text,
  namespaceSelector: fc.oneof(text, fc.constant("global()")),
  nets: fc.constantFrom(["10.0.0.0/25"], ["10.0.0.1/32", "10.0.0.64/26", "fd00::/64"], [
    "::/0",
  ]),
  notNets: fc.constantFrom(["10.0.0.0/26"], ["fd00::/122", "10.0.0.128/25"]),
  serviceAccounts: fc.constant({ names: ["sa"] }),
}).chain((full) =>
  fc.subarray(Object.keys(full), { maxLength: 2 })
    .map((keys) => Object.fromEntries(Object.entries(full).filter(([key]) => keys.includes(key))))
);
export const portList = fc.constantFrom<(number | string)[]>([80], ["79:80"], ["http"], [
  81,
  "http",
], [...Array.from({ length: 40 }, (_, i) => `unknown-${i}`), "http"]);
const calicoRule: fc.Arbitrary<CalicoRule> = fc.record({
  action: fc.constantFrom("Allow", "Deny", "Pass", "Log"),
  ipVersion: fc.constantFrom(undefined, undefined, undefined, 4, 6),
  source: entity,
  destination: entity,
  shape: fc.oneof(
    fc.constant({}),
    fc.constant({ notProtocol: "TCP" }),
    fc.record({
      protocol: fc.constantFrom("TCP", "UDP", "SCTP"),
      ports: some(portList),
      notPorts: some(portList),
      sourcePorts: some(fc.constantFrom(["40000:65535"], ["1:39999"])),
    }),
  ),
}).map(({ shape, ...rule }) => {
  const { ports, notPorts, sourcePorts, ...protocols } = shape as Record<string, unknown>;
  return JSON.parse(JSON.stringify({
    ...rule,
    ...protocols,
    source: { ...rule.source, ports: sourcePorts },
    destination: { ...rule.destination, ports, notPorts },
  }));
});
export const calicoSpec = fc.record({
  tier: fc.constantFrom(undefined, "t1", "t2", "lost"),
  order: fc.constantFrom(undefined, 1, 1000),
  selector: some(text),
  namespaceSelector: some(text),
  serviceAccountSelector: some(fc.constantFrom("projectcalico.org/name == 'sa'", "all()")),
  types: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.array(calicoRule, { maxLength: 3 }),
  egress: fc.array(calicoRule, { maxLength: 3 }),
}) as fc.Arbitrary<CalicoSpec>;

export type Tiers = Record<string, { order?: number; defaultAction: "Deny" | "Pass" }>;

export const tier = fc.record({
  order: fc.constantFrom(undefined, 5, 2_000_000),
  defaultAction: fc.constantFrom("Deny", "Pass"),
}) as fc.Arbitrary<Tiers[string]>;
