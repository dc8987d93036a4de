import assert from "node:assert/strict";
import { goTimestamp, nanoseconds, rfc3339 } from "./time.ts";

const AT = Date.UTC(2026, 10, 22, 13, 41, 6, 123);

Deno.test("Go's String() of a time, zeros cut", () => {
  assert.equal(goTimestamp(AT + 0.5), "2026-11-22 13:41:06.1235 +0000 UTC");
  assert.equal(goTimestamp(AT), "2026-11-22 13:41:06.123 +0000 UTC");
  assert.equal(goTimestamp(AT - 123), "2026-11-22 13:41:06 +0000 UTC");
});

Deno.test("RFC 3339 in whole seconds, and whole nanoseconds", () => {
  assert.equal(rfc3339(AT), "2026-11-22T13:41:06Z");
  assert.equal(nanoseconds(AT), BigInt(AT) * 1_000_000n);
  assert.equal(nanoseconds(1.5), 1_500_000n);
});
