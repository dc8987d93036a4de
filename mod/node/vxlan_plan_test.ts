import assert from "node:assert/strict";
import { formatIp, formatPrefix, type Ip, mustIp, mustPrefix } from "../net/mod.ts";
import { felixParameters } from "./felix.ts";
import { type KernelPath, resolveByOthers } from "./next_hops.ts";
import type { PlannedRoute } from "./route_plan.ts";
import { StateWorld } from "./testing/world.ts";
import { vtepMac } from "./vxlan.ts";
import { planDevice, planTunnels } from "./vxlan_plan.ts";

const ETH0 = 2, DEVICE = 5;
const eth0 = { index: ETH0, name: "eth0", mtu: 1500 };

const path = (prefix: string, protocol: number, metric = 0, gateway?: string): KernelPath => ({
  prefix: mustPrefix(prefix),
  protocol,
  metric,
  type: "unicast",
  hop: { oif: ETH0, gateway: gateway ? mustIp(gateway) : undefined },
});
const paths = [
  path("192.0.2.0/24", 2),
  path("0.0.0.0/0", 3, 0, "192.0.2.1"),
  path("2001:db8::/64", 2, 256),
];

function text({ prefix, type, protocol, hops }: PlannedRoute): string {
  const ways = hops.map(({ gateway, oif, onlink }) =>
    `${gateway ? `via ${formatIp(gateway)} ` : ""}dev ${oif === ETH0 ? "eth0" : "vxlan"}${
      onlink ? " onlink" : ""
    }`
  );
  assert.equal(`${type} ${protocol}`, "unicast 80");
  return `${formatPrefix(prefix)} ${ways.join(", ")}`;
}

function plan(world: StateWorld, device: { index: number; up: boolean } | null = up) {
  const made = planTunnels(4, {
    nodeName: world.nodeName,
    nodes: world.state.nodes,
    pools: world.state.poolPrefixes(),
    blocks: world.state.blocks.values(),
    device: device ?? undefined,
    resolve: (nextHop: Ip) => resolveByOthers(paths, nextHop),
  });
  return {
    address: made.address && formatIp(made.address),
    routes: [...made.routes.values()].map(text).sort(),
    neighbours: Object.fromEntries(made.neighbours),
    forwarding: Object.fromEntries(made.forwarding),
    awaited: [...made.awaited],
  };
}

const up = { index: DEVICE, up: true };

/** Two nodes of one subnet, a third elsewhere. */
function cluster(mode: string): StateWorld {
  const world = new StateWorld("node1");
  world.pool("p", { cidr: "10.244.0.0/16", vxlanMode: mode });
  const node = (n: number, address: string) =>
    world.node(`node${n}`, {
      bgp: { ipv4Address: address },
      ipv4VXLANTunnelAddr: `10.244.${n}.0`,
    });
  node(1, "192.0.2.11/24");
  node(2, "192.0.2.12/24");
  node(3, "198.51.100.13/24");
  for (const n of [1, 2, 3]) world.block(`10.244.${n}.0/26`, { node: `node${n}` });
  return world;
}

Deno.test("Always: every block behind its node's tunnel address", () => {
  assert.deepEqual(plan(cluster("Always")), {
    address: "10.244.1.0",
    routes: [
      "10.244.2.0/26 via 10.244.2.0 dev vxlan onlink",
      "10.244.3.0/26 via 10.244.3.0 dev vxlan onlink",
    ],
    neighbours: {
      "10.244.2.0": vtepMac("node2", 4),
      "10.244.3.0": vtepMac("node3", 4),
    },
    forwarding: {
      [vtepMac("node2", 4)]: "192.0.2.12",
      [vtepMac("node3", 4)]: "198.51.100.13",
    },
    awaited: [],
  });
});

Deno.test("CrossSubnet: a node of our subnet without a tunnel, and never onlink", () => {
  assert.deepEqual(plan(cluster("CrossSubnet")).routes, [
    "10.244.2.0/26 via 192.0.2.12 dev eth0",
    "10.244.3.0/26 via 10.244.3.0 dev vxlan onlink",
  ]);
  // A prefix length that says nothing of a subnet: nobody is beside us.
  const world = cluster("CrossSubnet");
  const spec = { bgp: { ipv4Address: "192.0.2.11/32" }, ipv4VXLANTunnelAddr: "10.244.1.0" };
  world.node("node1", spec);
  assert.deepEqual(plan(world).routes.length, 2);
  assert.ok(plan(world).routes.every((r) => r.endsWith("onlink")));
});

Deno.test("IPv6: every far end has a route of its own through the tunnel, before the routes by it", () => {
  const world = new StateWorld("node1");
  world.pool("p", { cidr: "fd00:10::/48", vxlanMode: "CrossSubnet" });
  world.pool("q", { cidr: "fd00:20::/48", vxlanMode: "Always" });
  for (const [n, net] of [[1, 1], [2, 1], [3, 2]]) {
    world.node(`node${n}`, {
      bgp: { ipv6Address: `2001:db8:0:${net}::${n}/64` },
      ipv6VXLANTunnelAddr: `fd00:10::${n}00`,
    });
    world.block(`fd00:10::${n}00/122`, { node: `node${n}` });
    world.block(`fd00:20::${n}00/122`, { node: `node${n}` });
  }
  // Of a pool of blocks of one address, the tunnel's own is one.
  world.pool("r", { cidr: "fd00:30::/48", vxlanMode: "CrossSubnet" });
  world.node("node4", {
    bgp: { ipv6Address: "2001:db8:0:1::4/64" },
    ipv6VXLANTunnelAddr: "fd00:30::4",
  });
  world.block("fd00:30::4/128", { node: "node4" });
  const routes = [
    ...planTunnels(6, {
      nodeName: "node1",
      nodes: world.state.nodes,
      pools: world.state.poolPrefixes(),
      blocks: world.state.blocks.values(),
      device: up,
      resolve: (nextHop: Ip) => resolveByOthers([path("2001:db8:0:1::/64", 2, 256)], nextHop),
    }).routes.values(),
  ].map(text);
  const own = routes.filter((route) => /\/128 /.test(route)).sort();
  assert.deepEqual(own, [
    "fd00:10::200/128 dev vxlan",
    "fd00:10::300/128 dev vxlan",
    "fd00:30::4/128 dev vxlan",
  ]);
  assert.deepEqual(routes.slice(own.length).sort(), [
    "fd00:10::200/122 via 2001:db8:0:1::2 dev eth0",
    "fd00:10::300/122 via fd00:10::300 dev vxlan onlink",
    "fd00:20::200/122 via fd00:10::200 dev vxlan onlink",
    "fd00:20::300/122 via fd00:10::300 dev vxlan onlink",
  ]);
});

Deno.test("Never: nothing", () => {
  const made = plan(cluster("Never"), null);
  assert.deepEqual([made.routes, made.awaited, made.neighbours], [[], [], {}]);
});

Deno.test("a way through tunnels begins when both ends have an address and the device is up", () => {
  const blocks = ["10.244.2.0/26", "10.244.3.0/26"];
  const own = { bgp: { ipv4Address: "192.0.2.11/24" } };
  const world = cluster("Always");
  assert.deepEqual(plan(world, { index: DEVICE, up: false }).awaited, blocks);
  assert.deepEqual(plan(world, null).awaited, blocks);
  world.node("node1", own);
  assert.deepEqual(plan(world).awaited, blocks, "our own address is missing");
  assert.deepEqual(plan(world).routes, []);
  const lacking = cluster("Always");
  lacking.node("node3", { bgp: { ipv4Address: "198.51.100.13/24" } });
  assert.deepEqual(plan(lacking).awaited, ["10.244.3.0/26"], "theirs is missing");
  assert.deepEqual(plan(lacking).routes, ["10.244.2.0/26 via 10.244.2.0 dev vxlan onlink"]);
  lacking.node("node3", undefined);
  assert.deepEqual(
    plan(lacking).awaited,
    ["10.244.3.0/26"],
    "the node has gone, its block has not",
  );
});

Deno.test("borrowed addresses go to who has them; so do those of nobody's block", () => {
  const world = cluster("Always");
  world.block("10.244.2.0/26", {
    node: "node2",
    given: { "10.244.2.5": "node3", "10.244.2.6": "node1", "10.244.2.7": "node2" },
  });
  world.block("10.244.9.0/26", { given: { "10.244.9.1": "node2", "10.244.9.2": "node1" } });
  assert.deepEqual(plan(world).routes, [
    "10.244.2.0/26 via 10.244.2.0 dev vxlan onlink",
    "10.244.2.5/32 via 10.244.3.0 dev vxlan onlink",
    "10.244.3.0/26 via 10.244.3.0 dev vxlan onlink",
    "10.244.9.1/32 via 10.244.2.0 dev vxlan onlink",
  ]);
});

Deno.test("a tunnel address outside of its node's blocks is on the device itself", () => {
  const world = cluster("Always");
  world.node("node2", {
    bgp: { ipv4Address: "192.0.2.12/24" },
    ipv4VXLANTunnelAddr: "10.244.3.9", // borrowed
  });
  world.block("10.244.3.0/26", { node: "node3", given: { "10.244.3.9": "node2" } });
  world.node("node4", { bgp: { ipv4Address: "192.0.2.14/24" }, ipv4VXLANTunnelAddr: "10.99.0.1" });
  assert.deepEqual(plan(world).routes, [
    "10.244.2.0/26 via 10.244.3.9 dev vxlan onlink",
    "10.244.3.0/26 via 10.244.3.0 dev vxlan onlink",
    "10.244.3.9/32 dev vxlan",
    "10.99.0.1/32 dev vxlan",
  ]);
});

Deno.test("the narrowest pool decides; other families' and other pools' blocks are not ours", () => {
  const world = cluster("Always");
  world.pool("narrow", { cidr: "10.244.3.0/24", vxlanMode: "Never" });
  world.pool("six", { cidr: "fd00::/48", vxlanMode: "Always" });
  world.block("fd00::/122", { node: "node2" });
  world.block("10.50.0.0/26", { node: "node2" });
  const made = plan(world);
  assert.deepEqual(made.routes, [
    "10.244.2.0/26 via 10.244.2.0 dev vxlan onlink",
    "10.244.3.0/32 dev vxlan",
  ]);
  assert.deepEqual(made.awaited, []);
});

Deno.test("a MAC that the Node names counts; of two ends that are the same the first does", () => {
  const world = cluster("Always");
  const end = (tunnel: string, more = {}) => ({
    bgp: { ipv4Address: "192.0.2.12/24" },
    ipv4VXLANTunnelAddr: tunnel,
    ...more,
  });
  world.node("node2", end("10.244.2.0", { vxlanTunnelMACAddr: "66:AA:bb:cc:dd:ee" }));
  assert.equal(plan(world).neighbours["10.244.2.0"], "66:aa:bb:cc:dd:ee");
  world.node("node0", end("10.244.2.0"));
  assert.equal(plan(world).neighbours["10.244.2.0"], vtepMac("node0", 4));
  assert.equal(plan(world).forwarding["66:aa:bb:cc:dd:ee"], undefined);
});

Deno.test("MACs follow from the node's name", () => {
  // printf a | sha1sum; printf a-v6 | sha1sum
  assert.equal(vtepMac("a", 4), "66:86:f7:e4:37:fa");
  assert.equal(vtepMac("a", 6), "66:b0:25:93:68:b9");
});

Deno.test("the device is as FelixConfiguration and the host have it, or a fault says why not", () => {
  const felix = (environment: Record<string, string> = {}) =>
    felixParameters("node1", new Map(Object.entries(environment)), new Map());
  const device = (world: StateWorld, parameters = felix(), family: 4 | 6 = 4) => {
    const made = planDevice(family, {
      nodeName: "node1",
      node: world.state.nodes.get("node1"),
      pools: world.state.poolPrefixes(),
      parameters,
      hostMtu: 1500,
      interfaceOf: (ip) => formatIp(ip) === "192.0.2.11" ? eth0 : undefined,
    });
    if (!made || "fault" in made) return made;
    assert.deepEqual([made.parent, made.warning], [eth0, undefined]);
    return { device: made.device };
  };
  const made = {
    vni: 4096,
    port: 4789,
    local: mustIp("192.0.2.11"),
    parentIndex: ETH0,
    learning: false,
    mac: vtepMac("node1", 4),
    mtu: 1450,
    up: true,
  };
  assert.deepEqual(device(cluster("Always")), { device: made });
  assert.equal(device(cluster("Never")), undefined);
  assert.equal(device(cluster("Always"), felix({ vxlanenabled: "false" })), undefined);
  assert.ok(device(cluster("Never"), felix({ vxlanenabled: "true" })));
  const others = felix({ vxlanvni: "42", vxlanport: "8472", vxlanmtu: "1400" });
  assert.deepEqual(device(cluster("CrossSubnet"), others), {
    device: { ...made, vni: 42, port: 8472, mtu: 1400 },
  });
  const moved = cluster("Always");
  moved.node("node1", { bgp: { ipv4Address: "192.0.2.99/24" } });
  assert.deepEqual(device(moved), {
    fault: 'no interface has 192.0.2.99, the address of the Node "node1"',
  });
  const six = cluster("Never");
  six.pool("six", { cidr: "fd00::/48", vxlanMode: "Always" });
  assert.deepEqual(device(six, felix(), 6), {
    fault: 'the Node "node1" has no IPv6 address for VXLAN to use',
  });
  assert.equal(device(six), undefined, "an IPv6 pool wants no IPv4 tunnels");
});

Deno.test("an MTU that the link cannot bear is held to what it can, and said", () => {
  const plan = (family: 4 | 6, environment: Record<string, string>, link = 1500) => {
    const world = cluster("Always");
    world.pool("six", { cidr: "fd00::/48", vxlanMode: "Always" });
    world.node("node1", { bgp: { ipv4Address: "192.0.2.11/24", ipv6Address: "2001:db8::11/64" } });
    const parameters = felixParameters("node1", new Map(Object.entries(environment)), new Map());
    const made = planDevice(family, {
      nodeName: "node1",
      node: world.state.nodes.get("node1"),
      pools: world.state.poolPrefixes(),
      parameters,
      hostMtu: link,
      interfaceOf: () => ({ ...eth0, mtu: link }),
    })!;
    return "fault" in made ? made.fault : [made.device.mtu, made.warning];
  };
  assert.deepEqual(plan(4, { vxlanmtu: "1450" }), [1450, undefined]);
  assert.deepEqual(plan(4, { vxlanmtu: "1451" }), [
    1450,
    "vxlanMTU 1451 does not fit: eth0 has 1500 bytes, 50 of them for headers; vxlan.calico has 1450",
  ]);
  assert.deepEqual(plan(4, { vxlanmtu: "8951" }, 9000)[0], 8950);
  assert.deepEqual(plan(6, { vxlanmtuv6: "1500" }), [
    1430,
    "vxlanMTUV6 1500 does not fit: eth0 has 1500 bytes, 70 of them for headers; " +
    "vxlan-v6.calico has 1430",
  ]);
  assert.deepEqual(plan(6, {}, 1350), [1280, undefined]);
  assert.deepEqual(
    plan(6, {}, 1349),
    "IPv6 needs 1280 bytes, and VXLAN 70 more for its headers, but the narrowest interface to other " +
      "nodes has 1349; widen it, or set the pools' vxlanMode to Never",
  );
  assert.deepEqual(plan(4, {}, 1349), [1299, undefined], "IPv4's goes on");
  // The interface under the device may be one that counts for no host's MTU.
  const narrow = planDevice(4, {
    nodeName: "node1",
    node: cluster("Always").state.nodes.get("node1"),
    pools: cluster("Always").state.poolPrefixes(),
    parameters: felixParameters("node1", new Map(), new Map()),
    hostMtu: 9000,
    interfaceOf: () => eth0,
  })!;
  assert.ok("device" in narrow && narrow.device.mtu === 1450);
});
