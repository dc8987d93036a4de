import assert from "node:assert/strict";
import { blockSizeOf } from "../ipam/block.ts";
import { blockKey } from "../model/keys.ts";
import { formatPrefix, mustIp, mustPrefix } from "../net/mod.ts";
import { localRoutes } from "./announce.ts";
import { attachFaults, ownNodeFaults } from "./api.ts";
import { readSnapshot, Snapshot } from "./snapshot.ts";
import { ClusterState } from "./state.ts";

const V3 = "/calico/resources/v3/projectcalico.org/";
const block = (cidr: string, affinity: string | null) => ({
  cidr,
  affinity,
  allocations: new Array(blockSizeOf(mustPrefix(cidr))).fill(null),
  unallocated: [],
  attributes: [],
  sequenceNumber: 1,
  sequenceNumberForAllocation: {},
  deleted: false,
});
const object = (kind: string, name: string, spec: object, namespace?: string) => ({
  kind,
  apiVersion: "projectcalico.org/v3",
  metadata: { name, namespace },
  spec,
});
const pool = (name: string, cidr: string, more = {}): [string, unknown] => [
  `${V3}ippools/${name}`,
  object("IPPool", name, { cidr, ...more }),
];
const held = (cidr: string, node: string, state = "confirmed"): [string, unknown][] => [
  [`/calico/ipam/v2/host/${node}/ipv4/block/${cidr.replace("/", "-")}`, { state }],
  [
    `/calico/ipam/v2/assignment/ipv4/block/${cidr.replace("/", "-")}`,
    block(cidr, `host:${node}`),
  ],
];
const endpoint = (node: string, pod: string, ip: string): [string, unknown] => [
  `${V3}workloadendpoints/default/${node}-k8s-${pod}-eth0`,
  object("WorkloadEndpoint", `${node}-k8s-${pod}-eth0`, {
    orchestrator: "k8s",
    node,
    pod,
    endpoint: "eth0",
    ipNetworks: [`${ip}/32`],
  }, "default"),
];

function stateOf(...entries: [string, unknown][]): ClusterState {
  const state = new ClusterState("node1");
  entries.forEach(([key, value], i) => state.apply(key, value, `${i + 1}`));
  return state;
}

const announced = (state: ClusterState) =>
  localRoutes(state).map((r) => `${formatPrefix(r.prefix)} ${r.tag}`).sort();

Deno.test("confirmed blocks are announced whole, addresses outside of them one by one", () => {
  const state = stateOf(
    pool("p", "10.244.0.0/16"),
    ...held("10.244.1.0/26", "node1"),
    ...held("10.244.2.0/26", "node1", "pending"),
    ...held("10.244.3.0/26", "node2"),
    endpoint("node1", "a", "10.244.1.7"),
    endpoint("node1", "borrowed", "10.244.3.7"),
    endpoint("node2", "b", "10.244.3.8"),
    endpoint("node1", "outside", "192.0.2.7"),
  );
  assert.deepEqual(announced(state), ["10.244.1.0/26 block", "10.244.3.7/32 endpoint"]);
});

Deno.test("who has an address is known in blocks of every size", () => {
  const of = (cidr: string, at: number) => {
    const one = block(cidr, null);
    one.allocations[at] = 0;
    const attributes = [{ handle_id: `net.${at}`, secondary: { node: "n1" } }];
    return [blockKey(mustPrefix(cidr)), { ...one, attributes }] as [string, unknown];
  };
  const state = stateOf(
    ...[of("10.0.16.0/20", 4095), of("10.1.0.8/32", 0), of("fd00::40/122", 3)],
    ...[of("10.0.4.0/26", 9)],
  );
  const who = (ip: string) => state.holderOf(mustIp(ip))?.handle;
  assert.deepEqual(
    ["10.0.31.255", "10.1.0.8", "fd00::43", "10.0.4.9", "10.0.4.8", "10.9.0.1"].map(who),
    ["net.4095", "net.0", "net.3", "net.9", undefined, undefined],
  );
});

Deno.test("an affinity without the block's own word is none", () => {
  const state = stateOf(pool("p", "10.244.0.0/16"), held("10.244.1.0/26", "node1")[0]);
  assert.deepEqual(state.ownBlocks(), []);
  state.apply(
    "/calico/ipam/v2/assignment/ipv4/block/10.244.1.0-26",
    block("10.244.1.0/26", "host:node2"),
    "9",
  );
  assert.deepEqual(state.ownBlocks(), []);
});

Deno.test("the narrowest pool decides what is exported; a block of one address is its endpoint", () => {
  const state = stateOf(
    pool("wide", "10.244.0.0/16"),
    pool("narrow", "10.244.5.0/24", { disableBGPExport: true, blockSize: 32 }),
    ...held("10.244.5.9/32", "node1"),
    endpoint("node1", "a", "10.244.5.9"),
    ...held("10.244.6.9/32", "node1"),
    endpoint("node1", "b", "10.244.6.9"),
  );
  assert.deepEqual(announced(state), ["10.244.6.9/32 endpoint"]);
});

Deno.test("a stored pool with host bits is read masked; what cannot be read stands in nobody's way", () => {
  const state = stateOf(
    pool("p", "10.244.3.220/24"),
    [`${V3}nodes/broken`, { kind: "Node", metadata: 7 }],
    ...held("10.244.3.0/26", "node1"),
  );
  assert.deepEqual(announced(state), ["10.244.3.0/26 block"]);
  assert.deepEqual([...state.broken.keys()], [`${V3}nodes/broken`]);
  state.apply(`${V3}nodes/broken`, undefined, "99");
  assert.equal(state.broken.size, 0);
});

Deno.test("an endpoint with its fields in another case is this node's; labels that are no texts are not copied", () => {
  const [key, value] = endpoint("node1", "a", "10.244.5.9") as [string, any];
  const { spec, ...rest } = value;
  const { node, ...others } = spec;
  const state = stateOf([key, { ...rest, Spec: { ...others, Node: node } }]);
  assert.equal(state.endpoints.get(key)?.spec.node, "node1");
  const pod = "/tortie/kubernetes/pods/default/a";
  const labels = (given: unknown) => {
    state.apply(pod, { metadata: { labels: given }, spec: { nodeName: "node1" } }, "99");
    return state.pods.get(pod)?.labels;
  };
  assert.deepEqual(labels({ app: "a", tier: 5, role: ["x"] }), { app: "a" });
  assert.deepEqual(labels(["app"]), {});
});

Deno.test("what keeps every pod from an address is told, until it is mended", () => {
  const config = "/calico/ipam/v2/config";
  const state = new ClusterState("node1");
  for (const bad of [5, [], { strict_affinity: "yes" }, { maxBlocksPerHost: 1.5 }]) {
    state.apply(config, bad, "1");
    const [fault, ...more] = attachFaults(state);
    assert.match(
      fault,
      /^no new pod is given an address: .*\/config\) is damaged: .*tortie ipam configure/,
    );
    assert.deepEqual(more, []);
    state.apply(config, { strict_affinity: true }, "2");
    assert.deepEqual(attachFaults(state), []);
  }
  // To Calico no limit at all.
  state.apply(config, { maxBlocksPerHost: -1 }, "3");
  assert.deepEqual(attachFaults(state), []);
  state.apply(config, 5, "3");
  state.apply(config, undefined, "4");
  assert.deepEqual(attachFaults(state), []);
  // Addresses of the node's own network need none.
  const apart = new ClusterState("node1", true);
  apart.apply(config, 5, "1");
  assert.deepEqual(attachFaults(apart), []);
});

Deno.test("a pool that cannot be read is told of where no other is left for the node", () => {
  const name = "default-ipv4-ippool", key = `${V3}ippools/${name}`;
  const [, sound] = pool(name, "10.244.0.0/16");
  const faults = (...more: [string, unknown][]) =>
    attachFaults(stateOf([`${V3}nodes/node1`, object("Node", "node1", {})], ...more));
  const four =
    /^no new pod is given an IPv4 address: .*IPPool default-ipv4-ippool cannot be read: .*; write it anew/;
  for (const bad of [5, {}, { metadata: 5, spec: { cidr: 5 } }, { metadata: {}, spec: "x" }]) {
    const [fault, ...more] = faults([key, bad]);
    assert.match(fault, four);
    assert.deepEqual(more, []);
    // Whatever stood there before.
    assert.match(faults([key, sound], [key, bad])[0], four);
    // Another one stands in, where it is for pods, of that family, and for this node.
    assert.deepEqual(faults([key, bad], pool("b", "10.0.0.0/16")), []);
    const others = [
      pool("b", "10.0.0.0/16", { nodeSelector: "has(gpu)" }),
      pool("b", "10.0.0.0/16", { allowedUses: ["Tunnel"] }),
      pool("b", "10.0.0.0/16", { disabled: true }),
    ];
    for (const other of others) assert.match(faults([key, bad], other)[0], four);
    // The blocks say which families the cluster has.
    const six = pool("six", "fd00::/48");
    assert.deepEqual(faults([key, bad], six), []);
    assert.match(faults([key, bad], six, ...held("10.244.1.0/26", "node2"))[0], four);
  }
  assert.deepEqual(faults([key, sound]), []);
  assert.deepEqual(faults(), []);
  const state = stateOf([key, sound]);
  state.broken.set(key, "it is not JSON");
  state.givingPools.delete(name);
  assert.match(attachFaults(state)[0], /cannot be read: it is not JSON/);
  state.apply(key, sound, "9");
  assert.deepEqual(attachFaults(state), []);
});

Deno.test("a value that cannot be is named with its object until it is put right", () => {
  const state = new ClusterState("node1");
  const apply = (plural: string, name: string, spec: object | undefined) =>
    state.apply(`${V3}${plural}/${name}`, spec && { metadata: { name }, spec }, "1");
  apply("nodes", "n", { bgp: { ipv4Address: "10.10.1.999/24", ipv6Address: "fd00::1/64" } });
  apply("bgppeers", "p", { peerIP: "10.10.1.80:99999", asNumber: 64512, ttlSecurity: 999 });
  apply("bgpconfigurations", "default", { listenPort: 99999 });
  apply("nodes", "sound", { bgp: { ipv4Address: "10.10.1.12/24" } });
  assert.equal(state.nodes.get("n")!.spec.bgp!.ipv6Address, "fd00::1/64", "the rest counts");
  const texts = [...state.doubts.values()];
  assert.equal(texts.length, 3, texts.join("\n"));
  assert.match(
    texts[0],
    /^Node n: spec\.bgp\.ipv4Address: "?10\.10\.1\.999\/24"? is not allowed: want an IPv4/,
  );
  assert.match(texts[1], /^BGPPeer p: spec\.peerIP: .*99999.*; spec\.ttlSecurity: 999 is not/);
  assert.match(texts[2], /^BGPConfiguration default: spec\.listenPort: 99999 is not/);
  assert.equal(state.broken.size, 0);
  // On Kubernetes it stands in an annotation.
  const metadata = { name: "k", annotations: { "projectcalico.org/kube-labels": "{}" } };
  state.apply(`${V3}nodes/k`, { metadata, spec: { bgp: { ipv4Address: "x/y" } } }, "1");
  assert.match(
    state.doubts.get(`${V3}nodes/k`)!,
    /^Node k: spec\.bgp\.ipv4Address \(annotation projectcalico\.org\/IPv4Address\): "x\/y" is not/,
  );
  state.apply(`${V3}nodes/k`, undefined, "1");
  apply("nodes", "n", { bgp: { ipv4Address: "10.10.1.99/24" } });
  apply("bgppeers", "p", undefined);
  assert.deepEqual([...state.doubts.keys()], [`${V3}bgpconfigurations/default`]);
  // As if it were not there: named among the broken alone.
  apply("bgpconfigurations", "default", { asNumber: "abc" });
  assert.equal(state.doubts.size, 0);
  assert.equal(state.broken.size, 1);
});

Deno.test("the last state on disk gives the same announcements; another node's or half a file none", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/last-state.json`;
  try {
    const entries: [string, unknown][] = [
      pool("p", "10.244.0.0/16"),
      ...held("10.244.1.0/26", "node1"),
      ...held("10.244.3.0/26", "node2"),
      endpoint("node1", "a", "10.244.9.7"),
      endpoint("node2", "b", "10.244.3.8"),
      ["/calico/ipam/v2/handle/x", { block: {}, deleted: false }],
    ];
    const snapshot = new Snapshot(path, "node1", (error) => assert.fail(error));
    for (const [key, value] of entries) snapshot.note(key, { key, value, revision: "1" });
    snapshot.note(entries[0][0], { key: entries[0][0], value: entries[0][1], revision: "2" });
    snapshot.complete();
    snapshot.close();
    assert.deepEqual(announced(readSnapshot(path, "node1")!), announced(stateOf(...entries)));
    assert.doesNotMatch(await Deno.readTextFile(path), /handle|10\.244\.3\.8/);
    assert.equal(readSnapshot(path, "node2"), undefined);
    await Deno.truncate(path, 100);
    assert.equal(readSnapshot(path, "node1"), undefined);
    assert.equal(readSnapshot(`${path}.none`, "node1"), undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a pool whose CIDR cannot be read is none, and in no other's way", () => {
  for (const cidr of ["garbage", "10.244.0.0/99", 7, null, undefined]) {
    const state = stateOf(
      [`${V3}ippools/bad`, object("IPPool", "bad", { cidr })],
      pool("good", "10.244.0.0/16"),
    );
    assert.deepEqual(state.poolPrefixes().map((p) => formatPrefix(p.prefix)), ["10.244.0.0/16"]);
  }
});

Deno.test("of pools with one range the enabled one decides, then the older, on every node alike", () => {
  const order = (...pools: ReturnType<typeof pool>[]) =>
    stateOf(...pools).poolPrefixes().map((p) => p.pool.metadata.name).join(" ");
  const one = (name: string, cidr: string, disabled = false) =>
    [`${V3}ippools/${name}`, object("IPPool", name, { cidr, disabled })] as ReturnType<typeof pool>;
  const pools = [
    one("a", "10.244.0.0/16", true),
    one("b", "10.244.0.0/16"),
    one("c", "10.244.8.0/24", true),
    one("d", "10.0.0.0/8"),
  ];
  assert.equal(order(...pools), "c b a d");
  assert.equal(order(...pools.reverse()), "c b a d");
});

Deno.test("with USE_POD_CIDR nodes' networks count as their blocks, and follow the Node", () => {
  const node = (name: string, podCIDRs: string[]) => ({
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name },
    spec: {},
    status: { podCIDRs },
  });
  const key = (name: string) => `/calico/resources/v3/projectcalico.org/nodes/${name}`;
  for (const usePodCidr of [true, false]) {
    const state = new ClusterState("node1", usePodCidr);
    state.apply(key("node1"), node("node1", ["10.244.1.0/24", "fd00:1::/64"]), "1");
    const topics = state.apply(key("node2"), node("node2", ["10.244.2.0/24", "nonsense"]), "2");
    assert.equal(topics.includes("blocks"), usePodCidr);
    const located = () => [...state.locatedBlocks()].map((b) => `${b.cidr} ${b.affinity}`);
    assert.deepEqual(
      state.ownBlocks().map(formatPrefix),
      usePodCidr ? ["10.244.1.0/24", "fd00:1::/64"] : [],
    );
    assert.equal(located().includes("10.244.2.0/24 host:node2"), usePodCidr);
    state.apply(key("node2"), undefined, "3");
    assert.ok(!located().includes("10.244.2.0/24 host:node2"));
  }
});

Deno.test("the node's own Node is named where it is gone or cannot be read, and no other's", () => {
  const state = new ClusterState("n1");
  const key = (name: string) => `/calico/resources/v3/projectcalico.org/nodes/${name}`;
  const node = (name: string) => ({ kind: "Node", metadata: { name }, spec: {} });
  assert.match(
    ownNodeFaults(state)[0],
    /^no new pod is given an address: Node n1 is not in the datastore .*restart the node service/,
  );
  state.apply(key("n1"), node("n1"), "1");
  state.broken.set(key("n2"), "no JSON");
  assert.deepEqual(ownNodeFaults(state), []);
  state.apply(key("n1"), undefined, "2");
  state.broken.set(key("n1"), "no JSON");
  const faults = ownNodeFaults(state);
  assert.equal(faults.length, 1, faults.join("\n"));
  assert.match(
    faults[0],
    /^Node n1 \(.*\/nodes\/n1\) cannot be read: no JSON; write it anew/,
  );
  state.apply(key("n1"), node("n1"), "3");
  assert.deepEqual(ownNodeFaults(state), []);
});
