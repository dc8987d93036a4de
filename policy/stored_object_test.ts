/**
 * Stored sets, tiers and labels that are written otherwise than they should be: what is read of them
 * is what a file with the same meaning gives, and whatever is not understood is named.
 */
import assert from "node:assert/strict";
import { policyChange } from "../mod/node/policy_change.ts";
import { PolicyEngine } from "./engine.ts";
import { PolicyView } from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import {
  account,
  calico,
  calicoPolicy,
  comparable,
  endpoint,
  kubernetesPolicy,
  namespace,
  pod,
} from "./testing.ts";

const CALICO = "/calico/resources/v3/projectcalico.org/";
const KUBERNETES = "/tortie/kubernetes/";
const A = "10.0.0.1", B = "10.0.0.2";
const base = [
  endpoint("x", "a", [A]),
  endpoint("y", "b", [B]),
  pod("x", "a", { role: "client" }),
  pod("y", "b", { app: "b" }),
  namespace("x", { env: "prod" }),
  namespace("y"),
];

/** Whether a reaches b when these are in the datastore, and what is told. */
function judge(objects: readonly PolicyObject[], stored: Record<string, unknown>) {
  const engine = new PolicyEngine();
  engine.update([...base, ...objects].map((put) => ({ put })));
  engine.update(Object.entries(stored).map(([key, value]) => policyChange(key, value)!));
  const view = new PolicyView(engine);
  const from = { endpoint: "x/a" }, to = { endpoint: "y/b" };
  const answer = view.explain({ from, to, protocol: "TCP", port: 80 });
  const told = engine.problems().map(({ object, message }) => `${object}: ${message}`);
  // What concerns one of them is told to whoever asks about it.
  assert.deepEqual(answer.notes.filter((note) => told.includes(note)), told);
  return { allowed: answer.allowed, told };
}

function check(
  objects: readonly PolicyObject[],
  stored: Record<string, unknown>,
  allowed: boolean,
  ...told: RegExp[]
): void {
  const found = judge(objects, stored);
  const what = `${JSON.stringify(stored)}: ${found.told.join("; ")}`;
  assert.equal(found.allowed, allowed, what);
  assert.equal(found.told.length, told.length, what);
  told.forEach((pattern, i) => assert.match(found.told[i], pattern));
}

const denySet = calicoPolicy("", "d", {
  order: 1,
  selector: "app == 'b'",
  types: ["Ingress"],
  ingress: [{ action: "Deny", source: { selector: "s == '1'" } }, { action: "Allow" }],
});
const gs = (rest: unknown) => ({
  [`${CALICO}globalnetworksets/gs`]: {
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkSet",
    metadata: { name: "gs", labels: { s: "1" } },
    ...rest as object,
  },
});

Deno.test("a stored set is read in any case, and what leaves no doubt is read", () => {
  const nets = [`${A}/32`];
  const identity = { apiVersion: "projectcalico.org/v3", kind: "GlobalNetworkSet" };
  check([denySet], gs({ spec: { nets } }), false);
  check([denySet], gs({ spec: { Nets: nets } }), false);
  check([denySet], gs({ spec: undefined, Spec: { nets } }), false);
  const metadata = { name: "gs", Labels: { s: "1" } };
  check([denySet], gs({ metadata, spec: { nets } }), false);
  check([denySet], {
    [`${CALICO}globalnetworksets/gs`]: { ...identity, Metadata: metadata, SPEC: { NETS: nets } },
  }, false);
  check([denySet], gs({ spec: { nets: nets[0] } }), false, /^GlobalNetworkSet gs: spec\.nets: /);
  const spaced = gs({ spec: { nets: [`${A}/32 `] } });
  check([denySet], spaced, false, /^GlobalNetworkSet gs: spec\.nets\[0\]: .*spaces/);
  const labelled = gs({ metadata: { name: "gs", labels: { s: 1 } }, spec: { nets } });
  check([denySet], labelled, false, /^GlobalNetworkSet gs: metadata\.labels\.s: 1 is not a text/);
});

Deno.test("what cannot be understood of a stored set is named", () => {
  const nets = [`${A}/32`];
  const told = (rest: unknown, ...patterns: RegExp[]) =>
    check([denySet], gs(rest), true, ...patterns);
  told({ spec: { nets: { 0: nets[0] } } }, /^GlobalNetworkSet gs: spec\.nets: .*is not a list/);
  told({ spec: { nets: "x" } }, /spec\.nets: "x" is not a list; the set is empty/);
  told({ spec: { nets: ["x", null, 5] } }, /nets\[0\]: "x"/, /nets\[1\]: null/, /nets\[2\]: 5/);
  told({ spec: "lost" }, /spec: "lost" is not an object/);
  told({ spec: { netz: nets } }, /spec\.netz: unknown field \(did you mean nets\?\)/);
  told({ spec: { nets: [] }, Spec: { nets } }, /gs: Spec: unknown field \(did you mean spec\?\)/);
  told({ spec: { nets: [], Nets: nets } }, /spec\.Nets: unknown field \(did you mean nets\?\)/);
  const labels = (value: unknown) => ({ metadata: { name: "gs", labels: value }, spec: { nets } });
  told(labels(["s"]), /^GlobalNetworkSet gs: metadata\.labels: .*is not an object/);
  told(labels({ s: ["1"] }), /metadata\.labels\.s: .*is not a text; it equals no value/);
  // One that is misread leaves the others.
  check([denySet], gs({ spec: { nets: ["x", nets[0]] } }), false, /nets\[0\]: "x" is no net/);
  // The label is there.
  const without = calicoPolicy("", "d", {
    selector: "app == 'b'",
    ingress: [{ action: "Allow", source: { selector: "set == 'yes' && !has(s)" } }],
  });
  const set = (s: unknown) => gs(labels({ set: "yes", ...s as object }));
  check([without], set({}), true);
  for (const s of [5, true, null, ["1"], {}, 1.5]) {
    check([without], set({ s }), false, /labels\.s: /);
  }
  // A NetworkSet is named with its namespace, to all: any policy may mean it.
  const own = { metadata: { namespace: "z", name: "n" }, spec: { nets: 7 } };
  check([], { [`${CALICO}networksets/z/n`]: own }, true, /^NetworkSet z\/n: spec\.nets: 7 /);
});

Deno.test("the order of a stored tier", () => {
  const policy = (tier: string, action: string) =>
    calicoPolicy("", `${tier}.p`, {
      tier,
      selector: "app == 'b'",
      types: ["Ingress"],
      ingress: [{ action }],
    });
  const objects = [
    calico("Tier", "t2", { order: 2 }),
    policy("t1", "Deny"),
    policy("t2", "Allow"),
  ];
  const tier = (rest: unknown) => ({
    [`${CALICO}tiers/t1`]: {
      apiVersion: "projectcalico.org/v3",
      kind: "Tier",
      metadata: { name: "t1" },
      ...rest as object,
    },
  });
  check(objects, tier({ spec: { order: 1 } }), false);
  check(objects, tier({ spec: { order: 3 } }), true);
  check(objects, tier({ spec: { Order: 1 } }), false);
  check(objects, tier({ Spec: { order: 1 } }), false);
  check(objects, tier({ spec: { order: "1" } }), false, /^Tier t1: spec\.order: "1" is a text/);
  check(objects, tier({ spec: { order: "first" } }), true, /^Tier t1: spec\.order: .*is no number/);
  check(objects, tier({ spec: { order: [1] } }), true, /^Tier t1: spec\.order: .*is no number/);
  check(objects, tier({ spec: { order: 3, ordr: 1 } }), true, /spec\.ordr: unknown field/);
  check(
    objects,
    tier({ spec: { order: 1, defaultAction: "pass" } }),
    false,
    /spec\.defaultAction: /,
  );
  check(objects, tier({ spec: 5 }), true, /^Tier t1: spec: 5 is not an object/);
});

Deno.test("a stored policy or profile with its fields in another case", () => {
  const deny = { selector: "app == 'b'", types: ["Ingress"], ingress: [{ action: "Deny" }] };
  const key = `${CALICO}globalnetworkpolicies/t1.d`;
  const identity = { apiVersion: "projectcalico.org/v3", kind: "GlobalNetworkPolicy" };
  const t1 = calico("Tier", "t1", { order: 1 });
  const metadata = { name: "t1.d" };
  check([t1], { [key]: { ...identity, metadata, Spec: { tier: "t1", ...deny } } }, false);
  check([t1], { [key]: { ...identity, Metadata: metadata, spec: { Tier: "t1", ...deny } } }, false);
  const twice = { ...identity, metadata, spec: { tier: "t1" }, Spec: deny };
  check([t1], { [key]: twice }, false, /^GlobalNetworkPolicy t1\.d: Spec: unknown field/);
  // Of the engine itself, too, whoever feeds it.
  const engine = new PolicyEngine();
  engine.update([{ put: { ...identity, Metadata: metadata, Spec: { order: "x" } } as never }]);
  assert.match(engine.problems()[0].message, /spec\.order/);
  const profile = `${CALICO}profiles/p`;
  const of = { apiVersion: "projectcalico.org/v3", kind: "Profile", metadata: { name: "p" } };
  const client = { ...endpoint("x", "a", [A], { profiles: ["p"] }) };
  const rules = { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] };
  check([client], { [profile]: { ...of, Spec: rules } }, true);
  check([client], { [profile]: { ...of, spec: rules } }, true);
  const labelled = { ...of, spec: { ...rules, labelsToApply: { s: [] } } };
  check([client], { [profile]: labelled }, false, /^Profile p: spec\.labelsToApply\.s: /);
});

Deno.test("endpoints, pools and nodes with their fields in another case", () => {
  const whole = new PolicyEngine(), odd = new PolicyEngine();
  const capitals = (value: any): any =>
    Array.isArray(value)
      ? value.map(capitals)
      : value === null || typeof value !== "object"
      ? value
      : Object.fromEntries(
        Object.entries(value).map(([k, v]) => [k[0].toUpperCase() + k.slice(1), capitals(v)]),
      );
  const a: any = endpoint("x", "a", [A], {
    floating: "192.0.2.9",
    qos: { ingressBandwidth: 1e6 },
    spoofing: ["10.9.0.0/24"],
  });
  a.spec.ports = [{ name: "http", protocol: "TCP", port: 80 }];
  const stored: [string, any][] = [
    [`workloadendpoints/x/${a.metadata.name}`, a],
    [
      "ippools/p",
      calico("IPPool", "p", { cidr: "10.0.0.0/16", natOutgoing: true, vxlanMode: "Always" }),
    ],
    [
      "nodes/n",
      calico("Node", "n", {
        bgp: { ipv4Address: "192.0.2.1/24" },
        addresses: [{ address: "192.0.2.2", type: "InternalIP" }],
        ipv4VXLANTunnelAddr: "10.0.9.1",
      }),
    ],
  ];
  for (const [at, object] of stored) {
    const { Metadata, Spec } = capitals({ metadata: object.metadata, spec: object.spec });
    whole.update([policyChange(CALICO + at, object)!]);
    odd.update([policyChange(CALICO + at, { ...object, metadata: undefined, spec: undefined })!]);
    odd.update([policyChange(CALICO + at, { Metadata, Spec })!]);
  }
  assert.equal(whole.nodeOf("192.0.2.2"), "n");
  assert.equal(odd.nodeOf("192.0.2.2"), "n");
  assert.deepEqual([...odd.endpoints()], [...whole.endpoints()]);
  assert.deepEqual(comparable(odd.ruleset(4)), comparable(whole.ruleset(4)));
  assert.deepEqual(odd.problems(), []);
});

Deno.test("a label that is no text is not absent, and what bears it closes", () => {
  const peer = (from: unknown) =>
    kubernetesPolicy("y", "np", { podSelector: {}, ingress: [{ from: [from] }] } as never);
  const without = (key: string) => ({ matchExpressions: [{ key, operator: "DoesNotExist" }] });
  const object = (kind: string, name: string, metadata: unknown, within?: string) => ({
    [`${KUBERNETES}${kind}s/${within === undefined ? name : `${within}/${name}`}`]: {
      apiVersion: "v1",
      kind: { namespace: "Namespace", pod: "Pod", serviceaccount: "ServiceAccount" }[kind],
      metadata: { name, namespace: within, ...metadata as object },
    },
  });
  const ns = (labels: unknown) => object("namespace", "x", { labels });
  const byNamespace = [peer({ namespaceSelector: without("env") })];
  check(byNamespace, ns({}), true);
  check(byNamespace, ns({ env: 5 }), false, /^Namespace x: metadata\.labels\.env: 5 is not a text/);
  check(byNamespace, ns({ env: null }), false, /^Namespace x: metadata\.labels\.env: null/);
  check(byNamespace, ns({ env: ["a"] }), false, /^Namespace x: metadata\.labels\.env: /);
  check(byNamespace, ns(["env"]), false, /^Namespace x: metadata\.labels: .*is not an object/);
  check(byNamespace, ns("env"), false, /^Namespace x: metadata\.labels: "env" is not an object/);
  const lost = /^Namespace x: metadata\.labels: "lost" is not an object/;
  check(byNamespace, { [`${KUBERNETES}namespaces/x`]: "lost" }, false, lost);
  check(byNamespace, { [`${KUBERNETES}namespaces/x`]: { metadata: "lost" } }, false, lost);
  const misnamed = object("namespace", "x", { Labels: { env: "a" } });
  check(byNamespace, misnamed, false, /^Namespace x: metadata\.Labels: unknown field/);

  const client = (labels: unknown) => object("pod", "a", { labels }, "x");
  const byPod = [peer({ namespaceSelector: {}, podSelector: without("app") })];
  check(byPod, client({}), true);
  check(byPod, client({ app: 5 }), false, /^Pod x\/a: metadata\.labels\.app: 5 is not a text/);
  check(byPod, client({ app: { a: "b" } }), false, /^Pod x\/a: metadata\.labels\.app: /);
  check(byPod, client(["app"]), false, /^Pod x\/a: metadata\.labels: /);

  const lostPod = { [`${KUBERNETES}pods/x/a`]: { metadata: 5 } };
  check(byPod, lostPod, false, /^Pod x\/a: metadata\.labels: 5 is not an object/);

  // A server that a policy would have selected.
  const server = (labels: unknown) => object("pod", "b", { labels }, "y");
  const one = kubernetesPolicy("y", "np", { podSelector: { matchLabels: { app: "b" } } });
  check([one], server({ app: "c" }), true);
  check([one], server({ app: ["b"] }), false, /^Pod y\/b: metadata\.labels\.app: /);
  check([one], server(["app"]), false, /^Pod y\/b: metadata\.labels: /);
  const five = kubernetesPolicy("y", "np", { podSelector: { matchLabels: { app: "5" } } });
  check([five], server({ app: 5 }), false, /read as "5"/);
  // What a policy allows it has.
  const all = kubernetesPolicy("y", "all", { podSelector: {}, ingress: [{}] });
  check([one, all], server({ app: ["b"] }), true, /^Pod y\/b: metadata\.labels\.app: /);

  // An account's labels are inherited as a namespace's are.
  const sa = (labels: unknown) => object("serviceaccount", "default", { labels }, "y");
  check([account("y", "default")], sa({ role: "a" }), true);
  check([], sa({ role: ["a"] }), false, /^ServiceAccount y\/default: metadata\.labels\.role: /);
});

Deno.test("what is mended is forgotten", () => {
  const engine = new PolicyEngine();
  const key = `${KUBERNETES}pods/x/a`;
  const put = (labels: unknown) =>
    policyChange(key, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace: "x", name: "a", labels },
    })!;
  engine.update(base.map((object) => ({ put: object })));
  engine.update([put(["x"])]);
  assert.equal(engine.problems().length, 1);
  assert.deepEqual(engine.endpoint("x/n-k8s-a-eth0")!.profiles[0], "unknown labels");
  engine.update([put({ x: "y" })]);
  assert.deepEqual(engine.problems(), []);
  assert.deepEqual(engine.endpoint("x/n-k8s-a-eth0")!.profiles, ["kns.x", "ksa.x.default"]);
});
