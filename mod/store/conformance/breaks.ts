/** What a broken connection, or a store that was closed and opened again, must not change. */

import assert from "node:assert/strict";
import { compareRevisions, StoreError } from "../store.ts";
import { type Case, pause } from "./case.ts";

export const breakCases: readonly Case[] = [
  {
    name: "a watch goes on after a break, nothing lost and nothing twice",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      const { revision } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), revision);
      const written: string[] = [];
      for (let i = 0; i < 120; i++) {
        written.push(await store.put(room.key(`k${i % 3}`), room.value(i)));
        if (i % 20 === 7) subject.breakConnection!(i % 40 === 7 ? "now" : "answer");
        if (i % 30 === 0) await pause(5);
      }
      const events = await collector.first(120);
      assert.deepEqual(events.map((event) => event.revision), written);
      await pause(30);
      assert.equal(collector.events.length, 120);
    },
  },
  {
    name: "each write is carried out once, however often the connection breaks",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      const { revision: start } = await store.list(room.key(""));
      const key = room.key("counter");
      let breaking = true, breaks = 0;
      const breaker = (async () => {
        while (breaking) {
          subject.breakConnection!(breaks++ % 3 === 0 ? "now" : "answer");
          await pause(25);
        }
      })();
      const expected: string[] = [];
      try {
        let written = await store.create(key, 0);
        expected.push(written);
        for (let n = 1; n <= 60; n++) {
          subject.breakConnection!("answer");
          written = await store.update(key, n, written);
          expected.push(written);
        }
        const puts = await Promise.all(
          Array.from({ length: 60 }, (_, i) => store.put(room.key(`p${i}`), room.value(i))),
        );
        const gone = await Promise.all(
          puts.slice(0, 30).map((revision, i) => store.delete(room.key(`p${i}`), revision)),
        );
        expected.push(...puts, ...gone);
      } finally {
        breaking = false;
        await breaker;
      }
      const events = await room.watch(room.key(""), start).first(expected.length);
      assert.deepEqual(
        events.map((event) => event.revision),
        expected.toSorted(compareRevisions),
        "the log holds what was acknowledged, and nothing else",
      );
      await pause(20);
      assert.equal((await store.get(key))?.value, 60);
      assert.equal((await store.list(room.key("p"))).entries.length, 30);
    },
  },
  {
    name: "a refused write stays refused across breaks",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      const key = room.key("a");
      const revision = await store.create(key, room.value(0));
      const outcomes = await Promise.all(Array.from({ length: 40 }, async (_, i) => {
        if (i % 4 === 0) subject.breakConnection!("answer");
        try {
          await store.create(key, room.value(i));
          return "created";
        } catch (error) {
          return (error as StoreError).kind;
        }
      }));
      assert(outcomes.every((outcome) => outcome === "exists"), outcomes.join());
      assert.equal((await store.get(key))?.revision, revision);
    },
  },
  {
    name: "an opened store holds what it held, and its history",
    needs: ["reopen"],
    async run(room) {
      const { subject } = room;
      let { store } = room;
      const { revision: start } = await store.list(room.key(""));
      const large = { text: "ß".repeat(300_000) };
      for (let i = 0; i < 50; i++) await store.put(room.key(`k${i % 7}`), room.value(i));
      await store.put(room.key("large"), large);
      await store.put(room.key("large"), { ...large, n: 2 });
      await store.delete(room.key("k3"));
      const before = await store.list(room.key(""));
      const history = await room.watch(room.key(""), start).first(53);
      await store.close();
      store = await subject.reopen!();
      assert.deepEqual(await store.list(room.key("")), before);
      assert.deepEqual(await room.watch(room.key(""), start, store).first(53), history);
      const next = await store.put(room.key("k3"), room.value(100));
      assert(compareRevisions(next, before.revision) > 0);
      const conflict = store.update(room.key("k1"), room.value(1), start);
      await assert.rejects(conflict, (error: StoreError) => error.kind === "conflict");
      await store.close();
      store = await subject.reopen!();
      const [event] = await room.watch(room.key(""), before.revision, store).first(1);
      assert.deepEqual(event, {
        type: "put",
        key: room.key("k3"),
        value: room.value(100),
        revision: next,
      });
    },
  },
];
