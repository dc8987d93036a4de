import assert from "node:assert/strict";
import fc from "fast-check";
import { type RuleEdit, ruleEdits } from "./rule_edits.ts";

/** Does the steps as the kernel would: deletions first, then each rule before another or at the end. */
function run(old: readonly string[], wanted: readonly string[], edits: readonly RuleEdit[]) {
  const list = old.map((mark, index) => ({ mark, index }));
  const inserted = (index: number) => ({ mark: wanted[index], index: -1 });
  let deleting = true;
  for (const step of edits) {
    if (step.edit === "delete") {
      assert(deleting, "deletions come first");
      list.splice(list.findIndex((r) => r.index === step.index), 1);
      continue;
    }
    deleting = false;
    if (step.edit === "append") list.push(inserted(step.index));
    else {
      const at = list.findIndex((r) => r.index === step.before);
      assert(at >= 0, "the rule to stand before is still there");
      list.splice(at, 0, inserted(step.index));
    }
  }
  return { marks: list.map((r) => r.mark), kept: list.filter((r) => r.index >= 0).length };
}

const rules = fc.array(fc.constantFrom("a", "b", "c", "d", "e", ""), { maxLength: 12 });
const ours = fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { maxLength: 12 });

/** Length of the longest common subsequence, by the plainest way there is. */
function longest(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return 0;
  const [x, ...as] = a, [y, ...bs] = b;
  if (x === y) return 1 + longest(as, bs);
  return Math.max(longest(as, b), longest(a, bs));
}

Deno.test("the steps lead from any rules to any others", () => {
  fc.assert(fc.property(rules, ours, (old, wanted) => {
    assert.deepEqual(run(old, wanted, ruleEdits(old, wanted)).marks, wanted);
  }));
});

Deno.test("as many rules stay as can, and never one that is not ours", () => {
  const few = (list: string[]) => list.slice(0, 7);
  fc.assert(fc.property(rules.map(few), ours.map(few), (old, wanted) => {
    const { kept } = run(old, wanted, ruleEdits(old, wanted));
    assert.equal(kept, longest(old.map((mark, i) => mark || `foreign ${i}`), wanted));
  }));
});

Deno.test("long lists are changed too, and in little time", () => {
  const old = Array.from({ length: 5000 }, (_, i) => `rule ${i}`);
  const wanted = [...old.slice(0, 100), "new", ...old.slice(100, 4000), ...old.slice(4001)];
  const { marks, kept } = run(old, wanted, ruleEdits(old, wanted));
  assert.deepEqual(marks, wanted);
  assert(kept >= 1000 + 100 - 1, `${kept} rules stayed`);
  const one = ruleEdits(old, [...old, "last"]);
  assert.deepEqual(one, [{ edit: "append", index: 5000 }]);
});
