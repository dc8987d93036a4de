/**
 * The etcd driver on one real etcd, beside the barest use of the same gateway (fetch in a loop, nothing
 * read, nothing checked) and etcdctl, in the same run.
 *
 *     deno run -A --unstable-kv tests/bench/etcd.ts
 */
import { EtcdCluster } from "../store/etcd_server.ts";
import { best, key, measureStore, perSecond, type StoreFigures, value } from "./store.ts";

export interface EtcdReport {
  driver: StoreFigures;
  bare: { writes: number; writes32: number; getMicros: number; list10000: number };
  /** Of the driver to the bare gateway: 1 is as quick. */
  ratio: { writes: number; writes32: number; get: number; list10000: number };
  /** A put, and a list of 10,000, by etcdctl as one process each, milliseconds. */
  etcdctl: { putMs: number; list10000: number };
}

async function measureBare(url: string): Promise<EtcdReport["bare"]> {
  const client = Deno.createHttpClient({ http2: false, poolMaxIdlePerHost: 64 });
  const encoder = new TextEncoder();
  const base64 = (text: string) => encoder.encode(text).toBase64();
  const call = async (path: string, body: unknown) => {
    const response = await fetch(url + path, {
      method: "POST",
      client,
      body: JSON.stringify(body),
    });
    return await response.json();
  };
  const put = (i: number) =>
    call("/v3/kv/put", { key: base64(key(i)), value: base64(JSON.stringify(value(i))) });
  await perSecond(200, 1, put);
  const writes = await perSecond(2000, 1, put);
  const writes32 = await perSecond(10_000, 32, put);
  const gets = await perSecond(5000, 1, (i) => call("/v3/kv/range", { key: base64(key(i)) }));
  const list10000 = await best(5, async () => {
    const body = { key: base64("/calico/"), range_end: base64("/calico0") };
    if ((await call("/v3/kv/range", body)).kvs.length !== 10_000) throw new Error("not all");
  });
  client.close();
  return { writes, writes32, getMicros: Math.round(1e6 / gets), list10000 };
}

async function etcdctl(url: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("etcdctl", {
    args: ["--endpoints", url, ...args],
    env: { ETCDCTL_API: "3" },
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

export async function measure(): Promise<EtcdReport> {
  const cluster = await EtcdCluster.start();
  try {
    const [url] = cluster.endpoints;
    const bare = await measureBare(url);
    await cluster.clear();
    const store = await cluster.open();
    const driver = await measureStore(store);
    const putMs = await best(10, () => etcdctl(url, "put", "/other/x", JSON.stringify(value(1))));
    const list = await best(5, () => etcdctl(url, "get", "--prefix", "/calico/"));
    await store.close();
    const ratio = (a: number, b: number) => Number((a / b).toFixed(2));
    return {
      driver,
      bare,
      ratio: {
        writes: ratio(driver.writes, bare.writes),
        writes32: ratio(driver.writes32, bare.writes32),
        get: ratio(bare.getMicros, driver.getMicros),
        list10000: ratio(bare.list10000, driver.list10000),
      },
      etcdctl: { putMs, list10000: list },
    };
  } finally {
    await cluster.stop();
  }
}

if (import.meta.main) console.log(JSON.stringify(await measure(), undefined, 2));
