import assert from "node:assert/strict";
import fc from "fast-check";
import { kindByKey, kindByName, KINDS } from "./kinds.ts";
import { ModelError, parseObject, readObject } from "./validate.ts";
import { parseResourceKey, resourceKey } from "./keys.ts";

Deno.test("no two kinds share a name, a key, or apiVersion and kind", () => {
  const names = KINDS.flatMap((kind) => [...kind.names]);
  assert.equal(new Set(names).size, names.length);
  const homes = KINDS.map((kind) => `${kind.home}/${kind.plural}`);
  assert.equal(new Set(homes).size, homes.length);
  const ids = KINDS.map((kind) => `${kind.apiVersion}/${kind.kind}`);
  assert.equal(new Set(ids).size, ids.length);
});

Deno.test("kinds are found by name in any case, and by key", () => {
  for (const kind of KINDS) {
    for (const name of kind.names) assert.equal(kindByName(name.toUpperCase()), kind);
    const key = parseResourceKey(resourceKey(kind, "x", kind.namespaced ? "n" : undefined));
    assert.equal(kindByKey(key!), kind);
  }
  assert.equal(kindByName("nonsense"), undefined);
});

/** The least that reads as an object of the kind. */
const LEAST: Record<string, unknown> = { IPPool: { cidr: "10.0.0.0/16" } };

Deno.test("columns have a value for the emptiest object", () => {
  const context = { asNumber: 64512 };
  for (const kind of KINDS) {
    const object = readObject(kind, { metadata: { name: "x" }, spec: LEAST[kind.kind] ?? {} });
    for (const column of [...kind.columns, ...kind.wideColumns ?? []]) {
      assert.equal(
        typeof column.value(object, context),
        "string",
        `${kind.kind} ${column.heading}`,
      );
    }
  }
});

Deno.test("whatever comes in, it is read or refused with a ModelError", () => {
  const key = fc.constantFrom("metadata", "spec", "status", "name", "cidr", "bgp", "ingress", "x");
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(null, true, 0, -1, 1.5, "", "x", "10.0.0.0/8", "__proto__"),
      fc.dictionary(key, tie("node"), { maxKeys: 4 }),
      fc.array(tie("node"), { maxLength: 3 }),
    ),
  })).node;
  fc.assert(fc.property(fc.constantFrom(...KINDS), tree, (kind, value) => {
    for (const read of [readObject, parseObject]) {
      try {
        read(kind, value);
      } catch (error) {
        assert.ok(error instanceof ModelError, `${kind.kind}: ${(error as Error).stack}`);
      }
    }
  }));
});
