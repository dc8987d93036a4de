import assert from "node:assert/strict";
import { clusterInformationKind } from "../model/cluster_information.ts";
import { felixConfigurationKind } from "../model/felix_configuration.ts";
import { ippoolKind } from "../model/ippool.ts";
import { resourceKey } from "../model/keys.ts";
import { nodeKind } from "../model/node.ts";
import { mustIp } from "../net/mod.ts";
import { HALF_WRITTEN, halfWritable } from "../ipam/testing/half_written.ts";
import { memoryStore } from "../store/memory.ts";
import { Resources } from "../store/resources.ts";
import { StoreError } from "../store/store.ts";
import type { Host } from "./autodetect.ts";
import { ConfigError, nodeConfig } from "./config.ts";
import { felixVariablesKey, tellFelixVariables } from "./felix_variables.ts";
import {
  ensureFelixConfiguration,
  ensurePools,
  isUnreadable,
  ReadyCheck,
  register,
  registerNode,
} from "./startup.ts";

const host = (ip: string): Host => ({
  interfaces: [{
    name: "eth0",
    up: true,
    mtu: 1500,
    addresses: [{ ip: mustIp(ip), length: 24 }],
  }],
  sourceTowards: () => undefined,
});

const config = (env: Record<string, string> = {}) =>
  nodeConfig({}, (name) => ({ NODENAME: "node1", ...env })[name]);

async function inStore(run: (resources: Resources) => Promise<void>): Promise<void> {
  const store = memoryStore();
  try {
    await run(new Resources(store));
  } finally {
    await store.close();
  }
}

Deno.test("variables that flags stand for win over the environment's", () => {
  const variables = new Map([["AS", "65002"], ["NO_DEFAULT_POOLS", "true"]]);
  const { asNumber, pool } = nodeConfig(
    { variables, nodename: "n" },
    (name) => ({ AS: "65001" })[name],
  );
  assert.deepEqual([asNumber, pool], [65002, { 4: undefined, 6: undefined }]);
});

Deno.test("a node is registered with its address, and keeps what people have set", () =>
  inStore(async (resources) => {
    await registerNode(resources, config({ AS: "65001" }), host("192.0.2.11"));
    await resources.modify(nodeKind, "node1", undefined, (node) => ({
      ...node,
      metadata: { ...node.metadata, labels: { rack: "r1" } },
      spec: { ...node.spec, bgp: { ...node.spec.bgp, routeReflectorClusterID: "1.2.3.4" } },
    }));
    await registerNode(resources, config(), host("192.0.2.11"));
    const node = (await resources.get(nodeKind, "node1"))!;
    assert.equal(node.spec.bgp?.ipv4Address, "192.0.2.11/24");
    assert.equal(node.spec.bgp?.asNumber, 65001);
    assert.equal(node.spec.bgp?.routeReflectorClusterID, "1.2.3.4");
    assert.deepEqual(node.metadata.labels, { rack: "r1" });
    assert.equal(node.spec.addresses, undefined);
    // The address has changed: the old one is ours no more, whoever wrote it.
    const typed = (address: string, type: "CalicoNodeIP" | "InternalIP") => ({ address, type });
    const [old, other] = [typed("192.0.2.11/24", "CalicoNodeIP"), typed("10.0.0.1", "InternalIP")];
    await resources.modify(nodeKind, "node1", undefined, (node) => ({
      ...node,
      spec: { ...node.spec, addresses: [old, other] },
    }));
    await registerNode(resources, config(), host("192.0.2.11"));
    const spec = async () => (await resources.get(nodeKind, "node1"))!.spec;
    assert.deepEqual((await spec()).addresses, [old, other]);
    await registerNode(resources, config(), host("192.0.2.99"));
    assert.equal((await spec()).bgp?.ipv4Address, "192.0.2.99/24");
    assert.deepEqual((await spec()).addresses, [other]);
  }));

Deno.test("a node is registered under the name that Kubernetes has for it", () =>
  inStore(async (resources) => {
    const refs = async () => (await resources.get(nodeKind, "node1"))!.spec.orchRefs;
    await registerNode(resources, config(), host("192.0.2.11"));
    assert.equal(await refs(), undefined);
    const machine = config({ CALICO_K8S_NODE_REF: "machine-1" });
    await registerNode(resources, machine, host("192.0.2.11"));
    assert.deepEqual(await refs(), [{ nodeName: "machine-1", orchestrator: "k8s" }]);
    // What is there stays where nothing else is said.
    await registerNode(resources, config(), host("192.0.2.11"));
    assert.deepEqual(await refs(), [{ nodeName: "machine-1", orchestrator: "k8s" }]);
  }));

Deno.test("a Node of another version that needs no change is registered, and no other is written", () =>
  inStore(async (resources) => {
    await registerNode(resources, config(), host("192.0.2.11"));
    const key = resourceKey(nodeKind, "node1");
    const { value } = (await resources.store.get<object>(key))!;
    const newer = { ...value, apiVersion: "projectcalico.org/v4" };
    const revision = await resources.store.put(key, newer);
    const { 4: address } = await registerNode(resources, config(), host("192.0.2.11"));
    assert.deepEqual(address?.ip, mustIp("192.0.2.11"));
    await assert.rejects(
      registerNode(resources, config(), host("192.0.2.99")),
      /"projectcalico\.org\/v4", and .*newer client/,
    );
    assert.equal((await resources.store.get(key))!.revision, revision);
  }));

Deno.test("what a node may not write keeps it from nothing else, and is named", async () => {
  const nodes = resourceKey(nodeKind, "node1"), pool = "/default-ipv4-ippool";
  const felix = resourceKey(felixConfigurationKind, "default");
  for (const kind of ["denied", "invalid", "unavailable"] as const) {
    const store = memoryStore();
    let refused = [nodes, pool, felix];
    const refuse = (key: string) => {
      if (refused.some((one) => key.endsWith(one))) throw new StoreError(kind, "not for us", key);
    };
    const resources = new Resources({
      epoch: 0,
      get: store.get.bind(store),
      list: store.list.bind(store),
      watch: store.watch.bind(store),
      delete: store.delete.bind(store),
      close: store.close.bind(store),
      put: async (key, value) => (refuse(key), await store.put(key, value)),
      create: async (key, value) => (refuse(key), await store.create(key, value)),
      update: async (key, value, revision) => (
        refuse(key), await store.update(key, value, revision)
      ),
    });
    const begin = () => register(resources, config({ AS: "65001" }), host("192.0.2.11"));
    const first = await begin();
    assert.equal(first.addresses, undefined);
    assert.match(first.unregistered!, /^this node is not registered: .*not for us/);
    assert.match(first.unwritten.join("\n"), /no default pool can be made: .*not for us/);
    assert.match(first.unwritten.join("\n"), /no FelixConfiguration is there.*not for us/);
    assert.deepEqual((await store.get(felixVariablesKey("node1")))?.value, {}, "all else is done");
    refused = [nodes];
    assert.deepEqual((await begin()).unwritten, []);
    assert.equal((await resources.list(ippoolKind)).items.length, 1);
    refused = [];
    const { addresses, ...rest } = await begin();
    assert.deepEqual(addresses?.[4]?.ip, mustIp("192.0.2.11"));
    assert.deepEqual(rest, { unwritten: [] });
    // What is there need not be written.
    refused = [nodes, pool, felix];
    assert.equal((await begin()).unregistered, undefined);
    await store.put(nodes, { ...(await store.get<any>(nodes))!.value, spec: {} });
    assert.match((await begin()).unregistered!, /not for us/);
    await store.close();
  }
});

Deno.test("a new Node in etcd is as Calico's startup writes it", () =>
  inStore(async (resources) => {
    const { interfaces, ...rest } = host("172.18.0.4");
    const more = ["lo", "cali0123", "docker0", "tunl0", "vxlan.calico"].map((name) => ({
      ...interfaces[0],
      name,
    }));
    const [eth0] = interfaces;
    const local = { ip: mustIp("fe80::1"), length: 64 };
    const down = { ...eth0, name: "eth1", up: false };
    const bare = { ...eth0, name: "eth2", addresses: [local] };
    await registerNode(resources, config({ AS: "64514" }), {
      ...rest,
      interfaces: [
        ...more,
        { ...eth0, addresses: [...eth0.addresses, local] },
        down,
        bare,
      ],
    });
    const { value } = (await resources.store.get<any>(resourceKey(nodeKind, "node1")))!;
    // As recorded of v3.32.1.
    assert.deepEqual(value.spec, {
      bgp: { asNumber: 64514, ipv4Address: "172.18.0.4/24" },
      interfaces: [{ name: "eth0", addresses: ["172.18.0.4"] }],
    });
  }));

Deno.test("a lock that was seen stays when its object is gone, until it says that all is ready", () =>
  inStore(async (resources) => {
    const check = new ReadyCheck();
    const lock = (datastoreReady: boolean) =>
      resources.modify(clusterInformationKind, "default", undefined, (cluster) => ({
        ...cluster,
        spec: { ...cluster.spec, datastoreReady },
      }));
    await check.mustBeReady(resources);
    await resources.ensureInitialized();
    await lock(false);
    await assert.rejects(check.mustBeReady(resources), /is locked \(.*datastoreReady false\)/);
    await resources.store.delete(resourceKey(clusterInformationKind, "default"));
    await assert.rejects(check.mustBeReady(resources), /datastoreReady false, and is gone now/);
    await new Resources(resources.store).ensureInitialized();
    await check.mustBeReady(resources);
  }));

Deno.test("what is half-written is named and left as it is, and keeps nothing else from being done", async () => {
  for (const bad of [HALF_WRITTEN, "x", { spec: "x" }, { spec: { bgp: 7, cidr: 7 } }]) {
    const store = halfWritable(memoryStore());
    const resources = new Resources(store);
    const spoilt = [
      resourceKey(nodeKind, "node1"),
      resourceKey(ippoolKind, "default-ipv4-ippool"),
      resourceKey(felixConfigurationKind, "default"),
    ];
    for (const key of spoilt) await store.put(key, bad);
    const told: string[] = [];
    const warn = (text: string) => void told.push(text);
    const { revision } = await store.list("/calico/resources/v3/projectcalico.org/");
    await ensurePools(resources, config(), host("192.0.2.11"), warn);
    await ensureFelixConfiguration(resources, warn);
    assert.match(told[0], /no default pool is made meanwhile: .*default-ipv4-ippool/);
    if (bad === HALF_WRITTEN) assert.match(told[1], /felixconfigurations\/default/);
    await assert.rejects(
      registerNode(resources, config(), host("192.0.2.11")),
      (error) => isUnreadable(error) && /nodes?.*node1/i.test(error.message),
    );
    for (const key of spoilt) {
      const entry = await store.get(key).catch(({ damaged }) => ({
        value: HALF_WRITTEN,
        revision: damaged,
      }));
      assert.deepEqual(entry?.value, bad, key);
      assert(Number(entry?.revision) <= Number(revision), key);
    }
    // Mended, it is completed.
    await store.put(spoilt[0], { metadata: { name: "node1" }, spec: { bgp: { asNumber: 7 } } });
    await registerNode(resources, config(), host("192.0.2.11"));
    const { spec } = (await resources.get(nodeKind, "node1"))!;
    assert.deepEqual(spec.bgp, { asNumber: 7, ipv4Address: "192.0.2.11/24" });
    // Ours alone.
    await store.put(felixVariablesKey("node1"), bad);
    await tellFelixVariables(store, "node1", new Map());
    assert.deepEqual((await store.get(felixVariablesKey("node1")))?.value, {});
    await store.close();
  }
});

Deno.test("a half-written ClusterInformation is a lock for a node that starts, as for one that runs", async () => {
  const store = halfWritable(memoryStore());
  const resources = new Resources(store), check = new ReadyCheck();
  await store.put(resourceKey(clusterInformationKind, "default"), HALF_WRITTEN);
  await assert.rejects(
    check.mustBeReady(resources),
    /is locked \(ClusterInformation default cannot be read: .*; unlock it/,
  );
  await store.close();
});

Deno.test("two nodes of one address are refused, with the other one's name", () =>
  inStore(async (resources) => {
    await registerNode(resources, config(), host("192.0.2.11"));
    await assert.rejects(
      registerNode(resources, config({ NODENAME: "node2" }), host("192.0.2.11")),
      (error) =>
        error instanceof ConfigError && /"node1" has the address 192.0.2.11/.test(error.message),
    );
    assert.equal(await resources.get(nodeKind, "node2"), undefined);
  }));

Deno.test("who has written a Node with our address meanwhile does not keep us from starting again", () =>
  inStore(async (resources) => {
    const warnings: string[] = [];
    const register = (env: Record<string, string>, ip: string) =>
      registerNode(resources, config(env), host(ip), (text) => warnings.push(text));
    const stray = (ipv4Address: string) =>
      resources.create(nodeKind, {
        kind: "Node",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: `stray-${ipv4Address.split(/[./]/)[3]}` },
        spec: { bgp: { ipv4Address } },
      });
    await register({}, "192.0.2.11");
    await stray("192.0.2.11/32");
    await stray("192.0.2.12/24");
    assert.deepEqual(warnings, []);
    // A restart: ours in the datastore before, whatever the length of the prefix.
    assert.equal((await register({}, "192.0.2.11"))[4]?.length, 24);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /"stray-11" has the address 192\.0\.2\.11 too, .* delete it/);
    // A move to an address that somebody has is a claim, of a known node as of a new one.
    await assert.rejects(
      register({}, "192.0.2.12"),
      /"stray-12" has the address 192\.0\.2\.12 too/,
    );
    assert.equal((await resources.get(nodeKind, "node1"))!.spec.bgp?.ipv4Address, "192.0.2.11/24");
    await assert.rejects(register({ NODENAME: "node2" }, "192.0.2.11"), ConfigError);
    assert.equal(await resources.get(nodeKind, "node2"), undefined);
  }));

Deno.test("a default pool is made once, of the CIDR asked for or of one that is free", () =>
  inStore(async (resources) => {
    const cidrs = async () => (await resources.list(ippoolKind)).items.map((p) => p.spec.cidr);
    await ensurePools(resources, config({ NO_DEFAULT_POOLS: "true" }), host("192.0.2.11"));
    assert.deepEqual(await cidrs(), []);
    await Promise.all(
      [1, 2, 3].map(() =>
        ensurePools(
          resources,
          config({ CALICO_IPV4POOL_CIDR: "10.244.3.7/16" }),
          host("192.0.2.11"),
        )
      ),
    );
    await ensurePools(
      resources,
      config({ CALICO_IPV4POOL_CIDR: "10.9.0.0/16" }),
      host("192.0.2.11"),
    );
    assert.deepEqual(await cidrs(), ["10.244.0.0/16"]);
    await ensureFelixConfiguration(resources);
    await ensureFelixConfiguration(resources);
  }));

Deno.test("the default CIDR steps aside where the host has an address in it", () =>
  inStore(async (resources) => {
    await ensurePools(resources, config(), host("192.168.7.1"));
    const [pool] = (await resources.list(ippoolKind)).items;
    assert.equal(pool.spec.cidr, "172.16.0.0/16");
    assert.equal(pool.spec.natOutgoing, true);
    assert.equal(pool.metadata.name, "default-ipv4-ippool");
  }));

Deno.test("settings that cannot be are named", () => {
  for (
    const [env, message] of [
      [{ IP: "nowhere" }, /IP="nowhere" is not an address/],
      [{ AS: "0" }, /AS="0" is not an integer from 1/],
      [{ NODENAME: "Node 1" }, /node name "Node 1"/],
      [{ CALICO_NETWORKING_BACKEND: "ospf" }, /"ospf" is not one of/],
      [{ CALICO_IPV4POOL_CIDR: "fd00::/48" }, /is not an IPv4 CIDR/],
      [{ CALICO_IPV4POOL_CIDR: "10.0.0.0/30" }, /smaller than a block/],
      [{ CALICO_IPV4POOL_BLOCK_SIZE: "8" }, /from 20 to 32/],
      [{ CALICO_IPV4POOL_IPIP: "maybe" }, /not one of Always/],
      [{ TORTIE_STORE: "ftp://x" }, /store "ftp:..x" of TORTIE_STORE is not understood/],
    ] as [Record<string, string>, RegExp][]
  ) assert.throws(() => config(env), (e) => e instanceof ConfigError && message.test(e.message));
  assert.equal(config({ AS: "1.10" }).asNumber, 65546);
});
