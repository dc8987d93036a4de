/**
 * What a broken connection, or a store that was closed and opened again, must not change.
 *
 * A driver whose server knows its writers by name (a served kv) carries each write out once, whatever
 * breaks. Where the server does not (etcd, the Kubernetes API), the writer may be told "unavailable",
 * outcome unknown: it reads, and repeats at the same revision what was not done. Either way the log
 * holds each write once.
 */

import assert from "node:assert/strict";
import { compareRevisions, type Entry, type Revision, StoreError } from "../store.ts";
import { type Case, pause, type Room } from "./case.ts";

/** What is done until it is known to be done; "unavailable" is for drivers that cannot know alone. */
export class Writer {
  /** Calls that were answered. */
  answers = 0;

  constructor(readonly room: Room) {}

  create(key: string, value: unknown): Promise<Revision> {
    const { store } = this.room;
    return this.#settle(key, () => store.create(key, value), (now) => now, value);
  }

  /** At the revision, where there is one. */
  write(key: string, value: unknown, revision?: Revision): Promise<Revision> {
    if (revision === undefined) return this.create(key, value);
    const { store } = this.room;
    return this.#settle(key, () => store.update(key, value, revision), (now) => now, value);
  }

  /** undefined: done, and nobody has told when. */
  async delete(key: string, revision: Revision): Promise<Revision | undefined> {
    const { store } = this.room;
    const gone = (now: Entry | undefined) => now ? undefined : { revision: "" };
    return await this.#settle(key, () => store.delete(key, revision), gone) || undefined;
  }

  /** The entry, however often it takes. */
  async get(key: string): Promise<Entry | undefined> {
    for (;;) {
      try {
        const entry = await this.room.store.get(key);
        this.answers++;
        return entry;
      } catch (error) {
        this.#mayBeUnknown(error);
        await pause(5);
      }
    }
  }

  /** The kind of error with which a call is refused in the end. */
  async refusal(call: () => Promise<unknown>): Promise<string> {
    for (;;) {
      try {
        await call();
        return "done";
      } catch (error) {
        const { kind } = error as StoreError;
        if (kind !== "unavailable") return kind;
        this.#mayBeUnknown(error);
      }
    }
  }

  async #settle(
    key: string,
    call: () => Promise<Revision>,
    done: (now: Entry | undefined) => { readonly revision: Revision } | undefined,
    value?: unknown,
  ): Promise<Revision> {
    for (let doubt = false;;) {
      try {
        const revision = await call();
        this.answers++;
        return revision;
      } catch (error) {
        // A second try is refused where the first one came after all.
        if (!doubt) this.#mayBeUnknown(error);
        doubt = true;
        const now = await this.get(key);
        const found = done(now);
        if (found && (value === undefined || isSame(now?.value, value))) return found.revision;
      }
    }
  }

  #mayBeUnknown(error: unknown): void {
    const known = this.room.options.has?.includes("knownOutcome");
    if (known || (error as StoreError).kind !== "unavailable") throw error;
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export const breakCases: readonly Case[] = [
  {
    name: "objects that are written together are all there after a break, once, or none of them",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      if (!store.together) return;
      const known = room.options.has?.includes("knownOutcome");
      const writer = new Writer(room);
      for (let i = 0; i < 12; i++) {
        const names = [`a${i}`, `b${i}`];
        const writes = names.map((name) => (
          { op: "create", key: room.key(name), value: room.value(i) } as const
        ));
        if (i % 3 < 2) subject.breakConnection!(i % 3 ? "now" : "answer");
        let revisions: Revision[] | undefined;
        try {
          revisions = await store.together(writes);
        } catch (error) {
          // The server may not know who asks: then it cannot be told whether the first try was carried out.
          if (known || (error as StoreError).kind !== "unavailable") throw error;
        }
        const there = await Promise.all(writes.map(({ key }) => writer.get(key)));
        if (revisions) assert.deepEqual(there.map((entry) => entry?.revision), revisions);
        else assert(there.every((entry) => (entry === undefined) === (there[0] === undefined)));
      }
    },
  },
  {
    // Where the server does not know who asks, a watch ends, and only a list shows that all is as it was.
    name: "a watch of the very same process goes on after a break, nothing lost and nothing twice",
    needs: ["breakConnection", "knownOutcome"],
    async run(room) {
      const { store, subject } = room;
      const writer = new Writer(room);
      const { revision } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), revision);
      const written: string[] = [];
      const latest = new Map<string, Revision>();
      for (let i = 0; i < 120; i++) {
        const key = room.key(`k${i % 3}`);
        latest.set(key, await writer.write(key, room.value(i), latest.get(key)));
        written.push(latest.get(key)!);
        if (i % 20 === 7) subject.breakConnection!(i % 40 === 7 ? "now" : "answer");
        if (i % 30 === 0) await pause(5);
      }
      const events = await collector.first(120, 30_000);
      assert.deepEqual(events.map((event) => event.revision), written);
      await pause(30);
      assert.equal(collector.events.length, 120);
    },
  },
  {
    name: "a follower goes on after breaks, and is told nothing twice",
    needs: ["breakConnection"],
    async run(room) {
      const { subject } = room;
      const writer = new Writer(room);
      const picture = await room.follow(room.key(""));
      const latest = new Map<string, Revision>();
      for (let i = 0; i < 120; i++) {
        const key = room.key(`k${i % 3}`);
        latest.set(key, await writer.write(key, room.value(i), latest.get(key)));
        if (i % 20 === 7) subject.breakConnection!(i % 40 === 7 ? "now" : "answer");
        if (i % 30 === 0) await pause(5);
      }
      await picture.mustBeTrue();
      assert.deepEqual(
        [...picture.entries.values()].map(({ key, revision }) => [key, revision]).sort(),
        [...latest].sort(),
      );
      assert.deepEqual(picture.gone, []);
    },
  },
  {
    name: "each write is carried out once, however often the connection breaks",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      const writer = new Writer(room);
      const { revision: start } = await store.list(room.key(""));
      const key = room.key("counter");
      let breaking = true, breaks = 0;
      const breaker = (async () => {
        while (breaking) {
          const { answers } = writer;
          subject.breakConnection!(breaks++ % 3 === 0 ? "now" : "answer");
          // Something must come through before it breaks again.
          do await pause(25); while (breaking && writer.answers === answers);
        }
      })();
      /** Each write as its event, with its revision where that was told. */
      const expected = new Map<string, Revision | undefined>();
      const nameOf = (type: string, key: string, value?: unknown) =>
        JSON.stringify([type, key, value]);
      try {
        let written = await writer.create(key, room.value(1000));
        expected.set(nameOf("put", key, room.value(1000)), written);
        for (let n = 1; n <= 60; n++) {
          subject.breakConnection!("answer");
          written = await writer.write(key, room.value(1000 + n), written);
          expected.set(nameOf("put", key, room.value(1000 + n)), written);
        }
        const puts = await Promise.all(Array.from({ length: 60 }, async (_, i) => {
          const [at, value] = [room.key(`p${i}`), room.value(i)];
          const revision = room.options.has?.includes("knownOutcome")
            ? await store.put(at, value)
            : await writer.create(at, value);
          expected.set(nameOf("put", at, value), revision);
          return revision;
        }));
        await Promise.all(
          puts.slice(0, 30).map(async (revision, i) => {
            const at = room.key(`p${i}`);
            expected.set(nameOf("delete", at), await writer.delete(at, revision));
          }),
        );
      } finally {
        breaking = false;
        await breaker;
      }
      // The last break that was ordered may still wait for an answer to take the place of.
      await writer.get(key);
      const events = await room.watch(room.key(""), start).first(expected.size, 30_000);
      const told = events.map((event) =>
        nameOf(event.type, event.key, event.type === "put" ? event.value : undefined)
      );
      assert.deepEqual(
        told.toSorted(),
        [...expected.keys()].toSorted(),
        "the log holds what was acknowledged, and nothing else",
      );
      for (const [i, { type, revision }] of events.entries()) {
        const acknowledged = expected.get(told[i]) ?? revision;
        // Where the answer to a deletion does not tell its revision, it is a later one.
        if (type === "delete") assert(compareRevisions(acknowledged, revision) >= 0);
        else assert.equal(acknowledged, revision);
      }
      await pause(20);
      assert.deepEqual((await writer.get(key))?.value, room.value(1060));
      assert.equal((await store.list(room.key("p"))).entries.length, 30);
    },
  },
  {
    name: "a refused write stays refused across breaks",
    needs: ["breakConnection"],
    async run(room) {
      const { store, subject } = room;
      const writer = new Writer(room);
      const key = room.key("a");
      const revision = await store.create(key, room.value(0));
      const outcomes = await Promise.all(Array.from({ length: 40 }, (_, i) => {
        if (i % 4 === 0) subject.breakConnection!("answer");
        return writer.refusal(() => store.create(key, room.value(i)));
      }));
      assert(outcomes.every((outcome) => outcome === "exists"), outcomes.join());
      assert.equal((await writer.get(key))?.revision, revision);
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
