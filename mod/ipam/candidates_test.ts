import assert from "node:assert/strict";
import { formatPrefix, mustPrefix } from "../net/mod.ts";
import {
  blockAt,
  boundsOf,
  fnv1,
  inWalkOrder,
  nextFreeBlock,
  numberOf,
  startOf,
} from "./candidates.ts";
import { readPool } from "./pools.ts";
import { Reservations } from "./reservations.ts";

function pool(cidr: string, blockSize: number) {
  return readPool({ metadata: { name: "p" }, spec: { cidr, blockSize } })!;
}

const never = () => assert.fail("chance has no say here");

Deno.test("FNV-1, known values", () => {
  assert.equal(fnv1(""), 0x811c9dc5);
  assert.equal(fnv1("a"), 0x050c5d7e);
  assert.equal(fnv1("foobar"), 0x31f0b262);
});

Deno.test("a host's start is stable and in the pool; hosts spread", () => {
  const p = pool("10.0.0.0/16", 26);
  const { start, end } = boundsOf(p);
  assert.equal(end - start, 1024n);
  const starts = new Set<bigint>();
  for (let i = 0; i < 200; i++) {
    const at = startOf(p, `node-${i}`, never);
    assert.equal(at, startOf(p, `node-${i}`, never));
    assert(start <= at && at < end);
    starts.add(at);
  }
  assert(starts.size > 170, `${starts.size} of 200`);
});

Deno.test("blocks of one address start anywhere", () => {
  const p = pool("10.0.0.0/24", 32);
  const at = (chance: number) => formatPrefix(blockAt(p, startOf(p, "n1", () => chance)));
  assert.notEqual(at(0.123456), at(0.654321));
});

Deno.test("block numbers and blocks belong together, IPv6 too", () => {
  const p = pool("fd00:1::/48", 122);
  const first = blockAt(p, boundsOf(p).start);
  assert.equal(formatPrefix(first), "fd00:1::/122");
  assert.equal(numberOf(p, mustPrefix("fd00:1::40/122")) - numberOf(p, first), 1n);
  assert.equal(boundsOf(p).end - boundsOf(p).start, 1n << 74n);
});

Deno.test("the next free block goes round what exists, is another pool's or is reserved", () => {
  const p = pool("10.0.0.0/24", 26);
  const start = boundsOf(p).start + 1n;
  const next = (taken: string[], reserved: string[] = []) => {
    const found = nextFreeBlock(
      p,
      start,
      taken.map(mustPrefix),
      new Reservations(reserved).ranges(4),
    );
    return found && formatPrefix(found);
  };
  assert.equal(next([]), "10.0.0.64/26");
  assert.equal(next(["10.0.0.64/26"]), "10.0.0.128/26");
  assert.equal(next(["10.0.0.96/32"]), "10.0.0.128/26");
  assert.equal(next(["10.0.0.64/26", "10.0.0.128/25"]), "10.0.0.0/26");
  assert.equal(next(["10.0.0.0/8"]), undefined);
  assert.equal(next(["10.9.0.0/16"]), "10.0.0.64/26");
  // Only blocks that are wholly reserved are passed over; two reservations may do it together.
  assert.equal(next([], ["10.0.0.64/27"]), "10.0.0.64/26");
  assert.equal(next([], ["10.0.0.64/27", "10.0.0.96/27"]), "10.0.0.128/26");
});

Deno.test("a nearly full pool of 2^44 blocks is searched in no time", () => {
  const p = pool("fd00::/72", 116);
  const { start, end } = boundsOf(p);
  const almostAll = { ip: p.prefix.ip, length: 73 };
  assert.equal(
    nextFreeBlock(p, start, [almostAll], []) &&
      numberOf(p, nextFreeBlock(p, start, [almostAll], [])!),
    start + (end - start) / 2n,
  );
});

Deno.test("blocks are looked at from the start on and round", () => {
  const p = pool("10.0.0.0/24", 26);
  const blocks = ["10.0.0.0/26", "10.0.0.64/26", "10.0.0.192/26", "10.0.0.128/27", "10.0.1.0/26"]
    .map((text) => ({ prefix: mustPrefix(text) }));
  const order = inWalkOrder(p, boundsOf(p).start + 1n, blocks).map((b) => formatPrefix(b.prefix));
  assert.deepEqual(order, ["10.0.0.64/26", "10.0.0.192/26", "10.0.0.0/26"]);
});
