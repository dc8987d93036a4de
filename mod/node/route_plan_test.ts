import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustIp, mustPrefix } from "../net/mod.ts";
import type { KernelPath } from "./next_hops.ts";
import { type PlannedRoute, RoutePlan } from "./route_plan.ts";

const path = (prefix: string, oif: number, gateway?: string, protocol = 2): KernelPath => ({
  prefix: mustPrefix(prefix),
  protocol,
  metric: 0,
  type: "unicast",
  hop: { oif, gateway: gateway ? mustIp(gateway) : undefined },
});

const table: KernelPath[] = [
  path("0.0.0.0/0", 2, "192.0.2.1", 3),
  path("192.0.2.0/24", 2),
  { prefix: mustPrefix("203.0.113.0/24"), protocol: 4, metric: 0, type: "unreachable" },
];

const text = (r: PlannedRoute | undefined) =>
  r &&
  `${r.type} ${r.protocol} ${
    r.hops.map((h) => `${h.gateway ? formatIp(h.gateway) : "-"}@${h.oif}`)
  }`;

const learned = (prefix: string, ...nextHops: string[]) => ({
  prefix: mustPrefix(prefix),
  paths: nextHops.map((n) => ({ nextHop: mustIp(n), peer: n, attributes: {} as never })),
});

/** What BGP has learned, with 203.0.113.1 as a next hop that nothing leads to. */
function inputs(...changes: ReturnType<typeof learned>[]) {
  return {
    learned: new Map(changes.map((change) => [formatPrefix(change.prefix), change])),
  };
}

const endpointRoute = (prefix: string, oif: number): PlannedRoute => ({
  prefix: mustPrefix(prefix),
  protocol: 80,
  type: "unicast",
  hops: [{ oif }],
});
const own = {
  ownBlocks: [mustPrefix("10.244.1.0/26"), mustPrefix("10.244.9.9/32")],
};

Deno.test("endpoints win over blocks, blocks over peers", () => {
  const plan = new RoutePlan(() => table);
  plan.changeEndpoint("10.244.1.7/32", endpointRoute("10.244.1.7/32", 7));
  const routes = plan.whole(
    own,
    inputs(
      learned("10.244.1.0/26", "192.0.2.12"),
      learned("10.244.1.7/32", "192.0.2.12"),
      learned("10.244.2.0/26", "192.0.2.12", "192.0.2.13", "192.0.2.12"),
      learned("10.244.3.0/26", "203.0.113.1"),
    ),
  );
  assert.equal(text(routes.get("10.244.1.7/32")), "unicast 80 -@7");
  assert.equal(text(routes.get("10.244.1.0/26")), "blackhole 80 ");
  assert.equal(text(routes.get("10.244.2.0/26")), "unicast 81 192.0.2.12@2,192.0.2.13@2");
  assert.equal(routes.get("10.244.9.9/32"), undefined);
  assert.deepEqual([...plan.unresolved], ["10.244.3.0/26"]);
});

Deno.test("asked for the keys that changed, the plan is as if it had been made anew", () => {
  const plan = new RoutePlan(() => table);
  const from = inputs(
    learned("10.244.1.0/26", "192.0.2.12"),
    learned("10.244.2.0/26", "192.0.2.12"),
  );
  let oif = 7;
  plan.changeEndpoint("10.244.1.7/32", endpointRoute("10.244.1.7/32", oif));
  const routes = plan.whole(own, from);
  const settle = (keys: Iterable<string>) => {
    for (const key of keys) {
      const route = plan.at(key);
      if (route) routes.set(key, route);
      else routes.delete(key);
    }
  };
  const check = (now: typeof own) => {
    const other = new RoutePlan(() => table);
    other.changeEndpoint("10.244.1.7/32", endpointRoute("10.244.1.7/32", oif));
    assert.deepEqual(
      [...routes].map(([key, r]) => [key, text(r)]).sort(),
      [...other.whole(now, from)].map(([key, r]) => [key, text(r)]).sort(),
    );
    assert.deepEqual(plan.unresolved, other.unresolved);
  };
  // What BGP has to say.
  from.learned.delete("10.244.2.0/26");
  from.learned.set("10.244.3.0/26", learned("10.244.3.0/26", "203.0.113.1"));
  from.learned.set("10.244.4.0/26", learned("10.244.4.0/26", "192.0.2.13"));
  settle(["10.244.2.0/26", "10.244.3.0/26", "10.244.4.0/26"]);
  check(own);
  from.learned.delete("10.244.3.0/26");
  settle(["10.244.3.0/26"]);
  check(own);
  // A block of ours is given up: a peer's route to it was there all the time. A pod moves.
  const later = { ownBlocks: [] };
  settle(plan.changeOwn(later));
  oif = 8;
  plan.changeEndpoint("10.244.1.7/32", endpointRoute("10.244.1.7/32", oif));
  settle(["10.244.1.7/32"]);
  check(later);
  assert.equal(text(routes.get("10.244.1.0/26")), "unicast 81 192.0.2.12@2");
  settle(plan.changeOwn(own));
  check(own);
});

Deno.test("blocks win over tunnels, tunnels over peers, who have no say in tunnelled pools", () => {
  const tunnel = (prefix: string): [string, PlannedRoute] => [prefix, {
    prefix: mustPrefix(prefix),
    protocol: 80,
    type: "unicast",
    hops: [{ gateway: mustIp("10.244.2.0"), oif: 5, onlink: true }],
  }];
  const plan = new RoutePlan(() => table);
  const peers = ["10.244.2.0/26", "10.244.3.0/26", "10.9.0.0/26"];
  const routes = plan.whole({
    ownBlocks: [mustPrefix("10.244.1.0/26")],
    tunnels: new Map([tunnel("10.244.1.0/26"), tunnel("10.244.2.0/26")]),
  }, {
    ...inputs(...peers.map((prefix) => learned(prefix, "192.0.2.12"))),
    takesLearned: ({ ip }) => !formatIp(ip).startsWith("10.244."),
  });
  assert.equal(text(routes.get("10.244.1.0/26")), "blackhole 80 ");
  assert.equal(text(routes.get("10.244.2.0/26")), "unicast 80 10.244.2.0@5");
  assert.equal(routes.get("10.244.3.0/26"), undefined);
  assert.equal(text(routes.get("10.9.0.0/26")), "unicast 81 192.0.2.12@2");
  assert.deepEqual([...plan.unresolved], []);
});
