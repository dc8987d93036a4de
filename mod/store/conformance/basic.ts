/** One object at a time: create, read, update, put, delete, and what is refused. */

import assert from "node:assert/strict";
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from "../limits.ts";
import { compareRevisions, MOST_TOGETHER, StoreError } from "../store.ts";
import { type Case, refusal } from "./case.ts";

export const basicCases: readonly Case[] = [
  {
    name: "an object is created once and read back",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      assert.equal(await store.get(key), undefined);
      const revision = await store.create(key, room.value(1));
      assert.match(revision, /^[1-9][0-9]*$/);
      assert.deepEqual(await store.get(key), { key, value: room.value(1), revision });
      const error = await refusal("exists", store.create(key, room.value(2)));
      assert.equal(error.key, key);
      assert.deepEqual(error.current, { key, value: room.value(1), revision });
      assert.deepEqual(await store.get(key), { key, value: room.value(1), revision });
    },
  },
  {
    name: "an update needs the latest revision",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      await refusal("notFound", store.update(key, room.value(1), "1"));
      const first = await store.create(key, room.value(1));
      const second = await store.update(key, room.value(2), first);
      assert(compareRevisions(second, first) > 0);
      const error = await refusal("conflict", store.update(key, room.value(3), first));
      assert.deepEqual(error.current, { key, value: room.value(2), revision: second });
      await refusal("conflict", store.update(key, room.value(3), "999999999999"));
      assert.deepEqual(await store.get(key), { key, value: room.value(2), revision: second });
    },
  },
  {
    name: "a put writes whatever stands there",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      const first = await store.put(key, room.value(1));
      const second = await store.put(key, room.value(2));
      const third = await store.put(key, room.value(2));
      assert(compareRevisions(second, first) > 0 && compareRevisions(third, second) > 0);
      assert.deepEqual(await store.get(key), { key, value: room.value(2), revision: third });
    },
  },
  {
    name: "a delete needs the object, and its latest revision where one is given",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      await refusal("notFound", store.delete(key));
      await refusal("notFound", store.delete(key, "1"));
      const first = await store.create(key, room.value(1));
      const second = await store.update(key, room.value(2), first);
      const error = await refusal("conflict", store.delete(key, first));
      assert.deepEqual(error.current, { key, value: room.value(2), revision: second });
      const gone = await store.delete(key, second);
      assert(compareRevisions(gone, second) > 0);
      assert.equal(await store.get(key), undefined);
      await refusal("notFound", store.update(key, room.value(3), second));
      const again = await store.create(key, room.value(4));
      assert(compareRevisions(again, gone) > 0, "an object made again has a later revision");
      assert(compareRevisions(await store.delete(key), again) > 0);
    },
  },
  {
    name:
      "what is too much to be written together is refused at once, and can be written one by one",
    async run(room) {
      const { store } = room;
      if (!store.together) return;
      const value = { text: "x".repeat(1_400_000) };
      const writes = ["a", "b", "c"].map((name) =>
        ({ op: "create", key: room.key(name), value }) as const
      );
      const { epoch } = store;
      const refused = await store.together(writes).then(() => undefined, (error) => error);
      assert.equal(store.epoch, epoch, "it is no loss of the datastore");
      if (refused) {
        assert(refused instanceof StoreError && refused.kind === "invalid", refused);
        assert.deepEqual((await store.list(room.key(""))).entries, []);
        for (const { key } of writes) await store.create(key, value);
      }
      const { entries } = await store.list(room.key(""));
      assert.deepEqual(entries.map((entry) => entry.value), [value, value, value]);
    },
  },
  {
    name: "objects that are written together are all written, or none",
    async run(room) {
      const { store } = room;
      if (!store.together) return;
      const [a, b, c] = ["a", "b", "c"].map((name) => room.key(name));
      const { revision: start } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), start);
      assert.deepEqual(await store.together([]), []);
      const made = (await store.together([
        { op: "create", key: a, value: room.value(1) },
        { op: "create", key: b, value: room.value(2) },
      ]))!;
      assert.deepEqual(await store.get(a), { key: a, value: room.value(1), revision: made[0] });
      assert.deepEqual(await store.get(b), { key: b, value: room.value(2), revision: made[1] });
      assert(compareRevisions(made[0], start) > 0 && compareRevisions(made[1], made[0]) >= 0);
      // The second of them is refused, whatever the reason, and the first is not there either.
      const first = { op: "create", key: c, value: room.value(3) } as const;
      const exists = await refusal(
        "exists",
        store.together([first, { op: "create", key: a, value: room.value(4) }]),
      );
      assert.equal(exists.key, a);
      assert.deepEqual(exists.current, { key: a, value: room.value(1), revision: made[0] });
      for (const revision of ["999999999999", "0", "no number"]) {
        const conflict = await refusal(
          "conflict",
          store.together([first, { op: "update", key: b, value: room.value(4), revision }]),
        );
        assert.equal(conflict.key, b);
        assert.deepEqual(conflict.current, { key: b, value: room.value(2), revision: made[1] });
      }
      const notThere = room.key("d");
      const missing = await refusal(
        "notFound",
        store.together([first, {
          op: "update",
          key: notThere,
          value: room.value(4),
          revision: made[0],
        }]),
      );
      assert.equal(missing.key, notThere);
      await refusal("invalid", store.together([first, first]));
      const many = Array.from({ length: MOST_TOGETHER + 1 }, (_, i) => ({
        ...first,
        key: room.key(`many${i}`),
      }));
      await refusal("invalid", store.together(many));
      assert.equal(await store.get(c), undefined);
      const changed = (await store.together([
        { op: "update", key: a, value: room.value(5), revision: made[0] },
        first,
      ]))!;
      const { entries } = await store.list(room.key(""));
      assert.deepEqual(entries, [
        { key: a, value: room.value(5), revision: changed[0] },
        { key: b, value: room.value(2), revision: made[1] },
        { key: c, value: room.value(3), revision: changed[1] },
      ]);
      assert.equal((await store.together(many.slice(1)))?.length, MOST_TOGETHER);
      const events = await collector.first(4 + MOST_TOGETHER);
      const put = (key: string, n: number, revision: string) => ({
        type: "put",
        key,
        value: room.value(n),
        revision,
      });
      const inOrder = (some: typeof events) => some.sort((x, y) => x.key < y.key ? -1 : 1);
      assert.deepEqual(inOrder(events.slice(0, 2)), [put(a, 1, made[0]), put(b, 2, made[1])]);
      assert.deepEqual(inOrder(events.slice(2, 4)), [put(a, 5, changed[0]), put(c, 3, changed[1])]);
    },
  },
  {
    name: "revisions come from one counter for all keys",
    async run(room) {
      const { store } = room;
      let last = (await store.list(room.key(""))).revision;
      for (let i = 0; i < 20; i++) {
        const key = room.key(`k${i % 4}`);
        const revision = i % 7 === 6
          ? await store.delete(key)
          : await store.put(key, room.value(i));
        assert(compareRevisions(revision, last) > 0);
        last = revision;
      }
      assert.equal((await store.list(room.key(""))).revision, last);
    },
  },
  {
    name: "values come back as they were written, members in their order",
    async run(room) {
      const { store } = room;
      const values: unknown[] = [
        null,
        false,
        0,
        -1.5e300,
        "",
        'ünï ☃ 𝒳 \u0000 \ud800 \u2028 "quoted" \\ /',
        [],
        {},
        [[], [null], {}],
        { zulu: 1, alpha: { yankee: [1, 2, { x: null }], bravo: "" } },
        { __proto__x: 1, constructor: "c", "": "empty name", "a b/c": true },
        JSON.parse('{"__proto__": {"polluted": true}, "toString": 1}'),
      ];
      for (const [i, value] of values.entries()) {
        const key = room.key(`v${i}`);
        await store.create(key, value);
        const back = await store.get(key);
        assert.equal(JSON.stringify(back?.value), JSON.stringify(value));
      }
      const { entries } = await store.list(room.key("v"));
      assert.equal(entries.length, values.length);
    },
  },
  {
    name: "integers beyond 2^53 stay exact",
    async run(room) {
      const { store } = room;
      const key = room.key("block"), value = { sequence: 1763827200123456789n, small: 5, hex: "0" };
      const { revision: start } = await store.list(room.key(""));
      const first = await store.create(key, value);
      assert.deepEqual((await store.get(key))?.value, value);
      const next = { ...value, sequence: value.sequence + 1n };
      const revision = await store.update(key, next, first);
      const entry = { key, value: next, revision };
      assert.deepEqual((await store.list(key)).entries, [entry]);
      assert.deepEqual((await refusal("conflict", store.update(key, value, first))).current, entry);
      const [, event] = await room.watch(key, start).first(2);
      assert.deepEqual(event, { type: "put", ...entry });
    },
  },
  {
    name: "what a caller does to a value changes nothing in the store",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      const value = { list: [1, 2] };
      const written = store.create(key, value);
      value.list.push(3);
      await written;
      const read = (await store.get<typeof value>(key))!;
      assert.deepEqual(read.value, { list: [1, 2] });
      read.value.list.push(4);
      const listed = (await store.list<typeof value>(key)).entries[0];
      assert.deepEqual(listed.value, { list: [1, 2] });
      listed.value.list.push(5);
      assert.deepEqual((await store.get(key))?.value, { list: [1, 2] });
    },
  },
  {
    name: "large values are kept whole, too large ones are refused",
    async run(room) {
      const { store } = room;
      const sizes = [16_000, 20_000, 65_535, 65_536, 70_000, 500_000, 1_400_000];
      const large = (bytes: number) => ({ text: "é".repeat(bytes / 2), end: bytes });
      for (const bytes of sizes) {
        const key = room.key(`${bytes}`);
        const first = await store.create(key, large(bytes));
        assert.deepEqual((await store.get(key))?.value, large(bytes));
        await store.update(key, large(bytes - 2), first);
        assert.deepEqual((await store.get(key))?.value, large(bytes - 2));
      }
      const error = await refusal(
        "invalid",
        store.create(room.key("huge"), "x".repeat(MAX_VALUE_BYTES)),
      );
      assert.match(error.message, /huge/);
      assert.match(error.message, new RegExp(`${MAX_VALUE_BYTES}`));
      assert.equal(await store.get(room.key("huge")), undefined);
      assert.equal((await store.list(room.key(""))).entries.length, sizes.length);
      for (const bytes of sizes) await store.delete(room.key(`${bytes}`));
      assert.equal((await store.list(room.key(""))).entries.length, 0);
    },
  },
  {
    name: "keys of all kinds are kept apart",
    async run(room) {
      const { store } = room;
      const names = [
        "with space",
        "per%2fcent",
        "per/cent",
        "per%cent",
        'quote"quote',
        "back\\slash",
        "new\nline",
        "nul\0nul",
        "ünïcode",
        "𝒳-outside",
        "\uffee-inside",
        "10.244.1.0-26",
        "fd00::-122",
        "dots..and...more",
        "*",
        "?",
        "~",
        "trailing/",
      ];
      for (const [i, name] of names.entries()) await store.create(room.key(name), room.value(i));
      for (const [i, name] of names.entries()) {
        assert.deepEqual((await store.get(room.key(name)))?.value, room.value(i), name);
      }
      const { entries } = await store.list(room.key(""));
      const encode = (text: string) => Array.from(new TextEncoder().encode(text));
      const byBytes = (a: string, b: string) => {
        const x = encode(a), y = encode(b);
        const i = x.findIndex((byte, at) => byte !== y[at]);
        return i < 0 ? x.length - y.length : (x[i] ?? -1) - (y[i] ?? -1);
      };
      assert.deepEqual(room.names(entries), [...names].sort(byBytes));
    },
  },
  {
    name: "keys and values that cannot be held are refused",
    async run(room) {
      const { store } = room;
      const longest = room.key("").padEnd(MAX_KEY_BYTES, "k");
      await store.create(longest, room.value(1));
      assert.equal((await store.get(longest))?.key, longest);
      const error = await refusal("invalid", store.create(longest + "k", room.value(1)));
      assert.match(error.message, new RegExp(`${MAX_KEY_BYTES}`));
      await refusal("invalid", store.put(room.key("é".repeat(MAX_KEY_BYTES / 2)), room.value(1)));
      await refusal("invalid", store.get(""));
      await refusal("invalid", store.put("", room.value(1)));
      await refusal("invalid", store.delete(room.key("lone \ud800 surrogate")));
      const key = room.key("a");
      const circle: Record<string, unknown> = {};
      circle.circle = circle;
      await refusal("invalid", store.create(key, undefined));
      await refusal("invalid", store.create(key, () => 1));
      await refusal("invalid", store.create(key, circle));
      await refusal("invalid", store.create(key, Symbol("s")));
      for (const ttlSeconds of [0, -1, NaN, Infinity]) {
        await refusal("invalid", store.put(key, room.value(1), { ttlSeconds }));
      }
      assert.equal(await store.get(key), undefined);
    },
  },
  {
    name: "a closed store refuses everything",
    async run(room) {
      const { store } = room;
      const key = room.key("a");
      const { revision } = await store.list(room.key(""));
      const collector = room.watch(room.key(""), revision);
      await store.put(key, room.value(1));
      await collector.first(1);
      await store.close();
      await store.close();
      await refusal("unavailable", store.get(key));
      await refusal("unavailable", store.list(key));
      await refusal("unavailable", store.put(key, room.value(2)));
      await refusal("unavailable", Promise.reject(await collector.failure()));
    },
  },
];
