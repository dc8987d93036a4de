import assert from "node:assert/strict";
import { Ipam } from "../mod/ipam/ipam.ts";
import { HALF_WRITTEN, halfWritable } from "../mod/ipam/testing/half_written.ts";
import { NODES, POOLS, texts } from "../mod/ipam/testing/world.ts";
import { resourceKey } from "../mod/model/keys.ts";
import { memoryStore } from "../mod/store/memory.ts";
import type { CniError } from "./errors.ts";
import { checkDatastoreReady, status } from "./status.ts";

Deno.test("objects that are half written keep no pod from the whole ones", async () => {
  const half = [
    ...["text", null, 3, [], {}, { metadata: {} }, { spec: null }, { spec: "text" }],
    HALF_WRITTEN,
  ];
  for (const value of half) {
    const store = halfWritable(memoryStore());
    await store.put(resourceKey(NODES, "n1"), { metadata: { name: "n1" }, spec: {} });
    await store.put(resourceKey(POOLS, "bad"), value);
    await store.put("/calico/resources/v3/projectcalico.org/ipreservations/bad", value);
    await assert.rejects(
      status(store, "n1"),
      /no IPPool gives addresses .*IPPool bad cannot be read: it/,
      JSON.stringify(value),
    );
    await store.put(resourceKey(POOLS, "good"), {
      metadata: { name: "good" },
      spec: { cidr: "10.0.0.0/24" },
    });
    await checkDatastoreReady(store);
    await status(store, "n1");
    const request = { num4: 1, host: "n1", use: "Workload" as const, handle: "h" };
    assert.equal(texts(await new Ipam(store).assign(request)).length, 1);
    await store.close();
  }
});

Deno.test("ready is what Calico takes: datastoreReady true and nothing else", async () => {
  const key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
  const store = halfWritable(memoryStore());
  const refused = (locked?: () => string | undefined) =>
    assert.rejects(
      checkDatastoreReady(store, locked),
      (error: CniError) => error.code === 11 && /not ready to process/.test(error.message),
    );
  // None yet: nobody has locked it, unless the agent has seen that.
  await checkDatastoreReady(store, () => undefined);
  await refused(() => "datastoreReady false");
  for (const spec of [{}, { datastoreReady: false }, { datastoreReady: "maybe" }, null, 5]) {
    await store.put(key, { metadata: { name: "default" }, spec });
    await refused();
  }
  for (const value of [HALF_WRITTEN, [], 5, null, "text", {}]) {
    await store.put(key, value);
    await refused();
  }
  await store.put(key, { metadata: { name: "default" }, spec: { datastoreReady: true } });
  await checkDatastoreReady(store, () => "datastoreReady false, as the agent had it a moment ago");
  await store.close();
});
