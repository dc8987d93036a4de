import assert from "node:assert/strict";
import fc from "fast-check";
import { legibleBlock } from "../ipam/block.ts";
import type { IPPool } from "../model/ippool.ts";
import type { Node } from "../model/node.ts";
import {
  formatIp,
  formatPrefix,
  type Ip,
  mustIp,
  mustPrefix,
  parseStrictPrefix,
  prefixContains,
} from "../net/mod.ts";
import { Reconciler } from "./reconciler.ts";
import type { PlannedRoute } from "./route_plan.ts";
import { planTunnels, poolFinder, type TunnelInputs } from "./vxlan_plan.ts";

const VXLAN = 9, ETH0 = 2;

const node = (name: string, host: string | undefined, tunnel?: string, more = {}) =>
  ({
    metadata: { name },
    spec: {
      bgp: host ? { ipv4Address: host } : undefined,
      ipv4VXLANTunnelAddr: tunnel,
      ...more,
    },
  }) as Node;
const pool = (cidr: string, vxlanMode: string) => ({
  prefix: mustPrefix(cidr),
  pool: { spec: { cidr, vxlanMode } } as IPPool,
});
/** As the node reads what stands in the datastore. */
const block = (cidr: string, owner: string | null, more = {}) => {
  const stored = { cidr, affinity: owner && `host:${owner}`, ...more };
  return legibleBlock(stored, mustPrefix(cidr)).block!;
};
/** A table that has 192.0.2.0/24 on eth0 and everything else behind its router. */
const resolve = (nextHop: Ip) => ({
  gateway: prefixContains(mustPrefix("192.0.2.0/24"), nextHop) ? nextHop : mustIp("192.0.2.1"),
  oif: ETH0,
});

function inputs(nodes: Node[], more: Partial<TunnelInputs> = {}): TunnelInputs {
  return {
    nodeName: "a",
    nodes: new Map(nodes.map((n) => [n.metadata.name, n])),
    pools: [pool("10.0.0.0/16", "Always")],
    blocks: [],
    device: { index: VXLAN, up: true },
    resolve,
    ...more,
  };
}

const hop = ({ hops: [h] }: PlannedRoute) =>
  `${h.gateway ? `via ${formatIp(h.gateway)} ` : ""}dev ${h.oif}${h.onlink ? " onlink" : ""}`;
// Any state, and from any state to any other.

const NAMES = ["a", "b", "c", "d"];
const garbage = fc.constantFrom<unknown>(undefined, null, 7, "", "garbage", "10.0.0.0/99", {}, []);
const orGarbage = <T>(good: fc.Arbitrary<T>): fc.Arbitrary<any> =>
  fc.oneof({ weight: 9, arbitrary: good }, { weight: 1, arbitrary: garbage });
const nodes = fc.tuple(...NAMES.map((name) =>
  fc.option(
    fc.record({
      host: orGarbage(fc.constantFrom("192.0.2.11/24", "192.0.2.12/24", "198.51.100.1/24")),
      tunnel: orGarbage(fc.constantFrom("10.0.0.0", "10.0.0.64", "10.1.0.1", "172.16.0.1")),
      mac: orGarbage(fc.constantFrom("66:00:00:00:00:01", "66:00:00:00:00:02")),
    }).map(({ host, tunnel, mac }) => node(name, host, tunnel, { vxlanTunnelMACAddr: mac })),
  )
)).map((all) => all.filter((n) => n !== null));
const pools = fc.tuple(
  ...["10.0.0.0/16", "10.1.0.0/16", "10.0.0.64/26"].map((cidr) =>
    fc.constantFrom("Never", "Always", "CrossSubnet", undefined).map((mode) =>
      mode ? [pool(cidr, mode)] : []
    )
  ),
).map((all) => all.flat());
const someBlocks = fc.tuple(
  ...["10.0.0.0/30", "10.0.0.64/30", "10.1.0.0/30", "10.1.0.1/32"].map((cidr) =>
    fc.record({
      owner: fc.constantFrom(...NAMES, null),
      allocations: orGarbage(fc.array(fc.constantFrom(null, 0, 1, 7), { maxLength: 4 })),
      attributes: orGarbage(fc.tuple(
        orGarbage(fc.constantFrom(...NAMES).map((n) => ({ secondary: { node: n } }))),
        fc.constantFrom(...NAMES).map((n) => ({ secondary: { node: n } })),
      )),
    }).map(({ owner, ...more }) => block(cidr, owner, more))
  ),
);
const anyInputs = fc.record({
  nodes,
  pools,
  blocks: someBlocks,
  device: fc.constantFrom(undefined, { index: VXLAN, up: true }, { index: VXLAN, up: false }),
}).map(({ nodes, ...more }) => inputs(nodes, more));

Deno.test("of any state: each tunnel route has its neighbour and forwarding entry, no other is onlink", () => {
  fc.assert(
    fc.property(anyInputs, (state) => {
      const plan = planTunnels(4, state);
      const poolOf = poolFinder(state.pools);
      for (const [key, route] of plan.routes) {
        assert.equal(key, formatPrefix(route.prefix));
        assert.ok(!plan.awaited.has(key));
        const [{ gateway, oif, onlink }] = route.hops;
        if (oif === VXLAN) {
          assert.ok(state.device?.up && plan.address);
          assert.equal(onlink === true, gateway !== undefined);
          const end = gateway ? formatIp(gateway) : formatPrefix(route.prefix).split("/")[0];
          const mac = plan.neighbours.get(end);
          assert.ok(mac && plan.forwarding.has(mac), `${key}: no way to ${end}`);
          assert.notEqual(end, formatIp(plan.address));
        } else {
          assert.equal(onlink, undefined);
          assert.equal(poolOf(route.prefix)?.spec.vxlanMode, "CrossSubnet");
        }
        const isEnd = oif === VXLAN && !gateway;
        if (!isEnd) assert.notEqual(poolOf(route.prefix)?.spec.vxlanMode ?? "Never", "Never");
      }
      assert.equal(new Set(plan.neighbours.values()).size, plan.neighbours.size);
      assert.equal(plan.forwarding.size, plan.neighbours.size);
      // Each block of another node in a VXLAN pool is either routed or awaited.
      for (const { cidr, affinity } of state.blocks) {
        const mode = poolOf(parseStrictPrefix(cidr)!)?.spec.vxlanMode ?? "Never";
        if (!affinity || affinity === "host:a" || mode === "Never") continue;
        assert.ok(plan.routes.has(cidr) || plan.awaited.has(cidr), cidr);
      }
    }),
    { numRuns: 400 },
  );
});

Deno.test("from any state to any other the kernel comes to what the last one asks for alone", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyInputs, { minLength: 2, maxLength: 4 }), async (states) => {
      const kernel = new Map<string, string>();
      const same = (x: string, y: string) => x === y;
      const table = new Reconciler<string>({
        name: "object",
        read: () => new Map(kernel),
        same,
        put: (key, value) => void kernel.set(key, value),
        remove: (key) => void kernel.delete(key),
      });
      const desired = (state: TunnelInputs) => {
        const plan = planTunnels(4, state);
        return new Map([
          ...[...plan.routes].map(([key, route]) => [`route ${key}`, hop(route)] as const),
          ...[...plan.neighbours].map(([ip, mac]) => [`neighbour ${ip}`, mac] as const),
          ...[...plan.forwarding].map(([mac, ip]) => [`fdb ${mac}`, ip] as const),
        ]);
      };
      for (const state of states) {
        table.setDesired(desired(state));
        assert.deepEqual(await table.apply(), []);
      }
      const last = states.at(-1)!;
      // Whatever order the datastore lists its objects in.
      const turned = {
        ...last,
        nodes: new Map([...last.nodes].reverse()),
        blocks: [...last.blocks].reverse(),
        pools: [...last.pools].reverse(),
      };
      assert.deepEqual(new Map([...kernel].sort()), new Map([...desired(turned)].sort()));
    }),
    { numRuns: 200 },
  );
});
