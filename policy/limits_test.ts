import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import { limitRules } from "./limits.ts";
import { endpoint } from "./testing.ts";
import { printRule } from "./text.ts";
import type { PolicyObject } from "./inputs.ts";

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

Deno.test("limits: they stand at the head of the endpoint's own chain, and follow its object", () => {
  const object = (qosControls?: Record<string, number>) => {
    const made = endpoint("x", "p", ["10.0.0.1"]) as PolicyObject & { spec: object };
    return { ...made, spec: { ...made.spec, ...(qosControls && { qosControls }) } };
  };
  const engine = new PolicyEngine({ nodeName: "node1" });
  const rules = () => engine.ruleset(4).chains.get("filter-cali-tw-calixp")!.rules;
  engine.update([{ put: object() }]);
  const bare = rules();
  engine.changes(4);
  engine.update([{ put: object({ ingressPacketRate: 9 }) }]);
  assert.deepEqual(rules().slice(1), bare);
  assert.match(printRule(rules()[0], 4), /limit rate over 9 packets\/second burst 5 packets/);
  assert.deepEqual([...engine.changes(4)!.chains.keys()], ["filter-cali-tw-calixp"]);
  engine.update([{ put: object() }]);
  assert.deepEqual(rules(), bare);
});
