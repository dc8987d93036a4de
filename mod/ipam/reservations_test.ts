import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../net/mod.ts";
import { nothingReserved } from "./block.ts";
import { Reservations } from "./reservations.ts";

const some = new Reservations([
  "10.0.0.0/25",
  "10.0.0.5/32",
  " 10.0.0.128/26 ",
  "fd00::/64",
  "bad",
]);

Deno.test("addresses and networks that are reserved, counted once", () => {
  assert(some.has(mustIp("10.0.0.191")));
  assert(!some.has(mustIp("10.0.0.192")));
  assert(some.has(mustIp("fd00::1")));
  assert.equal(some.countIn(mustPrefix("10.0.0.0/24")), 192n);
  assert(some.coversAll(mustPrefix("10.0.0.64/26")));
  assert(some.coversAll(mustPrefix("10.0.0.96/27")));
  assert(!some.coversAll(mustPrefix("10.0.0.0/24")));
  assert(!new Reservations([]).coversAll(mustPrefix("10.0.0.0/24")));
});

Deno.test("in a block by ordinal", () => {
  const reserved = new Reservations(["10.0.0.66/31"]).inBlock(mustPrefix("10.0.0.64/29"));
  assert.deepEqual([0, 1, 2, 3, 4].map(reserved), [false, false, true, true, false]);
  assert.equal(some.inBlock(mustPrefix("10.0.1.0/29")), nothingReserved);
});
