import assert from "node:assert/strict";
import fc from "fast-check";
import { PolicyEngine } from "./engine.ts";
import type { Change, PolicyObject } from "./inputs.ts";
import type { Family, Ruleset } from "./rules.ts";
import {
  account,
  applyDelta,
  calico,
  calicoPolicy,
  checkRuleset,
  comparable,
  endpoint,
  kubernetesPolicy,
  namespace,
  pod,
} from "./testing.ts";

const families: Family[] = [4, 6];
const empty = (family: Family): Ruleset => ({ family, chains: new Map(), sets: new Map() });
const keyOf = (o: PolicyObject) =>
  `${o.apiVersion} ${o.kind} ${o.metadata?.namespace ?? ""} ${o.metadata?.name}`;

/** Small worlds: few names, so that random objects meet. */
const labels = fc.dictionary(fc.constantFrom("app", "tier"), fc.constantFrom("a", "b"), {
  maxKeys: 2,
});
const ns = fc.constantFrom("x", "y");
const selector = fc.constantFrom(
  "all()",
  "app == 'a'",
  "app != 'a'",
  "has(tier)",
  "!has(tier)",
  "app in {'a','b'} && tier == 'b'",
  "app starts with 'a' || tier == 'a'",
);
const labelSelector = fc.constantFrom(
  {},
  // More often than the others: policies of one subject are grouped.
  {},
  { matchLabels: { app: "a" } },
  { matchExpressions: [{ key: "tier", operator: "NotIn", values: ["a"] }] },
  { matchLabels: { app: "b" }, matchExpressions: [{ key: "tier", operator: "Exists" }] },
);
const nets = fc.uniqueArray(
  fc.constantFrom("10.0.0.0/8", "10.0.1.0/24", "10.0.1.7/32", "fd00::/64", "fd00::7/128"),
  { minLength: 1, maxLength: 3 },
);
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const dropUndefined = <T>(o: T): T => JSON.parse(JSON.stringify(o));

const entity = fc.record({
  selector: some(selector),
  notSelector: some(selector),
  namespaceSelector: some(selector),
  nets: some(nets),
  notNets: some(nets),
  serviceAccounts: some(fc.constantFrom({ names: ["s1"] }, { selector: "app == 'a'" })),
});
const calicoRule = fc.record({
  action: fc.constantFrom("Allow", "Deny", "Pass", "Log"),
  protocol: fc.constant("TCP"),
  source: entity,
  destination: fc.tuple(
    entity,
    fc.constantFrom(undefined, [80], ["http"], [80, "81:90", "http"]),
    fc.constantFrom(undefined, undefined, [443], ["http"]),
  ).map(([e, ports, notPorts]) => ({ ...e, ports, notPorts })),
});
const calicoSpec = fc.record({
  tier: fc.constantFrom(undefined, "default", "t1", "t2"),
  order: fc.constantFrom(undefined, 1, 2),
  selector: some(selector),
  namespaceSelector: some(selector),
  serviceAccountSelector: some(selector),
  types: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.array(calicoRule, { maxLength: 2 }),
  egress: fc.array(calicoRule, { maxLength: 2 }),
});
const kubernetesPeer = fc.oneof(
  fc.record({ podSelector: labelSelector }),
  fc.record({ namespaceSelector: labelSelector }),
  fc.record({ namespaceSelector: labelSelector, podSelector: labelSelector }),
  fc.constant({ ipBlock: { cidr: "10.0.0.0/16", except: ["10.0.1.0/24"] } }),
);
const kubernetesPort = fc.constantFrom(
  { port: 80 },
  { port: "http" },
  { protocol: "UDP" },
  { protocol: "SCTP", port: 80, endPort: 90 },
);
const kubernetesSpec = fc.record({
  podSelector: labelSelector,
  policyTypes: fc.constantFrom(undefined, ["Ingress"], ["Egress"], ["Ingress", "Egress"]),
  ingress: fc.array(
    fc.record({
      from: fc.array(kubernetesPeer, { maxLength: 2 }),
      ports: fc.array(kubernetesPort, { maxLength: 3 }),
    }),
    { maxLength: 2 },
  ),
  egress: fc.array(
    fc.record({
      to: fc.array(kubernetesPeer, { maxLength: 2 }),
      ports: fc.array(kubernetesPort, { maxLength: 3 }),
    }),
    { maxLength: 2 },
  ),
});

const object: fc.Arbitrary<PolicyObject> = fc.oneof(
  { weight: 2, arbitrary: fc.tuple(ns, labels).map(([n, l]) => namespace(n, l)) },
  fc.tuple(ns, fc.constantFrom("s1", "default"), labels).map(([n, s, l]) => account(n, s, l)),
  {
    weight: 4,
    arbitrary: fc.tuple(
      ns,
      fc.constantFrom("p1", "p2", "p3"),
      labels,
      fc.constantFrom({}, { http: 80 }, { http: "81/UDP" }),
      fc.constantFrom("default", "s1"),
    ).map(([n, p, l, ports, a]) => pod(n, p, l, { ports, account: a })),
  },
  {
    weight: 5,
    arbitrary: fc.tuple(
      ns,
      fc.constantFrom("p1", "p2", "p3"),
      fc.uniqueArray(fc.constantFrom("10.0.1.7", "10.0.1.8", "10.0.2.1", "fd00::7"), {
        maxLength: 2,
      }),
      fc.record({
        node: fc.constantFrom("node1", "node1", "node2"),
        interfaceName: fc.constantFrom("cali1", "cali2", "cali3", ""),
        profiles: fc.constantFrom(undefined, ["own"], ["kns.x", "own"]),
        labels,
        spoofing: fc.constantFrom(undefined, undefined, ["192.0.2.0/24"]),
        floating: fc.constantFrom(undefined, undefined, "192.0.2.1", "192.0.2.2"),
        qos: fc.constantFrom(undefined, undefined, { ingressPacketRate: 9 }, {
          egressMaxConnections: 2,
        }),
      }),
    ).map(([n, p, ips, options]) => endpoint(n, p, ips, dropUndefined(options))),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(ns, fc.constantFrom("k1", "k2", "k3", "k4"), kubernetesSpec)
      .map(([n, name, spec]) => kubernetesPolicy(n, name, dropUndefined(spec))),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(
      fc.constantFrom("x", "y", ""),
      fc.constantFrom("c1", "c2"),
      calicoSpec,
    ).map(([n, name, spec]) => calicoPolicy(n, name, dropUndefined(spec))),
  },
  fc.tuple(fc.constantFrom("t1", "t2", "default"), fc.constantFrom(5, 6, undefined), fc.boolean())
    .map(([name, order, pass]) =>
      calico("Tier", name, dropUndefined({ order, defaultAction: pass ? "Pass" : "Deny" }))
    ),
  fc.tuple(
    fc.constantFrom("own", "kns.x", "ksa.x.s1"),
    fc.dictionary(fc.constantFrom("app", "pcns.app"), fc.constantFrom("a", "b")),
    fc.array(calicoRule, { maxLength: 1 }),
  ).map(([name, labelsToApply, ingress]) =>
    calico(
      "Profile",
      name,
      dropUndefined({ labelsToApply, ingress, egress: [{ action: "Allow" }] }),
    )
  ),
  fc.tuple(ns, labels, nets).map(([namespace, labels, nets]) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "NetworkSet",
    metadata: { namespace, name: "set", labels },
    spec: { nets },
  })),
  fc.tuple(labels, nets).map(([l, nets]) => calico("GlobalNetworkSet", "set", { nets }, l)),
  fc.tuple(
    fc.constantFrom("10.0.0.0/16", "10.0.1.0/24", "fd00::/64"),
    fc.boolean(),
    fc.constantFrom("Never", "Always"),
  ).map(([cidr, natOutgoing, vxlanMode]) =>
    calico("IPPool", `pool-${cidr.length}`, { cidr, natOutgoing, vxlanMode })
  ),
  fc.tuple(fc.constantFrom("node1", "node2"), fc.constantFrom("192.0.2.1", "192.0.2.2"))
    .map(([name, ip]) =>
      calico("Node", name, { bgp: { ipv4Address: `${ip}/24` }, ipv4VXLANTunnelAddr: "10.0.1.1" })
    ),
);

const parameters = { nodeName: "node1", sourceSpoofing: true, floatingIps: true };

Deno.test("any way to a set of objects gives the rulesets of that set, and deltas lead there", () => {
  const change = fc.tuple(object, fc.integer({ min: 0, max: 3 }));
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 6 }), { maxLength: 12 }), (batches) => {
      const engine = new PolicyEngine(parameters);
      const present = new Map<string, PolicyObject>();
      const kernel = { 4: empty(4), 6: empty(6) };
      for (const batch of batches) {
        const changes: Change[] = [];
        for (const [object, die] of batch) {
          if (die > 0) {
            present.set(keyOf(object), object);
            changes.push({ put: object });
          } else {
            present.delete(keyOf(object));
            const { apiVersion, kind, metadata } = object;
            changes.push({
              remove: {
                apiVersion,
                kind: kind!,
                name: metadata!.name!,
                namespace: metadata!.namespace,
              },
            });
          }
        }
        engine.update(changes);
        const fresh = new PolicyEngine(parameters);
        fresh.update([...present.values()].reverse().map((put) => ({ put })));
        const local = [...engine.endpoints()].filter((e) => engine.isLocal(e));
        const rivals = new Set(local.map((e) => e.interfaceName)).size < local.length;
        for (const family of families) {
          const want = comparable(fresh.ruleset(family));
          const whole = engine.ruleset(family);
          assert.deepEqual(comparable(whole), want);
          checkRuleset(whole, rivals);
          const delta = engine.changes(family);
          if (delta) kernel[family] = applyDelta(kernel[family], delta);
          assert.deepEqual(comparable(kernel[family]), want);
          assert.equal(engine.changes(family), undefined);
        }
        assert.deepEqual(engine.problems(), fresh.problems());
      }
    }),
    { numRuns: 120 },
  );
});

Deno.test("the live view says what a copy of the ruleset says", () => {
  const engine = new PolicyEngine(parameters);
  const from = (app: string) => ({ from: [{ podSelector: { matchLabels: { app } } }] });
  const steps: PolicyObject[] = [
    endpoint("n", "a", ["10.0.0.1", "fd00::1"], { labels: { app: "a" } }),
    endpoint("n", "b", ["10.0.0.2"], { node: "node2", labels: { app: "b" } }),
    kubernetesPolicy("n", "p", { podSelector: {}, ingress: [from("b")] }),
    endpoint("n", "c", ["10.0.0.3"], { node: "node2", labels: { app: "b" } }),
    kubernetesPolicy("n", "p", { podSelector: {}, ingress: [from("a"), from("c")] }),
  ];
  for (const put of steps) {
    engine.update([{ put }]);
    for (const family of [4, 6] as const) {
      const copy = engine.ruleset(family), live = engine.live(family);
      assert.deepEqual(new Map(live.chains), copy.chains);
      for (const [name, set] of copy.sets) {
        assert.deepEqual(live.sets.get(name), set);
        assert.equal(live.sets.get(`${name}x`), undefined);
      }
    }
  }
});
