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
  assert.deepEqual(ports([{ port: "8080" }]), ["6 from [] to [ports 8080-8080]"]);
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
  assert.equal(policy.problems.length, 5);
  assert.match(policy.problems[0], /ingress rule 1 is left out: port .*http.* is not a number/);
  assert.match(policy.problems[1], /a peer of ingress rule 2 is left out: ipBlock "10.0.0.0\/33"/);
  const lost = kubernetesPolicy({
    metadata: { name: "p", namespace: "ns" },
    spec: { podSelector: { matchExpressions: [{ key: "a", operator: "Gt" }] } },
  });
  assert("problem" in lost && /applies to nothing.*"Gt"/.test(lost.problem!));
  // A name that would read as another selector in the text that names sets.
  for (const [key, value] of [['a == "b" || c', "d"], ["a", "'\""]]) {
    const forged = kubernetesPolicy({
      metadata: { name: "p", namespace: "ns" },
      spec: { podSelector: { matchLabels: { [key]: value } } },
    });
    assert("problem" in forged && /is not a label/.test(forged.problem!), key);
  }
  // Nulls and nonsense where lists belong are nothing.
  assert.deepEqual(read({ podSelector: null, ingress: null, policyTypes: null }).rules, {
    ingress: [],
  });
  assert.deepEqual(read({ podSelector: { matchLabels: null }, ingress: "x" }).rules.ingress, []);
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
