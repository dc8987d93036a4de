/**
 * Records what real BIRD 2 and our speaker say to each other, message by message, into
 * `bgp/golden/bird2.jsonl`, for the unit tests of `bgp/`. Run as root where bird2 is installed:
 *
 *     deno run -A tests/tools/capture_bgp.ts
 *
 * KEEPALIVEs are left out. The scenarios are those that `bgp/golden_test.ts` knows what to expect of.
 */
import { toHex } from "../../bgp/message/bytes.ts";
import { Framer, KEEPALIVE } from "../../bgp/message/framer.ts";
import { type LocalRoute, type PeerConfig, Speaker } from "../../bgp/speaker.ts";
import type { BgpTransport, Connection } from "../../bgp/transport.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { NodeTransport, systemClock } from "../../mod/node/bgp_transport.ts";
import { Bird, birdConfig, sleep, until, Wire } from "../bgp/harness.ts";

/** One connection alone: BIRD waits for our call. */
const passive = (config: string) => config.replace("connect delay time 1;", "passive on;");

interface Scenario {
  name: string;
  bird: string;
  as?: number;
  peer?: Partial<PeerConfig>;
  announce: LocalRoute[];
  /** What happens when the session is up. */
  then?: (bird: Bird) => Promise<unknown>;
}

const SCENARIOS: Scenario[] = [
  {
    name: "internal-ipv4",
    bird: birdConfig({ static4: ["10.245.7.0/26", "10.245.8.0/26"] }),
    announce: [{ prefix: mustPrefix("10.244.1.0/26") }],
    then: (bird) => bird.configure(passive(birdConfig({ static4: ["10.245.8.0/26"] }))),
  },
  {
    name: "external-attributes",
    as: 4200000001,
    bird: birdConfig({
      as: 4200000002,
      ourAs: 4200000001,
      static4: ["10.245.7.0/26"],
      channel: `export filter {
        if source != RTS_STATIC then reject;
        bgp_path.prepend(65010); bgp_path.prepend(65010); bgp_origin = ORIGIN_INCOMPLETE;
        bgp_community.add((65010, 5)); bgp_community.add((65535, 1));
        bgp_large_community.add((4200000002, 1, 2));
        bgp_ext_community.add((rt, 64512, 9)); bgp_med = 77;
        accept;
      };`,
    }),
    peer: { remoteAs: 4200000002 },
    announce: [{
      prefix: mustPrefix("10.244.1.0/26"),
      med: 5,
      communities: [65000 * 65536 + 7],
      largeCommunities: [[64512, 1, 2]],
    }],
  },
  {
    name: "internal-ipv6",
    bird: birdConfig({ family: 6, static6: ["fd45:7::/122", "fd45:8::/122"] }),
    peer: { address: mustIp("fd09::2"), source: mustIp("fd09::1") },
    announce: [{ prefix: mustPrefix("fd44:1::/122") }],
    then: (bird) => bird.configure(passive(birdConfig({ family: 6, static6: ["fd45:8::/122"] }))),
  },
  {
    name: "shutdown",
    bird: birdConfig({ static4: [] }),
    announce: [],
    then: (bird) => bird.ctl("disable", "tortie", '"maintenance at noon"'),
  },
  {
    name: "two-octet-as",
    as: 64998,
    bird: birdConfig({
      as: 64999,
      ourAs: 64998,
      static4: ["10.245.7.0/26"],
      bgp: "enable as4 off;",
      channel: `export filter {
        if source != RTS_STATIC then reject;
        bgp_path.prepend(4200000005);
        accept;
      };`,
    }),
    peer: { remoteAs: 64999 },
    announce: [{ prefix: mustPrefix("10.244.1.0/26") }],
  },
  {
    name: "refresh",
    bird: birdConfig({ static4: ["10.245.7.0/26"] }),
    announce: [{ prefix: mustPrefix("10.244.1.0/26") }],
    then: (bird) => bird.ctl("reload", "in", "tortie"),
  },
];

const lines: string[] = [];

function record(scenario: string, transport: BgpTransport): BgpTransport {
  const tap = (connection: Connection): Connection => {
    const framer = (from: string) =>
      new Framer({
        onMessage: (type, body) => {
          if (type === KEEPALIVE) return;
          lines.push(JSON.stringify({ scenario, from, type, body: toHex(body) }));
        },
        onError: (error) => {
          throw new Error(`${scenario}: ${from}: ${error.text}`);
        },
      });
    const [bird, ours] = [framer("bird"), framer("tortie")];
    return {
      local: connection.local,
      remote: connection.remote,
      get queued() {
        return connection.queued;
      },
      start: (handlers) =>
        connection.start({
          ...handlers,
          onData(bytes) {
            bird.push(bytes);
            handlers.onData(bytes);
          },
          onDrain: () => handlers.onDrain(),
          onEnd: (failure) => handlers.onEnd(failure),
        }),
      send(bytes) {
        ours.push(bytes);
        connection.send(bytes);
      },
      close: () => connection.close(),
    };
  };
  return {
    listen: (options, call) => transport.listen(options, (c) => call(tap(c))),
    connect: (target, handlers) =>
      transport.connect(target, {
        onConnected: (c) => handlers.onConnected(tap(c)),
        onFailed: (failure) => handlers.onFailed(failure),
      }),
  };
}

for (const scenario of SCENARIOS) {
  const wire = await Wire.open();
  try {
    const bird = new Bird(wire);
    await bird.start(passive(scenario.bird));
    const speaker = new Speaker(
      { as: scenario.as ?? 64512, routerId: mustIp("10.9.0.1") },
      { transport: record(scenario.name, new NodeTransport(wire.ours)), clock: systemClock },
    );
    wire.atEnd(() => speaker.stop({ graceful: true }));
    speaker.setPeers([{
      name: "bird",
      address: mustIp("10.9.0.2"),
      source: mustIp("10.9.0.1"),
      remoteAs: 64512,
      connectRetryTime: 1,
      ...scenario.peer,
    }]);
    speaker.announce(scenario.announce);
    speaker.start();
    await until(`${scenario.name}: End-of-RIB`, () => speaker.peers()[0].endOfRib.length > 0);
    await sleep(300);
    await scenario.then?.(bird);
    await sleep(500);
  } finally {
    await wire.close();
  }
}

const path = new URL("../../bgp/golden/bird2.jsonl", import.meta.url).pathname;
await Deno.writeTextFile(path, lines.join("\n") + "\n");
console.log(`${lines.length} messages in ${path}`);
Deno.exit(0);
