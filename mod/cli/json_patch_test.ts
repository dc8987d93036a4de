import assert from "node:assert/strict";
import fc from "fast-check";
import { jsonPatch, mergePatch, PatchError } from "./json_patch.ts";

// RFC 7386, appendix A.
const merges: [target: unknown, patch: unknown, result: unknown][] = [
  [{ a: "b" }, { a: "c" }, { a: "c" }],
  [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
  [{ a: "b" }, { a: null }, {}],
  [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
  [{ a: ["b"] }, { a: "c" }, { a: "c" }],
  [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
  [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
  [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
  [["a", "b"], ["c", "d"], ["c", "d"]],
  [{ a: "b" }, ["c"], ["c"]],
  [{ a: "foo" }, null, null],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: "b", c: null }, { a: "b" }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
];

Deno.test("merge patches are RFC 7386's", () => {
  for (const [target, patch, result] of merges) {
    assert.deepEqual(mergePatch(target, patch), result, JSON.stringify([target, patch]));
  }
});

// RFC 6902, appendix A.
const patches: [target: unknown, operations: unknown, result: unknown][] = [
  [{ foo: "bar" }, [{ op: "add", path: "/baz", value: "qux" }], { foo: "bar", baz: "qux" }],
  [{ foo: ["a", "c"] }, [{ op: "add", path: "/foo/1", value: "b" }], { foo: ["a", "b", "c"] }],
  [{ foo: ["a"] }, [{ op: "add", path: "/foo/-", value: "b" }], { foo: ["a", "b"] }],
  [{ a: 1, b: 2 }, [{ op: "remove", path: "/a" }], { b: 2 }],
  [{ a: [1, 2, 3] }, [{ op: "remove", path: "/a/1" }], { a: [1, 3] }],
  [{ a: 1 }, [{ op: "replace", path: "/a", value: [2] }], { a: [2] }],
  [{ a: { b: 1 }, c: {} }, [{ op: "move", from: "/a/b", path: "/c/d" }], { a: {}, c: { d: 1 } }],
  [{ a: [1] }, [{ op: "copy", from: "/a", path: "/b" }], { a: [1], b: [1] }],
  [{ "a/b": 1, "m~n": 2 }, [{ op: "test", path: "/a~1b", value: 1 }, {
    op: "test",
    path: "/m~0n",
    value: 2,
  }], { "a/b": 1, "m~n": 2 }],
];

Deno.test("JSON patches are RFC 6902's", () => {
  for (const [target, operations, result] of patches) {
    assert.deepEqual(jsonPatch(target, operations), result, JSON.stringify(operations));
  }
});

Deno.test("a patch that cannot be applied says which operation", () => {
  const bad: [operations: unknown, message: RegExp][] = [
    [{}, /is a list/],
    [[{}], /operation 1 has no op/],
    [[{ op: "test", path: "/a", value: 2 }], /operation 1 \(test\): the value at \/a/],
    [[{ op: "remove", path: "/x" }], /there is nothing at \/x/],
    [[{ op: "replace", path: "/x", value: 1 }], /there is nothing at \/x/],
    [[{ op: "add", path: "/list/5", value: 1 }], /no place in a list of 1/],
    [[{ op: "add", path: "/list/", value: 1 }], /"" is no place in a list of 1/],
    [[{ op: "add", path: "/list/1e0", value: 1 }], /"1e0" is no place in a list of 1/],
    [[{ op: "add", path: "/list/01", value: 1 }], /"01" is no place in a list of 1/],
    [[{ op: "replace", path: "/list/-", value: 1 }], /there is nothing at/],
    [[{ op: "add", path: "a", value: 1 }], /begin with \//],
    [[{ op: "add", path: "/b" }], /value is missing/],
    [[{ op: "jump", path: "/a" }], /want add, remove/],
  ];
  for (const [operations, message] of bad) {
    assert.throws(
      () => jsonPatch({ a: 1, list: [1] }, operations),
      (error: unknown) => error instanceof PatchError && message.test(error.message),
    );
  }
});

Deno.test("what is patched is not changed, nor any prototype", () => {
  const target = { a: { b: [1] } };
  jsonPatch(target, [{ op: "add", path: "/a/b/0", value: 0 }]);
  mergePatch(target, JSON.parse('{"__proto__":{"polluted":true},"a":null}'));
  jsonPatch(target, [{ op: "add", path: "/__proto__", value: { polluted: true } }]);
  assert.deepEqual(target, { a: { b: [1] } });
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});

Deno.test("a merge with nothing changes nothing", () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (target) => {
    assert.equal(JSON.stringify(mergePatch(target, {})), JSON.stringify(target));
  }));
});
