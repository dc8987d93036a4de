import assert from "node:assert/strict";
import fc from "fast-check";
import { MAX_DEPTH, parseJson, printJson, TOO_DEEP } from "./json.ts";

Deno.test("integers beyond 2^53 are exact, others are numbers", () => {
  const text = '{"sequenceNumber":1795355067781922939,"small":-7,"edge":9007199254740991,"f":1.5}';
  const value = parseJson(text) as Record<string, unknown>;
  assert.equal(value.sequenceNumber, 1795355067781922939n);
  assert.equal(value.small, -7);
  assert.equal(value.edge, 9007199254740991);
  assert.equal(value.f, 1.5);
  assert.equal(printJson(value), text);
});

/** By the runtime's own way to the digits of a number. */
function parsedWithReviver(text: string): unknown {
  type Parse = (
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ) => unknown;
  return (JSON.parse as Parse)(text, (_key, value, { source = "" }) => {
    const isUnsafe = typeof value === "number" && !Number.isSafeInteger(value);
    return isUnsafe && /^-?[0-9]+$/.test(source) ? BigInt(source) : value;
  });
}

Deno.test("digits are an integer's only where they are no text's, fraction's or exponent's", () => {
  const long = "1795355067781922939";
  const piece = fc.constantFrom(
    ...[long, `-${long}`, `0${long}`, `0.${long}`, `1e${long}`, `${long}.5`, `${long}e2`, "7"],
    ...["9007199254740991", "9007199254740993", "-0000000000000000", "1234567890123456"],
    ...[
      `"${long}"`,
      `"\\"${long}"`,
      `"\\\\"`,
      `"a,${long},"`,
      `"\\u0000${long}"`,
      '"\\u0000"',
      '"',
    ],
    ...["[", "]", "{", "}", ",", ":", '"k":', `"${long}":`, '"__proto__":', " ", "\n", "null", "-"],
  );
  const value = fc.letrec((tie) => ({
    value: fc.oneof({ depthSize: "small" }, piece, tie("list"), tie("object")),
    list: fc.array(tie("value"), { maxLength: 4 }).map((all) => `[${all.join()}]`),
    object: fc.array(tie("value"), { maxLength: 4 }).map((all) =>
      `{${all.map((one, i) => `"${i % 2 ? long : "k"}${i}":${one}`).join()}}`
    ),
  })).value as fc.Arbitrary<string>;
  const text = fc.oneof(value, fc.array(piece, { maxLength: 12 }).map((all) => all.join("")));
  const outcome = (parse: () => unknown) => {
    try {
      return { value: parse() };
    } catch (error) {
      return (error as Error).name;
    }
  };
  fc.assert(
    fc.property(text, (text) => {
      assert.deepEqual(outcome(() => parseJson(text)), outcome(() => parsedWithReviver(text)));
    }),
    { numRuns: 3000 },
  );
});

Deno.test("index-like members are in the order of their text, others as written", () => {
  assert.equal(printJson({ 2: 1, 10: 2, 1: 3 }), '{"1":3,"10":2,"2":1}');
  assert.equal(printJson({ z: 1, a: [{ y: null, b: undefined }] }), '{"z":1,"a":[{"y":null}]}');
});

Deno.test("integers and names like indices are written alike however deep they are", () => {
  let value: unknown = { 2: [1795355067781922939n, null], 10: "x", a: [{ 1: 1 }, { 20: 2, 3: 1 }] };
  let text = '{"10":"x","2":[1795355067781922939,null],"a":[{"1":1},{"20":2,"3":1}]}';
  for (let depth = 0; depth < 8; depth++) {
    assert.equal(printJson(value), text);
    [value, text] = depth % 2
      ? [[value, "b"], `[${text},"b"]`]
      : [{ c: undefined, d: value }, `{"d":${text}}`];
  }
});

Deno.test("an exponent has two digits, as Calico stores it", () => {
  const value = { spec: { order: 1e-7 }, list: [-1.5e-9, 1e-10, 1e21, 0.000001], text: "1e-7," };
  const text = '{"spec":{"order":1e-07},"list":[-1.5e-09,1e-10,1e+21,0.000001],"text":"1e-7,"}';
  assert.equal(printJson(value), text);
  assert.deepEqual(parseJson(text), value);
  assert.equal(printJson(1e-7), "1e-07");
});

Deno.test("Go's escapes", () => {
  assert.equal(printJson({ s: "a && b < c" }), '{"s":"a \\u0026\\u0026 b \\u003c c"}');
  assert.deepEqual(parseJson(printJson({ s: "\u2028<>&" })), { s: "\u2028<>&" });
});

Deno.test("what is printed reads back", () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => {
    const text = JSON.stringify(value);
    assert.deepEqual(parseJson(printJson(JSON.parse(text))), parseJson(text));
  }));
});

Deno.test("what is not JSON is refused", () => {
  assert.throws(() => printJson(undefined), TypeError);
  assert.throws(() => printJson(() => 1), TypeError);
  const ring: Record<string, unknown> = {};
  ring.ring = ring;
  assert.throws(() => printJson(ring), RangeError);
});

Deno.test("what is nested deeper than any reader goes is refused, brackets in texts are none", () => {
  const lists = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  const objects = (depth: number) => '{"a":'.repeat(depth) + "1" + "}".repeat(depth);
  for (const nested of [lists, objects]) {
    assert.equal(printJson(parseJson(nested(MAX_DEPTH))), nested(MAX_DEPTH));
    for (const depth of [MAX_DEPTH + 1, 100_000]) {
      assert.throws(() => parseJson(nested(depth)), { name: "SyntaxError", message: TOO_DEEP });
    }
  }
  assert.throws(() => parseJson(`[123456789012345678,${lists(5000)}]`), /nested deeper/);
  for (
    const text of ["[".repeat(5000), '"{'.repeat(3000), "\\".repeat(3000), '\\"[['.repeat(999)]
  ) {
    const json = JSON.stringify({ text, more: lists(2000), [text]: [text] });
    assert.deepEqual(parseJson(json), JSON.parse(json));
  }
  const many = `[${new Array(5000).fill("[[]]").join()}]`;
  assert.deepEqual(parseJson(many), JSON.parse(many));
});
