/** For tests: everything that can go wrong with IPAM's records, done to a sound cluster. */
import { formatIp, formatPrefix, ipAt, parsePrefix } from "../../../net/mod.ts";
import type { AllocationBlock } from "../../../model/ipam_block.ts";
import type { IpamHandle } from "../../../model/ipam_handle.ts";
import {
  affinityKey,
  blockKey,
  blockPrefix,
  handleKey,
  handlePrefix,
  IPAM_PREFIX,
  ipamConfigKey,
  parseBlockKey,
  resourceKey,
} from "../../../model/keys.ts";
import type { Entry } from "../../../store/store.ts";
import type { FindingKind } from "../finding.ts";
import { HALF_WRITTEN } from "../../testing/half_written.ts";
import type { SoundCluster } from "./clusters.ts";

const POOLS = { plural: "ippools", home: "calico", namespaced: false } as const;
const RESERVATIONS = { plural: "ipreservations", home: "calico", namespaced: false } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;
const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;

/** What a damage needs of the cluster: `n` picks one of many. */
export interface Scene {
  readonly cluster: SoundCluster;
  pick<T>(list: readonly T[]): T;
  /** Blocks of nodes in which somebody has an address. */
  used(): Promise<Entry<AllocationBlock>[]>;
  change(key: string, change: (value: any) => unknown): Promise<void>;
}

/** Does the damage and says what the finding must be about; undefined where it cannot be done here. */
export interface Damage {
  readonly name: string;
  readonly kind: FindingKind;
  do(scene: Scene): Promise<string | undefined>;
}

const cidrOf = (key: string) => formatPrefix(parseBlockKey(key)!);

function ofBlock(
  name: string,
  kind: FindingKind,
  change: (block: any, pick: Scene["pick"]) => unknown,
): Damage {
  return {
    name,
    kind,
    async do(scene) {
      const { key } = scene.pick(await scene.used());
      await scene.change(key, (block) => change(block, (list) => scene.pick(list)));
      return cidrOf(key);
    },
  };
}

const taken = (block: AllocationBlock) =>
  block.allocations.flatMap((index, ordinal) => index === null ? [] : [ordinal]);

/** Objects that are of another kind, or whose metadata nobody can read. */
const MISNAMED: readonly { metadata?: object; kind?: unknown; apiVersion?: unknown }[] = [
  { kind: 5 },
  { kind: "IPThing" },
  { apiVersion: 5 },
  { apiVersion: "v1" },
  { metadata: { labels: 5 } },
  { metadata: { annotations: { a: 5 } } },
  { metadata: { creationTimestamp: "garbage" } },
  { metadata: { uid: 5 } },
];

/** At least one of every kind of finding. */
export const DAMAGES: readonly Damage[] = [
  ofBlock("cidr of another block", "blockBroken", (b) => ({ ...b, cidr: "10.1.1.0/29" })),
  ofBlock(
    "an ordinal too few",
    "blockBroken",
    (b) => ({ ...b, allocations: b.allocations.slice(1) }),
  ),
  ofBlock("no object at all", "blockBroken", () => null),
  ofBlock("half-written", "blockBroken", () => HALF_WRITTEN),
  ...[[], 5, {}].map((value) =>
    ofBlock(`no block but ${JSON.stringify(value)}`, "blockBroken", () => value)
  ),
  ofBlock("an owner that is a number", "blockBroken", (b) => ({ ...b, affinity: 7 })),
  ofBlock("a number that is a text", "blockBroken", (b) => ({ ...b, sequenceNumber: "many" })),
  ofBlock("a free address lost from the queue", "freeQueue", (b) => ({
    ...b,
    unallocated: b.unallocated.slice(1),
    ...(b.unallocated.length === 0 && { unallocated: [0] }),
  })),
  ofBlock("a taken address in the queue", "freeQueue", (b, pick) => ({
    ...b,
    unallocated: [pick(taken(b)), ...b.unallocated],
  })),
  ofBlock("an address twice in the queue", "freeQueue", (b) => ({
    ...b,
    unallocated: [...b.unallocated, b.unallocated[0] ?? 0],
  })),
  ofBlock("an ordinal that is none in the queue", "freeQueue", (b) => ({
    ...b,
    unallocated: [...b.unallocated, 4711],
  })),
  ofBlock("no queue", "freeQueue", ({ unallocated: _, ...b }) => b),
  ofBlock("an attribute that is not there", "attributeMissing", (b, pick) => {
    const allocations = [...b.allocations];
    allocations[pick(taken(b))] = 99;
    return { ...b, allocations };
  }),
  ofBlock("an attribute that is no object", "attributeMissing", (b) => ({
    ...b,
    attributes: [null, ...b.attributes.slice(1)],
  })),
  ...[["x"], { node: 5 }].map((secondary) =>
    ofBlock(`attributes ${JSON.stringify(secondary)}`, "attributeBroken", (b) => ({
      ...b,
      attributes: b.attributes.map((one: any, i: number) => i === 0 ? { ...one, secondary } : one),
    }))
  ),
  ...["yesterday", "2099-01-01T00:00:00Z", 5].map((time) =>
    ofBlock(`claimed at ${time}`, "claimTime", (b) => ({ ...b, affinity_claim_time: time }))
  ),
  ofBlock("an attribute without address", "attributeUnused", (b) => ({
    ...b,
    attributes: [...b.attributes, { handle_id: "nobody" }],
  })),
  ofBlock("a number from the future", "sequence", (b, pick) => ({
    ...b,
    sequenceNumberForAllocation: {
      ...b.sequenceNumberForAllocation,
      [pick(taken(b))]: BigInt(b.sequenceNumber) + 1n,
    },
  })),
  ...[[], "x", 5].map((numbers) =>
    ofBlock(`numbers of allocations that are ${JSON.stringify(numbers)}`, "sequence", (b) => ({
      ...b,
      sequenceNumberForAllocation: numbers,
    }))
  ),
  ofBlock("a number below zero", "sequence", (b, pick) => ({
    ...b,
    sequenceNumberForAllocation: { [pick(taken(b))]: -1 },
  })),
  ofBlock("cooling since tomorrow", "coolingTime", (b, pick) => {
    const allocations = [...b.allocations];
    allocations[pick(taken(b))] = b.attributes.length;
    return {
      ...b,
      allocations,
      attributes: [...b.attributes, { releasedAt: "2026-11-24T00:00:00Z" }],
    };
  }),
  ofBlock("marked as deleted", "halfDeleted", (b) => ({ ...b, deleted: true })),
  ofBlock("marked as deleted by a text", "halfDeleted", (b) => ({ ...b, deleted: "true" })),
  ofBlock("a mark that is none", "halfDeleted", (b) => ({ ...b, deleted: "x" })),
  ofBlock("an owner of an unknown kind", "ownerUnknown", (b) => ({ ...b, affinity: "robot:r2" })),
  {
    name: "nobody's, its affinity left behind",
    kind: "affinityWrongOwner",
    async do({ pick, used, change }) {
      const { key, value } = pick(await used());
      await change(key, (block) => ({ ...block, affinity: null }));
      return `${value.affinity} ${cidrOf(key)}`;
    },
  },
  {
    name: "an empty block of nobody",
    kind: "blockOrphan",
    async do({ cluster, used }) {
      const [one] = await used();
      const free = await freeBlock(cluster);
      if (!free) return undefined;
      const size = one.value.allocations.length;
      await cluster.store.create(blockKey(free), {
        ...one.value,
        cidr: formatPrefix(free),
        affinity: null,
        allocations: new Array(size).fill(null),
        unallocated: [...Array(size).keys()],
        attributes: [],
        sequenceNumberForAllocation: {},
      });
      return formatPrefix(free);
    },
  },
  {
    name: "an affinity deleted",
    kind: "blockWithoutAffinity",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      await cluster.store.delete(ownAffinity(key, value));
      return cidrOf(key);
    },
  },
  {
    name: "a block deleted",
    kind: "affinityWithoutBlock",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      await cluster.store.delete(key);
      return `${value.affinity} ${cidrOf(key)}`;
    },
  },
  {
    name: "an affinity of another node",
    kind: "affinityWrongOwner",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      const other = value.affinity === "host:n0" ? "n1" : "n0";
      const owner = { type: "host" as const, name: other };
      await cluster.store.put(affinityKey(owner, parseBlockKey(key)!), { state: "confirmed" });
      return `host:${other} ${cidrOf(key)}`;
    },
  },
  ...[HALF_WRITTEN, [], 5, "confir", { state: 1 }].map((value): Damage => ({
    name: `an affinity that is ${JSON.stringify(value)}`,
    kind: "affinityBroken",
    async do({ cluster, pick, used }) {
      const { key, value: block } = pick(await used());
      await cluster.store.put(ownAffinity(key, block), value);
      return `${block.affinity} ${cidrOf(key)}`;
    },
  })),
  ...(["pending", "pendingDeletion"] as const).map((state): Damage => ({
    name: `an affinity left ${state}`,
    kind: "affinityPending",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      await cluster.store.put(ownAffinity(key, value), { state, deleted: false });
      return `${value.affinity} ${cidrOf(key)}`;
    },
  })),
  ...[true, "x", []].map((deleted): Damage => ({
    name: `an affinity marked as deleted by ${JSON.stringify(deleted)}`,
    kind: "halfDeleted",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      await cluster.store.put(ownAffinity(key, value), { state: "confirmed", deleted });
      return `${value.affinity} ${cidrOf(key)}`;
    },
  })),
  {
    name: "a pool deleted under its blocks",
    kind: "blockOutsidePools",
    async do({ cluster, pick, used }) {
      const { key } = pick(await used());
      await cluster.store.delete(resourceKey(POOLS, key.includes("ipv6") ? "six" : "four"));
      return cidrOf(key);
    },
  },
  {
    name: "a block within a block, and an address of both",
    kind: "addressTwice",
    async do({ cluster, pick, used }) {
      const { key, value } = pick(await used());
      const prefix = parseBlockKey(key)!;
      const ordinal = pick(taken(value));
      const ip = ipAt(prefix, ordinal);
      const within = parsePrefix(`${formatIp(ip)}/${ip.family === 4 ? 32 : 128}`)!;
      await cluster.store.put(blockKey(within), {
        ...value,
        cidr: formatPrefix(within),
        allocations: [0],
        unallocated: [],
        attributes: [value.attributes[value.allocations[ordinal]!]],
        sequenceNumberForAllocation: {},
      });
      return formatIp(ip);
    },
  },
  {
    name: "a block within a block",
    kind: "blocksOverlap",
    async do(scene) {
      const within = DAMAGES.find((d) => d.kind === "addressTwice")!;
      const address = await within.do(scene);
      const { entries } = await scene.cluster.store.list(
        blockPrefix(address!.includes(":") ? 6 : 4),
      );
      const ip = parsePrefix(address!)!;
      const wide = entries.map(({ key }) => parseBlockKey(key)!)
        .find((b) =>
          b.length < ip.length && formatPrefix({ ...ip, length: ip.length }) !== formatPrefix(b) &&
          covers(b, ip)
        )!;
      return `${formatPrefix(wide)} ${formatPrefix(ip)}`;
    },
  },
  {
    name: "a node gone",
    kind: "nodeGone",
    async do({ cluster, pick, used }) {
      const { value } = pick(await used());
      const node = value.affinity!.slice("host:".length);
      await cluster.store.delete(resourceKey(NODES, node));
      return node;
    },
  },
  {
    name: "a pool whose CIDR is none",
    kind: "poolBroken",
    async do({ cluster }) {
      await cluster.pool("odd", "somewhere");
      return "odd";
    },
  },
  ...[
    ...[{ blockSize: "29" }, { blockSize: 28.5 }, { cidr: 7 }, { nodeSelector: 5 }],
    ...[{ disabled: "x" }, { natOutgoing: "x" }, { vxlanMode: 5 }, { assignmentMode: true }],
  ].map((spec): Damage => ({
    name: `a pool with ${JSON.stringify(spec)}`,
    kind: "poolBroken",
    async do({ cluster }) {
      await cluster.pool("odd", "10.77.0.0/24", spec);
      return "odd";
    },
  })),
  ...[...MISNAMED, { metadata: { name: "other" } }].map((more): Damage => ({
    name: `a pool with ${JSON.stringify(more)}`,
    kind: "poolBroken",
    async do({ change }) {
      await change(resourceKey(POOLS, "four"), (pool) => ({
        ...pool,
        ...more,
        metadata: { ...pool.metadata, ...more.metadata },
      }));
      return "four";
    },
  })),
  ...["nodeSelector", "namespaceSelector"].map((field): Damage => ({
    name: `a pool whose ${field} is none`,
    kind: "selectorBroken",
    async do({ change }) {
      await change(resourceKey(POOLS, "four"), (pool) => ({
        ...pool,
        spec: { ...pool.spec, [field]: "((" },
      }));
      return "four";
    },
  })),
  ...[
    null,
    "x",
    {},
    { metadata: { name: "r" }, spec: "x" },
    {
      spec: { reservedCIDRs: "10.0.0.0/30" },
    },
    {
      spec: { reservedCIDRs: ["10.0.0.0/30", "zz", 5] },
    },
    ...["x", 5, null, [], {}, { name: "other" }, { name: 5 }].map((metadata) => ({
      metadata,
      spec: { reservedCIDRs: ["10.77.0.0/30"] },
    })),
    ...MISNAMED.map(({ metadata = {}, ...more }) => ({
      ...more,
      metadata: { name: "r", ...metadata },
      spec: { reservedCIDRs: ["10.77.0.0/30"] },
    })),
  ].map((value): Damage => ({
    name: `a reservation that is ${JSON.stringify(value)}`,
    kind: "reservationBroken",
    async do({ cluster }) {
      await cluster.store.put(resourceKey(RESERVATIONS, "r"), value);
      return "r";
    },
  })),
  ...[null, "x", []].map((value): Damage => ({
    name: `a node that is ${JSON.stringify(value)}`,
    kind: "objectBroken",
    async do({ cluster }) {
      const key = resourceKey(NODES, "n1");
      await cluster.store.put(key, value);
      return key;
    },
  })),
  {
    name: "a pod that is null",
    kind: "objectBroken",
    async do({ cluster, pick }) {
      const { key } = pick(cluster.pods.filter(({ key }) => key.includes("/pods/")));
      await cluster.store.put(key, null);
      return key;
    },
  },
  {
    name: "an address in use whose record has lost its handle",
    kind: "noHandle",
    async do({ cluster, pick, used, change }) {
      const pod = pick(cluster.pods);
      await cluster.store.delete(handleKey(pod.handle));
      for (const { key } of await used()) {
        await change(key, (block) => ({
          ...block,
          attributes: block.attributes.map((one: { handle_id?: string }) =>
            one.handle_id === pod.handle ? { ...one, handle_id: undefined } : one
          ),
        }));
      }
      return pod.addresses[0];
    },
  },
  {
    name: "a pool over another",
    kind: "poolsOverlap",
    async do({ cluster }) {
      await cluster.pool("wide", "10.0.0.0/25");
      return "four wide";
    },
  },
  ofHandle("a handle that counts too much", "handleOvercount", (counts, cidr) => ({
    ...counts,
    [cidr]: counts[cidr] + 1,
  })),
  ofHandle("a handle that counts a block that is not there", "handleOvercount", (counts) => ({
    ...counts,
    "10.0.0.192/29": 1,
  })),
  ofHandle("a handle that counts too little", "handleUndercount", (counts, cidr) => ({
    ...counts,
    [cidr]: counts[cidr] - 2,
  })),
  ofHandle("a handle that does not name its block", "handleUncounted", ({ ...counts }, cidr) => {
    delete counts[cidr];
    return { ...counts, "10.0.0.192/29": 1 };
  }),
  ...([
    ["handleMarked", { deleted: true }],
    ["handleMarked", { deleted: "x" }],
    ["handleOther", { handleID: "other" }],
  ] as const).map(([kind, more]): Damage => ({
    name: `a handle with ${JSON.stringify(more)}`,
    kind,
    async do({ cluster, pick, change }) {
      const { pods } = cluster;
      if (pods.length === 0) return undefined;
      const { handle } = pick(pods);
      await change(handleKey(handle), (value) => ({ ...value, ...more }));
      return handle;
    },
  })),
  {
    name: "a node's own address given to a pod",
    kind: "nodeAddress",
    async do({ cluster, pick }) {
      const { pods } = cluster;
      if (pods.length === 0) return undefined;
      const [address] = pick(pods).addresses;
      await cluster.store.put(resourceKey(NODES, "machine"), {
        metadata: { name: "machine" },
        spec: { bgp: { [address.includes(":") ? "ipv6Address" : "ipv4Address"]: `${address}/24` } },
      });
      return address;
    },
  },
  {
    name: "a handle without counts",
    kind: "handleBroken",
    async do({ pick, change, cluster }) {
      const { handle } = pick(cluster.pods);
      await change(handleKey(handle), () => ({ block: "none" }));
      return handle;
    },
  },
  ...[HALF_WRITTEN, [], 5, {}, { block: { "10.0.0.0/29": "one" } }].map((value): Damage => ({
    name: `a handle that is ${JSON.stringify(value)}`,
    kind: "handleBroken",
    async do({ pick, cluster }) {
      const { handle } = pick(cluster.pods);
      await cluster.store.put(handleKey(handle), value);
      return handle;
    },
  })),
  {
    name: "an endpoint half-written",
    kind: "userBroken",
    async do({ cluster, pick }) {
      const { key } = pick(cluster.pods);
      await cluster.store.put(key, HALF_WRITTEN);
      return key;
    },
  },
  {
    name: "a node half-written",
    kind: "userBroken",
    async do({ cluster }) {
      const key = resourceKey(NODES, "n0");
      await cluster.store.put(key, HALF_WRITTEN);
      return key;
    },
  },
  {
    name: "a pool half-written",
    kind: "poolBroken",
    async do({ cluster }) {
      await cluster.store.put(resourceKey(POOLS, "four"), HALF_WRITTEN);
      return "four";
    },
  },
  {
    name: "a handle of nothing",
    kind: "handleLeaked",
    async do({ cluster }) {
      const key = handleKey("net.gone");
      await cluster.store.put(key, { block: { "10.0.0.0/29": 1 }, deleted: false });
      return "net.gone";
    },
  },
  {
    name: "a handle deleted",
    kind: "handleMissing",
    async do({ cluster, pick }) {
      const { handle } = pick(cluster.pods);
      await cluster.store.delete(handleKey(handle));
      return handle;
    },
  },
  {
    name: "a pod that vanished without its addresses",
    kind: "leak",
    async do({ cluster, pick }) {
      const pod = pick(cluster.pods);
      await cluster.store.delete(pod.key);
      return pod.addresses[0];
    },
  },
  {
    name: "an address of no handle that nobody names",
    kind: "unproven",
    async do({ cluster }) {
      const [address] = await cluster.assign("n0");
      return address;
    },
  },
  ...[
    ["that is null", () => null],
    ["that is a text", () => "x"],
    [
      "whose addresses are a text",
      (e: any) => ({ spec: { ...e.spec, ipNetworks: "10.0.0.1/32" } }),
    ],
    ["whose addresses are null", (e: any) => ({ spec: { ...e.spec, ipNetworks: null } })],
    ["with an address that is none", (e: any) => ({ spec: { ...e.spec, ipNetworks: [5] } })],
    [
      "with a network of several addresses",
      (e: any) => ({
        spec: {
          ...e.spec,
          ipNetworks: e.spec.ipNetworks.map((net: string) => net.replace(/32$|128$/, "31")),
        },
      }),
    ],
  ].map(([what, change]): Damage => ({
    name: `an endpoint ${what}`,
    kind: "endpointBroken",
    async do({ pick, change: write, cluster }) {
      const { key } = pick(cluster.pods.filter(({ key }) => key.includes("workloadendpoints")));
      await write(key, change as (value: any) => unknown);
      return key.split("/").slice(-2).join("/");
    },
  })),
  {
    name: "a tunnel address that its node does not name",
    kind: "leak",
    async do({ cluster, change }) {
      const key = resourceKey(NODES, "n0");
      const address = (await cluster.store.get<any>(key))!.value.spec.ipv4VXLANTunnelAddr;
      await change(key, (node) => ({ ...node, spec: {} }));
      return address;
    },
  },
  {
    name: "a block's record of an endpoint lost",
    kind: "notAllocated",
    async do({ cluster, pick }) {
      const pod = pick(cluster.pods);
      await cluster.ipam.releaseByHandle(pod.handle);
      return pod.addresses[0];
    },
  },
  {
    name: "a tunnel address that nobody gave",
    kind: "notAllocated",
    async do({ cluster }) {
      await cluster.ipam.releaseByHandle("vxlan-tunnel-addr-n0");
      return (await cluster.store.get<any>(resourceKey(NODES, "n0")))!.value.spec
        .ipv4VXLANTunnelAddr;
    },
  },
  {
    name: "a tunnel's address outside of all pools",
    kind: "notInPool",
    async do({ change }) {
      const ipv4VXLANTunnelAddr = "172.31.9.9";
      await change(
        resourceKey(NODES, "n0"),
        (node) => ({ ...node, spec: { ipv4VXLANTunnelAddr } }),
      );
      return ipv4VXLANTunnelAddr;
    },
  },
  {
    name: "two endpoints of one address",
    kind: "usedTwice",
    async do({ cluster, pick }) {
      const pod = pick(cluster.pods);
      await cluster.store.put(resourceKey(ENDPOINTS, "n1-k8s-twin-eth0", "blue"), {
        spec: {
          orchestrator: "k8s",
          node: pod.node,
          pod: "twin",
          ipNetworks: [pod.addresses[0]],
        },
      });
      return pod.addresses[0];
    },
  },
  {
    name: "an endpoint of another pod than the record's",
    kind: "wrongUser",
    async do({ pick, change, cluster }) {
      const pod = pick(cluster.pods.filter(({ key }) => key.includes("workloadendpoints")));
      await change(pod.key, ({ spec }) => ({ spec: { ...spec, pod: "other" } }));
      return pod.addresses[0];
    },
  },
  {
    name: "an endpoint on another node than the record's",
    kind: "wrongUser",
    async do({ pick, change, cluster }) {
      const pod = pick(cluster.pods.filter(({ key }) => key.includes("workloadendpoints")));
      const node = pod.node === "n0" ? "n1" : "n0";
      await change(pod.key, ({ spec }) => ({ spec: { ...spec, node } }));
      return pod.addresses[0];
    },
  },
  ...["f".repeat(64), "zz", "c-a.b"].map((containerID): Damage => ({
    name: `an endpoint of another container than the record's, ${containerID.slice(0, 5)}`,
    kind: "wrongUser",
    async do({ pick, change, cluster }) {
      const pod = pick(cluster.pods.filter(({ key }) => key.includes("workloadendpoints")));
      await change(pod.key, ({ spec }) => ({ spec: { ...spec, containerID } }));
      return pod.addresses[0];
    },
  })),
  {
    name: "a configuration that cannot be",
    kind: "configContradicts",
    async do({ cluster }) {
      await cluster.store.put(ipamConfigKey, { maxBlocksPerHost: 4, auto_allocate_blocks: true });
      return ipamConfigKey;
    },
  },
  ...[HALF_WRITTEN, [], 5, "no", { ipCooldownSeconds: "long" }].map((value): Damage => ({
    name: `a configuration that is none, ${JSON.stringify(value)}`,
    kind: "configBroken",
    async do({ cluster }) {
      await cluster.store.put(ipamConfigKey, value);
      return ipamConfigKey;
    },
  })),
  ...[`${IPAM_PREFIX}assignment/ipv5/x`, `${blockPrefix(4)}nowhere`, `${IPAM_PREFIX}host/n0/ipv4/x`]
    .map((key): Damage => ({
      name: `a record that is none, ${key}`,
      kind: "strangeRecord",
      async do({ cluster }) {
        await cluster.store.put(key, {});
        return key;
      },
    })),
];

function ofHandle(
  name: string,
  kind: FindingKind,
  change: (counts: Record<string, number>, cidr: string) => Record<string, number>,
): Damage {
  return {
    name,
    kind,
    async do({ cluster, pick, change: write }) {
      const { entries } = await cluster.store.list<IpamHandle>(handlePrefix);
      const { key, value } = pick(entries);
      await write(
        key,
        () => ({ ...value, block: change(value.block, Object.keys(value.block)[0]) }),
      );
      return key.slice(handlePrefix.length);
    },
  };
}

function covers(wide: NonNullable<ReturnType<typeof parsePrefix>>, ip: typeof wide): boolean {
  return formatPrefix(parsePrefix(`${formatIp(ip.ip)}/${wide.length}`)!) === formatPrefix(wide);
}

function ownAffinity(key: string, { affinity }: AllocationBlock): string {
  return affinityKey({ type: "host", name: affinity!.slice("host:".length) }, parseBlockKey(key)!);
}

async function freeBlock(cluster: SoundCluster) {
  for (let at = 0; at < 64; at += 8) {
    const prefix = parsePrefix(`10.0.0.${at}/29`)!;
    if (!await cluster.store.get(blockKey(prefix))) return prefix;
  }
}

/** A cluster in which every damage can be done. */
export async function furnish(cluster: SoundCluster): Promise<void> {
  for (const node of ["n0", "n1"]) {
    for (const six of [false, true]) await cluster.addPod(node, { six });
    await cluster.addPod(node, { endpoint: false });
  }
  await cluster.tunnel("n0");
  await cluster.service();
}

export function sceneOf(cluster: SoundCluster, seed: number): Scene {
  let n = seed;
  return {
    cluster,
    pick: (list) => list[(n = (n * 7 + 3) % 1009) % list.length],
    async used() {
      const lists = await Promise.all(
        ([4, 6] as const).map((f) => cluster.store.list<AllocationBlock>(blockPrefix(f))),
      );
      return lists.flatMap(({ entries }) => entries).filter(({ value }) =>
        value.affinity?.startsWith("host:") && taken(value).length > 0 &&
        !value.cidr.startsWith("10.8.")
      );
    },
    async change(key, change) {
      const value = (await cluster.store.get(key))!.value;
      await cluster.store.put(key, change(structuredClone(value)));
    },
  };
}
