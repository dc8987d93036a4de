import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import type { AsSegment, Attributes } from "../message/attributes.ts";
import { keyOf } from "../prefix_key.ts";
import { decide, type DecisionContext } from "./decision.ts";
import { LOCAL, Route, type RouteSource } from "./route.ts";

const KEY = keyOf(mustPrefix("10.0.0.0/8"));

const context: DecisionContext = {
  multipath: true,
  metric: (route) => {
    const last = route.attributes.nextHop!.bytes[3];
    return last === 99 ? undefined : last >= 50 ? 20 : 10;
  },
};

const path = (...asns: number[]): AsSegment[] => asns.length ? [{ type: "sequence", asns }] : [];

function source(n: number, extra: Partial<RouteSource> = {}): RouteSource {
  return {
    kind: "peer",
    name: `peer${n}`,
    internal: true,
    as: 64512,
    routerId: n,
    address: mustIp(`10.0.0.${n}`),
    client: false,
    ...extra,
  };
}

function route(
  n: number,
  attributes: Partial<Attributes> = {},
  extra: Partial<RouteSource> = {},
  blocked?: string,
): Route {
  const all: Attributes = {
    origin: 0,
    asPath: path(65001),
    nextHop: mustIp(`192.0.2.${n}`),
    localPref: 100,
    ...attributes,
  };
  return new Route(KEY, source(n, extra), all, all, 0, blocked);
}

/** Each row: the winner, the loser, and what the loser is told. */
const ROWS: [string, Route, Route, RegExp][] = [
  [
    "our own",
    new Route(KEY, LOCAL, { origin: 2, asPath: [] }, { origin: 2, asPath: [] }, 0),
    route(1, { localPref: 999 }),
    /another has a route of our own \(own against learned\)/,
  ],
  [
    "local preference",
    route(2, { localPref: 101, asPath: path(1, 2, 3) }),
    route(1),
    /higher local preference \(101 against 100\)/,
  ],
  [
    "no local preference is 100",
    route(2, { localPref: 99, asPath: [] }),
    route(1, {
      localPref: 98,
    }),
    /99 against 98/,
  ],
  [
    "AS path",
    route(2, { asPath: path(1) }),
    route(1, { asPath: path(1, 2) }),
    /shorter AS path \(1 against 2\)/,
  ],
  [
    "a set counts as one",
    route(2, { asPath: [{ type: "set", asns: [1, 2, 3] }] }),
    route(1, {
      asPath: path(1, 2),
    }),
    /shorter AS path/,
  ],
  ["origin", route(2), route(1, { origin: 2 }), /better origin \(igp against incomplete\)/],
  ["MED of one neighbour", route(2, { med: 5 }), route(1, { med: 6 }), /lower MED \(5 against 6\)/],
  ["no MED is 0", route(2), route(1, { med: 1 }), /lower MED \(0 against 1\)/],
  ["external", route(2, {}, { internal: false }), route(1), /an external peer/],
  ["nearer", route(2), route(51, {}, { routerId: 1 }), /nearer next hop \(10 against 20\)/],
  ["router ID", route(1), route(2), /lower router ID \(0\.0\.0\.1 against 0\.0\.0\.2\)/],
  ["originator instead of router ID", route(9, { originatorId: 1 }), route(2), /lower router ID/],
  [
    "cluster list",
    route(2, { originatorId: 7, clusterList: [1] }),
    route(1, { originatorId: 7, clusterList: [1, 2] }),
    /shorter cluster list/,
  ],
  [
    "peer address",
    route(1, {}, { routerId: 7 }),
    route(2, {}, { routerId: 7 }),
    /lower peer address \(10\.0\.0\.1 against 10\.0\.0\.2\)/,
  ],
  [
    "blocked",
    route(2, { localPref: 1 }),
    route(1, {}, {}, "our own AS is in the path"),
    /^our own AS is in the path$/,
  ],
  [
    "unreachable",
    route(2, { localPref: 1 }),
    route(99),
    /next hop 192\.0\.2\.99 cannot be reached/,
  ],
];

Deno.test("each rule, in both orders, and what it says", () => {
  for (const [name, winner, loser, words] of ROWS) {
    for (const routes of [[winner, loser], [loser, winner]]) {
      const why = new Map<Route, string>();
      const { best } = decide(routes, context, why);
      assert.equal(best, winner, name);
      assert.match(why.get(loser)!, words, name);
      assert.ok(why.get(winner), name);
      assert.equal(decide(routes, context).best, winner, `${name}, without explanation`);
    }
  }
});

Deno.test("MED is not compared between neighbours", () => {
  const a = route(1, { asPath: path(65001), med: 100 });
  const b = route(2, { asPath: path(65002), med: 1 });
  assert.equal(decide([a, b], context).best, a); // by router ID
  // Deterministic whatever the order: b drops c first, then a and b go on.
  const c = route(0, { asPath: path(65002), med: 50 });
  for (const routes of [[a, b, c], [c, b, a], [b, c, a]]) {
    assert.equal(decide(routes, context).best, a);
  }
});

Deno.test("equally good routes are used together, one for each next hop", () => {
  const hops = (routes: Route[], multipath = true) =>
    decide(routes, { ...context, multipath }).used.map((r) => formatIp(r.attributes.nextHop!));
  const a = route(1), b = route(2), c = route(3, { localPref: 50 });
  const same = route(4, { nextHop: mustIp("192.0.2.2") });
  assert.deepEqual(hops([b, a, c, same]), ["192.0.2.1", "192.0.2.2"]);
  assert.deepEqual(hops([b, a], false), ["192.0.2.1"]);
  assert.deepEqual(hops([route(99)]), []);
  assert.deepEqual(hops([a]), ["192.0.2.1"]);
  const own = new Route(KEY, LOCAL, { origin: 0, asPath: [] }, { origin: 0, asPath: [] }, 0);
  assert.deepEqual(hops([own, a]), []);
  assert.deepEqual(hops([own]), []);
});

Deno.test("the order of the routes never matters, nor does explaining", () => {
  const any = fc.record({
    n: fc.integer({ min: 1, max: 99 }),
    localPref: fc.constantFrom(100, 200),
    asPath: fc.constantFrom(path(1), path(2), path(1, 2)),
    origin: fc.constantFrom(0, 1) as fc.Arbitrary<0 | 1>,
    med: fc.constantFrom(undefined, 5, 9),
    internal: fc.boolean(),
    routerId: fc.integer({ min: 1, max: 3 }),
    clusterList: fc.constantFrom(undefined, [1], [1, 2]),
  }).map(({ n, internal, routerId, ...attributes }) =>
    route(n, attributes, { internal, routerId })
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(any, { selector: (r) => r.source.name, maxLength: 8 }).chain((routes) =>
        fc.tuple(fc.constant(routes), fc.shuffledSubarray(routes, { minLength: routes.length }))
      ),
      ([routes, shuffled]) => {
        const why = new Map<Route, string>();
        const one = decide(routes, context, why);
        const two = decide(shuffled, context);
        assert.equal(one.best, two.best);
        const hops = (d: typeof one) => d.used.map((r) => formatIp(r.attributes.nextHop!)).sort();
        assert.deepEqual(hops(one), hops(two));
        assert.equal(why.size, routes.length, "every route is told why");
        if (one.best) assert.equal(one.used[0], one.best);
      },
    ),
    { numRuns: 1000 },
  );
});
