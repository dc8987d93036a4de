/** One speaker among peers that are not as it: wrong, slow, external, reflecting, changing. */
import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustIp, mustPrefix } from "../mod/net/mod.ts";
import type { PeerConfig, RouteFilter } from "./config.ts";
import type { Attributes } from "./message/attributes.ts";
import { fromHex, Writer } from "./message/bytes.ts";
import { protocolError } from "./message/error.ts";
import { encodeNotification, encodeRouteRefresh } from "./message/frame.ts";
import { writeEndOfRib } from "./message/update_encode.ts";
import { Speaker } from "./speaker.ts";
import { Cluster, meshAddress, meshPeers } from "./testing/cluster.ts";
import { FakeClock, FakeNet } from "./testing/fake_net.ts";
import { RawPeer } from "./testing/raw_peer.ts";

const US = mustIp("192.0.2.100");
const HER = mustIp("192.0.2.1");

function stage(peer: Partial<PeerConfig> = {}, as = 65001) {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const log: string[] = [];
  const speaker = new Speaker(
    { as, routerId: US, listen: [{ family: 4, port: 179 }] },
    { transport: net.transport(US), clock, log: (_, message) => log.push(message) },
  );
  speaker.setPeers([{
    name: "her",
    address: HER,
    source: US,
    remoteAs: 65002,
    passive: true,
    families: ["ipv4", "ipv6"],
    ...peer,
  }]);
  speaker.start();
  const her = new RawPeer(net, HER, peer.remoteAs ?? 65002, 0xc0000201);
  return { clock, net, speaker, log, her };
}

const EXTERNAL: Attributes = {
  origin: 0,
  asPath: [{ type: "sequence", asns: [65002] }],
  nextHop: HER,
};

Deno.test("the status of a session tells what happened, in words and with times", () => {
  const { clock, speaker, her } = stage({ passive: false, connectRetryTime: 10 });
  const status = () => speaker.peers()[0];
  clock.advance(20);
  assert.equal(status().state, "Active");
  assert.match(status().reason, /TCP refused: nobody listens on 192\.0\.2\.1 port 179/);
  assert.equal(status().lastError!.at, status().since);
  clock.advance(5_000);
  her.establish(US);
  assert.equal(status().state, "Established");
  assert.equal(status().reason, "session established");
  assert.match(status().lastError!.text, /refused/, "the last error is kept");
  assert.deepEqual(status().capabilities, ["ipv4", "ipv6", "four-octet AS", "route refresh"]);
  assert.equal(status().routerId, "192.0.2.1");
  assert.equal(status().holdTime, 90);
  her.announce(EXTERNAL, "10.1.0.0/16", "10.2.0.0/16");
  clock.advance(10);
  assert.deepEqual(status().prefixes, { received: 2, accepted: 2, stale: 0, sent: 0 });
  for (let i = 0; i < 10; i++) {
    clock.advance(25_000);
    her.keepalive();
  }
  assert.equal(status().state, "Established");
  assert.ok(her.keepalives >= 8, `${her.keepalives} KEEPALIVEs in 250 s`);
  clock.advance(91_000);
  assert.match(
    status().lastError!.text,
    /hold timer expired: nothing heard from the peer for 90 s/,
  );
  assert.deepEqual(her.notification, [4, 0]);
  assert.equal(speaker.best().length, 0);
});

Deno.test("malformed UPDATEs are counted and told, and do no more than they must", () => {
  const { clock, speaker, her } = stage();
  her.establish(US);
  her.announce(EXTERNAL, "203.0.113.0/24", "203.0.114.0/24");
  clock.advance(10);
  assert.equal(speaker.best().length, 2);
  // ORIGIN 3: the route is taken as withdrawn.
  her.send(fromHex(
    "ff".repeat(16) + "002f02000000144001010340020602010000fdea400304c000020118cb0071",
  ));
  clock.advance(10);
  assert.deepEqual(speaker.best().map((b) => formatPrefix(b.prefix)), ["203.0.114.0/24"]);
  const [status] = speaker.peers();
  assert.equal(status.state, "Established");
  assert.equal(status.malformed.count, 1);
  assert.match(status.malformed.last!, /ORIGIN 3: routes taken as withdrawn/);
});

Deno.test("routes that cannot be used are kept and explained", () => {
  const { clock, speaker, her } = stage();
  her.establish(US);
  const loop = [{ type: "sequence" as const, asns: [65002, 65001] }];
  her.announce({ ...EXTERNAL, asPath: loop }, "10.1.0.0/16");
  her.announce({ ...EXTERNAL, nextHop: mustIp("0.0.0.0") }, "10.2.0.0/16");
  her.announce({ ...EXTERNAL, nextHop: US }, "10.3.0.0/16");
  her.announce(EXTERNAL, "10.4.0.0/16");
  clock.advance(10);
  const reasons = speaker.routes().map((r) => r.reason);
  assert.match(reasons[0], /our own AS 65001 is in the AS path/);
  assert.match(reasons[1], /next hop 0\.0\.0\.0 is not the address of a host/);
  assert.match(reasons[2], /next hop 192\.0\.2\.100 is our own address/);
  assert.equal(reasons[3], "the only usable route");
  assert.deepEqual(speaker.best().map((b) => formatPrefix(b.prefix)), ["10.4.0.0/16"]);
  assert.deepEqual(speaker.routes(mustPrefix("10.4.0.0/16")).length, 1);
  assert.deepEqual(speaker.routes(mustPrefix("10.5.0.0/16")), []);
  const [{ prefixes }] = speaker.peers();
  assert.deepEqual([prefixes.received, prefixes.accepted], [4, 1]);
});

Deno.test("a next hop is no address of this host, whichever it has at the time", () => {
  const { clock, speaker, her } = stage();
  const used = () => {
    clock.advance(10);
    return speaker.best().map((b) => formatPrefix(b.prefix)).sort();
  };
  speaker.setHostAddresses([US, mustIp("192.0.2.101"), mustIp("2001:db8::101")]);
  her.establish(US);
  her.announce({ ...EXTERNAL, nextHop: mustIp("192.0.2.101") }, "10.1.0.0/16");
  her.announce({ ...EXTERNAL, nextHop: mustIp("192.0.2.102") }, "10.2.0.0/16");
  her.announce({ ...EXTERNAL, nextHop: mustIp("2001:db8::101") }, "2001:db8:1::/48");
  her.announce({ ...EXTERNAL, nextHop: mustIp("2001:db8::102") }, "2001:db8:2::/48");
  assert.deepEqual(used(), ["10.2.0.0/16", "2001:db8:2::/48"]);
  assert.match(speaker.routes()[0].reason, /next hop 192\.0\.2\.101 is our own address/);
  speaker.setHostAddresses([US, mustIp("192.0.2.102"), mustIp("2001:db8::102")]);
  assert.deepEqual(used(), ["10.1.0.0/16", "2001:db8:1::/48"]);
  speaker.setHostAddresses([US]);
  assert.equal(used().length, 4);
});

Deno.test("one bad peer troubles nobody else", () => {
  const cluster = new Cluster();
  for (const n of [1, 2]) {
    cluster.add(n);
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  const bad: PeerConfig[] = [
    { name: "nowhere", address: mustIp("0.0.0.0"), remoteAs: 1 },
    { name: "no-as", address: mustIp("10.9.9.1"), remoteAs: 0 },
    { name: "hold", address: mustIp("10.9.9.2"), remoteAs: 1, holdTime: 2 },
    { name: "self", address: meshAddress(1), remoteAs: 1, source: meshAddress(1) },
    { name: "mixed", address: mustIp("10.9.9.3"), remoteAs: 1, source: mustIp("fd00::1") },
    { name: "key", address: mustIp("10.9.9.4"), remoteAs: 1, password: "x".repeat(81) },
    { name: "mute", address: mustIp("10.9.9.5"), remoteAs: 1, families: [] },
    ...meshPeers(1, [1, 2]),
    { name: "Mesh_10_0_0_2", address: mustIp("10.9.9.6"), remoteAs: 1 },
  ];
  cluster.nodes.get(1)!.speaker.setPeers(bad);
  cluster.nodes.get(2)!.speaker.setPeers(meshPeers(2, [1, 2]));
  cluster.clock.advance(1_000);
  const peers = cluster.nodes.get(1)!.speaker.peers();
  assert.equal(cluster.nodes.get(1)!.kernel.size, 1);
  assert.equal(peers.length, 9);
  const errors = Object.fromEntries(peers.map((p) => [p.name, p.configError]));
  assert.match(errors.nowhere!, /0\.0\.0\.0 is not the address of a host/);
  assert.match(errors["no-as"]!, /AS 0 is not 1 to 4294967295/);
  assert.match(errors.hold!, /hold time of 2 s/);
  assert.match(errors.self!, /our own address/);
  assert.match(errors.mixed!, /another family/);
  assert.match(errors.key!, /more than 80 bytes/);
  assert.match(errors.mute!, /no address family/);
  assert.equal(errors.Mesh_10_0_0_2, undefined);
  assert.ok("Mesh_10_0_0_2 (2)" in errors, "a name twice");
  // Mended, it works.
  cluster.nodes.get(1)!.speaker.setPeers(
    bad.map((p) => p.name === "nowhere" ? { ...p, address: mustIp("10.9.9.7") } : p),
  );
  assert.equal(cluster.nodes.get(1)!.speaker.peers()[0].configError, undefined);
});

Deno.test("a peer with our own router ID, one of another AS, and strangers", () => {
  const same = stage({ remoteAs: 65001 });
  same.her.call(US);
  same.clock.advance(10);
  // The first call says nothing; the second one comes beside it.
  const twin = new RawPeer(same.net, HER, 65001, 0xc0000264);
  twin.call(US);
  same.clock.advance(10);
  twin.open();
  same.clock.advance(10);
  assert.deepEqual(twin.notification, [2, 3]);
  assert.match(same.speaker.peers()[0].lastError!.text, /our own router ID 192\.0\.2\.100/);

  const { clock, net, speaker, log } = stage();
  const wrong = new RawPeer(net, HER, 65009, 7);
  wrong.call(US);
  clock.advance(10);
  wrong.open();
  clock.advance(10);
  assert.deepEqual(wrong.notification, [2, 2]);
  assert.match(
    speaker.peers()[0].lastError!.text,
    /OPEN mismatch: the peer says it is AS 65009, it is configured as AS 65002/,
  );
  const stranger = new RawPeer(net, mustIp("192.0.2.66"), 65002, 9);
  stranger.call(US);
  clock.advance(10);
  assert.match(stranger.ended!, /closed/);
  assert.ok(log.some((line) => /192\.0\.2\.66, which is no peer/.test(line)));
});

Deno.test("a peer that refuses capabilities is offered none the next time, and a later one is again", () => {
  const { clock, speaker, her, log } = stage({ errorWait: [1, 2] });
  her.capabilities.length = 0;
  const refuse = (subcode: number) => {
    her.call(US);
    clock.advance(10);
    her.send(encodeNotification(protocolError(2, subcode, "no")));
    clock.advance(3_000);
  };
  refuse(4);
  assert.ok(log.some((line) => /refuses capabilities; the next OPEN has none/.test(line)));
  her.establish(US);
  her.announce(EXTERNAL, "203.0.113.0/24");
  clock.advance(10);
  assert.equal(speaker.peers()[0].state, "Established");
  assert.deepEqual(speaker.peers()[0].families, ["ipv4"]);
  assert.deepEqual(her.offers.map((kinds) => kinds.length > 0), [true, false]);
  // Who comes after the session may be another one.
  her.connection!.close();
  clock.advance(3_000);
  refuse(4);
  // In turn: what is refused without them, too, is tried with them.
  refuse(4);
  refuse(2);
  refuse(4);
  refuse(2);
  her.call(US);
  clock.advance(10);
  assert.deepEqual(
    her.offers.slice(2).map((kinds) => kinds.length > 0),
    [true, false, true, true, false, true],
  );
});

Deno.test("too many prefixes end the session with Cease, and only that session", () => {
  const { clock, speaker, her } = stage({ maxPrefixes: 2 });
  her.establish(US);
  her.announce(EXTERNAL, "10.1.0.0/16", "10.2.0.0/16");
  clock.advance(10);
  assert.equal(speaker.best().length, 2);
  her.announce(EXTERNAL, "10.3.0.0/16");
  clock.advance(10);
  assert.deepEqual(her.notification, [6, 1]);
  assert.match(speaker.peers()[0].lastError!.text, /sent 3 ipv4 prefixes, 2 are allowed/);
  assert.equal(speaker.best().length, 0);
});

Deno.test("a password guards both ends", () => {
  const { clock, net, speaker } = stage({ password: "s3cret" });
  const forger = new RawPeer(net, HER, 65002, 1);
  forger.call(US, "guess");
  clock.advance(2_000);
  assert.match(forger.ended!, /timeout/i);
  const friend = new RawPeer(net, HER, 65002, 1);
  friend.call(US, "s3cret");
  clock.advance(10);
  friend.open();
  clock.advance(10);
  friend.keepalive();
  clock.advance(10);
  assert.equal(speaker.peers()[0].state, "Established");
});

Deno.test("filters change live: the session stands, routes are judged again both ways", () => {
  const { clock, speaker, her } = stage();
  speaker.announce([{ prefix: mustPrefix("10.244.1.0/26"), tag: "block" }]);
  her.establish(US);
  her.announce(EXTERNAL, "10.1.0.0/16", "10.2.0.0/16");
  clock.advance(10);
  const config = (extra: Partial<PeerConfig>): PeerConfig[] => [{
    name: "her",
    address: HER,
    source: US,
    remoteAs: 65002,
    passive: true,
    families: ["ipv4", "ipv6"],
    ...extra,
  }];
  const importFilter: RouteFilter = {
    id: "only 10.2",
    judge: ({ prefix, attributes, from }) => {
      assert.equal(from?.peer, "her");
      return formatPrefix(prefix) === "10.2.0.0/16"
        ? { accept: true, attributes: { ...attributes, localPref: 250 } }
        : { accept: false, reason: "not wanted" };
    },
  };
  const exportFilter: RouteFilter = {
    id: "nothing",
    judge: ({ local }) => ({ accept: false, reason: `no ${local?.tag}` }),
  };
  speaker.setPeers(config({ importFilter, exportFilter }));
  clock.advance(10);
  assert.deepEqual(speaker.best().map((b) => formatPrefix(b.prefix)), ["10.2.0.0/16"]);
  assert.equal(speaker.routes(mustPrefix("10.2.0.0/16"))[0].localPref, 250);
  assert.match(
    speaker.routes(mustPrefix("10.1.0.0/16"))[0].reason,
    /refused by filter: not wanted/,
  );
  const last = her.updates.at(-1)!;
  assert.ok(last.answer === "accept" && last.withdrawn.length === 1);
  const messages = her.updates.length;
  speaker.setPeers(
    config({ importFilter: { ...importFilter }, exportFilter: { ...exportFilter } }),
  );
  clock.advance(10);
  assert.equal(her.updates.length, messages, "filters of the same id are the same");
  speaker.setPeers(config({}));
  clock.advance(10);
  assert.equal(speaker.best().length, 2);
  assert.equal(speaker.peers()[0].established, 1);
  speaker.setPeers(config({ holdTime: 30 }));
  clock.advance(10);
  assert.deepEqual(her.notification, [6, 6], "what an OPEN says needs a new session");
});

Deno.test("route refresh is answered with everything", () => {
  const { clock, speaker, her } = stage();
  speaker.announce([{ prefix: mustPrefix("10.244.1.0/26") }]);
  her.establish(US);
  clock.advance(10);
  const before = her.updates.length;
  her.send(encodeRouteRefresh("ipv4"));
  clock.advance(10);
  const again = her.updates.slice(before);
  assert.equal(again.length, 1);
  assert.ok(again[0].answer === "accept" && again[0].announced[0].keys.length === 1);
  her.send(encodeRouteRefresh("ipv6"));
  clock.advance(10);
  assert.equal(her.updates.length, before + 1);
});

Deno.test("our own routes: told once, changed in place, gone when they go, equal lists are silence", () => {
  const { clock, speaker, her } = stage();
  her.establish(US);
  clock.advance(10);
  const after = (routes: Parameters<Speaker["announce"]>[0]) => {
    const from = her.updates.length;
    speaker.announce(routes);
    clock.advance(10);
    return her.updates.slice(from).map((u) =>
      u.answer === "accept" ? [u.announced.flatMap((a) => a.keys).length, u.withdrawn.length] : []
    );
  };
  const [a, b] = ["10.244.1.0/26", "10.244.2.0/26"].map((t) => ({ prefix: mustPrefix(t) }));
  assert.deepEqual(after([a, b]), [[2, 0]]);
  assert.deepEqual(after([{ ...b }, { ...a }]), []);
  assert.deepEqual(after([a, { ...b, med: 5 }]), [[1, 0]]);
  assert.deepEqual(after([{ ...b, med: 5 }]), [[0, 1]]);
  assert.deepEqual(after([]), [[0, 1]]);
  assert.equal(speaker.routes().length, 0);
});

Deno.test("what came and went within one turn is told to nobody", () => {
  const { clock, speaker, her } = stage();
  her.establish(US);
  const told: string[] = [];
  speaker.onRoutes((changes) => told.push(...changes.map((c) => formatPrefix(c.prefix))));
  const from = her.updates.length;
  speaker.announce([{ prefix: mustPrefix("10.244.1.0/26") }]);
  speaker.announce([]);
  clock.advance(10);
  assert.equal(her.updates.length, from);
  her.announce(EXTERNAL, "10.1.0.0/16");
  clock.advance(10);
  assert.deepEqual(told, ["10.1.0.0/16"]);
});

Deno.test("a reflector, its clients, and two reflectors of one cluster", () => {
  const cluster = new Cluster();
  const client = (n: number, to: number[]): PeerConfig[] => meshPeers(n, [n, ...to]);
  for (const n of [1, 2, 3, 4]) {
    cluster.add(n, n >= 3 ? { clusterId: mustIp("9.9.9.9") } : {});
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  const clients = (n: number) => meshPeers(n, [n, 1, 2], { routeReflectorClient: true });
  for (const n of [1, 2]) cluster.nodes.get(n)!.speaker.setPeers(client(n, [3, 4]));
  cluster.nodes.get(3)!.speaker.setPeers([...clients(3), ...meshPeers(3, [3, 4])]);
  cluster.nodes.get(4)!.speaker.setPeers([...clients(4), ...meshPeers(4, [3, 4])]);
  cluster.clock.advance(2_000);
  const one = cluster.nodes.get(1)!;
  assert.equal(one.kernel.size, 3);
  assert.deepEqual(one.kernel.get("10.244.2.0/26"), ["10.0.0.2"], "the next hop is node 2 itself");
  const reflected = one.speaker.routes(mustPrefix("10.244.2.0/26"));
  assert.equal(reflected.length, 2, "by both reflectors");
  assert.equal(reflected[0].originatorId, "10.0.0.2");
  assert.deepEqual(reflected[0].clusterList, ["9.9.9.9"]);
  const other = cluster.nodes.get(3)!.speaker.routes(mustPrefix("10.244.1.0/26"));
  assert.ok(other.some((r) => /our cluster 9\.9\.9\.9 is in the cluster list/.test(r.reason)));
  // One reflector dies with all its power: nothing is lost.
  cluster.net.powerOff(meshAddress(4));
  cluster.clock.advance(200_000);
  assert.deepEqual([...one.kernel.keys()].sort(), ["10.244.2.0/26", "10.244.3.0/26"]);
});

Deno.test("from mesh to reflectors: the new sessions are up before the old ones go", () => {
  const cluster = new Cluster();
  const nodes = [1, 2, 3];
  for (const n of [...nodes, 9]) {
    cluster.add(n);
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  cluster.mesh(nodes);
  cluster.clock.advance(30_000);
  let least = 9;
  for (const n of nodes) {
    const { kernel, speaker } = cluster.nodes.get(n)!;
    assert.equal(kernel.size, 2);
    speaker.onRoutes(() => least = Math.min(least, kernel.size));
  }
  // The reflector is not there yet when the nodes are told.
  for (const n of nodes) cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, [n, 9]));
  cluster.clock.advance(3_000);
  cluster.nodes.get(9)!.speaker.setPeers(
    meshPeers(9, [...nodes, 9], { routeReflectorClient: true }),
  );
  cluster.clock.advance(20_000);
  assert.ok(least >= 2, "no node ever missed a route");
  for (const n of nodes) {
    const { kernel, speaker } = cluster.nodes.get(n)!;
    assert.deepEqual(speaker.peers().map((p) => p.name), ["Mesh_10_0_0_9"]);
    assert.equal(kernel.size, 3);
  }
  // Where the new ones never come up the old ones go in the end.
  cluster.nodes.get(1)!.speaker.setPeers([
    { name: "ghost", address: mustIp("10.0.0.77"), remoteAs: 64512, source: meshAddress(1) },
  ]);
  cluster.clock.advance(10_000);
  assert.equal(cluster.nodes.get(1)!.kernel.size, 3);
  cluster.clock.advance(30_000);
  assert.equal(cluster.nodes.get(1)!.kernel.size, 0);
});

Deno.test("who leaves waits for those alone that may come in its place", () => {
  const mesh = (...members: number[]) =>
    members.flatMap((n) => meshPeers(1, [1, n], { origin: { node: `n${n}` } }));
  /** A peer that never comes up. */
  const ghost = (origin: PeerConfig["origin"], family: 4 | 6 = 4): PeerConfig => {
    const address = mustIp(family === 4 ? "10.0.0.77" : "fd00::77");
    return { name: "ghost", address, remoteAs: 64512, origin };
  };
  const explicit = (n: number, object: string) =>
    meshPeers(1, [1, n], { origin: { object }, passive: true });
  const cases: [what: string, before: PeerConfig[], after: PeerConfig[], kept: boolean][] = [
    ["a deleted node, for no other", mesh(2, 3), [...mesh(3), ghost({ node: "n9" })], false],
    ["nor for a peer of an object", mesh(2, 3), [...mesh(3), ghost({ object: "tor" })], false],
    ["nor where the mesh is empty", mesh(2), [ghost({ object: "tor" })], false],
    ["a node with another address", mesh(2, 4), [...mesh(4), ghost({ node: "n2" })], true],
    ["a node that left the mesh", mesh(4), [ghost({ object: "reflector" })], true],
    ["no family in common", mesh(4), [ghost({ object: "reflector" }, 6)], false],
    ["an object that chooses others", explicit(4, "tor"), [ghost({ object: "tor" })], true],
    [
      "an object's peer whose node is deleted",
      meshPeers(1, [1, 2], { origin: { object: "tor", node: "n2" }, passive: true }),
      [ghost({ object: "tor", node: "n9" })],
      false,
    ],
    ["another object", explicit(4, "tor"), [ghost({ object: "new" })], false],
    ["the mesh in place of reflectors", explicit(4, "rr"), [ghost({ node: "n9" })], true],
    [
      "the mesh that was there",
      [...explicit(4, "rr"), ...mesh(3)],
      [...mesh(3), ghost({ node: "n9" })],
      false,
    ],
    ["unknown", meshPeers(1, [1, 4]), [ghost({ object: "reflector" })], true],
  ];
  for (const [what, before, after, kept] of cases) {
    const cluster = new Cluster();
    for (const n of [1, 2, 3, 4]) {
      cluster.add(n);
      cluster.announce(n, `10.244.${n}.0/26`);
      if (n > 1) cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, [1, n], { passive: false }));
    }
    const { speaker, kernel } = cluster.nodes.get(1)!;
    speaker.setPeers(before);
    cluster.clock.advance(10_000);
    const leaver = before[0].origin?.node === "n2" ? 2 : 4;
    const block = `10.244.${leaver}.0/26`;
    assert.ok(kernel.has(block), what);
    // Node 2 is deleted in all cases but that of its other address.
    const nodes = new Set(kept ? ["n2", "n3", "n4", "n9"] : ["n3", "n4", "n9"]);
    speaker.setPeers(after, { nodes });
    cluster.clock.advance(1_000);
    assert.equal(kernel.has(block), kept, what);
    cluster.clock.advance(31_000);
    assert.ok(!kernel.has(block), `${what}: in the end`);
  }
});

Deno.test("a peer under another name stays the same session", () => {
  const cluster = new Cluster();
  for (const n of [1, 2]) {
    cluster.add(n);
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  cluster.mesh([1, 2]);
  cluster.clock.advance(1_000);
  const [peer] = meshPeers(1, [1, 2]);
  const { speaker, kernel } = cluster.nodes.get(1)!;
  speaker.setPeers([{ ...peer, name: "Global_10_0_0_2" }]);
  cluster.clock.advance(1_000);
  assert.equal(speaker.peers()[0].name, "Global_10_0_0_2");
  assert.equal(speaker.peers()[0].established, 1);
  assert.equal(speaker.routes(mustPrefix("10.244.2.0/26"))[0].peer, "Global_10_0_0_2");
  assert.equal(kernel.size, 1);
});

Deno.test("three external ASes in a row: the path grows, the next hop is each one's own", () => {
  const cluster = new Cluster();
  const as = (n: number) => 65000 + n;
  for (const n of [1, 2, 3]) cluster.add(n, { as: as(n) });
  cluster.announce(1, "10.244.1.0/26");
  const to = (n: number, ...others: number[]) =>
    others.map((m) => ({
      name: `as${m}`,
      address: meshAddress(m),
      source: meshAddress(n),
      remoteAs: as(m),
    }));
  cluster.nodes.get(1)!.speaker.setPeers(to(1, 2));
  cluster.nodes.get(2)!.speaker.setPeers(to(2, 1, 3));
  cluster.nodes.get(3)!.speaker.setPeers(to(3, 2));
  cluster.clock.advance(10_000);
  const [route] = cluster.nodes.get(3)!.speaker.routes();
  assert.deepEqual([route.asPath, route.nextHop], ["65002 65001", "10.0.0.2"]);
});

Deno.test("next hops that cannot be reached are not used, and nearer ones are preferred", () => {
  const cluster = new Cluster();
  const cost = new Map([["10.0.0.2", 5], ["10.0.0.3", 1]]);
  cluster.add(1, {
    resolveNextHop: (hop) => {
      const metric = cost.get(formatIp(hop));
      return metric === undefined ? undefined : { metric };
    },
  });
  for (const n of [2, 3]) cluster.add(n);
  for (const n of [2, 3]) cluster.announce(n, "10.244.0.0/26");
  cluster.mesh([1, 2, 3]);
  cluster.clock.advance(1_000);
  const { speaker, kernel } = cluster.nodes.get(1)!;
  assert.deepEqual(kernel.get("10.244.0.0/26"), ["10.0.0.3"]);
  cost.set("10.0.0.2", 1);
  speaker.nextHopsChanged();
  cluster.clock.advance(10);
  assert.deepEqual(kernel.get("10.244.0.0/26"), ["10.0.0.2", "10.0.0.3"], "both are used");
  cost.clear();
  speaker.nextHopsChanged();
  cluster.clock.advance(10);
  assert.equal(kernel.has("10.244.0.0/26"), false);
  assert.match(speaker.routes()[0].reason, /cannot be reached/);
});

Deno.test("a peer that does not read is sent no more than it must have in the end", () => {
  const { clock, net, speaker, her } = stage();
  her.establish(US);
  clock.advance(10);
  net.cut(US, HER);
  const before = net.bytesSent;
  const routes = (med: number) =>
    Array.from({ length: 4_000 }, (_, i) => ({
      prefix: {
        ip: {
          family: 4 as const,
          bytes: new Uint8Array([10, i >> 10 & 255, i >> 2, i << 6 & 255]),
        },
        length: 26,
      },
      med: med * 100_000 + i, // a message for each
    }));
  for (let round = 0; round < 5; round++) {
    speaker.announce(routes(round));
    clock.advance(1_000);
  }
  const queued = net.bytesSent - before;
  assert.ok(queued < 500_000, `${queued} bytes wait for a peer that does not read`);
  net.cut(US, HER, false);
  clock.advance(20_000);
  const final = new Map<string | number, number>();
  for (const update of her.updates) {
    if (update.answer !== "accept") continue;
    for (const { attributes, keys } of update.announced) {
      for (const key of keys) final.set(key, attributes.med!);
    }
  }
  assert.equal(final.size, 4_000);
  assert.ok([...final.values()].every((med) => med >= 400_000), "the last state is what she has");
  assert.ok(her.updates.length < 13_000, "most of the states between were never sent");
});

Deno.test("a port that is taken is told, and tried again", () => {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const make = () =>
    new Speaker(
      { as: 1, routerId: US, listen: [{ family: 4, port: 179 }] },
      { transport: net.transport(US), clock },
    );
  const [first, second] = [make(), make()];
  first.start();
  second.start();
  assert.deepEqual(first.listenErrors(), []);
  assert.match(second.listenErrors()[0], /address in use/);
  first.stop({ graceful: false });
  clock.advance(6_000);
  assert.deepEqual(second.listenErrors(), []);
});

Deno.test("another AS or router ID: the peers are told by new sessions", () => {
  const cluster = new Cluster();
  for (const n of [1, 2]) {
    cluster.add(n);
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  cluster.mesh([1, 2]);
  cluster.clock.advance(1_000);
  const { speaker } = cluster.nodes.get(1)!;
  speaker.configure({
    as: 64512,
    routerId: mustIp("10.0.0.250"),
    listen: [{ family: 4, port: 179 }],
  });
  cluster.clock.advance(60_000);
  assert.equal(cluster.nodes.get(2)!.speaker.peers()[0].routerId, "10.0.0.250");
  assert.equal(cluster.nodes.get(2)!.kernel.size, 1);
  assert.equal(cluster.net.open.size, 2);
});

Deno.test("a speaker without peers has converged; one whose peer stays away waits for its time", () => {
  const alone = new Cluster();
  const { speaker } = alone.add(1);
  alone.clock.advance(10_000);
  assert.equal(speaker.converged, false, "nobody has said that there are no peers");
  speaker.setPeers([]);
  alone.clock.advance(2_000);
  assert.equal(speaker.converged, true);

  const waiting = new Cluster();
  const node = waiting.add(1, { restarting: true, deferralTime: 50 });
  let told = 0;
  node.speaker.onConverged(() => told++);
  node.speaker.setPeers(meshPeers(1, [1, 2]));
  waiting.clock.advance(49_000);
  assert.equal(told, 0);
  waiting.clock.advance(2_000);
  assert.equal(told, 1);
});

Deno.test("a list of peers that may lack some is not the whole: nothing has converged by it", () => {
  const cluster = new Cluster();
  for (const n of [1, 2, 3]) cluster.announce((cluster.add(n), n), `10.244.${n}.0/26`);
  cluster.mesh([1, 2, 3]);
  cluster.clock.advance(10_000);
  // With nobody in it, and with one of two.
  for (const known of [[1], [1, 2]]) {
    cluster.kill(1);
    cluster.clock.advance(1_000);
    const { speaker } = cluster.add(1, { restarting: true });
    cluster.announce(1, "10.244.1.0/26");
    speaker.setPeers(meshPeers(1, known), { provisional: true });
    cluster.clock.advance(5_000);
    assert.equal(speaker.converged, false, `with ${known}`);
    const [second] = cluster.nodes.get(2)!.speaker.peers();
    if (known.includes(2)) assert.deepEqual([second.state, second.endOfRib], ["Established", []]);
    speaker.setPeers(meshPeers(1, [1, 2, 3]));
    assert.ok(cluster.clock.until(() => speaker.converged, 20_000));
    assert.equal(cluster.established(1), 2, "it has waited for both");
    const [third] = cluster.nodes.get(3)!.speaker.peers().filter((p) => /_1$/.test(p.name));
    assert.match(third.capabilities.join(), /restarting/, "and told the other of its restart");
  }
  // Where the list is never given anew, the deferral's time ends it.
  const { speaker } = cluster.add(4, { restarting: true, deferralTime: 30 });
  speaker.setPeers([], { provisional: true });
  cluster.clock.advance(29_000);
  assert.equal(speaker.converged, false);
  cluster.clock.advance(2_000);
  assert.equal(speaker.converged, true);
});

Deno.test("a peer has told its table when all sessions with its address have, and after its routes are known", () => {
  const cluster = new Cluster();
  const one = cluster.add(1, { restarting: true });
  for (const n of [2, 3]) {
    cluster.add(n);
    cluster.announce(n, `10.244.${n}.0/26`);
    cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, [1, n]));
  }
  const { speaker, kernel } = one;
  const seen: string[] = [];
  const of = (n: number) => speaker.hasTold(meshAddress(n));
  speaker.onTold(() =>
    seen.push([2, 3].filter((n) => of(n) && kernel.has(`10.244.${n}.0/26`)).join(" "))
  );
  const missing = { ...meshPeers(1, [1, 9])[0], passive: false };
  const twice = { ...meshPeers(1, [1, 3])[0], name: "other", port: 1179 };
  speaker.setPeers([...meshPeers(1, [1, 2, 3]), missing, twice]);
  cluster.clock.advance(5_000);
  assert.deepEqual([of(2), of(3), of(9), of(4)], [true, false, false, false]);
  assert.deepEqual(seen, ["2"]);
  // Without the session that never comes.
  speaker.setPeers([...meshPeers(1, [1, 2, 3]), missing]);
  cluster.clock.advance(100);
  assert.deepEqual(seen, ["2", "2 3"]);
  // That it is away again changes nothing of what it had told.
  cluster.kill(2);
  cluster.clock.advance(2_000);
  assert.deepEqual([of(2), of(3), speaker.converged], [true, true, false]);
  speaker.setPeers([missing]);
  cluster.clock.advance(2_000);
  assert.deepEqual([of(2), of(3)], [false, false], "no peers any more");
});

Deno.test("End-of-RIB waits for those that are there or may come, and only for what they would have passed on", () => {
  const OTHER = mustIp("10.9.9.9");
  const start = (restarting: boolean, remoteAs = 64999, seconds = 3, deferralTime?: number) => {
    const cluster = new Cluster();
    for (const n of [1, 2]) cluster.add(n, n === 1 ? { restarting, deferralTime } : {});
    // A peer that is not there. Of another AS, what it would say would be told; of ours, it would not.
    const missing = { name: "missing", address: OTHER, remoteAs };
    cluster.nodes.get(1)!.speaker.setPeers([...meshPeers(1, [1, 2]), missing]);
    cluster.nodes.get(2)!.speaker.setPeers(meshPeers(2, [1, 2]));
    cluster.clock.advance(1000 * seconds);
    const seen = () => {
      const [peer] = cluster.nodes.get(2)!.speaker.peers();
      const restarts = peer.capabilities.some((c) => /restarting/.test(c));
      return [peer.state, peer.endOfRib.length, restarts];
    };
    return { cluster, seen };
  };
  assert.deepEqual(start(false, 64999, 3, 2).seen(), ["Established", 1, false], "a cold start");
  assert.deepEqual(start(true).seen(), ["Established", 0, true], "it may come yet");
  assert.deepEqual(start(true, 64999, 16).seen(), ["Established", 1, true], "it is absent");
  assert.deepEqual(start(true, 64512).seen(), ["Established", 1, true], "we are no transit for it");

  // One that comes in time is waited for until it has told its table, or for the deferral time.
  for (const tells of [true, false]) {
    const { cluster, seen } = start(true, 64999, 10, 60);
    const late = new RawPeer(cluster.net, OTHER, 64999, 0x0a090909, [
      { kind: "multiprotocol", afi: 1, safi: 1 },
      { kind: "four-octet-as", as: 64999 },
      {
        kind: "graceful-restart",
        restarting: false,
        notification: false,
        time: 120,
        families: [],
      },
    ]);
    late.establish(mustIp("10.0.0.1"));
    cluster.clock.advance(20_000);
    assert.deepEqual(seen(), ["Established", 0, true], "30 s after the start");
    if (tells) {
      const end = new Writer();
      writeEndOfRib(end, "ipv4");
      late.send(end.done());
      cluster.clock.advance(1_000);
    } else cluster.clock.advance(31_000);
    assert.deepEqual(seen(), ["Established", 1, true], tells ? "its End-of-RIB" : "60 s");
  }
});

Deno.test("lost again before it has told its table: a peer's routes keep their first deadline", () => {
  const { clock, speaker, her, net } = stage();
  her.capabilities.push({
    kind: "graceful-restart",
    restarting: true,
    notification: false,
    time: 120,
    families: [{ afi: 1, safi: 1, forwarding: true }],
  });
  her.establish(US);
  her.announce(EXTERNAL, "10.1.0.0/16");
  clock.advance(10);
  const held = () => speaker.best().length === 1;
  const status = () => speaker.peers()[0];
  assert.ok(held());
  const lost = clock.now();
  net.kill(HER);
  clock.advance(1_000);
  let sessions = 0;
  // Comes up, says nothing of its table, and dies: a restart loop.
  while (clock.now() - lost < 100_000) {
    her.establish(US);
    if (status().state === "Established") sessions++;
    net.kill(HER);
    clock.advance(5_000);
    assert.ok(held(), `after ${clock.now() - lost} ms and ${sessions} sessions`);
  }
  assert.ok(sessions > 5, `${sessions} sessions`);
  clock.advance(121_000 - (clock.now() - lost));
  assert.ok(!held(), "no loop keeps them for ever");
});
