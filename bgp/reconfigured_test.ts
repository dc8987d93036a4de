/**
 * Sessions under another configuration: what is applied at once, what opens the session anew and keeps
 * all routes, what ends it. Each end may hear of the change at another moment, as nodes do that read it
 * in the datastore.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPrefix, mustIp } from "../mod/net/mod.ts";
import { Writer } from "./message/bytes.ts";
import { writeEndOfRib } from "./message/update_encode.ts";
import type { PeerConfig } from "./config.ts";
import { encodeNotification } from "./message/frame.ts";
import { protocolError } from "./message/error.ts";
import { Speaker } from "./speaker.ts";
import { Cluster, meshPeers } from "./testing/cluster.ts";
import { FakeClock, FakeNet } from "./testing/fake_net.ts";
import { RawPeer } from "./testing/raw_peer.ts";

const BOTH = [1, 2];

/** Two nodes that have had a session for a while, and every route that was lost since. */
function pair(seed = 1, extra: Partial<PeerConfig> = {}) {
  const cluster = new Cluster(seed);
  const lost: string[] = [];
  for (const n of BOTH) {
    cluster.add(n).speaker.onRoutes((changes) => {
      for (const change of changes) if (change.paths.length === 0) lost.push(`of node ${n}`);
    });
    cluster.announce(n, `10.244.${n}.0/26`);
  }
  cluster.mesh(BOTH, extra);
  cluster.clock.advance(20_000);
  const peer = (n: number) => cluster.nodes.get(n)!.speaker.peers()[0];
  const configure = (n: number, config: Partial<PeerConfig>) =>
    cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, BOTH, config));
  assert.deepEqual(BOTH.map((n) => cluster.nodes.get(n)!.kernel.size), [1, 1]);
  return { cluster, clock: cluster.clock, lost, peer, configure };
}

Deno.test("another restart time, hold time or password is told by new sessions, and no route is lost", () => {
  fc.assert(
    fc.property(
      fc.constantFrom<Partial<PeerConfig>>(
        { gracefulRestart: 8 },
        { holdTime: 30, gracefulRestart: 120 },
        { password: "another", gracefulRestart: 120 },
      ),
      fc.constantFrom(1, 2),
      fc.integer({ min: 0, max: 60 }),
      fc.constantFrom(0, 1, 50, 300),
      fc.integer({ min: 1, max: 1000 }),
      (config, first, gap, more, seed) => {
        const { cluster, clock, lost, peer, configure } = pair(seed);
        configure(first, config);
        clock.advance(gap + more);
        configure(3 - first, config);
        const there = () =>
          BOTH.every((n) =>
            peer(n).state === "Established" && peer(n).prefixes.stale === 0 &&
            peer(n).endOfRib.length === 1
          );
        assert.ok(clock.until(there, 6_000), "both are up again soon");
        for (const n of BOTH) {
          assert.equal(peer(n).restartTime, config.gracefulRestart);
          assert.equal(peer(n).holdTime, config.holdTime ?? 90);
        }
        clock.advance(200_000);
        assert.deepEqual(lost, []);
        assert.ok(there());
        assert.deepEqual(BOTH.map((n) => cluster.nodes.get(n)!.kernel.size), [1, 1]);
      },
    ),
    { numRuns: 150 },
  );
});

Deno.test("without graceful restart the peer is told, and the session is back within a second or so", () => {
  const { clock, lost, peer, configure } = pair(1, { gracefulRestart: false });
  // The end that waits for calls changes: it is the other one that has to come back.
  configure(1, { gracefulRestart: false, holdTime: 30 });
  clock.advance(100);
  assert.match(peer(2).lastError!.text, /Cease: Other Configuration Change/);
  assert.deepEqual(lost.sort(), ["of node 1", "of node 2"]);
  assert.ok(clock.until(() => BOTH.every((n) => peer(n).state === "Established"), 1_500));
});

Deno.test("a peer of another AS, or for other families, keeps nothing of the former session", () => {
  for (const change of [{ remoteAs: 65009 }, { families: ["ipv4", "ipv6"] as const }]) {
    const { clock, lost, peer, configure } = pair();
    configure(1, change);
    clock.advance(100);
    assert.match(peer(2).lastError!.text, /Cease: Other Configuration Change/);
    assert.deepEqual(lost.sort(), ["of node 1", "of node 2"]);
  }
});

Deno.test("a configuration that cannot be ends the session with its routes", () => {
  const { clock, lost, peer, configure } = pair();
  configure(1, { keepaliveTime: -5 });
  clock.advance(100);
  assert.match(peer(1).configError!, /a keepalive time of -5 s is not above 0/);
  assert.deepEqual(lost.sort(), ["of node 1", "of node 2"]);
  configure(1, {});
  assert.ok(clock.until(() => BOTH.every((n) => peer(n).state === "Established"), 6_000));
});

Deno.test("another keepalive time holds at once, in the session that is there", () => {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const [us, her] = [mustIp("192.0.2.100"), mustIp("192.0.2.1")];
  const speaker = new Speaker(
    { as: 65001, routerId: us, listen: [{ family: 4, port: 179 }] },
    { transport: net.transport(us), clock },
  );
  const configure = (keepaliveTime?: number) =>
    speaker.setPeers([{
      name: "her",
      address: her,
      source: us,
      remoteAs: 65002,
      passive: true,
      ...(keepaliveTime === undefined ? {} : { keepaliveTime }),
    }]);
  configure();
  speaker.start();
  const raw = new RawPeer(net, her, 65002, 0xc0000201);
  raw.establish(us);
  /** KEEPALIVEs of the next minute. */
  const minute = () => {
    const before = raw.keepalives;
    for (let i = 0; i < 6; i++) {
      clock.advance(10_000);
      raw.keepalive();
    }
    return raw.keepalives - before;
  };
  const between = (n: number, least: number, most: number) =>
    assert.ok(n >= least && n <= most, `${n} KEEPALIVEs a minute`);
  between(minute(), 1, 3);
  configure(2);
  between(minute(), 29, 41);
  configure(1000);
  between(minute(), 1, 4);
  configure();
  between(minute(), 1, 3);
  assert.equal(speaker.peers()[0].established, 1);
  assert.equal(raw.notification, undefined);
  assert.equal(raw.ended, undefined);
});

Deno.test("a peer that says it will be back is called after a second; one that says so for ever, later and later", () => {
  for (
    const [subcode, pauses] of [
      [4, [1, 2, 4, 8, 16, 30, 30]],
      [6, [1, 2, 4, 8, 16, 30, 30]],
      [2, [5, 10, 20, 30]],
    ] as const
  ) {
    const clock = new FakeClock();
    const net = new FakeNet(clock);
    const [us, her] = [mustIp("192.0.2.100"), mustIp("192.0.2.1")];
    const speaker = new Speaker({ as: 65001, routerId: us }, {
      transport: net.transport(us),
      clock,
    });
    speaker.setPeers([{ name: "her", address: her, source: us, remoteAs: 65002 }]);
    const raw = new RawPeer(net, her, 65002, 0xc0000201);
    net.transport(her).listen({ family: 4, port: 179 }, (connection) => {
      raw.take(connection);
      raw.open();
      raw.keepalive();
    });
    speaker.start();
    const up = () => speaker.peers()[0].state === "Established";
    assert.ok(clock.until(up, 2_000));
    for (const pause of pauses) {
      raw.send(encodeNotification(protocolError(6, subcode, "")));
      assert.ok(clock.until(() => !up(), 100));
      const since = clock.now();
      assert.ok(clock.until(up, 60_000));
      const took = (clock.now() - since) / 1000;
      assert.ok(took >= 0.74 * pause && took <= pause + 0.2, `6/${subcode}: ${took} s, ${pause}`);
    }
  }
});

Deno.test("a session that we open anew costs no route of a peer that has not restarted, whatever it says of forwarding", () => {
  const AS = 65001;
  const [us, her] = [mustIp("192.0.2.100"), mustIp("192.0.2.1")];
  for (const offered of ["nothing", "not forwarding"] as const) {
    for (const restarted of [false, true]) {
      const clock = new FakeClock();
      const net = new FakeNet(clock);
      const speaker = new Speaker(
        { as: AS, routerId: us, listen: [{ family: 4, port: 179 }] },
        { transport: net.transport(us), clock },
      );
      const configure = (gracefulRestart: number) =>
        speaker.setPeers([
          { name: "her", address: her, source: us, remoteAs: AS, passive: true, gracefulRestart },
        ]);
      configure(120);
      speaker.start();
      const establish = (restarting: boolean) => {
        // As BIRD and FRR say it, who set the bit only after a restart of their own.
        const families = offered === "nothing" ? [] : [{ afi: 1, safi: 1, forwarding: false }];
        const raw = new RawPeer(net, her, AS, 0xc0000201, [
          { kind: "multiprotocol", afi: 1, safi: 1 },
          { kind: "four-octet-as", as: AS },
          { kind: "graceful-restart", restarting, notification: false, time: 5, families },
        ]);
        raw.establish(us);
        return raw;
      };
      const announce = (raw: RawPeer, ...prefixes: string[]) =>
        raw.announce({ origin: 0, asPath: [], nextHop: her, localPref: 100 }, ...prefixes);
      const there = () => speaker.best().map(({ prefix }) => formatPrefix(prefix)).sort();
      const told = (raw: RawPeer) => {
        const end = new Writer();
        writeEndOfRib(end, "ipv4");
        raw.send(end.done());
        clock.advance(10);
      };
      const first = establish(false);
      announce(first, "10.1.0.0/16", "10.2.0.0/16");
      told(first);
      configure(60);
      clock.advance(4_000);
      assert.equal(first.notification, undefined, "she is not told, or she would drop ours");
      assert.deepEqual(there(), ["10.1.0.0/16", "10.2.0.0/16"]);
      const second = establish(restarted);
      clock.advance(100);
      assert.deepEqual(there(), restarted ? [] : ["10.1.0.0/16", "10.2.0.0/16"], offered);
      announce(second, "10.1.0.0/16");
      told(second);
      assert.deepEqual(there(), ["10.1.0.0/16"]);
      // Who does not come back has its own restart time, and no more.
      configure(90);
      clock.advance(4_900);
      assert.deepEqual(there(), ["10.1.0.0/16"]);
      clock.advance(200);
      assert.deepEqual(there(), []);
      const again = establish(false);
      announce(again, "10.1.0.0/16");
      told(again);
      // A loss that is none of our doing is judged by what she says.
      net.kill(her);
      clock.advance(100);
      const third = establish(false);
      clock.advance(100);
      assert.deepEqual(there(), []);
      announce(third, "10.1.0.0/16");
      told(third);
      assert.deepEqual(there(), ["10.1.0.0/16"]);
    }
  }
});

Deno.test("of a peer that is away, a change that makes another one of it leaves nothing; for others it has its time", () => {
  const AS = 65001;
  const [us, her] = [mustIp("192.0.2.100"), mustIp("192.0.2.1")];
  const cases: [what: string, change: Partial<PeerConfig>, kept: boolean][] = [
    ["AS number", { remoteAs: 65009 }, false],
    ["AS of ours", { localAs: 65008 }, false],
    ["families", { families: ["ipv6"] }, false],
    ["restart time", { gracefulRestart: 60 }, true],
    ["keepalive time", { keepaliveTime: 20 }, true],
  ];
  for (const [what, change, kept] of cases) {
    const clock = new FakeClock();
    const net = new FakeNet(clock);
    const speaker = new Speaker(
      { as: AS, routerId: us, listen: [{ family: 4, port: 179 }] },
      { transport: net.transport(us), clock },
    );
    const peer: PeerConfig = { name: "her", address: her, source: us, remoteAs: AS, passive: true };
    speaker.setPeers([peer]);
    speaker.start();
    const raw = new RawPeer(net, her, AS, 0xc0000201, [
      { kind: "multiprotocol", afi: 1, safi: 1 },
      { kind: "four-octet-as", as: AS },
      {
        kind: "graceful-restart",
        restarting: false,
        notification: false,
        time: 8,
        families: [{ afi: 1, safi: 1, forwarding: true }],
      },
    ]);
    raw.establish(us);
    raw.announce({ origin: 0, asPath: [], nextHop: her, localPref: 100 }, "10.1.0.0/16");
    clock.advance(100);
    net.kill(her);
    clock.advance(1_000);
    assert.equal(speaker.best().length, 1, what);
    speaker.setPeers([{ ...peer, ...change }]);
    clock.advance(100);
    assert.equal(speaker.best().length, kept ? 1 : 0, what);
    clock.advance(7_000);
    assert.equal(speaker.best().length, 0, `${what}: in the end`);
  }
});
