/**
 * Records of others that are not as they should be, in every way that a single value can be wrong: none
 * keeps this node from what it does for itself and for the rest of the cluster.
 */
import assert from "node:assert/strict";
import { PolicyEngine } from "../../policy/engine.ts";
import { mutations } from "../ipam/testing/mutations.ts";
import { legibleBlock } from "../ipam/block.ts";
import { affinityKey, blockKey, handleKey, ipamConfigKey, resourceKey } from "../model/keys.ts";
import { ippoolKind } from "../model/ippool.ts";
import { nodeKind } from "../model/node.ts";
import { podKind } from "../model/pod.ts";
import { CLAIMED_ADDRESSES, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { formatIp, formatPrefix, mustPrefix } from "../net/mod.ts";
import { localRoutes } from "./announce.ts";
import { attachFaults } from "./api.ts";
import { ClaimedAddresses } from "./claimed_addresses.ts";
import { exportPolicy } from "./export_policy.ts";
import { felixParameters } from "./felix.ts";
import { planDevices, planKernel } from "./kernel/plan.ts";
import { wantedLabels } from "./label_copy.ts";
import { networkOf } from "./lost_addresses.ts";
import { advertisements, peering } from "./peering.ts";
import { policyChange } from "./policy_change.ts";
import { Snapshot } from "./snapshot.ts";
import { block, StateWorld } from "./testing/world.ts";
import { addressTasks, tunnelHandle } from "./vxlan_addresses.ts";

const THEIRS = mustPrefix("10.244.9.0/26"), OTHER = mustPrefix("10.244.8.0/26");
const OWN = mustPrefix("10.244.1.0/26");
const resource = { apiVersion: "projectcalico.org/v3" };
const labelled = (name: string, namespace?: string) => ({
  metadata: { name, ...(namespace && { namespace }), labels: { a: "b" }, annotations: { c: "d" } },
});

/** Sound records of others, by key. */
const RECORDS: Record<string, object> = {
  [blockKey(THEIRS)]: {
    ...block(formatPrefix(THEIRS), {
      node: "node2",
      given: {
        "10.244.9.0": { node: "node2", handle: "net.c1" },
        "10.244.9.1": { node: "node2", handle: tunnelHandle(4, "node2") },
        "10.244.9.2": "node3",
      },
    }),
    allocations: [0, 1, 2, ...new Array(61).fill(null)],
    unallocated: [3],
    sequenceNumberForAllocation: { 0: 1 },
    affinity_claim_time: "2026-11-26T00:00:00Z",
    hostAffinity: null,
  },
  [affinityKey({ type: "host", name: "node2" }, THEIRS)]: { state: "confirmed", deleted: false },
  [handleKey("net.c1")]: { block: { "10.244.9.0/26": 1 }, deleted: false },
  [resourceKey(nodeKind, "node2")]: {
    ...{ ...resource, kind: "Node", ...labelled("node2") },
    spec: {
      bgp: { ipv4Address: "192.0.2.2/24", asNumber: 64512, routeReflectorClusterID: "1.0.0.1" },
      addresses: [{ address: "192.0.2.2", type: "InternalIP" }],
      orchRefs: [{ orchestrator: "k8s", nodeName: "node2" }],
      ipv4VXLANTunnelAddr: "10.244.9.1",
      vxlanTunnelMACAddr: "66:00:00:00:00:02",
    },
    status: { podCIDRs: ["10.245.2.0/24"] },
  },
  [resourceKey(ippoolKind, "others")]: {
    ...{ ...resource, kind: "IPPool", ...labelled("others") },
    spec: {
      ...{ cidr: "10.250.0.0/16", blockSize: 26, vxlanMode: "Always", ipipMode: "Never" },
      ...{ natOutgoing: true, nodeSelector: "all()", allowedUses: ["Workload", "Tunnel"] },
      ...{ disabled: false, disableBGPExport: false, namespaceSelector: "" },
    },
  },
  [resourceKey(podKind, "p", "default")]: {
    ...{ apiVersion: "v1", kind: "Pod", ...labelled("p", "default") },
    spec: { nodeName: "node2", serviceAccountName: "s", containers: [{ name: "c", image: "i" }] },
    status: { phase: "Running", podIP: "10.244.9.0", podIPs: [{ ip: "10.244.9.0" }] },
  },
  [resourceKey(workloadEndpointKind, "node2-k8s-p-eth0", "default")]: {
    ...{ ...resource, kind: "WorkloadEndpoint" },
    metadata: {
      ...labelled("node2-k8s-p-eth0", "default").metadata,
      annotations: { [CLAIMED_ADDRESSES]: "" },
    },
    spec: {
      ...{ node: "node2", pod: "p", endpoint: "eth0", orchestrator: "k8s", containerID: "c1" },
      ...{ interfaceName: "cali1", ipNetworks: ["10.244.9.0/32"], profiles: ["kns.default"] },
      ports: [{ name: "http", port: 80, protocol: "TCP" }],
    },
  },
};

/** The node as it is without any damage, and everything that is worked out from its state. */
class Reader {
  readonly #world = new StateWorld("node1");
  readonly #claims = new ClaimedAddresses(this.#world.state);
  readonly #engine = new PolicyEngine({ nodeName: "node1" });
  readonly #snapshot = new Snapshot("/nowhere", "node1", () => {});

  constructor() {
    const world = this.#world;
    world.node("node1", {
      bgp: { ipv4Address: "192.0.2.1/24" },
      ipv4VXLANTunnelAddr: "10.244.1.0",
    });
    world.node("node8", {
      bgp: { ipv4Address: "192.0.2.8/24" },
      ipv4VXLANTunnelAddr: "10.244.8.0",
    });
    world.pool("default", { cidr: "10.244.0.0/16", vxlanMode: "Always" });
    const own = { node: "node1", handle: tunnelHandle(4, "node1") };
    world.block(formatPrefix(OWN), { node: "node1", given: { "10.244.1.0": own } });
    world.block(formatPrefix(OTHER), { node: "node8" });
    world.put(affinityKey({ type: "host", name: "node1" }, OWN), { state: "confirmed" });
  }

  get state() {
    return this.#world.state;
  }

  /** As the agent takes a change. */
  put(key: string, value: unknown): void {
    const entry = { key, value: value as any, revision: "9" };
    const change = policyChange(key, value);
    const taken = this.#claims.take(entry);
    this.#snapshot.note(key, taken);
    this.#world.put(key, taken.value);
    if (change) this.#engine.update([change]);
    for (const entry of this.#claims.review(key)) this.#world.put(entry.key, entry.value);
  }

  /** What is worked out for this node's own and the other sound block. */
  read() {
    const { state } = this;
    const felix = felixParameters("node1", new Map(), state.felixConfigurations);
    const parent = { index: 2, name: "eth0", mtu: 1500 };
    const { devices } = planDevices({ state, felix, wireMtu: 1500, interfaceOf: () => parent });
    const plan = planKernel({
      ...{ state, felix, devices, ipv6Endpoints: false },
      paths: [{
        prefix: mustPrefix("192.0.2.0/24"),
        hops: [{ oif: 2 }],
        source: undefined,
        protocol: 2,
      } as any],
      linkOf: (name) => ({ index: 5, name, up: true }),
    });
    peering({
      nodeName: "node1",
      nodes: state.nodes,
      bgpConfigurations: state.bgpConfigurations,
      bgpPeers: state.bgpPeers,
      exportPolicy: exportPolicy({
        pools: state.poolPrefixes().map(({ prefix, pool }) => ({
          prefix,
          disableBGPExport: pool.spec.disableBGPExport ?? false,
        })),
        blocks: state.ownBlocks(),
        advertisements: advertisements("node1", state.bgpConfigurations),
      }),
    });
    for (const endpoint of state.endpoints.values()) wantedLabels(state, endpoint);
    this.#engine.problems();
    return {
      tasks: addressTasks(state),
      own: plan.own.ownBlocks.map(formatPrefix),
      route: plan.own.tunnels?.get(formatPrefix(OTHER))?.hops.map(({ gateway }) =>
        gateway && formatIp(gateway)
      ),
      announced: localRoutes(state).map(({ prefix }) => formatPrefix(prefix)),
      faults: attachFaults(state),
      network: networkOf("node1", state.blocks.values()),
    };
  }
}

for (const [key, sound] of Object.entries(RECORDS)) {
  Deno.test(`whatever is wrong with ${key}, this node does what it did`, () => {
    const reader = new Reader();
    const expected = reader.read();
    assert.deepEqual(expected.route, ["10.244.8.0"]);
    assert.deepEqual([expected.tasks, expected.own], [[], [formatPrefix(OWN)]]);
    reader.put(key, sound);
    assert.deepEqual(reader.read(), expected, "sound");
    assert.deepEqual([...reader.state.broken], []);
    for (const { what, value } of mutations(sound)) {
      try {
        reader.put(key, value);
        assert.deepEqual(reader.read(), expected);
      } catch (error) {
        throw new Error(`${what}: ${(error as Error).stack}`);
      }
      reader.put(key, sound);
      assert.deepEqual([...reader.state.broken], [], what);
    }
  });
}

Deno.test("a damaged block is named, and what is legible of it still leads to its node", () => {
  const key = blockKey(THEIRS), sound: any = RECORDS[key];
  const reader = new Reader();
  reader.put(resourceKey(nodeKind, "node2"), RECORDS[resourceKey(nodeKind, "node2")]);
  const located = () =>
    [...reader.state.blocks.get(formatPrefix(THEIRS))?.allocations ?? []].length;
  for (const { what, value } of mutations(sound)) {
    reader.put(key, value);
    const { fault } = legibleBlock(value, THEIRS);
    const named = reader.state.broken.get(key);
    assert.equal(named !== undefined, fault !== undefined, what);
    if (named) {
      assert.match(named, /IPAM block is damaged: .+; `tortie ipam check`|no object/, what);
    }
  }
  reader.put(key, { ...sound, sequenceNumber: "x", affinity: 5 });
  assert.equal(located(), 64);
  assert.match(reader.state.broken.get(key)!, /its affinity is no text/);
});

Deno.test("a damaged configuration of IPAM is named, whatever is wrong with it", () => {
  const sound = { strict_affinity: true, auto_allocate_blocks: true, maxBlocksPerHost: 20 };
  const reader = new Reader();
  for (const { value } of mutations(sound)) {
    reader.put(ipamConfigKey, value);
    reader.read();
  }
});
