import assert from "node:assert/strict";
import fc from "fast-check";
import { splitList } from "./yaml_list.ts";
import { objectsOf } from "./documents.ts";
import { formatYaml } from "./yaml.ts";

const object = (i: number, text: string) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "GlobalNetworkSet",
  metadata: { name: `s${i}`, annotations: { note: text } },
  spec: { nets: ["10.0.0.0/8"] },
});

Deno.test("a list in pieces is the list, whatever its texts look like", () => {
  const text = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "- a\n- b",
      "items:\n- x",
      "---\n",
      "kind: y",
      "#\n",
      "a\n\nb\n",
      "&a",
      "*a",
      "\t",
    ),
  );
  fc.assert(fc.property(fc.array(text, { minLength: 1, maxLength: 8 }), (texts) => {
    const objects = texts.map((note, i) => object(i, note));
    const list = {
      kind: "GlobalNetworkSetList",
      apiVersion: "projectcalico.org/v3",
      items: objects,
    };
    for (const whole of [list, objects]) {
      const yaml = formatYaml(whole);
      const expected = objectsOf(yaml, "f").map((o) => [o.value, o.at("metadata.name")]);
      const split = splitList(yaml, 1);
      if (split) assert.equal(split.pieces.length, objects.length);
      const found = objectsOf(yaml, "f", undefined, 1).map((o) => [o.value, o.at("metadata.name")]);
      assert.deepEqual(found, expected);
    }
  }));
});

Deno.test("objects that leave out their kind have it from the list, in pieces too", () => {
  const yaml =
    "apiVersion: v1\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\nkind: PodList\n";
  const values = (whole: number) => objectsOf(yaml, "f", undefined, whole).map((o) => o.value);
  assert.deepEqual(values(1), values(1000));
  assert.equal((values(1)[1] as any).kind, "Pod");
});

Deno.test("an object of another kind than its list's is refused, in pieces too", () => {
  const yaml =
    "apiVersion: v3\nitems:\n- kind: Pool\n  a: 1\n- kind: Tier\n  a: 1\nkind: PoolList\n";
  for (const whole of [1, 1000]) {
    assert.throws(
      () => objectsOf(yaml, "f.yaml", undefined, whole),
      /^CliError: f\.yaml:5: document 1: items\[1\] of the PoolList says that its kind is "Tier"/,
    );
  }
});

Deno.test("what is no list, or more than one document, is not split", () => {
  for (
    const text of [
      "kind: A\n",
      "items:\n- a: 1\n---\nkind: B\n",
      "items:\n- &a {a: 1}\n- *a\n",
      "- a: 1\nkind: B\n",
      "items: [a]\n",
    ]
  ) assert.equal(splitList(text), undefined, text);
});

Deno.test("a fault in a piece is told with its line in the file", () => {
  const lines = ["kind: XList", "apiVersion: v1", "items:"];
  for (let i = 0; i < 20; i++) lines.push(`- kind: A`, i === 15 ? "  b: [" : "  b: 1");
  assert.throws(
    () => objectsOf(lines.join("\n"), "f.yaml", undefined, 1),
    /^CliError: f\.yaml:3[5-9]: /,
  );
});
