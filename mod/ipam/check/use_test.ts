/**
 * An address that somebody has is never called leaked and never released, whatever was lost of the
 * records; one of which that cannot be told is released only by force.
 */
import assert from "node:assert/strict";
import type { AllocationBlock } from "../../model/ipam_block.ts";
import { blockPrefix, felixStatusKey, resourceKey } from "../../model/keys.ts";
import type { AskNodes, NodeWord } from "../ask_nodes.ts";
import { askedId } from "../questions.ts";
import { type CheckOptions, checkStore } from "./check.ts";
import { commonLeaks, releaseLeaks, reportOf } from "./report.ts";
import { SoundCluster, type TestPod } from "./testing/clusters.ts";
import { MAKERS } from "./testing/holders.ts";
import { FRESH_MS } from "./use.ts";

const PODS = { plural: "pods", home: "kubernetes", namespaced: true } as const;
const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;

const held: AskNodes = (questions) =>
  Promise.resolve(
    new Map([...questions].map(([node, asked]) => [
      node,
      { held: new Set(asked.map(({ ip }) => ip)), asked: new Set(asked.map(askedId)) },
    ])),
  );
const free: AskNodes = (questions) =>
  Promise.resolve(
    new Map(
      [...questions].map((
        [node, asked],
      ) => [node, { held: new Set<string>(), asked: new Set(asked.map(askedId)) }]),
    ),
  );
const blind: AskNodes = (questions) =>
  Promise.resolve(
    new Map([...questions].map(([node, asked]) => [
      node,
      { held: new Set<string>(), asked: new Set(asked.map(askedId)), unseen: "no processes" },
    ])),
  );
const silent = (never: boolean): AskNodes => (questions) =>
  Promise.resolve(
    new Map<string, NodeWord>([...questions].map(([node]) => [node, { silent: "no word", never }])),
  );

interface Case {
  readonly name: string;
  /** Seconds since the address was assigned. */
  readonly age?: number;
  readonly ask?: AskNodes;
  readonly podsKnown?: boolean;
  /** After the endpoint is lost. */
  damage?(cluster: SoundCluster, pod: TestPod, endpoint: any): Promise<unknown>;
  readonly is: "leak" | "unproven" | "used";
}

const podObject = (cluster: SoundCluster, { name }: TestPod, value: unknown) =>
  cluster.store.put(resourceKey(PODS, name, "blue"), value);

type Attribute = AllocationBlock["attributes"][number];

async function changeRecords(
  { store }: SoundCluster,
  change: (attribute: Attribute) => Attribute,
): Promise<void> {
  for (const family of [4, 6] as const) {
    for (const { key, value } of (await store.list<AllocationBlock>(blockPrefix(family))).entries) {
      await store.put(key, { ...value, attributes: value.attributes.map(change) });
    }
  }
}

/** As after a hand's work, or an old version's. */
const loseHandles = (cluster: SoundCluster) =>
  changeRecords(cluster, (one) => ({ ...one, handle_id: null }));

/** As Calico's plugin records a launcher's: the address is the machine's, under a handle of its own. */
const giveToMachine = (cluster: SoundCluster, { name }: TestPod) =>
  changeRecords(
    cluster,
    (one) =>
      one.secondary?.pod === name
        ? { ...one, secondary: { ...one.secondary, "vmi-name": "vm1" } }
        : one,
  );

const CASES: readonly Case[] = [
  { name: "its node says that no container has it", ask: free, is: "leak" },
  { name: "its node says that a container has it", ask: held, is: "used" },
  { name: "its node does not see all of itself", ask: blind, is: "unproven" },
  {
    name: "its node does not see all of itself, and the API knows no such pod",
    ask: blind,
    podsKnown: true,
    is: "leak",
  },
  { name: "its node does not answer", ask: silent(false), is: "unproven" },
  { name: "its node cannot be asked", ask: silent(true), is: "unproven" },
  { name: "nobody asks its node", is: "unproven" },
  {
    name: "its node cannot be asked, and the API knows no such pod",
    ask: silent(true),
    podsKnown: true,
    is: "leak",
  },
  {
    name: "its node does not answer, and the API knows no such pod",
    ask: silent(false),
    podsKnown: true,
    is: "unproven",
  },
  { name: "it was assigned a short while ago", age: 60, ask: free, is: "used" },
  { name: "it was assigned by a clock that is a little ahead", age: -60, ask: free, is: "used" },
  { name: "it was assigned by a clock a day ahead", age: -86_400, ask: free, is: "leak" },
  {
    name: "its ADD is under way: the Pod has no address yet",
    ask: free,
    damage: (cluster, pod) =>
      podObject(cluster, pod, { spec: { nodeName: pod.node }, status: { phase: "Pending" } }),
    is: "used",
  },
  {
    name: "the Pod has gone to another node",
    ask: free,
    damage: (cluster, pod) => podObject(cluster, pod, { spec: { nodeName: "n1" } }),
    is: "leak",
  },
  {
    name: "the Pod is on a node that may be this one, by another name",
    ask: free,
    damage: (cluster, pod) => podObject(cluster, pod, { spec: { nodeName: "elsewhere" } }),
    is: "used",
  },
  {
    name: "the Pod is on the node, which Kubernetes calls otherwise",
    ask: free,
    damage: async (cluster, pod) => {
      const key = resourceKey(NODES, pod.node);
      const { value } = (await cluster.store.get<any>(key))!;
      const orchRefs = [{ orchestrator: "k8s", nodeName: "machine-1" }];
      await cluster.store.put(key, { ...value, spec: { ...value.spec, orchRefs } });
      const status = { podIPs: pod.addresses.map((ip) => ({ ip })) };
      await podObject(cluster, pod, { spec: { nodeName: "machine-1" }, status });
    },
    is: "used",
  },
  {
    name: "the Pod cannot be read",
    ask: free,
    damage: (cluster, pod) => podObject(cluster, pod, null),
    is: "unproven",
  },
  ...[
    ["is null", () => null],
    ["says its addresses as a text", (e: any) => ({ spec: { ...e.spec, ipNetworks: "x" } })],
    ["has null for its addresses", (e: any) => ({ spec: { ...e.spec, ipNetworks: null } })],
  ].map(([what, change]): Case => ({
    name: `the endpoint ${what}`,
    ask: free,
    damage: (cluster, { key }, endpoint) =>
      cluster.store.put(key as string, (change as (value: any) => unknown)(endpoint)),
    is: "unproven",
  })),
  {
    name: "and its record's handle, and the node says that no container has it",
    ask: free,
    damage: (cluster) => loseHandles(cluster),
    is: "leak",
  },
  {
    name: "and its record's handle, and the node says that a container has it",
    ask: held,
    damage: (cluster) => loseHandles(cluster),
    is: "used",
  },
  {
    name: "its node is gone",
    damage: (cluster, { node }) => cluster.store.delete(resourceKey(NODES, node)),
    is: "leak",
  },
  {
    name: "which was a KubeVirt machine's: its next pod gets it",
    ask: free,
    podsKnown: true,
    damage: giveToMachine,
    is: "unproven",
  },
  {
    name: "which was a KubeVirt machine's, and its node is gone",
    ask: silent(true),
    podsKnown: true,
    damage: async (cluster, pod) => {
      await giveToMachine(cluster, pod);
      await cluster.store.delete(resourceKey(NODES, pod.node));
    },
    is: "unproven",
  },
  ...([
    ["says that a container has it", held, "used"],
    ["says that no container has it", free, "leak"],
    ["does not answer", silent(false), "leak"],
    ["cannot be asked", silent(true), "leak"],
  ] as const).map(([what, ask, is]): Case => ({
    name: `the Node object is gone, and the node ${what}`,
    ask,
    podsKnown: true,
    damage: (cluster, { node }) => cluster.store.delete(resourceKey(NODES, node)),
    is,
  })),
  ...([
    ["gone", (cluster: SoundCluster, key: string) => cluster.store.delete(key)],
    ["half-written", (cluster: SoundCluster, key: string) => cluster.store.put(key, null)],
  ] as const).map(([what, damage]): Case => ({
    name: `the Node object is ${what}, and its Pod is on a node of another name`,
    ask: silent(true),
    podsKnown: true,
    damage: async (cluster, pod) => {
      await damage(cluster, resourceKey(NODES, pod.node));
      const status = { podIPs: pod.addresses.map((ip) => ({ ip })) };
      await podObject(cluster, pod, { spec: { nodeName: "machine-1" }, status });
    },
    is: "used",
  })),
  {
    name: "the Node object is gone, and the machine still reports",
    damage: async (cluster, { node }) => {
      await cluster.store.delete(resourceKey(NODES, node));
      await cluster.store.put(felixStatusKey(node), {});
    },
    is: "unproven",
  },
];

for (const { name, age = FRESH_MS / 1000, ask, podsKnown, damage, is } of CASES) {
  Deno.test(`a pod's endpoint is lost, ${name}: ${is}`, async () => {
    const cluster = new SoundCluster();
    try {
      await cluster.begin();
      const pod = (await cluster.addPod("n0"))!;
      const endpoint = (await cluster.store.get(pod.key))!.value;
      await cluster.store.delete(pod.key);
      await damage?.(cluster, pod, endpoint);
      cluster.now += age * 1000;
      const options: CheckOptions = { now: () => cluster.now, ask, podsKnown };
      const [address] = pod.addresses;
      const result = await checkStore(cluster.store, options);
      const found = result.findings.filter(({ subject }) => subject === address);
      assert.deepEqual(found.map(({ kind }) => kind), is === "used" ? [] : [is]);
      const report = reportOf(result, "v1");
      assert.equal(report.allocations[address][0].inUse, is !== "leak");

      // Calicoctl's report of before, or of a version that asked nobody: the second look decides.
      const { addresses: leaks } = commonLeaks([{
        ...report,
        allocations: { [address]: [{ ...report.allocations[address][0], inUse: false }] },
      }]);
      const done = await releaseLeaks(cluster.store, cluster.ipam, leaks, options);
      assert.deepEqual(done.released, is === "leak" ? [address] : []);
      assert.deepEqual(done.inUse.map((one) => one.address), is === "used" ? [address] : []);
      assert.deepEqual(done.unproven.map((one) => one.address), is === "unproven" ? [address] : []);
      assert.deepEqual(
        commonLeaks([report], true).addresses.map(({ ip }) => ip),
        is === "used" ? [] : [address],
      );
      if (is === "leak") return;
      const forced = await releaseLeaks(cluster.store, cluster.ipam, leaks, {
        ...options,
        force: true,
      });
      assert.deepEqual(forced.released, is === "unproven" ? [address] : []);
    } finally {
      await cluster.store.close();
    }
  });
}

Deno.test("what a node says of one allocation says nothing of the next one of the address", async () => {
  const cluster = new SoundCluster();
  try {
    await cluster.begin();
    const pod = (await cluster.addPod("n0"))!;
    const [address] = pod.addresses;
    await cluster.store.delete(pod.key);
    cluster.now += FRESH_MS;
    const { findings } = await checkStore(cluster.store, {
      now: () => cluster.now,
      async ask(questions) {
        await cluster.ipam.releaseByHandle(pod.handle);
        const node = "n0", handle = "net.next";
        await cluster.ipam.assignIp({ address, host: node, handle, attributes: { node } });
        return await free(questions);
      },
    });
    assert.deepEqual(findings.map(({ kind, subject }) => [kind, subject]), [["unproven", address]]);
  } finally {
    await cluster.store.close();
  }
});

for (
  const [name, ask, found] of [
    ["its node says that no container has it", free, ["leaseIdle"]],
    ["its node says that a container has it", held, []],
    ["its node does not see all of itself", blind, []],
    ["nobody asks its node", undefined, []],
  ] as const
) {
  Deno.test(`of a lease no endpoint is seen, ${name}: it stays its ordinal's`, async () => {
    const cluster = new SoundCluster();
    try {
      await cluster.begin();
      const { address } = (await MAKERS["ordinal's pod"](cluster, "n0", 0))!;
      await cluster.store.delete(resourceKey(ENDPOINTS, "n0-k8s-web--0-eth0", "blue"));
      cluster.now += FRESH_MS;
      const options: CheckOptions = { now: () => cluster.now, ask };
      const result = await checkStore(cluster.store, options);
      assert.deepEqual(result.findings.map(({ kind }) => kind), found);
      const report = reportOf(result, "v1");
      assert.equal(report.allocations[address][0].inUse, true);
      assert.deepEqual(commonLeaks([report], true).addresses, []);
      const leaks = [{ ...report.allocations[address][0], inUse: false }];
      const forced = { ...options, force: true };
      const done = await releaseLeaks(cluster.store, cluster.ipam, leaks, forced);
      assert.deepEqual(done.released, []);
      assert.deepEqual(done.inUse.map((one) => one.address), [address]);
    } finally {
      await cluster.store.close();
    }
  });
}
