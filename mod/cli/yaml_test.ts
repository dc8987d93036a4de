import assert from "node:assert/strict";
import fc from "fast-check";
import { formatJson } from "../store/json.ts";
import { formatYaml, MAX_BYTES, parseYaml, YamlError } from "./yaml.ts";

const one = (text: string) => parseYaml(text, "f.yaml")[0]?.value;

// What sigs.k8s.io/yaml (Go) reads.
const readings: [text: string, value: unknown][] = [
  ["a: yes", { a: true }],
  ["a: on", { a: true }],
  ["a: n", { a: false }],
  ["y: 1", { true: 1 }],
  ["a: 017", { a: 15 }],
  ["a: 0o17", { a: 15 }],
  ["a: 1_000", { a: 1000 }],
  ["a: 0b11", { a: 3 }],
  ["a: 12:30:00", { a: "12:30:00" }],
  ["a: 2001-01-01", { a: "2001-01-01" }],
  ["a: 1e3", { a: 1000 }],
  ["a: 089", { a: 89 }],
  ["a: ~", { a: null }],
  ["x: &x {b: 1}\ny2: {<<: *x, c: 2}", { x: { b: 1 }, y2: { b: 1, c: 2 } }],
  ["8000:8080", "8000:8080"],
  // Go wants a digit before the exponent or beside the dot.
  ...["e1", "E7", "e12", "-e1", "+E0", ".", "-.", "+.", "._", "._1", ".1_", ".e1", "1e", "12e4567"]
    .map((text): [string, unknown] => [`{name: ${text}, ${text}: e7}`, {
      name: text,
      [text]: "e7",
    }]),
  ["[0_, +0__, -_1, 0x_, 0X1f, 0O17, 1_e2, .5, 5., -1_.5]", [
    0,
    0,
    -1,
    "0x_",
    31,
    15,
    100,
    0.5,
    5,
    -1.5,
  ]],
];

Deno.test("YAML reads as Kubernetes reads it", () => {
  for (const [text, value] of readings) {
    assert.deepEqual(JSON.parse(JSON.stringify(one(text))), value, text);
  }
});

Deno.test("documents are numbered, empty ones too, and know their lines", () => {
  const documents = parseYaml(
    "---\n---\n# nothing\n---\na: 1\nb:\n- c: 2\n  d: 3\n---\n",
    "f.yaml",
  );
  assert.equal(documents.length, 1);
  const [document] = documents;
  assert.equal(document.number, 3);
  assert.equal(document.line, 5);
  assert.equal(document.lineOf("b[0].d"), 8);
  assert.equal(document.lineOf("b[0].missing"), 7);
  assert.equal(document.lineOf("missing"), 5);
  assert.equal(document.lineOf(""), 5);
});

Deno.test("JSON is read as JSON, and its faults are found", () => {
  assert.deepEqual(one('{"a": [1, "yes"]}'), { a: [1, "yes"] });
  assert.throws(() => parseYaml('{"a": [1,}', "f.json"), /^YamlError: f\.json:1: document 1/);
});

Deno.test("JSON objects one after the other are documents, and know their lines", () => {
  const text = '{"a": "}{\\""}\n\n{\n  "b": [1]\n}{"c": 2}\n';
  const documents = parseYaml(text, "f.json");
  assert.deepEqual(documents.map(({ value }) => value), [{ a: '}{"' }, { b: [1] }, { c: 2 }]);
  assert.deepEqual(documents.map(({ number, line }) => [number, line]), [[1, 1], [2, 3], [3, 5]]);
  // YAML may follow: its documents are counted on.
  const mixed = parseYaml('{"a": 1}\n{"b": 2}\n---\nc: 3\nd: 4\n', "f.yaml");
  assert.deepEqual(mixed.map(({ value }) => value), [{ a: 1 }, { b: 2 }, { c: 3, d: 4 }]);
  assert.deepEqual([mixed[2].number, mixed[2].line, mixed[2].lineOf("d")], [3, 4, 5]);
  const faults: [text: string, words: RegExp][] = [
    ['{"a": 1}\n{"b": 2}\n{"c": 3,\n"d" 4}', /^YamlError: f\.json:4: document 3 is not JSON/],
    ['{"a": 1}\n{"b": 2}\n{"c": [3}', /^YamlError: f\.json:3: document 3 is not JSON/],
    ['{"a": 1}\n{"b": "', /^YamlError: f\.json:2: document 2 is not JSON/],
    ['{"a": 1}\n{"b": 2}}', /^YamlError: f\.json:2: document 2 is not JSON/],
    ["{a: 1}\n{b: 2}", /^YamlError: f\.json:2: document 1 is not YAML/],
  ];
  for (const [text, words] of faults) assert.throws(() => parseYaml(text, "f.json"), words, text);
});

Deno.test("a fault names file, line and document", () => {
  for (const text of ["a: 1\n---\nb: [1, 2\n", "a: 1\n---\nb: 1\nb: 2\n", "a: 1\n---\n\tb: 1\n"]) {
    assert.throws(() => parseYaml(text, "f.yaml"), (error: unknown) => {
      assert.ok(error instanceof YamlError);
      assert.match(error.message, /^f\.yaml:[345]: document 2 is not YAML: /);
      return true;
    });
  }
});

Deno.test("an alias bomb, deep nesting and a huge text are refused at once", () => {
  const levels = "abcdefghi".split("").map((name, i, all) =>
    `${name}: &${name} [${Array(9).fill(i === 0 ? "x" : `*${all[i - 1]}`).join(",")}]`
  );
  assert.throws(() => parseYaml(levels.join("\n"), "f.yaml"), YamlError);
  assert.throws(() => parseYaml("[".repeat(5000), "f.yaml"), YamlError);
  assert.throws(() => parseYaml(`a: ${"x".repeat(MAX_BYTES)}`, "f.yaml"), /more than 64 MiB/);
});

Deno.test("what has no end, or lies too deep, is refused with its line", () => {
  const many = 20_000;
  const cases: [text: string, words: RegExp][] = [
    ["b: 1\n---\n&a [*a]", /^f:3: document 2: an alias \(\*\) stands within what it stands for/],
    ["x: &a {b: 1, c: [*a, *a]}", /^f:1: document 1: an alias/],
    ["x: &a {b: &b {c: *a}, d: *b}", /an alias/],
    [
      `${"[".repeat(many)}${"]".repeat(many)}`,
      /^f:1: document 1: it is nested deeper than 250 levels$/,
    ],
    [
      `${'{"a":'.repeat(many)}1${"}".repeat(many)}`,
      /document 1: it is nested deeper than 250 levels$/,
    ],
    [
      `{"a": 1}${"[".repeat(300)}${"]".repeat(300)}`,
      /document 2: it is nested deeper than 250 levels$/,
    ],
    ["- ".repeat(many), /nested deeper than 250 levels$/],
    [`a: ${"[".repeat(300)}${"]".repeat(300)}`, /document 1: it is nested deeper than 250 levels$/],
    ["[".repeat(many), /nested deeper than 250 levels$/],
  ];
  for (const [text, words] of cases) {
    assert.throws(() => parseYaml(text, "f"), (error: unknown) => {
      assert.ok(error instanceof YamlError, String(error));
      assert.match(error.message, words, text.slice(0, 30));
      return true;
    });
  }
  assert.deepEqual(one("x: &a {b: 1}\ny2: [*a, *a]"), { x: { b: 1 }, y2: [{ b: 1 }, { b: 1 }] });
});

Deno.test("what is written reads as the same, texts that look like something else too", () => {
  const leaf = fc.oneof(
    fc.constantFrom(
      "yes",
      "on",
      "y",
      "n",
      "012",
      "0x1",
      "12:30",
      "2001-01-01",
      "~",
      "null",
      "-",
      "",
      "<<",
      "=",
      "9007199254740993",
      "e1",
      ".",
      "0X1",
      "+_0",
      "1_e2",
      "0_",
    ),
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
  );
  const value = fc.dictionary(
    fc.string({ minLength: 1 }).filter((key) => key !== "__proto__"),
    fc.oneof(leaf, fc.array(leaf)),
  );
  fc.assert(fc.property(value, (object) => {
    assert.deepEqual(
      JSON.parse(JSON.stringify(one(formatYaml(object)) ?? null)),
      JSON.parse(JSON.stringify(object)),
    );
  }));
});

Deno.test("keys are written in order, lists at the depth of their key", () => {
  assert.equal(
    formatYaml({ spec: { b: ["x", "z"], a: 1 }, kind: "K" }),
    "kind: K\nspec:\n  a: 1\n  b:\n  - x\n  - z\n",
  );
});

Deno.test("a key that is a list or an object is refused with its line", () => {
  for (const text of ["a: 1\n? [b]\n: c\n", "a: 1\nx: {{b: 1}: c}\n"]) {
    assert.throws(
      () => parseYaml(text, "f"),
      (error: Error) => /^f:2: document 1: a key/.test(error.message),
    );
  }
});

Deno.test("texts that mean something to readers of YAML 1.1 are quoted, as keys too", () => {
  const value = { "<<": "<<", "=": "=", list: ["<<", "="] };
  assert.equal(formatYaml(value), '"<<": "<<"\n"=": "="\nlist:\n- "<<"\n- "="\n');
  assert.deepEqual(one(formatYaml(value)), value);
});

Deno.test("small numbers have an exponent of two digits, as Go prints them", () => {
  const value = { a: 1e-7, b: -0.0000123, c: 0.0001, d: 1e-10, e: 1e21, f: [0, 1.5] };
  assert.equal(
    formatYaml(value),
    "a: 1e-07\nb: -1.23e-05\nc: 0.0001\nd: 1e-10\ne: 1e+21\nf:\n- 0\n- 1.5\n",
  );
  assert.deepEqual(one(formatYaml(value)), value);
});

Deno.test("integers are exact, whatever their size", () => {
  const text = "a: 9007199254740993\nb: 9007199254740992\nc: [-9223372036854775808, 7, .inf]\n" +
    "h: 0x7fffffffffffffff\nx: &x {i: 5}\nz: *x\n";
  const value = {
    a: 9007199254740993n,
    b: 9007199254740992n,
    c: [-9223372036854775808n, 7, Infinity],
    h: 9223372036854775807n,
    x: { i: 5 },
    z: { i: 5 },
  };
  assert.deepEqual(one(text), value);
  const { c: _, ...rest } = value;
  assert.deepEqual(one(formatYaml(rest)), rest);
  assert.deepEqual(one(formatJson(rest)), rest);
});

Deno.test("a key that stands twice is refused, in JSON as in YAML", () => {
  for (
    const [text, words] of [
      ['{"a": {"b": 1,\n "b": 2}}', /^YamlError: f:2: document 1: the key "b" stands there twice/],
      ['{"a": 1}\n{"a": 1, "a": 1}', /^YamlError: f:2: document 2: the key "a" stands there twice/],
      ["a: 1\na: 2\n", /^YamlError: f:[12]: document 1 is not YAML: Map keys must be unique/],
    ] as const
  ) assert.throws(() => parseYaml(text, "f"), words);
});

Deno.test("texts that a reader of YAML would take for something else are quoted, and come back", () => {
  const printed: [text: string, yaml: string][] = [
    ["a\u2028b\u2029", '"a\\u2028b\\u2029"'],
    ["\x7f", '"\\u007f"'],
    ["\x85\x9f\ufeff\uffff", '"\\u0085\\u009f\\ufeff\\uffff"'],
    ["tab\tin", '"tab\\tin"'],
    ["---", '"---"'],
    ["... x", '"... x"'],
    ["<<", '"<<"'],
    [" \n", '"\\ \\n"'],
    ["\n\nx", '"\\n\\nx"'],
    ["\n\tx", '"\\n\\tx"'],
    ["\n \tx", '"\\n \\tx"'],
    ["a\n\tx", "|-\n  a\n  \tx"],
    ["--x", "--x"],
    ["日本 😀\u00a0é", "日本 😀\u00a0é"],
  ];
  for (const [text, yaml] of printed) assert.equal(formatYaml({ a: text }), `a: ${yaml}\n`);
  const parts = [
    "a",
    " ",
    "\t",
    "\n",
    "\r",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
    "---",
    "#",
    ":",
    "-",
  ];
  for (const a of parts) {
    for (const b of parts) {
      for (const c of ["", "x", "\n"]) {
        const value = { a: { b: a + b + c, c: [a + b + c], [a + b + c]: 1 }, z: 1 };
        const text = formatYaml(value);
        assert.deepEqual(parseYaml(text, "x")[0].value, value, JSON.stringify(a + b + c));
        assert.doesNotMatch(text, /[\x7f-\x9f\u2028\u2029\ufeff]/);
      }
    }
  }
});

Deno.test("half of a surrogate pair is no text; a byte order mark may begin each document", () => {
  for (
    const text of ['{"a": {"b": ["x\\ud83d"]}}', 'a: "\\udc00 x"', '"\\ud800": 1', '{"\\udfff": 1}']
  ) {
    assert.throws(() => parseYaml(text, "f"), /f:1: document 1: ".*" has half of a letter in it/);
  }
  assert.deepEqual(one('a: "\\ud83d\\ude00"'), { a: "😀" });
  const documents = parseYaml("\ufeffa: 1\n---\n\ufeffb: 2\n--- # c\n\ufeff{c: 3}\n", "f");
  assert.deepEqual(documents.map(({ value }) => value), [{ a: 1 }, { b: 2 }, { c: 3 }]);
});

Deno.test("every text comes back as it was, whatever blanks and line ends it has", () => {
  const letters = fc.constantFrom(
    "a",
    " ",
    "\n",
    "\t",
    "\r",
    "\\",
    '"',
    "'",
    ":",
    "#",
    "-",
    "\x1b",
  );
  const text = fc.tuple(
    fc.string({ unit: letters, maxLength: 12 }),
    fc.constantFrom("", "word ".repeat(30)),
    fc.string({ unit: letters, maxLength: 12 }),
  ).map((parts) => parts.join(""));
  fc.assert(
    fc.property(text, (text) => {
      const written = formatYaml({ a: text });
      assert.deepEqual(parseYaml(written, "x")[0].value, { a: text }, written);
    }),
    { numRuns: 3000, examples: [["\n \n" + "word ".repeat(30)], [" a \n \n" + "x".repeat(60)]] },
  );
});
