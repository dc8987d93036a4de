import assert from "node:assert/strict";
import fc from "fast-check";
import { mustIp } from "../net/mod.ts";
import {
  answered,
  beginSearch,
  narrowPath,
  nextSize,
  type PathPeer,
  PathSchedule,
  resultOf,
} from "./path_mtu.ts";

/** Searches a path that passes so much; the sizes that were tried. */
function search(wanted: number, family: 4 | 6, passes: number) {
  let state = beginSearch(wanted, family);
  const tried: number[] = [];
  for (let size; (size = nextSize(state)) !== undefined;) {
    tried.push(size);
    assert.ok(tried.length < 30, `${tried}`);
    state = answered(state, size, size <= passes);
  }
  return { result: resultOf(state), tried };
}

Deno.test("a wide path is one packet, a deaf peer two", () => {
  assert.deepEqual(search(1500, 4, 1500), {
    result: { configured: 1500, measured: 1500, verdict: "ok" },
    tried: [1500],
  });
  assert.deepEqual(search(1500, 6, 0), {
    result: { configured: 1500, verdict: "no answer" },
    tried: [1500, 1280],
  });
});

Deno.test("whatever a path passes is found to the byte, in few packets", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100, max: 9216 }),
      fc.constantFrom(4 as const, 6 as const),
      fc.nat(10_000),
      (wanted, family, passes) => {
        const { result, tried } = search(wanted, family, passes);
        const floor = Math.min(family === 4 ? 576 : 1280, wanted);
        const expected = passes >= wanted
          ? { configured: wanted, measured: wanted, verdict: "ok" }
          : passes < floor
          ? { configured: wanted, verdict: "no answer" }
          : { configured: wanted, measured: passes, verdict: "too narrow" };
        assert.deepEqual(result, expected);
        assert.ok(tried.length <= 2 + Math.ceil(Math.log2(9216)), `${tried}`);
        assert.equal(new Set(tried).size, tried.length, "no size twice");
      },
    ),
  );
});

const peer = (node: string, wanted = 1500): PathPeer => ({
  node,
  ip: mustIp("192.0.2.1"),
  wanted,
});
const ok = { configured: 1500, measured: 1500, verdict: "ok" } as const;
const narrow = { configured: 1500, measured: 1300, verdict: "too narrow" } as const;

Deno.test("everybody has his turn: new ones at once, narrow ones soon, good ones later", () => {
  const schedule = new PathSchedule({ good: 300, other: 15 });
  assert.equal(schedule.next(0), undefined);
  const [a, b] = [peer("a"), peer("b")];
  schedule.setPeers([b, a], 0);
  assert.equal(schedule.next(0), b);
  assert.deepEqual(schedule.done(b, ok, 1), { before: undefined });
  assert.equal(schedule.next(1), a);
  assert.deepEqual(schedule.done(a, narrow, 2), { before: undefined });
  assert.equal(schedule.next(2), 15);
  assert.equal(schedule.next(17), a);
  assert.equal(schedule.done(a, narrow, 18), undefined, "nothing new");
  assert.deepEqual(schedule.done(a, ok, 40), { before: narrow });
  assert.equal(schedule.next(41), 260);
  assert.deepEqual(schedule.results().map((r) => r.peer.node), ["a", "b"]);
  // Another MTU: asked at once, and what was known is void.
  schedule.setPeers([a, peer("b", 1450)], 50);
  assert.deepEqual(schedule.next(50), peer("b", 1450));
  assert.equal(schedule.done(b, ok, 51), undefined, "an answer to an old question");
  assert.deepEqual(schedule.results().map((r) => r.peer.node), ["a"]);
  schedule.setPeers([], 60);
  assert.equal(schedule.next(60), undefined);
});

Deno.test("the words name the pair, the sizes and what to do", () => {
  assert.match(
    narrowPath(peer("node3"), narrow),
    /node3 \(192\.0\.2\.1\).*at most 1300 bytes.*may send 1500: raise .* or lower/,
  );
});
