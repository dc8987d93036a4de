import assert from "node:assert/strict";
import fc from "fast-check";
import { mustPrefix } from "../net/mod.ts";
import {
  type AllocationAttribute,
  type AllocationBlock,
  cleanHandle,
  freeCount,
  holderOf,
  isEmpty,
  isOwnedBy,
  newBlock,
  ordinalsOf,
  ownerOf,
  readBlock,
  sequenceOf,
  withoutOwner,
  written,
} from "./block.ts";
import {
  collectCooled,
  coolingUntil,
  giveBack,
  giveBackHandle,
  take,
  takeOrdinal,
} from "./block_changes.ts";
import { IpamError } from "./errors.ts";
import { checkBlock } from "./testing/checks.ts";

const PREFIX = mustPrefix("10.1.0.0/29");
const NOW = Date.UTC(2026, 10, 22, 13, 44, 27, 684);
const N1 = { type: "host", name: "n1" } as const;
const AT_ONCE = { seconds: 0, now: NOW };

function fresh(): AllocationBlock {
  return newBlock(PREFIX, N1, NOW);
}

/** Runs what must give a block. */
function given(result: ReturnType<typeof giveBack>) {
  assert("block" in result);
  return result;
}

Deno.test("a new block is all free, its owner's, and numbered by the time", () => {
  assert.deepEqual(fresh(), {
    cidr: "10.1.0.0/29",
    affinity: "host:n1",
    affinity_claim_time: "2026-11-22T13:44:27Z",
    allocations: [null, null, null, null, null, null, null, null],
    unallocated: [0, 1, 2, 3, 4, 5, 6, 7],
    attributes: [],
    sequenceNumber: BigInt(NOW) * 1_000_000n,
    sequenceNumberForAllocation: {},
    deleted: false,
  });
  assert.deepEqual(ownerOf(fresh()), N1);
});

Deno.test("addresses are taken from the head and given back to the tail", () => {
  const first = take(fresh(), 3, { handle: "a" });
  assert.deepEqual(first.ordinals, [0, 1, 2]);
  const back = giveBackHandle(first.block, "a", AT_ONCE);
  assert.deepEqual(back.ordinals, [0, 1, 2]);
  assert.deepEqual(back.block.unallocated, [3, 4, 5, 6, 7, 0, 1, 2]);
  assert.deepEqual(take(back.block, 1, {}).ordinals, [3]);
});

Deno.test("a block gives no more than it has", () => {
  const { block, ordinals } = take(fresh(), 100, {});
  assert.equal(ordinals.length, 8);
  const none = take(block, 1, {});
  assert.deepEqual(none.ordinals, []);
  assert.equal(none.block, block);
});

Deno.test("reserved addresses are passed over and keep their place", () => {
  const reserved = (ordinal: number) => ordinal % 2 === 0;
  assert.equal(freeCount(fresh(), reserved), 4);
  const { block, ordinals } = take(fresh(), 3, {}, reserved);
  assert.deepEqual(ordinals, [1, 3, 5]);
  assert.deepEqual(block.unallocated, [0, 2, 4, 6, 7]);
});

Deno.test("equal handle and attributes share one attribute, written as Go does", () => {
  const attributes = { pod: "p", node: "n1", namespace: "blue" };
  let block = take(fresh(), 1, { handle: "a", attributes }).block;
  block = take(block, 1, { handle: "a", attributes: { ...attributes } }).block;
  block = take(block, 1, { handle: "b" }).block;
  block = take(block, 1, {}).block;
  assert.deepEqual(block.allocations.slice(0, 5), [0, 0, 1, 2, null]);
  assert.equal(
    JSON.stringify(block.attributes),
    '[{"handle_id":"a","secondary":{"namespace":"blue","node":"n1","pod":"p"}},' +
      '{"handle_id":"b"},{}]',
  );
  assert.deepEqual(holderOf(block, 0), { handle: "a", attributes });
  assert.deepEqual(holderOf(block, 3), { handle: undefined, attributes: {} });
  assert.equal(holderOf(block, 4), undefined);
});

Deno.test("a certain address is given once, and its holder is named after that", () => {
  const first = takeOrdinal(fresh(), 5, { handle: "a", attributes: { node: "n1" } });
  assert("block" in first);
  assert.deepEqual(first.block.unallocated, [0, 1, 2, 3, 4, 6, 7]);
  assert.deepEqual(takeOrdinal(first.block, 5, {}), {
    holder: { handle: "a", attributes: { node: "n1" } },
  });
});

Deno.test("the number grows by one with each write; an allocation keeps its own", () => {
  const start = BigInt(NOW) * 1_000_000n;
  let block = written(take(fresh(), 1, { handle: "a" }).block);
  assert.equal(block.sequenceNumber, start + 1n);
  block = written(take(block, 1, { handle: "b" }).block);
  assert.equal(sequenceOf(block, 0), start);
  assert.equal(sequenceOf(block, 1), start + 1n);
  assert.equal(sequenceOf(block, 2), 0n);
});

Deno.test("attributes that nobody refers to go, indexes follow", () => {
  let block = fresh();
  for (const handle of ["a", "b", "c"]) block = take(block, 1, { handle }).block;
  const back = given(giveBack(block, [{ ordinal: 1, handle: "b" }], AT_ONCE));
  assert.deepEqual(back.block.allocations.slice(0, 3), [0, null, 1]);
  assert.deepEqual(back.block.attributes.map((a) => a.handle_id), ["a", "c"]);
  assert.deepEqual(Object.keys(back.block.sequenceNumberForAllocation), ["0", "2"]);
});

Deno.test("what is free already is told, and told once", () => {
  const block = take(fresh(), 1, { handle: "a" }).block;
  const back = given(giveBack(block, [0, 0, 4, 4].map((ordinal) => ({ ordinal })), AT_ONCE));
  assert.deepEqual(back.ordinals, [0]);
  assert.deepEqual(back.unallocated, [4]);
});

Deno.test("another's handle or an older number refuses all of the returns", () => {
  const block = written(take(take(fresh(), 1, { handle: "a" }).block, 1, { handle: "b" }).block);
  const wrong = giveBack(block, [{ ordinal: 0 }, { ordinal: 1, handle: "a" }], AT_ONCE);
  assert.deepEqual(wrong, { mismatch: { ordinal: 1, what: "handle", expected: "b" } });
  const old = giveBack(block, [{ ordinal: 0, sequenceNumber: 7n }], AT_ONCE);
  assert("mismatch" in old && old.mismatch.what === "sequenceNumber");
  const sequenceNumber = sequenceOf(block, 0);
  assert.deepEqual(given(giveBack(block, [{ ordinal: 0, sequenceNumber }], AT_ONCE)).ordinals, [0]);
});

Deno.test("a stored handle ends at its first carriage return", () => {
  assert.equal(cleanHandle("net.c1\r\neth0"), "net.c1");
  const block = take(fresh(), 1, { handle: "net.c1\r\neth0" }).block;
  assert.deepEqual(ordinalsOf(block, "net.c1"), [0]);
  assert.equal(holderOf(block, 0)?.handle, "net.c1");
});

Deno.test("what Windows keeps for itself does not make a block used", () => {
  const windows = take(fresh(), 3, { handle: "windows-reserved-ipam-handle" }).block;
  assert(isEmpty(windows));
  assert(!isEmpty(take(windows, 1, { handle: "a" }).block));
});

Deno.test("a block can be made nobody's", () => {
  const block = written(withoutOwner(fresh()));
  assert.equal(block.affinity, null);
  assert(!("affinity_claim_time" in block));
  assert(!isOwnedBy(block, N1));
});

Deno.test("either mark says that an address cools down, and none of a holder's does", () => {
  const releasedAt = "2026-11-22T13:44:00Z";
  const marked = (attribute: AllocationAttribute) => {
    const block = take(fresh(), 1, { handle: "a" }).block;
    return readBlock({ ...block, attributes: [attribute] }, PREFIX);
  };
  const marks = [
    { releasedAt },
    { secondary: { releasedAt } },
    { handle_id: null, secondary: { releasedAt } },
    { secondary: { releasedAt }, releasedAt },
  ];
  for (const mark of marks) {
    const block = marked(mark);
    assert.equal(holderOf(block, 0), undefined);
    assert.equal(coolingUntil(block, 0, 60), "2026-11-22T13:45:00Z");
    assert.equal(given(giveBack(block, [{ ordinal: 0 }], AT_ONCE)).ordinals.length, 0);
    assert.equal(collectCooled(block, { seconds: 60, now: NOW }), block);
    assert(isEmpty(collectCooled(block, { seconds: 1, now: NOW })));
    // Nobody who takes an address without a handle shares it.
    const taken = take(block, 1, { attributes: { releasedAt: "x" } }).block;
    assert.equal(taken.allocations[0], 0);
    assert.notEqual(taken.allocations[1], 0);
  }
  const held = marked({ handle_id: "a", secondary: { releasedAt, pod: "p" } });
  assert.deepEqual(ordinalsOf(held, "a"), [0]);
  assert.equal(holderOf(held, 0)?.handle, "a");
  assert.equal(collectCooled(held, { seconds: 1, now: NOW + 99_000 }), held);
  assert.deepEqual(holderOf(marked({}), 0), { handle: undefined, attributes: {} });
});

Deno.test("addresses of services are free at once: Calico 3.32 takes no mark in their blocks", () => {
  const cooling = { seconds: 60, now: NOW };
  const block = newBlock(PREFIX, { type: "virtual", name: "load-balancer" }, NOW);
  const back = giveBackHandle(take(block, 2, { handle: "lb-a" }).block, "lb-a", cooling).block;
  assert.deepEqual([back.attributes, freeCount(back)], [[], 8]);
  const taken = take(block, 1, { handle: "lb-a" }).block;
  const one = given(giveBack(taken, [{ ordinal: 0 }], cooling)).block;
  assert.deepEqual([one.attributes, one.sequenceNumberForAllocation], [[], {}]);
});

Deno.test("released addresses cool down for as long as it is configured", () => {
  const cooling = { seconds: 60, now: NOW };
  const block = take(fresh(), 2, { handle: "a" }).block;
  const back = giveBackHandle(block, "a", cooling).block;
  // Whole seconds, and never short of what was asked: rounded up.
  assert(NOW % 1000 > 0);
  const releasedAt = "2026-11-22T13:44:28Z";
  assert.deepEqual(back.attributes, [{ secondary: { releasedAt }, releasedAt }]);
  assert.equal(collectCooled(back, { seconds: 60, now: NOW + 59_999 }), back);
  assert.deepEqual(back.allocations.slice(0, 3), [0, 0, null]);
  assert.equal(holderOf(back, 0), undefined);
  assert.equal(freeCount(back), 6);
  assert("holder" in takeOrdinal(back, 0, {}));
  assert.equal(collectCooled(back, { seconds: 60, now: NOW + 30_000 }), back);
  const cold = collectCooled(back, { seconds: 60, now: NOW + 61_000 });
  // The clock that it cools down by was a day ahead.
  const wrong = collectCooled(back, { seconds: 60, now: NOW - 86_400_000 });
  assert.deepEqual(wrong.attributes, cold.attributes);
  assert.deepEqual(cold.unallocated, [2, 3, 4, 5, 6, 7, 0, 1]);
  assert.deepEqual(cold.attributes, []);
  const mixed = take(back, 1, { handle: "b" }).block;
  assert.deepEqual(collectCooled(mixed, AT_ONCE).attributes, [{ handle_id: "b" }]);
});

Deno.test("old and damaged blocks are read safely", () => {
  const stored = JSON.parse(JSON.stringify({ ...fresh(), sequenceNumber: 7 }));
  delete stored.affinity;
  stored.hostAffinity = "old-host";
  stored.allocations[2] = 0;
  stored.allocations[3] = 9;
  stored.attributes = null;
  stored.unallocated = [5, 2, 5, 0, 77];
  delete stored.sequenceNumberForAllocation;
  const block = readBlock(stored, PREFIX);
  assert.equal(block.affinity, "host:old-host");
  assert.equal(block.sequenceNumber, 7n);
  // Taken addresses whose attribute is lost stay taken, and no address is in the queue twice.
  assert.deepEqual(block.allocations, [null, null, 0, 0, null, null, null, null]);
  assert.deepEqual(block.attributes, [{}]);
  assert.deepEqual(block.unallocated, [5, 0, 1, 4, 6, 7]);
});

Deno.test("what is no block of the CIDR is refused", () => {
  const bad = (value: unknown) =>
    assert.throws(
      () => readBlock(value, PREFIX),
      (error) => error instanceof IpamError && error.kind === "badRecord",
    );
  bad(null);
  bad("text");
  bad({ ...fresh(), cidr: "10.1.0.8/29" });
  bad({ ...fresh(), allocations: [null] });
});

Deno.test("any sequence of takes and returns keeps the block whole", () => {
  const step = fc.record({
    what: fc.constantFrom("take", "takeOne", "back", "backHandle", "cool"),
    n: fc.nat(9),
    handle: fc.constantFrom("a", "b", undefined),
    seconds: fc.constantFrom(0, 0, 2),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    let block = fresh();
    steps.forEach(({ what, n, handle, seconds }, i) => {
      const cooldown = { seconds, now: NOW + i * 500 };
      const attributes: Record<string, string> = n % 2 ? { node: "n1" } : {};
      const claimant = { handle, attributes };
      if (what === "take") block = take(block, n, claimant, (o) => o === 3).block;
      else if (what === "takeOne") {
        const got = takeOrdinal(block, n % 8, claimant);
        if ("block" in got) block = got.block;
      } else if (what === "back") {
        const back = giveBack(block, [{ ordinal: n % 8, handle }], cooldown);
        if ("block" in back) block = back.block;
      } else if (what === "backHandle") {
        block = giveBackHandle(block, handle ?? "a", cooldown).block;
      } else block = collectCooled(block, cooldown);
      block = written(block);
      checkBlock(PREFIX, block);
    });
  }));
});
