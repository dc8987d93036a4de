import assert from "node:assert/strict";
import { blockPrefix, resourceKey } from "../model/keys.ts";
import { openKv } from "../store/kv.ts";
import { Ipam } from "./ipam.ts";
import { checkRecords } from "./testing/checks.ts";
import { coolDown, writtenByCalico332 } from "./testing/cool_down.ts";
import { NODES, POOLS, texts } from "./testing/world.ts";

Deno.test("an address cools down in Deno KV beside Calico v3.32", async () => {
  const folder = await Deno.makeTempDir();
  const store = await openKv(`${folder}/store.kv`);
  try {
    await store.put(resourceKey(NODES, "n1"), { metadata: { name: "n1" } });
    const spec = { cidr: "10.9.0.0/29", blockSize: 30 };
    await store.put(resourceKey(POOLS, "p"), { metadata: { name: "p" }, spec });
    await coolDown(store, writtenByCalico332);
  } finally {
    await store.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("records outlive the process in Deno KV, numbers exact to the last digit", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const request = { num4: 1, host: "n1", use: "Workload" as const };
    let store = await openKv(`${folder}/store.kv`);
    await store.put(resourceKey(NODES, "n1"), { metadata: { name: "n1" } });
    await store.put(resourceKey(POOLS, "p"), {
      metadata: { name: "p" },
      spec: { cidr: "10.0.0.0/24" },
    });
    const ipam = new Ipam(store);
    const [a] = texts(await ipam.assign({ ...request, handle: "a" }));
    const [b] = texts(await ipam.assign({ ...request, handle: "b" }));
    const numbers = await Promise.all([a, b].map(async (x) => (await ipam.assignment(x))!));
    assert.equal(numbers[1].sequenceNumber - numbers[0].sequenceNumber, 1n);
    await store.close();

    store = await openKv(`${folder}/store.kv`);
    const again = new Ipam(store);
    for (const { ip, handle, sequenceNumber } of numbers) {
      const { released } = await again.releaseIps([{ address: ip, handle, sequenceNumber }]);
      assert.equal(released.length, 1);
    }
    const [c] = texts(await again.assign({ ...request, handle: "c" }));
    assert(![a, b].includes(c));
    assert.equal((await store.list(blockPrefix(4))).entries.length, 1);
    await checkRecords(store);
    await store.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
