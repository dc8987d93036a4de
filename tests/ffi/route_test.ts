/**
 * rtnetlink on the real kernel: what we make is read back with the real ip(8) and bridge(8), and what
 * they make is read by us.
 */
import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { isKernelError, KernelError } from "../../ffi/errors.ts";
import * as route from "../../ffi/route/mod.ts";
import { RouteSocket } from "../../ffi/route/mod.ts";
import { Scratch } from "./scratch.ts";

const ip = mustIp, prefix = mustPrefix;
const mac = "0a:58:0a:41:00:02", hostMac = "ee:ee:ee:ee:ee:ee";

function refusal(work: () => unknown): KernelError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof KernelError, String(error));
    return error;
  }
  assert.fail("nothing was refused");
}

/** A veth between two namespaces, both sides up, with addresses 192.0.2.1 and .2 and 2001:db8::1, ::2. */
function wire(a: Scratch, b: Scratch) {
  const left = RouteSocket.open(a.netns), right = RouteSocket.open(b.netns);
  left.addLink({ kind: "veth", name: "left", peer: { name: "right", netns: b.netns } });
  const up = (socket: RouteSocket, name: string, last: number) => {
    const { index } = socket.link(name)!;
    socket.run(
      route.setLink("lo", { up: true }),
      route.setLink(index, { up: true, addrGenMode: "none" }),
      route.addAddress({ index, ip: ip(`192.0.2.${last}`), length: 24 }),
      route.addAddress({
        index,
        ip: ip(`2001:db8::${last}`),
        length: 64,
        flags: route.IFA_F_NODAD,
      }),
    );
    return index;
  };
  const leftIndex = up(left, "left", 1), rightIndex = up(right, "right", 2);
  return {
    left,
    right,
    leftIndex,
    rightIndex,
    [Symbol.dispose]() {
      left.close();
      right.close();
    },
  };
}

Deno.test("a veth with its peer straight in another namespace, as ip sees it", async () => {
  using host = new Scratch();
  using pod = new Scratch();
  using socket = RouteSocket.open(host.netns);
  socket.addLink({
    kind: "veth",
    name: "cali0123456789a",
    mtu: 1450,
    mac: hostMac,
    alias: "tortie:0123",
    peer: { name: "eth0", netns: pod.netns, mtu: 1440, mac },
  });
  const [outside] = await host.json("-d", "link", "show", "cali0123456789a");
  assert.deepEqual(
    [outside.mtu, outside.address, outside.ifalias, outside.linkinfo.info_kind],
    [1450, hostMac, "tortie:0123", "veth"],
  );
  const [inside] = await pod.json("link", "show", "eth0");
  assert.deepEqual([inside.mtu, inside.address], [1440, mac]);
  // Nothing of the peer in our namespace, and the two know each other.
  assert.deepEqual(socket.links().map((link) => link.name).sort(), ["cali0123456789a", "lo"]);
  using podSocket = RouteSocket.open(pod.netns);
  const ours = socket.link("cali0123456789a")!, theirs = podSocket.link("eth0")!;
  assert.equal(ours.linkIndex, theirs.index);
  assert.equal(theirs.linkIndex, ours.index);
  assert.equal(ours.alias, "tortie:0123");

  assert.equal(
    refusal(() =>
      socket.addLink({ kind: "veth", name: "cali0123456789a", peer: { name: "other" } })
    ).code,
    "EEXIST",
  );
  // The peer's name is taken: nothing is left of the half that could be made.
  const taken = refusal(() =>
    socket.addLink({ kind: "veth", name: "cali2", peer: { name: "eth0", netns: pod.netns } })
  );
  assert.equal(taken.code, "EEXIST");
  assert.equal(socket.link("cali2"), undefined);

  await socket.deleteLink("cali0123456789a");
  assert.equal(podSocket.link("eth0"), undefined);
  await assert.rejects(
    socket.deleteLink("cali0123456789a"),
    (error) => isKernelError(error, "ENODEV") && /delete link cali0123456789a/.test(error.message),
  );
});

Deno.test("links that are deleted at one time go together, and no others", async () => {
  using host = new Scratch();
  using pod = new Scratch();
  using socket = RouteSocket.open(host.netns);
  using podSocket = RouteSocket.open(pod.netns);
  const count = 100;
  for (let i = 0; i < count; i++) {
    socket.addLink({ kind: "veth", name: `cali${i}`, peer: { name: `p${i}`, netns: pod.netns } });
  }
  socket.addLink({ kind: "veth", name: "kept", peer: { name: "kept0" } });
  // Both sides of one pair; a tunnel; one that does not exist; one that is named twice.
  socket.addLink({ kind: "veth", name: "a", peer: { name: "b" } });
  socket.addLink({ kind: "vxlan", name: "v", vni: 7, port: 4789 });
  const names = Array.from({ length: count }, (_, i) => `cali${i}`).concat("a", "b", "v");
  const refs = [...names.map((name) => socket.link(name)!.index), "nobody", "cali5"];
  const ends = await Promise.allSettled(refs.map((ref) => socket.deleteLink(ref)));
  const refused = ends.flatMap((end, i) => end.status === "rejected" ? [refs[i]] : []);
  for (const end of ends) {
    if (end.status === "rejected") assert(isKernelError(end.reason, "ENODEV"), end.reason);
  }
  assert.deepEqual(refused, ["nobody", "cali5"]);
  assert.deepEqual(socket.links().map(({ name }) => name).sort(), ["kept", "kept0", "lo"]);
  assert.deepEqual(podSocket.links().map(({ name }) => name), ["lo"]);
});

Deno.test("links are renamed, moved, taken up and down, and told apart by what they are", async () => {
  using host = new Scratch();
  using pod = new Scratch();
  using socket = RouteSocket.open(host.netns);
  socket.addLink({ kind: "veth", name: "a", peer: { name: "b" } });
  const { index } = socket.link("a")!;
  socket.setLink(index, { name: "renamed", mtu: 1300, alias: "old", addrGenMode: "none" });
  socket.setLink("renamed", { up: true, alias: "new", txQueueLength: 7 });
  const [shown] = await host.json("-d", "link", "show", "renamed");
  assert.deepEqual(
    [shown.mtu, shown.ifalias, shown.txqlen, shown.inet6_addr_gen_mode, shown.flags.includes("UP")],
    [1300, "new", 7, "none", true],
  );
  const link = socket.link(index)!;
  assert.deepEqual([link.name, link.up, link.running, link.mtu, link.alias, link.addrGenMode], [
    "renamed",
    true,
    false, // its other side is down
    1300,
    "new",
    "none",
  ]);
  socket.setLink("b", { up: true });
  assert.equal(socket.link(index)!.running, true);
  socket.setLink(index, { up: false });
  assert.equal(socket.link("renamed")!.up, false);
  socket.setLink(index, { alias: "" });
  assert.equal(socket.link("renamed")!.alias, undefined);

  socket.setLink("b", { netns: pod.netns });
  assert.equal(socket.link("b"), undefined);
  assert.deepEqual((await pod.json("link", "show")).map((l) => l.ifname).sort(), ["b", "lo"]);

  await host.run("ip", "link", "add", "theirs", "type", "vxlan", "id", "7", "dstport", "4790");
  assert.deepEqual(socket.link("theirs")!.vxlan, { vni: 7, port: 4790, learning: true });
  assert.equal(socket.link("lo")!.kind, undefined);
});

Deno.test("names that the kernel refuses, or would take otherwise, are refused before", () => {
  using host = new Scratch();
  using socket = RouteSocket.open(host.netns);
  for (
    const [name, code] of [
      ["abcdefghijklmnop", "ERANGE"],
      ["", "EINVAL"],
      ["..", "EINVAL"],
      ["a/b", "EINVAL"],
      ["a b", "EINVAL"],
      ["cali%d", "EINVAL"],
    ]
  ) {
    const error = refusal(() => socket.addLink({ kind: "veth", name, peer: { name: "p" } }));
    assert.equal(error.code, code, name);
  }
  assert.throws(() => socket.setLink("lo", { mac: "nonsense" }), TypeError);
  assert.equal(socket.link("abcdefghijklmnop"), undefined);
  assert.equal(socket.link(4711), undefined);
});

Deno.test("a VXLAN device and its forwarding entries, as ip and bridge see them", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex } = wired;
  left.addLink({
    kind: "vxlan",
    name: "vxlan.calico",
    mtu: 1450,
    mac: "66:3b:5d:01:02:03",
    vni: 4096,
    port: 4789,
    local: ip("192.0.2.1"),
    parentIndex: leftIndex,
  });
  const [shown] = await a.json("-d", "link", "show", "vxlan.calico");
  const { id, local, link, port, learning } = shown.linkinfo.info_data;
  assert.deepEqual([id, local, link, port, learning], [4096, "192.0.2.1", "left", 4789, false]);
  const vxlan = left.link("vxlan.calico")!;
  assert.deepEqual(vxlan.vxlan, {
    vni: 4096,
    port: 4789,
    local: ip("192.0.2.1"),
    parentIndex: leftIndex,
    learning: false,
  });

  const entry = {
    kind: "fdb",
    index: vxlan.index,
    mac: "66:aa:bb:cc:dd:ee",
    ip: ip("192.0.2.2"),
  } as const;
  left.addNeighbour(entry);
  const fdb = async () =>
    JSON.parse(await a.run("bridge", "-j", "fdb", "show", "dev", "vxlan.calico")) as Record<
      string,
      unknown
    >[];
  const [theirs] = await fdb();
  assert.deepEqual([theirs.mac, theirs.dst, theirs.state], [entry.mac, "192.0.2.2", "permanent"]);
  left.replaceNeighbour({ ...entry, ip: ip("192.0.2.3") });
  assert.equal((await fdb())[0].dst, "192.0.2.3");
  await a.run(
    ...["bridge", "fdb", "append", "66:aa:bb:cc:dd:ff", "dst", "192.0.2.9"],
    ...["dev", "vxlan.calico", "self", "permanent"],
  );
  const read = left.neighbours({ kind: "fdb", index: vxlan.index });
  assert.deepEqual(
    read.map((n) => n.kind === "fdb" && [n.mac, formatIp(n.ip!), n.state]).sort(),
    [["66:aa:bb:cc:dd:ee", "192.0.2.3", 0xc0], ["66:aa:bb:cc:dd:ff", "192.0.2.9", 0xc0]],
  );
  left.deleteNeighbour({ ...entry, ip: ip("192.0.2.3") });
  assert.equal(left.neighbours({ kind: "fdb", index: vxlan.index }).length, 1);
  assert.deepEqual(left.neighbours({ kind: "fdb", index: 4711 }), []);
});

Deno.test("addresses of both families, ours and theirs", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: index } = wired;
  left.addAddress({ index, ip: ip("10.1.2.3"), length: 32, scope: 253 });
  left.addAddress({ index, ip: ip("10.3.0.1"), length: 32, peer: ip("10.3.0.2") });
  const [shown] = await a.json("addr", "show", "dev", "left");
  const theirs = new Map(
    (shown.addr_info as Record<string, unknown>[]).map((info) => [info.local, info]),
  );
  assert.equal(theirs.get("10.1.2.3")?.scope, "link");
  assert.equal(theirs.get("10.3.0.1")?.address, "10.3.0.2");
  assert.equal(theirs.get("2001:db8::1")?.prefixlen, 64);
  assert.equal(theirs.get("2001:db8::1")?.tentative, undefined);

  await a.run("ip", "addr", "add", "10.9.9.9/24", "broadcast", "10.9.9.255", "dev", "left");
  const read = left.addresses({ index });
  const text = (address: route.Address) => `${formatIp(address.ip)}/${address.length}`;
  assert.deepEqual(read.map(text).sort(), [
    "10.1.2.3/32",
    "10.3.0.1/32",
    "10.9.9.9/24",
    "192.0.2.1/24",
    "2001:db8::1/64",
  ]);
  assert.equal(formatIp(read.find((r) => r.broadcast)!.broadcast!), "10.9.9.255");
  assert.deepEqual(left.addresses({ family: 6, index }).map(text), ["2001:db8::1/64"]);
  assert.deepEqual(left.addresses({ index: 4711 }), []);

  const double = refusal(() =>
    left.addAddress({ index, ip: ip("10.1.2.3"), length: 32, scope: 253 })
  );
  assert.equal(double.code, "EEXIST");
  left.deleteAddress({ index, ip: ip("10.1.2.3"), length: 32 });
  const gone = refusal(() => left.deleteAddress({ index, ip: ip("10.1.2.3"), length: 32 }));
  assert.equal(gone.code, "EADDRNOTAVAIL");
  assert.match(gone.message, /delete address 10\.1\.2\.3\/32 on interface \d+/);
});

const via = (index: number, gateway: string) => [{ gateway: ip(gateway), oif: index }];

Deno.test("routes of every form that we use: ours are read by ip, and read back the same", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const wanted: route.Route[] = [
    { destination: prefix("10.65.0.2/32"), protocol: 80, hops: [{ oif }] },
    { destination: prefix("10.65.0.3/32"), protocol: 80, source: ip("192.0.2.1"), hops: [{ oif }] },
    { destination: prefix("10.65.0.0/26"), protocol: 80, type: "blackhole" },
    { destination: prefix("10.65.1.0/26"), protocol: 81, hops: via(oif, "192.0.2.2") },
    { destination: prefix("0.0.0.0/0"), hops: via(oif, "192.0.2.2") },
    {
      destination: prefix("10.65.2.0/26"),
      protocol: 80,
      mtu: 1400,
      hops: [{ gateway: ip("10.65.2.1"), oif, onlink: true }],
    },
    { destination: prefix("10.65.3.0/26"), protocol: 80, table: 100, hops: [{ oif }] },
    { destination: prefix("10.65.4.0/26"), protocol: 80, table: 1000, hops: [{ oif }] },
    {
      destination: prefix("10.65.5.0/26"),
      protocol: 81,
      priority: 512,
      hops: via(oif, "192.0.2.2"),
    },
    {
      destination: prefix("10.65.6.0/26"),
      protocol: 81,
      hops: [
        { gateway: ip("192.0.2.2"), oif },
        { gateway: ip("192.0.2.3"), oif, weight: 3 },
      ],
    },
    { destination: prefix("10.65.7.0/26"), protocol: 81, hops: via(oif, "2001:db8::2") },
    { destination: prefix("10.65.8.0/26"), protocol: 80, type: "unreachable" },
    { destination: prefix("10.65.8.64/26"), protocol: 80, type: "prohibit" },
    { destination: prefix("10.65.8.128/26"), protocol: 80, type: "throw", table: 100 },
    { destination: prefix("fd00:10:65::2/128"), protocol: 80, hops: [{ oif }] },
    { destination: prefix("fd00:10:65::/122"), protocol: 80, type: "blackhole" },
    { destination: prefix("fd00:10:66::/122"), protocol: 81, hops: via(oif, "2001:db8::2") },
    { destination: prefix("::/0"), hops: via(oif, "2001:db8::2") },
    {
      destination: prefix("fd00:10:67::/64"),
      protocol: 81,
      table: 1000,
      hops: via(oif, "2001:db8::2"),
    },
    {
      destination: prefix("fd00:10:68::/64"),
      protocol: 81,
      hops: [
        { gateway: ip("2001:db8::2"), oif },
        { gateway: ip("2001:db8::3"), oif },
      ],
    },
  ];
  for (const one of wanted) left.addRoute(one);
  // The kernel makes its own whenever an address is found to be nobody else's.
  const routes = () => left.routes().filter((r) => r.protocol !== route.RTPROT_KERNEL);
  const actual = new Map(routes().map((r) => [route.routeKey(r), r]));
  for (const one of wanted) {
    const got = actual.get(route.routeKey(one));
    assert.ok(got && route.sameRoute(one, got), `${route.routeText(one)}: ${JSON.stringify(got)}`);
  }
  // Replacing with the same changes nothing, neither does it add.
  for (const one of wanted) left.replaceRoute(one);
  assert.equal(routes().length, actual.size);

  const theirs = new Map(
    (await a.json("-N", "-4", "route", "show", "table", "all")).map((
      r,
    ) => [`${r.dst} ${r.table ?? ""}`, r]),
  );
  const shown = (dst: string, table = "") => theirs.get(`${dst} ${table}`)!;
  assert.deepEqual(
    [shown("10.65.0.2").scope, shown("10.65.0.2").protocol, shown("10.65.0.2").dev],
    ["253", "80", "left"],
  );
  assert.equal(shown("10.65.0.3").prefsrc, "192.0.2.1");
  assert.equal(shown("10.65.0.0/26").type, "6");
  assert.equal(shown("10.65.1.0/26").gateway, "192.0.2.2");
  assert.equal(shown("default").gateway, "192.0.2.2");
  assert.deepEqual(shown("10.65.2.0/26").flags, ["onlink"]);
  assert.equal(shown("10.65.2.0/26").metrics[0].mtu, 1400);
  assert.equal(shown("10.65.3.0/26", "100").dev, "left");
  assert.equal(shown("10.65.4.0/26", "1000").dev, "left");
  assert.equal(shown("10.65.5.0/26").metric, 512);
  assert.deepEqual(
    shown("10.65.6.0/26").nexthops.map((h: Record<string, unknown>) => [h.gateway, h.weight]),
    [["192.0.2.2", 1], ["192.0.2.3", 3]],
  );
  assert.deepEqual(shown("10.65.7.0/26").via, { family: "inet6", host: "2001:db8::2" });

  for (const one of wanted) {
    left.deleteRoute({ destination: one.destination, table: one.table, priority: one.priority });
  }
  const left_ = new Set(left.routes().map(route.routeKey));
  for (const one of wanted) assert.ok(!left_.has(route.routeKey(one)), route.routeText(one));
});

Deno.test("routes that ip made are read as they are, and the kernel filters dumps", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const add = (...args: string[]) => a.run("ip", "route", "add", ...args);
  await add("10.1.0.0/24", "via", "192.0.2.2", "proto", "81", "metric", "5", "mtu", "1300");
  await add("blackhole", "10.1.1.0/24", "proto", "80");
  await add("10.1.2.0/24", "dev", "left", "table", "1000", "proto", "80");
  await add("10.1.3.0/24", "dev", "lo", "proto", "80");
  await a.run("ip", "-6", "route", "add", "fd00:1::/64", "via", "2001:db8::2", "proto", "80");
  const got = (filter: route.RouteFilter) =>
    left.routes(filter).map((r) => formatPrefix(r.destination)).sort();
  assert.deepEqual(got({ protocol: 80 }), [
    "10.1.1.0/24",
    "10.1.2.0/24",
    "10.1.3.0/24",
    "fd00:1::/64",
  ]);
  assert.deepEqual(got({ protocol: 80, family: 4, table: route.RT_TABLE_MAIN }), [
    "10.1.1.0/24",
    "10.1.3.0/24",
  ]);
  assert.deepEqual(got({ table: 1000 }), ["10.1.2.0/24"]);
  assert.deepEqual(got({ protocol: 80, oif }), ["10.1.2.0/24", "fd00:1::/64"]);
  assert.deepEqual(got({ table: 777 }), []);
  assert.deepEqual(got({ type: "blackhole" }), ["10.1.1.0/24"]);
  const [metric] = left.routes({ protocol: 81 });
  assert.deepEqual(
    [metric.priority, metric.mtu, metric.scope, metric.hops],
    [5, 1300, "universe", via(oif, "192.0.2.2")],
  );
});

Deno.test("the route to one address is the one that the table has for it", () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const to = (text: string) => left.routeTo(ip(text));
  assert.equal(to("10.77.0.1"), undefined);
  assert.equal(to("2001:db8:77::1"), undefined);
  for (const net of ["10.77.0.0/26", "10.77.0.5/32", "2001:db8:77::/122", "2001:db8:77::5/128"]) {
    left.addRoute({ destination: prefix(net), hops: [{ oif }] });
  }
  left.addRoute({ destination: prefix("10.78.0.0/26"), type: "blackhole" });
  const seen = (text: string) => {
    const found = to(text);
    return found && [formatPrefix(found.destination), found.type, found.hops?.[0]?.oif];
  };
  assert.deepEqual(seen("10.77.0.4"), ["10.77.0.0/26", "unicast", oif]);
  assert.deepEqual(seen("10.77.0.5"), ["10.77.0.5/32", "unicast", oif]);
  assert.deepEqual(seen("2001:db8:77::4"), ["2001:db8:77::/122", "unicast", oif]);
  assert.deepEqual(seen("2001:db8:77::5"), ["2001:db8:77::5/128", "unicast", oif]);
  assert.equal(to("10.78.0.1"), undefined);
  assert.deepEqual(seen("192.0.2.1"), ["192.0.2.1/32", "local", oif]);
  assert.equal(to("2001:db8::1")?.type, "local");
});

Deno.test("the kernel's refusals are readable", () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const unreachable = refusal(() =>
    left.addRoute({ destination: prefix("10.77.0.0/24"), hops: via(oif, "172.31.255.1") })
  );
  assert.equal(
    unreachable.message,
    `add route 10.77.0.0/24 via 172.31.255.1 dev ${oif}: network is unreachable (ENETUNREACH): ` +
      "Nexthop has invalid gateway",
  );
  const destination = prefix("10.78.0.0/24");
  assert.equal(refusal(() => left.addRoute({ destination, hops: [{ oif: 4711 }] })).code, "ENODEV");
  left.addRoute({ destination, hops: [{ oif }] });
  assert.equal(refusal(() => left.addRoute({ destination, hops: [{ oif }] })).code, "EEXIST");
  left.deleteRoute({ destination });
  const gone = refusal(() => left.deleteRoute({ destination }));
  assert.equal(gone.message, "delete route 10.78.0.0/24: no such process or route (ESRCH)");
  left.setLink(oif, { up: false });
  const down = refusal(() => left.addRoute({ destination, hops: [{ oif }] }));
  assert.deepEqual([down.code, down.detail], ["ENETDOWN", "Device for nexthop is not up"]);
});

Deno.test("many commands in one datagram: the refused ones are named, the others are done", () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const routes = [1, 2, 3, 4, 5].map((n): route.Route => ({
    destination: prefix(`10.1.${n}.0/24`),
    protocol: 80,
    hops: [{ oif: n === 3 ? 4711 : oif }],
  }));
  const refused = left.putRoutes(routes);
  assert.deepEqual(refused.map((r) => [r.item, r.error.code]), [[routes[2], "ENODEV"]]);
  assert.match(refused[0].error.message, /^replace route 10\.1\.3\.0\/24 dev 4711: /);
  assert.equal(left.routes({ protocol: 80 }).length, 4);
  assert.deepEqual(
    left.putRoutes(routes, "add").map((r) => r.error.code),
    ["EEXIST", "EEXIST", "ENODEV", "EEXIST", "EEXIST"],
  );
  const commands = [
    route.setLink("lo", { mtu: 60000 }),
    route.setLink("nosuch", { up: true }),
    route.addRule({ family: 4, table: 100, priority: 99 }),
  ];
  assert.deepEqual(left.attempt(commands).map((r) => [r.item, r.error.code]), [
    [commands[1], "ENODEV"],
  ]);
  assert.equal(left.link("lo")!.mtu, 60000);
  assert.equal(refusal(() => left.run(...commands)).code, "ENODEV");
  assert.deepEqual(left.deleteRoutes(routes).map((r) => r.error.code), ["ESRCH"]);
  assert.deepEqual(left.attempt([]), []);
});

Deno.test("rules, ours and theirs", async () => {
  using a = new Scratch();
  using socket = RouteSocket.open(a.netns);
  const ours: route.RoutingRule[] = [
    {
      family: 4,
      priority: 99,
      table: 1000,
      mark: { value: 0x100000, mask: 0x100000 },
      invert: true,
      protocol: 80,
    },
    { family: 4, priority: 100, table: 100, source: prefix("10.65.0.0/16") },
    {
      family: 4,
      priority: 101,
      table: 254,
      inputInterface: "cali0",
      destination: prefix("10.0.0.0/8"),
    },
  ];
  for (const rule of ours) socket.addRule(rule);
  const shown = await a.json("-N", "rule", "show");
  const [first] = shown.filter((rule) => rule.priority === 99);
  assert.deepEqual(
    [first.not, first.fwmark, first.fwmask, first.table, first.protocol],
    [null, "0x100000", "0x100000", "1000", "80"],
  );
  assert.equal(refusal(() => socket.addRule(ours[0])).code, "EEXIST");
  const withDefaults = ours.map((rule) => ({ invert: false, protocol: 0, ...rule }));
  const read = () => socket.rules(4).filter(({ priority = 0 }) => priority > 0 && priority < 1000);
  assert.deepEqual(read(), withDefaults);
  for (const rule of ours) socket.deleteRule(rule);
  assert.deepEqual(read(), []);
  assert.equal(refusal(() => socket.deleteRule(ours[0])).code, "ENOENT");

  await a.run("ip", "-6", "rule", "add", "from", "fd00::/16", "lookup", "77", "pref", "5");
  assert.deepEqual(socket.rules(6).filter((rule) => rule.priority === 5), [{
    family: 6,
    priority: 5,
    table: 77,
    invert: false,
    source: prefix("fd00::/16"),
    protocol: 0,
  }]);
});

Deno.test("neighbours and proxies, ours and theirs", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: index } = wired;
  left.addNeighbour({ kind: "neighbour", index, ip: ip("169.254.1.1"), mac: hostMac });
  left.replaceNeighbour({ kind: "neighbour", index, ip: ip("169.254.1.1"), mac });
  left.addNeighbour({ kind: "proxy", index, ip: ip("10.65.0.99") });
  left.addNeighbour({ kind: "proxy", index, ip: ip("fd00:10:65::99") });
  const [shown] = (await a.json("neigh", "show", "dev", "left")).filter((n) =>
    n.dst === "169.254.1.1"
  );
  assert.deepEqual([shown.lladdr, shown.state], [mac, ["PERMANENT"]]);
  const proxies = await a.run("ip", "neigh", "show", "proxy");
  assert.match(proxies, /10\.65\.0\.99 dev left/);
  assert.match(proxies, /fd00:10:65::99 dev left/);

  await a.run("ip", "neigh", "add", "10.9.9.9", "lladdr", mac, "dev", "left", "nud", "permanent");
  const permanent = left.neighbours({ kind: "neighbour", index }).flatMap((n) =>
    n.kind === "neighbour" && n.state === route.NUD_PERMANENT ? [formatIp(n.ip)] : []
  );
  assert.deepEqual(permanent.sort(), ["10.9.9.9", "169.254.1.1"]);
  assert.deepEqual(
    left.neighbours({ kind: "proxy", index }).map((n) => n.kind === "proxy" && formatIp(n.ip))
      .sort(),
    ["10.65.0.99", "fd00:10:65::99"],
  );
  left.deleteNeighbour({ kind: "proxy", index, ip: ip("10.65.0.99") });
  left.deleteNeighbour({ kind: "neighbour", index, ip: ip("169.254.1.1") });
  const gone = refusal(() => left.deleteNeighbour({ kind: "proxy", index, ip: ip("10.65.0.99") }));
  assert.equal(gone.code, "ENOENT");
  assert.equal(left.neighbours({ kind: "proxy", index }).length, 1);
});

Deno.test("a pod wired by ours alone can be pinged, without a default route of its host", async () => {
  using host = new Scratch();
  using pod = new Scratch();
  using outside = RouteSocket.open(host.netns);
  using inside = RouteSocket.open(pod.netns);
  outside.addLink({
    kind: "veth",
    name: "cali1",
    mac: hostMac,
    peer: { name: "eth0", netns: pod.netns, mac },
  });
  const cali = outside.link("cali1")!.index, eth0 = inside.link("eth0")!.index;
  outside.run(
    route.setLink("lo", { up: true }),
    route.setLink(cali, { up: true }),
    route.addAddress({ index: 1, ip: ip("192.0.2.1"), length: 32 }),
    route.addRoute({ destination: prefix("10.65.0.2/32"), protocol: 80, hops: [{ oif: cali }] }),
  );
  inside.run(
    route.setLink(eth0, { up: true }),
    route.addAddress({ index: eth0, ip: ip("10.65.0.2"), length: 32 }),
    route.addRoute({ destination: prefix("169.254.1.1/32"), hops: [{ oif: eth0 }] }),
    route.addRoute({ destination: prefix("0.0.0.0/0"), hops: via(eth0, "169.254.1.1") }),
    route.addNeighbour({ kind: "neighbour", index: eth0, ip: ip("169.254.1.1"), mac: hostMac }),
  );
  await pod.run("ping", "-c", "2", "-i", "0.2", "-W", "2", "192.0.2.1");
  await host.run("ping", "-c", "2", "-i", "0.2", "-W", "2", "-I", "192.0.2.1", "10.65.0.2");
});

Deno.test("ten thousand routes go in, are read and go out", () => {
  using a = new Scratch();
  using b = new Scratch();
  using wired = wire(a, b);
  const { left, leftIndex: oif } = wired;
  const routes = Array.from({ length: 10_000 }, (_, i): route.Route => ({
    destination: { ip: { family: 4, bytes: Uint8Array.of(10, 200, i >> 8, i & 255) }, length: 32 },
    protocol: 80,
    hops: [{ oif }],
  }));
  assert.deepEqual(left.putRoutes(routes), []);
  const read = new Map(left.routes({ protocol: 80 }).map((r) => [route.routeKey(r), r]));
  assert.equal(read.size, routes.length);
  assert.ok(routes.every((r) => route.sameRoute(r, read.get(route.routeKey(r))!)));
  // Every one is refused with words: twenty datagrams of refusals, none lost.
  assert.equal(left.putRoutes(routes, "add").length, routes.length);
  assert.deepEqual(left.deleteRoutes(routes), []);
  assert.equal(left.routes({ protocol: 80 }).length, 0);
});
