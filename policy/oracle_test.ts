/**
 * Two plain readings of the specifications, written without the engine: Kubernetes' NetworkPolicy
 * (a connection is allowed if each side is not isolated or one of its policies allows it), and
 * Calico's tiers (policies in order, rules in order, Pass, default action, profiles). Random small
 * worlds are judged by both and by the engine over rendered rules, in both families.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { mustIp, mustPrefix, prefixContains } from "../mod/net/mod.ts";
import { parseSelector } from "../mod/selector/selector.ts";
import { PolicyEngine } from "./engine.ts";
import { PolicyView } from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import {
  account,
  calico,
  calicoPolicy,
  endpoint,
  kubernetesPolicy,
  namespace,
  pod,
} from "./testing.ts";

const runs = Number(Deno.env.get("POLICY_RUNS") ?? 300);

interface WorldPod {
  ns: string;
  name: string;
  labels: Record<string, string>;
  account: string;
  ports: Record<string, string>;
  ip: Record<4 | 6, string>;
}
type Namespaces = Record<string, Record<string, string>>;
interface World {
  namespaces: Namespaces;
  pods: WorldPod[];
}
/** A connection; sides are pods or addresses outside. */
interface Conn {
  from: WorldPod | undefined;
  to: WorldPod | undefined;
  source: string;
  destination: string;
  protocol: "TCP" | "UDP" | "SCTP";
  port: number;
  sourcePort: number;
}

const labels = fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("x", "y"));
const world: fc.Arbitrary<World> = fc.record({
  namespaces: fc.record({ n1: labels, n2: labels }),
  pods: fc.array(
    fc.record({
      ns: fc.constantFrom("n1", "n2"),
      labels,
      account: fc.constantFrom("default", "sa"),
      ports: fc.dictionary(
        fc.constantFrom("http", "dns"),
        fc.constantFrom("80/TCP", "81/UDP", "80/SCTP"),
      ),
    }),
    { minLength: 1, maxLength: 4 },
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
const outside = { 4: ["192.0.2.1", "10.0.0.250"], 6: ["2001:db8::1", "fd00::fa"] };

function* connections(w: World, family: 4 | 6): Generator<Conn> {
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

function objectsOf(w: World): PolicyObject[] {
  return [
    ...Object.entries(w.namespaces).map(([name, l]) => namespace(name, l)),
    ...Object.keys(w.namespaces).flatMap((ns) => [account(ns, "default"), account(ns, "sa")]),
    ...w.pods.flatMap((p) => [
      pod(p.ns, p.name, p.labels, { ports: p.ports, account: p.account }),
      endpoint(p.ns, p.name, [p.ip[4], p.ip[6]]),
    ]),
  ];
}

function compare(
  w: World,
  policies: PolicyObject[],
  judge: (c: Conn, family: 4 | 6) => boolean,
): void {
  const engine = new PolicyEngine();
  engine.update([...objectsOf(w), ...policies].map((put) => ({ put })));
  assert.deepEqual(engine.problems(), []);
  const view = new PolicyView(engine);
  for (const family of [4, 6] as const) {
    for (const c of connections(w, family)) {
      const asked = {
        from: { ip: c.source },
        to: { ip: c.destination },
        protocol: c.protocol,
        port: c.port,
        sourcePort: c.sourcePort,
      };
      const got = view.allows(asked);
      if (got === judge(c, family)) continue;
      const { egress, ingress } = view.explain(asked);
      assert.fail(
        `${c.source} -> ${c.destination} ${c.protocol}/${c.port}: ${got}\n` +
          JSON.stringify([egress?.walk, ingress?.walk], null, 1),
      );
    }
  }
}

// Kubernetes

interface K8sSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}
interface K8sPeer {
  podSelector?: K8sSelector;
  namespaceSelector?: K8sSelector;
  ipBlock?: { cidr: string; except?: readonly string[] };
}
interface K8sPort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}
interface K8sSpec {
  podSelector: K8sSelector;
  policyTypes?: string[];
  ingress?: { from?: K8sPeer[]; ports?: K8sPort[] }[];
  egress?: { to?: K8sPeer[]; ports?: K8sPort[] }[];
}

const k8sSelector: fc.Arbitrary<K8sSelector> = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: labels }),
  fc.record({
    matchExpressions: fc.array(
      fc.record({
        key: fc.constantFrom("a", "b"),
        operator: fc.constantFrom("In", "NotIn", "Exists", "DoesNotExist"),
      }).chain(({ key, operator }) =>
        operator.endsWith("In")
          ? fc.uniqueArray(fc.constantFrom("x", "y"), { minLength: 1 })
            .map((values) => ({ key, operator, values }))
          : fc.constant({ key, operator })
      ),
      { minLength: 1, maxLength: 2 },
    ),
  }),
);
const k8sPeer: fc.Arbitrary<K8sPeer> = fc.oneof(
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
const k8sPort: fc.Arbitrary<K8sPort> = fc.constantFrom<K8sPort>(
  { port: 80 },
  { port: 81, protocol: "UDP" },
  { protocol: "SCTP" },
  { port: "http" },
  { port: "dns", protocol: "UDP" },
  { port: "http", protocol: "SCTP" },
  { port: 79, endPort: 80, protocol: "UDP" },
  { port: 81, endPort: 90 },
  {},
);
const k8sRule = <K extends string>(side: K) =>
  fc.record({
    [side]: fc.option(fc.array(k8sPeer, { maxLength: 2 }), { nil: undefined }),
    ports: fc.option(fc.array(k8sPort, { maxLength: 3 }), { nil: undefined }),
  });
const k8sSpec = fc.record({
  podSelector: k8sSelector,
  policyTypes: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.option(fc.array(k8sRule("from"), { maxLength: 2 }), { nil: undefined }),
  egress: fc.option(fc.array(k8sRule("to"), { maxLength: 2 }), { nil: undefined }),
}) as fc.Arbitrary<K8sSpec>;

function k8sMatches(selector: K8sSelector, l: Record<string, string>): boolean {
  return Object.entries(selector.matchLabels ?? {}).every(([k, v]) => l[k] === v) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
      switch (operator) {
        case "In":
          return key in l && values!.includes(l[key]);
        case "NotIn":
          return !(key in l && values!.includes(l[key]));
        case "Exists":
          return key in l;
        default:
          return !(key in l);
      }
    });
}

function k8sAllows(
  c: Conn,
  direction: "ingress" | "egress",
  w: World,
  policies: { ns: string; spec: K8sSpec }[],
): boolean {
  const self = direction === "ingress" ? c.to : c.from;
  const other = direction === "ingress" ? c.from : c.to;
  const otherIp = direction === "ingress" ? c.source : c.destination;
  if (!self) return true;
  const mine = policies.filter(({ ns, spec }) => {
    const types = spec.policyTypes ??
      ["Ingress", ...((spec.egress?.length ?? 0) > 0 ? ["Egress"] : [])];
    return ns === self.ns && types.map((t) => t.toLowerCase()).includes(direction) &&
      k8sMatches(spec.podSelector, self.labels);
  });
  if (mine.length === 0) return true;
  return mine.some(({ ns, spec }) =>
    (spec[direction] ?? []).some((rule) => {
      const peers = "from" in rule
        ? rule.from
        : "to" in rule
        ? (rule as { to?: K8sPeer[] }).to
        : [];
      const peerOk = !peers || peers.length === 0 || peers.some((peer) => {
        if (peer.ipBlock) {
          const ip = mustIp(otherIp);
          return prefixContains(mustPrefix(peer.ipBlock.cidr), ip) &&
            !(peer.ipBlock.except ?? []).some((e) => prefixContains(mustPrefix(e), ip));
        }
        if (!other) return false;
        const nsOk = peer.namespaceSelector
          ? k8sMatches(peer.namespaceSelector, w.namespaces[other.ns])
          : other.ns === ns;
        return nsOk && k8sMatches(peer.podSelector ?? {}, other.labels);
      });
      const portOk = !rule.ports || rule.ports.length === 0 || rule.ports.some((p) => {
        if ((p.protocol ?? "TCP") !== c.protocol) return false;
        if (p.port === undefined) return true;
        if (typeof p.port === "string") {
          return c.to?.ports[p.port] === `${c.port}/${c.protocol}`;
        }
        return c.port >= p.port && c.port <= (p.endPort ?? p.port);
      });
      return peerOk && portOk;
    })
  );
}

Deno.test("Kubernetes' policies: the engine agrees with the specification read plainly", () => {
  fc.assert(
    fc.property(
      world,
      fc.array(fc.tuple(fc.constantFrom("n1", "n2"), k8sSpec), { maxLength: 4 }),
      (w, list) => {
        const policies = list.map(([ns, spec]) => ({ ns, spec }));
        compare(
          w,
          policies.map(({ ns, spec }, i) => kubernetesPolicy(ns, `k${i}`, { ...spec })),
          (c) => k8sAllows(c, "egress", w, policies) && k8sAllows(c, "ingress", w, policies),
        );
      },
    ),
    { numRuns: runs },
  );
});

// Calico

interface Entity {
  selector?: string;
  notSelector?: string;
  namespaceSelector?: string;
  nets?: string[];
  notNets?: string[];
  ports?: (number | string)[];
  notPorts?: (number | string)[];
  serviceAccounts?: { names?: string[] };
}
interface CalicoRule {
  action: "Allow" | "Deny" | "Pass" | "Log";
  protocol?: "TCP" | "UDP";
  notProtocol?: "TCP";
  ipVersion?: 4 | 6;
  source: Entity;
  destination: Entity;
}
interface CalicoSpec {
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
);
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 1 });
const entity: fc.Arbitrary<Entity> = fc.record({
  selector: some(text),
  notSelector: some(text),
  namespaceSelector: some(fc.oneof(text, fc.constant("global()"))),
  nets: some(fc.constantFrom(["10.0.0.0/25"], ["10.0.0.1/32", "10.0.0.64/26", "fd00::/64"], [
    "::/0",
  ])),
  notNets: some(fc.constantFrom(["10.0.0.0/26"], ["fd00::/122", "10.0.0.128/25"])),
  serviceAccounts: some(fc.constant({ names: ["sa"] })),
});
const portList = fc.constantFrom<(number | string)[]>([80], ["79:80"], ["http"], [81, "http"]);
const calicoRule: fc.Arbitrary<CalicoRule> = fc.record({
  action: fc.constantFrom("Allow", "Deny", "Pass", "Log"),
  ipVersion: fc.constantFrom(undefined, undefined, undefined, 4, 6),
  source: entity,
  destination: entity,
  shape: fc.oneof(
    fc.constant({}),
    fc.constant({ notProtocol: "TCP" }),
    fc.record({
      protocol: fc.constantFrom("TCP", "UDP"),
      ports: some(portList),
      notPorts: some(portList),
      sourcePorts: some(fc.constantFrom([40_000], ["1:39999"])),
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
const calicoSpec = fc.record({
  tier: fc.constantFrom(undefined, "t1", "t2", "lost"),
  order: fc.constantFrom(undefined, 1, 1000),
  selector: some(text),
  namespaceSelector: some(text),
  serviceAccountSelector: some(fc.constantFrom("projectcalico.org/name == 'sa'", "all()")),
  types: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.array(calicoRule, { maxLength: 3 }),
  egress: fc.array(calicoRule, { maxLength: 3 }),
}) as fc.Arbitrary<CalicoSpec>;

type Tiers = Record<string, { order?: number; defaultAction: "Deny" | "Pass" }>;
interface CalicoWorld extends World {
  /** GlobalNetworkSet with these labels, of 192.0.2.0/24. */
  setLabels: Record<string, string>;
}

/** What a rule's selectors see of an address: all labels of what stands there. */
function labelsAt(w: CalicoWorld, ip: string, p: WorldPod | undefined): Record<string, string>[] {
  if (ip === "192.0.2.1") return [{ ...w.setLabels }];
  if (!p) return [];
  const own = w.namespaces[p.ns];
  const inherited = Object.fromEntries(Object.entries(own).map(([k, v]) => [`pcns.${k}`, v]));
  return [{
    ...inherited,
    "pcns.projectcalico.org/name": p.ns,
    "pcns.kubernetes.io/metadata.name": p.ns,
    ...p.labels,
    "projectcalico.org/namespace": p.ns,
    "projectcalico.org/orchestrator": "k8s",
    "projectcalico.org/serviceaccount": p.account,
  }];
}

/** A namespaceSelector's text over an endpoint's labels. */
function inNamespaces(selector: string, l: Record<string, string>): boolean {
  if (selector === "all()") return "projectcalico.org/namespace" in l;
  if (selector === "global()") return !("projectcalico.org/namespace" in l);
  const inherited = Object.fromEntries(
    Object.entries(l).filter(([k]) => k.startsWith("pcns.")).map(([k, v]) => [k.slice(5), v]),
  );
  return parseSelector(selector).matches(inherited);
}

function entityMatches(
  w: CalicoWorld,
  e: Entity,
  ip: string,
  p: WorldPod | undefined,
  port: number,
  protocol: string,
  ruleProtocol: string | undefined,
  ns: string,
): boolean {
  const at = labelsAt(w, ip, p);
  const address = mustIp(ip);
  const inside = (nets: string[]) =>
    nets.some((n) =>
      mustPrefix(n).ip.family === address.family && prefixContains(mustPrefix(n), address)
    );
  const selects = (l: Record<string, string>): boolean => {
    const looks = e.selector || e.notSelector || e.namespaceSelector || e.serviceAccounts;
    if (!looks) return true;
    if (e.namespaceSelector) {
      if (!inNamespaces(e.namespaceSelector, l)) return false;
    } else if (ns !== "" && l["projectcalico.org/namespace"] !== ns) return false;
    if (e.serviceAccounts && l["projectcalico.org/serviceaccount"] !== "sa") return false;
    return !e.selector || parseSelector(e.selector).matches(l);
  };
  const limited = e.selector || e.namespaceSelector || e.serviceAccounts ||
    (e.notSelector && ns !== "");
  if (limited && !at.some(selects)) return false;
  if (e.nets && !inside(e.nets)) return false;
  if (e.notNets && inside(e.notNets)) return false;
  if (e.notSelector && at.some((l) => parseSelector(e.notSelector!).matches(l))) return false;
  const named = (name: string) =>
    p !== undefined && p.ports[name] === `${port}/${protocol}` &&
    (ruleProtocol ?? "TCP") === protocol;
  const has = (list: (number | string)[]) =>
    list.some((x) => {
      if (typeof x === "number") return x === port;
      const range = /^(\d+):(\d+)$/.exec(x);
      return range ? port >= Number(range[1]) && port <= Number(range[2]) : named(x);
    });
  if (e.ports && !has(e.ports)) return false;
  return !(e.notPorts && has(e.notPorts));
}

function calicoAllows(
  c: Conn,
  family: 4 | 6,
  direction: "ingress" | "egress",
  w: CalicoWorld,
  tiers: Tiers,
  policies: { ns: string; name: string; spec: CalicoSpec }[],
): boolean {
  const self = direction === "ingress" ? c.to : c.from;
  if (!self) return true;
  const [own] = labelsAt(w, self.ip[4], self);
  const typesOf = ({ types, ingress, egress }: CalicoSpec) =>
    (types ?? (egress!.length > 0 ? (ingress!.length > 0 ? ["ingress", "egress"] : ["egress"]) : [
      "ingress",
    ])).map((t) => t.toLowerCase());
  const applies = policies.filter(({ ns, spec }) => {
    if (!typesOf(spec).includes(direction)) return false;
    if (ns !== "" && ns !== self.ns) return false;
    if (spec.selector && !parseSelector(spec.selector).matches(own)) return false;
    if (ns === "" && spec.namespaceSelector && !inNamespaces(spec.namespaceSelector, own)) {
      return false;
    }
    return !spec.serviceAccountSelector || spec.serviceAccountSelector === "all()" ||
      self.account === "sa";
  });
  const families = (list: string[]) => list.filter((n) => mustPrefix(n).ip.family === family);
  const sorted = Object.keys({ ...tiers, default: 1, lost: 1 }).sort((a, b) => {
    const order = (t: string) =>
      t === "default" ? 1_000_000 : t === "lost" ? Infinity : tiers[t].order ?? Infinity;
    const known = (t: string) => t !== "lost";
    if (known(a) !== known(b)) return known(a) ? -1 : 1;
    return order(a) !== order(b) ? (order(a) < order(b) ? -1 : 1) : a < b ? -1 : 1;
  });
  tier: for (const tier of sorted) {
    const mine = applies.filter((p) => (p.spec.tier ?? "default") === tier).sort((a, b) => {
      const [x, y] = [a.spec.order ?? Infinity, b.spec.order ?? Infinity];
      if (x !== y) return x < y ? -1 : 1;
      const key = (p: typeof a) =>
        `${p.name}/${p.ns}/${p.ns === "" ? "GlobalNetworkPolicy" : "NetworkPolicy"}`;
      return key(a) < key(b) ? -1 : 1;
    });
    if (mine.length === 0) continue;
    for (const { ns, spec } of mine) {
      for (const rule of spec[direction] ?? []) {
        if (rule.ipVersion && rule.ipVersion !== family) continue;
        const lists = [rule.source, rule.destination].flatMap((e) => [e.nets, e.notNets]);
        if (lists.some((l) => l && families(l).length === 0)) continue;
        if (rule.protocol && rule.protocol !== c.protocol) continue;
        if (rule.notProtocol && rule.notProtocol === c.protocol) continue;
        if (
          !entityMatches(
            w,
            rule.source,
            c.source,
            c.from,
            c.sourcePort,
            c.protocol,
            rule.protocol,
            ns,
          )
        ) continue;
        if (
          !entityMatches(
            w,
            rule.destination,
            c.destination,
            c.to,
            c.port,
            c.protocol,
            rule.protocol,
            ns,
          )
        ) continue;
        if (rule.action === "Allow") return true;
        if (rule.action === "Deny") return false;
        if (rule.action === "Pass") continue tier;
      }
    }
    if ((tiers[tier]?.defaultAction ?? "Deny") === "Deny") return false;
  }
  return true;
}

Deno.test("Calico's policies: the engine agrees with tiers, orders and rules read plainly", () => {
  const tier = fc.record({
    order: fc.constantFrom(undefined, 5, 2_000_000),
    defaultAction: fc.constantFrom("Deny", "Pass"),
  }) as fc.Arbitrary<Tiers[string]>;
  fc.assert(
    fc.property(
      world,
      labels,
      fc.record({ t1: tier, t2: tier }),
      fc.uniqueArray(
        fc.record({
          ns: fc.constantFrom("n1", "n2", ""),
          name: fc.constantFrom("c1", "c2", "c3"),
          spec: calicoSpec,
        }),
        { maxLength: 5, selector: (p) => `${p.ns}/${p.name}` },
      ),
      (base, setLabels, tiers, raw) => {
        const w = { ...base, setLabels };
        const policies = raw.map((p) => ({
          ...p,
          // Only global policies choose namespaces.
          spec: p.ns === "" ? p.spec : { ...p.spec, namespaceSelector: undefined },
        }));
        compare(
          w,
          [
            ...Object.entries(tiers).map(([name, spec]) => calico("Tier", name, spec)),
            calico("GlobalNetworkSet", "outside", { nets: ["192.0.2.0/24"] }, setLabels),
            ...policies.map(({ ns, name, spec }) =>
              calicoPolicy(ns, name, JSON.parse(JSON.stringify(spec)))
            ),
          ],
          (c, family) =>
            calicoAllows(c, family, "egress", w, tiers, policies) &&
            calicoAllows(c, family, "ingress", w, tiers, policies),
        );
      },
    ),
    { numRuns: runs },
  );
});
