import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import { floatingRules } from "./floating.ts";
import type { PolicyObject } from "./inputs.ts";
import { endpoint } from "./testing.ts";
import { printRule } from "./text.ts";

const fip = (internal: string, external: string) => ({ internal, external });

Deno.test("floating: in by destination, back to itself by source; the smallest wins", () => {
  const { dnat, snat } = floatingRules([
    fip("10.0.0.9", "192.0.2.1"),
    fip("10.0.0.10", "192.0.2.1"),
    fip("10.0.0.9", "192.0.2.3"),
  ]);
  assert.deepEqual(dnat.map((rule) => printRule(rule, 4)), [
    "ip daddr 192.0.2.1 counter dnat to 10.0.0.10",
    "ip daddr 192.0.2.3 counter dnat to 10.0.0.9",
  ]);
  assert.deepEqual(snat.map((rule) => printRule(rule, 4)), [
    "ip saddr 10.0.0.10 ip daddr 10.0.0.10 counter snat to 192.0.2.1",
    "ip saddr 10.0.0.9 ip daddr 10.0.0.9 counter snat to 192.0.2.1",
  ]);
});

Deno.test("floating: only where it is switched on, only of this node, only to the endpoint's own", () => {
  const object = (pod: string, ip: string, external: string, node = "node1") => {
    const made = endpoint("x", pod, [ip], { node }) as PolicyObject & { spec: object };
    const ipNATs = [
      { internalIP: ip, externalIP: external },
      { internalIP: "10.9.9.9", externalIP: "192.0.2.99" },
      { internalIP: ip, externalIP: ip.includes(":") ? "192.0.2.98" : "fd00::1" },
    ];
    return { ...made, spec: { ...made.spec, ipNATs } };
  };
  const objects = [
    object("p", "10.0.0.1", "192.0.2.1"),
    object("q", "fd00::5", "fd00::105"),
    object("far", "10.0.0.3", "192.0.2.3", "node2"),
  ];
  const engine = new PolicyEngine({ nodeName: "node1", floatingIps: true });
  engine.update(objects.map((put) => ({ put })));
  const rules = (family: 4 | 6) =>
    engine.ruleset(family).chains.get("nat-cali-fip-dnat")!.rules.map((r) => printRule(r, family));
  assert.deepEqual(rules(4), ["ip daddr 192.0.2.1 counter dnat to 10.0.0.1"]);
  assert.deepEqual(rules(6), ["ip6 daddr fd00::105 counter dnat to fd00::5"]);
  const base = engine.ruleset(4).chains.get("nat-PREROUTING")!.base;
  assert.deepEqual(base, { type: "nat", hook: "prerouting", priority: -110, policy: "accept" });
  const { namespace, name } = objects[0].metadata as { namespace: string; name: string };
  engine.changes(4);
  engine.update([{
    remove: { apiVersion: "projectcalico.org/v3", kind: "WorkloadEndpoint", namespace, name },
  }]);
  assert.deepEqual(rules(4), []);
  // The hooks stay: an endpoint that comes or goes touches its own rules alone.
  assert.ok(!engine.changes(4)!.chains.has("nat-PREROUTING"));

  const off = new PolicyEngine({ nodeName: "node1" });
  off.update(objects.map((put) => ({ put })));
  assert.ok(!off.ruleset(4).chains.has("nat-PREROUTING"));
});
