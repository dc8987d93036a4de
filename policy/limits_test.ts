import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import { limitRules } from "./limits.ts";
import { endpoint } from "./testing.ts";
import { printRule } from "./text.ts";

const texts = (direction: "ingress" | "egress", qos: Record<string, number>) =>
  limitRules(direction, qos).map((rule) => printRule(rule, 4).replace(/ comment .*/, ""));

Deno.test("limits: rules of each direction in nft's words", () => {
  assert.deepEqual(limitRules("ingress", undefined), []);
  const qos = {
    ingressBandwidth: 10_000_000,
    ingressBurst: 8_000_000,
    egressBandwidth: 1_000_001,
    egressBurst: 1000,
    egressPacketRate: 50,
    egressPacketBurst: 7,
    ingressMaxConnections: 3,
  };
  assert.deepEqual(texts("ingress", qos), [
    "limit rate over 1250000 bytes/second burst 1000000 bytes counter drop",
    "ct state { new } ct count over 3 counter reject with icmp port-unreachable",
  ]);
  assert.deepEqual(texts("egress", qos), [
    // One heap of packets must pass.
    "limit rate over 125001 bytes/second burst 65536 bytes counter drop",
    "limit rate over 50 packets/second burst 7 packets counter drop",
  ]);
});

Deno.test("limits: numbers that no rule can have are passed over or bent", () => {
  assert.deepEqual(texts("ingress", { ingressBandwidth: 1e15 }), []);
  assert.deepEqual(texts("ingress", { ingressBandwidth: NaN, ingressPacketRate: -1 }), []);
  assert.deepEqual(texts("ingress", { ingressBandwidth: 8000, ingressBurst: 1e15 }), [
    "limit rate over 1000 bytes/second burst 4294967295 bytes counter drop",
  ]);
});

Deno.test("limits: they stand before policy, for both directions, and follow the object", () => {
  const object = (qos?: Record<string, number>) => endpoint("x", "p", ["10.0.0.1"], { qos });
  const engine = new PolicyEngine({ nodeName: "node1" });
  const chain = (name: string) =>
    engine.ruleset(4).chains.get(name)?.rules.map((rule) => printRule(rule, 4)) ?? [];
  const members = (map: string) => {
    const set = engine.ruleset(4).sets.get(map)!;
    return set.kind === "verdict-map" ? [...set.members] : [];
  };
  engine.update([{ put: object() }]);
  const policy = [chain("filter-cali-tw-calixp"), chain("filter-cali-FORWARD")];
  engine.changes(4);
  engine.update([{ put: object({ ingressPacketRate: 9 }) }]);
  assert.match(chain("filter-cali-tl-calixp")[0], /limit rate over 9 packets\/second burst 5/);
  assert.deepEqual(chain("filter-cali-fl-calixp"), []);
  assert.deepEqual(members("filter-cali-to-wl-limits"), [
    ["calixp", { do: "jump", chain: "filter-cali-tl-calixp" }],
  ]);
  assert.deepEqual(members("filter-cali-from-wl-limits"), []);
  // Both ways before the first jump to policy, which may accept for good.
  const forward = chain("filter-cali-FORWARD");
  assert.deepEqual(forward.slice(1, 3), [
    "iifname vmap @filter-cali-from-wl-limits",
    "oifname vmap @filter-cali-to-wl-limits",
  ]);
  assert.equal(chain("filter-cali-wl-to-host")[0], "iifname vmap @filter-cali-from-wl-limits");
  assert.ok(!engine.changes(4)!.chains.has("filter-cali-tw-calixp"));
  engine.update([{ put: object() }]);
  assert.deepEqual([chain("filter-cali-tw-calixp"), chain("filter-cali-FORWARD")], policy);
  assert.ok(!engine.ruleset(4).chains.has("filter-cali-tl-calixp"));
});
