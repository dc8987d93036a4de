import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, formatPrefix, type Ip, mustIp, mustPrefix } from "../net/mod.ts";
import { type KernelPath, NextHops, resolveByOthers } from "./next_hops.ts";
import { type PlannedRoute, RoutePlan } from "./route_plan.ts";

const unicast = (
  prefix: string,
  oif: number,
  gateway?: string,
  protocol = gateway ? 4 : 2,
  metric = 0,
): KernelPath => ({
  prefix: mustPrefix(prefix),
  protocol,
  metric,
  type: "unicast",
  hop: { oif, gateway: gateway ? mustIp(gateway) : undefined },
});
const refusing = (prefix: string, type: KernelPath["type"], metric = 0): KernelPath => ({
  prefix: mustPrefix(prefix),
  protocol: 4,
  metric,
  type,
});

const POD = 7, TUNNEL = 5;
const planned = (
  prefix: string,
  type: PlannedRoute["type"],
  ...hops: PlannedRoute["hops"]
): [string, PlannedRoute] => [prefix, { prefix: mustPrefix(prefix), protocol: 80, type, hops }];
const tunnel = (prefix: string, gateway: string) =>
  planned(prefix, "unicast", { gateway: mustIp(gateway), oif: TUNNEL, onlink: true });
const learned = (prefix: string, ...nextHops: string[]) =>
  [prefix, {
    prefix: mustPrefix(prefix),
    paths: nextHops.map((n) => ({ nextHop: mustIp(n), peer: n, attributes: {} as never })),
  }] as const;

const show = (hop?: { gateway?: Ip; oif: number; onlink?: boolean }) =>
  hop ? `${formatIp(hop.gateway!)}@${hop.oif}${hop.onlink ? " onlink" : ""}` : "none";

Deno.test("the route that matches longest decides, and no shorter one behind it", () => {
  const paths = [
    unicast("0.0.0.0/0", 2, "192.0.2.1"),
    unicast("192.0.2.0/24", 2),
    unicast("198.51.100.0/24", 3, "192.0.2.254", 4, 100),
    unicast("198.51.100.0/24", 2, "192.0.2.253", 4, 50),
    refusing("10.71.0.0/24", "unreachable"),
    refusing("10.72.0.0/24", "blackhole"),
    refusing("10.73.0.0/24", "prohibit"),
    refusing("10.74.0.0/24", "throw"),
    unicast("10.71.0.128/25", 2, "192.0.2.9"),
    refusing("10.75.0.0/24", "unreachable", 200),
    unicast("10.75.0.0/24", 2, "192.0.2.8", 4, 100),
    unicast("2001:db8::/64", 2),
    refusing("::/0", "unreachable", 0xffffffff),
  ];
  const plan = new RoutePlan(() => paths);
  plan.changeEndpoint(...planned("10.244.1.7/32", "unicast", { oif: POD }));
  plan.changeEndpoint(...planned("192.0.2.77/32", "unicast", { oif: POD }));
  plan.whole({
    ownBlocks: [mustPrefix("10.244.1.0/26"), mustPrefix("192.0.2.64/26")],
    tunnels: new Map([
      tunnel("10.244.2.0/26", "10.244.2.0"),
      planned("10.244.9.9/32", "unicast", { oif: TUNNEL }),
      tunnel("192.0.2.128/26", "192.0.2.128"),
    ]),
  }, {
    learned: new Map([
      learned("10.250.0.0/26", "192.0.2.12"),
      learned("192.0.2.12/32", "192.0.2.13"),
      learned("192.0.2.0/24", "192.0.2.13"),
      learned("10.244.0.0/16", "192.0.2.13"),
      learned("10.244.2.0/28", "192.0.2.13"),
      learned("0.0.0.0/0", "192.0.2.13"),
      learned("10.71.0.0/24", "192.0.2.13"),
    ]),
    takesLearned: ({ ip, length }) => !(length === 28 && formatIp(ip) === "10.244.2.0"),
  });
  const cases: [nextHop: string, hop: string, what: string, reached?: string][] = [
    ["192.0.2.13", "192.0.2.13@2", "on its link"],
    ["198.51.100.5", "192.0.2.253@2", "through the route of the lower metric"],
    ["172.30.0.1", "192.0.2.1@2", "by the default route; one of a peer stands not beside it"],
    ["10.71.0.9", "none", "unreachable, not by the default route"],
    ["10.71.0.200", "192.0.2.9@2", "longer than the unreachable one"],
    ["10.72.0.9", "none", "somebody's blackhole"],
    ["10.73.0.9", "none", "prohibited"],
    ["10.74.0.9", "none", "thrown out of the table"],
    ["10.75.0.9", "192.0.2.8@2", "of two the lower metric"],
    ["2001:db8::9", "2001:db8::9@2", "on its link"],
    ["2001:db9::9", "none", "no default route but the kernel's refusal"],
    ["10.244.1.7", "10.244.1.7@7", "a pod of this node"],
    ["10.244.1.8", "none", "a blackhole of ours"],
    ["10.244.2.3", "10.244.2.0@5 onlink", "a block behind a tunnel; BGP has no say about it"],
    ["10.244.9.9", "10.244.9.9@5", "a tunnel's address"],
    ["10.250.0.5", "none", "BGP does not resolve through BGP", "192.0.2.1@2"],
    ["10.244.7.1", "none", "nor through a shorter prefix of it", "192.0.2.1@2"],
    ["192.0.2.12", "192.0.2.12@2", "a neighbour, whose address a peer announces"],
    ["192.0.2.70", "192.0.2.70@2", "a neighbour in a block of ours"],
    ["192.0.2.130", "192.0.2.130@2", "a neighbour in a tunnelled block"],
    ["192.0.2.77", "192.0.2.77@7", "a pod in the nodes' subnet"],
  ];
  for (const [nextHop, hop, what, reached = hop] of cases) {
    assert.equal(show(plan.nextHops.resolve(mustIp(nextHop))), hop, `${nextHop}: ${what}`);
    assert.equal(show(plan.nextHops.reaches(mustIp(nextHop))), reached, `${nextHop}: ${what}`);
  }
  assert.equal(show(resolveByOthers(paths, mustIp("10.244.2.3"))), "192.0.2.1@2", "no tunnel");
  assert.equal(show(resolveByOthers(paths, mustIp("10.71.0.9"))), "none");
  assert.equal(resolveByOthers([], mustIp("10.0.0.1")), undefined);
});

Deno.test("ever new next hops are not all kept, and those in use are found out anew", () => {
  const pods = new Map<string, PlannedRoute>();
  const nextHops = new NextHops(() => [unicast("0.0.0.0/0", 2, "192.0.2.1")], {
    endpoint: (key) => pods.get(key),
    own: () => undefined,
    isLearned: () => false,
    prefixes: () => [],
  }, 10);
  const ask = (n: number) => show(nextHops.resolve(mustIp(`10.0.0.${n}`)));
  for (let n = 0; n < 10; n++) assert.equal(ask(n), "192.0.2.1@2");
  assert.equal(nextHops.takeRoutesMoved(), false);
  ask(10);
  assert.deepEqual([nextHops.takeRoutesMoved(), nextHops.takeChoiceMoved()], [true, true]);
  // Known no more, so that no change tells of it.
  pods.set(...planned("10.0.0.7/32", "unicast", { oif: POD }));
  nextHops.changed([mustPrefix("10.0.0.7/32")]);
  assert.equal(nextHops.takeRoutesMoved(), false);
  assert.equal(ask(7), "10.0.0.7@7");
});

const PREFIXES = ["10.1.0.0/16", "10.1.1.0/24", "10.1.1.0/28", "10.1.1.1/32", "10.2.0.0/16"];
const HOPS = ["10.1.1.1", "10.1.1.2", "10.1.2.1", "10.2.0.1", "192.0.2.7"];

Deno.test("after any changes next hops are resolved as if all had been found out anew", () => {
  const prefix = fc.constantFrom(...PREFIXES);
  const change = fc.oneof(
    fc.record({ what: fc.constant("endpoint" as const), prefix, there: fc.boolean() }),
    fc.record({
      what: fc.constant("learned" as const),
      prefix,
      hops: fc.subarray(HOPS, { maxLength: 2 }),
    }),
    fc.record({
      what: fc.constant("own" as const),
      blocks: fc.subarray(PREFIXES),
      tunnels: fc.subarray(PREFIXES),
    }),
  );
  const others = fc.subarray([
    unicast("0.0.0.0/0", 2, "192.0.2.1"),
    unicast("192.0.2.0/24", 2),
    unicast("10.1.1.0/24", 3),
    refusing("10.2.0.0/16", "unreachable"),
  ]);
  const text = (r: PlannedRoute) =>
    `${r.type} ${r.protocol} ${r.hops.map((h) => JSON.stringify(h))}`;
  fc.assert(fc.property(others, fc.array(change, { maxLength: 25 }), (paths, changes) => {
    const from = { learned: new Map<string, ReturnType<typeof learned>[1]>() };
    const endpoints = new Map<string, PlannedRoute>();
    let own = { ownBlocks: [] as ReturnType<typeof mustPrefix>[], tunnels: new Map() };
    const plan = new RoutePlan(() => paths);
    let routes = plan.whole(own, from);
    const want = (key: string) => {
      const route = plan.at(key);
      if (route) routes.set(key, route);
      else routes.delete(key);
    };
    let reached = HOPS.map((hop) => plan.nextHops.reaches(mustIp(hop)) !== undefined);
    for (const c of changes) {
      if (c.what === "endpoint") {
        const [key, route] = planned(c.prefix, "unicast", { oif: POD });
        if (c.there) endpoints.set(key, route);
        else endpoints.delete(key);
        plan.changeEndpoint(key, endpoints.get(key));
        want(key);
      } else if (c.what === "own") {
        own = {
          ownBlocks: c.blocks.map(mustPrefix),
          tunnels: new Map(c.tunnels.map((p) => tunnel(p, "10.9.9.9"))),
        };
        for (const key of plan.changeOwn(own)) want(key);
      } else {
        if (c.hops.length === 0) from.learned.delete(c.prefix);
        else from.learned.set(...learned(c.prefix, ...c.hops));
        plan.changeLearned([c.prefix]);
        want(c.prefix);
      }
      if (plan.nextHops.takeRoutesMoved()) routes = plan.again();
      const fresh = new RoutePlan(() => paths);
      endpoints.forEach((route, key) => fresh.changeEndpoint(key, route));
      const wanted = fresh.whole(own, from);
      const list = (map: Map<string, PlannedRoute>) =>
        [...map].map(([key, route]) => `${key} ${text(route)}`).sort();
      assert.deepEqual(list(routes), list(wanted));
      assert.deepEqual([...plan.unresolved].sort(), [...fresh.unresolved].sort());
      const now = HOPS.map((hop) => fresh.nextHops.reaches(mustIp(hop)) !== undefined);
      assert.deepEqual(HOPS.map((h) => plan.nextHops.reaches(mustIp(h)) !== undefined), now);
      const moved = String(now) !== String(reached);
      assert.equal(
        plan.nextHops.takeChoiceMoved(),
        moved,
        "BGP is told when its choice hangs on it",
      );
      reached = now;
      for (const [key, route] of routes) assert.equal(key, formatPrefix(route.prefix));
    }
  }));
});
