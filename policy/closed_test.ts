import assert from "node:assert/strict";
import { mustIp } from "../mod/net/mod.ts";
import { skeletonOf } from "./closed.ts";
import { PolicyEngine } from "./engine.ts";
import { Evaluator, type Packet } from "./evaluate.ts";
import type { PolicyObject } from "./inputs.ts";
import { cutMark } from "./parameters.ts";
import type { Family } from "./rules.ts";
import { calico, checkRuleset, endpoint } from "./testing.ts";

const plain = endpoint("x", "q", ["10.0.0.2", "fd00::2"]) as PolicyObject & { spec?: object };
/** Its limits hang on the forward chain by a map of their own. */
const limited = {
  ...plain,
  spec: { ...plain.spec, qosControls: { egressPacketRate: 9 } },
} as PolicyObject;
const engine = new PolicyEngine({ nodeName: "node1" });
engine.update([
  endpoint("x", "p", ["10.0.0.1", "fd00::1"]),
  limited,
  calico("IPPool", "pool", { cidr: "10.0.0.0/16", natOutgoing: true, vxlanMode: "Always" }),
].map((put) => ({ put })));

/** The skeleton as a ruleset that stands for itself. */
function skeleton(family: Family) {
  const whole = engine.ruleset(family);
  const { chains, sets } = skeletonOf(whole.chains);
  const ruleset = { family, chains, sets: new Map([...whole.sets].filter(([n]) => sets.has(n))) };
  checkRuleset(ruleset);
  return { whole, ruleset, evaluator: new Evaluator(ruleset) };
}

const addresses = { 4: ["10.0.0.1", "10.0.0.2"], 6: ["fd00::1", "fd00::2"] } as const;

for (const family of [4, 6] as const) {
  Deno.test(`the skeleton of IPv${family}: what lives lives on, nothing new gets through`, () => {
    const { evaluator, whole } = skeleton(family);
    const [source, destination] = addresses[family].map(mustIp);
    const packet: Packet = { source, destination, protocol: 6, sourcePort: 4, destinationPort: 80 };
    const [client, server] = ["calixp", "calixq"];
    const open = new Evaluator(whole);
    for (
      const way of [{ iifname: client, oifname: server }, { iifname: client, oifname: "eth0" }, {
        iifname: "eth0",
        oifname: server,
      }]
    ) {
      const forward = (rest: Partial<Packet>) =>
        evaluator.run("filter-FORWARD", { ...packet, ...way, ...rest }).verdict;
      assert.equal(forward({}), "drop");
      assert.equal(open.run("filter-FORWARD", { ...packet, ...way }).verdict, "accept");
      for (const state of ["established", "related"] as const) {
        assert.equal(forward({ state }), "accept");
        assert.equal(forward({ state, connectionMark: cutMark }), "drop");
      }
      assert.equal(forward({ state: "invalid" }), "drop");
    }
    const input = (rest: Partial<Packet>) =>
      evaluator.run("filter-INPUT", { ...packet, iifname: client, ...rest }).verdict;
    assert.equal(input({}), "drop");
    assert.equal(input({ state: "established" }), "accept");
    const solicitation = { protocol: 58, icmpType: 135, icmpCode: 0 };
    if (family === 6) assert.equal(input({ ...solicitation, state: "untracked" }), "accept");
    // What is no pod's is no affair of ours.
    const others = { ...packet, iifname: "eth0", oifname: "eth1" };
    for (const state of ["new", "established", "invalid"] as const) {
      assert.equal(evaluator.run("filter-FORWARD", { ...others, state }).verdict, "accept");
    }
    assert.equal(evaluator.run("filter-INPUT", { ...packet, iifname: "eth0" }).verdict, "accept");
  });
}

Deno.test("the skeleton has every hook of the whole, and does not grow with endpoints or policies", () => {
  const { ruleset, whole } = skeleton(4);
  const hooks = (chains: typeof whole.chains) => [...chains.values()].filter((c) => c.base);
  assert.deepEqual(hooks(ruleset.chains), hooks(whole.chains));
  const larger = new PolicyEngine({ nodeName: "node1" });
  larger.update([
    calico("IPPool", "pool", { cidr: "10.0.0.0/16", natOutgoing: true, vxlanMode: "Always" }),
    limited,
    ...Array.from({ length: 50 }, (_, i) => endpoint("y", `p${i}`, [`10.0.1.${i}`])),
    ...Array.from(
      { length: 50 },
      (_, i) =>
        calico("GlobalNetworkPolicy", `g${i}`, {
          selector: "all()",
          ingress: [{ action: "Allow", source: { nets: [`192.0.2.${i}/32`] } }],
        }),
    ),
  ].map((put) => ({ put })));
  const same = skeletonOf(larger.ruleset(4).chains);
  assert.deepEqual([...same.chains.keys()], [...ruleset.chains.keys()]);
  assert.deepEqual(same.sets, new Set(ruleset.sets.keys()));
});
