import assert from "node:assert/strict";
import fc from "fast-check";
import type { WorkloadEndpoint } from "../../model/workload_endpoint.ts";
import { EndpointParts, type EndpointWishes } from "./endpoint_parts.ts";

interface Claim {
  readonly link: string;
  readonly addresses: readonly string[];
  readonly mac?: string;
}

function endpoint({ link, addresses, mac }: Claim): WorkloadEndpoint {
  return {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "e", namespace: "default" },
    spec: { interfaceName: link, ipNetworks: [...addresses], mac },
  } as unknown as WorkloadEndpoint;
}

const table = () => ({
  links: new Map<string, unknown>(),
  sysctls: new Map<string, unknown>(),
  neighbours: new Map<string, unknown>(),
  routes: new Map<string, unknown>(),
});

function take(into: ReturnType<typeof table>, wishes: EndpointWishes): void {
  for (const name of Object.keys(into) as (keyof typeof into)[]) {
    wishes[name].forEach((value, key) => {
      if (value === undefined) into[name].delete(key);
      else into[name].set(key, value);
    });
  }
}

const sorted = (tables: ReturnType<typeof table>) =>
  Object.entries(tables).map(([name, map]) => [
    name,
    [...map].sort(([a], [b]) => a < b ? -1 : 1),
  ]);

Deno.test("one endpoint: its link at once, routes and neighbours when the link is up", () => {
  const parts = new EndpointParts(true);
  const endpoints = new Map([[
    "a",
    endpoint({
      link: "cali1",
      addresses: ["10.0.0.1/32", "fd00::1/128"],
      mac: "AA:BB:CC:DD:EE:FF",
    }),
  ]]);
  const at = (link?: { index: number; up: boolean }) =>
    parts.update({ endpoints, linkOf: (name) => link && { name, ...link } });
  assert.equal(at().links.size, 0);
  const down = at({ index: 7, up: false });
  assert.deepEqual([...down.links.keys()], ["cali1"]);
  assert.equal(down.routes.size, 0);
  assert.equal(parts.hasIpv6, false);
  const up = at({ index: 7, up: true });
  assert.deepEqual([...up.routes.keys()], ["10.0.0.1/32", "fd00::1/128"]);
  assert.deepEqual([...up.neighbours.values()], ["aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff"]);
  assert.equal(parts.hasIpv6, true);
  // Nothing has changed: nothing is said.
  assert.deepEqual(Object.values(at({ index: 7, up: true })).map((map) => map.size), [0, 0, 0, 0]);
  const moved = at({ index: 8, up: true });
  assert.deepEqual(moved.routes.get("10.0.0.1/32")?.hops, [{ oif: 8 }]);
  assert.equal(moved.neighbours.size, 4, "those of the former index go");
  const gone = parts.update({ endpoints: new Map(), linkOf: () => undefined });
  assert.deepEqual([...gone.routes.values()], [undefined, undefined]);
  assert.equal(parts.hasIpv6, false);
});

Deno.test("without IPv6 nothing of it is wanted but that advertisements are not believed", () => {
  const parts = new EndpointParts(false);
  const endpoints = new Map([[
    "a",
    endpoint({
      link: "cali1",
      addresses: ["10.0.0.1/32", "fd00::1/128"],
    }),
  ]]);
  const wishes = parts.update({ endpoints, linkOf: (name) => ({ name, index: 7, up: true }) });
  assert.deepEqual([...wishes.routes.keys()], ["10.0.0.1/32"]);
  const ipv6 = [...wishes.sysctls.keys()].filter((name) => name.startsWith("net/ipv6/"));
  assert.ok(ipv6.every((name) => name.endsWith("/accept_ra")), ipv6.join());
});

Deno.test("from any state to any other, the differences add up to what a fresh start wants", () => {
  const claim: fc.Arbitrary<Claim> = fc.record({
    link: fc.constantFrom("cali1", "cali2", "cali3"),
    addresses: fc.uniqueArray(
      fc.constantFrom("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128", "fd00::2/128"),
      { maxLength: 3 },
    ),
    mac: fc.constantFrom(undefined, "02:00:00:00:00:01", "02:00:00:00:00:02"),
  });
  const state = fc.record({
    endpoints: fc.dictionary(fc.constantFrom("a", "b", "c", "d"), claim),
    links: fc.dictionary(
      fc.constantFrom("cali1", "cali2", "cali3"),
      fc.record({ index: fc.integer({ min: 5, max: 8 }), up: fc.boolean() }),
    ),
  });
  fc.assert(
    fc.property(fc.array(state, { minLength: 1, maxLength: 6 }), (states) => {
      const parts = new EndpointParts(true), held = table();
      for (const { endpoints, links } of states) {
        const inputs = {
          endpoints: new Map(Object.entries(endpoints).map(([key, one]) => [key, endpoint(one)])),
          linkOf: (name: string) => links[name] && { name, ...links[name] },
        };
        take(held, parts.update(inputs));
        const fresh = new EndpointParts(true), wanted = table();
        take(wanted, fresh.update(inputs));
        assert.deepEqual(sorted(held), sorted(wanted));
        assert.equal(parts.hasIpv6, fresh.hasIpv6);
      }
    }),
    { numRuns: 300 },
  );
});
