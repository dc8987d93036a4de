import assert from "node:assert/strict";
import fc from "fast-check";
import { follow, type FollowHandlers } from "./follow.ts";
import type { LocalStore } from "./local.ts";
import { memoryStore } from "./memory.ts";
import { type Store, StoreError, type WatchOptions } from "./store.ts";
import { ManualClock, settle } from "./testing.ts";

/** What a follower was told, as lines, and the picture that it made of it. */
class Follower implements FollowHandlers<number> {
  lines: string[] = [];
  readonly picture = new Map<string, { value: number; revision: string }>();

  put({ key, value, revision }: { key: string; value: number; revision: string }): void {
    assert.notEqual(this.picture.get(key)?.revision, revision, "told what was told before");
    this.picture.set(key, { value, revision });
    this.lines.push(`put ${key} ${value}`);
  }

  delete(key: string): void {
    assert(this.picture.delete(key), "told that a key is gone that was not there");
    this.lines.push(`delete ${key}`);
  }

  synced(): void {
    this.lines.push("synced");
  }

  unavailable(error: StoreError): void {
    this.lines.push(`unavailable ${error.message}`);
  }

  /** The lines since the last time. */
  take(): string[] {
    return this.lines.splice(0);
  }
}

/** A store of which list and watch fail on command. */
class Faulty {
  listing: StoreError | undefined;
  #break: ((error: StoreError) => void)[] = [];
  lists = 0;

  constructor(readonly inner: LocalStore) {}

  get store(): Store {
    // deno-lint-ignore no-this-alias
    const self = this;
    return {
      list: (prefix: string) => {
        self.lists++;
        return self.listing ? Promise.reject(self.listing) : self.inner.list(prefix);
      },
      async *watch(prefix: string, { from, signal }: WatchOptions) {
        const stop = new AbortController();
        let failure: StoreError | undefined;
        self.#break.push((error) => {
          failure = error;
          stop.abort();
        });
        const either = AbortSignal.any(signal ? [signal, stop.signal] : [stop.signal]);
        yield* self.inner.watch(prefix, { from, signal: either });
        if (failure) throw failure;
      },
    } as unknown as Store;
  }

  breakWatches(error: StoreError): void {
    for (const stop of this.#break.splice(0)) stop(error);
  }
}

const away = new StoreError("unavailable", "away");
const compacted = new StoreError("compacted", "too old");

async function scene(
  run: (scene: {
    inner: LocalStore;
    faulty: Faulty;
    follower: Follower;
    clock: ManualClock;
  }) => Promise<void>,
): Promise<void> {
  const clock = new ManualClock();
  const inner = memoryStore();
  const faulty = new Faulty(inner);
  const follower = new Follower();
  const abort = new AbortController();
  const following = follow(faulty.store, "/a/", follower, {
    signal: abort.signal,
    clock,
    random: () => 1,
  });
  try {
    await run({ inner, faulty, follower, clock });
  } finally {
    abort.abort();
    await following;
    await inner.close();
    assert.equal(clock.pending, 0);
  }
}

Deno.test("a follower hears what is there, that this is all, and what changes", async () => {
  await scene(async ({ inner, follower }) => {
    await settle();
    assert.deepEqual(follower.take(), ["synced"]);
    await inner.put("/a/1", 1);
    await inner.put("/b/1", 1);
    await inner.put("/a/2", 2);
    await inner.delete("/a/1");
    await settle();
    assert.deepEqual(follower.take(), ["put /a/1 1", "put /a/2 2", "delete /a/1"]);
  });
});

Deno.test("after a compaction it hears the difference, at once", async () => {
  await scene(async ({ inner, faulty, follower }) => {
    for (const [i, key] of ["/a/same", "/a/gone", "/a/changed"].entries()) await inner.put(key, i);
    await settle();
    follower.take();
    // The watch ends first, so that it does not tell of these.
    faulty.breakWatches(compacted);
    await inner.delete("/a/gone");
    await inner.put("/a/changed", 7);
    await inner.put("/a/new", 8);
    await settle();
    assert.deepEqual(follower.take().sort(), [
      "delete /a/gone",
      "put /a/changed 7",
      "put /a/new 8",
      "synced",
    ]);
    assert.equal(faulty.lists, 2);
  });
});

Deno.test("while the store is away it is asked ever more seldom, then told the difference", async () => {
  await scene(async ({ inner, faulty, follower, clock }) => {
    await inner.put("/a/1", 1);
    await settle();
    follower.take();
    faulty.listing = away;
    faulty.breakWatches(away);
    await settle();
    await clock.advance(60_000);
    const told = follower.take();
    assert(told.every((line) => line === "unavailable away"));
    // At 0, then after 0.1, 0.2, … 6.4 s, then every 10 s: at 22.7, 32.7, 42.7 and 52.7 s.
    assert.equal(told.length, 1 + 7 + 4);
    assert.equal(follower.picture.size, 1, "what it knew stays");
    await inner.delete("/a/1");
    await inner.put("/a/2", 2);
    faulty.listing = undefined;
    await clock.advance(10_000);
    assert.deepEqual(follower.take(), ["delete /a/1", "put /a/2 2", "synced"]);
    // The pauses begin anew after a watch that lasted.
    await clock.advance(5000);
    faulty.breakWatches(away);
    await settle();
    await clock.advance(100);
    assert.deepEqual(follower.take(), ["unavailable away", "synced"]);
  });
});

Deno.test("a store whose log is always too short is not asked in a circle", async () => {
  await scene(async ({ faulty, clock }) => {
    await settle();
    for (let i = 0; i < 50; i++) {
      faulty.breakWatches(compacted);
      await clock.advance(100);
    }
    assert(faulty.lists < 12, `${faulty.lists} lists in five seconds`);
  });
});

Deno.test("a handler is awaited, and what it throws ends the following", async () => {
  const store = memoryStore();
  for (let i = 0; i < 5; i++) await store.put(`/a/${i}`, i);
  let running = 0, most = 0, done = 0;
  const slow = async () => {
    most = Math.max(most, ++running);
    await settle();
    running--;
    done++;
  };
  const abort = new AbortController();
  const following = follow(store, "/a/", { put: slow, delete: slow }, { signal: abort.signal });
  await store.delete("/a/0");
  await store.put("/a/9", 9);
  while (done < 7) await settle();
  assert.equal(most, 1);
  abort.abort();
  await following;
  // Also an error that looks like the store's own is the handler's.
  await assert.rejects(
    follow(store, "/a/", {
      put: () => Promise.reject(new StoreError("unavailable", "mine")),
      delete: () => {},
    }),
    /mine/,
  );
  await assert.rejects(
    follow(store, "/a/", {
      put: () => {
        throw new TypeError("a bug");
      },
      delete: () => {},
    }),
    TypeError,
  );
  await store.close();
});

Deno.test("an aborted following tells nothing more", async () => {
  const store = memoryStore();
  for (let i = 0; i < 5; i++) await store.put(`/a/${i}`, i);
  const abort = new AbortController();
  let puts = 0;
  await follow(store, "/a/", {
    put: () => {
      if (++puts === 2) abort.abort();
    },
    delete: () => {},
    synced: () => assert.fail("it was not all"),
  }, { signal: abort.signal });
  assert.equal(puts, 2);
  await follow(store, "/a/", { put: () => assert.fail(), delete: () => {} }, {
    signal: AbortSignal.abort(),
  });
  await store.close();
});

Deno.test("whatever fails and when, the picture ends as the store", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("put" as const), key: fc.nat(4), value: fc.nat() }),
    fc.record({ do: fc.constant("delete" as const), key: fc.nat(4) }),
    fc.record({ do: fc.constantFrom("compact" as const, "break" as const, "away" as const) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.nat(300) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      await scene(async ({ inner, faulty, follower, clock }) => {
        for (const one of steps) {
          switch (one.do) {
            case "put":
              await inner.put(`/a/${one.key}`, one.value);
              break;
            case "delete":
              await inner.delete(`/a/${one.key}`).catch(() => {});
              break;
            case "compact":
              faulty.breakWatches(compacted);
              break;
            case "break":
              faulty.breakWatches(away);
              break;
            case "away":
              faulty.listing = faulty.listing ? undefined : away;
              break;
            case "wait":
              await clock.advance(one.ms);
          }
        }
        faulty.listing = undefined;
        await clock.advance(25_000);
        const { entries } = await inner.list<number>("/a/");
        assert.deepEqual(
          [...follower.picture].sort(([a], [b]) => a < b ? -1 : 1),
          entries.map(({ key, value, revision }) => [key, { value, revision }]),
        );
      });
    }),
    { numRuns: 60 },
  );
});

Deno.test("after any loss values are compared, not revisions alone; broken ones are told and left out", async () => {
  const lines: string[] = [];
  const restored = new StoreError("compacted", "it was lost, and is there again");
  const listings = [
    {
      entries: [
        { key: "/a", value: 1, revision: "7" },
        { key: "/b", value: 2, revision: "8" },
        { key: "/same", value: { n: 2n ** 60n }, revision: "5" },
      ],
    },
    // The same revision, another value: of another past.
    {
      entries: [
        { key: "/a", value: 10, revision: "7" },
        { key: "/same", value: { n: 2n ** 60n }, revision: "5" },
      ],
      broken: [{ key: "/c", revision: "9", reason: "half" }],
    },
  ];
  const abort = new AbortController();
  let lists = 0;
  const store = {
    list: () => Promise.resolve({ ...listings[lists++], revision: "9" }),
    async *watch() {
      if (lists === 1) throw restored;
      yield { type: "put", key: "/d", value: 4, revision: "10" };
      yield { type: "delete", key: "/d", revision: "11", broken: "overwritten" };
      abort.abort();
    },
  } as unknown as Store;
  await follow(store, "/", {
    put: ({ key, value }) => void lines.push(`put ${key}${key === "/same" ? "" : ` ${value}`}`),
    delete: (key) => void lines.push(`delete ${key}`),
    broken: (key, reason) => void lines.push(`broken ${key} ${reason}`),
    synced: () => void lines.push("synced"),
  }, { signal: abort.signal });
  assert.deepEqual(lines, [
    ...["put /a 1", "put /b 2", "put /same", "synced"],
    ...["delete /b", "put /a 10", "broken /c half", "synced"],
    ...["put /d 4", "delete /d", "broken /d overwritten"],
  ]);
});

Deno.test("what could not be read and goes while nobody watches is told as gone, once", async () => {
  const lines: string[] = [];
  const broken = [{ key: "/a/x", revision: "1", reason: "half" }];
  const abort = new AbortController();
  let lists = 0;
  const store = {
    list: () => Promise.resolve({ entries: [], revision: "1", broken: lists++ < 2 ? broken : [] }),
    // deno-lint-ignore require-yield
    async *watch() {
      throw new StoreError("compacted", "too old");
    },
  } as unknown as Store;
  await follow(store, "/a/", {
    put: () => {},
    delete: (key) => void lines.push(`delete ${key}`),
    broken: (key) => void lines.push(`broken ${key}`),
    synced: () => void (lists === 4 && abort.abort()),
  }, { signal: abort.signal });
  // While it stays as it is, it is never told as gone.
  assert.deepEqual(lines, ["broken /a/x", "broken /a/x", "delete /a/x"]);
});

Deno.test("no error of the store ends it, whatever it is", async () => {
  await scene(async ({ inner, faulty, follower, clock }) => {
    await settle();
    follower.take();
    const faults = [
      new StoreError("invalid", "no such kind"),
      new StoreError("denied", "no right"),
      new TypeError("reading 'map'"),
      "<html>",
    ];
    for (const [i, fault] of faults.entries()) {
      faulty.listing = fault as StoreError;
      faulty.breakWatches(fault as StoreError);
      await settle();
      await clock.advance(1000);
      await settle();
      faulty.listing = undefined;
      await inner.put("/a/k", i);
      await clock.advance(20_000);
      await settle();
      const lines = follower.take();
      assert.match(lines[0], /unavailable (no such kind|no right|what the store answers for)/);
      assert.deepEqual(lines.slice(-2), [`put /a/k ${i}`, "synced"]);
    }
  });
});
