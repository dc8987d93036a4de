/**
 * A thousand rollouts of five replicas on five addresses, on the memory store and on Deno KV, and a
 * tenth of them on a real etcd, with concurrent nodes and crashes: no address twice, none outside the list (checked after every ADD).
 */
import assert from "node:assert/strict";
import { ReplicaCluster, type ReplicaOptions } from "../../cni/testing/replicas.ts";
import { openKv } from "../../mod/store/kv.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import type { Store } from "../../mod/store/store.ts";
import { EtcdCluster } from "../store/etcd_server.ts";

const FIVE = ["10.244.0.20", "10.244.0.21", "10.244.0.22", "10.244.0.40", "10.244.0.41"];
const OPTIONS = {
  replicas: 5,
  nodes: 4,
  pins: "10.244.0.20-10.244.0.22, 10.244.0.40/31",
  allowed: FIVE,
  crashes: 15,
};

async function rollOuts(store: Store, rounds: number, options: ReplicaOptions): Promise<void> {
  const cluster = await ReplicaCluster.make(store, options);
  let replicas = await cluster.start();
  for (let i = 0; i < rounds; i++) replicas = await cluster.rollOut(replicas);
  assert.equal(cluster.adds, 5 * (rounds + 1));
  assert.ok(cluster.crashes > rounds / 2, `only ${cluster.crashes} crashes`);
  assert.equal((await cluster.allocations()).length, 5);
  await cluster.stop(replicas);
  const left = await cluster.allocations();
  const kept = options.kind === "StatefulSet" ? 5 : 0;
  assert.equal(left.length, kept);
  assert.ok(left.every(({ attributes }) => attributes.keptUntil && !attributes.container));
  console.log(`${cluster.adds} ADDs, ${cluster.waits} waits, ${cluster.crashes} crashes`);
}

const SPARE = { spare: "10.244.0.60", allowed: [...FIVE, "10.244.0.60"] };
const runs: [string, number, Omit<ReplicaOptions, "seed">][] = [
  ["all at once", 400, { ...OPTIONS, kind: "Deployment" }],
  ["with a spare for the surge", 300, { ...OPTIONS, ...SPARE, kind: "Deployment" }],
  ["of a StatefulSet", 300, { ...OPTIONS, kind: "StatefulSet" }],
];

for (const [what, rounds, options] of runs) {
  Deno.test(`pins on the memory store: ${rounds} rollouts ${what}`, async () => {
    const store = memoryStore();
    await rollOuts(store, rounds, { ...options, seed: rounds });
    await store.close();
  });
  const fewer = rounds / 10;
  Deno.test(`pins on etcd: ${fewer} rollouts ${what}`, async () => {
    const etcd = await EtcdCluster.start();
    const store = await etcd.open();
    try {
      await rollOuts(store, fewer, { ...options, seed: rounds + 2 });
    } finally {
      await store.close();
      await etcd.stop();
    }
  });
  Deno.test(`pins on kv: ${rounds} rollouts ${what}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "tortie-pins-" });
    const store = await openKv(`${folder}/store.kv`);
    try {
      await rollOuts(store, rounds, { ...options, seed: rounds + 1 });
    } finally {
      await store.close();
      await Deno.remove(folder, { recursive: true });
    }
  });
}
