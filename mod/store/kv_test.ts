import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { ChangeLog, DEFAULT_LOG_BOUNDS } from "./change_log.ts";
import { systemClock } from "./clock.ts";
import { storeConformance } from "./conformance.ts";
import { KeyIndex } from "./key_index.ts";
import { openKv } from "./kv.ts";
import { KvJournal } from "./kv_journal.ts";
import { LocalStore } from "./local.ts";
import type { StoreError } from "./store.ts";
import { forgetHistory, ManualClock, SMALL_LOG } from "./testing.ts";

storeConformance("kv", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kv-" });
  const open = () => openKv(`${folder}/store.kv`, { log: SMALL_LOG });
  let store = await open();
  return {
    store,
    compact: () => forgetHistory(store),
    // All that can take the file from the process that owns it: one that holds its lock.
    outage() {
      const other = new DatabaseSync(`${folder}/store.kv`);
      other.exec("BEGIN IMMEDIATE");
      return Promise.resolve(() => Promise.resolve(other.close()));
    },
    reopen: async () => store = await open(),
    close: async () => {
      await store.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}, { has: ["reopen", "outage"] });

async function withFolder(run: (path: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kv-" });
  try {
    await run(`${folder}/store.kv`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The rows of a file that nobody has open, by the first part of their key. */
async function rows(path: string, table: string): Promise<Deno.KvEntry<any>[]> {
  const kv = await Deno.openKv(path);
  try {
    return await Array.fromAsync(kv.list<any>({ prefix: [table] }));
  } finally {
    kv.close();
  }
}

/** Changes a file that nobody has open. */
async function tamper(path: string, change: (kv: Deno.Kv) => Promise<unknown>): Promise<void> {
  const kv = await Deno.openKv(path);
  try {
    await change(kv);
  } finally {
    kv.close();
  }
}

const unavailable = (message: RegExp) => (error: StoreError) => {
  assert.equal(error.kind, "unavailable", error.message);
  assert.match(error.message, message);
  return true;
};

Deno.test("a second opener is told who owns the file and where to go", async () => {
  await withFolder(async (path, folder) => {
    const store = await openKv(path, { socket: "/run/tortie/tortie.sock" });
    const owner = new RegExp(`process ${Deno.pid} .*socket /run/tortie/tortie.sock`);
    await assert.rejects(openKv(path), unavailable(owner));
    // Under another name it is the same file.
    await Deno.symlink(path, `${folder}/alias.kv`);
    await assert.rejects(openKv(`${folder}/alias.kv`), unavailable(owner));
    const waiting = openKv(path, { waitMs: 5000 });
    await store.put("/a", 1);
    await store.close();
    const next = await waiting;
    assert.equal((await next.get("/a"))?.value, 1);
    await next.close();
  });
});

Deno.test("the files are their owner's alone", async () => {
  await withFolder(async (_path, folder) => {
    const path = `${folder}/new/deep/store.kv`;
    const store = await openKv(path);
    await store.put("/secret", "x".repeat(100_000));
    assert.equal((await Deno.stat(`${folder}/new/deep`)).mode! & 0o777, 0o700);
    for await (const { name } of Deno.readDir(`${folder}/new/deep`)) {
      assert.equal((await Deno.stat(`${folder}/new/deep/${name}`)).mode! & 0o777, 0o600, name);
    }
    await store.close();
  });
});

Deno.test("what is no store of ours is not opened, and not changed", async () => {
  await withFolder(async (path, folder) => {
    await Deno.writeTextFile(path, "no database\n".repeat(500));
    await assert.rejects(openKv(path), unavailable(/not a database/));
    assert.equal((await Deno.readTextFile(path)).length, 6000);
    await assert.rejects(openKv(folder), unavailable(/directory/));
    await assert.rejects(openKv("/proc/none/store.kv"), unavailable(/No such file/));
    await assert.rejects(openKv(":memory:"), (error: StoreError) => error.kind === "invalid");
    const foreign = `${folder}/foreign.kv`;
    await tamper(foreign, (kv) => kv.set(["users", 1], "somebody"));
    await assert.rejects(openKv(foreign), unavailable(/something else.*users\/1/));
    await tamper(foreign, async (kv) => {
      const keys = await Array.fromAsync(kv.list({ prefix: [] }), ({ key }) => key);
      assert.deepEqual(keys, [["users", 1]]);
    });
    const newer = `${folder}/newer.kv`;
    await tamper(newer, (kv) => kv.set(["store"], { format: 2, id: "x" }));
    await assert.rejects(openKv(newer), unavailable(/format 2.*newer version/));
  });
});

Deno.test("a damaged file is noticed when it is opened", async () => {
  await withFolder(async (path) => {
    const store = await openKv(path);
    for (let i = 0; i < 10; i++) await store.put(`/k${i}`, i);
    await store.put("/large", "x".repeat(200_000));
    await store.close();
    const damages: [(kv: Deno.Kv) => Promise<unknown>, RegExp][] = [
      [(kv) => kv.delete(["log", 5]), /change 6 follows change 4/],
      [(kv) => kv.delete(["log", 12]), /ends at revision 11, its counter at 12/],
      [(kv) => kv.delete(["chunk", 12, 1]), /revision 12 is not whole/],
      [(kv) => kv.delete(["revision"]), /no counter/],
    ];
    const whole = await Deno.readFile(path);
    for (const [damage, message] of damages) {
      await Deno.writeFile(path, whole);
      await tamper(path, damage);
      await assert.rejects(openKv(path), unavailable(message));
    }
    await Deno.writeFile(path, whole);
    await (await openKv(path)).close();
  });
});

Deno.test("the log in the file is bounded, and pieces of old values go with it", async () => {
  await withFolder(async (path) => {
    const log = { entries: 20, bytes: 1e9 };
    const large = (n: number) => ({ n, text: "ß".repeat(150_000) });
    let store = await openKv(path, { log });
    for (let n = 1; n <= 3; n++) await store.put("/large", large(n));
    await store.put("/other", large(9));
    await store.close();
    assert.equal((await rows(path, "chunk")).length, 4 * 6);

    store = await openKv(path, { log });
    for (let i = 0; i < 100; i++) await store.put("/small", i);
    await store.close();
    assert.equal((await rows(path, "log")).length, 20);
    assert.deepEqual(
      (await rows(path, "chunk")).map(({ key }) => key[1]),
      [...Array(6).fill(4), ...Array(6).fill(5)],
      "only what the objects refer to is left",
    );

    store = await openKv(path, { log });
    assert.deepEqual((await store.get("/large"))?.value, large(3));
    await store.delete("/large");
    await store.put("/other", 1);
    await store.close();
    assert.equal((await rows(path, "chunk")).length, 0);
  });
});

Deno.test("pieces that a crash left behind are swept, whole values are not", async () => {
  await withFolder(async (path) => {
    let store = await openKv(path);
    await store.put("/large", "x".repeat(130_000));
    const written = store.revision;
    await store.close();
    await tamper(path, async (kv) => {
      for (let n = 0; n < 3; n++) await kv.set(["chunk", written + 1, n], new Uint8Array(1000));
      await kv.set(["chunk", written, 3], new Uint8Array(1000));
    });
    store = await openKv(path);
    assert.equal(((await store.get("/large"))?.value as string).length, 130_000);
    // The very revision whose pieces were left behind is written now, with fewer of them.
    await store.put("/large", "y".repeat(70_000));
    await store.close();
    assert.deepEqual((await rows(path, "chunk")).map(({ key }) => key.slice(1).join("/")), [
      `${written}/0`,
      `${written}/1`,
      `${written}/2`,
      `${written + 1}/0`,
      `${written + 1}/1`,
    ]);
    store = await openKv(path);
    assert.equal((await store.get("/large"))?.value, "y".repeat(70_000));
    await store.close();
  });
});

Deno.test("while another program holds the file, writes wait and nobody sees it", async () => {
  await withFolder(async (path) => {
    const store = await openKv(path);
    await store.put("/a", 0);
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    const writes = Promise.all(Array.from({ length: 20 }, (_, i) => store.put(`/k${i % 3}`, i)));
    const large = store.put("/large", "x".repeat(200_000));
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(store.revision, 2);
    other.exec("ROLLBACK");
    other.close();
    assert.equal(new Set(await writes).size, 20);
    assert.equal(await large, "23");
    await store.close();
  });
});

Deno.test("a program that never lets go of the file is named as the reason", async () => {
  await withFolder(async (path) => {
    const clock = new ManualClock();
    const store = await openKv(path, { clock });
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE");
    const refused = assert.rejects(store.put("/a", 1), unavailable(/another program has held/));
    for (let i = 0; i < 100; i++) await clock.advance(100);
    await refused;
    other.exec("ROLLBACK");
    other.close();
    assert.equal(await store.put("/a", 2), "2");
    await store.close();
  });
});

Deno.test("a foreign writer is noticed and not overwritten", async () => {
  await withFolder(async (path) => {
    const store = await openKv(path);
    await store.put("/a", 1);
    await tamper(path, (kv) => kv.set(["revision"], { revision: 9, compacted: 1, session: "x" }));
    await assert.rejects(store.put("/a", 2), unavailable(/another process writes/));
    await assert.rejects(store.put("/a", 3), unavailable(/another process writes/));
    assert.equal((await store.get("/a"))?.value, 1);
    await store.close();
    await tamper(path, async (kv) => {
      assert.equal((await kv.get<any>(["revision"])).value.revision, 9);
    });
  });
});

/** A store on a file whose next commits fail as the test says. */
async function failing(path: string, failures: ("done" | "not done" | "locked" | "dead")[]) {
  const kv = await Deno.openKv(path);
  const { versionstamp } = await kv.set(["revision"], { revision: 1, compacted: 1, session: "" });
  let dead = false;
  const faulty = {
    ...{ close: () => kv.close(), set: kv.set.bind(kv) },
    get: (key: Deno.KvKey) => dead ? Promise.reject(new Error("disk I/O error")) : kv.get(key),
    atomic() {
      const operation = kv.atomic();
      const commit = operation.commit.bind(operation);
      operation.commit = async () => {
        const failure = failures.shift();
        if (failure === "done") await commit();
        if (failure === "dead") dead = true;
        if (failure === "locked") throw new TypeError("database is locked");
        if (failure !== undefined) throw new Error("disk I/O error");
        return await commit();
      };
      return operation;
    },
  } as unknown as Deno.Kv;
  const clock = systemClock;
  const log = new ChangeLog(DEFAULT_LOG_BOUNDS, 1);
  const parts = { path, kv: faulty, clock, session: "s", versionstamp, large: new Map() };
  const journal = new KvJournal({ ...parts, release: () => {} });
  return new LocalStore({ id: "x", index: new KeyIndex(), log, journal, clock });
}

Deno.test("what became of a commit that failed is read from the file", async () => {
  await withFolder(async (path) => {
    const store = await failing(path, ["done", "not done", "locked", "locked", "done"]);
    assert.equal(await store.put("/a", 1), "2", "it failed, but it was done");
    await assert.rejects(store.put("/a", 2), unavailable(/disk I\/O error; nothing was changed/));
    assert.equal((await store.get("/a"))?.value, 1);
    assert.equal(await store.put("/a", 3), "3", "it was locked twice, then failed but was done");
    assert.equal(await store.put("/a", 4), "4");
    await store.close();
  });
  await withFolder(async (path) => {
    const store = await failing(path, ["dead"]);
    await assert.rejects(store.put("/a", 1), unavailable(/neither be written nor read/));
    await assert.rejects(store.put("/a", 1), unavailable(/neither be written nor read/));
    await store.close();
  });
});
