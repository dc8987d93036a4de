import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import {
  type Connection,
  ExplainError,
  type Explanation,
  formatExplanation,
  PolicyView,
} from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import { calico, calicoPolicy, endpoint, kubernetesPolicy, pod } from "./testing.ts";

function viewOf(objects: PolicyObject[], nodeName?: string): PolicyView {
  const engine = new PolicyEngine(nodeName === undefined ? {} : { nodeName });
  engine.update(objects.map((put) => ({ put })));
  return new PolicyView(engine);
}

const web = [
  pod("x", "web", { app: "web" }, { ports: { http: 8080 } }),
  endpoint("x", "web", ["10.0.0.1", "fd00::1"]),
];
const client = [
  pod("x", "client", { app: "client" }),
  endpoint("x", "client", ["10.0.0.2", "fd00::2"], { node: "node2" }),
];
const toWeb = (change: Partial<Connection> = {}): Connection => ({
  from: { endpoint: "x/client" },
  to: { endpoint: "x/web" },
  protocol: "TCP",
  port: 80,
  ...change,
});
const texts = (side: Explanation["ingress"]) => side!.walk.map((s) => s.text);

Deno.test("nobody asks: the namespace's profile allows", () => {
  const explanation = viewOf([...web, ...client]).explain(toWeb());
  assert.equal(explanation.allowed, true);
  assert.deepEqual(texts(explanation.egress), [
    "no policy decided; profile kns.x",
    "egress rule 1 allows it (it has no conditions)",
  ]);
  assert.deepEqual(texts(explanation.ingress), [
    "no policy decided; profile kns.x",
    "ingress rule 1 allows it (it has no conditions)",
  ]);
});

Deno.test("a denial tells each rule that was tried and what of it failed", () => {
  const explanation = viewOf([
    ...web,
    ...client,
    kubernetesPolicy("x", "web", {
      podSelector: { matchLabels: { app: "web" } },
      ingress: [
        { from: [{ podSelector: { matchLabels: { app: "admin" } } }], ports: [{ port: 80 }] },
        { from: [{ ipBlock: { cidr: "192.0.2.0/24" } }] },
        { ports: [{ port: 443 }, { port: 8000, endPort: 8010 }] },
        { ports: [{ protocol: "UDP" }] },
      ],
    }),
  ]).explain(toWeb());
  assert.equal(explanation.allowed, false);
  assert.equal(explanation.egress!.allowed, true);
  const set = '{(projectcalico.org/namespace == "x" && (projectcalico.org/orchestrator == "k8s" ' +
    '&& app == "admin"))}';
  assert.deepEqual(texts(explanation.ingress), [
    "tier default",
    "policy knp x/web applies",
    `ingress rule 1 does not match: source is not in ${set}`,
    "ingress rule 2 does not match: source is not in 192.0.2.0/24",
    "ingress rule 3 does not match: port is not in 443, 8000-8010",
    "ingress rule 4 does not match: protocol is not UDP",
    "no policy of tier default allows it: denied at the end of the tier",
  ]);
  const last = explanation.ingress!.walk.at(-1)!;
  assert.deepEqual([last.is, last.tier, last.outcome], ["end", "default", "deny"]);
  const tried = explanation.ingress!.walk[2];
  assert.deepEqual([tried.policy?.name, tried.rule, tried.outcome], ["web", 0, "no-match"]);
  assert.equal(tried.sets!.length, 1);
});

Deno.test("the rule that allows is named, with the sets that it looked at", () => {
  const explanation = viewOf([
    ...web,
    ...client,
    kubernetesPolicy("x", "web", {
      podSelector: {},
      ingress: [{
        from: [{ podSelector: { matchLabels: { app: "client" } } }],
        ports: [{ port: "http" }],
      }],
    }),
  ]).explain(toWeb({ port: "http" }));
  assert.equal(explanation.allowed, true);
  assert.equal(explanation.port, 8080);
  const rule = explanation.ingress!.walk.find((s) => s.is === "rule")!;
  assert.equal(rule.outcome, "allow");
  assert.equal(rule.sets!.length, 2);
  assert.match(
    rule.text,
    /^ingress rule 1 allows it: protocol is TCP, source is in \{.*app == "client"/,
  );
  assert.match(rule.text, /destination is port http\/TCP of all\(\)/);
});

Deno.test("tiers: pass, log, deny and the default action", () => {
  const objects = [
    ...web,
    ...client,
    calico("Tier", "first", { order: 1 }),
    calico("Tier", "soft", { order: 2, defaultAction: "Pass" }),
    calicoPolicy("", "p", {
      tier: "first",
      selector: "all()",
      ingress: [{ action: "Log" }, { action: "Pass", protocol: "TCP" }],
    }),
    calicoPolicy("", "s", { tier: "soft", selector: "all()", ingress: [] }),
    calicoPolicy("", "d", { selector: "all()", ingress: [{ action: "Deny" }] }),
  ];
  const { ingress } = viewOf(objects).explain(toWeb());
  assert.deepEqual(texts(ingress), [
    "tier first",
    "policy gnp p applies",
    "ingress rule 1 logs it (it has no conditions)",
    "ingress rule 2 passes it: protocol is TCP",
    "tier soft",
    "policy gnp s applies",
    "tier default",
    "policy gnp d applies",
    "ingress rule 1 denies it (it has no conditions)",
  ]);
  assert.equal(ingress!.allowed, false);
});

Deno.test("an engine of a node says which side is judged elsewhere", () => {
  const view = viewOf([...web, ...client], "node1");
  const explanation = view.explain(toWeb());
  assert.equal(explanation.egress, undefined);
  assert.equal(explanation.ingress!.allowed, true);
  assert.deepEqual(explanation.notes, ["egress of x/client is judged on node node2"]);
  assert.equal(view.verdicts(toWeb()).egress, undefined);
});

Deno.test("an endpoint whose interface is not known yet is closed, and the walk says so", () => {
  const view = viewOf([
    endpoint("x", "new", ["10.0.0.3"], { interfaceName: "" }),
    ...client,
  ], "node1");
  const explanation = view.explain(toWeb({ to: { endpoint: "x/new" } }));
  assert.equal(explanation.allowed, false);
  assert.deepEqual(texts(explanation.ingress), [
    "the pod's interface has no policy yet: closed",
  ]);
});

Deno.test("addresses: of endpoints, of nobody, of both families", () => {
  const view = viewOf([
    ...web,
    ...client,
    kubernetesPolicy("x", "v6", {
      podSelector: { matchLabels: { app: "web" } },
      ingress: [{ from: [{ ipBlock: { cidr: "fd00::/64" } }] }],
    }),
  ]);
  assert.equal(view.allows(toWeb()), false);
  assert.equal(view.allows(toWeb({ family: 6 })), true);
  assert.equal(view.allows(toWeb({ from: { ip: "fd00::2" }, to: { ip: "fd00:0::1" } })), true);
  assert.equal(view.allows(toWeb({ from: { ip: "2001:db8::1" } })), false);
  const outside = view.explain({
    from: { ip: "192.0.2.1" },
    to: { ip: "192.0.2.2" },
    protocol: "UDP",
    port: 53,
  });
  assert.equal(outside.allowed, true);
  assert.match(outside.notes[0], /neither side is an endpoint/);
  assert.equal(view.find("10.0.0.1")!.pod, "web");
});

Deno.test("ICMP and other protocols need no port", () => {
  const view = viewOf([
    ...web,
    ...client,
    calicoPolicy("x", "p", {
      selector: "app == 'web'",
      ingress: [
        { action: "Deny", protocol: "ICMP", icmp: { type: 8, code: 0 } },
        { action: "Allow", protocol: "ICMP" },
        { action: "Allow", protocol: 47 },
        { action: "Allow", protocol: "ICMPv6", notICMP: { type: 128 } },
      ],
    }),
  ]);
  const ask = (change: Partial<Connection>) => view.allows({ ...toWeb(change), port: undefined });
  assert.equal(ask({ protocol: "ICMP" }), false);
  assert.equal(ask({ protocol: "ICMP", icmpType: 13 }), true);
  assert.equal(ask({ protocol: "ICMP", icmpType: 8, icmpCode: 1 }), true);
  assert.equal(ask({ protocol: 47 }), true);
  assert.equal(ask({ protocol: 50 }), false);
  assert.equal(ask({ protocol: "ICMPv6", family: 6 }), false);
  assert.equal(ask({ protocol: "ICMPv6", family: 6, icmpType: 129 }), true);
});

Deno.test("questions that cannot be answered say what would do", () => {
  const view = viewOf([...web, ...client, endpoint("x", "six", ["fd00::6"])]);
  const cases: [Partial<Connection>, string, RegExp][] = [
    [{ to: { endpoint: "x/none" } }, "unknown-endpoint", /NAMESPACE\/POD/],
    [{ to: { ip: "10.0.0" } }, "bad-address", /"10\.0\.0" is not an IP address/],
    [{ from: { ip: "192.0.2.1" }, to: { endpoint: "x/six" } }, "no-address", /same family/],
    [{ port: undefined }, "bad-port", /TCP needs a port/],
    [{ port: "https" }, "bad-port", /no TCP port named "https"/],
    [{ port: 70000 }, "bad-port", /0 to 65535/],
    [{ protocol: "ICMP" }, "bad-port", /ICMP has no ports/],
    [{ protocol: "XTP" }, "bad-protocol", /TCP, UDP, SCTP/],
  ];
  for (const [change, kind, message] of cases) {
    assert.throws(() => view.explain(toWeb(change)), (error: unknown) => {
      assert(error instanceof ExplainError);
      assert.equal(error.kind, kind);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("an explanation as lines", () => {
  const view = viewOf([
    ...web,
    ...client,
    kubernetesPolicy("x", "deny", { podSelector: { matchLabels: { app: "web" } } }),
  ]);
  assert.deepEqual(formatExplanation(view.explain(toWeb())), [
    "x/client (10.0.0.2) -> x/web (10.0.0.1), TCP port 80: denied",
    "egress of x/client: allowed",
    "    no policy decided; profile kns.x",
    "      egress rule 1 allows it (it has no conditions)",
    "ingress of x/web: denied",
    "  tier default",
    "    policy knp x/deny applies",
    "  no policy of tier default allows it: denied at the end of the tier",
  ]);
});
