/**
 * Speakers of ours over real TCP where it is awkward: two that call each other at the same moment, a
 * peer that never reads, and one without four-octet AS numbers between two of ours.
 */
import assert from "node:assert/strict";
import { encodeKeepalive, encodeRouteRefresh } from "../../bgp/message/frame.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import { type PeerConfig, Speaker } from "../../bgp/speaker.ts";
import type { BgpTransport } from "../../bgp/transport.ts";
import { connectTcp } from "../../ffi/tcp.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { NodeTransport, systemClock } from "../../mod/node/bgp_transport.ts";
import { Bird, missing, Ours, run, sleep, until, Wire } from "./harness.ts";

const options = { sanitizeOps: false, sanitizeResources: false };

async function onWire(test: (wire: Wire) => Promise<void>): Promise<void> {
  const wire = await Wire.open();
  try {
    await test(wire);
  } finally {
    await wire.close();
  }
}

/** Counts the connections that come up, either way. */
function counting(inner: BgpTransport, count: { opened: number; accepted: number }): BgpTransport {
  return {
    listen: (o, take) =>
      inner.listen(o, (connection) => {
        count.accepted++;
        take(connection);
      }),
    connect: (target, handlers) =>
      inner.connect(target, {
        ...handlers,
        onConnected: (connection) => {
          count.opened++;
          handlers.onConnected(connection);
        },
      }),
  };
}

Deno.test(
  "two speakers call each other at the same moment: one connection stays, by the RFC",
  options,
  () =>
    onWire(async (wire) => {
      const ends = [{ ip: "10.9.0.1", netns: wire.ours }, { ip: "10.9.0.2", netns: wire.theirs }];
      let collisions = 0;
      for (let round = 0; round < 20; round++) {
        const count = { opened: 0, accepted: 0 };
        // Whose identifier is higher changes from round to round.
        const ids = round % 2 === 0 ? ["1.1.1.1", "2.2.2.2"] : ["2.2.2.2", "1.1.1.1"];
        const speakers = ends.map(({ ip, netns }, i) =>
          new Speaker({
            as: 64512,
            routerId: mustIp(ids[i]),
            listen: [{ family: 4, port: 179, address: mustIp(ip) }],
          }, { transport: counting(new NodeTransport(netns), count), clock: systemClock })
        );
        try {
          // Both listen before either calls.
          for (const speaker of speakers) speaker.start();
          assert.deepEqual(speakers.flatMap((s) => s.listenErrors()), []);
          for (const [i, speaker] of speakers.entries()) {
            speaker.announce([{ prefix: mustPrefix(`10.244.${i}.0/26`) }]);
            speaker.setPeers([{
              name: "other",
              address: mustIp(ends[1 - i].ip),
              source: mustIp(ends[i].ip),
              remoteAs: 64512,
            }]);
          }
          await until(
            "both have the other's route",
            () => speakers.every((s) => s.best().length === 1),
          );
          if (count.accepted > 1) {
            collisions++;
            let open: string[] = [];
            await until("one connection is left", async () => {
              const text = await run(
                ...["ip", "netns", "exec", wire.ourNamespace],
                ...["ss", "-Htn", "state", "established"],
              );
              open = text.trim().split("\n").filter((line) => line.includes(":179"));
              return open.length === 1;
            });
            // Opened by the end with the higher identifier: there the port is not 179.
            const ourPort = /10\.9\.0\.1:(\d+)/.exec(open[0])![1];
            assert.equal(ourPort !== "179", ids[0] > ids[1], `round ${round}: ${open[0]}`);
          }
          for (const speaker of speakers) {
            const [{ state, established }] = speaker.peers();
            assert.deepEqual([state, established], ["Established", 1], `round ${round}`);
          }
        } finally {
          for (const speaker of speakers) speaker.stop({ graceful: false });
        }
      }
      assert.ok(collisions >= 10, `${collisions} collisions in 20 rounds`);
    }),
);

Deno.test(
  "a peer that never reads holds up nobody, costs little, and is let go of",
  options,
  () =>
    onWire(async (wire) => {
      await run("ip", "-n", wire.birdNamespace, "address", "add", "10.9.0.3/24", "dev", "w0");
      const count = 30_000;
      const table = (med: number) =>
        Array.from({ length: count }, (_, i) => ({
          prefix: mustPrefix(`10.${i >> 8 & 255}.${i & 255}.0/24`),
          med: med * 100_000 + i, // a message for each
        }));
      const us = new Ours(wire);
      const reader = new Speaker(
        { as: 64512, routerId: mustIp("10.9.0.2") },
        { transport: new NodeTransport(wire.theirs), clock: systemClock },
      );
      wire.atEnd(() => reader.stop({ graceful: true }));
      const peer = (address: string): PeerConfig => ({
        name: address,
        address: mustIp(address),
        source: mustIp("10.9.0.1"),
        remoteAs: 64512,
        passive: true,
        sendHoldTime: 6,
      });
      us.speaker.setPeers([peer("10.9.0.2"), peer("10.9.0.3")]);
      us.speaker.start();
      reader.setPeers([{
        name: "us",
        address: mustIp("10.9.0.1"),
        source: mustIp("10.9.0.2"),
        remoteAs: 64512,
      }]);
      reader.start();
      const status = (address: string) => us.speaker.peers().find((p) => p.address === address)!;
      await until("the reader", () => status("10.9.0.2").state === "Established");

      const deaf = await connectTcp({
        netns: wire.theirs,
        remote: { ip: mustIp("10.9.0.1"), port: 179 },
        local: { ip: mustIp("10.9.0.3"), port: 0 },
      });
      wire.atEnd(() => deaf.close());
      const bytes = [
        encodeOpen({
          as: 64512,
          holdTime: 90,
          routerId: 0x0a090003,
          capabilities: [{ kind: "route-refresh" }, { kind: "enhanced-route-refresh" }],
        }),
        encodeKeepalive(),
      ];
      for (const message of bytes) await deaf.write(message);
      await until("the deaf peer", () => status("10.9.0.3").state === "Established");

      us.speaker.announce(table(0));
      await until("the whole table at the reader", () => reader.best().length === count, {
        ms: 60_000,
      });
      const told = status("10.9.0.3").messages.sent;
      // It speaks on, so its session stands: and asks, and asks.
      for (let i = 0; i < 200; i++) await deaf.write(encodeRouteRefresh("ipv4"));
      await deaf.write(encodeKeepalive());
      us.speaker.announce(table(1));
      await until(
        "the changed table at the reader",
        () => reader.routes(mustPrefix(`10.0.7.0/24`))[0]?.med === 100_007,
        { ms: 60_000 },
      );
      const more = status("10.9.0.3").messages.sent - told;
      assert.ok(told < count, `${told} messages wait for a peer that does not read`);
      assert.ok(more < 5000, `and ${more} more after that`);
      await until("the send hold timer", () => status("10.9.0.3").state !== "Established");
      assert.match(status("10.9.0.3").lastError!.text, /send hold timer expired.*nothing for 6 s/);
      const { state, established } = status("10.9.0.2");
      assert.deepEqual([state, established], ["Established", 1], "the reader has not noticed");
      await sleep(10);
    }),
);

const reason = missing();

Deno.test({
  name: `a four-octet AS number through a BIRD that knows two octets alone${
    reason === undefined ? "" : ` (skipped: ${reason})`
  }`,
  ignore: reason !== undefined,
  ...options,
  fn: () =>
    onWire(async (wire) => {
      for (const more of ["10.9.0.4", "10.9.0.5"]) {
        await run("ip", "-n", wire.ourNamespace, "address", "add", `${more}/24`, "dev", "w0");
      }
      const bird = new Bird(wire);
      const old = (name: string, address: string, as: number) => `
protocol bgp ${name} {
  local 10.9.0.2 as 65002;
  neighbor ${address} as ${as};
  multihop;
  enable as4 off;
  passive on;
  ipv4 { import all; export where source = RTS_BGP; };
}`;
      await bird.start(`router id 10.9.0.2;
protocol device { }
protocol direct { ipv4; interface "w0"; }
${old("near", "10.9.0.1", 64601)}
${old("far", "10.9.0.4", 64603)}
`);
      const start = (ip: string, as: number, peers: [ip: string, as: number][]) => {
        const speaker = new Speaker(
          { as, routerId: mustIp(ip), listen: [{ family: 4, port: 179, address: mustIp(ip) }] },
          { transport: new NodeTransport(wire.ours), clock: systemClock },
        );
        wire.atEnd(() => speaker.stop({ graceful: true }));
        speaker.setPeers(peers.map(([address, remoteAs]) => ({
          name: address,
          address: mustIp(address),
          source: mustIp(ip),
          remoteAs,
          connectRetryTime: 1,
        })));
        speaker.start();
        return speaker;
      };
      // origin (four octets) -- near -- BIRD (two octets) -- far
      const origin = start("10.9.0.5", 4200000001, [["10.9.0.1", 64601]]);
      const near = start("10.9.0.1", 64601, [["10.9.0.5", 4200000001], ["10.9.0.2", 65002]]);
      const far = start("10.9.0.4", 64603, [["10.9.0.2", 65002]]);
      const prefix = mustPrefix("10.244.1.0/26");
      origin.announce([{ prefix }]);
      await until("the route at the far end", () => far.routes(prefix).length === 1);
      // On both of BIRD's wires AS_TRANS stands in the path; what it stands for travels in AS4_PATH.
      assert.match((await bird.routes()).get("10.244.1.0/26")!, /BGP\.as_path: 64601 4200000001\n/);
      assert.equal(far.routes(prefix)[0].asPath, "65002 64601 4200000001");
      assert.deepEqual(far.best().length, 1);
      const bird4 = near.peers().find((p) => p.address === "10.9.0.2")!;
      assert.ok(!bird4.capabilities.includes("four-octet AS"), `${bird4.capabilities}`);
    }),
});
