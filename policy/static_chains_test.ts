import assert from "node:assert/strict";
import { mustIp } from "../mod/net/mod.ts";
import { PolicyEngine } from "./engine.ts";
import { Evaluator, type Packet } from "./evaluate.ts";
import type { PolicyObject } from "./inputs.ts";
import { cutMark, type PolicyParameters } from "./parameters.ts";
import type { Family } from "./rules.ts";
import { calico, checkRuleset, endpoint, kubernetesPolicy } from "./testing.ts";

function evaluator(
  family: Family,
  objects: PolicyObject[],
  parameters: Partial<PolicyParameters> = {},
): Evaluator {
  const engine = new PolicyEngine({ nodeName: "node1", ...parameters });
  engine.update(objects.map((put) => ({ put })));
  checkRuleset(engine.ruleset(family));
  return new Evaluator(engine.ruleset(family));
}

const tcp = (from: string, to: string, rest: Partial<Packet> = {}): Packet => ({
  source: mustIp(from),
  destination: mustIp(to),
  protocol: 6,
  sourcePort: 40_000,
  destinationPort: 80,
  ...rest,
});
const icmp6 = (type: number, from: string, rest: Partial<Packet> = {}): Packet => ({
  iifname: "calixp",
  source: mustIp(from),
  destination: mustIp("ff02::1"),
  protocol: 58,
  icmpType: type,
  icmpCode: 0,
  ...rest,
});
const pod = endpoint("x", "p", ["10.0.0.1", "fd00::1"]);
const other = endpoint("x", "q", ["10.0.0.2", "fd00::2"]);

Deno.test("what the host answers in a connection that policy has cut is dropped", () => {
  for (const family of [4, 6] as const) {
    const [host, to] = family === 4 ? ["192.0.2.1", "10.0.0.1"] : ["2001:db8::1", "fd00::1"];
    for (const denyAction of ["drop", "reject"] as const) {
      const e = evaluator(family, [pod], { denyAction });
      const output = (rest: Partial<Packet>) =>
        e.runHook("output", tcp(host, to, { sourceIsLocal: true, ...rest })).verdict;
      const cut = { state: "established", connectionMark: cutMark | 7 } as const;
      assert.equal(output({ oifname: "calixp", ...cut }), denyAction);
      assert.equal(output({ oifname: "calixp", ...cut, connectionMark: 7 }), "accept");
      assert.equal(output({ oifname: "calixp" }), "accept");
      assert.equal(output({ oifname: "eth0", ...cut }), "accept");
    }
  }
});

Deno.test("an interface without an endpoint is closed in every direction, in both families", () => {
  for (const family of [4, 6] as const) {
    const [from, to] = family === 4 ? ["10.0.0.9", "10.0.0.1"] : ["fd00::9", "fd00::1"];
    const e = evaluator(family, [pod]);
    const forward = (p: Packet) => e.run("filter-FORWARD", p).verdict;
    assert.equal(forward(tcp(from, to, { iifname: "caliNew", oifname: "eth0" })), "drop");
    assert.equal(forward(tcp(to, from, { iifname: "eth0", oifname: "caliNew" })), "drop");
    assert.equal(forward(tcp(from, to, { iifname: "caliNew", oifname: "calixp" })), "drop");
    assert.equal(forward(tcp(to, from, { iifname: "calixp", oifname: "caliNew" })), "drop");
    assert.equal(e.run("filter-INPUT", tcp(from, to, { iifname: "caliNew" })).verdict, "drop");
    // Established or not: nothing was allowed through it.
    assert.equal(
      forward(tcp(from, to, { iifname: "caliNew", oifname: "eth0", state: "established" })),
      "drop",
    );
    // Others are none of our business.
    assert.equal(forward(tcp(from, to, { iifname: "eth0", oifname: "eth1" })), "accept");
    assert.equal(e.run("filter-INPUT", tcp(from, to, { iifname: "eth0" })).verdict, "accept");
  }
});

Deno.test("pods without policy reach each other, also on one node, and answers come back", () => {
  const e = evaluator(4, [pod, other]);
  const path = { iifname: "calixp", oifname: "calixq" };
  assert.equal(e.run("filter-FORWARD", tcp("10.0.0.1", "10.0.0.2", path)).verdict, "accept");
  const closed = evaluator(4, [
    pod,
    other,
    kubernetesPolicy("x", "deny", { podSelector: {}, policyTypes: ["Ingress", "Egress"] }),
  ]);
  const verdict = (state: Packet["state"]) =>
    closed.run("filter-FORWARD", tcp("10.0.0.1", "10.0.0.2", { ...path, state })).verdict;
  assert.equal(verdict("new"), "drop");
  assert.equal(verdict("established"), "accept");
  assert.equal(verdict("related"), "accept");
  assert.equal(verdict("invalid"), "drop");
});

Deno.test("a pod may send from its own addresses only", () => {
  const objects = [endpoint("x", "p", ["10.0.0.1"], { spoofing: ["192.0.2.0/24"] }), other];
  const e = evaluator(4, objects, { sourceSpoofing: true });
  const raw = (from: string, rest: Partial<Packet>) =>
    e.run("raw-PREROUTING", tcp(from, "10.0.0.2", rest)).verdict;
  assert.equal(raw("10.0.0.1", { iifname: "calixp" }), "accept");
  assert.equal(raw("10.0.0.7", { iifname: "calixp", spoofed: true }), "drop");
  assert.equal(raw("10.0.0.7", { iifname: "eth0", spoofed: true }), "accept");
  // Unless the endpoint is allowed to.
  assert.equal(raw("192.0.2.7", { iifname: "calixp", spoofed: true }), "accept");
  assert.equal(raw("192.0.2.7", { iifname: "calixq", spoofed: true }), "drop");
  // And only where the cluster's administrator lets endpoints be allowed to.
  const packet = tcp("192.0.2.7", "10.0.0.2", { iifname: "calixp", spoofed: true });
  assert.equal(evaluator(4, objects).run("raw-PREROUTING", packet).verdict, "drop");
});

Deno.test("marks of a packet that comes in are cleared, others' bits stay", () => {
  const e = evaluator(4, [pod]);
  const packet = tcp("192.0.2.1", "10.0.0.1", { iifname: "eth0", mark: 0xffff_ffff });
  assert.equal(e.run("raw-PREROUTING", packet).mark, 0xffe4_ffff);
  // An accept bit that somebody set does not open a pod.
  const closed = evaluator(4, [
    pod,
    kubernetesPolicy("x", "deny", { podSelector: {}, policyTypes: ["Ingress"] }),
  ]);
  const forged = { ...packet, oifname: "calixp", mark: 0x30000 };
  assert.equal(closed.run("filter-FORWARD", forged).verdict, "drop");
});

Deno.test("router advertisements and redirects of pods are dropped, whatever policy says", () => {
  const e = evaluator(6, [pod]);
  for (const type of [134, 137]) {
    assert.equal(e.run("raw-PREROUTING", icmp6(type, "fe80::1")).verdict, "drop");
    // Also from an interface that has no endpoint, and with no pod at all.
    assert.equal(
      evaluator(6, []).run("raw-PREROUTING", icmp6(type, "fe80::1", { iifname: "cali9" })).verdict,
      "drop",
    );
    assert.equal(
      e.run("raw-PREROUTING", icmp6(type, "fe80::1", { iifname: "eth0" })).verdict,
      "accept",
    );
  }
});

Deno.test("neighbour discovery works for a pod that may say nothing else", () => {
  const e = evaluator(6, [
    pod,
    kubernetesPolicy("x", "deny", { podSelector: {}, policyTypes: ["Egress"] }),
  ]);
  for (const type of [130, 131, 132, 133, 135, 136, 143]) {
    assert.equal(e.run("filter-INPUT", icmp6(type, "fe80::1")).verdict, "accept", `${type}`);
  }
  assert.equal(e.run("filter-INPUT", icmp6(128, "fd00::1")).verdict, "drop");
  // Duplicate address detection and listener reports come without an address.
  for (const type of [131, 135, 143]) {
    assert.equal(e.run("raw-PREROUTING", icmp6(type, "::", { spoofed: true })).verdict, "accept");
  }
  assert.equal(e.run("raw-PREROUTING", icmp6(128, "::", { spoofed: true })).verdict, "drop");
});

Deno.test("to its own host a pod needs egress policy, then the configured action", () => {
  const packet = tcp("10.0.0.1", "192.0.2.1", { iifname: "calixp", destinationIsLocal: true });
  const verdict = (objects: PolicyObject[], parameters?: Partial<PolicyParameters>) =>
    evaluator(4, objects, parameters).run("filter-INPUT", packet).verdict;
  assert.equal(verdict([pod]), "accept");
  assert.equal(verdict([pod], { endpointToHostAction: "drop" }), "drop");
  assert.equal(verdict([pod], { endpointToHostAction: "return" }), "accept");
  const deny = kubernetesPolicy("x", "deny", { podSelector: {}, policyTypes: ["Egress"] });
  assert.equal(verdict([pod, deny]), "drop");
});

Deno.test("pods may not tunnel, unless they may", () => {
  const path = { iifname: "calixp", oifname: "eth0" };
  const vxlan = tcp("10.0.0.1", "192.0.2.1", { ...path, protocol: 17, destinationPort: 4789 });
  const ipip = tcp("10.0.0.1", "192.0.2.1", { ...path, protocol: 4 });
  const e = evaluator(4, [pod]);
  assert.equal(e.run("filter-FORWARD", vxlan).verdict, "drop");
  assert.equal(e.run("filter-FORWARD", ipip).verdict, "drop");
  const free = evaluator(4, [pod], {
    allowVxlanFromWorkloads: true,
    allowIpipFromWorkloads: true,
  });
  assert.equal(free.run("filter-FORWARD", vxlan).verdict, "accept");
  assert.equal(free.run("filter-FORWARD", ipip).verdict, "accept");
});

Deno.test("tunnel packets come in from nodes alone", () => {
  const node = calico("Node", "node2", {
    bgp: { ipv4Address: "192.0.2.2/24" },
    ipv4VXLANTunnelAddr: "10.0.9.1",
  });
  const vxlan = (from: string): Packet =>
    tcp(from, "192.0.2.1", {
      iifname: "eth0",
      protocol: 17,
      destinationPort: 4789,
      destinationIsLocal: true,
    });
  const ipip = (from: string): Packet => ({ ...vxlan(from), protocol: 4 });
  const pools = [
    calico("IPPool", "v", { cidr: "10.0.0.0/16", vxlanMode: "CrossSubnet" }),
    calico("IPPool", "i", { cidr: "10.1.0.0/16", ipipMode: "Always" }),
  ];
  const e = evaluator(4, [node, ...pools], { externalNodes: ["198.51.100.0/24"] });
  const input = (p: Packet, on = e) => on.run("filter-INPUT", p).verdict;
  assert.equal(input(vxlan("192.0.2.2")), "accept");
  assert.equal(input(vxlan("192.0.2.66")), "drop");
  assert.equal(input(vxlan("198.51.100.6")), "accept");
  // By broadcast and multicast nobody's do.
  for (const from of ["192.0.2.2", "192.0.2.66"]) {
    assert.equal(input({ ...vxlan(from), destinationIsLocal: false }), "drop");
  }
  assert.equal(input(ipip("192.0.2.2")), "accept");
  assert.equal(input(ipip("192.0.2.66")), "drop");
  // Without such a pool the ports are the host's own affair.
  assert.equal(input(vxlan("192.0.2.66"), evaluator(4, [node])), "accept");
  assert.equal(
    input(vxlan("192.0.2.66"), evaluator(4, [node], { vxlan: { 4: true, 6: false } })),
    "drop",
  );
});

Deno.test("sources in masquerading pools leave the pools with the node's address", () => {
  const pools = [
    calico("IPPool", "a", { cidr: "10.0.0.0/16", natOutgoing: true }),
    calico("IPPool", "b", { cidr: "10.1.0.0/16" }),
    calico("IPPool", "off", { cidr: "10.2.0.0/16", natOutgoing: true, disabled: true }),
    calico("IPPool", "lb", { cidr: "10.3.0.0/16", allowedUses: ["LoadBalancer"] }),
    calico("Node", "node2", { bgp: { ipv4Address: "192.0.2.2/24" } }),
  ];
  const masqueraded = (from: string, to: string, parameters?: Partial<PolicyParameters>) => {
    const run = evaluator(4, pools, parameters).run(
      "nat-POSTROUTING",
      tcp(from, to, { oifname: "eth0" }),
    );
    return run.decidedBy?.rule.statements.some((s) => "do" in s && s.do === "masquerade") ?? false;
  };
  assert.equal(masqueraded("10.0.0.1", "203.0.113.1"), true);
  assert.equal(masqueraded("10.0.0.1", "10.1.0.1"), false);
  assert.equal(masqueraded("10.1.0.1", "203.0.113.1"), false);
  assert.equal(masqueraded("10.2.0.1", "203.0.113.1"), true);
  assert.equal(masqueraded("10.0.0.1", "10.2.0.1"), false);
  assert.equal(masqueraded("10.0.0.1", "10.3.0.1"), true);
  assert.equal(masqueraded("10.0.0.1", "192.0.2.2"), true);
  assert.equal(
    masqueraded("10.0.0.1", "192.0.2.2", { natOutgoingExclusions: "IPPoolsAndHostIPs" }),
    false,
  );
  assert.equal(masqueraded("10.0.0.1", "203.0.113.1", { natOutgoingInterface: "eth9" }), false);
});

Deno.test("packets to service networks that nobody translated do not loop", () => {
  const e = evaluator(4, [pod], { serviceCidrs: ["10.96.0.0/12", "fd00:96::/112"] });
  const path = { iifname: "calixp", oifname: "eth0" };
  assert.equal(e.run("filter-FORWARD", tcp("10.0.0.1", "10.96.0.10", path)).verdict, "drop");
  assert.equal(e.run("filter-FORWARD", tcp("10.0.0.1", "10.112.0.10", path)).verdict, "accept");
});

Deno.test("denials can be answers", () => {
  const e = evaluator(4, [
    pod,
    kubernetesPolicy("x", "deny", { podSelector: {}, policyTypes: ["Ingress"] }),
  ], { denyAction: "reject" });
  const packet = tcp("192.0.2.1", "10.0.0.1", { iifname: "eth0", oifname: "calixp" });
  assert.equal(e.run("filter-FORWARD", packet).verdict, "reject");
});

Deno.test("base chains accept in the end: the table alone opens nothing and closes only pods", () => {
  for (const family of [4, 6] as const) {
    const engine = new PolicyEngine({ nodeName: "node1" });
    engine.update([{ put: pod }]);
    for (const chain of engine.ruleset(family).chains.values()) {
      if (chain.base) assert.equal(chain.base.policy, "accept", chain.name);
    }
  }
});
