/**
 * Calico's IPAM scenarios on each driver of the datastore: a kv file, a real etcd, the Kubernetes API of
 * the tests. What a scenario calls a node is a Node of Kubernetes there, which the API makes.
 */
import assert from "node:assert/strict";
import { openKv } from "../../mod/store/kv.ts";
import type { Store } from "../../mod/store/store.ts";
import type { Kube } from "../kube/kube.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { openStore, startCalico } from "../store/kubernetes_harness.ts";
import { run as runScenarios } from "./ipam.ts";
import type { FileResult } from "./selector.ts";

/** Seconds that one driver may take; all that stands on datastores has eight minutes. */
const LIMIT = 120;

interface Driver {
  /** An empty store. */
  open(): Promise<Store>;
  close(): Promise<void>;
}

/** By name; undefined where what it needs is not on this machine. */
const DRIVERS: Record<string, () => Promise<Driver | undefined>> = { kv, etcd, kubernetes };

export async function run(dir: string): Promise<FileResult[]> {
  const rows: FileResult[] = [];
  for (const [name, start] of Object.entries(DRIVERS)) {
    const driver = await start();
    if (!driver) {
      const file = `ipam/ipam-scenarios.jsonl on ${name}`;
      const reasons = ["its server is not installed here (deno task setup)"];
      rows.push({ file, passed: 0, failed: 0, skipped: 1, failures: [], reasons });
      continue;
    }
    const began = performance.now();
    try {
      for (const row of await runScenarios(dir, () => driver.open())) {
        const result = { ...row, file: `${row.file} on ${name}` };
        const seconds = (performance.now() - began) / 1000;
        if (seconds > LIMIT) {
          result.failed++;
          result.failures.push(`it took ${seconds.toFixed(0)} s, and has ${LIMIT} s`);
        }
        rows.push(result);
      }
    } finally {
      await driver.close();
    }
  }
  return rows;
}

async function kv(): Promise<Driver> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-ipam-" });
  let files = 0;
  return {
    open: () => openKv(`${folder}/${++files}.kv`),
    close: () => Deno.remove(folder, { recursive: true }),
  };
}

async function etcd(): Promise<Driver | undefined> {
  if (!await Deno.stat("/usr/bin/etcd").then(() => true, () => false)) return undefined;
  const cluster = await EtcdCluster.start();
  return {
    async open() {
      await cluster.clear();
      return await cluster.open();
    },
    close: () => cluster.stop(),
  };
}

async function kubernetes(): Promise<Driver> {
  const kube = await startCalico({ bookmarks: 0 });
  return { open: opener(kube), close: () => kube.close() };
}

const NODES = "/calico/resources/v3/projectcalico.org/nodes/";

/** The store, with Nodes made as Kubernetes makes them. */
function withNodes(kube: Kube, inner: Store): Store {
  return {
    get epoch() {
      return inner.epoch;
    },
    get: inner.get.bind(inner),
    list: inner.list.bind(inner),
    create: inner.create.bind(inner),
    update: inner.update.bind(inner),
    delete: inner.delete.bind(inner),
    watch: inner.watch.bind(inner),
    async put(key, value, options) {
      if (!key.startsWith(NODES)) return await inner.put(key, value, options);
      const name = key.slice(NODES.length);
      const { labels } = (value as any).metadata;
      const node = { apiVersion: "v1", kind: "Node", metadata: { name, labels } };
      const { status, body } = await kube.call("POST", "/api/v1/nodes", node);
      if (status === 201) return body.metadata.resourceVersion;
      const before = kube.get("", "nodes", "", name)!;
      const put = await kube.call("PUT", `/api/v1/nodes/${name}`, {
        ...before,
        metadata: { ...before.metadata, labels },
      });
      assert.equal(put.status, 200, JSON.stringify(put.body));
      return put.body.metadata.resourceVersion;
    },
    async close() {
      await inner.close();
    },
  };
}

/** One server for all scenarios, each of which finds it as it was. */
function opener(kube: Kube): () => Promise<Store> {
  const fresh = kube.snapshot();
  return async () => {
    kube.cluster.restore(fresh);
    return withNodes(kube, await openStore(kube));
  };
}
