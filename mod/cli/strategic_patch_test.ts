import assert from "node:assert/strict";
import { PatchError } from "./json_patch.ts";
import { strategicPatch } from "./strategic_patch.ts";

Deno.test("a strategic patch is a merge with directives; lists replace lists", () => {
  const old = { a: { b: 1, c: { d: 2 } }, l: [1, 2] };
  const cases: [patch: unknown, want: unknown][] = [
    [{ a: { b: null, e: 3 }, l: [3] }, { a: { c: { d: 2 }, e: 3 }, l: [3] }],
    [{ a: { $patch: "replace", e: 3 } }, { a: { e: 3 }, l: [1, 2] }],
    [{ a: { c: { $patch: "delete" } } }, { a: { b: 1 }, l: [1, 2] }],
    [{ $patch: "replace", x: 1 }, { x: 1 }],
    [{ $patch: "merge", x: { y: null } }, { ...old, x: {} }],
  ];
  for (const [patch, want] of cases) assert.deepEqual(strategicPatch(old, patch), want);
  assert.deepEqual(old, { a: { b: 1, c: { d: 2 } }, l: [1, 2] });
  for (const bad of [{ $patch: "melt" }, { $retainKeys: ["a"] }, { $patch: "delete" }]) {
    assert.throws(() => strategicPatch(old, bad), PatchError);
  }
});

Deno.test("finalizers and owners are merged, as Kubernetes' ObjectMeta says", () => {
  const owner = (uid: string, name: string) => ({ uid, name });
  const old = {
    metadata: { finalizers: ["a", "b"], ownerReferences: [owner("1", "x"), owner("2", "y")] },
    spec: { finalizers: ["a"] },
  };
  const cases: [metadata: object, want: object][] = [
    [{ finalizers: ["c", "a"] }, { finalizers: ["c", "a", "b"] }],
    [{ finalizers: ["c", "b"] }, { finalizers: ["c", "a", "b"] }],
    [{ finalizers: null }, { finalizers: undefined }],
    [{ "$deleteFromPrimitiveList/finalizers": ["a", "z"] }, { finalizers: ["b"] }],
    [{
      "$deleteFromPrimitiveList/finalizers": ["a"],
      "$setElementOrder/finalizers": ["c", "b"],
      finalizers: ["c"],
    }, { finalizers: ["c", "b"] }],
    [{ ownerReferences: [{ uid: "2", name: "w" }, owner("3", "z")] }, {
      ownerReferences: [owner("1", "x"), owner("2", "w"), owner("3", "z")],
    }],
    [{ ownerReferences: [owner("4", "q"), owner("2", "w")] }, {
      ownerReferences: [owner("4", "q"), owner("1", "x"), owner("2", "w")],
    }],
    [{ ownerReferences: [{ uid: "1", $patch: "delete" }] }, {
      ownerReferences: [owner("2", "y")],
    }],
    [{ ownerReferences: [{ $patch: "replace" }, owner("4", "q")] }, {
      ownerReferences: [owner("4", "q")],
    }],
  ];
  const before = structuredClone(old);
  for (const [metadata, want] of cases) {
    const { metadata: got } = strategicPatch(old, { metadata }) as any;
    assert.deepEqual({ ...got, finalizers: got.finalizers }, { ...old.metadata, ...want });
  }
  const { spec } = strategicPatch(old, { spec: { finalizers: ["b"] } }) as any;
  assert.deepEqual(spec, { finalizers: ["b"] });
  assert.deepEqual(old, before);
  const bad = [
    { "$deleteFromPrimitiveList/names": [] },
    { "$deleteFromPrimitiveList/finalizers": "a" },
    { ownerReferences: ["x"] },
    { ownerReferences: [{ name: "x" }] },
  ];
  for (const metadata of bad) assert.throws(() => strategicPatch(old, { metadata }), PatchError);
});
