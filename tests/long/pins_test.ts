/**
 * A thousand rollouts of five replicas on five addresses, of a Deployment and of a StatefulSet, on the
 * memory store and on Deno KV, and some on a real etcd and on a Kubernetes API; and some with a spare for
 * the surge. Four nodes work at the same time, calls are cut off, containers vanish without a DEL, and the
 * controllers collect beside: no address twice, none outside the list (looked at whenever a container is
 * wired), and no replica loses its own.
 */
import assert from "node:assert/strict";
import { ReplicaCluster, type ReplicaOptions } from "../../cni/testing/replicas.ts";
import { openKv } from "../../mod/store/kv.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import type { Store } from "../../mod/store/store.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { openStore, startCalico } from "../store/kubernetes_harness.ts";
import { PinControllers } from "../store/pin_controllers.ts";

const FIVE = ["10.244.0.20", "10.244.0.21", "10.244.0.22", "10.244.0.40", "10.244.0.41"];
const OPTIONS = {
  replicas: 5,
  nodes: 4,
  pins: "10.244.0.20-10.244.0.22, 10.244.0.40/31",
  allowed: FIVE,
  crashes: 15,
  vanishing: 5,
};
const SPARE = { spare: "10.244.0.60", allowed: [...FIVE, "10.244.0.60"] };

interface Datastore {
  readonly store: Store;
  readonly podsKnown?: boolean;
  /** Milliseconds between two turns of the controllers. */
  readonly pauseMs?: number;
  readonly api?: ReplicaOptions["api"];
  close(): Promise<void>;
}

async function rollOuts(
  { store, api, podsKnown = false, pauseMs = 5 }: Datastore,
  rounds: number,
  options: ReplicaOptions,
): Promise<void> {
  const cluster = await ReplicaCluster.make(store, { ...options, api });
  const controllers = new PinControllers(cluster, { podsKnown, pauseMs });
  const end = new AbortController();
  const beside = controllers.run(end.signal);
  beside.catch(() => {}); // heard of below
  const failed = beside.then(() => new Promise<never>(() => {}));
  const beat = <T>(work: Promise<T>) => Promise.race([work, failed]);
  let replicas = await beat(cluster.start());
  for (let i = 0; i < rounds; i++) replicas = await beat(cluster.rollOut(replicas));
  assert.equal(cluster.adds, 5 * (rounds + 1));
  assert.ok(cluster.crashes > rounds / 2, `only ${cluster.crashes} crashes`);
  assert.ok(cluster.vanished > rounds / 10, `only ${cluster.vanished} vanished`);
  assert.ok(controllers.turns > rounds / 20, `only ${controllers.turns} turns`);
  await cluster.stop(replicas);
  end.abort();
  await beside;
  // What vanished at the end is collected too.
  for (let i = 0; i < 5; i++) await controllers.turn();
  const left = await cluster.allocations();
  const kept = options.kind === "StatefulSet" ? 5 : 0;
  assert.equal(left.length, kept);
  assert.ok(left.every(({ attributes }) => attributes.keptUntil && !attributes.container));
  console.log(
    `${cluster.adds} ADDs, ${cluster.waits} waits, ${cluster.crashes} crashes, ` +
      `${cluster.vanished} vanished, ${controllers.turns} turns of the controllers: ` +
      JSON.stringify(Object.fromEntries(controllers.done)),
  );
}

const stores: [string, share: number, () => Promise<Datastore>][] = [
  ["the memory store", 1, () => {
    const store = memoryStore();
    return Promise.resolve({ store, close: () => store.close() });
  }],
  ["kv", 1, async () => {
    const folder = await Deno.makeTempDir({ prefix: "tortie-pins-" });
    const store = await openKv(`${folder}/store.kv`);
    return {
      store,
      async close() {
        await store.close();
        await Deno.remove(folder, { recursive: true });
      },
    };
  }],
  ["etcd", 0.1, async () => {
    const etcd = await EtcdCluster.start();
    const store = await etcd.open();
    return {
      store,
      async close() {
        await store.close();
        await etcd.stop();
      },
    };
  }],
  ["a Kubernetes API", 0.1, async () => {
    const kube = await startCalico({ bookmarks: 0 });
    const store = await openStore(kube);
    const call = async (method: string, path: string, body?: unknown) => {
      const { status, body: said } = await kube.call(method, path, body);
      assert.ok(status < 300, `${method} ${path}: ${JSON.stringify(said)}`);
    };
    await call("POST", "/api/v1/namespaces", { metadata: { name: "blue" } });
    return {
      store,
      podsKnown: true,
      pauseMs: 100,
      api: {
        async putNode({ metadata }) {
          await call("POST", "/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata });
        },
        async putPod(pod) {
          const { namespace } = pod.metadata;
          await call("POST", `/api/v1/namespaces/${namespace}/pods`, pod);
        },
        async deletePod(name, namespace) {
          const grace = "?gracePeriodSeconds=0";
          await call("DELETE", `/api/v1/namespaces/${namespace}/pods/${name}${grace}`);
        },
      },
      async close() {
        await store.close();
        await kube.close();
      },
    };
  }],
];

const runs: [string, number, Omit<ReplicaOptions, "seed">][] = [
  ["of a Deployment", 1000, { ...OPTIONS, kind: "Deployment" }],
  ["of a StatefulSet", 1000, { ...OPTIONS, kind: "StatefulSet" }],
  // Few: enough must vanish in thirty rollouts, too.
  ["with a spare for the surge", 300, { ...OPTIONS, ...SPARE, vanishing: 15, kind: "Deployment" }],
];

for (const [where, share, open] of stores) {
  for (const [what, most, options] of runs) {
    const rounds = most * share;
    Deno.test(`pins on ${where}: ${rounds} rollouts ${what}`, async () => {
      const datastore = await open();
      try {
        await rollOuts(datastore, rounds, { ...options, seed: rounds });
      } finally {
        await datastore.close();
      }
    });
  }
}
