import assert from "node:assert/strict";
import { inWorld } from "../ipam/testing/world.ts";
import { leaseHandle } from "../ipam/lease_record.ts";
import { StoreError } from "../store/store.ts";
import { networkOf, recordLost } from "./lost_addresses.ts";

const N1 = { node: "n1", network: "k8s-pod-network" };

const lost = (addresses: string[], isThere = () => true) => ({
  containerId: "c1",
  ifname: "eth0",
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
    const words = await recordLost(world.ipam, N1, lost([theirs, "192.0.2.1"]), now);
    assert.equal(words.get(theirs), "IPAM has given it to handle k8s-pod-network.m1");
    assert.equal(words.size, 1, "what no pool has nobody gives");
    assert.equal((await world.ipam.assignment(theirs))!.handle, "k8s-pod-network.m1");
    const away = new StoreError("unavailable", "the datastore is away");
    const ipam = Object.assign(Object.create(world.ipam), {
      assignment: () => Promise.reject(away),
    });
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
