/** What is copied from a Kubernetes API beside the datastore, from any state of the copies to what should be. */
import assert from "node:assert/strict";
import { calicoPolicy } from "./network_policy.ts";
import { type Copies, type DerivedAction, derivedActions, type Originals } from "./derive.ts";

const ALL = { policy: true, namespace: true, serviceAccount: true, workloadEndpoint: true };

/** As the API server completes it. */
const policy = (spec: object = {}, name = "web") => ({
  kind: "NetworkPolicy",
  apiVersion: "networking.k8s.io/v1",
  metadata: { name, namespace: "blue" },
  spec: { podSelector: {}, policyTypes: ["Ingress"], ...spec },
});
const profile = (name: string, labels = {}) => ({
  metadata: { name, uid: "u", creationTimestamp: "2026-01-02T03:04:05Z" },
  spec: {
    ...(name.startsWith("kns.") && {
      ingress: [{ action: "Allow", source: {}, destination: {} }],
      egress: [{ action: "Allow", source: {}, destination: {} }],
    }),
    labelsToApply: labels,
  },
});
const endpoint = (labels: object = {}, spec: object = {}) => ({
  metadata: { name: "n1-k8s-p-eth0", namespace: "blue", labels },
  spec: { orchestrator: "k8s", pod: "p", node: "n1", endpoint: "eth0", ...spec },
});

function world(
  more: Partial<{ profiles: object[]; policies: object[]; pod: object }> = {},
): Originals {
  const map = (objects: object[] = []) =>
    new Map((objects as any[]).map((object) => {
      const { name, namespace } = object.metadata;
      return [namespace ? `${namespace}/${name}` : name, object];
    }));
  return {
    profiles: map(more.profiles),
    policies: map(more.policies),
    pod: (namespace, name) => namespace === "blue" && name === "p" ? more.pod : undefined,
  };
}

const nothing = (): {
  profiles: Map<string, any>;
  policies: Map<string, any>;
  endpoints: Map<string, any>;
} => ({ profiles: new Map(), policies: new Map(), endpoints: new Map() });

/** As the datastore is after the actions. */
function carriedOut(copies: Copies, actions: readonly DerivedAction[]): Copies {
  const after = { ...nothing(), endpoints: new Map(copies.endpoints) };
  for (const [name, value] of copies.profiles) after.profiles.set(name, value);
  for (const [name, value] of copies.policies) after.policies.set(name, value);
  for (const action of actions) {
    if (action.do === "label") {
      for (const [key, value] of after.endpoints) {
        if (value?.metadata.name !== action.name) continue;
        after.endpoints.set(key, {
          ...value,
          metadata: { ...value.metadata, labels: action.labels },
        });
      }
      continue;
    }
    const { namespace, name } = action.do === "put" ? action.object.metadata : action;
    const map = action.kind.kind === "Profile" ? after.profiles : after.policies;
    const id = namespace ? `${namespace}/${name}` : name;
    if (action.do === "put") map.set(id, action.object);
    else map.delete(id);
  }
  return after;
}

Deno.test("what cannot be understood lets nobody in, in the copy too, and is told", () => {
  const original = policy({
    podSelector: { matchLabels: { app: "a" } },
    ingress: [
      { from: [{ podSelector: { matchLabels: { role: 5 } } }] },
      { ports: { port: 80 } },
      { from: [{ ipBlock: { cidr: "10.0.0.0/8" } }] },
    ],
  }) as any;
  const problems: string[] = [];
  const { spec } = calicoPolicy(original, problems);
  assert.deepEqual(spec!.ingress, [
    { action: "Allow", source: { nets: ["10.0.0.0/8"] }, destination: {} },
  ]);
  assert.equal(problems.length, 2);
  assert.match(problems[0], /^spec\.ingress\[0\]\.from\[0\]\.podSelector\.matchLabels\.role: 5/);
  const lost = calicoPolicy(policy({ podSelector: ["app"], ingress: [{}] }) as any, problems);
  assert.equal(lost.spec!.selector, "projectcalico.org/orchestrator == 'k8s'");
  assert.deepEqual([lost.spec!.types, lost.spec!.ingress], [["Ingress"], []]);
});

Deno.test("a policy is written as Calico's controllers write it", () => {
  const { metadata, spec } = calicoPolicy(policy({
    podSelector: {
      matchLabels: { tier: "db", app: "web" },
      matchExpressions: [
        { key: "env", operator: "In", values: ["b", "a"] },
        { key: "old", operator: "DoesNotExist" },
        { key: "new", operator: "Exists" },
        { key: "zone", operator: "NotIn", values: ["x"] },
      ],
    },
    policyTypes: ["Ingress", "Egress"],
    ingress: [{
      from: [
        { podSelector: { matchLabels: { app: "client" } } },
        { namespaceSelector: {} },
        { namespaceSelector: { matchLabels: { team: "x" } }, podSelector: {} },
        { ipBlock: { cidr: "10.1.2.3/8", except: ["10.1.0.0/16"] } },
      ],
      ports: [
        { port: 80 },
        { protocol: "TCP", port: 81 },
        { protocol: "UDP", port: "dns" },
        { protocol: "TCP", port: 9000, endPort: 9010 },
      ],
    }],
    egress: [{}, { to: [{ ipBlock: { cidr: "nonsense" } }] }],
  }) as any);
  assert.deepEqual(metadata, { name: "knp.default.web", namespace: "blue" });
  const k8s = "projectcalico.org/orchestrator == 'k8s'";
  assert.equal(
    spec!.selector,
    `${k8s} && app == 'web' && tier == 'db' && env in { 'a', 'b' } && ! has(old) && has(new)` +
      " && zone not in { 'x' }",
  );
  assert.deepEqual([spec!.order, spec!.tier, spec!.types], [1000, "default", [
    "Ingress",
    "Egress",
  ]]);
  const sources = [
    { selector: `${k8s} && app == 'client'` },
    { selector: k8s, namespaceSelector: "all()" },
    { selector: k8s, namespaceSelector: "team == 'x'" },
    { nets: ["10.0.0.0/8"], notNets: ["10.1.0.0/16"] },
  ];
  const rule = (protocol: string, ports: (string | number)[]) =>
    sources.map((source) => ({ action: "Allow", protocol, source, destination: { ports } }));
  assert.deepEqual(spec!.ingress, [
    ...rule("TCP", ["80:81", "9000:9010"]),
    ...rule("UDP", ["dns"]),
  ]);
  // What cannot be read lets nobody through.
  assert.deepEqual(spec!.egress, [{ action: "Allow", source: {}, destination: {} }]);
});

Deno.test("from any state of the copies to what should be, and then nothing more", () => {
  const pod = { metadata: { labels: { app: "web" } }, spec: { serviceAccountName: "sa" } };
  const originals = world({
    profiles: [profile("kns.blue", { "pcns.a": "b" }), profile("ksa.blue.sa")],
    policies: [policy(), policy({ policyTypes: ["Egress"], egress: [] }, "closed")],
    pod,
  });
  const stale = {
    profiles: new Map<string, any>([
      ["kns.blue", {
        metadata: { name: "kns.blue" },
        spec: { labelsToApply: { "pcns.old": "x" } },
      }],
      ["kns.gone", profile("kns.gone")],
      ["ksa.gone.sa", "half an object"],
    ]),
    policies: new Map<string, any>([["blue/knp.default.gone", calicoPolicy(policy({}, "gone"))]]),
    endpoints: new Map<string, any>([
      ["a", endpoint({ app: "old" })],
      ["b", endpoint({}, { pod: "unknown" })],
      ["c", endpoint({}, { orchestrator: "cni" })],
      ["d", null],
    ]),
  };
  for (const copies of [nothing(), stale]) {
    const { actions, faults } = derivedActions(originals, copies, ALL);
    assert.deepEqual(faults, []);
    const after = carriedOut(copies, actions);
    assert.deepEqual([...after.profiles.keys()].sort(), ["kns.blue", "ksa.blue.sa"]);
    assert.deepEqual([...after.policies.keys()].sort(), [
      "blue/knp.default.closed",
      "blue/knp.default.web",
    ]);
    assert.deepEqual(derivedActions(originals, after, ALL).actions, []);
    const last = actions.findLastIndex((action) => action.do === "put");
    const first = actions.findIndex((action) => action.do === "delete");
    assert(first === -1 || first > last, "nothing is opened before what closes is there");
  }
  const { actions } = derivedActions(originals, stale, ALL);
  assert.deepEqual(actions.filter((action) => action.do === "label"), [{
    do: "label",
    name: "n1-k8s-p-eth0",
    namespace: "blue",
    labels: {
      app: "web",
      "projectcalico.org/namespace": "blue",
      "projectcalico.org/orchestrator": "k8s",
      "projectcalico.org/serviceaccount": "sa",
    },
  }]);
  const none = { policy: false, namespace: false, serviceAccount: false, workloadEndpoint: false };
  assert.deepEqual(derivedActions(originals, stale, none).actions, []);
});

Deno.test("a policy whose rules cannot be copied closes, and is named", () => {
  const from = [{ ipBlock: { cidr: "10.0.0.0/8", except: ["fd00::/64"] } }];
  const { actions, faults } = derivedActions(
    world({ policies: [policy({ ingress: [{ from }] })] }),
    nothing(),
    ALL,
  );
  assert.match(faults.join(), /NetworkPolicy blue\/web is copied without its rules: .*notNets/);
  const [{ object }] = actions as any;
  assert.deepEqual([object.spec.types, object.spec.ingress], [["Ingress"], undefined]);
});
