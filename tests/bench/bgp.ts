/**
 * BGP at ten thousand /26 routes: from a test injector over TCP into our table, and, with the same
 * injector in the same run, into BIRD 2's; the time to tell one more peer; memory. Needs root, and bird2
 * for the comparison (left out where it is missing).
 *
 *     deno run -A --v8-flags=--expose-gc tests/bench/bgp.ts [routes] [repetitions]
 */
import { encodeKeepalive } from "../../bgp/message/frame.ts";
import { Writer } from "../../bgp/message/bytes.ts";
import type { Attributes } from "../../bgp/message/attributes.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeEndOfRib,
} from "../../bgp/message/update_encode.ts";
import { Speaker } from "../../bgp/speaker.ts";
import { FakeClock, FakeNet } from "../../bgp/testing/fake_net.ts";
import { RawPeer } from "../../bgp/testing/raw_peer.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { NodeTransport } from "../../mod/node/bgp_transport.ts";
import { Bird, missing, Ours, until, Wire } from "../bgp/harness.ts";

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

/** Calls a speaker in the wire's other namespace, greets it, and sends everything at once. */
function inject(wire: Wire, from: "ours" | "theirs", bytes: Uint8Array) {
  const [source, remote] = from === "ours" ? ["10.9.0.1", "10.9.0.2"] : ["10.9.0.2", "10.9.0.1"];
  const transport = new NodeTransport(from === "ours" ? wire.ours : wire.theirs);
  return new Promise<{ close(): void; started: number }>((resolve, reject) => {
    let greeted = false;
    transport.connect({
      remote: { address: mustIp(remote), port: 179 },
      source: mustIp(source),
      timeout: 5000,
    }, {
      onFailed: (failure) => reject(new Error(failure.message)),
      onConnected(connection) {
        connection.start({
          onDrain: () => {},
          onEnd: () => {},
          onData() {
            if (greeted) return;
            greeted = true;
            connection.send(encodeKeepalive());
            const started = performance.now();
            connection.send(bytes);
            resolve({ close: () => connection.close(), started });
          },
        });
        connection.send(encodeOpen({
          as: AS,
          holdTime: 0,
          routerId: 0x0a090009,
          capabilities: [
            { kind: "multiprotocol", afi: 1, safi: 1 },
            { kind: "four-octet-as", as: AS },
          ],
        }));
      },
    });
  });
}

/** Milliseconds from the injector's first byte to the full table of ours. */
async function intoOurs(bytes: Uint8Array, count: number): Promise<number> {
  const wire = await Wire.open();
  try {
    const ours = new Ours(wire);
    ours.speaker.setPeers([{
      name: "injector",
      address: mustIp("10.9.0.2"),
      remoteAs: AS,
      passive: true,
      gracefulRestart: false,
    }]);
    const full = new Promise<number>((resolve) => {
      ours.speaker.onRoutes(() => {
        if (ours.kernel.size === count) resolve(performance.now());
      });
    });
    ours.speaker.start();
    const injector = await inject(wire, "theirs", bytes);
    const end = await full;
    injector.close();
    return end - injector.started;
  } finally {
    await wire.close();
  }
}

/** The same into BIRD, asked through its socket. */
async function intoBird(bytes: Uint8Array, count: number): Promise<number> {
  const wire = await Wire.open();
  try {
    const bird = new Bird(wire);
    await bird.start(`
router id 10.9.0.2;
protocol device { }
protocol direct { ipv4; interface "w0"; }
protocol bgp injector {
  local 10.9.0.2 as ${AS}; neighbor 10.9.0.1 as ${AS}; multihop; passive on; hold time 0;
  ipv4 { import all; export none; };
}
`);
    const injector = await inject(wire, "ours", bytes);
    await until("BIRD's table", async () => {
      const text = await bird.ctl("show", "route", "count", "protocol", "injector");
      return text.includes(`${count} of `);
    }, { step: 5 });
    const end = performance.now();
    injector.close();
    return end - injector.started;
  } finally {
    await wire.close();
  }
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

/** Milliseconds and bytes, the least of the repetitions; `over TCP` figures are missing where BIRD is. */
export interface BgpFigures {
  readonly routes: number;
  /** Octets of the injector's UPDATEs. */
  readonly octets: number;
  readonly table: number;
  readonly reflected: number;
  /** Heap bytes a route; NaN without --expose-gc. */
  readonly heap: number;
  readonly tcp?: { readonly ours: number; readonly bird: number };
}

export async function measure(
  packed: boolean,
  count = 10_000,
  repetitions = 5,
): Promise<BgpFigures> {
  const bytes = updates(count, packed);
  const runs = Array.from({ length: repetitions }, () => inProcess(bytes, count));
  const figures = {
    routes: count,
    octets: bytes.length,
    table: least(runs.map((r) => r.table)),
    reflected: least(runs.map((r) => r.reflected)),
    heap: least(runs.map((r) => r.memory)) / count,
  };
  if (missing() !== undefined) return figures;
  const ours: number[] = [], bird: number[] = [];
  for (let i = 0; i < repetitions; i++) {
    ours.push(await intoOurs(bytes, count));
    bird.push(await intoBird(bytes, count));
  }
  return { ...figures, tcp: { ours: least(ours), bird: least(bird) } };
}

if (import.meta.main) {
  const [count = 10_000, repetitions = 5] = Deno.args.map(Number);
  for (const packed of [true, false]) {
    const f = await measure(packed, count, repetitions);
    console.log(
      `${count} /26 routes, ${packed ? "packed" : "one UPDATE each"}, ${f.octets} octets:\n` +
        `  in process: table ${f.table.toFixed(1)} ms, told to one more peer (and read there) ` +
        `${f.reflected.toFixed(1)} ms, heap ${f.heap.toFixed(0)} bytes a route`,
    );
    console.log(
      f.tcp
        ? `  over TCP: ours ${f.tcp.ours.toFixed(0)} ms, BIRD 2 ${f.tcp.bird.toFixed(0)} ms, ` +
          `ratio ${(f.tcp.ours / f.tcp.bird).toFixed(2)}`
        : `  over TCP: left out, BIRD ${missing()}`,
    );
  }
  Deno.exit(0);
}
