import assert from "node:assert/strict";
import type { RouteFilter } from "../../bgp/config.ts";
import { type BGPConfigurationInput, bgpConfigurationKind } from "../model/bgp_configuration.ts";
import { bgpFilterKind } from "../model/bgp_filter.ts";
import { type BGPPeerInput, bgpPeerKind } from "../model/bgp_peer.ts";
import type { Kind } from "../model/kind.ts";
import { type NodeInput, nodeKind } from "../model/node.ts";
import { readObject } from "../model/validate.ts";
import { formatIp, formatPrefix, mustPrefix } from "../net/mod.ts";
import { advertisements, hashedRouterId, peering, type PeeringInput } from "./peering.ts";

function map<T>(kind: Kind<any, any>, specs: Record<string, unknown>): Map<string, T> {
  return new Map(
    Object.entries(specs).map(([name, { labels, ...spec }]: [string, any]) => [
      name,
      readObject(kind, {
        apiVersion: kind.apiVersion,
        kind: kind.kind,
        metadata: { name, labels },
        spec,
      }) as T,
    ]),
  );
}

interface World {
  nodes: Record<string, NodeInput["spec"] & { labels?: Record<string, string> }>;
  configurations?: Record<string, BGPConfigurationInput["spec"]>;
  peers?: Record<string, BGPPeerInput["spec"]>;
  filters?: Record<string, unknown>;
}

const node = (v4?: string, v6?: string, more: object = {}, labels?: Record<string, string>) => ({
  bgp: {
    ...(v4 && { ipv4Address: v4 }),
    ...(v6 && { ipv6Address: v6 }),
    ...more,
  },
  labels,
});

function make(nodeName: string, world: World, extra: Partial<PeeringInput> = {}) {
  return peering({
    nodeName,
    nodes: map(nodeKind, world.nodes),
    bgpConfigurations: map(bgpConfigurationKind, world.configurations ?? {}),
    bgpPeers: map(bgpPeerKind, world.peers ?? {}),
    bgpFilters: map(bgpFilterKind, world.filters ?? {}),
    ...extra,
  });
}

/** `Mesh_10_0_0_2 64512` and what else is remarkable. */
function show(result: ReturnType<typeof peering>): string[] {
  return result.peers.map(({ config: c }) =>
    [
      c.name,
      c.remoteAs,
      c.port !== 179 && `port ${c.port}`,
      c.passive && "passive",
      c.routeReflectorClient && "client",
      c.nextHop !== "auto" && `next hop ${c.nextHop}`,
      !c.source && "no source",
    ].filter(Boolean).join(" ")
  );
}

const THREE = {
  a: node("10.0.0.9/24", "fd00::9/64"),
  b: node("10.0.0.10/24", "fd00::a/64"),
  c: node("10.0.0.11"),
};

Deno.test("the mesh: per family, and the smaller text waits", () => {
  assert.deepEqual(show(make("a", { nodes: THREE })), [
    "Mesh_10_0_0_10 64512",
    "Mesh_fd00__a 64512 passive",
    "Mesh_10_0_0_11 64512",
  ]);
  // "10.0.0.10" is the smaller text, though the greater number.
  assert.deepEqual(show(make("b", { nodes: THREE })), [
    "Mesh_10_0_0_9 64512 passive",
    "Mesh_fd00__9 64512",
    "Mesh_10_0_0_11 64512 passive",
  ]);
  for (const [x, y] of [["a", "b"], ["b", "c"], ["a", "c"]]) {
    const waits = (from: string, to: string) => {
      const address = formatIp(make(to, { nodes: THREE }).routerId!);
      return make(from, { nodes: THREE }).peers
        .find((p) => formatIp(p.config.address) === address)!.config.passive;
    };
    assert.notEqual(waits(x, y), waits(y, x), `exactly one of ${x} and ${y} waits`);
  }
});

Deno.test("the mesh is off, or a node is a reflector", () => {
  const configurations = { default: { nodeToNodeMeshEnabled: false } };
  assert.deepEqual(show(make("a", { nodes: THREE, configurations })), []);
  const nodes = {
    ...THREE,
    b: node("10.0.0.10", undefined, { routeReflectorClusterID: "1.0.0.1" }),
  };
  assert.deepEqual(show(make("a", { nodes })), ["Mesh_10_0_0_11 64512"]);
  const reflector = make("b", { nodes });
  assert.deepEqual(show(reflector), []);
  assert.equal(formatIp(reflector.clusterId!), "1.0.0.1");
});

Deno.test("AS numbers, ports, router ID, listeners", () => {
  const nodes = { ...THREE, b: node("10.0.0.10", undefined, { asNumber: 65010 }) };
  const configurations = {
    default: { asNumber: 65000, listenPort: 1790 },
    "node.b": { listenPort: 1791 },
    "node.a": { bindMode: "NodeIP" as const },
  };
  const result = make("a", { nodes, configurations });
  assert.equal(result.as, 65000);
  assert.deepEqual(show(result), [
    "Mesh_10_0_0_10 65010 port 1791",
    "Mesh_10_0_0_11 65000 port 1790",
  ]);
  assert.equal(formatIp(result.routerId!), "10.0.0.9");
  assert.deepEqual(
    result.listen.map((l) => [l.family, l.port, l.address && formatIp(l.address)]),
    [[4, 1790, "10.0.0.9"], [6, 1790, "fd00::9"]],
  );
  const b = make("b", { nodes, configurations }, { listenPort: 7, routerId: "1.2.3.4" });
  assert.deepEqual(b.listen, [{ family: 4, port: 7 }]);
  assert.equal(formatIp(b.routerId!), "1.2.3.4");
  assert.equal(b.as, 65010);
  assert.equal(
    formatIp(make("a", { nodes }, { routerId: "hash" }).routerId!),
    formatIp(hashedRouterId("a")),
  );
  const six = make("x", { nodes: { x: node(undefined, "fd00::1") } });
  assert.equal(formatIp(six.routerId!), formatIp(hashedRouterId("x")), "IPv6 alone");
  assert.equal(make("nobody", { nodes }).routerId, undefined);
  const bad = make("a", { nodes }, { routerId: "fd00::1" });
  assert.match(bad.problems[0].message, /neither hash nor an IPv4 address/);
});

Deno.test("an address of several Nodes is the eldest's, our own is ours, and it is told", () => {
  const nodes = map<any>(nodeKind, {
    ...THREE,
    intruder: node("10.0.0.10/24", undefined, { asNumber: 65001 }),
    "a-mirror": node("10.0.0.9/24"),
  });
  const born = (name: string, time: string) => nodes.get(name).metadata.creationTimestamp = time;
  born("b", "2026-01-01T00:00:00Z");
  born("a", "2026-01-03T00:00:00Z");
  born("intruder", "2026-01-02T00:00:00Z");
  born("a-mirror", "2026-01-01T00:00:00Z");
  const of = (nodeName: string) => make(nodeName, { nodes: {} }, { nodes });
  const a = of("a");
  assert.deepEqual(show(a), [
    "Mesh_10_0_0_10 64512",
    "Mesh_fd00__a 64512 passive",
    "Mesh_10_0_0_11 64512",
  ]);
  assert.deepEqual(a.problems.map(({ object }) => object), ["Node a-mirror", "Node intruder"]);
  assert.match(a.problems[0].message, /10\.0\.0\.9 is this node's own, so it gets no BGP session/);
  assert.match(a.problems[1].message, /10\.0\.0\.10 is the Node b's already/);
  // Who came later is told by all others in the same way.
  assert.deepEqual(of("c").problems.map(({ object }) => object), ["Node intruder", "Node a"]);
  assert.match(of("c").problems[1].message, /is the Node a-mirror's already/);
  // A Node is called what its key says, whatever stands in it.
  nodes.get("b").metadata = undefined;
  nodes.delete("intruder");
  assert.deepEqual(show(of("a")), show(a));
});

Deno.test("what cannot be a session is named by its object; a time or port that cannot be is the default", () => {
  const result = make("a", {
    nodes: {
      a: node("10.0.0.9/24", "fd00::9/64"),
      b: node("10.0.0.10/24"),
      c: node("10.0.0.11/24"),
    },
    peers: {
      "no-port": { peerIP: "10.0.0.80:99999", asNumber: 64512 },
      "no-zone": { peerIP: "fe80::1%eth9", asNumber: 64512 },
      "no-one": { asNumber: 64512 },
      "far-back": {
        peerIP: "10.0.0.83",
        asNumber: 64999,
        keepaliveTime: "-5s",
        maxRestartTime: "-1s",
      },
      "too-far": { peerIP: "10.0.0.84", asNumber: 64999, ttlSecurity: 255 },
      "some": { node: "a", peerSelector: "all()", keepaliveTime: "0s" },
    },
  });
  const said = result.problems.map(({ object, message }) => `${object}: ${message}`);
  const about = (object: string) => said.filter((text) => text.startsWith(`${object}: `));
  for (
    const [object, message] of [
      ["BGPPeer no-port", /spec\.peerIP: "10\.0\.0\.80:99999" is no address with or without port/],
      ["BGPPeer no-zone", /spec\.peerIP: "fe80::1%eth9" is no address/],
      ["BGPPeer no-one", /neither peerIP nor peerSelector says who the peer is/],
      ["BGPPeer too-far", /there is no session: TTL security of 255 hops/],
      ["BGPPeer some", /spec\.keepaliveTime: 0s is not above 0; the default holds/],
    ] as const
  ) {
    assert.match(about(object)[0] ?? "", message, object);
    assert.equal(about(object).filter((text) => message.test(text)).length, 1, object);
  }
  assert.deepEqual(about("BGPPeer far-back"), [
    "BGPPeer far-back: spec.keepaliveTime: -5s is not above 0; the default holds",
    "BGPPeer far-back: spec.maxRestartTime: -1s is below 0; the default holds",
  ]);
  const far = result.peers.find(({ config }) => formatIp(config.address) === "10.0.0.83")!.config;
  assert.deepEqual([far.keepaliveTime, far.gracefulRestart], [undefined, undefined]);

  const mesh = make("a", {
    nodes: {
      a: node("10.0.0.9/24"),
      b: node("10.0.0.10/24"),
      zero: node("0.0.0.0/24"),
      c: node("224.0.0.5/24"),
    },
    configurations: {
      default: { listenPort: 99999, nodeMeshMaxRestartTime: "-5s" },
      "node.b": { listenPort: 0 },
    },
  });
  assert.deepEqual(
    mesh.problems.map(({ object, message }) => `${object}: ${message}`),
    [
      "BGPConfiguration default: spec.nodeMeshMaxRestartTime: -5s is below 0; the default holds",
      "Node c: there is no session: 224.0.0.5 is not the address of a host",
      "Node zero: there is no session: 0.0.0.0 is not the address of a host",
    ],
  );
  const b = mesh.peers.find(({ config }) => formatIp(config.address) === "10.0.0.10")!.config;
  assert.deepEqual([b.port, b.gracefulRestart], [179, undefined]);
  assert.deepEqual(mesh.listen.map(({ port }) => port), [179]);
});

Deno.test("explicit peers: global before node, one for each address and port, never oneself", () => {
  const configurations = { default: { nodeToNodeMeshEnabled: false } };
  const peers: World["peers"] = {
    "a-node": { node: "a", peerIP: "192.0.2.1", asNumber: 65001 },
    "b-global": { peerIP: "192.0.2.1", asNumber: 65002 },
    "c-other-port": { node: "a", peerIP: "192.0.2.1:1179", asNumber: 65003 },
    "d-twice": { node: "a", peerIP: "192.0.2.1:1179", asNumber: 65004 },
    "e-elsewhere": { node: "b", peerIP: "192.0.2.2", asNumber: 65001 },
    "f-self": { peerIP: "10.0.0.9", asNumber: 64512 },
    "g-selected": { nodeSelector: "rack == 'r1'", peerIP: "192.0.2.3", asNumber: 65001 },
    "h-no-family": { node: "c", peerIP: "fd00::77", asNumber: 65001 },
    "i-node": { peerIP: "10.0.0.11", asNumber: 64512, sourceAddress: "None" },
  };
  const nodes = { ...THREE, a: { ...THREE.a, labels: { rack: "r1" } } };
  assert.deepEqual(show(make("a", { nodes, configurations, peers })), [
    "Global_192_0_2_1 65002",
    "Global_10_0_0_11 64512 no source",
    "Node_192_0_2_1_port_1179 65003 port 1179",
    "Node_192_0_2_3 65001",
  ]);
  assert.deepEqual(show(make("c", { nodes, configurations, peers })), [
    "Global_192_0_2_1 65002",
    "Global_10_0_0_9 64512 passive",
  ]);
});

Deno.test("an explicit peer takes the place of the mesh session to the same node", () => {
  const peers: World["peers"] = { p: { node: "a", peerIP: "10.0.0.10", asNumber: 64512 } };
  const names = make("a", { nodes: THREE, peers }).peers.map((p) => p.config.name);
  assert.deepEqual(names, ["Mesh_fd00__a", "Mesh_10_0_0_11", "Node_10_0_0_10"]);
});

Deno.test("reflectors by selector: both ends, clients, and reflectors among themselves", () => {
  const nodes: World["nodes"] = {
    ...THREE,
    r: node("10.0.0.20", undefined, { routeReflectorClusterID: "1.0.0.1" }, { rr: "yes" }),
    s: node("10.0.0.21", undefined, { routeReflectorClusterID: "1.0.0.1" }, { rr: "yes" }),
  };
  const configurations = { default: { nodeToNodeMeshEnabled: false } };
  const peers: World["peers"] = {
    clients: { nodeSelector: "!has(rr)", peerSelector: "has(rr)" },
    reflectors: { nodeSelector: "has(rr)", peerSelector: "has(rr)" },
  };
  const world = { nodes, configurations, peers };
  assert.deepEqual(show(make("a", world)), ["Node_10_0_0_20 64512", "Node_10_0_0_21 64512"]);
  assert.deepEqual(show(make("r", world)), [
    "Node_10_0_0_21 64512",
    "Node_10_0_0_9 64512 client",
    "Node_10_0_0_10 64512 client",
    "Node_10_0_0_11 64512 client",
  ]);
  const manual = { clients: { ...peers!.clients, reversePeering: "Manual" as const } };
  assert.deepEqual(show(make("r", { ...world, peers: manual })), []);
});

Deno.test("each session says where it comes from: the mesh or an object, and which node is there", () => {
  const peers: World["peers"] = {
    rr: { peerSelector: "role == 'rr'" },
    tor: { peerIP: "192.0.2.1", asNumber: 65001 },
  };
  const nodes = { ...THREE, r: node("10.0.0.20", undefined, {}, { role: "rr" }) };
  assert.deepEqual(make("a", { nodes, peers }).peers.map(({ config: c }) => [c.name, c.origin]), [
    ["Mesh_10_0_0_10", { node: "b" }],
    ["Mesh_fd00__a", { node: "b" }],
    ["Mesh_10_0_0_11", { node: "c" }],
    ["Global_10_0_0_20", { object: "BGPPeer rr", node: "r" }],
    ["Global_192_0_2_1", { object: "BGPPeer tor" }],
  ]);
});

Deno.test("settings of a session", () => {
  const peers: World["peers"] = {
    p: {
      peerIP: "192.0.2.1",
      asNumber: 65001,
      localASNumber: 65100,
      nextHopMode: "Self",
      ttlSecurity: 2,
      keepaliveTime: "3s",
      maxRestartTime: "1m30s",
      numAllowedLocalASNumbers: 2,
      reachableBy: "10.0.0.254",
      password: { secretKeyRef: { name: "bgp", key: "p" } },
    },
    q: { peerIP: "192.0.2.2", asNumber: 65001, keepOriginalNextHop: true },
    r: { peerIP: "192.0.2.3", asNumber: 64512, keepOriginalNextHop: true },
  };
  const configurations = { default: { nodeToNodeMeshEnabled: false } };
  const result = make("a", { nodes: THREE, configurations, peers }, {
    holdTime: 240,
    secret: (name, key) => `${name}/${key}`,
  });
  const [p, q, r] = result.peers.map((peer) => peer.config);
  assert.deepEqual(
    [p.localAs, p.nextHop, p.ttlSecurity, p.keepaliveTime, p.gracefulRestart, p.allowLocalAs],
    [65100, "self", 2, 3, 90, 2],
  );
  assert.deepEqual([p.password, p.holdTime, p.families], ["bgp/p", 240, ["ipv4"]]);
  assert.deepEqual([q.nextHop, r.nextHop], ["keep", "auto"], "keep is for external peers");
  assert.deepEqual(
    result.reachable.map(({ prefix, via }) => [formatPrefix(prefix), formatIp(via)]),
    [["192.0.2.1/32", "10.0.0.254"]],
  );
});

Deno.test("what cannot be a session is a problem, and no other session's", () => {
  const peers: World["peers"] = {
    secret: {
      peerIP: "192.0.2.1",
      asNumber: 1,
      password: { secretKeyRef: { name: "s", key: "k" } },
    },
    workload: { localWorkloadSelector: "app == 'x'", asNumber: 65001 },
    nobody: { asNumber: 65001 },
    filtered: { peerIP: "192.0.2.4", asNumber: 1, filters: ["gone"] },
    fine: { peerIP: "192.0.2.5", asNumber: 1 },
  };
  const configurations = {
    default: { nodeMeshPassword: { secretKeyRef: { name: "mesh", key: "k" } } },
  };
  const result = make("a", { nodes: THREE, configurations, peers });
  assert.deepEqual(show(result), ["Global_192_0_2_4 1", "Global_192_0_2_5 1"]);
  const said = new Map(result.problems.map((p) => [p.object, p.message]));
  assert.match(said.get("BGPPeer secret")!, /key k of the Secret s, which cannot be read/);
  assert.match(said.get("BGPConfiguration default")!, /Secret mesh/);
  assert.match(said.get("BGPPeer workload")!, /localWorkloadSelector/);
  assert.match(said.get("BGPPeer nobody")!, /neither peerIP nor peerSelector/);
  assert.match(said.get("BGPPeer filtered")!, /BGPFilter gone does not exist/);
  const { importFilter, exportFilter } = result.peers[0].config;
  const route = {
    prefix: mustPrefix("10.0.0.0/8"),
    attributes: { origin: 0, asPath: [] },
  } as const;
  assert.equal(importFilter!.judge(route).accept, false, "a filter that is gone lets nothing pass");
  assert.equal(exportFilter!.judge(route).accept, false);
});

Deno.test("filters stand before the export policy, per family", () => {
  const peers: World["peers"] = {
    p: { peerIP: "192.0.2.1", asNumber: 1, filters: ["f"] },
    q: { peerIP: "fd00::77", asNumber: 1, filters: ["f"] },
  };
  const filters = {
    f: { exportV4: [{ action: "Reject", cidr: "10.1.0.0/16", matchOperator: "In" }] },
  };
  const behind: RouteFilter = { id: "policy", judge: () => ({ accept: false, reason: "policy" }) };
  const configurations = { default: { nodeToNodeMeshEnabled: false } };
  const [four, six] = make("a", { nodes: THREE, configurations, peers, filters }, {
    exportPolicy: behind,
  }).peers;
  assert.deepEqual([four.filters, six.filters], [["f"], []]);
  assert.equal(six.config.exportFilter, behind);
  assert.equal(six.config.importFilter, undefined);
  const judge = (cidr: string) =>
    four.config.exportFilter!.judge({
      prefix: mustPrefix(cidr),
      attributes: { origin: 0, asPath: [] },
    });
  assert.deepEqual(judge("10.1.2.0/24"), { accept: false, reason: "BGPFilter rule 1 rejects it" });
  assert.deepEqual(judge("10.2.0.0/24"), { accept: false, reason: "policy" });
});

Deno.test("advertised communities: names are resolved, a node's own list replaces the global", () => {
  const configurations = map<any>(bgpConfigurationKind, {
    default: {
      communities: [{ name: "wide", value: "65000:1" }],
      prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["wide", "65000:1:2"] }],
    },
    "node.b": { prefixAdvertisements: [{ cidr: "10.1.0.0/16", communities: ["65000:9"] }] },
  });
  const show = (name: string) =>
    advertisements(name, configurations).map((a) => [formatPrefix(a.prefix), ...a.communities]);
  assert.deepEqual(show("a"), [["10.0.0.0/8", "65000:1", "65000:1:2"]]);
  assert.deepEqual(show("b"), [["10.1.0.0/16", "65000:9"]]);
});
