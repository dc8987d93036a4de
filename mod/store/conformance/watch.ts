/** Watches: all events, in order, from any revision that the log still has. */

import assert from "node:assert/strict";
import { compareRevisions, type WatchEvent } from "../store.ts";
import { type Case, fold, pause, refusal } from "./case.ts";

export const watchCases: readonly Case[] = [
  {
    name: "a watch tells of every write below its prefix, in order",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const all = room.watch(room.key(""), revision);
      const some = room.watch(room.key("a"), revision);
      const a = room.key("a"), ab = room.key("ab"), b = room.key("b");
      const r1 = await store.create(a, room.value(1));
      const r2 = await store.create(b, room.value(2));
      const r3 = await store.update(a, room.value(3), r1);
      const r4 = await store.put(ab, room.value(4));
      const r5 = await store.delete(a, r3);
      const r6 = await store.create(a, room.value(6));
      const expected: WatchEvent[] = [
        { type: "put", key: a, value: room.value(1), revision: r1 },
        { type: "put", key: b, value: room.value(2), revision: r2 },
        { type: "put", key: a, value: room.value(3), revision: r3 },
        { type: "put", key: ab, value: room.value(4), revision: r4 },
        { type: "delete", key: a, revision: r5 },
        { type: "put", key: a, value: room.value(6), revision: r6 },
      ];
      assert.deepEqual(await all.first(6), expected);
      assert.deepEqual(await some.first(5), expected.filter((event) => event.key !== b));
      await pause(50);
      assert.equal(all.events.length, 6, "and of nothing else");
      assert.equal(some.events.length, 5);
    },
  },
  {
    name: "a refused write is no event",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const key = room.key("a");
      await store.create(key, room.value(1));
      await refusal("exists", store.create(key, room.value(2)));
      await refusal("conflict", store.update(key, room.value(2), "999999999999"));
      await refusal("notFound", store.delete(room.key("b")));
      await store.put(room.key("end"), room.value(3));
      const events = await room.watch(room.key(""), revision).first(2);
      assert.deepEqual(events.map((event) => event.key), [key, room.key("end")]);
    },
  },
  {
    name: "a watch can begin after any revision of the past",
    async run(room) {
      const { store } = room;
      const { revision: start } = await store.list(room.key(""));
      for (let i = 0; i < 60; i++) {
        const key = room.key(`k${i % 5}`);
        if (i % 6 === 5) await store.delete(key);
        else await store.put(key, room.value(i));
      }
      const events = await room.watch(room.key(""), start).first(60);
      for (const [i, event] of events.entries()) {
        if (i > 0) assert(compareRevisions(event.revision, events[i - 1].revision) > 0);
        if (i % 7 > 0) continue;
        const rest = await room.watch(room.key(""), event.revision).first(59 - i);
        assert.deepEqual(rest, events.slice(i + 1));
      }
      const { entries } = await store.list(room.key(""));
      const made = fold([], events);
      assert.deepEqual([...made.keys()].sort(), entries.map((entry) => entry.key));
    },
  },
  {
    name: "an aborted watch ends, a left one too",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const idle = room.watch(room.key(""), revision);
      await pause(20);
      await idle.end();
      assert.equal(idle.error, undefined);
      const abort = new AbortController();
      abort.abort();
      for await (
        const event of store.watch(room.key(""), { from: revision, signal: abort.signal })
      ) {
        assert.fail(`an aborted watch told of ${event.key}`);
      }
      for (let i = 0; i < 10; i++) await store.put(room.key(`k${i}`), room.value(i));
      let seen = 0;
      for await (const _ of store.watch(room.key(""), { from: revision })) if (++seen === 5) break;
      assert.equal(seen, 5);
      const stop = new AbortController();
      seen = 0;
      for await (const _ of store.watch(room.key(""), { from: revision, signal: stop.signal })) {
        if (++seen === 3) stop.abort();
      }
      assert.equal(seen, 3, "no event after the abort");
    },
  },
  {
    name: "a watch from before the log is told so",
    async run(room) {
      const { store } = room;
      const { revision: old } = await store.list(room.key(""));
      await store.put(room.key("a"), room.value(1));
      await room.subject.compact();
      const collector = room.watch(room.key(""), old);
      await refusal("compacted", Promise.reject(await collector.failure()));
      assert.deepEqual(collector.events, []);
      // Listing again leads on.
      const { revision, entries } = await store.list(room.key("a"));
      assert.equal(entries.length, 1);
      const next = await store.put(room.key("a"), room.value(2));
      const [event] = await room.watch(room.key("a"), revision).first(1);
      assert.equal(event.revision, next);
    },
  },
  {
    name: "a reader that falls behind misses nothing, or is told that it did",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const slow = store.watch(room.key(""), { from: revision })
        [Symbol.asyncIterator]();
      const written: string[] = [];
      for (let i = 0; i < 400; i++) {
        written.push(await store.put(room.key(`k${i % 3}`), room.value(i)));
      }
      const seen: string[] = [];
      for (let i = 0; i < 400; i++) {
        const { value: event } = await slow.next();
        seen.push(event.revision);
        if (i % 40 === 0) await pause(1);
      }
      assert.deepEqual(seen, written);
      // It reads one more, sleeps through a compaction, and reads on.
      const more = await store.put(room.key("k0"), room.value(400));
      assert.equal((await slow.next()).value.revision, more);
      await room.subject.compact();
      const last = await store.put(room.key("k1"), room.value(401));
      try {
        assert.equal((await slow.next()).value.revision, last);
      } catch (error) {
        await refusal("compacted", Promise.reject(error));
      }
      await slow.return?.();
    },
  },
  {
    name: "large values are told in full",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), revision);
      const sizes = [10, 100_000, 1_000_000, 20];
      for (const n of sizes) await store.put(room.key("a"), { text: "x".repeat(n) });
      const told = (await collector.first(4)).map((event) =>
        event.type === "put" ? (event.value as { text: string }).text.length : -1
      );
      assert.deepEqual(told, sizes);
      const replayed = (await room.watch(room.key(""), revision).first(4)).map((event) =>
        event.type === "put" ? (event.value as { text: string }).text.length : -1
      );
      assert.deepEqual(replayed, sizes);
    },
  },
  {
    name: "many watches see the same",
    async run(room) {
      const { store } = room;
      const { revision } = await store.list(room.key(""));
      const collectors = Array.from({ length: 20 }, () => room.watch(room.key(""), revision));
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => store.put(room.key(`k${i % 7}`), room.value(i))),
      );
      const first = await collectors[0].first(100);
      for (const collector of collectors) assert.deepEqual(await collector.first(100), first);
    },
  },
];
