import assert from "node:assert/strict";
import type { Given } from "../../cni/deps.ts";
import { hostInterfaceName } from "../../cni/identity.ts";
import { inWorld } from "../ipam/testing/world.ts";
import { leaseHandle } from "../ipam/lease_record.ts";
import { goTimestamp } from "../ipam/time.ts";
import type { Ip } from "../net/mod.ts";
import { StoreError } from "../store/store.ts";
import { cachedNetwork, networkOf, recordForeign, recordLost } from "./lost_addresses.ts";

const N1 = { node: "n1", network: "k8s-pod-network" };

const lost = (addresses: string[], isThere = () => true) => ({
  hostName: "cali1",
  mark: { containerId: "c1", ifname: "eth0" },
  addresses,
  isThere,
});

inWorld(
  "a block that is lost is the node's again, and no other node gives its addresses",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
    for (const node of ["n1", "n2"]) await world.node(node);
    const [address] = await world.assign("n1", { handle: "k8s-pod-network.c1" });
    // As an older copy of the datastore that was put back.
    for (const { key } of (await world.store.list("/calico/ipam/v2/")).entries) {
      await world.store.delete(key);
    }
    const record = (isThere?: () => boolean) =>
      recordLost(world.ipam, N1, lost([address], isThere), new Date());
    assert.deepEqual(await record(() => false), new Map(), "what has gone is not put on record");
    assert.equal(await world.ipam.assignment(address), undefined);
    assert.deepEqual(await record(), new Map());
    const block = Number(address.split(".")[3]) < 8 ? "10.0.0.0/29" : "10.0.0.8/29";
    assert.deepEqual(await world.owned("n1"), [`${block} confirmed`]);
    assert.equal((await world.ipam.assignment(address))!.handle, "k8s-pod-network.c1");
    assert.deepEqual(await record(), new Map(), "and it is found there again");
    const given: string[] = [];
    for (let i = 0; i < 15; i++) {
      given.push(...await world.assign("n2", { handle: `k8s-pod-network.m${i}` }));
    }
    assert(!given.includes(address), `${address} is the container's`);
    // Its DEL gives it back.
    await world.ipam.releaseByHandle("k8s-pod-network.c1");
    assert.equal(await world.ipam.assignment(address), undefined);
  },
);

inWorld(
  "what another has on record stays his, and what cannot be recorded is said",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
    for (const node of ["n1", "n2"]) await world.node(node);
    const [theirs] = await world.assign("n2", { handle: "k8s-pod-network.m1" });
    const now = new Date();
    const own = theirs === "10.0.0.3" ? "10.0.0.4" : "10.0.0.3";
    const words = await recordLost(world.ipam, N1, lost(["192.0.2.1", theirs, own]), now);
    assert.equal((await world.ipam.assignment(own))!.handle, "k8s-pod-network.c1");
    assert.equal(words.get(theirs), "IPAM has given it to handle k8s-pod-network.m1");
    assert.equal(words.size, 1, "what no pool has nobody gives");
    assert.equal((await world.ipam.assignment(theirs))!.handle, "k8s-pod-network.m1");
    const away = new StoreError("unavailable", "the datastore is away");
    const ipam = Object.assign(Object.create(world.ipam), {
      assignment: () => Promise.reject(away),
    });
    await world.ipam.releaseByHandle("k8s-pod-network.c1");
    const why = (await recordLost(ipam, N1, lost(["10.0.0.9"]), now)).get("10.0.0.9");
    assert.equal(why, "the datastore is away");
  },
);

inWorld(
  "a DEL that comes by while its address is put on record leaves nothing behind",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
    await world.node("n1");
    let looks = 0;
    const words = await recordLost(
      world.ipam,
      N1,
      lost(["10.0.0.3"], () => ++looks === 1),
      new Date(),
    );
    assert.deepEqual([words, looks], [new Map(), 2]);
    assert.equal(await world.ipam.assignment("10.0.0.3"), undefined);
  },
);

inWorld("the network is that of the node's other containers", async (world) => {
  await world.pool("p", "10.0.0.0/28", { blockSize: 28 });
  await world.node("n1");
  const network = async () => {
    const block = await world.block("10.0.0.0/28");
    return networkOf("n1", block ? [block] : []);
  };
  assert.equal(await network(), "k8s-pod-network");
  const give = (handle: string, more: Record<string, string> = {}, node = "n1") =>
    world.assign("n1", { handle, attributes: { node, ...more } });
  await give(leaseHandle("blue", "db", "0", "eth0"));
  await give("ipip-tunnel-addr.n1", { type: "ipipTunnelAddress" });
  await give("other.c9", {}, "n2");
  await give("net.c2.eth1", { interface: "eth1" });
  assert.equal(await network(), "k8s-pod-network");
  await give("with.dots.c3");
  assert.equal(await network(), "with.dots");
});

inWorld(
  "of each family one address is put on record, whatever the interface has",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
    await world.pool("q", "fd00::/122", { blockSize: 125 });
    await world.node("n1");
    const all = ["192.0.2.1", "10.0.0.3", "10.0.0.9", "fd00::3", "10.0.0.12", "fd00::9"];
    const record = (addresses: string[]) => recordLost(world.ipam, N1, lost(addresses), new Date());
    const held = async () => {
      const holders = await Promise.all(all.map((ip) => world.ipam.assignment(ip)));
      return all.filter((_, i) => holders[i]?.handle === "k8s-pod-network.c1");
    };
    await record(all);
    assert.deepEqual(await held(), ["10.0.0.3", "fd00::3"]);
    // Nor one after the other.
    await record(["10.0.0.9", "10.0.0.12", "fd00::9"]);
    assert.deepEqual(await held(), ["10.0.0.3", "fd00::3"]);
    // One that is on record for it by another network's name is its own, wherever it stands.
    await world.ipam.releaseByHandle("k8s-pod-network.c1");
    await world.ipam.assignIp({ address: "10.0.0.12", host: "n1", handle: "blue.c1" });
    await record(["10.0.0.9", "10.0.0.12"]);
    assert.deepEqual(await held(), []);
    assert.equal(await world.ipam.assignment("10.0.0.9"), undefined);
  },
);

inWorld("an address is looked for in as many as a pod can have, and some", async (world) => {
  await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
  await world.node("n1");
  const foreign = Array.from({ length: 500 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);
  let looks = 0;
  const ipam = {
    assignment: (ip: Ip | string) => (looks++, world.ipam.assignment(ip)),
    assignIp: world.ipam.assignIp.bind(world.ipam),
    ipsByHandle: world.ipam.ipsByHandle.bind(world.ipam),
    handOver: world.ipam.handOver.bind(world.ipam),
    relabel: world.ipam.relabel.bind(world.ipam),
    releaseIps: world.ipam.releaseIps.bind(world.ipam),
  };
  await recordLost(ipam, N1, lost(foreign), new Date());
  assert(looks < 20, `${looks}`);
});

inWorld(
  "a container that Calico wired is known by its interface, and by what Calico recorded",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 28 });
    await world.node("n1");
    const namespace = "blue", pod = "db-0";
    const hostName = hostInterfaceName({ namespace, pod, containerId: "" }, "cali");
    const record = (hostName: string, address: string) =>
      recordLost(
        world.ipam,
        N1,
        { hostName, mark: undefined, addresses: [address], isThere: () => true },
        new Date(),
      );
    const handleOf = async (ip: string) => (await world.ipam.assignment(ip))?.handle;
    for (let i = 0; i < 2; i++) assert.deepEqual(await record(hostName, "10.0.0.3"), new Map());
    assert.equal(await handleOf("10.0.0.3"), `k8s-pod-network.${hostName}`);
    assert.equal((await world.ipam.assignment("10.0.0.3"))!.attributes.node, "n1");
    // What a former life of the pod left under the same name is not this one's.
    assert.deepEqual(await record(hostName, "10.0.0.6"), new Map());
    assert.deepEqual(
      await Promise.all(["10.0.0.3", "10.0.0.6"].map(handleOf)),
      [undefined, `k8s-pod-network.${hostName}`],
    );
    // As Calico's plugin has it: of a pod, and of a container.
    const give = (address: string, handle: string, attributes: Record<string, string>) =>
      world.ipam.assignIp({
        address,
        host: "n1",
        handle,
        attributes: { node: "n1", ...attributes },
      });
    await world.ipam.releaseByHandle(`k8s-pod-network.${hostName}`);
    await give("10.0.0.4", "k8s-pod-network.0a1b", { namespace, pod });
    assert.deepEqual(await record(hostName, "10.0.0.4"), new Map());
    await give("10.0.0.5", "k8s-pod-network.0123456789abcdef", {});
    assert.deepEqual(await record("cali0123456789a", "10.0.0.5"), new Map());
    assert.equal((await record("cali9999999999a", "10.0.0.5")).size, 1, "another container's");
    assert.equal(await handleOf("10.0.0.5"), "k8s-pod-network.0123456789abcdef");
  },
);

inWorld(
  "a container under another interface plugin is on record again as it was",
  async (world) => {
    await world.pool("p", "10.0.0.0/28", { blockSize: 28 });
    await world.pool("q", "fd00::/122", { blockSize: 122 });
    for (const node of ["n1", "n2"]) await world.node(node);
    let pauses = 0, during = () => Promise.resolve<unknown>(undefined);
    const given = new Map<string, Given>();
    const record = async (addresses: string[], isThere = () => true) => {
      const told = new Map<string, Partial<Given>>();
      for (const ip of addresses) told.set(ip, (await world.ipam.assignment(ip)) ?? {});
      return await recordForeign(world.ipam, {
        node: "n1",
        given: (ip) => Promise.resolve(given.get(ip)),
        stands: (ip) => told.get(ip),
        seen: (ip, one) => void given.set(ip, one),
        pause: async () => {
          pauses++;
          await during();
        },
      }, { hostName: "veth1", mark: undefined, foreign: true, addresses, isThere });
    };
    const handleOf = async (ip: string) => (await world.ipam.assignment(ip))?.handle;
    const all = ["10.0.0.3", "10.0.0.4", "fd00::3"];
    const none = new Map();
    // Of another IPAM, in a pool's range though it is.
    assert.deepEqual(await record(all), none);
    assert.deepEqual(await Promise.all(all.map(handleOf)), [undefined, undefined, undefined]);
    assert.deepEqual(await world.owned("n1"), []);
    const attributes = { node: "n1", pod: "a", namespace: "blue" };
    for (const address of ["10.0.0.3", "fd00::3"]) {
      await world.ipam.assignIp({ address, host: "n1", handle: "blue.c9", attributes });
    }
    assert.deepEqual(await record(all), none);
    assert.deepEqual([...given.keys()], ["10.0.0.3", "fd00::3"]);
    assert.equal(pauses, 0, "on record it costs a look");
    await world.ipam.releaseByHandle("blue.c9");
    // Its DEL is under way: the address is free, and the interface is there a moment longer.
    let there = true;
    during = () => Promise.resolve(there = false);
    assert.deepEqual(await record(all, () => there), none);
    assert.equal(await handleOf("10.0.0.3"), undefined);
    // Somebody else's ADD, of another node.
    during = () => world.ipam.assignIp({ ...THEIRS, address: "10.0.0.3", host: "n2" });
    const theirs = new Map([["10.0.0.3", "IPAM has given it to handle net.m1"]]);
    assert.deepEqual(await record(["10.0.0.3"]), theirs);
    assert.deepEqual(await record(["10.0.0.3"]), theirs);
    await world.ipam.releaseByHandle("net.m1");
    during = () => Promise.resolve();
    assert.deepEqual(await record(all), none);
    assert.deepEqual(await Promise.all(all.map(handleOf)), ["blue.c9", undefined, "blue.c9"]);
    assert.deepEqual((await world.ipam.assignment("fd00::3"))!.attributes, attributes);
    // An older copy has it for one of this node that ended: it is the container's that has it now.
    await world.ipam.releaseByHandle("blue.c9");
    const old = { handle: "blue.c8", attributes: { node: "n1" } };
    await world.ipam.assignIp({ address: "10.0.0.3", host: "n1", ...old });
    assert.deepEqual(await record(["10.0.0.3"]), none);
    assert.equal(await handleOf("10.0.0.3"), "blue.c9");
    assert.equal(given.get("10.0.0.3")!.handle, "blue.c9");
  },
);

inWorld("an old copy's lease that nobody used names who has the address", async (world) => {
  await world.pool("p", "10.0.0.0/28", { blockSize: 28 });
  await world.node("n1");
  const handle = leaseHandle("blue", "db", "0", "eth0");
  const lease = { statefulset: "db", ordinal: "0", keepSeconds: "60" };
  const attributes = { ...lease, keptUntil: "2100-01-01T00:00:00Z" };
  await world.ipam.assignIp({ address: "10.0.0.3", host: "n1", handle, attributes });
  const of = async () => (await world.ipam.assignment("10.0.0.3"))!;
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await recordLost(world.ipam, N1, lost(["10.0.0.3"]), new Date(0)), new Map());
    assert.equal((await of()).handle, handle);
    assert.deepEqual((await of()).attributes, {
      ...lease,
      ...{ container: "k8s-pod-network.c1", node: "n1", timestamp: goTimestamp(0) },
    });
  }
  // One that is another's is his.
  const other = { ...lost(["10.0.0.3"]), mark: { containerId: "c2", ifname: "eth0" } };
  assert.equal((await recordLost(world.ipam, N1, other, new Date())).size, 1);
});

const THEIRS = { handle: "net.m1", attributes: { node: "n2" } };

Deno.test("the network is the one that the runtime remembers, where it does", () => {
  const cached = ["blue-net-c1-eth1", "red-c1-eth0", "red-c11-eth0", "green"];
  const of = (containerId: string, ifname: string) =>
    cachedNetwork(cached, { containerId, ifname });
  assert.equal(of("c1", "eth1"), "blue-net");
  assert.equal(of("c1", "eth0"), "red");
  assert.equal(of("c2", "eth0"), undefined);
  assert.equal(cachedNetwork(cached, undefined), undefined);
});
