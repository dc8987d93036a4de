import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPrefix, mustPrefix, type Prefix, prefixCovers, prefixOf } from "../../net/mod.ts";
import { newBlock } from "../block.ts";
import { placeFaults } from "./owner_faults.ts";

const blockOf = (prefix: Prefix) => ({
  prefix,
  block: newBlock(prefix, { type: "host", name: "n1" }, 0),
});

function overlapsOf(prefixes: readonly Prefix[]): string[] {
  return placeFaults(prefixes.map(blockOf), []).findings
    .filter(({ kind }) => kind === "blocksOverlap").map(({ subject }) => subject).sort();
}

Deno.test("blocks in each other's way: every pair, the wider first", () => {
  const block = fc.record({
    base: fc.constantFrom("10.0.0.0/24", "fd00::/120"),
    last: fc.nat(255),
    short: fc.integer({ min: 0, max: 4 }),
  }).map(({ base, last, short }) => {
    const { ip } = mustPrefix(base);
    const bytes = ip.bytes.slice();
    bytes[bytes.length - 1] = last;
    return prefixOf({ ...ip, bytes }, bytes.length * 8 - short);
  });
  fc.assert(fc.property(fc.uniqueArray(block, { selector: formatPrefix, maxLength: 40 }), (all) => {
    const pairs = all.flatMap((a) =>
      all.filter((b) => a.length < b.length && prefixCovers(a, b))
        .map((b) => `${formatPrefix(a)} ${formatPrefix(b)}`)
    );
    assert.deepEqual(overlapsOf(all), pairs.sort());
  }));
});

Deno.test("blocks in each other's way: as many looks as blocks, not as pairs of them", () => {
  let looks = 0;
  const counted = Array.from({ length: 4000 }, (_, i) => {
    const length = i < 2000 ? 28 : 29;
    const { prefix, block } = blockOf(mustPrefix(`10.0.${i >> 4}.${(i & 15) * 16}/${length}`));
    return {
      block,
      get prefix() {
        looks++;
        return prefix;
      },
    };
  });
  placeFaults(counted, []);
  // A sort of 4,000 and some for each; one for each pair of two sizes would be four million.
  assert.ok(looks < 200_000, `${looks}`);
});
