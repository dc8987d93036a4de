import assert from "node:assert/strict";
import { endpointStatusKey } from "../model/keys.ts";
import { FaultyStore } from "../ipam/testing/faulty_store.ts";
import { memoryStore } from "../store/memory.ts";
import { Reporter } from "./reporter.ts";

Deno.test("endpoints are told again to a datastore that was put back", async () => {
  const stores = [memoryStore(), memoryStore()];
  const key = (id: string) => endpointStatusKey("n1", "cni", `default/${id}`, "eth0");
  const told = async (i: number) =>
    (await stores[i].list<{ status: string }>("/calico/felix/")).entries
      .map(({ key, value }) => `${key.includes("c1") ? "c1" : "c2"} ${value.status}`);
  const store = new FaultyStore(stores[0]);
  const reporter = new Reporter(store, "n1");
  const now = new Map([[key("c1"), "up"]] as const);
  await reporter.endpoints(now);
  assert.deepEqual(await told(0), ["c1 up"]);
  const { writes } = store;
  await reporter.endpoints(now);
  assert.equal(store.writes, writes, "it is known");
  await stores[1].put(key("c1"), { status: "down" });
  await stores[1].put(key("c2"), { status: "up" });
  store.putBack(stores[1]);
  await reporter.endpoints(now);
  assert.deepEqual(await told(1), ["c1 up"]);
  for (const one of stores) await one.close();
});
