import assert from "node:assert/strict";
import fc from "fast-check";
import { parseSelector } from "../mod/selector/selector.ts";
import { LabelIndex } from "./label_index.ts";

const selectors = [
  "all()",
  "a == 'x'",
  "a in {'x','y'} && b == 'x'",
  "a != 'x'",
  "has(b)",
  "!has(b)",
  "projectcalico.org/namespace == 'n1'",
  "projectcalico.org/namespace == 'n1' && projectcalico.org/orchestrator == 'k8s'",
  "projectcalico.org/namespace in {'n1','n2'} && a starts with 'x'",
  "projectcalico.org/orchestrator == 'k8s'",
  "a == 'x' || b == 'x'",
  "a == 'x' && a == 'y'",
  "a in {}",
].map((text) => parseSelector(text));

Deno.test("selectors that no value can meet come and go in any order", () => {
  const [first, second] = ["a == 'x' && a == 'y'", "a in {}"].map((text) => parseSelector(text));
  for (const [one, other] of [[first, second], [second, first]]) {
    const index = new LabelIndex<number>(() => assert.fail("it matches"));
    index.setItem(1, new Map([["a", "x"]]));
    for (const selector of [one, other]) index.addSelector(selector);
    for (const { id } of [one, other]) index.removeSelector(id);
    assert.deepEqual(index.selectorsOf(1), new Set());
  }
});

Deno.test("the index matches as asking everyone about everything would", () => {
  const labels = fc.dictionary(
    fc.constantFrom("a", "b", "projectcalico.org/namespace", "projectcalico.org/orchestrator"),
    fc.constantFrom("x", "y", "n1", "n2", "k8s"),
  );
  const step = fc.oneof(
    fc.record({ item: fc.integer({ min: 0, max: 4 }), labels: fc.option(labels) }),
    fc.record({ selector: fc.integer({ min: 0, max: selectors.length - 1 }), add: fc.boolean() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const told = new Set<string>();
      const index = new LabelIndex<number>((id, item, matches) => {
        const key = `${id} ${item}`;
        assert.equal(told.has(key), !matches, "told twice");
        if (matches) told.add(key);
        else told.delete(key);
      });
      const items = new Map<number, Map<string, string>>();
      const active = new Set<number>();
      for (const s of steps) {
        if ("item" in s) {
          if (s.labels) {
            items.set(s.item, new Map(Object.entries(s.labels)));
            index.setItem(s.item, items.get(s.item)!);
          } else {
            items.delete(s.item);
            index.removeItem(s.item);
          }
        } else if (s.add) {
          active.add(s.selector);
          index.addSelector(selectors[s.selector]);
        } else {
          active.delete(s.selector);
          index.removeSelector(selectors[s.selector].id);
          for (const key of told) {
            if (key.startsWith(`${selectors[s.selector].id} `)) told.delete(key);
          }
        }
        const want = new Set<string>();
        for (const n of active) {
          for (const [item, l] of items) {
            if (selectors[n].matches(l)) want.add(`${selectors[n].id} ${item}`);
          }
        }
        assert.deepEqual(told, want);
        for (const n of active) {
          const { id } = selectors[n];
          assert.deepEqual(
            new Set([...index.itemsOf(id)].map((item) => `${id} ${item}`)),
            new Set([...want].filter((k) => k.startsWith(`${id} `))),
          );
        }
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("a selector bound to a label is not asked about items without it", () => {
  let asked = 0;
  const selector = parseSelector("app == 'web'");
  const counting = Object.create(selector, {
    id: { value: selector.id },
    requirements: { value: selector.requirements },
    matches: {
      value: (labels: ReadonlyMap<string, string>) => {
        asked++;
        return selector.matches(labels);
      },
    },
  });
  const index = new LabelIndex<number>(() => {});
  index.addSelector(counting);
  for (let i = 0; i < 1000; i++) index.setItem(i, new Map([["app", i === 7 ? "web" : "other"]]));
  assert.equal(asked, 1);
  assert.deepEqual([...index.itemsOf(selector.id)], [7]);
});
