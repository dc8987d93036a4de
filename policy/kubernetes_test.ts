import assert from "node:assert/strict";
import { formatPrefix } from "../mod/net/mod.ts";
import type { EffectivePolicy, EffectiveRule } from "./effective.ts";
import { kubernetesPolicy, namespaceProfile, serviceAccountProfile } from "./kubernetes.ts";

function read(spec: Record<string, unknown>, metadata = { name: "p", namespace: "ns" }) {
  const policy = kubernetesPolicy({ metadata, spec } as never);
  assert("subject" in policy, JSON.stringify(policy));
  return policy as EffectivePolicy;
}

/** A rule in one line. */
function line(rule: EffectiveRule): string {
  const side = (s: EffectiveRule["source"]) =>
    [
      s.nets?.map(formatPrefix).join(),
      s.notNets && `not ${s.notNets.map(formatPrefix).join()}`,
      s.selector && `${s.selector}`,
      s.ports && `ports ${s.ports.ranges.map((r) => r.join("-")).join()} ${s.ports.names.join()}`,
    ].filter((x) => x).join(" ").trim();
  return `${rule.protocol ?? "any"} from [${side(rule.source)}] to [${side(rule.destination)}]`;
}

const ns = 'projectcalico.org/namespace == "ns"';
const k8s = 'projectcalico.org/orchestrator == "k8s"';

Deno.test("subject: pods of Kubernetes in the policy's namespace", () => {
  assert.equal(`${read({ podSelector: {} }).subject}`, `(${k8s} && ${ns})`);
  assert.equal(
    `${
      read({
        podSelector: {
          matchLabels: { b: "2", a: "1" },
          matchExpressions: [
            { key: "k", operator: "In", values: ["z", "y"] },
            { key: "k", operator: "NotIn", values: ["x"] },
            { key: "e", operator: "Exists" },
            { key: "n", operator: "DoesNotExist" },
          ],
        },
      }).subject
    }`,
    `((${k8s} && a == "1" && b == "2" && k in {"y", "z"} && k not in {"x"} && has(e) && !has(n)) && ${ns})`,
  );
  const policy = read({ podSelector: {} });
  assert.deepEqual(policy.id, {
    kind: "KubernetesNetworkPolicy",
    namespace: "ns",
    name: "p",
    tier: "default",
  });
  assert.equal(policy.order, 1000);
});

Deno.test("types: as given, else Ingress, and Egress where there are egress rules", () => {
  const types = (spec: Record<string, unknown>) =>
    Object.keys(read({ podSelector: {}, ...spec }).rules).sort();
  assert.deepEqual(types({}), ["ingress"]);
  assert.deepEqual(types({ egress: [] }), ["ingress"]);
  assert.deepEqual(types({ egress: [{}] }), ["egress", "ingress"]);
  assert.deepEqual(types({ policyTypes: ["Egress"] }), ["egress"]);
  assert.deepEqual(types({ policyTypes: ["Ingress"], egress: [{}] }), ["ingress"]);
});

Deno.test("peers: own namespace, selected namespaces, both, blocks", () => {
  const rules = read({
    podSelector: {},
    ingress: [{
      from: [
        { podSelector: { matchLabels: { a: "1" } } },
        { namespaceSelector: {} },
        { namespaceSelector: { matchLabels: { team: "x" } }, podSelector: {} },
        { ipBlock: { cidr: "10.1.2.3/8", except: ["10.1.0.0/16", "10.2.0.1/16"] } },
        { ipBlock: { cidr: "fd00::/64" } },
      ],
    }],
  }).rules.ingress!;
  assert.deepEqual(rules.map(line), [
    `any from [(${ns} && (${k8s} && a == "1"))] to []`,
    `any from [(has(projectcalico.org/namespace) && ${k8s})] to []`,
    `any from [(pcns.team == "x" && ${k8s})] to []`,
    "any from [10.0.0.0/8 not 10.1.0.0/16,10.2.0.0/16] to []",
    "any from [fd00::/64] to []",
  ]);
  assert.deepEqual(rules.map((r) => r.index), [0, 0, 0, 0, 0]);
});

Deno.test("ports: one rule a protocol, merged; a protocol alone takes all its ports", () => {
  const ports = (list: unknown[]) =>
    read({ podSelector: {}, egress: [{ ports: list }], policyTypes: ["Egress"] }).rules.egress!
      .map(line);
  assert.deepEqual(
    ports([
      { port: 81 },
      { port: 80 },
      { port: 90, endPort: 95 },
      { port: "http" },
      { port: 94, endPort: 99, protocol: "TCP" },
      { port: 53, protocol: "UDP" },
      { protocol: "SCTP" },
    ]),
    [
      "132 from [] to []",
      "6 from [] to [ports 80-81,90-99 http]",
      "17 from [] to [ports 53-53 ]".replace(" ]", "]"),
    ],
  );
  assert.deepEqual(ports([{ port: 80 }, {}]), ["6 from [] to []"]);
  assert.deepEqual(ports([{}, { port: 80 }]), ["6 from [] to []"]);
  assert.deepEqual(ports([]), ["any from [] to []"]);
});

Deno.test("no rules allow nothing, an empty rule allows everything", () => {
  assert.deepEqual(read({ podSelector: {}, ingress: [] }).rules.ingress, []);
  assert.deepEqual(read({ podSelector: {}, ingress: [{}] }).rules.ingress!.map(line), [
    "any from [] to []",
  ]);
  assert.deepEqual(
    read({ podSelector: {}, ingress: [{ from: [], ports: null }] }).rules.ingress!.map(line),
    ["any from [] to []"],
  );
});

Deno.test("what cannot be read allows less, and is told", () => {
  const policy = read({
    podSelector: {},
    ingress: [
      { ports: [{ port: "http", endPort: 90 }] },
      { from: [{ ipBlock: { cidr: "10.0.0.0/33" } }, { podSelector: {} }] },
      { from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["x"] } }] },
      { ports: [{ protocol: "XTP" }] },
      { ports: [{ port: 90, endPort: 80 }] },
    ],
  });
  assert.deepEqual(policy.rules.ingress!.map(line), [`any from [(${ns} && ${k8s})] to []`]);
  assert.deepEqual(policy.problems, [
    'spec.ingress[0].ports[0].endPort: 90 and port "http" are not two numbers; the rule allows nothing',
    'spec.ingress[1].from[0].ipBlock.cidr: "10.0.0.0/33" is not a CIDR; the peer allows nothing',
    'spec.ingress[2].from[0].ipBlock.except[0]: "x" is not a CIDR; the peer allows nothing',
    'spec.ingress[3].ports[0].protocol: "XTP" is none of TCP, UDP and SCTP; the rule allows nothing',
    "spec.ingress[4].ports[0].endPort: 80 is no port from 90 on; the rule allows nothing",
  ]);
  assert.deepEqual(read({ podSelector: null, ingress: null, policyTypes: null }).rules, {
    ingress: [],
  });
});

Deno.test("a subject that cannot be read is every pod of the namespace, and nobody gets in", () => {
  const subjects: [unknown, RegExp][] = [
    [[], /podSelector: \[\] is not an object/],
    ["role", /podSelector: "role" is not an object/],
    [{ matchLabels: { app: 5 } }, /podSelector\.matchLabels\.app: 5 is not a label value/],
    [{ matchLabels: ["app"] }, /podSelector\.matchLabels: \["app"\] is not an object/],
    [{ matchlabels: { app: "a" } }, /matchlabels: unknown field \(did you mean matchLabels\?\)/],
    [{ matchExpressions: {} }, /matchExpressions: \{\} is not a list/],
    [{ matchExpressions: [{ key: "a", operator: "Gt" }] }, /\[0\]\.operator: "Gt" is none of/],
    [{ matchExpressions: [{ key: "a", operator: "NotIn" }] }, /values: is empty: NotIn needs/],
    [{ matchExpressions: [{ key: "a", operator: "Exists", values: ["b"] }] }, /stands beside/],
    // A name that would read as another selector in the text that names sets.
    [{ matchLabels: { 'a == "b" || c': "d" } }, /is not a label name/],
    [{ matchLabels: { a: "'\"" } }, /is not a label value/],
  ];
  for (const [podSelector, told] of subjects) {
    const policy = read({ podSelector, policyTypes: ["Ingress", "Egress"], ingress: [{}] });
    assert.equal(`${policy.subject}`, `(${k8s} && ${ns})`);
    assert.deepEqual(policy.rules, { ingress: [], egress: [] }, JSON.stringify(podSelector));
    assert.match(policy.problems.join(), told);
    assert.match(policy.problems[0], /^spec\.podSelector.*it selects every pod of its namespace/);
  }
  for (const spec of [5, [], "x"]) {
    const policy = kubernetesPolicy({ metadata: { name: "p", namespace: "ns" }, spec } as never);
    assert.deepEqual(policy.rules, { ingress: [], egress: [] });
    assert.match(policy.problems[0], /^spec: .* is not an object; it selects every pod/);
  }
  const other = read({ podselector: { matchLabels: { app: "a" } }, ingress: [{}] } as never);
  assert.deepEqual(other.rules, { ingress: [] });
  assert.match(other.problems[0], /^spec\.podselector: unknown field \(did you mean podSelector/);
});

Deno.test("lists, rules, peers and ports that are none let nobody in", () => {
  const nobody = (spec: Record<string, unknown>, told: RegExp) => {
    const policy = read({ podSelector: {}, policyTypes: ["Ingress"], ...spec });
    assert.deepEqual(policy.rules, { ingress: [] }, JSON.stringify(spec));
    assert.match(policy.problems.join(), told);
  };
  const rule = (one: unknown, told: RegExp) => nobody({ ingress: [one] }, told);
  const peer = (one: unknown, told: RegExp) => rule({ from: [one] }, told);
  nobody({ ingress: {} }, /^spec\.ingress: \{\} is not a list; it allows nothing$/);
  nobody({ Ingress: [{}] }, /^spec\.Ingress: unknown field \(did you mean ingress\?\)/);
  rule(null, /^spec\.ingress\[0\]: null is no rule/);
  rule([], /\[\] is not an object/);
  rule({ from: { podSelector: {} } }, /spec\.ingress\[0\]\.from: .* is not a list/);
  rule({ From: [{ podSelector: {} }] }, /From: unknown field \(did you mean from\?\)/);
  rule({ to: [{ podSelector: {} }] }, /\.to: unknown field/);
  rule({ ports: { port: 80 } }, /ports: \{"port":80\} is not a list/);
  rule({ ports: [null] }, /ports\[0\]: null is no port/);
  rule({ ports: [{ Port: 80 }] }, /Port: unknown field \(did you mean port\?\)/);
  for (const port of ["8080", "80:90", 0, 70000, 1.5, true, ""]) {
    rule({ ports: [{ port }] }, /ports\[0\]\.port: .* is neither a port nor the name of one/);
  }
  for (const endPort of ["90", 79, 1.5, true, 70000]) {
    rule({ ports: [{ port: 80, endPort }] }, /ports\[0\]\.endPort/);
  }
  rule({ ports: [{ endPort: 80 }] }, /endPort: stands without port/);
  for (const protocol of ["tcp", 6, "ICMP", ""]) {
    rule({ ports: [{ protocol, port: 80 }] }, /ports\[0\]\.protocol/);
  }
  peer({}, /from\[0\]: names neither podSelector nor namespaceSelector nor ipBlock/);
  peer(null, /from\[0\]: names neither/);
  peer("x", /from\[0\]: "x" is not an object/);
  peer({ podselector: {} }, /podselector: unknown field \(did you mean podSelector\?\)/);
  peer({ podSelector: {}, zone: "x" }, /from\[0\]\.zone: unknown field/);
  peer({ podSelector: ["role"] }, /podSelector: \["role"\] is not an object/);
  peer({ podSelector: { matchLabels: { role: 5 } } }, /matchLabels\.role: 5 is not a label value/);
  peer({ namespaceSelector: 0 }, /namespaceSelector: 0 is not an object/);
  peer({ ipBlock: {} }, /ipBlock\.cidr: undefined is not a CIDR/);
  peer({ ipBlock: { cidr: "10.0.0.0/8", except: "10.1.0.0/16" } }, /except: .* is not a list/);
  peer({ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }, /ipBlock: stands beside a selector/);
});

Deno.test("policyTypes that cannot be read are both, and nobody gets in", () => {
  for (const policyTypes of ["Ingress", ["ingress"], [null], ["Ingress", "Sideways"], {}]) {
    const policy = read({ podSelector: {}, policyTypes, ingress: [{}] });
    assert.deepEqual(policy.rules, { ingress: [], egress: [] });
    assert.match(policy.problems.join(), /^spec\.policyTypes.*allows nothing in either direction$/);
  }
  // Beside the rules, what is not known is a newer API server's.
  const newer = read({ podSelector: {}, ingress: [{}], colour: "red" });
  assert.deepEqual(newer.rules.ingress!.map(line), ["any from [] to []"]);
  assert.deepEqual(newer.problems, ["spec.colour: unknown field; it is passed over"]);
});

Deno.test("profiles of namespaces and accounts hand their labels down", () => {
  const profile = namespaceProfile("n", { metadata: { labels: { team: "x" } } });
  assert.deepEqual(Object.fromEntries(profile.labels), {
    "pcns.kubernetes.io/metadata.name": "n",
    "pcns.team": "x",
    "pcns.projectcalico.org/name": "n",
  });
  assert.equal(profile.rules.ingress![0].action, "allow");
  const given = namespaceProfile("n", {
    metadata: { labels: { "kubernetes.io/metadata.name": "other" } },
  });
  assert.equal(Object.fromEntries(given.labels)["pcns.kubernetes.io/metadata.name"], "n");
  const account = serviceAccountProfile("n", "s", { metadata: { labels: { a: "b" } } });
  assert.equal(account.name, "ksa.n.s");
  assert.deepEqual(Object.fromEntries(account.labels), {
    "pcsa.a": "b",
    "pcsa.projectcalico.org/name": "s",
  });
  assert.deepEqual(account.rules, { ingress: [], egress: [] });
});
