import assert from "node:assert/strict";
import { mustPrefix } from "../net/mod.ts";
import { handleKey } from "../model/keys.ts";
import { memoryStore } from "../store/memory.ts";
import { Handles } from "./handles.ts";

const A = mustPrefix("10.0.0.0/26");
const B = mustPrefix("10.0.0.64/26");

function inStore(name: string, test: (store: ReturnType<typeof memoryStore>) => Promise<void>) {
  Deno.test(name, async () => {
    const store = memoryStore();
    try {
      await test(store);
    } finally {
      await store.close();
    }
  });
}

const value = async (store: ReturnType<typeof memoryStore>, id: string) =>
  (await store.get<{ block: unknown }>(handleKey(id)))?.value.block;

inStore("counts up, block by block, sorted as Go does", async (store) => {
  const handles = new Handles(store);
  await handles.reserve("h", B, 1);
  await handles.reserve("h", A, 2);
  await handles.reserve("h", B, 3);
  assert.equal(
    JSON.stringify(await value(store, "h")),
    '{"10.0.0.0/26":2,"10.0.0.64/26":4}',
  );
});

inStore(
  "a reservation that came to nothing is taken back, or moved to another block",
  async (store) => {
    const handles = new Handles(store);
    await handles.reserve("h", A, 1);
    const lost = await handles.reserve("h", A, 2);
    const moved = await handles.reserve("h", B, 5, lost);
    assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 1, "10.0.0.64/26": 5 });
    await handles.cancel(moved);
    assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 1 });
  },
);

inStore(
  "once another has touched the handle, a reservation is left: too high is allowed",
  async (store) => {
    const handles = new Handles(store);
    const other = new Handles(store);
    const mine = await handles.reserve("h", A, 2);
    await other.reserve("h", A, 1);
    await handles.cancel(mine);
    assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 3 });
    await handles.reserve("h", A, 2, mine);
    assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 5 });
  },
);

inStore(
  "settles to the exact count, deletes what is empty, fails when touched since",
  async (store) => {
    const handles = new Handles(store);
    await handles.reserve("h", A, 2);
    const before = (await handles.reserve("h", B, 3)).record;
    assert(await handles.settle(before, { "10.0.0.0/26": 1 }));
    assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 1, "10.0.0.64/26": 3 });
    assert(!await handles.settle(before, { "10.0.0.0/26": 0 }));
    const now = (await handles.read("h"))!;
    assert(await handles.settle(now, { "10.0.0.0/26": 0, "10.0.0.64/26": 0 }));
    assert.equal(await store.get(handleKey("h")), undefined);
    assert.equal(await handles.recent("h"), undefined);
  },
);

inStore("what is remembered of a handle is mended where others changed it", async (store) => {
  const handles = new Handles(store);
  await handles.reserve("h", A, 1);
  await store.delete(handleKey("h"));
  await handles.reserve("h", A, 1);
  assert.deepEqual(await value(store, "h"), { "10.0.0.0/26": 1 });
});
