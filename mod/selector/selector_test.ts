import assert from "node:assert/strict";
import fc from "fast-check";
import { compareCodePoints, parseSelector, Selector, SelectorError, uniqueId } from "./selector.ts";
import { mapLabels, type SelectorNode } from "./node.ts";

const canonical = (text: string) => parseSelector(text).toString();

Deno.test("canonical print: quotes, spaces, sets, parentheses", () => {
  const cases: Record<string, string> = {
    "": "all()",
    " \t": "all()",
    "all( )": "all()",
    "a=='b'": 'a == "b"',
    "a == 'say \"x\"'": "a == 'say \"x\"'",
    "a != ''": 'a != ""',
    "has( app )": "has(app)",
    "! ! !has(a)": "!has(a)",
    "!!has(a)": "has(a)",
    "((a == 'x'))": 'a == "x"',
    "a=='1'&&b=='2'&&c=='3'": '(a == "1" && b == "2" && c == "3")',
    "a=='1'&&(b=='2'&&c=='3')": '(a == "1" && (b == "2" && c == "3"))',
    "a=='1' || b=='2' && c=='3'": '(a == "1" || (b == "2" && c == "3"))',
    "(a=='1' || b=='2') && c=='3'": '((a == "1" || b == "2") && c == "3")',
    "!(a=='1' || b=='2') && c=='3'": '(!(a == "1" || b == "2") && c == "3")',
    "a in {'z', 'b', 'z',}": 'a in {"b", "z"}',
    "a notin{}": "a not in {}",
    "a not \t in {'x'}": 'a not in {"x"}',
    "in in {'in'}": 'in in {"in"}',
    "not not in {'in'}": 'not not in {"in"}',
    "contains contains'contains'": 'contains contains "contains"',
    "has == 'x'": 'has == "x"',
    "all starts with 'x'": 'all starts with "x"',
    "a startswith 'x' || a endswith 'y'": '(a starts with "x" || a ends with "y")',
    "global( ) && k8s.io/name_1-x == 'a'": '(global() && k8s.io/name_1-x == "a")',
    "-./_ == '1'": '-./_ == "1"',
    "a == '\n'": 'a == "\n"',
  };
  for (const [text, want] of Object.entries(cases)) {
    assert.equal(canonical(text), want, text);
    assert.equal(canonical(want), want, `again: ${want}`);
  }
  // Negations collapse where they stand side by side, not across parentheses: Calico's own text.
  assert.equal(canonical("!(!(has(a)))"), "!!has(a)");
});

Deno.test("ids are Calico's", () => {
  // Rows of upstream's own table.
  assert.equal(parseSelector("a=='b'").id, "s:flMh0m0X_BowkAK_W3j3MgH8oQOsj3WxGDoXCQ");
  assert.equal(
    parseSelector(" a == 'b'&&c=='d' ").id,
    "s:ZBcARiK7HJo4sz0nADMeJFL33YHRGbl8lpExOw",
  );
  assert.notEqual(uniqueId("n", "x"), uniqueId("s", "x"));
});

Deno.test("an absent label satisfies != and not in, and nothing else", () => {
  const matches = (text: string, labels: Record<string, string>) =>
    parseSelector(text).matches(labels);
  for (const text of ["a != 'x'", "a not in {'x'}", "a not in {}", "!has(a)", "!a == 'x'"]) {
    assert.equal(matches(text, {}), true, text);
  }
  for (
    const text of [
      "a == ''",
      "a in {''}",
      "a in {}",
      "has(a)",
      "a contains ''",
      "a starts with ''",
      "a ends with ''",
    ]
  ) {
    assert.equal(matches(text, {}), false, text);
  }
  assert.equal(matches("a contains ''", { a: "" }), true);
  assert.equal(matches("a starts with 'ab' && a ends with 'ba'", { a: "aba" }), true);
  assert.equal(matches("a in {}", { a: "x" }), false);
});

Deno.test("labels that JavaScript objects inherit do not exist", () => {
  assert.equal(parseSelector("has(constructor) || has(__proto__)").matches({}), false);
  assert.equal(parseSelector("has(toString)").matches({ toString: "x" } as never), true);
  assert.equal(parseSelector("a == 'x'").matches(new Map([["a", "x"]])), true);
});

Deno.test("errors say where and what is allowed", () => {
  const cases: [text: string, position: number, reason: RegExp][] = [
    ["a", 1, /unexpected end, want an operator after label "a": ==, !=/],
    ["a ", 2, /unexpected end/],
    ["a = 'b'", 2, /stands alone, want "=="/],
    ["a == b", 5, /unexpected label "b" after ==, want a quoted string/],
    ["'a' == 'b'", 0, /unexpected string "a", want a label name/],
    ["a == 'b", 5, /no closing '/],
    ["a like 'b'", 2, /expected an operator after label "a"/],
    ["a inx {'b'}", 2, /expected an operator/],
    ["a in 'b'", 5, /want a set/],
    ["a in {'b' 'c'}", 10, /want "," or "}"/],
    ["a in {,}", 6, /want a quoted string or "}"/],
    ["a in {'b'", 9, /want "," or "}"/],
    ["(a == 'b'", 9, /the "\(" at character 1 has no "\)"/],
    ["a == 'b')", 8, /unexpected "\)", want && or \|\| or the end/],
    ["()", 1, /unexpected "\)"/],
    ["a == 'b' c == 'd'", 9, /want && or \|\|/],
    ["a == 'b' & c == 'd'", 9, /want "&&"/],
    ["a == 'b' && ", 12, /unexpected end, want a label name/],
    ["!", 1, /unexpected end/],
    ["has (a)", 4, /unexpected "\(", want an operator/],
    ["has()", 4, /unexpected "\)", want a label name/],
    ["has(a", 5, /no closing "\)" after has\(a/],
    ["all(x)", 4, /no closing "\)" after all\(/],
    ["a == 'b' && é", 12, /unexpected "é"/],
    ["\n", 0, /unexpected "\\n"/],
    ["x".repeat(513) + " == 'a'", 0, /at most 512 characters, this one 513/],
  ];
  for (const [text, position, reason] of cases) {
    assert.throws(() => parseSelector(text), (error: unknown) => {
      assert(error instanceof SelectorError, text);
      assert.equal(error.position, position, `${text}: ${error.message}`);
      assert.match(error.reason, reason);
      assert(error.message.length < 400);
      return true;
    });
  }
  assert.equal(canonical("x".repeat(512) + " == 'a'").length, 512 + 7);
});

Deno.test("no depth exhausts the program", () => {
  assert.equal(canonical("(".repeat(50_000) + "has(a)" + ")".repeat(50_000)), "has(a)");
  assert.equal(canonical("!".repeat(100_001) + "has(a)"), "!has(a)");
  const deep = (n: number) => "(has(a) && ".repeat(n) + "has(b)" + ")".repeat(n);
  assert.equal(parseSelector(deep(400)).matches({ a: "", b: "" }), true);
  assert.throws(() => parseSelector(deep(5_000)), SelectorError);
  assert.throws(() => parseSelector("!(".repeat(5_000) + "has(b)" + ")".repeat(5_000)));
  const wide = Array.from({ length: 20_000 }, (_, i) => `a == "${i}"`).join(" || ");
  assert.equal(parseSelector(wide).matches({ a: "19999" }), true);
});

Deno.test("sets are sorted by code points", () => {
  assert.equal(canonical("a in {'\u{1F600}', '\uFFFD', 'z'}"), 'a in {"z", "\uFFFD", "\u{1F600}"}');
  const byBytes = (a: string, b: string) => {
    const [x, y] = [a, b].map((t) => new TextEncoder().encode(t));
    for (let i = 0; i < Math.min(x.length, y.length); i++) if (x[i] !== y[i]) return x[i] - y[i];
    return x.length - y.length;
  };
  // The edges: ASCII, below and above the surrogates, beyond them.
  const text = fc.array(fc.constantFrom("a", "z", "é", "\uD7FF", "\uE000", "\uFFFD", "\u{1F600}"))
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(
      text,
      text,
      (a, b) => Math.sign(compareCodePoints(a, b)) === Math.sign(byBytes(a, b)),
    ),
  );
});

Deno.test("renaming labels keeps the rest", () => {
  const selector = parseSelector("a == 'x' && !has(b) || all() || c in {'y'}");
  const renamed = selector.map((l) => `pcns.${l}`, () => ({ is: "has", label: "ns" }));
  assert.equal(
    renamed.toString(),
    '((pcns.a == "x" && !has(pcns.b)) || has(ns) || pcns.c in {"y"})',
  );
  assert.deepEqual(mapLabels(selector.node, (l) => l, (n) => n), selector.node);
});

const names = ["a", "b", "c"];
const values = ["", "x", "y", "xy"];
const node: fc.Arbitrary<SelectorNode> = fc.letrec<{ node: SelectorNode }>((tie) => ({
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constant({ is: "all" } as const),
    fc.record({ is: fc.constant("has" as const), label: fc.constantFrom(...names) }),
    fc.record({
      is: fc.constantFrom("==", "!=", "contains", "starts with", "ends with"),
      label: fc.constantFrom(...names),
      value: fc.constantFrom(...values),
    }),
    fc.record({
      is: fc.constantFrom("in", "not in"),
      label: fc.constantFrom(...names),
      values: fc.uniqueArray(fc.constantFrom(...values)).map((v) => v.toSorted(compareCodePoints)),
    }),
    fc.record({ is: fc.constant("!" as const), node: tie("node") }),
    fc.record({
      is: fc.constantFrom("&&", "||"),
      nodes: fc.array(tie("node"), { minLength: 2, maxLength: 3 }),
    }),
  ) as fc.Arbitrary<SelectorNode>,
})).node;
const labels = fc.dictionary(fc.constantFrom(...names), fc.constantFrom(...values));

/** The language's meaning once more, as plainly as it can be said. */
function meaning(n: SelectorNode, l: Record<string, string>): boolean {
  switch (n.is) {
    case "all":
    case "global":
      return true;
    case "has":
      return n.label in l;
    case "!":
      return !meaning(n.node, l);
    case "&&":
      return n.nodes.every((x) => meaning(x, l));
    case "||":
      return n.nodes.some((x) => meaning(x, l));
    case "in":
      return n.label in l && n.values.includes(l[n.label]);
    case "not in":
      return !(n.label in l && n.values.includes(l[n.label]));
    case "==":
      return n.label in l && l[n.label] === n.value;
    case "!=":
      return !(n.label in l && l[n.label] === n.value);
    case "contains":
      return n.label in l && l[n.label].includes(n.value);
    case "starts with":
      return n.label in l && l[n.label].startsWith(n.value);
    case "ends with":
      return n.label in l && l[n.label].endsWith(n.value);
  }
}

Deno.test("random trees: printing and reading again keeps text, id and meaning", () => {
  fc.assert(
    fc.property(node, labels, (tree, l) => {
      const first = new Selector(tree);
      const again = parseSelector(first.toString());
      assert.equal(again.id, parseSelector(again.toString()).id);
      assert.equal(again.toString(), canonical(again.toString()));
      const want = meaning(tree, l);
      assert.equal(first.matches(l), want);
      assert.equal(again.matches(l), want);
      assert.equal(again.matches(new Map(Object.entries(l))), want);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("random trees: nothing matches that lacks a requirement", () => {
  fc.assert(
    fc.property(node, labels, (tree, l) => {
      const selector = new Selector(tree);
      if (!selector.matches(l)) return;
      for (const [label, need] of selector.requirements) {
        assert(label in l, `${selector} needs ${label}`);
        assert(!need.values || need.values.has(l[label]), `${selector}: ${label}`);
      }
    }),
    { numRuns: 5000 },
  );
});

Deno.test("random texts are read or refused with a SelectorError", () => {
  const piece = fc.constantFrom(
    ..."a b == != ! && || ( ) { } , 'x' \"y\" has( all( global( in not starts with ends contains = & | ' é"
      .split(" "),
    " ",
    "\t",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join("");
      try {
        const selector = parseSelector(text);
        assert.equal(canonical(selector.toString()), selector.toString());
      } catch (error) {
        assert(error instanceof SelectorError, `${text}: ${error}`);
        assert(error.position >= 0 && error.position <= text.length);
      }
    }),
    { numRuns: 5000 },
  );
});
