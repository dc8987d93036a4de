import assert from "node:assert/strict";
import { felixParameters } from "../felix.ts";
import { formatPrefix, mustIp, mustPrefix, type Prefix } from "../../net/mod.ts";
import { podMtu } from "../mtu.ts";
import type { KernelPath } from "../next_hops.ts";
import { StateWorld } from "../testing/world.ts";
import { planDevices, planKernel } from "./plan.ts";

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

Deno.test("a block that an interface has as its network gets no blackhole in front of it", () => {
  const world = new StateWorld();
  world.pool("p", { cidr: "10.0.0.0/24" });
  const [bridged, other] = ["10.0.0.0/26", "10.0.0.64/26"].map(mustPrefix);
  for (const block of [bridged, other]) {
    const cidr = formatPrefix(block);
    world.block(cidr, { node: world.nodeName });
    world.put(`/calico/ipam/v2/host/${world.nodeName}/ipv4/block/${cidr.replace("/", "-")}`, {
      state: "confirmed",
    });
  }
  const path = (prefix: Prefix, more: Partial<KernelPath> = {}): KernelPath => ({
    ...{ prefix, protocol: 2, metric: 0, type: "unicast", hop: { oif: 9 } },
    ...more,
  });
  const blocks = (...paths: KernelPath[]) =>
    planKernel({
      ...{ state: world.state, felix: felixParameters("n", new Map(), new Map()), paths },
      ...{ devices: new Map(), ipv6Endpoints: false, linkOf: () => undefined },
    }).own.ownBlocks.map(formatPrefix);
  const both = [bridged, other].map(formatPrefix);
  assert.deepEqual(blocks(), both);
  assert.deepEqual(blocks(path(bridged)), [formatPrefix(other)]);
  // Other people's routes, and those of wider networks, are none.
  assert.deepEqual(blocks(path(bridged, { protocol: 4 })), both);
  assert.deepEqual(
    blocks(
      path(bridged, { hop: { oif: 9, gateway: mustIp("192.0.2.1") } }),
      path(mustPrefix("10.0.0.0/25")),
    ),
    both,
  );
});
