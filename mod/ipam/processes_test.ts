/** Several processes on one store, one call at a time: what one remembers, another has changed. */
import assert from "node:assert/strict";
import type { Ipam } from "./ipam.ts";
import { fails, inWorld, texts } from "./testing/world.ts";

const one = (ipam: Ipam, host: string, more: object = {}) =>
  ipam.assign({ num4: 1, host, use: "Workload", ...more }).then((got) => texts(got)[0]);

inWorld("two nodes borrow in turn until the pool is full, and only then", async (world) => {
  for (const [size, order] of [[30, "aba"], [29, "abab"], [29, "abaaabbab"]] as const) {
    await world.pool("p", `10.0.${order.length}.0/${size}`, { blockSize: size });
    await world.node("a");
    await world.node("b");
    const ipams = { a: world.process().ipam, b: world.process().ipam };
    const total = 2 ** (32 - size);
    const got: string[] = [];
    for (let i = 0; i < total; i++) {
      const host = order[i % order.length] as "a" | "b";
      got.push(await one(ipams[host], host));
    }
    const all = Array.from({ length: total }, (_, i) => `10.0.${order.length}.${i}`);
    assert.deepEqual([...got].sort(), all);
    for (const host of ["a", "b"] as const) {
      await fails(one(ipams[host], host), "noFreeAddresses", /No IPs available in pools/);
    }
    // What one releases, the other can borrow, who remembers the block as full.
    for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
      await ipams[from].releaseIps([{ address: got[0] }]);
      assert.equal(await one(ipams[to], to), got[0]);
    }
  }
});

inWorld("borrowing from a block that was made anew since", async (world) => {
  await world.node("a");
  await world.node("b");
  await world.pool("p", "10.0.0.0/30", { blockSize: 30 });
  const [a, b] = [world.process().ipam, world.process().ipam];
  await one(a, "a", { handle: "h" });
  await one(b, "b", { handle: "i" });
  await a.releaseByHandle("h");
  await a.releaseByHandle("i");
  await a.releaseHostAffinities("a");
  assert.deepEqual(await world.blocks(), []);
  await one(a, "a");
  assert.equal(await one(b, "b"), "10.0.0.1");
});

inWorld("certain addresses and releases of a block that another has changed", async (world) => {
  await world.node("a");
  await world.pool("p", "10.0.0.0/29", { blockSize: 29 });
  const [a, b] = [world.process().ipam, world.process().ipam];
  for (let i = 0; i < 4; i++) {
    await a.assignIp({ address: "10.0.0.1", host: "a", handle: `a${i}` });
    await fails(b.assignIp({ address: "10.0.0.1", host: "b" }), "addressTaken");
    await b.assignIp({ address: "10.0.0.2", host: "b", handle: `b${i}` });
    assert.equal((await b.releaseByHandle(`a${i}`))?.length, 1);
    assert.equal((await a.releaseIps([{ address: "10.0.0.2" }])).released.length, 1);
  }
});

inWorld("a block that another process released does not count for the limit", async (world) => {
  await world.node("a");
  await world.pool("p", "10.0.0.0/24", { blockSize: 30 });
  const [a, b] = [world.process().ipam, world.process().ipam];
  for (const num4 of [1, 4]) {
    await a.assign({ num4, host: "a", handle: "h", use: "Workload", maxBlocksPerHost: 1 });
    await fails(
      a.assign({ num4: 4, host: "a", handle: "i", use: "Workload", maxBlocksPerHost: 1 }),
      "blockLimit",
    );
    await b.releaseByHandle("h");
    await b.releaseHostAffinities("a");
    assert.deepEqual(await world.owned("a"), []);
  }
  assert(await one(a, "a", { maxBlocksPerHost: 1 }));
});
