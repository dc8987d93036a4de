/** Many speakers in one process, on a clock that the test turns: the node mesh as Calico has it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPrefix } from "../mod/net/mod.ts";
import { Cluster, meshAddress, meshPeers } from "./testing/cluster.ts";

const ids = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const block = (n: number) => `10.244.${n}.0/26`;

/** Every node has every other's block, by that node's address, and nothing else. */
function complete(cluster: Cluster, members: readonly number[]): boolean {
  return members.every((n) => {
    const { kernel } = cluster.nodes.get(n)!;
    return kernel.size === members.length - 1 &&
      members.every((m) =>
        m === n || kernel.get(block(m))?.join() === meshAddress(m).bytes.join(".")
      );
  });
}

function mesh(size: number, seed = 1): Cluster {
  const cluster = new Cluster(seed);
  for (const n of ids(size)) {
    cluster.add(n);
    cluster.announce(n, block(n));
  }
  cluster.mesh(ids(size));
  return cluster;
}

Deno.test("a mesh of fifty converges, and each speaker knows that it has", () => {
  const cluster = mesh(50);
  assert.ok(cluster.clock.until(() => complete(cluster, ids(50)), 5_000));
  cluster.clock.advance(3_000);
  for (const n of ids(50)) {
    const { speaker } = cluster.nodes.get(n)!;
    assert.equal(speaker.converged, true);
    assert.equal(cluster.established(n), 49);
    for (const peer of speaker.peers()) assert.equal(peer.established, 1);
  }
});

Deno.test("peers come and go without touching the other sessions", () => {
  const cluster = mesh(6);
  cluster.clock.until(() => complete(cluster, ids(6)), 5_000);
  cluster.add(7);
  cluster.announce(7, block(7));
  cluster.mesh(ids(7));
  assert.ok(cluster.clock.until(() => complete(cluster, ids(7)), 5_000));
  // Node 3 is deleted: everybody else forgets it at once.
  const rest = ids(7).filter((n) => n !== 3);
  for (const n of rest) cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, rest));
  assert.ok(cluster.clock.until(() => complete(cluster, rest), 1_000));
  cluster.clock.advance(100_000);
  assert.ok(complete(cluster, rest));
  for (const n of rest) {
    const peers = cluster.nodes.get(n)!.speaker.peers();
    assert.deepEqual(
      peers.map((p) => [p.state, p.established]),
      peers.map(() => ["Established", 1]),
    );
  }
  const lonely = cluster.nodes.get(3)!;
  assert.equal(lonely.kernel.size, 0);
  assert.match(lonely.speaker.peers()[0].lastError!.text, /De-configured|closed|refused/);
});

Deno.test("a host without power: its routes go when the hold time is over, not before", () => {
  const cluster = mesh(5);
  cluster.clock.until(() => complete(cluster, ids(5)), 5_000);
  cluster.clock.advance(60_000);
  cluster.net.powerOff(meshAddress(5));
  const rest = ids(4);
  cluster.clock.advance(55_000);
  for (const n of rest) assert.ok(cluster.nodes.get(n)!.kernel.has(block(5)));
  cluster.clock.advance(40_000);
  assert.ok(complete(cluster, rest));
  const [, , , peer] = cluster.nodes.get(1)!.speaker.peers();
  assert.match(peer.lastError!.text, /hold timer expired|timeout/i);
  assert.equal(peer.prefixes.received, 0);
});

Deno.test("a link that is cut between two nodes: only their routes to each other go, and come back", () => {
  const cluster = mesh(4);
  cluster.clock.until(() => complete(cluster, ids(4)), 5_000);
  cluster.net.cut(meshAddress(1), meshAddress(2));
  cluster.clock.advance(95_000);
  assert.deepEqual([...cluster.nodes.get(1)!.kernel.keys()].sort(), [block(3), block(4)]);
  assert.deepEqual([...cluster.nodes.get(2)!.kernel.keys()].sort(), [block(3), block(4)]);
  assert.equal(cluster.nodes.get(3)!.kernel.size, 3);
  cluster.net.cut(meshAddress(1), meshAddress(2), false);
  assert.ok(cluster.clock.until(() => complete(cluster, ids(4)), 60_000));
});

Deno.test("a speaker is killed and starts anew: nobody loses a route, and what is gone is swept", () => {
  const cluster = mesh(5);
  cluster.announce(5, block(5), "10.244.5.64/26");
  cluster.clock.until(() => cluster.nodes.get(1)!.kernel.has("10.244.5.64/26"), 5_000);
  cluster.clock.advance(30_000);
  let lost = 0;
  for (const n of ids(4)) {
    cluster.nodes.get(n)!.speaker.onRoutes((changes) => {
      for (const { prefix, paths } of changes) {
        if (formatPrefix(prefix) === block(5) && paths.length === 0) lost++;
      }
    });
  }
  cluster.kill(5);
  cluster.clock.advance(10_000);
  const away = cluster.nodes.get(1)!.speaker.peers()[3];
  assert.equal(away.prefixes.stale, 2);
  assert.ok(away.staleUntil! > cluster.clock.wallTime());
  assert.ok(cluster.nodes.get(1)!.speaker.routes().some((r) => r.stale));
  // The kernel has kept the routes of the dead process; the new one must not sweep them too early.
  const reborn = cluster.add(5, { restarting: true });
  let convergedWith = -1;
  reborn.speaker.onConverged(() => convergedWith = reborn.speaker.best().length);
  cluster.announce(5, block(5));
  reborn.speaker.setPeers(meshPeers(5, ids(5)));
  cluster.clock.advance(20_000);
  assert.equal(convergedWith, 4, "converged only with everybody's routes");
  assert.equal(lost, 0);
  assert.ok(complete(cluster, ids(5)), "what it announces no longer is gone");
  for (const n of ids(5)) {
    for (const peer of cluster.nodes.get(n)!.speaker.peers()) assert.equal(peer.prefixes.stale, 0);
  }
});

Deno.test("a speaker that stays away: its routes go when its restart time is over", () => {
  const cluster = mesh(3);
  cluster.clock.until(() => complete(cluster, ids(3)), 5_000);
  cluster.kill(3);
  cluster.clock.advance(115_000);
  assert.ok(cluster.nodes.get(1)!.kernel.has(block(3)));
  cluster.clock.advance(10_000);
  assert.ok(complete(cluster, [1, 2]));
});

Deno.test("two ways to stop: without a word the routes stay, with Cease they go at once", () => {
  for (const graceful of [true, false]) {
    const cluster = mesh(2);
    cluster.clock.until(() => complete(cluster, ids(2)), 5_000);
    cluster.nodes.get(2)!.speaker.stop({ graceful, reason: "drained for repair" });
    cluster.clock.advance(1_000);
    assert.equal(cluster.nodes.get(1)!.kernel.has(block(2)), graceful);
    assert.equal(cluster.nodes.get(2)!.kernel.size, 1, "the stopping node touches nothing");
    const [peer] = cluster.nodes.get(1)!.speaker.peers();
    if (!graceful) {
      assert.match(peer.lastError!.text, /Administrative Shutdown \("drained for repair/);
    }
  }
});

Deno.test("both ends calling at once come to one session each, whatever the timing", () => {
  fc.assert(
    fc.property(
      fc.nat(0xffffffff),
      fc.integer({ min: 0, max: 40 }),
      fc.nat(3000),
      (seed, latency, lag) => {
        const cluster = new Cluster(seed, latency);
        const both = [1, 2, 3];
        for (const n of both) {
          cluster.add(n, { restarting: seed % 3 === 0 });
          cluster.announce(n, block(n));
          cluster.nodes.get(n)!.speaker.setPeers(
            meshPeers(n, both, { passive: false, gracefulRestart: seed % 2 === 0 ? 120 : false }),
          );
          cluster.clock.advance(n === 1 ? lag : 0);
        }
        assert.ok(
          cluster.clock.until(() => complete(cluster, both), 1_000),
          "without a second try",
        );
        cluster.clock.advance(10_000);
        const before = both.map((n) =>
          cluster.nodes.get(n)!.speaker.peers().map((p) => p.established)
        );
        cluster.clock.advance(400_000);
        const after = both.map((n) =>
          cluster.nodes.get(n)!.speaker.peers().map((p) => p.established)
        );
        assert.deepEqual(after, before, "no session flaps");
        assert.deepEqual(
          after.flat(),
          [1, 1, 1, 1, 1, 1],
          "established once, without a second try",
        );
        assert.ok(complete(cluster, both));
        assert.equal(cluster.net.open.size, 6, "one connection a pair");
      },
    ),
    { numRuns: 60 },
  );
});

type Trouble =
  | { do: "kill" | "restart" | "off" | "on"; node: number }
  | { do: "cut" | "heal"; node: number; other: number }
  | { do: "announce"; node: number; count: number }
  | { do: "forget" | "know"; node: number; other: number }
  | { do: "wait"; seconds: number };

Deno.test("after any trouble the mesh is whole again, and every table is right", () => {
  const node = fc.integer({ min: 1, max: 4 });
  const trouble: fc.Arbitrary<Trouble> = fc.oneof(
    fc.record({ do: fc.constantFrom("kill", "restart", "off", "on"), node }),
    fc.record({ do: fc.constantFrom("cut", "heal"), node, other: node }),
    fc.record({ do: fc.constantFrom("forget", "know"), node, other: node }),
    fc.record({ do: fc.constant("announce"), node, count: fc.nat(3) }),
    fc.record({ do: fc.constant("wait"), seconds: fc.nat(150) }),
    fc.record({ do: fc.constant("wait"), seconds: fc.nat(3) }),
  ) as fc.Arbitrary<Trouble>;
  fc.assert(
    fc.property(fc.nat(0xffff), fc.array(trouble, { maxLength: 25 }), (seed, troubles) => {
      const cluster = new Cluster(seed);
      const members = ids(4);
      const prefixes = new Map(members.map((n) => [n, [block(n)]]));
      const known = new Map(members.map((n) => [n, new Set(members)]));
      const dead = new Set<number>();
      const start = (n: number, restarting: boolean) => {
        cluster.add(n, { restarting });
        cluster.announce(n, ...prefixes.get(n)!);
        cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, [...known.get(n)!]));
        dead.delete(n);
      };
      const kill = (n: number) => {
        if (!dead.has(n)) cluster.kill(n);
        dead.add(n);
      };
      for (const n of members) start(n, false);
      for (const t of troubles) {
        switch (t.do) {
          case "kill":
            kill(t.node);
            break;
          case "restart":
            kill(t.node);
            start(t.node, true);
            break;
          case "off":
            cluster.net.powerOff(meshAddress(t.node));
            kill(t.node);
            break;
          case "on":
            cluster.net.powerOn(meshAddress(t.node));
            break;
          case "cut":
          case "heal":
            cluster.net.cut(meshAddress(t.node), meshAddress(t.other), t.do === "cut");
            break;
          case "announce":
            prefixes.set(
              t.node,
              Array.from({ length: t.count }, (_, i) => `10.244.${t.node}.${64 * i}/26`),
            );
            if (!dead.has(t.node)) cluster.announce(t.node, ...prefixes.get(t.node)!);
            break;
          case "forget":
          case "know":
            if (t.do === "forget") known.get(t.node)!.delete(t.other);
            else known.get(t.node)!.add(t.other);
            if (!dead.has(t.node)) {
              cluster.nodes.get(t.node)!.speaker.setPeers(
                meshPeers(t.node, [...known.get(t.node)!]),
              );
            }
            break;
          case "wait":
            cluster.clock.advance(1000 * t.seconds);
        }
      }
      for (const a of members) {
        cluster.net.powerOn(meshAddress(a));
        for (const b of members) cluster.net.cut(meshAddress(a), meshAddress(b), false);
      }
      for (const n of members) {
        known.set(n, new Set(members));
        if (dead.has(n)) start(n, true);
        else cluster.nodes.get(n)!.speaker.setPeers(meshPeers(n, members));
      }
      // Longer than hold time, restart time and the longest pause together.
      cluster.clock.advance(400_000);
      for (const n of members) {
        const want = members.filter((m) => m !== n)
          .flatMap((m) => prefixes.get(m)!.map((p) => [p, meshAddress(m).bytes.join(".")]));
        const have = cluster.nodes.get(n)!.speaker.best()
          .map((b) => [formatPrefix(b.prefix), b.paths[0].nextHop.bytes.join(".")]);
        assert.deepEqual(have.sort(), want.sort(), `node ${n}`);
        assert.equal(cluster.nodes.get(n)!.speaker.converged, true);
      }
      assert.equal(cluster.net.open.size, 12);
    }),
    { numRuns: 60 },
  );
});
