/** Random sequences of operations against a model that fits on a page. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { StoreError } from "../store.ts";
import { type Case, fold } from "./case.ts";

type Operation =
  | { op: "create" | "put"; key: number; n: number }
  | { op: "update"; key: number; n: number; stale: boolean }
  | { op: "delete"; key: number; at: "latest" | "stale" | "any" };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    op: fc.constantFrom("create" as const, "put" as const),
    key: fc.nat(3),
    n: fc.nat(),
  }),
  fc.record({
    op: fc.constant("update" as const),
    key: fc.nat(3),
    n: fc.nat(),
    stale: fc.boolean(),
  }),
  fc.record({
    op: fc.constant("delete" as const),
    key: fc.nat(3),
    at: fc.constantFrom("latest" as const, "stale" as const, "any" as const),
  }),
);

export const modelCases: readonly Case[] = [
  {
    name: "random operations do what the model says",
    async run(room) {
      const { store } = room;
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (operations) => {
          const prefix = room.key(`${++round}/`);
          const model = new Map<string, { value: unknown; revision: string }>();
          const old = new Map<string, string>();
          const { revision: start } = await store.list(prefix);
          let events = 0;
          for (const one of operations) {
            const key = `${prefix}k${one.key}`;
            const current = model.get(key);
            const stale = old.get(key) ?? "1";
            let expected = "done";
            if (one.op === "create" && current) expected = "exists";
            if (one.op === "update") {
              expected = !current ? "notFound" : one.stale ? "conflict" : "done";
            }
            if (one.op === "delete") {
              expected = !current ? "notFound" : one.at === "stale" ? "conflict" : "done";
            }
            const latest = current?.revision ?? stale;
            const run = (): Promise<string> => {
              if (one.op === "delete") {
                if (one.at === "any") return store.delete(key);
                return store.delete(key, one.at === "stale" ? stale : latest);
              }
              if (one.op === "update") {
                return store.update(key, room.value(one.n), one.stale ? stale : latest);
              }
              return store[one.op](key, room.value(one.n));
            };
            try {
              const revision = await run();
              assert.equal("done", expected);
              events++;
              if (current) old.set(key, current.revision);
              if (one.op === "delete") {
                old.set(key, latest);
                model.delete(key);
              } else {
                model.set(key, { value: room.value(one.n), revision });
              }
            } catch (error) {
              if (!(error instanceof StoreError)) throw error;
              assert.equal(error.kind, expected, error.message);
              if (expected !== "notFound") {
                assert.deepEqual(error.current, { key, ...current });
              }
            }
          }
          const { entries } = await store.list(prefix);
          const keys = [...model.keys()].sort();
          assert.deepEqual(entries, keys.map((key) => ({ key, ...model.get(key) })));
          const watch = room.watch(prefix, start);
          const made = fold([], await watch.first(events));
          await watch.end();
          assert.deepEqual(
            [...made].sort(([a], [b]) => a < b ? -1 : 1),
            keys.map((key) => [key, model.get(key)]),
          );
        }),
        { numRuns: 40 },
      );
    },
  },
];
