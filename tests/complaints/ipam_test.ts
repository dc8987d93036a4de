/**
 * What users of such networks have complained about for years, addresses: lost, leaked, taken from who
 * has them, and slow to get. Each is reproduced. The numbers are rows of our list of complaints; the
 * threads are the users' own.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { endProcess, startNode, startProcess, waitReady } from "../../mod/lab/cluster.ts";
import type { RunningPod } from "../../mod/lab/lab.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { World } from "../../mod/ipam/testing/world.ts";
import { GRACE, Simulation } from "../../mod/controllers/testing/simulation.ts";
import { kubeControllersConfigurationKind } from "../../mod/model/kube_controllers_configuration.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { mustIp, mustPrefix, prefixContains } from "../../mod/net/mod.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { Resources } from "../../mod/store/resources.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import { FaultyStore } from "../../mod/ipam/testing/faulty_store.ts";
import type { AllocationBlock } from "../../mod/model/ipam_block.ts";
import {
  affinityKey,
  blockKey,
  blockPrefix,
  handlePrefix,
  parseBlockKey,
  resourceKey,
} from "../../mod/model/keys.ts";
import { podKind } from "../../mod/model/pod.ts";
import { check, checkStore } from "../../mod/ipam/check/check.ts";
import { readRecords } from "../../mod/ipam/check/records.ts";
import { newBlock } from "../../mod/ipam/block.ts";
import type { Store } from "../../mod/store/store.ts";
import { command } from "../cli/harness.ts";
import { isGone, pause, pod, podPings, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

async function inSimulation(run: (cluster: Simulation) => Promise<void>): Promise<void> {
  const cluster = new Simulation();
  try {
    await cluster.begin();
    await run(cluster);
  } finally {
    await cluster.store.close();
  }
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const world = new World();
  try {
    await run(world);
  } finally {
    await world.store.close();
  }
}

/** The first `count` /26 of 10.0.0.0/8 are somebody's: records as a claim leaves them. */
async function claimAll(store: Store, ownerOf: (n: number) => string, count = 1024): Promise<void> {
  for (let i = 0; i < count; i++) {
    const block = mustPrefix(`10.${i >> 10}.${(i >> 2) & 255}.${(i & 3) * 64}/26`);
    const owner = { type: "host" as const, name: ownerOf(i) };
    await store.create(affinityKey(owner, block), { state: "confirmed", deleted: false });
    await store.create(blockKey(block), newBlock(block, owner, Date.UTC(2026, 10, 22)));
  }
}

Deno.test(
  "5: the collector takes no address from a pod that runs, whatever is lost of its records",
  options,
  async () => {
    // calico#5044, #3940, #3589: garbage collection freed addresses of healthy pods.
    await withLab({ subnets: "2" }, async (lab) => {
      const [healthy] = await lab.run(pod("healthy"), { node: "node1" });
      const [leaked] = await lab.run(pod("leaked"), { node: "node1" });
      const [peer] = await lab.run(pod("peer"), { node: "node2" });
      await until("the pods are reached", 5000, () => podPings(peer, healthy.addresses[0]));
      const { storeSocket, directory } = lab.record.layout;
      const store = remoteStore(storeSocket);
      const resources = new Resources(store);
      const ipam = new Ipam(store);
      const lose = async ({ name }: PodRecord) => {
        await resources.delete(workloadEndpointKind, `node1-k8s-${name}-eth0`, "default");
        await store.delete(resourceKey(podKind, name, "default"));
      };
      await resources.create(kubeControllersConfigurationKind, {
        kind: "KubeControllersConfiguration",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: "default" },
        spec: { controllers: { node: { leakGracePeriod: "1s" } } },
      });
      const controllers = startProcess(
        ["controllers", "run"],
        { TORTIE_STORE: storeSocket, TORTIE_CONTROLLERS_HEALTH_PORT: "0" },
        `${directory}/controllers.log`,
      );
      const { spec } = await resources.mustGet(
        workloadEndpointKind,
        "node1-k8s-healthy-eth0",
        "default",
      );
      const wire = spec.interfaceName!;
      try {
        // Both pods lose all that the datastore knows of them; one of them is really gone.
        await tool(undefined, "ip", "netns", "del", leaked.netns);
        await lose(healthy);
        await lose(leaked);
        await until(
          "the leaked address is free",
          40_000,
          async () => await ipam.assignment(leaked.addresses[0]) === undefined,
        );
        await pause(3000);
        assert.notEqual(await ipam.assignment(healthy.addresses[0]), undefined);
        // The pod ends without a word: only then its address goes too. A namespace that has had traffic
        // may live on in the kernel for a while; its interface is taken away at once.
        await tool(undefined, "ip", "netns", "del", healthy.netns);
        await tool(lab.node("node1").namespace, "ip", "link", "del", wire).catch(isGone);
        await until(
          "its address is free when it has ended",
          60_000,
          async () => await ipam.assignment(healthy.addresses[0]) === undefined,
        );
      } finally {
        await endProcess(controllers);
        await store.close();
      }
    });
  },
);

Deno.test(
  "5: an address that a live pod has goes to no other, whatever was deleted",
  options,
  async () => {
    // What users ask for: a look at who has an address before it is handed out.
    await withLab({ subnets: "1", families: "IPv4,IPv6" }, async (lab) => {
      const { namespace } = lab.node("node1");
      const run = async (name: string) => (await lab.run(pod(name), { node: "node1" }))[0];
      const [known, lost] = [await run("known"), await run("lost")];
      const store = remoteStore(lab.record.layout.storeSocket);
      // As after a restoration from a backup that knows the blocks and none of their pods.
      const forget = async () => {
        for (const { key } of (await store.list(handlePrefix)).entries) await store.delete(key);
        for (const family of [4, 6] as const) {
          const { entries } = await store.list<AllocationBlock>(blockPrefix(family));
          for (const { key, value } of entries) {
            const allocations = value.allocations.map(() => null);
            const unallocated = [...allocations.keys()];
            await store.put(key, { ...value, allocations, unallocated, attributes: [] });
          }
        }
      };
      const routes = async () =>
        await tool(namespace, "ip", "route") + await tool(namespace, "ip", "-6", "route");
      try {
        await forget();
        // Of one of them the endpoint is lost too: the node takes its routes away, and it keeps running.
        await new Resources(store).delete(workloadEndpointKind, "node1-k8s-lost-eth0", "default");
        const all = [known, lost, await run("at-once")];
        await until("the routes of the lost pod are gone", 20_000, async () => {
          const there = await routes();
          return lost.addresses.every((ip) => !there.includes(`${ip} `));
        });
        all.push(await run("later"));
        await endProcess(lab.record.processes.node1);
        await forget();
        startNode(lab.record, lab.node("node1"));
        await waitReady(lab.record);
        all.push(await run("after-a-start"));
        const given = all.flatMap(({ addresses }) => addresses);
        assert.equal(new Set(given).size, 2 * all.length, given.join());
        for (const one of all.slice(2)) {
          await until("it is reached", 5000, () => podPings(one, known.addresses[0]));
        }
        for (const ip of lost.addresses) {
          const { handle } = (await new Ipam(store).assignment(ip))!;
          assert.match(handle!, /\S+\.\S+/);
          assert.equal((await new Ipam(store).ipsByHandle(handle!))?.length, 2);
        }
      } finally {
        await store.close();
      }
    });
  },
);

Deno.test("6: a pool that is full of leaks is empty again after the grace period", async () => {
  // calico#5339, #4502, #7839: "94 % in use", of addresses that no pod has.
  await inSimulation(async (cluster) => {
    for (;;) {
      const container = await cluster.run("n0");
      if (!container) break;
      cluster.vanish(container);
      await cluster.remove(cluster.endpointKey(container));
    }
    assert.equal((await cluster.given()).filter((ip) => ip.startsWith("10.0.0.")).length, 64);
    await cluster.turn();
    cluster.wait(GRACE);
    await cluster.turn();
    await cluster.answer();
    await cluster.turn();
    assert.equal((await cluster.given()).length, 0);
    assert(await cluster.run("n0"));
  });
});

Deno.test("7: blocks of nodes that are gone are freed, and stop no node that comes", async () => {
  // calico#2713, #8643: 32,671 blocks left behind; nodes crashed over them in a loop.
  await inSimulation(async (cluster) => {
    await cluster.pool("four", "10.0.0.0/16", { blockSize: 26 });
    await claimAll(cluster.store, (i) => `gone-${i % 32}`);
    assert.equal((await cluster.blocks()).length, 1024);
    // Nothing is left for a new node, and it gets its address all the same.
    cluster.wait(61_000);
    assert(await cluster.run("n0"));
    await cluster.turn();
    cluster.wait(GRACE);
    await cluster.turn();
    assert.equal((await cluster.blocks()).filter((b) => b.startsWith("10.")).length, 1);
    await cluster.safe();
  });
});

Deno.test("7: 32,671 blocks left behind are found by a check, and keep nobody from an address", async () => {
  await inWorld(async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/11", { blockSize: 26 });
    const count = 32_671;
    await claimAll(world.store, (i) => `gone-${i % 300}`, count);
    const records = await readRecords(world.store);
    const timed = (some: typeof records) => {
      const before = process.cpuUsage();
      const found = check(some, world.now);
      const { user, system } = process.cpuUsage(before);
      return { ...found, cost: user + system };
    };
    const { blocks, findings, cost } = timed(records);
    assert.equal(blocks.length, count);
    assert.equal(findings.filter(({ kind }) => kind === "nodeGone").length, 300);
    // Four times as many cost about four times as much, and not sixteen times: of the processor's time,
    // which no load of the machine changes.
    const few = count >> 2;
    const ratio = cost / timed({
      ...records,
      blocks: records.blocks.slice(0, few),
      affinities: records.affinities.slice(0, few),
    }).cost;
    assert(ratio < 11, `${ratio} times as much for four times as many`);
    const { ipam, store } = world.process();
    assert.equal((await ipam.assign({ num4: 1, host: "n1", use: "Workload" })).length, 1);
    assert(store.reads <= 20 && store.writes <= 10, `${store.reads} reads, ${store.writes} writes`);
  });
});

Deno.test("8: the search for a block costs a few reads, however many blocks there are", async () => {
  // libcalico-go#1236: 1,024 reads, against 450 that the API allowed in the time.
  await inWorld(async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/16", { blockSize: 26 });
    await claimAll(world.store, () => "others");
    await world.ipam.releaseAffinity("10.0.200.64/26", "others");
    const { ipam, store } = world.process();
    await ipam.assign({ num4: 1, host: "n1", use: "Workload" });
    assert(store.reads <= 12, `${store.reads} reads`);
  });
});

Deno.test("8: a node that comes reads no more blocks than could be in its way", async () => {
  // The first address of a fresh node took longer with every block of the cluster.
  await inWorld(async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/13", { blockSize: 26 });
    await claimAll(world.store, () => "others", 4000);
    const { store } = world.process();
    const keys = (await store.list(blockPrefix(4))).entries.map(({ key }) => parseBlockKey(key)!);
    let read = 0;
    const counting = new Proxy(store, {
      get: (of, name) =>
        name !== "list" ? Reflect.get(of, name)?.bind?.(of) ?? Reflect.get(of, name) : async (
          prefix: string,
        ) => {
          const listing = await of.list(prefix);
          read += listing.entries.length;
          return listing;
        },
    });
    const ipam = new Ipam(counting, { now: () => world.now, taken: () => keys });
    assert.equal((await ipam.assign({ num4: 1, host: "n1", use: "Workload" })).length, 1);
    assert.ok(read < 1100, `${read} records of 4,000 blocks were read`);
  });
});

Deno.test("9: a hundred pods at once cost a hundred handles and a few writes more", async () => {
  // calico#5612, #5684: two to three minutes for the addresses of a hundred pods on one node.
  await inWorld(async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/16", { blockSize: 24 });
    const { ipam, store } = world.process();
    const all = await Promise.all(
      Array.from(
        { length: 100 },
        (_, i) => ipam.assign({ num4: 1, host: "n1", handle: `net.c${i}`, use: "Workload" }),
      ),
    );
    assert.equal(all.flat().length, 100);
    assert(store.writes <= 125, `${store.writes} writes`);
    assert(store.reads <= 40, `${store.reads} reads`);
  });
});

Deno.test("10: a huge pool is searched no longer than a small one", async () => {
  // spiderpool#3541: a set of the addresses of a /10, written out.
  const search = async (cidr: string, blockSize: number) => {
    const store = new FaultyStore(memoryStore());
    try {
      const put = (plural: string, name: string, spec: object) =>
        store.put(resourceKey({ plural, home: "calico", namespaced: false }, name), {
          metadata: { name },
          spec,
        });
      await put("nodes", "n1", {});
      await put("ippools", "p", { cidr, blockSize });
      const prefix = mustPrefix(cidr);
      const ipam = new Ipam(store);
      store.reads = store.writes = 0;
      const before = process.cpuUsage();
      const num = prefix.ip.family === 4 ? { num4: 3 } : { num6: 3 };
      const given = await ipam.assign({
        ...num,
        host: "n1",
        use: "Workload",
        maxBlocksPerHost: 20,
      });
      assert.equal(given.length, 3);
      const { user, system } = process.cpuUsage(before);
      return { operations: store.reads + store.writes, micros: user + system };
    } finally {
      await store.close();
    }
  };
  const small = await search("10.0.0.0/24", 32);
  for (const [cidr, blockSize] of [["10.0.0.0/8", 32], ["fd00::/16", 128]] as const) {
    const { operations, micros } = await search(cidr, blockSize);
    assert(operations <= small.operations + 2, `${cidr}: ${operations} operations`);
    // Of the processor's time, which no load changes; 16 million numbers are a second of it.
    assert(micros <= small.micros + 250_000, `${cidr}: ${micros} µs, and ${small.micros} in a /24`);
  }
});

/** Steps of README, "Another block size", as Resources: the new pool has the old one's range, or another. */
async function replacePool(
  resources: Resources,
  name: string,
  spec: { readonly blockSize: number; readonly cidr?: string },
): Promise<void> {
  const old = await resources.modify(ippoolKind, name, undefined, (stored) => ({
    ...stored,
    spec: { ...stored.spec, disabled: true },
  }));
  await resources.create(ippoolKind, {
    kind: "IPPool",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: `${name}-new` },
    spec: { ...old.spec, ...spec, disabled: false },
  });
}

/** With another range README has the old pool go when its last pod is gone. */
const CHANGES = [
  { what: "another block size", spec: { blockSize: 30 }, begin: "10.0.", early: false },
  { what: "another block size", spec: { blockSize: 30 }, begin: "10.0.", early: true },
  {
    what: "another range",
    spec: { blockSize: 26, cidr: "10.99.0.0/24" },
    begin: "10.99.",
    early: false,
  },
];
for (const { what, spec, begin, early } of CHANGES) {
  const when = early ? "at once" : "when it is empty";
  Deno.test(`44: ${what}, and no pod has to be deleted for it; the old pool goes ${when}`, async () => {
    // calico#1378, #5952: the way there was `kubectl delete pod --all`.
    await inSimulation(async (cluster) => {
      const before = [];
      for (let i = 0; i < 10; i++) before.push((await cluster.run(`n${i % 3}`))!);
      const resources = new Resources(cluster.store, {
        releasePoolAffinities: (cidr, heirs) => cluster.ipam.releasePoolAffinities(cidr, heirs),
      });
      const owners = async () =>
        (await cluster.store.list("/calico/ipam/v2/host/")).entries.map(({ key }) => key);
      const owned = await owners();
      await replacePool(resources, "four", spec);
      if (early) await resources.delete(ippoolKind, "four");
      // Every node routes its blocks on.
      assert.deepEqual(await owners(), owned);
      await cluster.safe();
      const sound = async () => {
        assert.deepEqual(
          (await checkStore(cluster.store, { now: () => cluster.now })).findings,
          [],
        );
      };
      await sound();
      // Pods come and go as ever; the old blocks drain, and go.
      for (const container of before) {
        const next = await cluster.run(container.node);
        assert(next?.addresses.some((ip) => ip.startsWith(begin)), `${next?.addresses}`);
        await cluster.remove(cluster.endpointKey(container));
        cluster.vanish(container);
        await cluster.ipam.releaseByHandle(container.handle);
        await cluster.safe();
        await sound();
      }
      if (!early) await resources.delete(ippoolKind, "four");
      const sizes = new Set(
        (await cluster.blocks()).filter((b) => b.startsWith("10.")).map((b) =>
          `${b.startsWith(begin)} ${mustPrefix(b).length}`
        ),
      );
      assert.deepEqual([...sizes], [`true ${spec.blockSize}`]);
      const { findings, passing } = await checkStore(cluster.store, { now: () => cluster.now });
      assert.deepEqual([...findings, ...passing], []);
    });
  });
}

Deno.test("44: by the commands of README, in a cluster with pods that talk", options, async () => {
  await withLab({ subnets: "2" }, async (lab) => {
    const env = { TORTIE_STORE: lab.record.layout.storeSocket };
    const tortie = async (args: string[], stdin = "") => {
      const { exit, out, err } = await command(args, { stdin, env });
      assert.equal(exit, 0, `${args.join(" ")}: ${out}${err}`);
      return out;
    };
    const [a] = await lab.run(pod("a"), { node: "node1" });
    const [b] = await lab.run(pod("b"), { node: "node2" });
    const talk = (from: PodRecord, to: RunningPod) => podPings(from, to.addresses[0]);
    await until("the pods are reached", 5000, async () => await talk(a, b) && await talk(b, a));
    let lost = 0, sent = 0, over = false;
    const talking = (async () => {
      for (; !over; await pause(20), sent++) if (!await talk(a, b)) lost++;
    })();
    try {
      const off = JSON.stringify({ spec: { disabled: true } });
      await tortie(["patch", "ippool", "default-ipv4-ippool", "-p", off]);
      const get = ["get", "ippool", "default-ipv4-ippool", "-o", "yaml", "--export"];
      // As README's sed has it.
      const fresh = (await tortie(get)).replace(/name: .*/, "name: small")
        .replace(/blockSize: .*/, "blockSize: 28").replace(/disabled: .*/, "disabled: false");
      await tortie(["create", "-f", "-"], fresh);
      const [c] = await lab.run(pod("c"), { node: "node1" });
      const both = async () => await talk(c, b) && await talk(b, c) && await talk(a, c);
      await until("old and new pods reach each other", 5000, both);
      assert.match(
        await tortie(["ipam", "check"]),
        /\/26 is no block of pool small .* 1 address: /,
      );
      await tortie(["delete", "ippool", "default-ipv4-ippool"]);
      const [d] = await lab.run(pod("d"), { node: "node2" });
      await until("all reach each other", 5000, async () => await both() && await talk(a, d));
      assert.match(await tortie(["ipam", "check"]), /found 0 problems/);
      const cidrs = (await tortie(["ipam", "show", "--show-blocks"])).match(/[0-9.]+\/28/g) ?? [];
      for (const { addresses: [address] } of [c, d]) {
        assert(cidrs.some((cidr) => prefixContains(mustPrefix(cidr), mustIp(address))));
      }
    } finally {
      over = true;
      await talking;
    }
    assert.equal(lost, 0, `${lost} of ${sent} lost`);
  });
});
