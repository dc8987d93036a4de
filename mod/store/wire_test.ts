import assert from "node:assert/strict";
import { StoreError } from "./store.ts";
import { memberText } from "./wire.ts";

const isInvalid = (error: unknown) => error instanceof StoreError && error.kind === "invalid";

Deno.test("a value's text is stored as its writer has it, in one line", () => {
  assert.equal(memberText("/a", { value: { b: 1, 10: 2, 9: 3 } }), '{"10":2,"9":3,"b":1}');
  const text = '{"n":1795355067781922939,"s":"\\n"}';
  assert.equal(memberText("/a", { text }), text);
  assert.equal(
    memberText("/a", { text: '{"n":\r\n1795355067781922939}' }),
    text.slice(0, 24) + "}",
  );
});

Deno.test("a text that is no JSON, or too large, is refused", () => {
  for (const text of ["", "{", '{"a":1}\n{', '{"a":01}']) {
    assert.throws(() => memberText("/a", { text }), isInvalid, text);
  }
  const large = JSON.stringify("a".repeat(2 << 20));
  assert.throws(() => memberText("/a", { text: large }), isInvalid);
  assert.throws(() => memberText("/a", { value: JSON.parse(large) }), isInvalid);
});
