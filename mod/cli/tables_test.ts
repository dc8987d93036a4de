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

Deno.test("a boxed table is aligned as calicoctl's: headings in the middle, numbers to the right", () => {
  assert.equal(
    boxed([
      ["CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"],
      ["10.9.0.0/24", "256", "4 (2%)", "252 (98%)"],
    ]),
    [
      "+-------------+-----------+------------+-----------+",
      "|    CIDR     | IPS TOTAL | IPS IN USE | IPS FREE  |",
      "+-------------+-----------+------------+-----------+",
      "| 10.9.0.0/24 |       256 | 4 (2%)     | 252 (98%) |",
      "+-------------+-----------+------------+-----------+",
      "",
    ].join("\n"),
  );
  assert.equal(
    boxed([["N"], ["1,000.5"], ["50%"], ["1e+06"]]).split("\n").slice(3, 6).join(""),
    "| 1,000.5 ||     50% || 1e+06   |",
  );
});
