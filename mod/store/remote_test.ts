import assert from "node:assert/strict";
import type { Connection } from "../rpc/connection.ts";
import { pipe } from "../rpc/pipe.ts";
import { RpcError } from "../rpc/method.ts";
import { RpcServer } from "../rpc/server.ts";
import { storeConformance } from "./conformance.ts";
import { memoryStore } from "./memory.ts";
import { RemoteStore } from "./remote.ts";
import { serveStore } from "./serve.ts";
import { StoreError } from "./store.ts";
import { forgetHistory, SMALL_LOG } from "./testing.ts";
import { toRpcError, toStoreError } from "./wire.ts";

storeConformance("remote", async () => {
  const served = memoryStore({ log: SMALL_LOG });
  const server = new RpcServer({ methods: serveStore(served) });
  let ends: Connection[] = [];
  let loseAnswer = false;
  const breakNow = () => ends.forEach((end) => end.close());
  const store = new RemoteStore(async () => {
    const [client, accepted] = ends = pipe();
    server.accept({
      ...accepted,
      write(bytes) {
        // The greeting must pass, or nothing ever would.
        if (!loseAnswer || new TextDecoder().decode(bytes).includes(served.id)) {
          return accepted.write(bytes);
        }
        loseAnswer = false;
        breakNow();
        return Promise.reject(new Error("the connection broke"));
      },
    });
    return client;
  }, { patienceMs: 5000 });
  return {
    store,
    compact: () => forgetHistory(served),
    breakConnection(when) {
      if (when === "now") breakNow();
      else loseAnswer = true;
    },
    close: async () => {
      await store.close();
      await server.close();
      await served.close();
    },
  };
}, { has: ["breakConnection", "knownOutcome"] });

Deno.test("of an older server that writes one object at a time, the caller hears", async () => {
  const served = memoryStore();
  const { "store.together": _, ...older } = serveStore(served);
  const server = new RpcServer({ methods: older });
  const store = new RemoteStore(() => {
    const [client, accepted] = pipe();
    server.accept(accepted);
    return Promise.resolve(client);
  });
  const write = { op: "create", key: "/calico/test/a", value: 1 } as const;
  assert.equal(await store.together([write]), undefined);
  assert.equal(await store.get(write.key), undefined);
  await store.create(write.key, 1);
  await store.close();
  await server.close();
  await served.close();
});

Deno.test("an error goes over the wire with what it says of a damaged value", () => {
  const error = new StoreError("invalid", "half", "/k", undefined, { damaged: "7" });
  const { kind, message, detail } = toRpcError(error) as RpcError;
  const read = toStoreError(new RpcError(kind, message, JSON.parse(JSON.stringify(detail))), "get");
  assert.deepEqual([read.kind, read.message, read.key, read.damaged], [
    "invalid",
    "half",
    "/k",
    "7",
  ]);
});

Deno.test("what was read before another store came is not written together into that one", async () => {
  const key = "/calico/test/block";
  const stores = [memoryStore(), memoryStore()];
  let server = new RpcServer({ methods: serveStore(stores[0]) });
  const store = new RemoteStore(() => {
    const [client, accepted] = pipe();
    server.accept(accepted);
    return Promise.resolve(client);
  });
  const { epoch } = store;
  const revision = await store.create(key, "ours");
  assert.equal(await stores[1].create(key, "another's"), revision, "what this test is about");
  const write = { op: "update", key, value: "ours", revision } as const;
  const first = server;
  server = new RpcServer({ methods: serveStore(stores[1]) });
  await first.close();
  await assert.rejects(
    store.together([write], epoch),
    (error: StoreError) => error.kind === "conflict" && error.key === key,
  );
  assert.equal((await stores[1].get(key))?.value, "another's");
  assert.equal((await store.together([write], store.epoch))?.length, 1);
  await store.close();
  await server.close();
  for (const one of stores) await one.close();
});

Deno.test("whether it was written together is unknown where an older server comes between", async () => {
  const served = memoryStore();
  const { "store.together": joint, ...older } = serveStore(served);
  let newer = true;
  let end: Connection | undefined;
  const servers = {
    newer: new RpcServer({ methods: { ...older, "store.together": joint } }),
    older: new RpcServer({ methods: older }),
  };
  const store = new RemoteStore(() => {
    const [client, accepted] = pipe();
    end = client;
    servers[newer ? "newer" : "older"].accept({
      ...accepted,
      write(bytes) {
        if (!newer || !new TextDecoder().decode(bytes).includes("revisions")) {
          return accepted.write(bytes);
        }
        newer = false;
        end?.close();
        return Promise.reject(new Error("the connection broke"));
      },
    });
    return Promise.resolve(client);
  });
  const write = { op: "create", key: "/calico/test/a", value: 1 } as const;
  await assert.rejects(
    store.together([write]),
    (error: StoreError) => error.kind === "unavailable" && /unknown/.test(error.message),
  );
  assert.equal((await store.get(write.key))?.value, 1);
  await store.close();
  for (const server of Object.values(servers)) await server.close();
  await served.close();
});
