import assert from "node:assert/strict";
import fc from "fast-check";
import { ChangeLog, type ChangeRecord, recordBytes } from "./change_log.ts";
import { Bell, ChangeReader } from "./changes.ts";

function put(revision: number, size = 10, key = "/k", writeId?: string): ChangeRecord {
  return { type: "put", key, revision, text: "x".repeat(size), ttlMs: 0, expires: 0, writeId };
}

Deno.test("the log holds the newest changes within its bounds, and knows what it lost", () => {
  fc.assert(fc.property(
    fc.array(fc.array(fc.nat(300), { minLength: 1, maxLength: 5 })),
    fc.integer({ min: 1, max: 20 }),
    fc.integer({ min: 100, max: 3000 }),
    (groups, entries, bytes) => {
      const log = new ChangeLog({ entries, bytes }, 100);
      const all: ChangeRecord[] = [];
      for (const sizes of groups) {
        const group = sizes.map((size, i) => put(log.newest + 1 + i, size));
        const dropped = log.overflow(group);
        assert.deepEqual(dropped, all.slice(all.length - log.length).slice(0, dropped.length));
        log.drop(dropped.length);
        for (const record of group) {
          log.append(record);
          all.push(record);
        }
        // Only what came last may be more than the bounds: there was nothing older to drop.
        if (log.length > group.length) assert(log.length <= entries && log.bytes <= bytes);
        assert.equal(log.newest, 100 + all.length);
        const kept = all.slice(all.length - log.length);
        assert.equal(log.bytes, kept.reduce((sum, record) => sum + recordBytes(record), 0));
        for (const record of kept) assert.equal(log.at(record.revision), record);
      }
    },
  ));
});

Deno.test("revisions have no gaps", () => {
  const log = new ChangeLog({ entries: 10, bytes: 1e6 }, 7);
  log.append(put(8));
  assert.throws(() => log.append(put(10)), /change 10 does not follow 8/);
  assert.throws(() => log.append(put(8)), /change 8 does not follow 8/);
});

Deno.test("a write is known by its name for as long as the log holds it", () => {
  const log = new ChangeLog({ entries: 3, bytes: 1e6 }, 0);
  for (let i = 1; i <= 3; i++) log.append(put(i, 1, "/k", `w${i}`));
  assert.equal(log.byWriteId("w1")?.revision, 1);
  log.drop(2);
  assert.equal(log.byWriteId("w1"), undefined);
  assert.equal(log.byWriteId("w3")?.revision, 3);
});

Deno.test("many drops do not keep what was dropped", () => {
  const log = new ChangeLog({ entries: 10, bytes: 1e9 }, 0);
  for (let i = 1; i <= 5000; i++) {
    const record = put(i);
    log.drop(log.overflow([record]).length);
    log.append(record);
  }
  assert.equal(log.length, 10);
  assert.equal(log.compacted, 4990);
  assert.equal(log.at(4991).revision, 4991);
});

Deno.test("a reader of a quiet prefix is told how far it has come", async () => {
  const log = new ChangeLog({ entries: 10_000, bytes: 1e9 }, 0);
  const bell = new Bell();
  const reader = new ChangeReader(log, bell, "/mine/", 0, () => undefined);
  for (let i = 1; i <= 1500; i++) log.append(put(i, 1, "/other"));
  assert.deepEqual((await reader.next()).value, { records: [], upTo: 1500 });
  const next = reader.next();
  log.append(put(1501, 1, "/other"));
  bell.ring();
  log.append(put(1502, 1, "/mine/a"));
  bell.ring();
  const { value } = await next;
  assert.deepEqual(value.records.map((record: ChangeRecord) => record.revision), [1502]);
  assert.equal(value.upTo, 1502);
  // Left while it waits, it ends and waits no more.
  const pending = reader.next();
  await Promise.resolve();
  assert.equal(bell.waiting, 1);
  await reader.return();
  assert.equal((await pending).done, true);
  assert.equal(bell.waiting, 0);
});
