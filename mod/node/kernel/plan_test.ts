import assert from "node:assert/strict";
import { felixParameters } from "../felix.ts";
import { podMtu } from "../mtu.ts";
import { StateWorld } from "../testing/world.ts";
import { planDevices } from "./plan.ts";

Deno.test("pods' packets fit the link also where it has no room for a tunnel", () => {
  const mtuOf = (link: number, environment: Record<string, string>) => {
    const world = new StateWorld();
    world.pool("six", { cidr: "fd00::/48", vxlanMode: "Always" });
    world.node(world.state.nodeName, { bgp: { ipv6Address: "2001:db8::1/64" } });
    const { state } = world;
    const felix = felixParameters("n", new Map(Object.entries(environment)), new Map());
    const parent = { index: 2, name: "eth0", mtu: link };
    const plan = planDevices({ state, felix, wireMtu: link, interfaceOf: () => parent });
    return [plan.faults.size, podMtu(link, state.poolPrefixes(), felix, plan.linkMtus)];
  };
  assert.deepEqual(mtuOf(1500, { vxlanmtuv6: "1420" }), [0, 1420]);
  assert.deepEqual(mtuOf(1300, { vxlanmtuv6: "1450" }), [1, 1300]);
});
