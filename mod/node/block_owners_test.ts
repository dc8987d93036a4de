import assert from "node:assert/strict";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { legibleBlock } from "../ipam/block.ts";
import { formatPrefix, mustPrefix, parsePrefix } from "../net/mod.ts";
import { locatedIn, locatesAlike } from "./block_owners.ts";
import { block, type BlockWishes } from "./testing/world.ts";

/** Of a block as it stands in the store. */
function located(value: { cidr: string; [member: string]: unknown }): string[] {
  const prefix = parsePrefix(value.cidr) ?? mustPrefix("10.0.0.0/26");
  const { block } = legibleBlock(value, prefix);
  return (block ? locatedIn(block) : []).map(({ prefix, node }) =>
    `${formatPrefix(prefix)} ${node}`
  );
}

Deno.test("a block stands for its addresses, but for those that another node has borrowed", () => {
  const given = { "10.0.0.3": "a", "10.0.0.4": "b", "10.0.0.9": "c" };
  assert.deepEqual(located(block("10.0.0.0/26", { node: "a", given })), [
    "10.0.0.0/26 a",
    "10.0.0.4/32 b",
    "10.0.0.9/32 c",
  ]);
  assert.deepEqual(located(block("fd00::/122", { node: "a", given: { "fd00::7": "b" } })), [
    "fd00::/122 a",
    "fd00::7/128 b",
  ]);
});

Deno.test("of a block that is nobody's any more each address stands for itself", () => {
  const given = { "10.0.0.3": "a", "10.0.0.4": "b" };
  assert.deepEqual(located(block("10.0.0.0/26", { given })), ["10.0.0.3/32 a", "10.0.0.4/32 b"]);
  assert.deepEqual(located({ ...block("10.0.0.0/26", {}), affinity: "virtual:load-balancer" }), []);
});

Deno.test("very old owners count, released addresses and rubbish do not", () => {
  const old = { ...block("10.0.0.0/26", {}), affinity: undefined, hostAffinity: "a" };
  assert.deepEqual(located(old), ["10.0.0.0/26 a"]);
  const cooling = block("10.0.0.0/26", { node: "a", given: { "10.0.0.3": "b" } });
  Object.assign(cooling.attributes[0], { releasedAt: "2026-11-25T00:00:00Z" });
  assert.deepEqual(located(cooling), ["10.0.0.0/26 a"]);
  assert.deepEqual(located({ ...block("10.0.0.0/26", { node: "a" }), allocations: "x" }), [
    "10.0.0.0/26 a",
  ]);
  assert.deepEqual(located({ ...block("10.0.0.0/26", { node: "a" }), allocations: [7, "x"] }), [
    "10.0.0.0/26 a",
  ]);
  assert.deepEqual(located({ ...block("10.0.0.0/26", { node: "a" }), cidr: "nonsense" }), []);
  const strange = {
    ...block("10.0.0.0/26", { node: "a", given: { "10.0.0.3": "b" } }),
    affinity: 5,
  };
  assert.deepEqual(located(strange), ["10.0.0.3/32 b"]);
});

Deno.test("pods of the block's node change nothing, all else does", () => {
  const wishes = { node: "a", given: { "10.0.0.3": "a", "10.0.0.4": "b" } };
  const before = block("10.0.0.0/26", wishes);
  const alike = (given: BlockWishes["given"], more: object = {}) =>
    locatesAlike(
      before as AllocationBlock,
      { ...block("10.0.0.0/26", { node: "a", given }), ...more } as AllocationBlock,
    );
  const { given } = wishes;
  assert(alike(given));
  assert(alike({ "10.0.0.4": "b", "10.0.0.5": "a", "10.0.0.7": "a" }));
  assert(!alike({ "10.0.0.3": "a" }));
  assert(!alike({ "10.0.0.3": "a", "10.0.0.4": "c" }));
  assert(!alike({ ...given, "10.0.0.9": "b" }));
  assert(!alike(given, { affinity: "host:b" }));
  assert(!alike(given, { affinity: null }));
  assert(!alike({ ...given, "10.0.0.9": { node: "a", handle: "vxlan-tunnel-addr-a" } }));
});
