import assert from "node:assert/strict";
import type { IPPool } from "../model/ippool.ts";
import type { Node } from "../model/node.ts";
import { formatIp, formatPrefix, mustPrefix } from "../net/mod.ts";
import { hostAddress, macOf, remoteVteps, tunnelAddress, vtepMac, vxlanWanted } from "./vxlan.ts";

const node = (name: string, spec: object = {}) =>
  ({ kind: "Node", apiVersion: "projectcalico.org/v3", metadata: { name }, spec }) as Node;

const end = (name: string, host: string, tunnel: string, more = {}) =>
  node(name, { bgp: { ipv4Address: host }, ipv4VXLANTunnelAddr: tunnel, ...more });

const vteps = (self: string, ...nodes: Node[]) =>
  [...remoteVteps(new Map(nodes.map((n) => [n.metadata.name, n])), self, 4).vteps.values()]
    .map((v) => `${v.node} ${formatIp(v.tunnel)} ${v.mac} ${formatIp(v.host)}`);

Deno.test("a MAC follows from the node's name and the family, as Felix's", () => {
  // printf node1 | sha1sum; printf node1-v6 | sha1sum
  assert.equal(vtepMac("node1", 4), "66:f9:37:c3:7e:94");
  assert.match(vtepMac("node1", 6), /^66(:[0-9a-f]{2}){5}$/);
  assert.equal(vtepMac("node1", 6), vtepMac("node1-v6", 4));
});

Deno.test("a MAC that the Node says counts, one that is none does not", () => {
  const said = node("a", { vxlanTunnelMACAddr: "66:AB:00:00:00:01" });
  assert.equal(macOf(said, "a", 4), "66:ab:00:00:00:01");
  assert.equal(macOf(said, "a", 6), vtepMac("a", 6));
  for (
    const mac of [
      "",
      "garbage",
      "66:ab:00:00:00",
      7,
      null,
      "00:00:00:00:00:00",
      "01:00:5e:00:00:01",
    ]
  ) {
    assert.equal(macOf(node("a", { vxlanTunnelMACAddr: mac }), "a", 4), vtepMac("a", 4));
  }
  assert.equal(macOf(undefined, "a", 4), vtepMac("a", 4));
});

Deno.test("a node's address is BGP's, else one of its others", () => {
  const address = (spec: object, family: 4 | 6 = 4) => {
    const found = hostAddress(node("a", spec), family);
    return found && `${formatIp(found.ip)} ${found.network ? formatPrefix(found.network) : "-"}`;
  };
  const addresses = [
    { type: "ExternalIP", address: "203.0.113.1" },
    { type: "InternalIP", address: "198.51.100.1" },
    { type: "InternalIP", address: "fd00::1/64" },
  ];
  assert.equal(
    address({ bgp: { ipv4Address: "192.0.2.1/24" }, addresses }),
    "192.0.2.1 192.0.2.0/24",
  );
  assert.equal(address({ addresses }), "198.51.100.1 -");
  assert.equal(address({ addresses }, 6), "fd00::1 fd00::/64");
  assert.equal(address({ bgp: { ipv4Address: "garbage" } }), undefined);
  assert.equal(address({ bgp: { ipv4Address: 7 }, addresses: [null, 7, {}] }), undefined);
  assert.equal(hostAddress(undefined, 4), undefined);
  assert.equal(tunnelAddress(node("a", { ipv4VXLANTunnelAddr: "fd00::1" }), 4), undefined);
  assert.equal(tunnelAddress(node("a", { ipv4VXLANTunnelAddr: 7 }), 4), undefined);
});

Deno.test("of two ends with one address or MAC the elder counts, of one age the first by name, and none with ours", () => {
  const a = end("a", "192.0.2.1/24", "10.0.1.0");
  const b = end("b", "192.0.2.2/24", "10.0.2.0");
  const double = end("c", "192.0.2.3/24", "10.0.2.0");
  const sameMac = end("d", "192.0.2.4/24", "10.0.4.0", { vxlanTunnelMACAddr: vtepMac("b", 4) });
  const ours = end("e", "192.0.2.5/24", "10.0.1.0");
  const ourMac = end("f", "192.0.2.6/24", "10.0.6.0", { vxlanTunnelMACAddr: vtepMac("a", 4) });
  const expected = [`b 10.0.2.0 ${vtepMac("b", 4)} 192.0.2.2`];
  assert.deepEqual(vteps("a", a, b, double, sameMac, ours, ourMac), expected);
  assert.deepEqual(vteps("a", ourMac, ours, sameMac, double, b, a), expected);
  const aged = (one: Node, time: string) => ({
    ...one,
    metadata: { ...one.metadata, creationTimestamp: time },
  });
  const [old, later] = [aged(double, "2026-01-01T00:00:00Z"), aged(b, "2026-01-02T00:00:00Z")];
  assert.deepEqual(vteps("a", a, b, later, old), [
    `c 10.0.2.0 ${vtepMac("c", 4)} 192.0.2.3`,
  ]);
  const all = [a, b, double, sameMac, ours].map((n) => [n.metadata.name, n] as const);
  const { problems } = remoteVteps(new Map(all), "a", 4);
  assert.equal(problems.length, 3);
  assert.match(problems[0], /^Node c: its tunnel address 10\.0\.2\.0 is the Node b's/);
  assert.match(problems[1], /^Node d: its tunnel's MAC .* is the Node b's/);
  assert.match(problems[2], /^Node e: its tunnel address 10\.0\.1\.0 is the Node a's/);
  // Whoever looks, it is the younger that is to be corrected.
  const [elder, younger] = [
    aged(end("z", "192.0.2.8/24", "10.0.8.0"), "2026-01-01T00:00:00Z"),
    aged(
      end("y", "192.0.2.9/24", "10.0.9.0", { vxlanTunnelMACAddr: vtepMac("z", 4) }),
      "2026-01-02T00:00:00Z",
    ),
  ];
  const pair = new Map(
    [elder, younger, aged(a, "2026-01-03T00:00:00Z")].map((n) => [n.metadata.name, n] as const),
  );
  for (const [self, apart] of [["z", "between the two"], ["y", "between the two"], ["a", "to y"]]) {
    assert.deepEqual(remoteVteps(pair, self, 4).problems, [
      `Node y: its tunnel's MAC ${vtepMac("z", 4)} is the Node z's, so no tunnel leads ${apart}; ` +
      "correct it, or delete the Node y if that machine is gone",
    ]);
  }
  assert.deepEqual(vteps("a", a, node("x"), node("y", { ipv4VXLANTunnelAddr: "10.0.9.0" })), []);
});

Deno.test("a device is wanted where a pool of the family has tunnels, or where Felix says so", () => {
  const pool = (cidr: string, vxlanMode: string) => ({
    prefix: mustPrefix(cidr),
    pool: { spec: { cidr, vxlanMode } } as IPPool,
  });
  const four = [pool("10.0.0.0/16", "CrossSubnet"), pool("fd00::/48", "Never")];
  assert.equal(vxlanWanted(4, four, undefined), true);
  assert.equal(vxlanWanted(6, four, undefined), false);
  assert.equal(vxlanWanted(4, four, false), false);
  assert.equal(vxlanWanted(4, [], true), true);
  assert.equal(vxlanWanted(6, [pool("fd00::/48", "Always")], false), true);
});
