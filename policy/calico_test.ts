import assert from "node:assert/strict";
import { calicoPolicy, calicoProfile } from "./calico.ts";
import type { EffectivePolicy } from "./effective.ts";
import { calicoPolicy as policyObject } from "./testing.ts";

function read(namespace: string, spec: Record<string, unknown>): EffectivePolicy {
  const kind = namespace === "" ? "GlobalNetworkPolicy" : "NetworkPolicy";
  const policy = calicoPolicy(policyObject(namespace, "p", spec), kind);
  assert("subject" in policy, JSON.stringify(policy));
  return policy;
}
const subject = (namespace: string, spec: Record<string, unknown>) =>
  `${read(namespace, spec).subject}`;
const rule = (namespace: string, r: Record<string, unknown>) =>
  read(namespace, { ingress: [{ action: "Allow", ...r }] }).rules.ingress![0];
const source = (namespace: string, entity: Record<string, unknown>) => {
  const { selector } = rule(namespace, { source: entity }).source;
  return selector && `${selector}`;
};

Deno.test("subjects are put together as Calico does", () => {
  const ns = 'projectcalico.org/namespace == "n"';
  assert.equal(subject("n", {}), ns);
  assert.equal(subject("n", { selector: "a == 'b' || has(c)" }), `((a == "b" || has(c)) && ${ns})`);
  // null says nothing, to Calico's reader as well.
  assert.equal(subject("n", { selector: null, Selector: "a == 'b'" }), `(a == "b" && ${ns})`);
  assert.equal(
    subject("n", { selector: "all()", serviceAccountSelector: "role == 'x'" }),
    `((all() && ${ns}) && pcsa.role == "x")`,
  );
  assert.equal(subject("", {}), "all()");
  assert.equal(
    subject("", { selector: "a == 'b'", namespaceSelector: "all()" }),
    '(a == "b" && has(projectcalico.org/namespace))',
  );
  assert.equal(subject("", { namespaceSelector: "x in {'y'}" }), 'pcns.x in {"y"}');
  assert.equal(subject("", { namespaceSelector: "global()" }), "!has(projectcalico.org/namespace)");
  assert.equal(
    subject("", { serviceAccountSelector: "all()" }),
    "has(projectcalico.org/serviceaccount)",
  );
});

Deno.test("sides of rules are limited to the namespace as soon as they look at endpoints", () => {
  const ns = 'projectcalico.org/namespace == "n"';
  assert.equal(source("n", {}), undefined);
  assert.equal(source("n", { nets: ["10.0.0.0/8"] }), undefined);
  assert.equal(source("n", { selector: "a == 'b'" }), `(${ns} && a == "b")`);
  assert.equal(source("n", { notSelector: "a == 'b'" }), ns);
  assert.equal(source("", { notSelector: "a == 'b'" }), undefined);
  assert.equal(source("", { selector: "a == 'b'" }), 'a == "b"');
  assert.equal(
    source("n", { selector: "a == 'b'", namespaceSelector: "team == 'x'" }),
    '(pcns.team == "x" && a == "b")',
  );
  assert.equal(source("n", { namespaceSelector: "all()" }), "has(projectcalico.org/namespace)");
  assert.equal(source("n", { namespaceSelector: "global()" }), "!has(projectcalico.org/namespace)");
  assert.equal(
    source("n", { serviceAccounts: { names: ["b", "a", "a"] } }),
    `(${ns} && projectcalico.org/serviceaccount in {"a", "b"})`,
  );
  assert.equal(
    source("n", { selector: "x == 'y'", serviceAccounts: { names: ["a"], selector: "r == 's'" } }),
    `(${ns} && ((pcsa.r == "s" && projectcalico.org/serviceaccount in {"a"}) && x == "y"))`,
  );
  assert.equal(
    `${rule("n", { source: { notSelector: "a == 'b'" } }).source.notSelector}`,
    'a == "b"',
  );
});

Deno.test("order, tier and types have Calico's defaults", () => {
  const policy = read("n", {});
  assert.equal(policy.order, Infinity);
  assert.equal(read("n", { order: 10n ** 17n }).order, 1e17);
  assert.equal(policy.id.tier, "default");
  const types = (spec: Record<string, unknown>) => Object.keys(read("n", spec).rules).sort();
  const allow = { action: "Allow" };
  assert.deepEqual(types({}), ["ingress"]);
  assert.deepEqual(types({ ingress: [allow] }), ["ingress"]);
  assert.deepEqual(types({ egress: [allow] }), ["egress"]);
  assert.deepEqual(types({ ingress: [allow], egress: [allow] }), ["egress", "ingress"]);
  assert.deepEqual(types({ types: ["Egress"], ingress: [allow] }), ["egress"]);
});

Deno.test("protocols, ports and ICMP", () => {
  assert.equal(rule("n", { protocol: "tcp" }).protocol, 6);
  assert.equal(rule("n", { protocol: "ICMPv6" }).protocol, 58);
  assert.equal(rule("n", { protocol: 47 }).protocol, 47);
  assert.equal(rule("n", { notProtocol: "UDPLite" }).notProtocol, 136);
  assert.deepEqual(
    rule("n", {
      protocol: "SCTP",
      destination: { ports: [80, "1000:2000", "http", 81, "1500:2500", "http"] },
    }).destination.ports,
    { ranges: [[80, 81], [1000, 2500]], names: ["http"] },
  );
  assert.deepEqual(rule("n", { destination: { ports: ["http"] } }).destination.ports, {
    ranges: [],
    names: ["http"],
  });
  assert.deepEqual(rule("n", { protocol: "ICMP", icmp: { type: 8, code: 0 } }).icmp, {
    type: 8,
    code: 0,
  });
  assert.deepEqual(rule("n", { protocol: "ICMP", notICMP: { type: 3 } }).notIcmp, { type: 3 });
  assert.equal(rule("n", { ipVersion: 6 }).family, 6);
});

Deno.test("what cannot be read fails closed: Allow and Log go, Deny and Pass deny everything", () => {
  const broken: Record<string, unknown>[] = [
    { protocol: "TPC" },
    { source: { selector: "a = 'b'" } },
    { source: { nets: ["10.0.0.0/99"] } },
    { destination: { ports: [80] } },
    { protocol: "ICMP", destination: { ports: [80] } },
    { protocol: "TCP", destination: { ports: ["80:70"] } },
    { icmp: { type: 8 } },
    { protocol: "ICMP", icmp: { code: 8 } },
    { ipVersion: 5 },
    { http: { methods: ["GET"] } },
    { destination: { services: { name: "s" } } },
  ];
  for (const r of broken) {
    const policy = read("n", {
      ingress: ["Allow", "Log", "Deny", "Pass"].map((action) => ({ action, ...r })),
    });
    assert.deepEqual(
      policy.rules.ingress!.map((x) => [x.action, x.index, Object.keys(x.source).length]),
      [["deny", 2, 0], ["deny", 3, 0]],
      JSON.stringify(r),
    );
    assert.equal(policy.problems.length, 4, JSON.stringify(r));
  }
  // What may have been a Deny is one.
  const ingress = [{ action: "allow" }, null, { Action: "Allow" }, { action: ["Allow"] }];
  const policy = read("n", { ingress });
  assert.deepEqual(policy.rules.ingress!.map((x) => x.action), ["deny", "deny", "allow", "deny"]);
  assert.deepEqual(policy.problems, [
    'spec.ingress[0].action: "allow" is none of Allow, Deny, Log, Pass; ' +
    "the rule denies everything instead",
    "spec.ingress[1]: null is no rule; the rule denies everything instead",
    'spec.ingress[3].action: ["Allow"] is none of Allow, Deny, Log, Pass; ' +
    "the rule denies everything instead",
  ]);
});

Deno.test("a rule is never wider than what stands in it", () => {
  const narrow = (rule: unknown, told: RegExp) => {
    const policy = read("n", { ingress: [rule] });
    assert.deepEqual(policy.rules.ingress, [], JSON.stringify(rule));
    assert.match(policy.problems.join(), told);
  };
  const from = (source: unknown) => ({ action: "Allow", source });
  narrow({ action: "Allow", source: 5 }, /spec\.ingress\[0\]\.source: 5 is not an object/);
  narrow(from([]), /source: \[\] is not an object/);
  narrow(from({ selector: 0 }), /source\.selector: 0 is not a text/);
  narrow(from({ notSelector: false }), /notSelector: false is not a text/);
  narrow(from({ serviceAccounts: 5 }), /serviceAccounts: 5 is not an object/);
  narrow(from({ serviceAccounts: { names: "x" } }), /serviceAccounts\.names: "x" is not a list/);
  narrow(from({ nets: "10.0.0.0/8" }), /nets: "10\.0\.0\.0\/8" is not a list/);
  narrow(from({ domains: ["a.example"] }), /source\.domains: unknown field/);
  narrow({ action: "Allow", icmp: 5, protocol: "ICMP" }, /icmp: 5 is not an object/);
  narrow(
    { action: "Allow", protocol: "TCP", destination: { ports: "80" } },
    /destination\.ports: "80" is not a list/,
  );
  // In another case it is the field, as Go reads it.
  const read1 = rule("n", { Source: { Selector: "a == 'b'" } });
  assert.match(`${read1.source.selector}`, /a == "b"/);
  for (const types of ["Ingress", ["Sideways"], [5]]) {
    const policy = read("n", { types });
    assert.deepEqual(policy.rules.ingress!.map((x) => x.action), ["deny"]);
    assert.deepEqual(policy.rules.egress!.map((x) => x.action), ["deny"]);
    assert.match(policy.problems.join(), /^spec\.types.*it denies everything/);
  }
  const lists = read("n", { ingress: {}, egress: "x" });
  assert.deepEqual([lists.rules.ingress, lists.rules.egress].map((r) => r!.map((x) => x.action)), [
    ["deny"],
    ["deny"],
  ]);
  const newer = read("n", { ingress: [{ action: "Allow" }], colour: "red" });
  assert.equal(newer.rules.ingress!.length, 1);
  assert.deepEqual(newer.problems, ["spec.colour: unknown field; it is passed over"]);
});

Deno.test("a policy whose place or subject cannot be read applies to nothing, and says so", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ selector: "a ==" }, /spec\.selector: selector "a ==", character 5/],
    [{ selector: 0 }, /spec\.selector: 0 is not a text/],
    [{ order: "5" }, /spec\.order: "5" is no number/],
    [{ tier: [] }, /spec\.tier: \[\] is not a text/],
    [{ serviceAccountSelector: {} }, /spec\.serviceAccountSelector: \{\} is not a text/],
  ];
  for (const [spec, told] of cases) {
    const lost = calicoPolicy(policyObject("n", "p", spec), "NetworkPolicy");
    assert("problem" in lost);
    assert.match(lost.problem!, /^it applies to nothing: /);
    assert.match(lost.problem!, told);
  }
});

Deno.test("untracked and pre-DNAT policies are host endpoints' alone", () => {
  for (const spec of [{ doNotTrack: true }, { preDNAT: true }]) {
    const policy = calicoPolicy(
      policyObject("", "p", { ...spec, applyOnForward: true }),
      "GlobalNetworkPolicy",
    );
    assert.deepEqual(policy, {});
  }
});

Deno.test("profiles have labels and rules", () => {
  const profile = calicoProfile({
    metadata: { name: "own" },
    spec: { labelsToApply: { a: "b" }, ingress: [{ action: "Deny" }] },
  });
  assert.deepEqual(profile.labels, [["a", "b"]]);
  assert.equal(profile.rules.ingress![0].action, "deny");
  assert.deepEqual(profile.rules.egress, []);
});
