/** IPAM on etcd: several processes' worth of callers side by side. */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { coolDown, writtenByCalico332 } from "../../mod/ipam/testing/cool_down.ts";
import { NODES, POOLS, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { EtcdCluster } from "./etcd_server.ts";

Deno.test("an address cools down on etcd beside Calico v3.32", async () => {
  const cluster = await EtcdCluster.start();
  try {
    const store = await cluster.open();
    await store.put(resourceKey(NODES, "n1"), { metadata: { name: "n1" } });
    const spec = { cidr: "10.9.0.0/29", blockSize: 30 };
    await store.put(resourceKey(POOLS, "p"), { metadata: { name: "p" }, spec });
    await coolDown(store, writtenByCalico332);
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("many callers at once on etcd: no address twice, all of them back", async () => {
  const cluster = await EtcdCluster.start();
  try {
    const stores = await Promise.all(Array.from({ length: 4 }, () => cluster.open()));
    const ipams = stores.map((store) => new Ipam(store));
    const [store] = stores;
    await store.put(resourceKey(POOLS, "p"), {
      metadata: { name: "p" },
      spec: { cidr: "10.0.0.0/22", blockSize: 28 },
    });
    for (let i = 0; i < 4; i++) {
      await store.put(resourceKey(NODES, `n${i}`), { metadata: { name: `n${i}` } });
    }
    const got = await Promise.all(Array.from({ length: 160 }, async (_, i) => {
      const request = { num4: 1, host: `n${i % 4}`, handle: `h${i}`, use: "Workload" as const };
      return texts(await ipams[i % 4].assign(request))[0];
    }));
    assert.equal(new Set(got).size, 160);
    assert.equal((await checkRecords(store)).allocated.size, 160);
    await Promise.all(got.map((_, i) => ipams[(i + 1) % 4].releaseByHandle(`h${i}`)));
    const { allocated, handles } = await checkRecords(store);
    assert.equal(allocated.size, 0);
    assert.equal(handles.size, 0);
    for (const one of stores) await one.close();
  } finally {
    await cluster.stop();
  }
});
