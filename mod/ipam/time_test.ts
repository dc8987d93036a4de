import assert from "node:assert/strict";
import { goTimestamp, isWithin, nanoseconds, parseGoTimestamp, rfc3339 } from "./time.ts";

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

Deno.test("a time is recent, or long ago, or of a clock that was wrong", () => {
  const now = Date.UTC(2026, 10, 22), minute = 60_000;
  const recent = (at: number) => isWithin(5 * minute, at, now);
  assert.deepEqual([now, now - minute, now + minute, now + 5 * minute].map(recent), [
    true,
    true,
    true,
    true,
  ]);
  assert.deepEqual(
    [now - 5 * minute, now + 6 * minute, now + 365 * 24 * 60 * minute, NaN].map(recent),
    [false, false, false, false],
  );
  assert.equal(parseGoTimestamp(goTimestamp(now)), now);
  assert.ok(isNaN(parseGoTimestamp(undefined)) && isNaN(parseGoTimestamp("soon")));
});
