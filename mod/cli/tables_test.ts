import assert from "node:assert/strict";
import { boxed, tabbed } from "./tables.ts";

Deno.test("a table is Go's tabwriter's: three blanks, at least five characters, the last cell padded", () => {
  assert.equal(
    tabbed([["NAME", "CIDR", "SELECTOR"], ["ippool-name1", "10.0.1.0/24", "foo == 'bar'"]]),
    "NAME           CIDR          SELECTOR       \nippool-name1   10.0.1.0/24   foo == 'bar'   \n",
  );
  assert.equal(tabbed([["A", ""], ["", ""]]), "A         \n          \n");
});

Deno.test("a cell cannot break the table", () => {
  assert.equal(tabbed([["A"], ["x\ny\tz"]]), "A       \nx y z   \n");
});

Deno.test("a cell cannot steer the terminal", () => {
  const cells = ["\x1b[31mred\x07", "\x9b2J\x7f", "a\u202eb", "täg…"];
  const shown = ["\\x1b[31mred\\x07", "\\x9b2J\\x7f", "a\\u202eb", "täg…"];
  for (const [i, cell] of cells.entries()) {
    assert.equal(tabbed([["A"], [cell]]).split("\n")[1].trimEnd(), shown[i]);
    assert.ok(boxed([["A"], [cell]]).includes(`| ${shown[i]} |`));
  }
});

Deno.test("a boxed table aligns, to the right where it is asked to", () => {
  assert.equal(
    boxed([["A", "N"], ["x", "10"]], { right: [1] }),
    "+---+----+\n| A |  N |\n+---+----+\n| x | 10 |\n+---+----+\n",
  );
});
