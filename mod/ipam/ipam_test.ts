import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustIp, mustPrefix, prefixContains } from "../net/mod.ts";
import { affinityKey, handleKey, ipamConfigKey } from "../model/keys.ts";
import { describeHolder } from "./errors.ts";
import { leaseHandle } from "./lease_record.ts";
import { checkRecords } from "./testing/checks.ts";
import { fails, inWorld, texts, World } from "./testing/world.ts";

const within = (cidr: string, addresses: string[]) => {
  const outside = addresses.filter((a) => !prefixContains(mustPrefix(cidr), mustPrefix(a).ip));
  assert.deepEqual(outside, [], `not within ${cidr}`);
};

async function handleOf(world: World, id: string): Promise<unknown> {
  return (await world.store.get(handleKey(id)))?.value;
}

inWorld(
  "one address: block, confirmed affinity and handle as Calico writes them",
  async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/26", { blockSize: 29 });
    const [address] = await world.assign("n1", {
      handle: "net.c1",
      attributes: { pod: "web-0", node: "n1", namespace: "blue", timestamp: "t" },
    });
    const [cidr] = await world.blocks();
    const block = (await world.block(cidr))!;
    const ordinal = block.allocations.indexOf(0);
    assert.equal(ordinal, 0);
    assert.equal(address, cidr.split("/")[0]);
    assert.deepEqual(block.attributes, [{
      handle_id: "net.c1",
      secondary: { namespace: "blue", node: "n1", pod: "web-0", timestamp: "t" },
    }]);
    assert.equal(BigInt(block.sequenceNumber) - BigInt(block.sequenceNumberForAllocation["0"]), 1n);
    const affinity = await world.store.get(
      affinityKey({ type: "host", name: "n1" }, mustPrefix(cidr)),
    );
    assert.deepEqual(affinity?.value, { state: "confirmed", deleted: false });
    assert.deepEqual(await handleOf(world, "net.c1"), { block: { [cidr]: 1 }, deleted: false });
  },
);

inWorld("a node fills its block before it claims the next", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24", { blockSize: 30 });
  await world.assign("n1", { num4: 3 });
  assert.equal((await world.blocks()).length, 1);
  await world.assign("n1", { num4: 2 });
  assert.equal((await world.blocks()).length, 2);
  assert.equal((await world.owned("n1")).length, 2);
});

inWorld("both families in one request, one handle for both", async (world) => {
  await world.node("n1");
  await world.pool("four", "10.0.0.0/24");
  await world.pool("six", "fd00::/112");
  const got = await world.assign("n1", { num4: 1, num6: 2, handle: "h" });
  assert.equal(got.length, 3);
  within("10.0.0.0/24", got.slice(0, 1));
  within("fd00::/112", got.slice(1));
  assert.deepEqual((await world.ipam.ipsByHandle("h"))!.map(formatIp).sort(), [...got].sort());
  assert.equal((await world.ipam.releaseByHandle("h"))!.length, 3);
  assert.equal(await handleOf(world, "h"), undefined);
});

inWorld("an IPv4 failure ends a request before IPv6, and assign leaves nothing", async (world) => {
  await world.node("n1");
  await world.pool("four", "10.0.0.0/30", { blockSize: 30 });
  await world.pool("six", "fd00::/112");
  await world.assign("n1", { num4: 4 });
  const { v4, v6, error } = await world.ipam.autoAssign({
    num4: 1,
    num6: 1,
    host: "n1",
    handle: "h",
    use: "Workload",
  });
  assert.equal(error, undefined);
  assert.deepEqual([v4.addresses.length, v6.addresses.length], [0, 1]);
  assert.deepEqual(v4.messages, ["No IPs available in pools: [10.0.0.0/30]"]);
  await fails(
    world.assign("n1", { num4: 1, num6: 1, handle: "i" }),
    "noFreeAddresses",
    /^Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools/,
  );
  assert.equal(await handleOf(world, "i"), undefined);
  await fails(
    world.assign("n1", { num4: 1, num6: 1, handle: "i", pools4: ["nowhere"] }),
    "poolUnknown",
    /error parsing pool "nowhere"/,
  );
  assert.equal(await handleOf(world, "i"), undefined);
});

inWorld("requests that make no sense", async ({ ipam, ...world }) => {
  const request = { host: "n1", use: "Workload" as const, num4: 1 };
  for (
    const wrong of [{ num4: -1 }, { num4: 1.5 }, { host: "" }, { use: "" as "Workload" }]
  ) {
    await fails(ipam.autoAssign({ ...request, ...wrong }), "badRequest");
  }
  await fails(ipam.assignIp({ address: "10.0.0.300", host: "n1" }), "badRequest");
  await fails(ipam.claimAffinity("10.0.0.0/40", "n1"), "badRequest");
  await fails(ipam.claimAffinity("10.0.0.0/24", ""), "badRequest");
  assert(world);
});

inWorld("addresses are given to known nodes only", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  await fails(world.assign("n1"), "nodeUnknown", /Node\(n1\)/);
  await world.node("n1");
  assert.equal((await world.assign("n1")).length, 1);
});

inWorld("pools are looked at anew for each request", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  within("10.0.0.0/24", await world.assign("n1"));
  await world.pool("p", "10.0.0.0/24", { disabled: true });
  await fails(world.assign("n1"), "noPools");
  await fails(world.assign("n1", { pools4: ["p"] }), "poolDisabled");
  await world.pool("q", "10.0.1.0/24");
  within("10.0.1.0/24", await world.assign("n1"));
});

inWorld("named pools are never left, full or not", async (world) => {
  await world.node("n1");
  await world.pool("a", "10.0.0.0/24");
  await world.pool("tiny", "10.0.1.0/31", { blockSize: 31 });
  within("10.0.1.0/31", await world.assign("n1", { num4: 2, pools4: ["tiny"] }));
  await fails(world.assign("n1", { pools4: ["tiny"] }), "noFreeAddresses");
  within("10.0.0.0/24", await world.assign("n1", { pools4: ["tiny", "a"] }));
});

inWorld("selectors of nodes and namespaces choose the pool", async (world) => {
  await world.node("n1", { rack: "1" });
  await world.namespace("prod", { env: "prod" });
  await world.pool("rack2", "10.0.0.0/24", { nodeSelector: "rack == '2'" });
  await world.pool("prod", "10.0.1.0/24", { namespaceSelector: "env == 'prod'" });
  await fails(world.assign("n1"), "noPools");
  await fails(world.assign("n1", { namespace: "dev" }), "noPools");
  within("10.0.1.0/24", await world.assign("n1", { namespace: "prod" }));
  await world.pool("named", "10.0.2.0/24", {
    namespaceSelector: "kubernetes.io/metadata.name == 'dev'",
  });
  within("10.0.2.0/24", await world.assign("n1", { namespace: "dev" }));
});

inWorld("reserved addresses are left alone, unless they are asked for", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/29", { blockSize: 30 });
  await world.reserve("10.0.0.0/30", "10.0.0.5/32");
  assert.deepEqual((await world.assign("n1", { num4: 3 })).sort(), [
    "10.0.0.4",
    "10.0.0.6",
    "10.0.0.7",
  ]);
  await fails(world.assign("n1"), "noFreeAddresses");
  await world.ipam.assignIp({ address: "10.0.0.1", host: "n1" });
});

inWorld("without strict affinity a node borrows when no block is left", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("p", "10.0.0.0/30", { blockSize: 30 });
  await world.assign("n1");
  const [borrowed] = await world.assign("n2", { handle: "h2" });
  within("10.0.0.0/30", [borrowed]);
  assert.deepEqual(await world.owned("n2"), []);
  await world.configure({ strictAffinity: true });
  const { v4 } = await world.ipam.autoAssign({ num4: 1, host: "n2", use: "Workload" });
  assert.deepEqual(v4.addresses, []);
  assert.deepEqual(v4.messages, ["No more free affine blocks and strict affinity enabled"]);
  assert.equal((await world.ipam.releaseByHandle("h2"))!.length, 1);
});

inWorld("a node at its block limit gets an error, and does not borrow", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.pool("p", "10.0.0.0/28", { blockSize: 30 });
  await world.assign("n2");
  const request = { num4: 6, host: "n1", use: "Workload" as const, maxBlocksPerHost: 1 };
  const { v4, error } = await world.ipam.autoAssign(request);
  assert.equal(v4.addresses.length, 4);
  assert.match(error!.message, /limit of 1 blocks reached/);
  await fails(world.assign("n1", { num4: 1, maxBlocksPerHost: 1, handle: "x" }), "blockLimit");
  await world.configure({ strictAffinity: true, maxBlocksPerHost: 2 });
  assert.equal((await world.assign("n1", { num4: 4 })).length, 4);
  await fails(world.assign("n1"), "blockLimit", /limit of 2 blocks/);
  // The smaller of the two limits counts, a larger one in the request lifts nothing.
  await fails(world.assign("n1", { maxBlocksPerHost: 9 }), "blockLimit", /limit of 2 blocks/);
});

inWorld("twenty blocks are the limit where none is set", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24", { blockSize: 32 });
  assert.equal((await world.assign("n1", { num4: 20 })).length, 20);
  await fails(world.assign("n1"), "blockLimit", /limit of 20 blocks/);
  // As Calico has it: below 0 there is none.
  await world.configure({ maxBlocksPerHost: -1 });
  await world.assign("n1");
});

inWorld("without autoAllocateBlocks only the node's own blocks give", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/28", { blockSize: 30 });
  await world.configure({ strictAffinity: true, autoAllocateBlocks: false });
  await fails(world.assign("n1"), "noFreeAddresses", /failed to find or claim a block/);
  await world.ipam.claimAffinity("10.0.0.4/30", "n1");
  within("10.0.0.4/30", await world.assign("n1", { num4: 4 }));
  await fails(world.assign("n1"), "noFreeAddresses");
});

inWorld("empty blocks of other nodes are taken over after a minute", async (world) => {
  await world.node("n1");
  await world.node("n2");
  await world.configure({ strictAffinity: true });
  await world.pool("p", "10.0.0.0/30", { blockSize: 30 });
  await world.assign("n1", { handle: "h" });
  await world.ipam.releaseByHandle("h");
  await fails(world.assign("n2"), "noFreeAddresses");
  world.now += 61_000;
  within("10.0.0.0/30", await world.assign("n2"));
  assert.deepEqual(await world.owned("n1"), []);
  assert.deepEqual(await world.owned("n2"), ["10.0.0.0/30 confirmed"]);
});

inWorld("a pool that does not select the node any more loses its empty blocks", async (world) => {
  await world.node("n1", { rack: "1" });
  await world.pool("a", "10.0.0.0/28", { blockSize: 30, nodeSelector: "rack == '1'" });
  await world.pool("b", "10.0.1.0/28", { blockSize: 30 });
  const [address] = await world.assign("n1", { pools4: ["a"], handle: "h" });
  await world.ipam.claimAffinity("10.0.0.12/30", "n1");
  await world.node("n1", { rack: "2" });
  within("10.0.1.0/28", await world.assign("n1"));
  // The empty one went at once, the other goes with its last address.
  const mine = (await world.owned("n1")).filter((text) => text.startsWith("10.0.0."));
  assert.equal(mine.length, 1);
  within(mine[0].split(" ")[0], [address]);
  await world.ipam.releaseByHandle("h");
  assert.deepEqual((await world.owned("n1")).filter((text) => text.startsWith("10.0.0.")), []);
});

inWorld("a certain address: given once, with its block", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  const got = await world.ipam.assignIp({
    address: "10.0.0.77",
    host: "n1",
    handle: "h",
    attributes: { pod: "web-0", namespace: "blue", node: "n1" },
  });
  assert.deepEqual([texts([got]), formatPrefix(got.block), got.pool], [
    ["10.0.0.77"],
    "10.0.0.64/26",
    "p",
  ]);
  assert.deepEqual(await world.owned("n1"), ["10.0.0.64/26 confirmed"]);
  const error = await fails(
    world.ipam.assignIp({ address: "10.0.0.77", host: "n2", handle: "other" }),
    "addressTaken",
    /10\.0\.0\.77 with error: Address already assigned in block; .* pod blue\/web-0 on node n1/,
  );
  assert.equal(error.holder?.handle, "h");
  assert.equal(await handleOf(world, "other"), undefined);
});

inWorld("a certain address in no pool, in a closed pool, for another use", async (world) => {
  await world.pool("closed", "10.0.1.0/24", { disabled: true });
  await world.pool("work", "10.0.2.0/24", { allowedUses: ["Workload"] });
  const at = (address: string) => world.ipam.assignIp({ address, host: "n1", use: "Tunnel" });
  await fails(at("10.0.0.1"), "notInPool", /^The provided IP address is not in a configured pool/);
  await fails(at("10.0.1.1"), "notInPool", /IPPool closed, and it is disabled/);
  await fails(at("10.0.2.1"), "notForUse", /not allowed for use "Tunnel"/);
});

inWorld(
  "a certain address of another node's block: refused by strict affinity alone",
  async (world) => {
    await world.pool("p", "10.0.0.0/24");
    await world.ipam.claimAffinity("10.0.0.0/26", "n1");
    await world.ipam.assignIp({ address: "10.0.0.1", host: "n2" });
    await world.configure({ strictAffinity: true });
    await fails(world.ipam.assignIp({ address: "10.0.0.2", host: "n2" }), "affinityMismatch");
    await world.ipam.assignIp({ address: "10.0.0.2", host: "n1" });
  },
);

inWorld("LoadBalancer addresses belong to no node", async (world) => {
  await world.pool("lb", "10.0.0.0/24", { allowedUses: ["LoadBalancer"] });
  const [address] = texts(
    await world.ipam.assign({ num4: 1, host: "", use: "LoadBalancer", handle: "svc" }),
  );
  const [cidr] = await world.blocks();
  assert.equal((await world.block(cidr))?.affinity, "virtual:load-balancer");
  const key = affinityKey({ type: "virtual", name: "load-balancer" }, mustPrefix(cidr));
  assert.match(key, /^\/calico\/ipam\/v2\/virtual\/load-balancer\/ipv4\/block\//);
  assert((await world.store.get(key)) !== undefined);
  assert.equal((await world.ipam.assignment(address))?.handle, "svc");
  await world.ipam.releasePoolAffinities("10.0.0.0/24");
  assert.equal(await world.store.get(key), undefined);
});

inWorld("releases: what is free already, in no block, in no pool", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.assignIp({ address: "10.0.0.1", host: "n1", handle: "h" });
  const { released, unallocated } = await world.ipam.releaseIps(
    ["10.0.0.1", "10.0.0.2", "10.0.0.99", "192.0.2.1"].map((address) => ({ address })),
  );
  assert.deepEqual(released.map(formatIp), ["10.0.0.1"]);
  assert.deepEqual(unallocated.map(formatIp).sort(), ["10.0.0.2", "10.0.0.99", "192.0.2.1"]);
  assert.equal(await handleOf(world, "h"), undefined);
});

inWorld("a release that means another allocation does nothing", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  const give = (handle: string) => world.ipam.assignIp({ address: "10.0.0.1", host: "n1", handle });
  await give("old");
  const { sequenceNumber } = (await world.ipam.assignment("10.0.0.1"))!;
  await world.ipam.releaseByHandle("old");
  await give("new");
  const release = (more: object) => world.ipam.releaseIps([{ address: "10.0.0.1", ...more }]);
  await fails(release({ sequenceNumber }), "conflict", /sequenceNumber/);
  await fails(release({ handle: "old" }), "conflict", /handle old, the allocation has new/);
  assert.equal((await world.ipam.assignment("10.0.0.1"))?.handle, "new");
  const now = (await world.ipam.assignment("10.0.0.1"))!.sequenceNumber;
  assert.equal((await release({ sequenceNumber: now, handle: "new" })).released.length, 1);
});

inWorld("of a pool that another one replaces no block is let go", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  await world.assign("n1", { num4: 2, handle: "h" });
  const blocks = await world.owned("n1");
  await world.ipam.releasePoolAffinities("10.0.0.0/24", [mustPrefix("10.0.0.0/24")]);
  assert.deepEqual(await world.owned("n1"), blocks);
  await world.ipam.releasePoolAffinities("10.0.0.0/24", [mustPrefix("10.0.1.0/24")]);
  assert.deepEqual(await world.owned("n1"), []);
});

inWorld("addresses of a deleted pool can be released; then its block goes", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  const [one, two] = await world.assign("n1", { num4: 2, handle: "h" });
  await world.ipam.releasePoolAffinities("10.0.0.0/24");
  await world.deletePool("p");
  assert.deepEqual(await world.owned("n1"), []);
  const [cidr] = await world.blocks();
  assert.equal((await world.block(cidr))?.affinity, null);
  await world.ipam.releaseIps([{ address: one }]);
  assert.deepEqual(await handleOf(world, "h"), { block: { [cidr]: 1 }, deleted: false });
  await world.ipam.releaseIps([{ address: two }]);
  assert.deepEqual(await world.blocks(), []);
});

inWorld("an unknown handle has nothing to release", async (world) => {
  assert.equal(await world.ipam.releaseByHandle("net.nobody"), undefined);
  assert.equal(await world.ipam.ipsByHandle("net.nobody"), undefined);
});

inWorld(
  "a handle that counts too much, and one whose block is gone, are cleared",
  async (world) => {
    await world.node("n1");
    await world.pool("p", "10.0.0.0/24");
    await world.assign("n1", { handle: "real" });
    const [cidr] = await world.blocks();
    await world.store.put(handleKey("ghost"), {
      block: { [cidr]: 2, "10.9.0.0/26": 1, "rubbish": 1 },
      deleted: false,
    });
    assert.deepEqual(await world.ipam.ipsByHandle("ghost"), []);
    assert.deepEqual(await world.ipam.releaseByHandle("ghost"), []);
    assert.equal(await handleOf(world, "ghost"), undefined);
    assert.equal((await world.ipam.ipsByHandle("real"))!.length, 1);
  },
);

inWorld("claims: every block of a range, but those of others", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.claimAffinity("10.0.0.64/26", "n2");
  const { claimed, failed } = await world.ipam.claimAffinity("10.0.0.0/24", "n1");
  assert.deepEqual(claimed.map(formatPrefix), ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26"]);
  assert.deepEqual(failed.map(formatPrefix), ["10.0.0.64/26"]);
  assert.deepEqual((await world.ipam.claimAffinity("10.0.0.0/26", "n1")).failed, []);
  await fails(world.ipam.claimAffinity("10.0.0.0/27", "n1"), "badRequest", /smaller than the min/);
  await fails(world.ipam.claimAffinity("10.9.0.0/16", "n1"), "notInPool");
});

inWorld("affinities are released: empty blocks go, others become nobody's", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.claimAffinity("10.0.0.0/24", "n1");
  await world.ipam.assignIp({ address: "10.0.0.1", host: "n1" });
  await world.ipam.releaseAffinity("10.0.0.128/25", "n1");
  assert.deepEqual(await world.owned("n1"), ["10.0.0.0/26 confirmed", "10.0.0.64/26 confirmed"]);
  await fails(
    world.ipam.releaseHostAffinities("n1", { mustBeEmpty: true }),
    "notEmpty",
    /10\.0\.0\.0\/26/,
  );
  assert.deepEqual(await world.owned("n1"), ["10.0.0.0/26 confirmed"]);
  await world.ipam.removeHost("n1");
  assert.deepEqual(await world.owned("n1"), []);
  assert.deepEqual(await world.blocks(), ["10.0.0.0/26"]);
  assert.equal((await world.block("10.0.0.0/26"))?.affinity, null);
  await world.ipam.releaseIps([{ address: "10.0.0.1" }]);
  assert.deepEqual(await world.blocks(), []);
});

inWorld("the configuration: defaults, absent members, Calico's rules", async (world) => {
  const defaults = await world.ipam.getIpamConfig();
  assert.deepEqual([defaults.autoAllocateBlocks, defaults.strictAffinity], [true, false]);
  await fails(world.configure({ autoAllocateBlocks: false }), "badRequest");
  await fails(
    world.configure({ maxBlocksPerHost: 3 }),
    "badRequest",
    /MaxBlocksPerHost requires StrictAffinity/,
  );
  await world.configure({ strictAffinity: true, autoAllocateBlocks: false });
  assert.deepEqual((await world.store.get(ipamConfigKey))?.value, {
    strict_affinity: true,
    kubeVirtVMAddressPersistence: "Enabled",
  });
  assert.equal((await world.ipam.getIpamConfig()).autoAllocateBlocks, false);
  // In Calico's order, whatever was set first.
  await world.configure({ strictAffinity: true, maxBlocksPerHost: 5 });
  const stored = (await world.store.get(ipamConfigKey))?.value as object;
  assert.deepEqual(Object.keys(JSON.parse(JSON.stringify(stored))), [
    "strict_affinity",
    "maxBlocksPerHost",
    "kubeVirtVMAddressPersistence",
  ]);
});

inWorld("a cooldown keeps released addresses back", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/31", { blockSize: 31 });
  await world.configure({ ipCooldownSeconds: 30 });
  const [first] = await world.assign("n1", { handle: "a" });
  await world.ipam.releaseByHandle("a");
  assert.equal(await world.ipam.assignment(first), undefined);
  await world.assign("n1", { handle: "b" });
  await fails(world.assign("n1"), "noFreeAddresses");
  // Who asks for this very one is told why, and until when.
  const until = new Date(Math.ceil(world.now / 1000) * 1000 + 30_000).toISOString().slice(0, 19);
  assert.equal(await world.ipam.coolsUntil(first), `${until}Z`);
  await assert.rejects(
    world.ipam.assignIp({ address: first, host: "n1", handle: "c" }),
    new RegExp(`held by nobody: it was given back, and cools down until ${until}Z$`),
  );
  const pinned = await world.ipam.assignFirst({
    candidates: [mustIp(first)],
    host: "n1",
    handle: "c",
    attributes: {},
    use: "Workload",
  });
  assert("taken" in pinned);
  assert.match(describeHolder(pinned.taken[0].holder), /^nobody: it was given back, and cools/);
  world.now += 31_000;
  assert.equal(await world.ipam.coolsUntil(first), undefined);
  assert.deepEqual(await world.assign("n1", { handle: "c" }), [first]);
});

inWorld("an address is used again as late as possible", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/29", { blockSize: 29 });
  const seen: string[] = [];
  for (let i = 0; i < 8; i++) {
    seen.push(...await world.assign("n1", { handle: "h" }));
    await world.ipam.releaseByHandle("h");
  }
  assert.equal(new Set(seen).size, 8);
});

inWorld("a hundred requests at once: a handful of writes besides their handles", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/16");
  const { ipam, store } = world.process();
  await ipam.assign({ num4: 1, host: "n1", handle: "warm", use: "Workload" });
  store.writes = 0;
  store.reads = 0;
  const request = { num4: 1, host: "n1", use: "Workload" as const };
  const got = await Promise.all(
    Array.from({ length: 100 }, (_, i) => ipam.assign({ ...request, handle: `net.c${i}` })),
  );
  assert.equal(new Set(texts(got.flat())).size, 100);
  assert.equal((await world.blocks()).length, 2);
  assert(store.writes <= 100 + 15, `${store.writes} writes`);
  assert(store.reads <= 40, `${store.reads} reads`);
  store.writes = 0;
  store.reads = 0;
  await Promise.all(got.map((_, i) => ipam.releaseByHandle(`net.c${i}`)));
  assert(store.writes <= 100 + 15, `${store.writes} writes`);
  assert(store.reads <= 20, `${store.reads} reads`);
  assert.equal((await checkRecords(world.store)).allocated.size, 1);
});

inWorld("one request on a warm block: two writes; its release too", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/16");
  const { ipam, store } = world.process();
  const request = { num4: 1, host: "n1", use: "Workload" as const };
  await ipam.assign({ ...request, handle: "a" });
  store.writes = 0;
  await ipam.assign({ ...request, handle: "b" });
  assert.equal(store.writes, 2);
  await ipam.releaseByHandle("b");
  assert.equal(store.writes, 4);
});

inWorld("two processes of one node share its blocks", async (world) => {
  await world.node("n1");
  await world.pool("p", "10.0.0.0/24");
  const other = world.process();
  const request = { num4: 1, host: "n1", use: "Workload" as const };
  const got = await Promise.all(
    Array.from({ length: 40 }, (_, i) => (i % 2 ? world.ipam : other.ipam).assign(request)),
  );
  assert.equal(new Set(texts(got.flat())).size, 40);
  assert.equal((await world.blocks()).length, 1);
});

inWorld("many nodes at once in a small pool: everybody gets what there is, once", async (world) => {
  await world.pool("p", "10.0.0.0/26", { blockSize: 29 });
  const hosts = Array.from({ length: 12 }, (_, i) => `node-${i}`);
  for (const host of hosts) await world.node(host);
  const results = await Promise.all(hosts.map((host) => {
    const { ipam } = world.process();
    return ipam.autoAssign({ num4: 6, host, handle: host, use: "Workload" });
  }));
  const got = results.flatMap((result) => texts(result.v4.addresses));
  assert.equal(got.length, 64);
  assert.equal(new Set(got).size, 64);
});

inWorld("a node that is deleted takes its addresses, and those of nobody else", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  for (const node of ["n1", "n2"]) await world.node(node);
  const container = async (node: string, handle: string) =>
    (await world.assign(node, { handle, attributes: { node } }))[0];
  const [far, own, plain] = [
    await container("n1", "net.a"),
    await container("n2", "net.b"),
    await container("n2", "net.c"),
  ];
  const lease = async (node: string | undefined, ordinal: string, more: Record<string, string>) => {
    const handle = leaseHandle("blue", "db", ordinal, "eth0");
    const attributes = {
      ordinal,
      statefulset: "blue/db",
      keepSeconds: "60",
      ...(node && { node }),
      ...more,
    };
    return (await world.assign("n2", { handle, attributes }))[0];
  };
  const here = await lease("n2", "0", { container: "net.db0" });
  const there = await lease("n1", "1", { container: "net.db1" });
  const idle = await lease(undefined, "2", { keptUntil: "2026-11-22T13:00:00Z" });
  // An endpoint of n2 names the address of a container on n1, as ipAddrsNoIpam may.
  await world.ipam.releaseNode("n2", [far, own, here, there, idle, "no address"]);
  const held = async (ip: string) => (await world.ipam.assignment(ip))?.attributes;
  assert.equal((await held(far))?.node, "n1");
  assert.equal(await held(own), undefined);
  assert((await held(plain))?.node, "no endpoint: the controllers ask before it is released");
  assert.equal((await held(there))?.container, "net.db1");
  assert.equal((await held(idle))?.keptUntil, "2026-11-22T13:00:00Z");
  const { container: user, node, keptUntil } = (await held(here))!;
  assert.deepEqual([user, node], [undefined, undefined]);
  assert.equal(Date.parse(keptUntil), Math.floor(world.now / 1000) * 1000 + 60_000);
  assert.deepEqual(await world.owned("n2"), []);
  await checkRecords(world.store);
});
