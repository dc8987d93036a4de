import assert from "node:assert/strict";
import { ChangeLog, DEFAULT_LOG_BOUNDS } from "./change_log.ts";
import { Expiry } from "./expiry.ts";
import { type Commit, type Journal, JournalLost } from "./journal.ts";
import { KeyIndex } from "./key_index.ts";
import { LocalStore } from "./local.ts";
import { memoryStore } from "./memory.ts";
import { StoreError } from "./store.ts";
import { ManualClock, settle } from "./testing.ts";

/** A journal whose commits end when and how the test says. */
class HandJournal implements Journal {
  readonly commits: Commit[] = [];
  #answers: ((error?: Error) => void)[] = [];

  constructor(readonly capacity = 100) {}

  weight(): number {
    return 1;
  }

  commit(commit: Commit): Promise<void> {
    this.commits.push(commit);
    return new Promise((resolve, reject) => {
      this.#answers.push((error) => error ? reject(error) : resolve());
    });
  }

  /** Ends the oldest commit under way, and lets what follows from it happen. */
  async answer(error?: Error): Promise<void> {
    await settle();
    this.#answers.shift()!(error);
    await settle();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function handStore(capacity?: number, clock = new ManualClock()) {
  const journal = new HandJournal(capacity);
  const store = new LocalStore({
    id: "hand",
    index: new KeyIndex(),
    log: new ChangeLog(DEFAULT_LOG_BOUNDS, 1),
    journal,
    clock,
  });
  return { journal, store, clock };
}

/** The kind of error, or the value. */
const outcome = (promise: Promise<unknown>) =>
  promise.then((value) => value, (error: StoreError) => error.kind);

Deno.test("nobody hears of a write before it is on disk", async () => {
  const { journal, store } = handStore();
  const told: string[] = [];
  const first = store.create("/a", 1).then((revision) => told.push(`created ${revision}`));
  const second = store.create("/a", 2).catch((error) => told.push(error.kind));
  const abort = new AbortController();
  const watching = (async () => {
    for await (const event of store.watch("/", { from: "1", signal: abort.signal })) {
      told.push(`${event.type} ${event.key}`);
    }
  })();
  await settle();
  assert.deepEqual(told, []);
  assert.equal(await store.get("/a"), undefined);
  assert.deepEqual(await store.list("/"), { entries: [], revision: "1" });
  await journal.answer();
  assert.deepEqual(told.toSorted(), ["created 2", "exists", "put /a"]);
  assert.equal((await store.get("/a"))?.revision, "2");
  abort.abort();
  await Promise.all([first, second, watching]);
  await store.close();
});

Deno.test("while one group is written the next one gathers", async () => {
  const { journal, store } = handStore(3);
  const writes = [store.put("/k", 0)];
  await settle();
  for (let i = 1; i <= 7; i++) writes.push(store.put(`/k${i}`, i));
  for (let i = 0; i < 4; i++) await journal.answer();
  assert.deepEqual(
    journal.commits.map((commit) => commit.records.map((record) => record.revision)),
    [[2], [3, 4, 5], [6, 7, 8], [9]],
  );
  assert.deepEqual(await Promise.all(writes), ["2", "3", "4", "5", "6", "7", "8", "9"]);
  await store.close();
});

Deno.test("writes of one group see each other", async () => {
  const { journal, store } = handStore();
  const outcomes = [
    store.create("/a", 1),
    store.update("/a", 2, "2"),
    store.update("/a", 3, "2"),
    store.delete("/a", "3"),
    store.delete("/a"),
    store.create("/a", 4),
  ].map(outcome);
  await journal.answer();
  assert.deepEqual(await Promise.all(outcomes), ["2", "3", "conflict", "4", "notFound", "5"]);
  assert.equal(journal.commits.length, 1);
  assert.deepEqual(journal.commits[0].replaced.map((record) => record.revision), [2, 3]);
  await store.close();
});

Deno.test("when the disk fails the whole group is refused, and memory is as it was", async () => {
  const { journal, store } = handStore();
  const created = store.create("/a", 1);
  await journal.answer();
  await created;
  const outcomes = [
    store.update("/a", 2, "2"),
    store.create("/b", 1),
    // A refusal that rested on the group is withdrawn with it.
    store.create("/b", 2),
  ].map(outcome);
  await journal.answer(new StoreError("unavailable", "the disk is full"));
  assert.deepEqual(await Promise.all(outcomes), ["unavailable", "unavailable", "unavailable"]);
  assert.deepEqual(await store.list("/"), {
    entries: [{ key: "/a", value: 1, revision: "2" }],
    revision: "2",
  });
  const again = store.update("/a", 3, "2");
  await journal.answer();
  assert.equal(await again, "3");
  await store.close();
});

Deno.test("a store that lost its journal writes no more, and says why", async () => {
  const { journal, store } = handStore(1);
  const outcomes = [store.put("/a", 1), store.put("/b", 1)].map(outcome);
  await journal.answer(new JournalLost("another process writes to it"));
  assert.deepEqual(await Promise.all(outcomes), ["unavailable", "unavailable"]);
  await assert.rejects(store.put("/c", 1), /another process writes/);
  assert.equal(journal.commits.length, 1);
  await store.close();
});

Deno.test("closing answers what is under way", async () => {
  const { journal, store } = handStore(1);
  const writes = [store.put("/a", 1), store.put("/b", 1)];
  await settle();
  const closing = store.close();
  await journal.answer();
  await journal.answer();
  await closing;
  assert.deepEqual(await Promise.all(writes), ["2", "3"]);
  await assert.rejects(store.put("/c", 1), /closed/);
});

Deno.test("a repeated write has the first one's answer", async () => {
  const store = memoryStore({ log: { entries: 5 } });
  const write = { op: "put", key: "/a", text: "1", ttlMs: 0, writeId: "w.1" } as const;
  assert.equal(await store.write(write), 2);
  await store.put("/a", 2);
  assert.equal(await store.write({ ...write, repeatedSince: 1 }), 2);
  assert.deepEqual((await store.get("/a"))?.value, 2);
  const both = { op: "create", key: "/b", text: "1", ttlMs: 0, writeId: "w.2" } as const;
  assert.deepEqual(await Promise.all([store.write(both), store.write(both)]), [4, 4]);
  // A first try that never arrived is carried out by its repetition.
  const late = { ...write, writeId: "w.3", repeatedSince: 4 };
  assert.equal(await store.write(late), 5);
  for (let i = 0; i < 5; i++) await store.put("/filler", i);
  await assert.rejects(
    store.write({ ...write, repeatedSince: 1 }),
    (error: StoreError) => error.kind === "unavailable" && /unknown/.test(error.message),
  );
  assert.equal(await store.write({ ...write, writeId: "w.4", repeatedSince: 10 }), 11);
  await store.close();
});

Deno.test("a watch from a revision that the store never had is sent to list again", async () => {
  const store = memoryStore();
  await store.put("/a", 1);
  for (const from of ["3", "9007199254740993", "x", "", "-1", "01", "1.5"]) {
    const kind = /^[1-9][0-9]*$/.test(from) && from.length < 17 ? "compacted" : "invalid";
    await assert.rejects(
      async () => {
        for await (const _ of store.watch("/", { from }));
      },
      (error: StoreError) => error.kind === kind,
      from,
    );
  }
  const events = [];
  for await (const event of store.watch("/", { from: "0" })) {
    events.push(event.revision);
    break;
  }
  assert.deepEqual(events, ["2"]);
  await store.close();
});

Deno.test("a time to live is counted on the monotonic clock", async () => {
  const clock = new ManualClock();
  const store = memoryStore({ clock });
  await store.put("/short", 1, { ttlSeconds: 10 });
  await store.put("/long", 1, { ttlSeconds: 3_000_000 });
  clock.wallOffset += 86_400_000;
  await clock.advance(9_999);
  assert.equal((await store.list("/")).entries.length, 2);
  clock.wallOffset -= 2 * 86_400_000;
  await clock.advance(1);
  assert.deepEqual((await store.list("/")).entries.map((entry) => entry.key), ["/long"]);
  await clock.advance(3_000_000_000);
  assert.deepEqual((await store.list("/")).entries, []);
  await store.put("/last", 1, { ttlSeconds: 10 });
  await store.close();
  assert.equal(clock.pending, 0);
});

Deno.test("after a restart an entry gets no more than its time", () => {
  const clock = new ManualClock(1_000_000);
  const due: string[] = [];
  const expiry = new Expiry(clock, (key) => due.push(`${key}@${clock.monotonicMs()}`));
  const record = (key: string, expires: number) =>
    ({ type: "put", key, revision: 1, text: "1", ttlMs: 5000, expires }) as const;
  expiry.load(record("/past", 400_000));
  expiry.load(record("/left", 1_002_000));
  // The wall clock was set back meanwhile: an hour of it would be left.
  expiry.load(record("/future", 4_600_000));
  expiry.check();
  return (async () => {
    await clock.advance(10_000);
    assert.deepEqual(due, ["/past@0", "/left@2000", "/future@5000"]);
    expiry.stop();
  })();
});

Deno.test("an entry whose expiry could not be written goes at the next try", async () => {
  const { journal, store, clock } = handStore();
  const written = store.put("/a", 1, { ttlSeconds: 1 });
  await journal.answer();
  await written;
  await clock.advance(1000);
  await journal.answer(new StoreError("unavailable", "the disk is full"));
  assert.equal((await store.get("/a"))?.revision, "2");
  await clock.advance(1000);
  await journal.answer();
  assert.equal(await store.get("/a"), undefined);
  assert.equal(store.revision, 3);
  await store.close();
});
