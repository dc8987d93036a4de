import assert from "node:assert/strict";
import { bgpConfigurationKind } from "../model/bgp_configuration.ts";
import { bgpFilterKind } from "../model/bgp_filter.ts";
import { bgpPeerKind } from "../model/bgp_peer.ts";
import { clusterInformationKind } from "../model/cluster_information.ts";
import { ipamConfigurationKind } from "../model/ipam_configuration.ts";
import { type IPPool, type IPPoolInput, ippoolKind } from "../model/ippool.ts";
import { blockKey, ipamConfigKey, resourceKey } from "../model/keys.ts";
import { kubernetesNetworkPolicyKind } from "../model/kubernetes_network_policy.ts";
import {
  globalNetworkPolicyKind,
  type NetworkPolicyInput,
  networkPolicyKind,
} from "../model/network_policy.ts";
import { nodeKind } from "../model/node.ts";
import { profileKind } from "../model/profile.ts";
import { tierKind } from "../model/tier.ts";
import { HALF_WRITTEN, halfWritable } from "../ipam/testing/half_written.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { formatPrefix, mustPrefix } from "../net/mod.ts";
import { memoryStore } from "./memory.ts";
import { type Store, StoreError } from "./store.ts";
import {
  ResourceError,
  type ResourceErrorKind,
  Resources,
  type ResourcesOptions,
} from "./resources.ts";

const NOW = new Date("2026-11-22T13:43:45.678Z");

function test(
  name: string,
  run: (resources: Resources, store: Store) => Promise<void>,
  options: ResourcesOptions = {},
): void {
  Deno.test(name, async () => {
    const store = memoryStore();
    try {
      await run(new Resources(store, { now: () => NOW, ...options }), store);
    } finally {
      await store.close();
    }
  });
}

async function refused(
  kind: ResourceErrorKind,
  message: RegExp,
  work: Promise<unknown>,
): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof ResourceError, String((error as Error).stack));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  });
}

const pool = (name: string, spec: IPPoolInput["spec"], metadata = {}): IPPoolInput => ({
  kind: "IPPool",
  apiVersion: "projectcalico.org/v3",
  metadata: { name, ...metadata },
  spec,
});
const policy = (name: string, spec: NetworkPolicyInput["spec"] = {}): NetworkPolicyInput => ({
  kind: "NetworkPolicy",
  apiVersion: "projectcalico.org/v3",
  metadata: { name, namespace: "shop" },
  spec,
});

test(
  "the first create makes the cluster's identity and tiers, a read makes nothing",
  async (resources, store) => {
    await resources.list(ippoolKind);
    assert.deepEqual((await store.list("/")).entries, []);
    await resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" }));
    const info = await resources.mustGet(clusterInformationKind, "default");
    assert.match(info.spec.clusterGUID!, /^[0-9a-f]{32}$/);
    assert.equal(info.spec.datastoreReady, true);
    const tiers = (await resources.list(tierKind)).items;
    assert.deepEqual(tiers.map((t) => [t.metadata.name, t.spec.order, t.spec.defaultAction]), [
      ["default", 1_000_000, "Deny"],
      ["kube-admin", 1_000, "Pass"],
      ["kube-baseline", 10_000_000, "Pass"],
    ]);
  },
);

test("two that begin at once make one identity", async (resources, store) => {
  const other = new Resources(store);
  await Promise.all([resources.ensureInitialized(), other.ensureInitialized()]);
  assert.equal((await resources.list(clusterInformationKind)).items.length, 1);
  assert.equal((await resources.list(tierKind)).items.length, 3);
});

test(
  "create gives uid, time and revision; what is read is what was returned",
  async (resources, store) => {
    const created = await resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" }));
    assert.match(created.metadata.uid!, /^[0-9a-f]{8}-/);
    assert.equal(created.metadata.creationTimestamp, "2026-11-22T13:43:45Z");
    assert.deepEqual(await resources.get(ippoolKind, "p"), created);
    const entry = await store.get<IPPool>(resourceKey(ippoolKind, "p"));
    assert.equal(created.metadata.resourceVersion, entry!.revision);
    assert.equal(entry!.value.metadata.resourceVersion, undefined);
    await refused(
      "exists",
      /IPPool "p" already exists/,
      resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" })),
    );
    await refused(
      "invalid",
      /resourceVersion must not be set/,
      resources.create(ippoolKind, pool("q", { cidr: "11.0.0.0/16" }, { resourceVersion: "1" })),
    );
  },
);

test("update needs the revision that was read, and keeps uid and time", async (resources) => {
  const created = await resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" }));
  const changed = { ...created, spec: { ...created.spec, natOutgoing: true } };
  const updated = await resources.update(ippoolKind, {
    ...changed,
    metadata: { ...changed.metadata, uid: "other", creationTimestamp: "2020-01-01T00:00:00Z" },
  });
  assert.equal(updated.metadata.uid, created.metadata.uid);
  assert.equal(updated.metadata.creationTimestamp, created.metadata.creationTimestamp);
  await refused("conflict", /changed by someone else/, resources.update(ippoolKind, changed));
  await refused(
    "invalid",
    /resourceVersion must be set/,
    resources.update(ippoolKind, pool("p", { cidr: "10.0.0.0/16" })),
  );
  await refused(
    "notFound",
    /IPPool "q" does not exist/,
    resources.update(ippoolKind, pool("q", { cidr: "11.0.0.0/16" }, { resourceVersion: "1" })),
  );
});

test("apply creates, then replaces the spec whole and of the metadata labels and annotations alone", async (resources) => {
  const first = await resources.apply(
    ippoolKind,
    pool("p", { cidr: "10.0.0.0/16", natOutgoing: true }, { labels: { a: "1" } }),
  );
  assert.ok(first.created);
  const second = await resources.apply(
    ippoolKind,
    pool("p", { cidr: "10.0.0.0/16" }, { annotations: { b: "2" } }),
  );
  assert.ok(!second.created);
  assert.equal(second.object.spec.natOutgoing, false);
  assert.equal(second.object.metadata.labels, undefined);
  assert.deepEqual(second.object.metadata.annotations, { b: "2" });
  assert.equal(second.object.metadata.uid, first.object.metadata.uid);
  const stale = pool("p", { cidr: "10.0.0.0/16" }, {
    resourceVersion: first.object.metadata.resourceVersion,
  });
  await refused("conflict", /changed by someone else/, resources.apply(ippoolKind, stale));
  await refused(
    "notFound",
    /"q"/,
    resources.replace(ippoolKind, pool("q", { cidr: "11.0.0.0/8" })),
  );
});

test(
  "a replace that others are quicker than is tried five times, but not at a revision that the file names",
  async (resources, store) => {
    const input = pool("p", { cidr: "10.0.0.0/16" });
    const { metadata } = await resources.create(ippoolKind, input);
    let left = 0;
    let tried = 0;
    const racing = new Resources({
      ...store,
      get: (key: string) => store.get(key),
      list: (prefix: string) => store.list(prefix),
      create: (...args: Parameters<Store["create"]>) => store.create(...args),
      update: (...args: Parameters<Store["update"]>) => {
        tried++;
        if (left-- > 0) return Promise.reject(new StoreError("conflict", "quicker"));
        return store.update(...args);
      },
    } as Store);
    left = 4;
    await racing.replace(ippoolKind, input);
    assert.equal(tried, 5);
    [left, tried] = [5, 0];
    await refused("conflict", /changed by someone else/, racing.replace(ippoolKind, input));
    assert.equal(tried, 5);
    [left, tried] = [1, 0];
    const named = pool("p", { cidr: "10.0.0.0/16" }, { resourceVersion: metadata.resourceVersion });
    await refused("conflict", /changed by someone else/, racing.apply(ippoolKind, named));
    assert.equal(tried, 1);
  },
);

test("pools may not overlap, unless kubectl writes them", async (resources) => {
  await resources.create(ippoolKind, pool("wide", { cidr: "10.244.0.0/16" }));
  const narrow = pool("narrow", { cidr: "10.244.3.0/24" });
  await refused(
    "invalid",
    /10\.244\.3\.0\/24 of pool narrow overlaps with 10\.244\.0\.0\/16 of pool wide/,
    resources.create(ippoolKind, narrow),
  );
  const created = await resources.create(
    ippoolKind,
    pool("narrow", { cidr: "10.244.3.220/24" }),
    { crd: true },
  );
  assert.equal(created.spec.cidr, "10.244.3.0/24");
  // And again, from the same file.
  await resources.apply(ippoolKind, pool("narrow", { cidr: "10.244.3.220/24" }), { crd: true });
  // Applying the pool of v3 form again is an update of what is there, not an overlap with itself.
  await resources.apply(ippoolKind, narrow);
});

test(
  "a pool's CIDR and block size stay, a new one fits the blocks that are there",
  async (resources, store) => {
    await resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" }));
    await refused(
      "invalid",
      /spec\.cidr: 10\.1\.0\.0\/16 is not allowed: a pool's CIDR cannot be changed \(it is 10\.0\.0\.0\/16\)/,
      resources.apply(ippoolKind, pool("p", { cidr: "10.1.0.0/16" })),
    );
    await refused(
      "invalid",
      /spec\.blockSize: 27/,
      resources.apply(ippoolKind, pool("p", { cidr: "10.0.0.0/16", blockSize: 27 })),
    );
    await store.create("/calico/ipam/v2/assignment/ipv4/block/10.9.0.0-26", {});
    await refused(
      "invalid",
      /does not fit the block 10\.9\.0\.0\/26/,
      resources.create(ippoolKind, pool("q", { cidr: "10.9.0.0/16", blockSize: 28 })),
    );
    await resources.create(ippoolKind, pool("q", { cidr: "10.9.0.0/16", blockSize: 26 }));
  },
);

test("kubectl may put a pool of another block size over blocks", async (resources, store) => {
  await resources.create(ippoolKind, pool("wide", { cidr: "10.244.0.0/16", blockSize: 26 }));
  await store.create("/calico/ipam/v2/assignment/ipv4/block/10.244.3.0-26", {});
  const narrow = pool("narrow", { cidr: "10.244.3.0/24", blockSize: 28 });
  await refused("invalid", /spec\.blockSize: 28/, resources.apply(ippoolKind, narrow));
  const { object } = await resources.apply(ippoolKind, narrow, { crd: true });
  assert.equal(object.spec.blockSize, 28);
  // Its CIDR and block size stay, whoever writes it.
  await refused(
    "invalid",
    /spec\.blockSize: 27/,
    resources.apply(ippoolKind, pool("narrow", { cidr: "10.244.3.0/24", blockSize: 27 }), {
      crd: true,
    }),
  );
});

test(
  "a stored pool with host bits reads masked and can be written again",
  async (resources, store) => {
    await store.create(resourceKey(ippoolKind, "p"), {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "p" },
      spec: { cidr: "10.244.3.220/24" },
    });
    const read = await resources.mustGet(ippoolKind, "p");
    assert.equal(read.spec.cidr, "10.244.3.0/24");
    assert.equal(read.spec.blockSize, 26);
    await resources.update(ippoolKind, { ...read, spec: { ...read.spec, disabled: true } });
  },
);

Deno.test("a pool is disabled before its affinities go, and they before the pool", async () => {
  const store = memoryStore();
  const seen: string[] = [];
  const resources = new Resources(store, {
    async releasePoolAffinities(cidr) {
      const { spec } = await resources.mustGet(ippoolKind, "p");
      seen.push(`${cidr.length} ${spec.disabled}`);
    },
  });
  await resources.create(ippoolKind, pool("p", { cidr: "10.0.0.0/16" }));
  await resources.delete(ippoolKind, "p");
  assert.deepEqual(seen, ["16 true"]);
  assert.equal(await resources.get(ippoolKind, "p"), undefined);
  await refused("notFound", /IPPool "p" does not exist/, resources.delete(ippoolKind, "p"));
  await store.close();
});

test(
  "another pool may have the range of one that is disabled: so the block size changes",
  async (resources, store) => {
    const block = blockKey(mustPrefix("10.0.0.64/26"));
    await resources.create(ippoolKind, pool("old", { cidr: "10.0.0.0/16" }));
    await store.create(block, {});
    const fresh = (more = {}) => pool("new", { cidr: "10.0.0.0/16", blockSize: 28, ...more });
    await refused(
      "invalid",
      /spec.cidr: .* overlaps with .* disable old first/,
      resources.create(ippoolKind, fresh()),
    );
    await refused(
      "invalid",
      /block size cannot be changed .*; disable old, create another pool \(also over its range/,
      resources.apply(ippoolKind, pool("old", { cidr: "10.0.0.0/16", blockSize: 28 })),
    );
    await resources.create(ippoolKind, fresh({ disabled: true }));
    const open = (name: string, disabled: boolean) =>
      resources.modify(
        ippoolKind,
        name,
        undefined,
        (p) => ({ ...p, spec: { ...p.spec, disabled } }),
      );
    await refused("invalid", /spec.disabled: .* disable old first/, open("new", false));
    await open("old", true);
    await open("new", false);
    await refused("invalid", /spec.disabled: .* disable new first/, open("old", false));
    // Everything else of it can be changed.
    await resources.modify(ippoolKind, "old", undefined, (p) => ({
      ...p,
      spec: { ...p.spec, natOutgoing: true },
    }));
    await resources.delete(ippoolKind, "old");
    // A second change, while a block of the first pool is still there.
    await open("new", true);
    await resources.create(ippoolKind, pool("newer", { cidr: "10.0.0.0/17", blockSize: 27 }));
    // Who has deleted the pool first can still go this way.
    await resources.delete(ippoolKind, "new");
    await resources.delete(ippoolKind, "newer");
    await refused(
      "invalid",
      /28 does not fit the block 10.0.0.64\/26.* disabled: true/,
      resources.create(ippoolKind, fresh()),
    );
    await resources.create(ippoolKind, pool("old", { cidr: "10.0.0.0/16", disabled: true }));
    await resources.create(ippoolKind, fresh());
  },
);

Deno.test("a deleted pool lets go of no block in the range of another pool", async () => {
  const store = memoryStore();
  const seen: string[][] = [];
  const resources = new Resources(store, {
    releasePoolAffinities(cidr, heirs) {
      seen.push([cidr, ...heirs].map(formatPrefix));
      return Promise.resolve();
    },
  });
  await resources.create(ippoolKind, pool("old", { cidr: "10.0.0.0/16", disabled: true }));
  await resources.create(ippoolKind, pool("new", { cidr: "10.0.0.0/17", blockSize: 28 }));
  await resources.create(ippoolKind, pool("far", { cidr: "10.9.0.0/16" }));
  await resources.delete(ippoolKind, "old");
  assert.deepEqual(seen, [["10.0.0.0/16", "10.0.0.0/17"]]);
  await store.close();
});

test("delete holds to a revision and a uid where they are given", async (resources) => {
  const created = await resources.create(nodeKind, { metadata: { name: "n" } } as never);
  const { resourceVersion, uid } = created.metadata;
  await refused(
    "conflict",
    /another object/,
    resources.delete(nodeKind, "n", undefined, { uid: "x" }),
  );
  await resources.modify(nodeKind, "n", undefined, (node) => ({ ...node, spec: { orchRefs: [] } }));
  await refused(
    "conflict",
    /changed by someone else/,
    resources.delete(nodeKind, "n", undefined, { resourceVersion }),
  );
  await resources.delete(nodeKind, "n", undefined, { uid });
});

test(
  "a policy carries its tier and its name in storage, and neither twice",
  async (resources, store) => {
    const created = await resources.create(networkPolicyKind, policy("web"));
    const stored = (await store.get<any>(resourceKey(networkPolicyKind, "web", "shop")))!.value;
    assert.deepEqual(stored.metadata.labels, { "projectcalico.org/tier": "default" });
    assert.deepEqual(stored.metadata.annotations, {
      "projectcalico.org/metadata": '{"name":"web"}',
    });
    assert.equal(created.metadata.annotations, undefined);
    assert.deepEqual(await resources.get(networkPolicyKind, "web", "shop"), created);
    await refused(
      "invalid",
      /tier "nowhere" does not exist/,
      resources.create(networkPolicyKind, policy("x", { tier: "nowhere" })),
    );
  },
);

test(
  "a policy that an older Calico stored as default.name is found by its name",
  async (resources, store) => {
    await store.create(resourceKey(networkPolicyKind, "default.web", "shop"), {
      kind: "NetworkPolicy",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "default.web", namespace: "shop" },
      spec: { types: ["Ingress"] },
    });
    const read = await resources.mustGet(networkPolicyKind, "web", "shop");
    assert.equal(read.metadata.name, "web");
    assert.deepEqual((await resources.list(networkPolicyKind)).items, [read]);
    await resources.apply(networkPolicyKind, policy("web", { order: 5 }));
    assert.equal((await resources.list(networkPolicyKind)).items.length, 1);
    await resources.delete(networkPolicyKind, "web", "shop");
    assert.equal(
      (await store.list("/calico/resources/v3/projectcalico.org/networkpol")).entries.length,
      0,
    );
  },
);

test("and by the name of its key, which was its name too", async (resources, store) => {
  const key = resourceKey(networkPolicyKind, "default.web", "shop");
  await store.create(key, {
    kind: "NetworkPolicy",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default.web", namespace: "shop", uid: "u" },
    spec: { types: ["Ingress"] },
  });
  await refused(
    "exists",
    /already exists/,
    resources.create(networkPolicyKind, policy("default.web")),
  );
  // More than once: the first writes the annotation that says the new name.
  for (const order of [1, 2, 3]) {
    const { object, created } = await resources.apply(
      networkPolicyKind,
      policy("default.web", { order }),
    );
    assert.deepEqual([created, object.metadata.name, object.metadata.uid], [false, "web", "u"]);
    const read = await resources.mustGet(networkPolicyKind, "default.web", "shop");
    assert.deepEqual(read, await resources.mustGet(networkPolicyKind, "web", "shop"));
    assert.deepEqual([read.spec.order, (await store.list(key)).entries.length], [order, 1]);
  }
  await resources.update(networkPolicyKind, {
    ...await resources.mustGet(networkPolicyKind, "default.web", "shop"),
    metadata: {
      ...(await resources.mustGet(networkPolicyKind, "web", "shop")).metadata,
      name: "default.web",
    },
  });
  assert.equal((await resources.mustGet(networkPolicyKind, "web", "shop")).metadata.name, "web");
  await resources.delete(networkPolicyKind, "default.web", "shop");
  assert.equal(await store.get(key), undefined);
  await resources.apply(networkPolicyKind, policy("default.web"));
  const own = await resources.mustGet(networkPolicyKind, "default.web", "shop");
  assert.equal(own.metadata.name, "default.web", "where nothing is old, it is a name like others");
  assert.equal(await resources.get(networkPolicyKind, "web", "shop"), undefined);
});

test("tiers that are built in or hold policies stay", async (resources) => {
  await resources.create(tierKind, { metadata: { name: "sec" }, spec: { order: 5 } } as never);
  await resources.create(networkPolicyKind, policy("sec.web", { tier: "sec" }));
  await refused(
    "refused",
    /it holds NetworkPolicy "shop\/sec\.web"/,
    resources.delete(tierKind, "sec"),
  );
  await refused("refused", /built in/, resources.delete(tierKind, "default"));
  await resources.delete(networkPolicyKind, "sec.web", "shop");
  await resources.delete(tierKind, "sec");
});

test("an endpoint's name follows from its spec, and its labels name namespace and orchestrator", async (resources) => {
  const endpoint = (name: string) => ({
    kind: "WorkloadEndpoint" as const,
    apiVersion: "projectcalico.org/v3" as const,
    metadata: { name, namespace: "shop" },
    spec: {
      orchestrator: "k8s",
      node: "n1",
      pod: "web-0",
      endpoint: "eth0",
      interfaceName: "cali1",
    },
  });
  const created = await resources.create(workloadEndpointKind, endpoint(""));
  assert.equal(created.metadata.name, "n1-k8s-web--0-eth0");
  assert.deepEqual(created.metadata.labels, {
    "projectcalico.org/namespace": "shop",
    "projectcalico.org/orchestrator": "k8s",
  });
  await refused(
    "invalid",
    /"other" is not allowed: want n1-k8s-web--0-eth0/,
    resources.create(workloadEndpointKind, endpoint("other")),
  );
});

test("a node goes with what is its alone", async (resources, store) => {
  const released: unknown[] = [];
  const own = new Resources(store, {
    releaseNode: (node, addresses) => Promise.resolve(void released.push(node, addresses)),
  });
  const spec = {
    orchestrator: "k8s",
    pod: "p",
    endpoint: "eth0",
    interfaceName: "cali1",
    ipNetworks: ["10.0.0.5/32"],
  };
  const meta = { kind: "WorkloadEndpoint", apiVersion: "projectcalico.org/v3" } as const;
  for (const node of ["n1", "n2"]) {
    await own.create(nodeKind, {
      metadata: { name: node },
      spec: { bgp: { ipv4IPIPTunnelAddr: "10.0.0.1" } },
    } as never);
    await own.create(workloadEndpointKind, {
      ...meta,
      metadata: { namespace: "shop" },
      spec: { ...spec, node },
    });
    await own.create(bgpPeerKind, { metadata: { name: `peer-${node}` }, spec: { node } } as never);
    await own.create(bgpConfigurationKind, { metadata: { name: `node.${node}` } } as never);
  }
  await own.delete(nodeKind, "n1");
  assert.deepEqual(released, ["n1", ["10.0.0.5", "10.0.0.1"]]);
  const left = async (kind: any) =>
    (await resources.list(kind)).items.map((o: any) => o.metadata.name);
  assert.deepEqual(await left(nodeKind), ["n2"]);
  assert.deepEqual(await left(workloadEndpointKind), ["n2-k8s-p-eth0"]);
  assert.deepEqual(await left(bgpPeerKind), ["peer-n2"]);
  assert.deepEqual(await left(bgpConfigurationKind), ["node.n2"]);
});

test("a peer's filters must exist", async (resources) => {
  const peer = { metadata: { name: "p" }, spec: { peerIP: "192.0.2.1", filters: ["f"] } } as never;
  await refused("invalid", /BGPFilter "f" does not exist/, resources.create(bgpPeerKind, peer));
  await resources.create(bgpFilterKind, { metadata: { name: "f" } } as never);
  await resources.create(bgpPeerKind, peer);
});

test(
  "the profile that allows everything is there, and cannot be changed",
  async (resources, store) => {
    const name = "projectcalico-default-allow";
    const profile = await resources.mustGet(profileKind, name);
    assert.equal(profile.spec.ingress![0].action, "Allow");
    assert.deepEqual((await resources.list(profileKind)).items, [profile]);
    await refused(
      "invalid",
      /built in/,
      resources.create(profileKind, {
        ...profile,
        metadata: { name },
      }),
    );
    await refused("invalid", /built in/, resources.apply(profileKind, { ...profile, spec: {} }));
    await refused("refused", /built in/, resources.delete(profileKind, name));
    const labelled = resources.modify(profileKind, name, undefined, (object) => {
      object.metadata.labels = { a: "b" };
      return object;
    });
    await refused("refused", /" is built in and cannot be changed$/, labelled);
    assert.equal(
      (await store.list("/calico/resources/v3/projectcalico.org/profiles")).entries.length,
      0,
    );
  },
);

test("IPAMConfiguration is IPAM's own record", async (resources, store) => {
  assert.equal(await resources.get(ipamConfigurationKind, "default"), undefined);
  const configuration = (spec: Record<string, unknown>) =>
    ({ metadata: { name: "default" }, spec }) as never;
  await resources.apply(
    ipamConfigurationKind,
    configuration({ strictAffinity: true, maxBlocksPerHost: 4 }),
  );
  assert.deepEqual((await store.get(ipamConfigKey))!.value, {
    strict_affinity: true,
    auto_allocate_blocks: true,
    maxBlocksPerHost: 4,
    kubeVirtVMAddressPersistence: "Enabled",
  });
  assert.equal((await resources.list(ipamConfigurationKind)).items[0].spec.maxBlocksPerHost, 4);
  await refused(
    "invalid",
    /needs strictAffinity/,
    resources.apply(ipamConfigurationKind, configuration({ maxBlocksPerHost: 4 })),
  );
});

test(
  "a rewrite of IPAMConfiguration keeps a newer version's settings, and takes no labels",
  async (resources, store) => {
    const newer = { futureSetting: { x: 1 } };
    await store.create(ipamConfigKey, { strict_affinity: true, ...newer });
    const kept = async (settings: Record<string, unknown>) =>
      assert.deepEqual((await store.get(ipamConfigKey))!.value, {
        ...newer,
        strict_affinity: true,
        kubeVirtVMAddressPersistence: "Enabled",
        ...settings,
      });
    await resources.modify(ipamConfigurationKind, "default", undefined, (object) => {
      object.spec.maxBlocksPerHost = 4;
      return object;
    });
    await kept({ maxBlocksPerHost: 4 });
    const spec = { strictAffinity: true, autoAllocateBlocks: true };
    await resources.replace(
      ipamConfigurationKind,
      { metadata: { name: "default" }, spec } as never,
    );
    await kept({ auto_allocate_blocks: true });
    for (const field of ["labels", "annotations"] as const) {
      await refused(
        "invalid",
        /are not kept: IPAM's settings/,
        resources.modify(ipamConfigurationKind, "default", undefined, (object) => {
          object.metadata[field] = { a: "b" };
          return object;
        }),
      );
    }
  },
);

test("what cannot be read stands in nobody's way", async (resources, store) => {
  await resources.create(ippoolKind, pool("good", { cidr: "10.0.0.0/16" }));
  await store.create(resourceKey(ippoolKind, "bad"), { spec: "nonsense" });
  const { items, broken } = await resources.list(ippoolKind);
  assert.deepEqual(items.map((p) => p.metadata.name), ["good"]);
  assert.equal(broken.length, 1);
  assert.match(broken[0].error.message, /spec/);
  await refused("malformed", /cannot be read/, resources.mustGet(ippoolKind, "bad"));
});

/** The same store, to which the values of some keys are no JSON; as etcd, where anybody writes. */
function withHalves(store: Store, keys: ReadonlySet<string>): Store {
  return new Proxy(store, {
    get(target, member) {
      if (member === "get") {
        return async (key: string) => {
          const entry = await target.get(key);
          if (!entry || !keys.has(key) || entry.value !== "half") return entry;
          const more = { damaged: entry.revision };
          throw new StoreError("invalid", `${key} cannot be read`, key, undefined, more);
        };
      }
      const value = Reflect.get(target, member);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

for (const form of ["no JSON", "of another shape"]) {
  test(
    `a stored object that is ${form} is replaced, applied over and deleted`,
    async (_, memory) => {
      const key = resourceKey(ippoolKind, "bad");
      const released: string[] = [];
      const store = withHalves(memory, new Set([key]));
      const resources = new Resources(store, {
        now: () => NOW,
        uuid: () => "new",
        releasePoolAffinities: (cidr) => Promise.resolve(void released.push(formatPrefix(cidr))),
      });
      const half = form === "no JSON" ? "half" : {
        // A time for JavaScript, and none for Calico.
        metadata: { name: "bad", uid: "old", creationTimestamp: "2026" },
        spec: { cidr: "10.0.0.0/16", natOutgoing: 5 },
      };
      const good = pool("bad", { cidr: "10.0.0.0/16" });
      await resources.create(ippoolKind, pool("other", { cidr: "10.1.0.0/16" }));
      const damage = async () => {
        await memory.put(key, half);
        await refused("malformed", /cannot be read/, resources.mustGet(ippoolKind, "bad"));
        await refused("malformed", /cannot be read/, resources.create(ippoolKind, good));
        const label = (pool: IPPool) => ({ ...pool, metadata: { ...pool.metadata, labels: {} } });
        await refused(
          "malformed",
          /cannot be read/,
          resources.modify(ippoolKind, "bad", undefined, label),
        );
      };
      for (const write of ["apply", "replace"] as const) {
        await damage();
        await refused(
          "invalid",
          /overlaps with 10\.1\.0\.0\/16 of pool other/,
          resources[write](ippoolKind, pool("bad", { cidr: "10.1.0.0/17" })),
        );
        await resources[write](ippoolKind, good);
        const { metadata, spec } = await resources.mustGet(ippoolKind, "bad");
        assert.deepEqual([spec.cidr, spec.natOutgoing], ["10.0.0.0/16", false]);
        assert.equal(metadata.uid, form === "no JSON" ? "new" : "old");
        assert.equal(metadata.creationTimestamp, "2026-11-22T13:43:45Z");
      }
      await damage();
      const { revision } = (await memory.get(key))!;
      await memory.put(key, half);
      await refused(
        "conflict",
        /changed by someone else/,
        resources.delete(ippoolKind, "bad", undefined, { resourceVersion: revision }),
      );
      await refused(
        "malformed",
        /cannot be read/,
        resources.delete(ippoolKind, "bad", undefined, {
          uid: "old",
        }),
      );
      await resources.delete(ippoolKind, "bad");
      assert.equal(await memory.get(key), undefined);
      assert.deepEqual(released, form === "no JSON" ? [] : ["10.0.0.0/16"]);
    },
  );
}

test(
  "a damaged tier or node goes as a whole one does: not while it is in use, and with what is its own",
  async (_, bare) => {
    const released: string[] = [];
    const store = halfWritable(bare);
    const resources = new Resources(store, {
      releaseNode: (node) => Promise.resolve(void released.push(node)),
    });
    await resources.create(tierKind, { metadata: { name: "sec" }, spec: { order: 5 } } as never);
    await resources.create(networkPolicyKind, policy("sec.web", { tier: "sec" }));
    await store.put(resourceKey(tierKind, "sec"), { spec: { order: "first" } });
    await refused("refused", /it holds NetworkPolicy/, resources.delete(tierKind, "sec"));
    await resources.delete(networkPolicyKind, "sec.web", "shop");
    await resources.delete(tierKind, "sec");
    const own = resourceKey(bgpConfigurationKind, "node.n");
    for (const bad of [{ spec: 7 }, HALF_WRITTEN]) {
      await store.put(resourceKey(nodeKind, "n"), bad);
      await store.put(own, bad);
      await resources.delete(nodeKind, "n");
      assert.deepEqual(released.splice(0), ["n"]);
      for (const key of [resourceKey(nodeKind, "n"), own]) {
        assert.equal(await bare.get(key), undefined);
      }
    }
  },
);

test("modify tries again until nobody wrote in between", async (resources, store) => {
  await resources.create(nodeKind, { metadata: { name: "n", labels: { n: "0" } } } as never);
  const other = new Resources(store);
  const add = (client: Resources) =>
    client.modify(nodeKind, "n", undefined, (node) => ({
      ...node,
      metadata: {
        ...node.metadata,
        labels: { n: String(Number(node.metadata.labels!.n) + 1) },
      },
    }));
  await Promise.all(Array.from({ length: 20 }, (_, i) => add(i % 2 ? resources : other)));
  assert.equal((await resources.mustGet(nodeKind, "n")).metadata.labels!.n, "20");
});

test(
  "what is of another version is left where a change has nothing to say",
  async (resources, store) => {
    const key = resourceKey(nodeKind, "n");
    const apiVersion = "projectcalico.org/v4";
    await store.create(key, { kind: "Node", apiVersion, metadata: { name: "n" }, spec: {} });
    const before = await store.get(key);
    const left = await resources.modify(nodeKind, "n", undefined, () => undefined);
    assert.equal(left.apiVersion, apiVersion);
    await refused(
      "refused",
      /newer client/,
      resources.modify(nodeKind, "n", undefined, (node) => ({ ...node, spec: { orchRefs: [] } })),
    );
    assert.deepEqual(await store.get(key), before);
  },
);

test("fields of a newer version survive an update", async (resources, store) => {
  const key = resourceKey(ippoolKind, "p");
  await store.create(key, {
    kind: "IPPool",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "p" },
    spec: { cidr: "10.0.0.0/16", future: { a: 1 } },
  });
  await resources.modify(ippoolKind, "p", undefined, (p) => ({
    ...p,
    spec: { ...p.spec, natOutgoing: true },
  }));
  const stored = (await store.get<any>(key))!.value;
  assert.deepEqual(stored.spec.future, { a: 1 });
  assert.equal(stored.spec.natOutgoing, true);
});

test("Kubernetes' objects go the same way, under our own keys", async (resources, store) => {
  await resources.apply(kubernetesNetworkPolicyKind, {
    metadata: { name: "web", namespace: "shop" },
    spec: { podSelector: {} },
  } as never);
  assert.ok(await store.get("/tortie/kubernetes/networkpolicies/shop/web"));
  assert.equal(await resources.get(networkPolicyKind, "web", "shop"), undefined);
});

test(
  "the key says which object it is, and one that none can have is nobody's",
  async (resources, store) => {
    const root = "/calico/resources/v3/projectcalico.org/";
    await store.create(`${root}ippools/own`, {
      kind: "IPPool",
      metadata: { name: "other", uid: "u" },
      spec: { cidr: "10.9.0.0/16" },
    });
    const { items } = await resources.list(ippoolKind);
    assert.deepEqual(items.map(({ metadata }) => metadata.name), ["own"]);
    assert.equal(await resources.get(ippoolKind, "other"), undefined);
    await resources.modify(ippoolKind, "own", undefined, (p) => ({
      ...p,
      metadata: { ...p.metadata, labels: { a: "b" } },
    }));
    const stored = (await store.get<any>(`${root}ippools/own`))!.value;
    assert.deepEqual([stored.metadata.name, stored.metadata.labels], ["own", { a: "b" }]);
    await resources.delete(ippoolKind, "own");
    assert.equal(await store.get(`${root}ippools/own`), undefined);

    const policy = { kind: "NetworkPolicy", metadata: { name: "x", namespace: "blue" }, spec: {} };
    await store.create(`${root}networkpolicies/nons`, policy);
    await store.create(`${root}networkpolicies/red/web`, policy);
    await store.create(`${root}networkpolicies/red/more/parts`, policy);
    await store.create(`${root}globalnetworkpolicies/red/web`, {
      ...policy,
      metadata: { name: "x" },
    });
    const list = await resources.list(networkPolicyKind);
    assert.deepEqual(list.items.map((p) => [p.metadata.namespace, p.metadata.name]), [[
      "red",
      "web",
    ]]);
    assert.deepEqual(list.broken.map(({ key }) => key.slice(root.length)), [
      "networkpolicies/nons",
      "networkpolicies/red/more/parts",
    ]);
    assert.match(list.broken[0].error.message, /the key is nobody's.*namespace and name.*etcdctl/);
    const global = await resources.list(globalNetworkPolicyKind);
    assert.deepEqual([global.items.length, global.broken.length], [0, 1]);
  },
);
