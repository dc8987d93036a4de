import assert from "node:assert/strict";
import * as v from "valibot";
import { KINDS } from "./kinds.ts";
import { mapOf } from "./map_schema.ts";

/** Names that every JavaScript object has, and what becomes of a map that is not careful with them. */
const NAMES = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "valueOf",
];
const object = (value: unknown) =>
  JSON.parse(`{${NAMES.map((name) => `"${name}":${JSON.stringify(value)}`)}}`);

Deno.test("a map keeps every key, and checks it", () => {
  const schema = mapOf(v.pipe(v.string(), v.check((key) => key !== "valueOf", "no")), v.string());
  const found = v.safeParse(schema, { ...object("x"), a: "b" });
  assert.deepEqual(Object.keys(found.output as object), [...NAMES, "a"]);
  assert.equal(Object.getPrototypeOf(found.output), Object.prototype);
  assert.deepEqual(
    found.issues?.map((issue) => [issue.path?.map(({ key }) => key), issue.message]),
    [[["valueOf"], "no"]],
  );
  const wrong = v.safeParse(mapOf(v.string(), v.object({ n: v.number() })), {
    constructor: { n: "x" },
    prototype: { n: 1 },
  });
  assert.deepEqual(wrong.issues?.map((i) => [i.kind, i.path?.map(({ key }) => key)]), [
    ["schema", ["constructor", "n"]],
  ]);
  assert.equal(wrong.typed, false);
  assert.match(v.safeParse(schema, "text").issues![0].message, /Object/);
});

/** Every map in a schema, with its path. */
function maps(schema: any, path: string): [string, v.GenericSchema][] {
  while (schema.wrapped) schema = schema.wrapped;
  if (schema.type === "record") return [[path, schema], ...maps(schema.value, `${path}.*`)];
  const inner: [string, any][] = schema.entries
    ? Object.entries(schema.entries).map(([key, member]) => [`${path}.${key}`, member])
    : schema.item
    ? [[`${path}[]`, schema.item]]
    : (schema.options ?? []).filter((o: unknown) => typeof o === "object")
      .map((option: unknown) => [path, option]);
  return inner.flatMap(([at, member]) => maps(member, at));
}

Deno.test("no map of any kind loses a key without a word", () => {
  let count = 0;
  for (const kind of KINDS) {
    for (const [path, schema] of maps(kind.schema, kind.kind)) {
      count++;
      const { output, issues = [] } = v.safeParse(schema, object("x"));
      const refused = new Set(issues.map((issue) => issue.path?.[0].key));
      const lost = NAMES.filter((name) =>
        !Object.hasOwn(output as object, name) && !refused.has(name)
      );
      assert.deepEqual(lost, [], path);
    }
  }
  assert.ok(count > 2 * KINDS.length, String(count));
});
