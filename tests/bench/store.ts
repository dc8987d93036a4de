/**
 * The embedded store: what its operations cost in the process that owns the file and, through the
 * socket, in another one, beside bare Deno KV with the same values on the same disk in the same run.
 *
 *     deno run -A --unstable-kv tests/bench/store.ts
 */
import { openKv } from "../../mod/store/kv.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import type { Store } from "../../mod/store/store.ts";
import { Child } from "../store/processes.ts";

export interface StoreFigures {
  /** Acknowledged writes a second, one at a time and 32 at once; a value has about 800 bytes. */
  writes: number;
  writes32: number;
  /** Microseconds. */
  getMicros: number;
  /** Milliseconds for the whole answer with 10,000 objects. */
  list10000: number;
  /** From the call of put to the event at a watcher, milliseconds. */
  watch: { p50: number; p99: number };
}

export interface StoreReport {
  bare: { writes: number; getMicros: number; list10000: number };
  direct: StoreFigures;
  socket: StoreFigures;
  /** Milliseconds to open a file with 10,000 objects and 10,000 changes in its log. */
  open10000: number;
  /** MiB that the process has more with these 10,000 objects and their log. */
  memory10000: number;
}

export const value = (i: number) => ({
  kind: "WorkloadEndpoint",
  apiVersion: "projectcalico.org/v3",
  metadata: { name: `node1-k8s-pod--${i}-eth0`, labels: { app: `app${i % 50}` } },
  spec: { pod: `pod-${i}`, ipNetworks: [`10.244.${i >> 8 & 255}.${i & 255}/32`] },
  pad: "x".repeat(560),
});
export const key = (i: number) =>
  `/calico/resources/v3/projectcalico.org/workloadendpoints/default/n${i % 9}-k8s-pod--${i}-eth0`;

export async function perSecond(
  count: number,
  atOnce: number,
  run: (i: number) => Promise<unknown>,
) {
  const began = performance.now();
  let next = 0;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < count) await run(next++);
  }));
  return Math.round(count / (performance.now() - began) * 1000);
}

export async function measureStore(store: Store): Promise<StoreFigures> {
  const { entries } = await store.list("/calico/");
  for (const entry of entries) await store.delete(entry.key);
  await perSecond(200, 1, (i) => store.put(key(i), value(i)));
  const writes = await perSecond(2000, 1, (i) => store.put(key(i), value(i)));
  const writes32 = await perSecond(10_000, 32, (i) => store.put(key(i), value(i)));
  const gets = await perSecond(5000, 1, (i) => store.get(key(i)));
  const list10000 = await best(5, async () => {
    if ((await store.list("/calico/")).entries.length !== 10_000) throw new Error("not all listed");
  });
  const delays: number[] = [];
  const { revision } = await store.list("/none");
  let written = 0, seen = () => {};
  const abort = new AbortController();
  const watching = (async () => {
    for await (const _ of store.watch("/calico/", { from: revision, signal: abort.signal })) {
      delays.push(performance.now() - written);
      seen();
    }
  })();
  for (let i = 0; i < 300; i++) {
    const told = new Promise<void>((resolve) => seen = resolve);
    written = performance.now();
    await Promise.all([told, store.put(key(i), value(i))]);
  }
  abort.abort();
  await watching;
  delays.sort((a, b) => a - b);
  const at = (q: number) => Number(delays[Math.floor(q * delays.length)].toFixed(2));
  return {
    writes,
    writes32,
    getMicros: Math.round(1e6 / gets),
    list10000,
    watch: { p50: at(0.5), p99: at(0.99) },
  };
}

async function measureBare(path: string): Promise<StoreReport["bare"]> {
  const kv = await Deno.openKv(path);
  const writes = await perSecond(2000, 1, (i) => kv.set(["object", key(i)], value(i)));
  await perSecond(10_000, 32, (i) => kv.set(["object", key(i)], value(i)));
  const gets = await perSecond(5000, 1, (i) => kv.get(["object", key(i)]));
  const list10000 = await best(3, async () => {
    await Array.fromAsync(kv.list({ prefix: ["object"] }, { batchSize: 500 }));
  });
  kv.close();
  return { writes, getMicros: Math.round(1e6 / gets), list10000 };
}

export async function best(times: number, run: () => Promise<void>): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await run();
    least = Math.min(least, performance.now() - began);
  }
  return Number(least.toFixed(1));
}

export async function measure(): Promise<StoreReport> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-" });
  try {
    const bare = await measureBare(`${folder}/bare.kv`);
    const path = `${folder}/store.kv`;
    const store = await openKv(path);
    const direct = await measureStore(store);
    await store.close();

    const server = new Child("server_process.ts", path, `${folder}/sock`);
    await server.next();
    const remote = remoteStore(`${folder}/sock`);
    const socket = await measureStore(remote);
    await remote.close();
    await server.ended();
    await server.rest();

    const before = Deno.memoryUsage().rss;
    let opened: Store | undefined;
    const open10000 = await best(5, async () => {
      await opened?.close();
      opened = await openKv(path);
    });
    const memory10000 = Math.round((Deno.memoryUsage().rss - before) / 1024 / 1024);
    await opened!.close();
    return { bare, direct, socket, open10000, memory10000 };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) console.log(JSON.stringify(await measure(), undefined, 2));
