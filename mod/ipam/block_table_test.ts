import assert from "node:assert/strict";
import { formatPrefix, mustPrefix } from "../net/mod.ts";
import { blockKey } from "../model/keys.ts";
import { memoryStore } from "../store/memory.ts";
import { MOST_TOGETHER, StoreError } from "../store/store.ts";
import { type AllocationBlock, newBlock } from "./block.ts";
import { giveBackHandle, take } from "./block_changes.ts";
import { BlockTable, isSameLife } from "./block_table.ts";
import { Handles } from "./handles.ts";
import { type Faults, FaultyStore } from "./testing/faulty_store.ts";
import { checkRecords } from "./testing/checks.ts";

const PREFIX = mustPrefix("10.0.0.0/26");
const N1 = { type: "host", name: "n1" } as const;

interface Setting {
  store: ReturnType<typeof memoryStore>;
  counted: FaultyStore;
  table: BlockTable;
  jointly: boolean;
}

/** On a store that writes one object at a time, and on one that writes several in one step. */
function withTable(name: string, faults: Faults, test: (setting: Setting) => Promise<void>) {
  for (const jointly of [false, true]) {
    Deno.test(`${name}${jointly ? ", in one step" : ""}`, async () => {
      const store = memoryStore();
      try {
        const counted = new FaultyStore(store, { ...faults, jointly });
        const table = new BlockTable(counted, new Handles(counted));
        const record = await table.create(PREFIX, newBlock(PREFIX, N1, 1000));
        assert(record);
        table.remember(record);
        counted.reads = counted.writes = 0;
        await test({ store, counted, table, jointly });
        await checkRecords(store);
      } finally {
        await store.close();
      }
    });
  }
}

const takeOne = (handle?: string) => (before: AllocationBlock) => {
  const { block, ordinals } = take(before, 1, { handle });
  return {
    block,
    result: ordinals,
    ...(handle && ordinals.length > 0 && { reserve: { handle, count: ordinals.length } }),
  };
};

withTable("changes of one moment are one write", {}, async ({ counted, table }) => {
  const got = await Promise.all(
    Array.from({ length: 20 }, () => table.change(PREFIX, takeOne())),
  );
  assert.deepEqual(got.flat(), Array.from({ length: 20 }, (_, i) => i));
  assert.deepEqual([counted.reads, counted.writes], [0, 1]);
});

withTable("handles and block of one moment", {}, async ({ store, counted, table, jointly }) => {
  const names = ["a", "b", "c"];
  await Promise.all(names.map((h) => table.change(PREFIX, takeOne(h))));
  assert.deepEqual([counted.reads, counted.writes], [0, jointly ? 1 : 4]);
  // A handle that is there, and was counted by this process.
  counted.writes = 0;
  await table.change(PREFIX, takeOne("a"));
  assert.deepEqual([counted.reads, counted.writes], [0, jointly ? 1 : 2]);
  // Another has counted in one since, and another has written the block.
  await new BlockTable(store, new Handles(store)).change(PREFIX, takeOne("b"));
  await Promise.all(names.map((h) => table.change(PREFIX, takeOne(h))));
  const { handles } = await checkRecords(store);
  const counts = names.map((h) => handles.get(h)?.[formatPrefix(PREFIX)]);
  assert.deepEqual(counts, [3, 3, 2]);
});

withTable("more handles than go in one step", {}, async ({ store, table }) => {
  const wide = mustPrefix("10.1.0.0/24");
  await store.create(blockKey(wide), newBlock(wide, N1, 1000));
  const names = Array.from({ length: MOST_TOGETHER + 20 }, (_, i) => `h${i}`);
  const got = await Promise.all(names.map((h) => table.change(wide, takeOne(h))));
  assert.equal(new Set(got.flat()).size, names.length);
  assert.equal((await checkRecords(store)).handles.size, names.length);
});

withTable("where another was first, all are applied anew", {}, async ({ store, table }) => {
  const other = new BlockTable(store, new Handles(store));
  await other.change(PREFIX, takeOne("x"));
  const got = await Promise.all(["a", "b"].map((h) => table.change(PREFIX, takeOne(h))));
  assert.deepEqual(got, [[1], [2]]);
});

withTable(
  "conflicts leave no count behind",
  { conflict: (n) => [3, 4, 7, 9].includes(n) },
  async ({ store, table }) => {
    await Promise.all(["a", "b", "c"].map((h) => table.change(PREFIX, takeOne(h))));
    const { handles } = await checkRecords(store);
    for (const counts of handles.values()) assert.deepEqual(counts, { "10.0.0.0/26": 1 });
  },
);

withTable(
  "an answer that changes nothing is only believed when fresh",
  {},
  async ({ store, table }) => {
    // Our copy says that all is free; the other has taken it all since.
    const other = new BlockTable(store, new Handles(store));
    await other.change(PREFIX, (block) => ({ block: take(block, 64, {}).block, result: 0 }));
    const look = (block: AllocationBlock) => ({ block, result: block.unallocated.length });
    assert.equal(await table.change(PREFIX, look, { guess: true }), 64);
    assert.equal(await table.change(PREFIX, look), 0);
  },
);

withTable("what a change throws is its own answer alone", {}, async ({ table }) => {
  const results = await Promise.allSettled([
    table.change(PREFIX, takeOne("a")),
    table.change(PREFIX, () => {
      throw new RangeError("no");
    }),
    table.change(PREFIX, takeOne("b")),
  ]);
  assert.deepEqual(results.map((r) => r.status), ["fulfilled", "rejected", "fulfilled"]);
});

withTable(
  "a handle that cannot be written fails its own change alone",
  {},
  async ({ store, table }) => {
    const results = await Promise.allSettled([
      table.change(PREFIX, takeOne("good")),
      table.change(PREFIX, takeOne("x".repeat(3000))),
    ]);
    assert.equal(results[0].status, "fulfilled");
    assert(results[1].status === "rejected" && results[1].reason instanceof StoreError);
    assert.equal((await checkRecords(store)).allocated.size, 1);
  },
);

withTable("an empty block of nobody is deleted", {}, async ({ store, table }) => {
  await table.change(PREFIX, (before) => {
    const { block } = take(before, 1, { handle: "h" });
    return { block: { ...block, affinity: null }, result: 0, reserve: { handle: "h", count: 1 } };
  });
  await table.change(PREFIX, (before) => ({
    block: giveBackHandle(before, "h", { seconds: 0, now: 0 }).block,
    result: 0,
  }));
  assert.equal(await store.get(blockKey(PREFIX)), undefined);
  assert.equal(await table.change(PREFIX, takeOne()), undefined);
});

withTable(
  "a block that was made anew is not the one that was meant",
  {},
  async ({ store, table }) => {
    const life = (await table.read(PREFIX))!;
    await table.change(PREFIX, takeOne());
    const later = (await table.read(PREFIX))!;
    assert(isSameLife(life, later));
    assert.deepEqual(await table.change(PREFIX, takeOne(), { life }), [1]);
    await store.delete(blockKey(PREFIX));
    await store.create(blockKey(PREFIX), newBlock(PREFIX, N1, 1001));
    assert.equal(await table.change(PREFIX, takeOne(), { life }), undefined);
    assert.deepEqual(await table.change(PREFIX, takeOne()), [0]);
  },
);

withTable("what a caller has seen since is no other block", {}, async ({ store, table }) => {
  const other = new BlockTable(store, new Handles(store));
  await other.change(PREFIX, takeOne("x"));
  await other.change(PREFIX, takeOne("y"));
  const old = table.known(PREFIX)!;
  const [life] = await table.list(4);
  assert(isSameLife(old, life) && isSameLife(life, old));
  assert.deepEqual(await table.change(PREFIX, takeOne(), { life, guess: true }), [2]);
});

withTable(
  "a guess is not made on a copy older than what was seen",
  {},
  async ({ store, table }) => {
    const other = new BlockTable(store, new Handles(store));
    await table.change(PREFIX, (block) => {
      const taken = take(block, 64, { handle: "all" });
      return { block: taken.block, result: 0, reserve: { handle: "all", count: 64 } };
    });
    await other.change(PREFIX, (block) => ({
      block: giveBackHandle(block, "all", { seconds: 0, now: 0 }).block,
      result: 0,
    }));
    const [life] = await table.list(4);
    assert.deepEqual(await table.change(PREFIX, takeOne(), { life, guess: true }), [0]);
  },
);

Deno.test("a block made anew by a clock that is behind is another block", () => {
  const record = (now: number, revision: string) => ({
    prefix: PREFIX,
    block: newBlock(PREFIX, N1, now),
    revision,
  });
  const [first, second] = [record(2000, "5"), record(1000, "10")];
  assert(!isSameLife(first, second) && !isSameLife(second, first));
  assert(isSameLife(first, first));
});

withTable("an outcome that nobody knows is told, and counts as done", {}, async (setting) => {
  const { store, counted, table, jointly } = setting;
  const together = counted.together;
  if (!jointly || !together) return;
  const answers: ("lost" | "refused")[] = ["lost", "refused"];
  Object.assign(counted, {
    together: async (...args: Parameters<typeof together>) => {
      const answer = answers.shift();
      if (answer === "refused") {
        throw new StoreError("invalid", "too large", blockKey(PREFIX));
      }
      const revisions = await together(...args);
      if (answer === "lost") throw new StoreError("unavailable", "its outcome is unknown");
      return revisions;
    },
  });
  await assert.rejects(table.change(PREFIX, takeOne("a")), /unknown/);
  // What cannot be written in one step is tried one by one, at once.
  assert.deepEqual(await table.change(PREFIX, takeOne("b")), [1]);
  assert.deepEqual(answers, []);
  assert.deepEqual(await table.change(PREFIX, takeOne("a")), [2]);
  const { handles } = await checkRecords(store);
  assert.deepEqual(handles.get("a"), { [formatPrefix(PREFIX)]: 2 });
});

const OBJECT = "/calico/resources/v3/projectcalico.org/workloadendpoints/default/";

/** Takes one, with an object of the address beside it. */
const takeWith =
  (handle: string, planned: string[], written: string[]) => (before: AllocationBlock) => {
    const taken = takeOne(handle)(before);
    const key = OBJECT + handle;
    return {
      ...taken,
      beside: {
        plan: async () => {
          planned.push(`${handle} ${taken.result[0]}`);
          await Promise.resolve();
          return { op: "create" as const, key, value: taken.result[0] };
        },
        written: () => void written.push(handle),
      },
    };
  };

withTable("what is wanted beside addresses is written with them", {}, async (setting) => {
  const { store, counted, table, jointly } = setting;
  const planned: string[] = [], written: string[] = [];
  const names = ["a", "b", "c"];
  await Promise.all(names.map((h) => table.change(PREFIX, takeWith(h, planned, written))));
  const { entries } = await store.list<number>(OBJECT);
  if (!jointly) {
    assert.deepEqual([planned, written, entries], [[], [], []]);
    return;
  }
  assert.equal(counted.writes, 1);
  assert.deepEqual(planned, ["a 0", "b 1", "c 2"]);
  assert.deepEqual(written, names);
  assert.deepEqual(entries.map(({ value }) => value), [0, 1, 2]);
});

withTable("it is planned anew where another was first at the block", {}, async (setting) => {
  const { store, table, jointly } = setting;
  const planned: string[] = [], written: string[] = [];
  await new BlockTable(store, new Handles(store)).change(PREFIX, takeOne("x"));
  await table.change(PREFIX, takeWith("a", planned, written));
  if (!jointly) return;
  assert.deepEqual(planned, ["a 0", "a 1"]);
  assert.deepEqual(written, ["a"]);
  assert.equal((await store.get(OBJECT + "a"))?.value, 1);
});

withTable("where its place is taken, addresses are given without", {}, async (setting) => {
  const { store, counted, table, jointly } = setting;
  const planned: string[] = [], written: string[] = [];
  await store.create(OBJECT + "a", "another's");
  const got = await Promise.all(
    ["a", "b"].map((h) => table.change(PREFIX, takeWith(h, planned, written))),
  );
  assert.deepEqual(got, [[0], [1]]);
  assert.deepEqual(planned, jointly ? ["a 0", "b 1"] : []);
  assert.deepEqual(written, []);
  // Still in one step, also for a handle that is there.
  if (jointly) assert.equal(counted.writes, 2);
  counted.writes = 0;
  await table.change(PREFIX, takeWith("a", planned, written));
  if (jointly) assert.equal(counted.writes, 2);
  assert.equal((await store.get(OBJECT + "a"))?.value, "another's");
  assert.equal(await store.get(OBJECT + "b"), undefined);
  const { handles } = await checkRecords(store);
  assert.deepEqual([...handles.keys()].sort(), ["a", "b"]);
  assert.deepEqual(handles.get("a"), { [formatPrefix(PREFIX)]: 2 });
});

withTable(
  "beside so many addresses there is room for some",
  {},
  async ({ store, table, jointly }) => {
    const wide = mustPrefix("10.1.0.0/24");
    await store.create(blockKey(wide), newBlock(wide, N1, 1000));
    const planned: string[] = [], written: string[] = [];
    const names = Array.from({ length: MOST_TOGETHER - 10 }, (_, i) => `h${i}`);
    await Promise.all(names.map((h) => table.change(wide, takeWith(h, planned, written))));
    const { entries } = await store.list(OBJECT);
    assert.equal(entries.length, jointly ? 9 : 0);
    assert.equal(written.length, entries.length);
    assert.equal((await checkRecords(store)).handles.size, names.length);
  },
);
