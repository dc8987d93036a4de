import assert from "node:assert/strict";
import { formatIp, mustIp, mustPrefix } from "../net/mod.ts";
import { type KernelPath, type PlannedRoute, planRoutes, resolveNextHop } from "./route_plan.ts";

const path = (
  prefix: string,
  oif: number,
  gateway?: string,
  protocol = 2,
  metric = 0,
): KernelPath => ({
  prefix: mustPrefix(prefix),
  oif,
  gateway: gateway ? mustIp(gateway) : undefined,
  protocol,
  metric,
});

const table = [
  path("0.0.0.0/0", 2, "192.0.2.1", 3),
  path("192.0.2.0/24", 2),
  path("198.51.100.0/24", 3, "192.0.2.254", 4, 100),
  path("198.51.100.0/24", 2, "192.0.2.253", 4, 50),
  path("203.0.113.7/32", 9, "192.0.2.9", 81),
];

const text = (r: PlannedRoute | undefined) =>
  r &&
  `${r.type} ${r.protocol} ${
    r.hops.map((h) => `${h.gateway ? formatIp(h.gateway) : "-"}@${h.oif}`)
  }`;

Deno.test("a next hop is reached on its link, or through the route to it", () => {
  const hop = (ip: string) => {
    const found = resolveNextHop(table, mustIp(ip));
    return found && `${formatIp(found.gateway!)}@${found.oif}`;
  };
  assert.equal(hop("192.0.2.12"), "192.0.2.12@2");
  assert.equal(hop("198.51.100.5"), "192.0.2.253@2");
  assert.equal(hop("10.0.0.1"), "192.0.2.1@2");
  // Not through what BGP has put there itself.
  assert.equal(hop("203.0.113.7"), "192.0.2.1@2");
  assert.equal(resolveNextHop([], mustIp("10.0.0.1")), undefined);
});

Deno.test("endpoints win over blocks, blocks over peers", () => {
  const learned = (prefix: string, ...nextHops: string[]) => ({
    prefix: mustPrefix(prefix),
    paths: nextHops.map((n) => ({ nextHop: mustIp(n), peer: n, attributes: {} as never })),
  });
  const { routes, unresolved } = planRoutes({
    endpoints: [{ prefix: mustPrefix("10.244.1.7/32"), oif: 7 }],
    ownBlocks: [mustPrefix("10.244.1.0/26"), mustPrefix("10.244.9.9/32")],
    learned: [
      learned("10.244.1.0/26", "192.0.2.12"),
      learned("10.244.1.7/32", "192.0.2.12"),
      learned("10.244.2.0/26", "192.0.2.12", "192.0.2.13", "192.0.2.12"),
      learned("10.244.3.0/26", "203.0.113.1"),
    ],
    resolve: (n) => formatIp(n) === "203.0.113.1" ? undefined : resolveNextHop(table, n),
  });
  assert.equal(text(routes.get("10.244.1.7/32")), "unicast 80 -@7");
  assert.equal(text(routes.get("10.244.1.0/26")), "blackhole 80 ");
  assert.equal(text(routes.get("10.244.2.0/26")), "unicast 81 192.0.2.12@2,192.0.2.13@2");
  assert.equal(routes.get("10.244.9.9/32"), undefined);
  assert.deepEqual(unresolved, ["10.244.3.0/26"]);
});

Deno.test("blocks win over tunnels, tunnels over peers, who have no say in tunnelled pools", () => {
  const learned = (prefix: string) => ({
    prefix: mustPrefix(prefix),
    paths: [{ nextHop: mustIp("192.0.2.12"), peer: "p", attributes: {} as never }],
  });
  const tunnel = (prefix: string): [string, PlannedRoute] => [prefix, {
    prefix: mustPrefix(prefix),
    protocol: 80,
    type: "unicast",
    hops: [{ gateway: mustIp("10.244.2.0"), oif: 5, onlink: true }],
  }];
  const { routes, unresolved } = planRoutes({
    endpoints: [],
    ownBlocks: [mustPrefix("10.244.1.0/26")],
    learned: [learned("10.244.2.0/26"), learned("10.244.3.0/26"), learned("10.9.0.0/26")],
    tunnels: new Map([tunnel("10.244.1.0/26"), tunnel("10.244.2.0/26")]),
    takesLearned: ({ ip }) => !formatIp(ip).startsWith("10.244."),
    resolve: (n) => resolveNextHop(table, n),
  });
  assert.equal(text(routes.get("10.244.1.0/26")), "blackhole 80 ");
  assert.equal(text(routes.get("10.244.2.0/26")), "unicast 80 10.244.2.0@5");
  assert.equal(routes.get("10.244.3.0/26"), undefined);
  assert.equal(text(routes.get("10.9.0.0/26")), "unicast 81 192.0.2.12@2");
  assert.deepEqual(unresolved, []);
});
