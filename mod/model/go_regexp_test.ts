import assert from "node:assert/strict";
import { goRegExp, GoRegExpError } from "./go_regexp.ts";

// What Go's regexp package says of each.
const fits: [pattern: string, yes: string[], no: string[]][] = [
  ["^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan).*)", ["enp3s0", "eth0"], ["lo", "cali1"]],
  ["(?s)en.*x", ["en\nx", "enx"], ["e"]],
  ["^a(?i)b$", ["ab", "aB"], ["Ab", "AB"]],
  ["^(a(?i)b|c)d$", ["aBd", "Cd"], ["Abd", "CD"]],
  ["(?m)^a$", ["b\na\nb", "a"], ["ba"]],
  ["^a$", ["a"], ["a\n", "b\na"]],
  ["(?U)^a+$", ["aa"], ["b"]],
  ["^(?i:e)th(?-i)0$", ["Eth0"], ["ETH0"]],
  ["^[[:alpha:]][[:^alpha:]]$", ["a1"], ["aa", "11"]],
  [String.raw`^\pL\p{Lu}\P{Greek}\p{^Nd}$`, ["éÉxy"], ["éÉα1", "ééxy"]],
  [String.raw`^\Qa.b\E+$`, ["a.b", "a.bb"], ["axb", "a.ba.b"]],
  [String.raw`^\x41\x{42}\101\a\_$`, ["ABA\x07_"], ["AB"]],
  [String.raw`^[\d\-\W]$`, ["1", "-", "é"], ["a"]],
  ["^[]a]$", ["]", "a"], ["b"]],
  ["^(?P<name>x)(?<other>y)$", ["xy"], ["x"]],
  ["^a{2,3}$", ["aa", "aaa"], ["a"]],
  ["^a{,3}$", ["a{,3}"], ["aa"]],
  ["^^*a$*", ["a"], ["b"]],
];

Deno.test("an expression matches as in Go", () => {
  for (const [pattern, yes, no] of fits) {
    const expression = goRegExp(pattern);
    for (const text of yes) assert.ok(expression.test(text), `${pattern} ${JSON.stringify(text)}`);
    for (const text of no) assert.ok(!expression.test(text), `${pattern} ${JSON.stringify(text)}`);
  }
});

Deno.test("what Go refuses is refused, with the place", () => {
  const bad = [
    ...[String.raw`a\Z`, String.raw`a\y`, "a{1001}", "(a{100}){11}", "[^]", String.raw`\u0041`],
    ...[String.raw`\cA`, String.raw`\1`, String.raw`\C`, String.raw`\x{110000}`, "\\", "(", ")"],
    ...["a**", "*", "|+", "a{3,2}", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?", "(?-)", "(?x)"],
    ...["(?P<a>b)(?P<a>c)", "(?P<a", "[b-a]", "[a", "[[:foo:]]", String.raw`\p{Foo}`, "(?:a"],
    "(".repeat(5000),
  ];
  for (const pattern of bad) {
    assert.throws(() => goRegExp(pattern), (error: unknown) => {
      assert.ok(error instanceof GoRegExpError, `${pattern.slice(0, 20)}: ${error}`);
      assert.match(error.message, /^at letter \d+: /);
      return true;
    });
  }
});
