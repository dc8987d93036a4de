/**
 * IPAM on the kubernetes driver: Calico's scenarios, and node services that assign and release side by
 * side. What a scenario calls a node is a Node of Kubernetes here, which the API makes.
 */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { blockPrefix, handlePrefix } from "../../mod/model/keys.ts";
import type { Store } from "../../mod/store/store.ts";
import { run } from "../data/ipam.ts";
import { DEFAULT_DIR } from "../data/run.ts";
import type { Kube } from "../kube/kube.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

const NODES = "/calico/resources/v3/projectcalico.org/nodes/";

/** The store, with Nodes made as Kubernetes makes them. */
function withNodes(kube: Kube, inner: Store): Store {
  return {
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

const there = await Deno.stat(DEFAULT_DIR).then(() => true, () => false);

Deno.test({
  name: `Calico's IPAM scenarios hold on the kubernetes driver${
    there ? "" : " (skipped: ../shared/data is not beside this checkout)"
  }`,
  ignore: !there,
  async fn() {
    const kube = await startCalico({ bookmarks: 0 });
    try {
      const [row] = await run(DEFAULT_DIR, opener(kube));
      console.log(`${row.file}: ${row.passed} passed, ${row.skipped} skipped`);
      assert.deepEqual(row.failures, []);
      assert(row.passed > 0);
    } finally {
      await kube.close();
    }
  },
});

Deno.test("services that assign and release side by side never share an address", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const stores = await Promise.all(Array.from({ length: 4 }, () => openStore(kube)));
  const store = stores[0];
  try {
    await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/22", blockSize: 28, vxlanMode: "Always" },
    });
    const held = new Map<string, string>();
    await Promise.all(stores.map(async (one, n) => {
      const host = `node-${n}`;
      await kube.call("POST", "/api/v1/nodes", {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: host },
      });
      const ipam = new Ipam(one);
      for (let i = 0; i < 25; i++) {
        const handle = `k8s-pod-network.${host}-${i}`;
        const [{ ip }] = await ipam.assign({ num4: 1, host, handle, use: "Workload" });
        const address = formatIp(ip);
        assert.equal(held.get(address), undefined, `${address} is ${held.get(address)}'s too`);
        held.set(address, handle);
        if (i % 3 === 0) continue;
        held.delete(address);
        assert.equal((await ipam.releaseByHandle(handle))?.map(formatIp).join(), address);
      }
    }));
    const given = (await store.list<any>(blockPrefix(4))).entries
      .flatMap(({ value }) => value.allocations.filter((a: unknown) => a !== null));
    assert.equal(given.length, held.size);
    assert.equal((await store.list(handlePrefix)).entries.length, held.size);
    // What was marked is gone from the API too.
    assert.equal(kube.all("crd.projectcalico.org", "ipamhandles").length, held.size);
  } finally {
    await Promise.all(stores.map((one) => one.close()));
    await kube.close();
  }
});
