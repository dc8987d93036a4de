/** Many writers at once: compare-and-swap decides, and every answer is true. */

import assert from "node:assert/strict";
import { compareRevisions, StoreError } from "../store.ts";
import { type Case, fold } from "./case.ts";

export const concurrencyCases: readonly Case[] = [
  {
    name: "of many creators one wins",
    async run(room) {
      const { store } = room;
      for (let round = 0; round < 5; round++) {
        const key = room.key(`k${round}`);
        const outcomes = await Promise.allSettled(
          Array.from({ length: 20 }, (_, i) => store.create(key, room.value(i))),
        );
        const winners = outcomes.flatMap((outcome, i) =>
          outcome.status === "fulfilled" ? [{ i, revision: outcome.value }] : []
        );
        assert.equal(winners.length, 1);
        const { i, revision } = winners[0];
        const stands = { key, value: room.value(i), revision };
        for (const outcome of outcomes) {
          if (outcome.status === "fulfilled") continue;
          assert(outcome.reason instanceof StoreError);
          assert.equal(outcome.reason.kind, "exists");
          assert.deepEqual(outcome.reason.current, stands);
        }
        assert.deepEqual(await store.get(key), stands);
      }
    },
  },
  {
    name: "increments by compare-and-swap are all counted",
    async run(room) {
      const { store } = room;
      const key = room.key("counter");
      await store.create(key, 0);
      const revisions: string[] = [];
      const increment = async () => {
        for (;;) {
          const { value, revision } = (await store.get<number>(key))!;
          try {
            revisions.push(await store.update(key, value + 1, revision));
            return;
          } catch (error) {
            if (!(error instanceof StoreError) || error.kind !== "conflict") throw error;
          }
        }
      };
      await Promise.all(Array.from({ length: 8 }, async () => {
        for (let i = 0; i < 20; i++) await increment();
      }));
      assert.equal((await store.get(key))?.value, 160);
      assert.equal(new Set(revisions).size, 160);
    },
  },
  {
    name: "of many deleters at one revision one wins",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      const revision = await store.create(key, room.value(1));
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, () => store.delete(key, revision)),
      );
      const kinds = outcomes.map((outcome) =>
        outcome.status === "fulfilled" ? "done" : (outcome.reason as StoreError).kind
      );
      assert.equal(kinds.filter((kind) => kind === "done").length, 1);
      assert(kinds.every((kind) => kind === "done" || kind === "notFound"), kinds.join());
    },
  },
  {
    name: "what many writers were told is what the watch tells",
    async run(room) {
      const { store } = room;
      const { revision: start } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), start);
      const acknowledged = new Map<string, string>();
      await Promise.all(Array.from({ length: 16 }, async (_, writer) => {
        for (let i = 0; i < 25; i++) {
          const key = room.key(`k${(writer * 7 + i) % 10}`);
          try {
            const revision = i % 5 === 4
              ? await store.delete(key)
              : await store.put(key, room.value(writer * 100 + i));
            acknowledged.set(revision, key);
          } catch (error) {
            if (!(error instanceof StoreError) || error.kind !== "notFound") throw error;
          }
        }
      }));
      const events = await collector.first(acknowledged.size);
      assert.deepEqual(
        events.map(({ revision, key }) => [revision, key]),
        [...acknowledged].sort(([a], [b]) => compareRevisions(a, b)),
      );
      const { entries } = await store.list(room.key(""));
      const made = fold([], events);
      assert.equal(made.size, entries.length);
      for (const { key, value, revision } of entries) {
        assert.deepEqual(made.get(key), { value, revision });
      }
    },
  },
];
