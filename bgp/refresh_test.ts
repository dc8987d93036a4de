/** Refreshes (RFC 2918, RFC 7313) that meet a restart, and peers that ask, or do not read, without end. */
import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../mod/net/mod.ts";
import type { Capability } from "./message/capability.ts";
import { encodeRouteRefresh } from "./message/frame.ts";
import { ROUTE_REFRESH } from "./message/framer.ts";
import { Writer } from "./message/bytes.ts";
import { writeEndOfRib } from "./message/update_encode.ts";
import { Speaker } from "./speaker.ts";
import { FakeClock, FakeNet } from "./testing/fake_net.ts";
import { RawPeer } from "./testing/raw_peer.ts";

const US = mustIp("192.0.2.100");
const HER = mustIp("192.0.2.1");
const AS = 65001;

const CAPABILITIES: Capability[] = [
  { kind: "multiprotocol", afi: 1, safi: 1 },
  { kind: "four-octet-as", as: AS },
  { kind: "route-refresh" },
  { kind: "enhanced-route-refresh" },
  {
    kind: "graceful-restart",
    restarting: false,
    notification: false,
    time: 60,
    families: [{ afi: 1, safi: 1, forwarding: true }],
  },
];

const HERS = {
  origin: 0,
  asPath: [],
  nextHop: HER,
  localPref: 100,
} as const;

function stage(sendHoldTime?: number) {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const speaker = new Speaker(
    { as: AS, routerId: US, listen: [{ family: 4, port: 179 }] },
    { transport: net.transport(US), clock },
  );
  speaker.setPeers([{
    name: "her",
    address: HER,
    source: US,
    remoteAs: AS,
    passive: true,
    sendHoldTime,
  }]);
  speaker.start();
  const establish = () => {
    const her = new RawPeer(net, HER, AS, 0xc0000201, CAPABILITIES);
    her.establish(US);
    return her;
  };
  const status = () => speaker.peers()[0];
  return { clock, net, speaker, establish, status };
}

function endOfRib(): Uint8Array {
  const out = new Writer();
  writeEndOfRib(out, "ipv4");
  return out.done();
}

/** Subtypes of the ROUTE-REFRESH messages and the UPDATEs that came, in order. */
function heard(her: RawPeer): string[] {
  return her.types.map((type) => type === ROUTE_REFRESH ? "refresh" : type === 2 ? "update" : "")
    .filter((t) => t !== "");
}

Deno.test("a peer that dies in the middle of its refresh has its whole restart time", () => {
  const { clock, net, speaker, establish, status } = stage();
  const her = establish();
  her.announce(HERS, "10.1.0.0/16", "10.2.0.0/16");
  her.send(endOfRib());
  clock.advance(10);
  her.send(encodeRouteRefresh("ipv4", 1));
  her.announce(HERS, "10.1.0.0/16");
  clock.advance(10);
  assert.equal(status().prefixes.stale, 1);
  net.kill(HER);
  clock.advance(59_000);
  assert.equal(speaker.best().length, 2, "both wait for her");
  clock.advance(2_000);
  assert.equal(speaker.best().length, 0);
});

Deno.test("a peer is asked to tell its routes again; what it says no more goes with the end of its answer", () => {
  const { clock, speaker, establish, status } = stage();
  const asked = { name: "her", address: "192.0.2.1", families: [] };
  assert.deepEqual(speaker.refresh("her"), { ...asked, fault: "there is no session with it" });
  assert.match(speaker.refresh("nobody").fault!, /no such peer/);
  const her = establish();
  her.announce(HERS, "10.1.0.0/16", "10.2.0.0/16");
  her.send(endOfRib());
  clock.advance(10);
  assert.deepEqual(speaker.refresh("her"), { ...asked, families: ["ipv4"] });
  clock.advance(10);
  assert.equal(her.types.at(-1), ROUTE_REFRESH);
  her.send(encodeRouteRefresh("ipv4", 1));
  her.announce(HERS, "10.1.0.0/16");
  her.send(encodeRouteRefresh("ipv4", 2));
  clock.advance(10);
  assert.deepEqual([speaker.best().length, status().established], [1, 1]);
});

Deno.test("a peer without route refresh is not asked", () => {
  const { clock, speaker, net, status } = stage();
  const her = new RawPeer(net, HER, AS, 0xc0000201, CAPABILITIES.slice(0, 2));
  her.establish(US);
  assert.match(speaker.refresh("her").fault!, /does not know route refresh/);
  clock.advance(10);
  assert.ok(!her.types.includes(ROUTE_REFRESH));
  assert.equal(status().state, "Established");
});

Deno.test("a refresh that is never ended keeps what was not repeated for a while only", () => {
  const { clock, speaker, establish } = stage();
  const her = establish();
  her.announce(HERS, "10.1.0.0/16", "10.2.0.0/16");
  her.send(endOfRib());
  her.send(encodeRouteRefresh("ipv4", 1));
  her.announce(HERS, "10.1.0.0/16");
  for (let i = 0; i < 14; i++) {
    clock.advance(25_000);
    her.keepalive();
  }
  assert.equal(speaker.best().length, 2);
  clock.advance(20_000);
  assert.equal(speaker.best().length, 1);
});

Deno.test("after a restart, marks of a refresh before End-of-RIB say nothing", () => {
  const { clock, net, speaker, establish, status } = stage();
  establish().announce(HERS, "10.1.0.0/16", "10.2.0.0/16");
  clock.advance(10);
  net.kill(HER);
  clock.advance(1_000);
  const her = establish();
  her.send(encodeRouteRefresh("ipv4", 1));
  her.announce(HERS, "10.1.0.0/16");
  her.send(encodeRouteRefresh("ipv4", 2));
  clock.advance(10);
  assert.equal(speaker.best().length, 2, "the table is not told yet");
  assert.equal(status().prefixes.stale, 1);
  her.send(endOfRib());
  clock.advance(10);
  assert.equal(speaker.best().length, 1);
  assert.equal(status().staleUntil, undefined);
  // An end without a begin, and a second End-of-RIB within a refresh, sweep nothing.
  her.announce(HERS, "10.2.0.0/16");
  her.send(encodeRouteRefresh("ipv4", 2));
  her.send(encodeRouteRefresh("ipv4", 1));
  her.send(endOfRib());
  clock.advance(10);
  assert.equal(speaker.best().length, 2);
  her.send(encodeRouteRefresh("ipv4", 2));
  clock.advance(10);
  assert.equal(speaker.best().length, 0);
});

Deno.test("who asks for a refresh at once gets its End-of-RIB all the same", () => {
  const { clock, speaker, establish, net } = stage();
  speaker.announce([{ prefix: mustPrefix("10.244.1.0/26") }]);
  const her = new RawPeer(net, HER, AS, 0xc0000201, CAPABILITIES);
  her.call(US);
  clock.advance(10);
  her.open();
  her.keepalive();
  her.send(encodeRouteRefresh("ipv4"));
  clock.advance(10);
  const ends = her.updates.filter((u) => u.answer === "accept" && u.endOfRib === "ipv4");
  assert.equal(ends.length, 1);
  her.send(encodeRouteRefresh("ipv4"));
  clock.advance(10);
  assert.deepEqual(heard(her).slice(-3), ["refresh", "update", "refresh"]);
  assert.ok(establish);
});

Deno.test("a peer that asks and asks and reads nothing is owed one refresh, and in the end let go of", () => {
  const { clock, net, speaker, establish, status } = stage(120);
  speaker.announce(
    Array.from({ length: 20_000 }, (_, i) => ({
      prefix: mustPrefix(`10.${i >> 8 & 255}.${i & 255}.0/24`),
      med: i, // a message for each
    })),
  );
  const her = establish();
  clock.advance(2_000);
  const before = net.bytesSent;
  // She is heard and does not hear: what we send waits.
  const { deliver } = her.connection as unknown as { deliver: () => void };
  Object.assign(her.connection!, { deliver: () => {} });
  for (let i = 0; i < 5_000; i++) her.send(encodeRouteRefresh("ipv4"));
  clock.advance(1_000);
  const told = net.bytesSent - before - 5_000 * 23;
  assert.ok(told < 900_000, `${told} bytes wait for a peer that does not read`);
  for (let i = 0; i < 4; i++) {
    her.keepalive();
    clock.advance(25_000);
  }
  assert.equal(status().state, "Established");
  her.keepalive();
  clock.advance(25_000);
  assert.notEqual(status().state, "Established");
  assert.match(status().lastError!.text, /send hold timer expired.*read nothing for 120 s/);
  Object.assign(her.connection!, { deliver });
});

Deno.test("a slow reader is no silent one", () => {
  const { clock, speaker, establish, status } = stage(60);
  const her = establish();
  const connection = her.connection as unknown as { deliver: () => void };
  const deliver = connection.deliver.bind(connection);
  connection.deliver = () => {};
  for (let i = 0; i < 20; i++) {
    speaker.announce([{ prefix: mustPrefix("10.244.1.0/26"), med: i }]);
    her.keepalive();
    clock.advance(25_000);
    // What has come until now is read, the next is on its way already.
    speaker.announce([{ prefix: mustPrefix("10.244.1.0/26"), med: 100 + i }]);
    deliver();
  }
  assert.equal(status().state, "Established");
});

Deno.test("strangers are told of once, kept for a while, and forgotten when they are peers", () => {
  const { clock, net, speaker } = stage();
  const call = (address: string) => {
    new RawPeer(net, mustIp(address), AS, 9).call(US);
    clock.advance(10);
  };
  for (let i = 0; i < 5; i++) call("192.0.2.66");
  for (let i = 0; i < 40; i++) call(`198.51.100.${i}`);
  assert.equal(speaker.strangers().length, 32, "of a flood the last ones");
  call("192.0.2.66");
  call("192.0.2.66");
  const [last] = speaker.strangers().slice(-1);
  assert.deepEqual([last.address, last.calls], ["192.0.2.66", 2]);
  speaker.setPeers([{ name: "her", address: mustIp("192.0.2.66"), remoteAs: AS, passive: true }]);
  assert.ok(!speaker.strangers().some((s) => s.address === "192.0.2.66"));
  clock.advance(601_000);
  assert.deepEqual(speaker.strangers(), []);
});
