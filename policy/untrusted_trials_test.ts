/**
 * Stored objects are untrusted: other versions, other hands. Whatever stands in them, the engine takes
 * it without an exception, keeps its rulesets whole, and forgets it again.
 */
import fc from "fast-check";
import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import { PolicyView } from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import { calicoPolicy, checkRuleset, comparable, endpoint, kubernetesPolicy } from "./testing.ts";

const junk = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  fc.constantFrom<unknown>(
    "all()",
    "a ==",
    "10.0.0.0/8",
    "fd00::/64",
    "TCP",
    "80",
    "5:1",
    -1,
    1e9,
    0.5,
    [],
    {},
    null,
    ["a", 5, null],
    [[]],
    [{}],
    { names: 5, selector: [] },
    { name: {} },
    { matchLabels: 5 },
    { matchExpressions: [{ key: 5, operator: "In", values: "x" }] },
    { cidr: 7, except: "x" },
    { type: "8" },
    "constructor",
    { __proto__: null, toString: "x" },
  ),
);
const fields: Record<string, string[]> = {
  rule: [
    "action",
    "protocol",
    "notProtocol",
    "ipVersion",
    "icmp",
    "notICMP",
    "source",
    "destination",
    "http",
    "from",
    "to",
    "ports",
  ],
  entity: [
    "nets",
    "notNets",
    "selector",
    "notSelector",
    "namespaceSelector",
    "ports",
    "notPorts",
    "serviceAccounts",
    "services",
    "podSelector",
    "ipBlock",
    "port",
    "endPort",
    "protocol",
  ],
};
const of = (names: string[], value: fc.Arbitrary<unknown>) =>
  fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 5, noNullPrototype: true });
const entity = of(fields.entity, junk);
const rule = of(
  fields.rule,
  fc.oneof(junk, entity, fc.array(entity, { maxLength: 2 }), fc.constantFrom("Allow", "Deny")),
);
const spec = of(
  [
    ...["selector", "namespaceSelector", "serviceAccountSelector", "types", "order", "tier"],
    ...["ingress", "egress", "podSelector", "policyTypes", "doNotTrack", "labelsToApply", "nets"],
    ...["cidr", "natOutgoing", "vxlanMode", "allowedUses", "bgp", "addresses", "defaultAction"],
    ...["ipv4VXLANTunnelAddr", "node", "pod", "orchestrator", "interfaceName", "ipNetworks"],
    ...["profiles", "ports", "allowSpoofedSourcePrefixes", "serviceAccountName", "containers"],
    ...["initContainers"],
  ],
  fc.oneof(junk, fc.array(fc.oneof(junk, rule), { maxLength: 3 }), entity),
);
const kinds = fc.constantFrom<[string, string]>(
  ["projectcalico.org/v3", "WorkloadEndpoint"],
  ["projectcalico.org/v3", "Profile"],
  ["projectcalico.org/v3", "NetworkPolicy"],
  ["projectcalico.org/v3", "GlobalNetworkPolicy"],
  ["projectcalico.org/v3", "Tier"],
  ["projectcalico.org/v3", "NetworkSet"],
  ["projectcalico.org/v3", "GlobalNetworkSet"],
  ["projectcalico.org/v3", "IPPool"],
  ["projectcalico.org/v3", "Node"],
  ["v1", "Namespace"],
  ["v1", "Pod"],
  ["v1", "ServiceAccount"],
  ["networking.k8s.io/v1", "NetworkPolicy"],
  ["discovery.k8s.io/v1", "EndpointSlice"],
);
const object = fc.record({
  kind: kinds,
  name: fc.constantFrom("a", "b", "kns.x", "ksa.x.default"),
  labels: junk,
  spec: fc.oneof(junk, spec, spec, spec),
  endpoints: junk,
  ports: junk,
}).map(({ kind: [apiVersion, kind], name, labels, ...rest }) =>
  ({ apiVersion, kind, metadata: { namespace: "x", name, labels }, ...rest }) as PolicyObject
);

Deno.test("no object breaks the engine, and none leaves a trace", () => {
  // What is whole stands beside what is not.
  const sound = [
    endpoint("x", "p", ["10.0.0.1", "fd00::1"]),
    endpoint("x", "q", ["10.0.0.2", "fd00::2"]),
    kubernetesPolicy("x", "sound", { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
    calicoPolicy("", "sound", { order: 2000, egress: [{ action: "Allow" }] }),
  ];
  fc.assert(
    fc.property(fc.array(object, { maxLength: 8 }), (objects) => {
      const engine = new PolicyEngine({ nodeName: "node1" });
      engine.update(sound.map((put) => ({ put })));
      const before = [engine.ruleset(4), engine.ruleset(6)].map(comparable);
      for (const put of objects) {
        engine.update([{ put }]);
        for (const family of [4, 6] as const) checkRuleset(engine.ruleset(family), true);
      }
      const view = new PolicyView(engine);
      for (const family of [4, 6] as const) {
        view.explain({
          from: { endpoint: "x/p" },
          to: { endpoint: "x/q" },
          protocol: "TCP",
          port: 81,
          family,
        });
      }
      for (const { apiVersion, kind, metadata } of objects) {
        engine.update([{
          remove: { apiVersion, kind: kind!, namespace: "x", name: metadata!.name! },
        }]);
      }
      assert.deepEqual([engine.ruleset(4), engine.ruleset(6)].map(comparable), before);
      assert.deepEqual(engine.problems(), []);
    }),
    { numRuns: Number(Deno.env.get("POLICY_RUNS") ?? 150) },
  );
});
