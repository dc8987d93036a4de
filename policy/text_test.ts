import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import type { PolicyObject } from "./inputs.ts";
import { defaultParameters } from "./parameters.ts";
import { renderRules } from "./render_rule.ts";
import type { Direction, EffectivePolicy } from "./effective.ts";
import { calicoPolicy as readCalico } from "./calico.ts";
import { kubernetesPolicy as readKubernetes } from "./kubernetes.ts";
import { printRule, printRuleset } from "./text.ts";
import { calicoPolicy, endpoint, kubernetesPolicy } from "./testing.ts";
import { setName } from "./names.ts";
import { parseSelector } from "../mod/selector/selector.ts";

/** A policy's rules as nft text, without counters and comments. */
function lines(policy: EffectivePolicy, direction: Direction, family: 4 | 6): string[] {
  return renderRules(
    policy.rules[direction]!,
    family,
    direction,
    "p",
    () => ({ is: "static" }),
    defaultParameters,
  ).rules.map((r) =>
    printRule({ statements: r.statements }, family).replace(" counter", "").replace("counter ", "")
  );
}
const kubernetes = (spec: Record<string, unknown>) =>
  readKubernetes(kubernetesPolicy("n", "p", { podSelector: {}, ...spec })) as EffectivePolicy;
const calico = (rule: Record<string, unknown>) =>
  readCalico(
    calicoPolicy("", "p", { ingress: [{ action: "Allow", ...rule }] }),
    "GlobalNetworkPolicy",
  ) as EffectivePolicy;

const allow = "meta mark set mark & 0xfffeffff ^ 0x10000 return";

Deno.test("Kubernetes' rules in nft's words", () => {
  const policy = kubernetes({
    ingress: [{
      from: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }, {
        ipBlock: { cidr: "fd00::/8" },
      }],
      ports: [{ port: 80 }, { port: 90, endPort: 99 }, { protocol: "SCTP" }],
    }],
  });
  assert.deepEqual(lines(policy, "ingress", 4), [
    `meta l4proto 132 ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ${allow}`,
    `meta l4proto 6 ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 th dport { 80, 90-99 } ${allow}`,
  ]);
  assert.deepEqual(lines(policy, "ingress", 6), [
    `meta l4proto 132 ip6 saddr fd00::/8 ${allow}`,
    `meta l4proto 6 ip6 saddr fd00::/8 th dport { 80, 90-99 } ${allow}`,
  ]);
});

Deno.test("sets are named by the selector's id, named ports by theirs", () => {
  const policy = kubernetes({
    ingress: [{
      from: [{ podSelector: { matchLabels: { app: "db" } } }],
      ports: [{ port: "pg" }, { port: 5433 }],
    }],
  });
  const set = setName(
    4,
    parseSelector(
      "projectcalico.org/namespace == 'n' && (projectcalico.org/orchestrator == 'k8s' && app == 'db')",
    ).id,
  );
  assert.match(set, /^cali40s-[A-Za-z0-9_-]{23}$/);
  const [byNumber, byName, ...more] = lines(policy, "ingress", 4);
  assert.deepEqual(more, []);
  assert.equal(byNumber, `meta l4proto 6 ip saddr @${set} th dport 5433 ${allow}`);
  assert.match(
    byName,
    new RegExp(
      `^meta l4proto 6 ip saddr @${set} ip daddr \\. meta l4proto \\. th dport @cali40n-\\S{23} `,
    ),
  );
});

Deno.test("names of ports are one set, however many, on whatever side", () => {
  const names = Array.from({ length: 300 }, (_, i) => `port-${i}`);
  const list = lines(
    calico({
      protocol: "TCP",
      source: { ports: [...names, 7], notPorts: names },
      destination: { ports: [...names, 80], notPorts: [...names, 443, "8000:8080"] },
    }),
    "ingress",
    4,
  );
  const set = "@cali40n-\\S{23}";
  const key = (side: string, port: string) => `ip ${side}addr \\. meta l4proto \\. th ${port} `;
  const from = ["th sport 7", key("s", "sport") + set];
  const to = ["th dport 80", key("d", "dport") + set];
  const head = `^meta l4proto 6 ${key("s", "sport")}!= ${set} ` +
    `th dport != \\{ 443, 8000-8080 \\} ${key("d", "dport")}!= ${set} `;
  const ways = from.flatMap((f) => to.map((t) => `${head}${f} ${t} meta mark set \\S`));
  assert.equal(list.length, ways.length);
  ways.forEach((way, i) => assert.match(list[i], new RegExp(way)));
  // The order of names and what stands twice make no other set; another name does.
  const one = (ports: string[]) =>
    lines(calico({ protocol: "TCP", destination: { ports } }), "ingress", 4)[0];
  assert.equal(one(["a", "b"]), one(["b", "a", "b"]));
  assert.notEqual(one(["a", "b"]), one(["a"]));
});

Deno.test("negations, several networks, and actions", () => {
  const [line, ...more] = lines(
    calico({
      action: "Deny",
      protocol: "TCP",
      source: { nets: ["10.0.0.0/8", "192.0.2.0/24", "10.0.0.1/8"], notNets: ["10.1.0.0/16"] },
      destination: { notPorts: [22, "1000:2000"], notSelector: "a == 'b'" },
    }),
    "ingress",
    4,
  );
  assert.deepEqual(more, []);
  assert.match(
    line,
    /^meta l4proto 6 ip saddr @cali40l-\S{23} ip saddr != 10\.1\.0\.0\/16 ip daddr != @cali40s-\S{23} th dport != \{ 22, 1000-2000 \} drop$/,
  );
  assert.deepEqual(lines(calico({ action: "Pass" }), "ingress", 4), [
    "meta mark set mark & 0xfffdffff ^ 0x20000 return",
  ]);
  assert.deepEqual(lines(calico({ action: "Log" }), "ingress", 4), [
    'log prefix "calico-packet: "',
  ]);
});

Deno.test("what can never match in a family is not there", () => {
  const none = [
    { ipVersion: 6 },
    { source: { nets: ["fd00::/64"] } },
    { source: { notNets: ["fd00::/64"] } },
    { destination: { notNets: ["0.0.0.0/0"] } },
    { protocol: "ICMPv6", icmp: { type: 128 } },
  ];
  for (const rule of none) {
    assert.deepEqual(lines(calico(rule), "ingress", 4), [], JSON.stringify(rule));
  }
  // Everything needs no match.
  assert.deepEqual(lines(calico({ source: { nets: ["0.0.0.0/0", "10.0.0.0/8"] } }), "ingress", 4), [
    allow,
  ]);
  assert.deepEqual(
    lines(calico({ protocol: "ICMPv6", icmp: { type: 128, code: 0 } }), "ingress", 6),
    [
      `meta l4proto 58 icmpv6 type . icmpv6 code { 128 . 0 } ${allow}`,
    ],
  );
});

Deno.test("a service's port that is none is named and passed over", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const slice = (ports: unknown): PolicyObject => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "n", name: "s", labels: { "kubernetes.io/service-name": "db" } },
    endpoints: [{ addresses: ["10.0.0.5", "fd00::5"] }],
    ports,
  } as PolicyObject);
  engine.update([
    endpoint("n", "p", ["10.0.0.1", "fd00::1"]),
    calicoPolicy("n", "p", {
      egress: [{ action: "Deny", destination: { services: { name: "db" } } }, { action: "Allow" }],
    }),
    slice([
      ...[{ port: 70000 }, { port: 0 }, { port: -1 }, { port: 1.5 }, { port: "80" }],
      ...[{ port: 10n ** 20n }, { port: 80, protocol: 6.5 }, { port: 80, protocol: "ICMP" }, 7],
      ...[null, {}, { port: null }, { port: 65535, protocol: "UDP" }, { port: 1 }],
    ]),
  ].map((put) => ({ put })));
  for (const [family, address] of [[4, "10.0.0.5"], [6, "fd00::5"]] as const) {
    const [[, set]] = [...engine.ruleset(family).sets].filter(([n]) => n.includes("0svc-"));
    assert.deepEqual([...set.members.keys()], [`${address},17,65535`, `${address},6,1`]);
  }
  const port = (i: number, value: string) =>
    `ports[${i}].port: ${value} is no port from 1 to 65535; it is passed over`;
  const protocol = (i: number, value: string) =>
    `ports[${i}].protocol: ${value} is none of TCP, UDP and SCTP; it is passed over`;
  assert.deepEqual(
    engine.problems(),
    [
      ...[port(0, "70000"), port(1, "0"), port(2, "-1"), port(3, "1.5"), port(4, '"80"')],
      ...[port(5, `1${"0".repeat(20)}`), protocol(6, "6.5"), protocol(7, '"ICMP"')],
    ].map((message) => ({ object: "EndpointSlice n/s", namespace: "", message })),
  );
  engine.update([{ put: slice([{ port: 80 }]) }]);
  assert.deepEqual(engine.problems(), []);
});

Deno.test("services: endpoints with their ports to go to, addresses to come from", () => {
  const slice = (name: string, address: string, ready: boolean): PolicyObject => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "n", name, labels: { "kubernetes.io/service-name": "db" } },
    endpoints: [{ addresses: [address], conditions: { ready } }],
    ports: [{ port: 5432, protocol: "TCP" }, { port: 53, protocol: "UDP" }],
  } as PolicyObject);
  const engine = new PolicyEngine({ nodeName: "node1" });
  const services = { services: { name: "db" } };
  engine.update([
    endpoint("n", "p", ["10.0.0.1"]),
    calicoPolicy("n", "p", {
      ingress: [{ action: "Allow", source: services }],
      egress: [{ action: "Allow", destination: services }],
    }),
    slice("one", "10.0.0.5", true),
    slice("two", "10.0.0.6", false),
  ].map((put) => ({ put })));
  const members = () =>
    [...engine.ruleset(4).sets].filter(([n]) => n.startsWith("cali40svc"))
      .map(([, s]) => [s.kind, ...[...s.members.keys()].sort()]).sort();
  assert.deepEqual(members(), [
    ["addr-port", "10.0.0.5,17,53", "10.0.0.5,6,5432"],
    ["net", "10.0.0.5/32"],
  ]);
  engine.update([{ put: slice("two", "10.0.0.6", true) }, {
    remove: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      namespace: "n",
      name: "one",
    },
  }]);
  assert.deepEqual(members(), [
    ["addr-port", "10.0.0.6,17,53", "10.0.0.6,6,5432"],
    ["net", "10.0.0.6/32"],
  ]);
});

Deno.test("a whole ruleset is one table in nft's language", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update([
    { put: endpoint("x", "p", ["10.0.0.1"]) },
    { put: kubernetesPolicy("x", "deny", { podSelector: {} }) },
  ]);
  const text = printRuleset(engine.ruleset(4));
  for (
    const part of [
      "table ip calico {",
      "type filter hook forward priority 0; policy accept;",
      '"calixp" : goto filter-cali-tw-calixp',
      "iifname vmap @filter-cali-from-wl-dispatch",
      "chain filter-cali-pi-knp/x/deny {",
      "fib saddr . mark . iif oif 0 counter drop",
    ]
  ) assert(text.includes(part), part);
});
