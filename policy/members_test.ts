import assert from "node:assert/strict";
import fc from "fast-check";
import { type Family, formatPrefix, mustPrefix, prefixCovers } from "../mod/net/mod.ts";
import { Members } from "./members.ts";
import { PrefixTrie } from "./prefix_trie.ts";

/** Few bits, so that prefixes meet and nest. */
const prefix = (family: Family) =>
  fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 4 })).map(([bits, cut]) => {
    const [text, full] = family === 4
      ? [`10.0.0.${bits}`, 32]
      : [`fd00::${bits.toString(16)}`, 128];
    return formatPrefix(mustPrefix(`${text}/${full - cut}`));
  });

/** Members that no other member covers, by looking at all pairs. */
function widest(members: Iterable<string>): Set<string> {
  const all = [...new Set(members)].map(mustPrefix);
  return new Set(
    all.filter((p) => !all.some((o) => o.length < p.length && prefixCovers(o, p))).map(
      formatPrefix,
    ),
  );
}

Deno.test("a net set holds the widest of its members, whatever comes and goes", () => {
  for (const family of [4, 6] as const) {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(prefix(family), fc.boolean(), fc.boolean()), { maxLength: 60 }),
        (steps) => {
          const members = new Members(family, "net");
          const bag: string[] = [];
          let kernel = new Set<string>();
          for (const [member, add, look] of steps) {
            if (add) {
              members.add(member);
              bag.push(member);
            } else if (bag.includes(member)) {
              members.remove(member);
              bag.splice(bag.indexOf(member), 1);
            }
            assert.deepEqual(members.snapshot(), widest(bag));
            if (!look) continue;
            const changes = members.takeChanges();
            for (const m of changes.remove) assert(kernel.delete(m), `${m} was not there`);
            for (const m of changes.add) {
              assert(!kernel.has(m), `${m} was there`);
              kernel = new Set([...kernel, m]);
            }
            assert.deepEqual(kernel, widest(bag));
          }
        },
      ),
      { numRuns: 500 },
    );
  }
});

Deno.test("members of other kinds are counted, and what comes and goes at once is no change", () => {
  const members = new Members(4, "addr-port");
  members.add("10.0.0.1,6,80");
  members.add("10.0.0.1,6,80");
  members.add("10.0.0.2,6,80");
  members.remove("10.0.0.2,6,80");
  assert.deepEqual(members.takeChanges(), { add: ["10.0.0.1,6,80"], remove: [] });
  members.remove("10.0.0.1,6,80");
  assert.deepEqual(members.takeChanges(), { add: [], remove: [] });
  members.remove("10.0.0.1,6,80");
  assert.deepEqual(members.takeChanges(), { add: [], remove: ["10.0.0.1,6,80"] });
  assert.throws(() => members.remove("10.0.0.1,6,80"), /not a member/);
});

Deno.test("the trie answers as a list would", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(prefix(4), fc.boolean()), { maxLength: 40 }),
      prefix(4),
      (steps, asked) => {
        const trie = new PrefixTrie();
        const list = new Set<string>();
        for (const [text, add] of steps) {
          if (add) {
            trie.add(mustPrefix(text));
            list.add(text);
          } else {
            trie.delete(mustPrefix(text));
            list.delete(text);
          }
        }
        const all = [...list].map(mustPrefix);
        const p = mustPrefix(asked);
        assert.equal(
          trie.covered(p),
          all.some((o) => o.length < p.length && prefixCovers(o, p)),
        );
        assert.deepEqual(
          new Set([...trie.widestInside(p)].map(formatPrefix)),
          widest(all.filter((o) => o.length > p.length && prefixCovers(p, o)).map(formatPrefix)),
        );
        assert.deepEqual(new Set([...trie.widest()].map(formatPrefix)), widest(list));
      },
    ),
    { numRuns: 2000 },
  );
});

Deno.test("0.0.0.0/0 and ::/0 cover everything", () => {
  const members = new Members(4, "net");
  members.add("10.0.0.1/32");
  members.add("0.0.0.0/0");
  assert.deepEqual([...members.snapshot()], ["0.0.0.0/0"]);
  members.remove("0.0.0.0/0");
  assert.deepEqual([...members.snapshot()], ["10.0.0.1/32"]);
  const six = new Members(6, "net");
  six.add("::/0");
  six.add("fd00::1/128");
  assert.deepEqual([...six.snapshot()], ["::/0"]);
});
