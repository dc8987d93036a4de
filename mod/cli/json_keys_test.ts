import assert from "node:assert/strict";
import fc from "fast-check";
import { repeatedKey } from "./json_keys.ts";

Deno.test("a key that stands twice in one object is found, in another object it is not", () => {
  for (
    const [text, key] of [
      ['{"a":1,"b":{"a":1},"c":[{"a":2},{"a":3},"a","a"],"d":"a"}', undefined],
      ['{"a":1,"b":2,"a":3}', "a"],
      ['[{"x":{"y":[1,{"k":"{\\"k\\":1","k":2}]}}]', "k"],
      ['{"a\\"":1, "a\\u0022" : 2}', 'a"'],
      ['{"__proto__":1,"__proto__":2}', "__proto__"],
      ['{"":"\\\\","":2}', ""],
      ['"text"', undefined],
    ] as const
  ) {
    const found = repeatedKey(text);
    assert.equal(found?.key, key, text);
    if (found) assert.equal(text[found.offset], '"');
  }
});

Deno.test("what JSON.stringify wrote has no key twice", () => {
  fc.assert(fc.property(fc.json(), (text) => {
    assert.equal(repeatedKey(JSON.stringify(JSON.parse(text))), undefined);
  }));
});
