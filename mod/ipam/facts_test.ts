import assert from "node:assert/strict";
import { mustIp } from "../net/ip.ts";
import type { Store } from "../store/store.ts";
import { FactReader } from "./facts.ts";

Deno.test("a pool is read anew where its revision stands for another value than before", async () => {
  const key = "/calico/resources/v3/projectcalico.org/ippools/a";
  const pool = (cidr: string) => ({ metadata: { name: "a" }, spec: { cidr, blockSize: 26 } });
  let cidr = "10.1.0.0/16";
  const store = {
    get: () => Promise.resolve(undefined),
    list: (prefix: string) =>
      Promise.resolve({
        entries: key.startsWith(prefix) ? [{ key, value: pool(cidr), revision: "7" }] : [],
        revision: "9",
      }),
  } as unknown as Store;
  const facts = new FactReader(store);
  const first = (await facts.read()).pools.ownerOfAddress(mustIp("10.1.0.1"));
  assert.equal(first?.name, "a");
  // While nothing has changed it is the very same, read once.
  assert.equal((await facts.read()).pools.ownerOfAddress(mustIp("10.1.0.1")), first);
  // The store was put back from a backup, and somebody made another pool of that name.
  cidr = "10.2.0.0/16";
  const { pools } = await facts.read();
  assert.equal(pools.ownerOfAddress(mustIp("10.1.0.1")), undefined);
  assert.equal(pools.ownerOfAddress(mustIp("10.2.0.1"))?.name, "a");
});
