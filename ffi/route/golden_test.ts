/**
 * Our bytes are iproute2's bytes. Each message of `golden/iproute2.txt` (captured from the real ip(8)
 * and bridge(8) by tests/tools/capture_netlink.ts) is written here from typed objects and compared
 * byte by byte; then it is read as the kernel would announce it, and must give the object back.
 */
import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "../netlink/constants.ts";
import { MessageCursor } from "../netlink/decoder.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import type { Netns } from "../netns.ts";
import {
  addAddress,
  type Address,
  decodeAddress,
  deleteAddress,
  encodeDumpAddresses,
} from "./address.ts";
import { type Command, RTM_NEWLINK } from "./command.ts";
import {
  addLink,
  decodeLink,
  deleteLink,
  encodeDumpLinks,
  encodeGetLink,
  setLink,
} from "./link.ts";
import {
  addNeighbour,
  decodeNeighbour,
  deleteNeighbour,
  encodeDumpNeighbours,
  type Neighbour,
  replaceNeighbour,
} from "./neighbour.ts";
import {
  addRoute,
  decodeRoute,
  deleteRoute,
  encodeDumpRoutes,
  replaceRoute,
  type Route,
  sameRoute,
} from "./route.ts";
import { addRule, decodeRule, deleteRule, encodeDumpRules, type RoutingRule } from "./rule.ts";

// The interfaces of the capture, by the order in which they were made.
const cali0 = 2, cali1 = 3, up0 = 5, vxlan = 6, vxlan6 = 7;
const peer = { fd: 4, path: "PEER" } as Netns;
const ip = mustIp, prefix = mustPrefix;

const mac = "0a:58:0a:41:00:02";

const addresses: Record<string, Address> = {
  "addr-v4": { index: vxlan, ip: ip("10.65.0.1"), length: 32 },
  "addr-v6-nodad": { index: vxlan, ip: ip("fd00:10:65::1"), length: 128, flags: 2 },
  "addr-scope-link": { index: up0, ip: ip("169.254.9.1"), length: 30, scope: 253 },
  "addr-broadcast": { index: up0, ip: ip("10.1.2.3"), length: 24, broadcast: ip("10.1.2.255") },
  "addr-peer": { index: up0, ip: ip("10.3.0.1"), length: 32, peer: ip("10.3.0.2") },
};

const via2 = { gateway: ip("192.168.77.2"), oif: up0 };
const via6 = { gateway: ip("fd00:77::2"), oif: up0 };
const onCali = [{ oif: cali0 }];
const onVxlan = [{ gateway: ip("10.65.1.1"), oif: vxlan, onlink: true }];

/** Routes, with whether they were added or replaced. */
const routes: Record<string, [(route: Route) => Command, Route]> = {
  "route-link": [replaceRoute, { destination: prefix("10.65.0.2/32"), protocol: 80, hops: onCali }],
  "route-link-source": [replaceRoute, {
    destination: prefix("10.65.0.3/32"),
    protocol: 80,
    source: ip("192.168.77.1"),
    hops: onCali,
  }],
  "route-add": [addRoute, { destination: prefix("10.65.0.4/32"), protocol: 80, hops: onCali }],
  "route-via": [addRoute, { destination: prefix("10.66.1.0/26"), protocol: 81, hops: [via2] }],
  "route-default": [addRoute, { destination: prefix("0.0.0.0/0"), hops: [via2] }],
  "route-onlink-mtu": [replaceRoute, {
    destination: prefix("10.65.1.0/26"),
    protocol: 80,
    mtu: 1450,
    hops: onVxlan,
  }],
  "route-metric": [addRoute, {
    destination: prefix("10.66.2.0/24"),
    protocol: 81,
    priority: 512,
    hops: [via2],
  }],
  "route-blackhole": [addRoute, {
    destination: prefix("10.65.0.0/26"),
    protocol: 80,
    type: "blackhole",
  }],
  "route-unreachable": [addRoute, {
    destination: prefix("10.65.9.0/26"),
    protocol: 80,
    type: "unreachable",
  }],
  "route-table-100": [addRoute, {
    destination: prefix("10.9.1.0/24"),
    protocol: 80,
    table: 100,
    hops: onCali,
  }],
  "route-table-1000": [addRoute, {
    destination: prefix("10.9.0.0/24"),
    protocol: 80,
    table: 1000,
    hops: onCali,
  }],
  "route-multipath": [addRoute, {
    destination: prefix("10.66.0.0/24"),
    protocol: 81,
    hops: [via2, { gateway: ip("192.168.77.3"), oif: up0, weight: 3 }],
  }],
  "route-via-v6": [addRoute, { destination: prefix("10.67.0.0/24"), protocol: 81, hops: [via6] }],
  "route-v6": [replaceRoute, {
    destination: prefix("fd00:10:65::2/128"),
    protocol: 80,
    priority: 1024,
    hops: onCali,
  }],
  "route-v6-via": [addRoute, {
    destination: prefix("fd00:10:66::/122"),
    protocol: 81,
    hops: [via6],
  }],
  "route-v6-blackhole": [addRoute, {
    destination: prefix("fd00:10:65::/122"),
    protocol: 80,
    type: "blackhole",
  }],
  "route-v6-default": [addRoute, { destination: prefix("::/0"), hops: [via6] }],
  "route-v6-multipath": [addRoute, {
    destination: prefix("fd00:10:67::/64"),
    protocol: 81,
    hops: [via6, { gateway: ip("fd00:77::3"), oif: up0 }],
  }],
  "route-refused": [addRoute, {
    destination: prefix("10.77.0.0/24"),
    hops: [{ gateway: ip("172.31.255.1"), oif: up0 }],
  }],
};

const rules: Record<string, RoutingRule> = {
  "rule-mark": {
    family: 4,
    priority: 99,
    table: 1000,
    mark: { value: 0x100000, mask: 0x100000 },
    invert: true,
    protocol: 80,
  },
  "rule-from-to": {
    family: 4,
    priority: 100,
    table: 100,
    source: prefix("10.65.0.0/16"),
    destination: prefix("10.66.0.0/16"),
  },
  "rule-interfaces": {
    family: 4,
    priority: 101,
    table: 254,
    inputInterface: "cali0",
    outputInterface: "up0",
  },
  "rule-v6": { family: 6, priority: 99, table: 1000, source: prefix("fd00:10:65::/64") },
};

const neighbours: Record<string, [(entry: Neighbour) => Command, Neighbour]> = {
  "neighbour-permanent": [replaceNeighbour, {
    kind: "neighbour",
    index: cali0,
    ip: ip("10.65.0.2"),
    mac,
  }],
  "neighbour-add-v6": [addNeighbour, {
    kind: "neighbour",
    index: cali0,
    ip: ip("fd00:10:65::2"),
    mac,
  }],
  "neighbour-proxy": [addNeighbour, { kind: "proxy", index: cali0, ip: ip("10.65.0.99") }],
  "neighbour-proxy-v6": [addNeighbour, { kind: "proxy", index: cali0, ip: ip("fd00:10:65::99") }],
  "fdb-replace": [replaceNeighbour, {
    kind: "fdb",
    index: vxlan,
    mac: "66:aa:bb:cc:dd:ee",
    ip: ip("192.168.77.2"),
  }],
  "fdb-v6": [addNeighbour, {
    kind: "fdb",
    index: vxlan6,
    mac: "66:aa:bb:cc:dd:ef",
    ip: ip("fd00:77::2"),
  }],
};

const commands: Record<string, Command> = {
  ...Object.fromEntries(Object.entries(addresses).map(([name, a]) => [name, addAddress(a)])),
  ...Object.fromEntries(Object.entries(routes).map(([name, [make, r]]) => [name, make(r)])),
  ...Object.fromEntries(Object.entries(rules).map(([name, r]) => [name, addRule(r)])),
  ...Object.fromEntries(Object.entries(neighbours).map(([name, [make, n]]) => [name, make(n)])),
  "veth-netns": addLink({
    kind: "veth",
    name: "cali0",
    mtu: 1450,
    mac: "ee:ee:ee:ee:ee:ee",
    peer: { name: "eth0", netns: peer },
  })[0],
  "veth-peer-extra": addLink({
    kind: "veth",
    name: "cali1",
    peer: { name: "eth1", mtu: 1440, mac: "0a:00:00:00:00:01", txQueues: 1, netns: peer },
  })[0],
  "veth-here": addLink({ kind: "veth", name: "up0", peer: { name: "up1" } })[0],
  "vxlan": addLink({
    kind: "vxlan",
    name: "vxlan.calico",
    mtu: 1450,
    mac: "66:3b:5d:01:02:03",
    vni: 4096,
    port: 4789,
    local: ip("192.168.77.1"),
    parentIndex: up0,
  })[0],
  "vxlan-v6": addLink({
    kind: "vxlan",
    name: "vxlan-v6.calico",
    vni: 4097,
    port: 4790,
    local: ip("fd00:77::1"),
    parentIndex: up0,
    learning: true,
  })[0],
  "ipip": addLink({ kind: "ipip", name: "tunl7", mtu: 1480 })[0],
  "bridge": addLink({ kind: "bridge", name: "br0" })[0],
  "link-up": setLink(up0, { up: true }),
  "link-down": setLink(cali1, { up: false }),
  "link-mtu-mac": setLink(cali0, { mtu: 1400, mac: "ee:ee:ee:ee:ee:ef" }),
  "link-rename": setLink(cali1, { name: "cali9" }),
  "link-alias": setLink(cali1, { alias: "pod:web" }),
  "link-addrgenmode": setLink(cali1, { addrGenMode: "none" }),
  "link-txqueuelen": setLink(cali1, { txQueueLength: 500 }),
  "link-netns": setLink(cali1, { netns: peer }),
  "link-delete": deleteLink(cali0),
  "addr-delete": deleteAddress({ index: up0, ip: ip("10.1.2.3"), length: 24 }),
  "route-delete": deleteRoute({ destination: prefix("10.65.0.3/32"), hops: onCali }),
  "route-delete-narrow": deleteRoute({
    destination: prefix("10.66.2.0/24"),
    protocol: 81,
    priority: 512,
    scope: "universe",
    hops: [via2],
  }),
  "route-delete-table": deleteRoute({ destination: prefix("10.9.0.0/24"), table: 1000 }),
  "route-v6-delete": deleteRoute({ destination: prefix("fd00:10:65::2/128") }),
  "rule-delete": deleteRule(rules["rule-from-to"]),
  "neighbour-delete": deleteNeighbour({ kind: "neighbour", index: cali0, ip: ip("10.65.0.2") }),
  "fdb-delete": deleteNeighbour(neighbours["fdb-replace"][1]),
};

const AF_PACKET = 17;
const gets: Record<string, (m: MessageEncoder) => void> = {
  "get-link": (m) => encodeGetLink(m, "cali0", 9),
  "dump-links": (m) => encodeDumpLinks(m, 1, AF_PACKET),
  "dump-addresses-device": (m) => encodeDumpAddresses(m, 0, up0),
  "dump-routes-table": (m) => encodeDumpRoutes(m, { family: 4, table: 1000 }),
  "dump-routes-protocol": (m) => encodeDumpRoutes(m, { family: 4, table: 254, protocol: 80 }),
  "dump-routes-device": (m) => encodeDumpRoutes(m, { family: 6, table: 254, oif: up0 }),
  "dump-rules": (m) => encodeDumpRules(m, 2),
  "dump-neighbours-device": (m) => encodeDumpNeighbours(m, { kind: "neighbour", index: cali0 }),
  "dump-proxies": (m) => encodeDumpNeighbours(m, { kind: "proxy" }),
  "dump-fdb-device": (m) => encodeDumpNeighbours(m, { kind: "fdb", index: vxlan }),
};

interface Golden {
  readonly name: string;
  readonly command: string;
  readonly hex: string;
}

function readGolden(): Golden[] {
  const text = Deno.readTextFileSync(new URL("golden/iproute2.txt", import.meta.url));
  return text.split(/^== /m).slice(1).map((section) => {
    const lines = section.split("\n");
    return {
      name: lines[0].split(" ")[0],
      command: lines[1].replace(/^\$\?? /, ""),
      hex: lines.filter((line) => /^[0-9a-f]+$/.test(line)).join(""),
    };
  });
}

/** Descriptors of namespaces are the process's own: NET_NS_FD (type 28) is compared as fd 4. */
function maskFd(hex: string): string {
  return hex.replaceAll(/08001c00[0-9a-f]{8}/g, "08001c0004000000");
}

function encoded(name: string): string {
  const message = new MessageEncoder();
  const command = commands[name];
  if (command) {
    message.begin(command.type, command.flags | NLM_F_REQUEST | NLM_F_ACK, 0);
    command.encode(message);
  } else {
    const flags = name.startsWith("dump") ? NLM_F_DUMP | NLM_F_REQUEST : NLM_F_REQUEST;
    message.begin(typeOf(name), flags, 0);
    gets[name](message);
  }
  return message.end().finish().toHex();
}

const typeOf = (name: string) =>
  ({
    link: 18,
    links: 18,
    addresses: 22,
    routes: 26,
    neighbours: 30,
    proxies: 30,
    fdb: 30,
    rules: 34,
  })[
    name.split("-")[1]
  ]!;

const golden = readGolden();

for (const { name, command, hex } of golden) {
  Deno.test(`our bytes are those of "${command}" (${name})`, () => {
    assert.equal(encoded(name), maskFd(hex));
  });
}

Deno.test("every object here has its golden message", () => {
  const known = new Set(golden.map((g) => g.name));
  for (const name of [...Object.keys(commands), ...Object.keys(gets)]) {
    assert.ok(known.has(name), name);
  }
});

/** The golden message, as the kernel would announce the object. */
function read(name: string): MessageCursor {
  const found = golden.find((g) => g.name === name);
  const message = new MessageCursor(Uint8Array.fromHex(found!.hex));
  assert.ok(message.next());
  return message;
}

Deno.test("iproute2's routes are read as what they were written from", () => {
  for (const [name, [, route]] of Object.entries(routes)) {
    const got = decodeRoute(read(name));
    assert.ok(got && sameRoute(got, route), `${name}: ${JSON.stringify(got)}`);
  }
});

Deno.test("iproute2's addresses, rules and neighbours are read as what they were written from", () => {
  for (const [name, address] of Object.entries(addresses)) {
    assert.deepEqual(decodeAddress(read(name)), { scope: 0, flags: 0, ...address }, name);
  }
  for (const [name, rule] of Object.entries(rules)) {
    assert.deepEqual(decodeRule(read(name)), { invert: false, ...rule }, name);
  }
  for (const [name, [, entry]] of Object.entries(neighbours)) {
    const state = { neighbour: 0x80, fdb: 0xc0, proxy: undefined }[entry.kind];
    assert.deepEqual(decodeNeighbour(read(name)), state ? { ...entry, state } : entry, name);
  }
});

Deno.test("iproute2's links are read as what they were written from", () => {
  const link = decodeLink(read("vxlan"));
  assert.deepEqual([link.name, link.kind, link.mtu, link.mac, link.vxlan], [
    "vxlan.calico",
    "vxlan",
    1450,
    "66:3b:5d:01:02:03",
    { vni: 4096, port: 4789, learning: false, local: ip("192.168.77.1"), parentIndex: up0 },
  ]);
  assert.equal(decodeLink(read("link-addrgenmode")).addrGenMode, "none");
  assert.equal(decodeLink(read("link-alias")).alias, "pod:web");
  assert.equal(read("veth-netns").type, RTM_NEWLINK);
});
