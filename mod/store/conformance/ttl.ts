/** Entries that go away by themselves. Times are in real seconds, so the bounds are wide. */

import assert from "node:assert/strict";
import { compareRevisions } from "../store.ts";
import { type Case, pause } from "./case.ts";

export const ttlCases: readonly Case[] = [
  {
    name: "an entry with a time to live goes away, as a deletion",
    async run(room) {
      const { store } = room;
      const short = room.key("short"), kept = room.key("kept"), freed = room.key("freed");
      const { revision: start } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), start);
      const r1 = await store.create(short, room.value(1), { ttlSeconds: 1 });
      const r2 = await store.put(kept, room.value(2), { ttlSeconds: 1 });
      const r3 = await store.put(freed, room.value(3), { ttlSeconds: 1 });
      // Written without a time to live, an entry stays.
      await store.update(freed, room.value(4), r3);
      // Written again in time, it lives on.
      for (let i = 0; i < 5; i++) {
        await pause(400);
        await store.put(kept, room.value(10 + i), { ttlSeconds: 3 });
      }
      assert.equal(await store.get(short), undefined);
      assert.deepEqual((await store.get(kept))?.value, room.value(14));
      assert.deepEqual((await store.get(freed))?.value, room.value(4));
      const deletions = collector.events.filter((event) => event.type === "delete");
      assert.equal(deletions.length, 1);
      assert.equal(deletions[0].key, short);
      assert(compareRevisions(deletions[0].revision, r2) > 0);
      assert(compareRevisions(deletions[0].revision, r1) > 0);
      // Deleted by hand it goes once.
      await store.delete(kept);
      await pause(50);
      const again = await store.create(short, room.value(5));
      assert.deepEqual(await store.get(short), {
        key: short,
        value: room.value(5),
        revision: again,
      });
    },
  },
  {
    name: "a time to live ends also while the store is closed",
    needs: ["reopen"],
    async run(room) {
      const { store } = room;
      const short = room.key("short"), long = room.key("long");
      const { revision: start } = await store.list(room.key(""));
      await store.put(short, room.value(1), { ttlSeconds: 0.3 });
      await store.put(long, room.value(2), { ttlSeconds: 1.5 });
      await store.close();
      await pause(500);
      const again = await room.subject.reopen!();
      const events = await room.watch(room.key(""), start, again).first(3);
      assert.deepEqual(events.map(({ type, key }) => [type, key]), [
        ["put", short],
        ["put", long],
        ["delete", short],
      ]);
      assert.equal(await again.get(short), undefined);
      assert.deepEqual((await again.get(long))?.value, room.value(2));
      const [, , , last] = await room.watch(room.key(""), start, again).first(4);
      assert.deepEqual([last.type, last.key], ["delete", long]);
    },
  },
];
