import assert from "node:assert/strict";
import fc from "fast-check";
import { durationSeconds, formatDuration, parseDuration } from "./duration.ts";

// What Go's time.ParseDuration and Duration.String give.
const forms: [text: string, canonical: string][] = [
  ["0", "0s"],
  ["0s", "0s"],
  ["30s", "30s"],
  ["90s", "1m30s"],
  ["120s", "2m0s"],
  ["15m", "15m0s"],
  ["1h", "1h0m0s"],
  ["1.5h", "1h30m0s"],
  ["500ms", "500ms"],
  ["1500ms", "1.5s"],
  ["1us", "1µs"],
  ["1µs", "1µs"],
  ["10ns", "10ns"],
  ["1500ns", "1.5µs"],
  ["-1m", "-1m0s"],
  ["+5s", "5s"],
  [".5s", "500ms"],
  ["1.s", "1s"],
  ["1h2m3.5s", "1h2m3.5s"],
  ["100h", "100h0m0s"],
];

Deno.test("durations read and print as Go's", () => {
  for (const [text, canonical] of forms) {
    const nanoseconds = parseDuration(text);
    assert.ok(nanoseconds !== undefined, text);
    assert.equal(formatDuration(nanoseconds), canonical, text);
  }
});

Deno.test("what Go refuses is refused", () => {
  for (const text of ["", "5", "s", ".s", "1d", "1 s", "1s ", "-", "1h-1m", "9999999h", "1e3s"]) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

Deno.test("a printed duration reads as the same", () => {
  const max = (1n << 63n) - 1n;
  fc.assert(fc.property(fc.bigInt({ min: -max, max }), (n) => {
    assert.equal(parseDuration(formatDuration(n)), n);
  }));
});

Deno.test("seconds may be broken", () => {
  assert.equal(durationSeconds("1m0.25s"), 60.25);
  assert.equal(durationSeconds("soon"), undefined);
});
