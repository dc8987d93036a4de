import assert from "node:assert/strict";
import { formatPrefix } from "../net/mod.ts";
import { inWorld } from "./testing/world.ts";
import type { Usage } from "./utilization.ts";

const numbers = (usage: Usage | undefined) =>
  usage && [usage.capacity, usage.inUse, usage.reserved, usage.available].map(Number);

inWorld("a pool and its blocks, with reservations that overlap", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.assignIp({ address: "10.0.0.5", host: "n1" });
  await world.ipam.assignIp({ address: "10.0.0.7", host: "n1" });
  await world.reserve("10.0.0.0/29", "10.0.0.5/32", "10.0.0.128/25");
  const [pool, ...rest] = await world.ipam.utilization();
  assert.deepEqual(rest, []);
  assert.deepEqual(numbers(pool.usage), [256, 2, 136, 120]);
  assert.deepEqual(pool.blocks.map((b) => [formatPrefix(b.cidr), b.affinity, ...numbers(b)!]), [
    ["10.0.0.0/26", "host:n1", 64, 2, 8, 56],
  ]);
});

inWorld(
  "blocks count in the longest pool; what a narrow pool owns the wide one cannot give",
  async (world) => {
    await world.pool("wide", "10.0.0.0/24");
    await world.pool("narrow", "10.0.0.64/26", { blockSize: 28 });
    await world.ipam.assignIp({ address: "10.0.0.65", host: "n1" });
    await world.ipam.assignIp({ address: "10.0.0.200", host: "n1" });
    const [narrow, wide] = await world.ipam.utilization();
    assert.deepEqual([narrow.name, wide.name], ["narrow", "wide"]);
    assert.deepEqual(numbers(narrow.usage), [64, 1, 0, 63]);
    assert.deepEqual(numbers(wide.usage), [256, 1, 0, 191]);
  },
);

inWorld("blocks of a deleted pool are listed on their own", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  await world.ipam.assignIp({ address: "10.0.0.5", host: "n1" });
  await world.deletePool("p");
  const [orphans] = await world.ipam.utilization();
  assert.equal(orphans.name, undefined);
  assert.equal(orphans.usage, undefined);
  assert.deepEqual(orphans.blocks.map((b) => formatPrefix(b.cidr)), ["10.0.0.0/26"]);
  assert.deepEqual(await world.ipam.utilization(["p"]), []);
});

inWorld("pools by name or CIDR, IPv6 without end", async (world) => {
  await world.pool("four", "10.0.0.0/24");
  await world.pool("six", "fd00::/48");
  const [six] = await world.ipam.utilization(["fd00::/48"]);
  assert.equal(six.usage?.available, 1n << 80n);
  assert.equal((await world.ipam.utilization(["four"]))[0].name, "four");
});
