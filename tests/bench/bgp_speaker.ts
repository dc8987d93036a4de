/**
 * The speaker by itself, without sockets or kernel: what decoding and deciding ten thousand /26 routes,
 * and telling them to one more peer, cost in one process; and heap bytes a route. For work on `bgp/`;
 * `bgp.ts` compares the node service with others.
 *
 *     deno run -A --v8-flags=--expose-gc tests/bench/bgp_speaker.ts [routes] [repetitions]
 */
import { Writer } from "../../bgp/message/bytes.ts";
import type { Attributes } from "../../bgp/message/attributes.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeEndOfRib,
} from "../../bgp/message/update_encode.ts";
import { Speaker } from "../../bgp/speaker.ts";
import { FakeClock, FakeNet } from "../../bgp/testing/fake_net.ts";
import { RawPeer } from "../../bgp/testing/raw_peer.ts";
import { mustIp } from "../../mod/net/mod.ts";

const AS = 64512;

/** What the injector sends, made beforehand: packed UPDATEs, or one for each route. */
function updates(count: number, packed: boolean): Uint8Array {
  const out = new Writer(1 << 20);
  const keys = Array.from({ length: count }, (_, i) => (0x0a000000 + i * 64) * 64 + 26);
  const attributes = (i: number): Attributes => ({
    origin: 0,
    asPath: [],
    nextHop: mustIp("10.9.0.77"),
    localPref: 100,
    // One for each route: every block has its own node in a large mesh's reflector.
    ...(packed ? {} : { originatorId: 0x0a010000 + i % 250, clusterList: [1] }),
  });
  const groups = packed ? [keys] : keys.map((key) => [key]);
  groups.forEach((group, i) => {
    const a = attributes(i);
    writeAnnouncements(out, "ipv4", a, encodeAttributes(a, { asSize: 4 }), group);
  });
  writeEndOfRib(out, "ipv4");
  return out.done();
}

/** In one process without sockets: what decoding, deciding and telling one more peer cost. */
function inProcess(bytes: Uint8Array, count: number) {
  const clock = new FakeClock();
  const net = new FakeNet(clock, 0);
  const us = mustIp("10.9.0.100");
  const speaker = new Speaker(
    { as: AS, routerId: us, listen: [{ family: 4, port: 179 }] },
    { transport: net.transport(us), clock },
  );
  const peers = ["10.9.0.1", "10.9.0.2"].map(mustIp);
  speaker.setPeers(peers.map((address, i) => ({
    name: `peer${i}`,
    address,
    source: us,
    remoteAs: AS,
    passive: true,
    routeReflectorClient: true,
  })));
  let told = 0;
  speaker.onRoutes((changes) => told += changes.length);
  speaker.start();
  const collect = (globalThis as { gc?: () => void }).gc;
  const injector = new RawPeer(net, peers[0], AS, 1);
  injector.establish(us);
  collect?.();
  const before = Deno.memoryUsage().heapUsed;
  const copy = bytes.slice();
  let start = performance.now();
  injector.send(copy);
  clock.advance(10);
  const table = performance.now() - start;
  if (told !== count) throw new Error(`${told} of ${count} routes`);
  collect?.();
  const memory = Deno.memoryUsage().heapUsed - before - copy.length;
  const reader = new RawPeer(net, peers[1], AS, 2);
  start = performance.now();
  reader.establish(us);
  const reflected = performance.now() - start;
  const sent = speaker.peers()[1].prefixes.sent;
  if (sent !== count) throw new Error(`${sent} of ${count} routes reflected`);
  return { table, reflected, memory: collect ? memory : NaN };
}

const least = (all: number[]) => Math.min(...all);

/** Milliseconds and bytes, the least of the repetitions. */
export interface SpeakerFigures {
  /** Octets of the injector's UPDATEs. */
  readonly octets: number;
  readonly table: number;
  readonly reflected: number;
  /** Heap bytes a route; NaN without --expose-gc. */
  readonly heap: number;
}

export function measure(packed: boolean, count = 10_000, repetitions = 5): SpeakerFigures {
  const bytes = updates(count, packed);
  const runs = Array.from({ length: repetitions }, () => inProcess(bytes, count));
  return {
    octets: bytes.length,
    table: least(runs.map((r) => r.table)),
    reflected: least(runs.map((r) => r.reflected)),
    heap: least(runs.map((r) => r.memory)) / count,
  };
}

if (import.meta.main) {
  const [count = 10_000, repetitions = 5] = Deno.args.map(Number);
  for (const packed of [true, false]) {
    const f = measure(packed, count, repetitions);
    console.log(
      `${count} /26 routes, ${packed ? "packed" : "one UPDATE each"}, ${f.octets} octets: ` +
        `table ${f.table.toFixed(1)} ms, told to one more peer (and read there) ` +
        `${f.reflected.toFixed(1)} ms, heap ${f.heap.toFixed(0)} bytes a route`,
    );
  }
  Deno.exit(0);
}
