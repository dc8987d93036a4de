/** The table and the lists around it, against a model that remembers everything. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import type { Attributes } from "../message/attributes.ts";
import { Writer } from "../message/bytes.ts";
import { Framer } from "../message/framer.ts";
import { decodeUpdate } from "../message/update.ts";
import { keyOf, type PrefixKey } from "../prefix_key.ts";
import { AdjRibIn } from "./adj_rib_in.ts";
import { AdjRibOut } from "./adj_rib_out.ts";
import { LocRib } from "./loc_rib.ts";
import type { RouteSource } from "./route.ts";

const KEYS = Array.from({ length: 6 }, (_, i) => keyOf(mustPrefix(`10.${i}.0.0/16`)));
const ATTRIBUTES: Attributes[] = [50, 100, 200].map((localPref) => ({
  origin: 0,
  asPath: [],
  localPref,
  nextHop: mustIp("192.0.2.1"),
}));
const SOURCES: RouteSource[] = [1, 2, 3].map((n) => ({
  kind: "peer",
  name: `peer${n}`,
  internal: true,
  as: 1,
  routerId: n,
  address: mustIp(`10.0.0.${n}`),
  client: false,
}));

const LOST = { deadline: 0 };

const context = { metric: () => 0, multipath: false };
const accept = (_: PrefixKey, attributes: Attributes) => ({ attributes });

type Action =
  | { do: "announce"; peer: number; key: number; attributes: number }
  | { do: "withdraw"; peer: number; key: number }
  | { do: "stale" | "sweep" | "clear"; peer: number }
  | { do: "settle" };

const peer = fc.nat(2), key = fc.nat(5);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("announce" as const),
      peer,
      key,
      attributes: fc.nat(2),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("withdraw" as const), peer, key }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constantFrom("stale", "sweep", "clear"), peer }),
  },
  { weight: 2, arbitrary: fc.constant({ do: "settle" as const }) },
) as fc.Arbitrary<Action>;

Deno.test("whatever peers do, the best route is the best of what is there, and neighbours hear of it", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
      const table = new LocRib(context);
      const ribs = SOURCES.map(() => new AdjRibIn(table));
      // Per peer: key to attributes and staleness.
      const model = SOURCES.map(() => new Map<number, { attributes: number; stale: boolean }>());
      const told = new Map<PrefixKey, number>();
      const out = new AdjRibOut(
        new Set(["ipv4"]),
        { asSize: 4 },
        (k) => table.get(k)?.best?.attributes,
      );
      const settle = () => {
        for (const { destination, bestChanged } of table.settle()) {
          if (bestChanged) out.mark(destination.key);
        }
        const writer = new Writer();
        out.flush(writer);
        new Framer({
          onError: (error) => assert.fail(error.text),
          onMessage: (_, body) => {
            const update = decodeUpdate(body, {
              asSize: 4,
              internal: true,
              families: new Set(["ipv4"]),
            });
            assert.ok(update.answer === "accept");
            for (const k of update.withdrawn) assert.ok(told.delete(k), "withdrawn but never told");
            for (const { keys, attributes } of update.announced) {
              for (const k of keys) {
                assert.notEqual(told.get(k), attributes.localPref, "told twice");
                told.set(k, attributes.localPref!);
              }
            }
          },
        }).push(writer.done());
        KEYS.forEach((k, i) => {
          const prefs = model.flatMap((m) => {
            const route = m.get(i);
            return route ? [ATTRIBUTES[route.attributes].localPref!] : [];
          });
          const best = prefs.length === 0 ? undefined : Math.max(...prefs);
          assert.equal(table.get(k)?.best?.attributes.localPref, best);
          assert.equal(told.get(k), best);
        });
      };
      for (const a of actions) {
        if (a.do === "settle") {
          settle();
          continue;
        }
        const [rib, routes] = [ribs[a.peer], model[a.peer]];
        switch (a.do) {
          case "announce":
            rib.announce(KEYS[a.key], ATTRIBUTES[a.attributes], SOURCES[a.peer], 0, accept);
            routes.set(a.key, { attributes: a.attributes, stale: false });
            break;
          case "withdraw":
            rib.withdraw(KEYS[a.key]);
            routes.delete(a.key);
            break;
          case "stale":
            rib.markStale("ipv4", LOST);
            for (const r of routes.values()) r.stale = true;
            break;
          case "sweep":
            rib.sweep("ipv4");
            for (const [k, r] of routes) if (r.stale) routes.delete(k);
            break;
          case "clear":
            rib.clear();
            routes.clear();
        }
        assert.equal(rib.size, routes.size);
        assert.equal(rib.accepted, routes.size);
        assert.equal(rib.stale, [...routes.values()].filter((r) => r.stale).length);
      }
      settle();
      for (const rib of ribs) rib.clear();
      for (const m of model) m.clear();
      settle();
      assert.equal(table.size, 0);
    }),
    { numRuns: 400 },
  );
});

Deno.test("a route that comes again as it was is no change", () => {
  const table = new LocRib(context);
  const rib = new AdjRibIn(table);
  rib.announce(KEYS[0], ATTRIBUTES[0], SOURCES[0], 0, accept);
  assert.equal(table.settle().length, 1);
  rib.markStale("ipv4", LOST);
  rib.announce(KEYS[0], ATTRIBUTES[0], SOURCES[0], 9, accept);
  assert.equal(rib.stale, 0);
  assert.equal(table.unsettled, false);
});

Deno.test("import rules are applied again without the peer", () => {
  const table = new LocRib(context);
  const rib = new AdjRibIn(table);
  rib.announce(KEYS[0], ATTRIBUTES[0], SOURCES[0], 0, accept);
  rib.announce(KEYS[1], ATTRIBUTES[0], SOURCES[0], 0, accept);
  rib.markStale("ipv4", LOST);
  table.settle();
  rib.rejudge((k, attributes) => ({
    attributes,
    blocked: k === KEYS[0] ? "refused by filter: test" : undefined,
  }));
  table.settle();
  assert.equal(table.get(KEYS[0])?.best, undefined);
  assert.ok(table.get(KEYS[1])?.best);
  assert.deepEqual([rib.size, rib.accepted, rib.stale], [2, 1, 2]);
  rib.rejudge(accept);
  table.settle();
  assert.ok(table.get(KEYS[0])?.best);
  assert.deepEqual([rib.accepted, rib.stale], [2, 2]);
});

Deno.test("ten thousand prefixes with equal attributes go into a few messages", () => {
  const attributes = ATTRIBUTES[1];
  const out = new AdjRibOut(new Set(["ipv4"]), { asSize: 4 }, () => attributes);
  for (let i = 0; i < 10_000; i++) out.mark(((10 << 24) + (i << 6)) * 64 + 26);
  let messages = 0;
  while (out.pending) messages += out.flush(new Writer());
  assert.equal(out.size, 10_000);
  // 4 octets a prefix of length 26 and one of length: 5; 4096 - 19 - 4 - 21 hold 810 of them.
  assert.ok(messages <= 15, String(messages));
});

Deno.test("a refresh tells everything again, and a withdrawal in the middle is not lost", () => {
  let present: Attributes | undefined = ATTRIBUTES[0];
  const out = new AdjRibOut(new Set(["ipv4"]), { asSize: 4 }, () => present);
  for (const k of KEYS) out.mark(k);
  out.flush(new Writer());
  out.mark(KEYS[0]);
  const quiet = new Writer();
  assert.equal(out.flush(quiet), 0, "nothing has changed");
  out.force("ipv4");
  const again = new Writer();
  assert.equal(out.flush(again), 1);
  out.force("ipv4");
  present = undefined;
  const gone = new Writer();
  assert.equal(out.flush(gone), 1);
  assert.equal(out.size, 0);
});
