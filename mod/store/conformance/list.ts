/** Lists: what a prefix takes in, their order, and that each shows one moment. */

import assert from "node:assert/strict";
import { compareRevisions } from "../store.ts";
import { type Case, fold, pause } from "./case.ts";

export const listCases: readonly Case[] = [
  {
    name: "a list holds what begins with the prefix, ordered by key",
    async run(room) {
      const { store } = room;
      const names = [
        "web-0",
        "web",
        "web-",
        "web/x",
        "weba",
        "we",
        "wex",
        "web-0/",
        "WEB",
        "web 0",
      ];
      for (const [i, name] of names.entries()) await store.create(room.key(name), room.value(i));
      const list = async (prefix: string) =>
        room.names((await store.list(room.key(prefix))).entries);
      assert.deepEqual(await list("web"), [
        "web",
        "web 0",
        "web-",
        "web-0",
        "web-0/",
        "web/x",
        "weba",
      ]);
      assert.deepEqual(await list("web-"), ["web-", "web-0", "web-0/"]);
      assert.deepEqual(await list("web/"), ["web/x"]);
      assert.deepEqual(await list("web-0/"), ["web-0/"]);
      assert.deepEqual(await list("web-1"), []);
      assert.deepEqual(await list("z"), []);
      assert.deepEqual(await list(""), [...names].sort());
      await store.delete(room.key("web-"));
      assert.deepEqual(await list("web-"), ["web-0", "web-0/"]);
    },
  },
  {
    name: "a list has the revision of the store, also when it is empty",
    async run(room) {
      const { store } = room;
      const before = await store.list(room.key("none"));
      assert.deepEqual(before.entries, []);
      const revision = await store.put(room.key("a"), room.value(1));
      assert.equal((await store.list(room.key("none"))).revision, revision);
      const { entries, revision: all } = await store.list(room.key(""));
      assert.equal(all, revision);
      assert.equal(entries[0].revision, revision);
      const gone = await store.delete(room.key("a"));
      assert.equal((await store.list(room.key(""))).revision, gone);
    },
  },
  {
    name: "a list shows one moment while others write",
    async run(room) {
      const { store } = room;
      // `left` is written first, then `right`: at any moment they are equal or left is one ahead.
      const left = room.key("left"), right = room.key("right");
      await store.put(left, room.value(0));
      await store.put(right, room.value(0));
      // Between them more than a driver takes in one go.
      const others = Array.from({ length: 600 }, (_, i) => room.key(`m${i}`));
      await inFlights(others, (key) => store.create(key, room.value(0)));
      const numbers = new Map(
        Array.from({ length: 201 }, (_, n) => [JSON.stringify(room.value(n)), n]),
      );
      const { revision: start, entries: first } = await store.list(room.key(""));
      let writing = true;
      const writer = (async () => {
        for (let n = 1; n <= 200; n++) {
          await store.put(left, room.value(n));
          await store.put(right, room.value(n));
        }
        writing = false;
      })();
      const listings = [];
      while (writing) {
        const [listing] = await Promise.all([store.list(room.key("")), store.get(left)]);
        const { entries } = listing;
        assert.equal(entries.length, 602);
        assert.deepEqual([entries[0].key, entries.at(-1)!.key], [left, right]);
        const [l, r] = [entries[0], entries.at(-1)!]
          .map(({ value }) => numbers.get(JSON.stringify(value))!);
        assert(l === r || l === r + 1, `left ${l}, right ${r}`);
        for (const entry of entries) {
          assert(compareRevisions(entry.revision, listing.revision) <= 0);
        }
        listings.push(listing);
        // A list may come from memory, without a turn of the event loop in which others could write.
        await pause(0);
      }
      await writer;
      // Each list is exactly what the events up to its revision make.
      const events = await room.watch(room.key(""), start).first(400);
      for (const listing of listings) {
        const until = events.filter((event) =>
          compareRevisions(event.revision, listing.revision) <= 0
        );
        const made = fold(first, until);
        for (const { key, value, revision } of listing.entries) {
          assert.deepEqual(made.get(key), { value, revision });
        }
      }
    },
  },
  {
    name: "ten thousand objects are written, listed and deleted",
    async run(room) {
      const { store } = room;
      const name = (i: number) => `${i % 10}/${String(i).padStart(5, "0")}`;
      const all = Array.from({ length: 10_000 }, (_, i) => i);
      const revisions = await inFlights(all, (i) => store.create(room.key(name(i)), room.value(i)));
      assert.equal(new Set(revisions).size, 10_000);
      const { entries, revision } = await store.list(room.key(""));
      assert.deepEqual(room.names(entries), all.map(name).sort());
      assert.equal(revision, revisions.toSorted(compareRevisions).at(-1));
      const third = await store.list<{ n: number }>(room.key("3/"));
      assert.equal(third.entries.length, 1000);
      assert(third.entries.every((entry) => entry.key.startsWith(room.key("3/"))));
      await inFlights(third.entries, (entry) => store.delete(entry.key, entry.revision));
      assert.equal((await store.list(room.key(""))).entries.length, 9000);
      assert.equal((await store.list(room.key("3"))).entries.length, 0);
    },
  },
];

/** Runs the operation on each item, a hundred at a time. */
async function inFlights<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < items.length; i += 100) {
    results.push(...await Promise.all(items.slice(i, i + 100).map(run)));
  }
  return results;
}
