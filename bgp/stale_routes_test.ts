/**
 * Peers that are lost, come back, tell a part, are lost again: against a model that knows no marks, but
 * when each route was last told and when the peer was lost since.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { mustIp, mustPrefix } from "../mod/net/mod.ts";
import type { Attributes } from "./message/attributes.ts";
import { Writer } from "./message/bytes.ts";
import type { Capability } from "./message/capability.ts";
import { writeEndOfRib } from "./message/update_encode.ts";
import { keyFamily, keyOf, type PrefixKey } from "./prefix_key.ts";
import { AdjRibIn } from "./rib/adj_rib_in.ts";
import { LocRib } from "./rib/loc_rib.ts";
import type { RouteSource } from "./rib/route.ts";
import { Speaker } from "./speaker.ts";
import { StaleRoutes } from "./stale_routes.ts";
import { FakeClock, FakeNet } from "./testing/fake_net.ts";
import { RawPeer } from "./testing/raw_peer.ts";

const KEYS = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "fd00:1::/64", "fd00:2::/64"]
  .map((text) => keyOf(mustPrefix(text)));
const BOTH = new Set(["ipv4", "ipv6"] as const);
const LIMIT = 360;
const SOURCE: RouteSource = {
  kind: "peer",
  name: "peer",
  internal: true,
  as: 1,
  routerId: 1,
  client: false,
};
const ATTRIBUTES: Attributes = { origin: 0, asPath: [], nextHop: mustIp("192.0.2.1") };

type Action =
  | { do: "lost"; seconds: number }
  | { do: "back" }
  | { do: "tell" | "withdraw"; key: number }
  | { do: "end" | "refresh" | "refreshed"; family: "ipv4" | "ipv6" }
  | { do: "pass"; seconds: number };

const key = fc.nat(KEYS.length - 1);
const family = fc.constantFrom("ipv4" as const, "ipv6" as const);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("tell" as const), key }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("withdraw" as const), key }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("lost" as const),
      seconds: fc.constantFrom(0, 5, 20, 20, 120),
    }),
  },
  { weight: 4, arbitrary: fc.constant({ do: "back" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("end" as const, "refresh" as const, "refreshed" as const),
      family,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      seconds: fc.constantFrom(1, 4, 6, 15, 100, 361),
    }),
  },
);

/** What is there of the peer's routes, by the words of the RFC and of the room. */
class Model {
  /** Losses since each route was told last: until when each lets it stay. */
  readonly routes = new Map<PrefixKey, { losses: number[]; asked: boolean }>();
  readonly refreshing = new Map<string, number>();
  now = 0;
  up = true;
  limit = Infinity;

  act(action: Action): void {
    const each = (test: (k: PrefixKey, r: { losses: number[]; asked: boolean }) => boolean) => {
      for (const [k, r] of this.routes) if (test(k, r)) this.routes.delete(k);
    };
    switch (action.do) {
      case "tell":
        this.routes.set(KEYS[action.key], { losses: [], asked: false });
        break;
      case "withdraw":
        this.routes.delete(KEYS[action.key]);
        break;
      case "lost":
        this.up = false;
        this.refreshing.clear();
        for (const r of this.routes.values()) {
          r.losses.push(this.now + action.seconds);
          r.asked = false;
        }
        if (action.seconds === 0) this.routes.clear();
        break;
      case "back":
        this.up = true;
        this.limit = this.now + LIMIT;
        break;
      case "end":
        each((k, r) => keyFamily(k) === action.family && r.losses.length > 0);
        break;
      case "refresh":
        this.refreshing.set(action.family, this.now + LIMIT);
        for (const [k, r] of this.routes) {
          if (keyFamily(k) === action.family && r.losses.length === 0) r.asked = true;
        }
        break;
      case "refreshed":
        if (this.refreshing.delete(action.family)) {
          each((k, r) => keyFamily(k) === action.family && r.asked);
        }
        break;
      case "pass":
        for (let s = 0; s < action.seconds; s++) {
          this.now++;
          if (!this.up) continue;
          if (this.now >= this.limit) each((_, r) => r.losses.length > 0);
          for (const [f, at] of this.refreshing) {
            if (this.now >= at) {
              this.refreshing.delete(f);
              each((k, r) => keyFamily(k) === f && r.asked);
            }
          }
        }
    }
    if (!this.up) each((_, r) => Math.min(...r.losses) <= this.now);
  }
}

Deno.test("a route stays until its own deadline, whatever its peer did before and after", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const clock = new FakeClock();
      const table = new LocRib({ metric: () => 0, multipath: false });
      const rib = new AdjRibIn(table);
      const stale = new StaleRoutes(rib, clock, () => {});
      const model = new Model();
      const there = () => KEYS.filter((k) => table.get(k));
      for (const a of actions) {
        // Only what can come: words of a session while there is one.
        if (a.do === "back" ? model.up : a.do !== "pass" && !model.up) continue;
        model.act(a);
        switch (a.do) {
          case "tell":
            rib.announce(KEYS[a.key], ATTRIBUTES, SOURCE, 0, (_, attributes) => ({ attributes }));
            break;
          case "withdraw":
            rib.withdraw(KEYS[a.key]);
            break;
          case "lost":
            stale.lost(BOTH, a.seconds);
            break;
          case "back":
            stale.back();
            break;
          case "end":
            stale.told(a.family);
            break;
          case "refresh":
            stale.refreshBegins(a.family);
            break;
          case "refreshed":
            stale.refreshEnds(a.family);
            break;
          case "pass":
            clock.advance(1000 * a.seconds);
        }
        table.settle();
        assert.deepEqual(there(), KEYS.filter((k) => model.routes.has(k)), JSON.stringify(a));
        const marked = [...model.routes.values()].filter((r) => r.asked || r.losses.length > 0);
        assert.equal(rib.stale, marked.length);
        const waits = marked.filter((r) => r.losses.length > 0);
        assert.equal(stale.until !== undefined, waits.length > 0, "people are told of a wait");
        if (!model.up && waits.length > 0) {
          const last = Math.max(...waits.map((r) => Math.min(...r.losses)));
          assert.equal(stale.until, 1000 * last);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

const US = mustIp("192.0.2.100");
const HER = mustIp("192.0.2.1");
const AS = 65001;

/** A speaker, and a peer with graceful restart of some seconds. */
function stage(time: number) {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const speaker = new Speaker(
    { as: AS, routerId: US, listen: [{ family: 4, port: 179 }] },
    { transport: net.transport(US), clock },
  );
  speaker.setPeers([{ name: "her", address: HER, source: US, remoteAs: AS, passive: true }]);
  speaker.start();
  const capabilities: Capability[] = [
    { kind: "multiprotocol", afi: 1, safi: 1 },
    { kind: "four-octet-as", as: AS },
    {
      kind: "graceful-restart",
      restarting: false,
      notification: false,
      time,
      families: [{ afi: 1, safi: 1, forwarding: true }],
    },
  ];
  const hers = { origin: 0, asPath: [], nextHop: HER, localPref: 100 } as const;
  const announce = (peer: RawPeer, ...prefixes: string[]) => peer.announce(hers, ...prefixes);
  const establish = () => {
    const her = new RawPeer(net, HER, AS, 0xc0000201, capabilities);
    her.establish(US);
    return her;
  };
  const prefixes = () => speaker.best().length;
  return { clock, net, speaker, announce, establish, prefixes };
}

Deno.test("a peer that has told all anew and is lost before End-of-RIB has its whole restart time", () => {
  const { clock, net, speaker, announce, establish, prefixes } = stage(5);
  const first = establish();
  announce(first, "10.1.0.0/16", "10.2.0.0/16");
  const end = new Writer();
  writeEndOfRib(end, "ipv4");
  first.send(end.done());
  clock.advance(10);
  net.kill(HER);
  clock.advance(1_000);
  announce(establish(), "10.1.0.0/16", "10.2.0.0/16");
  // The first loss' deadline passes while she is there, and no End-of-RIB comes.
  clock.advance(7_000);
  net.kill(HER);
  clock.advance(4_900);
  assert.equal(prefixes(), 2);
  assert.equal(speaker.peers()[0].prefixes.stale, 2);
  clock.advance(200);
  assert.equal(prefixes(), 0);
});

Deno.test("of a part told anew, the rest goes by its first deadline", () => {
  const { clock, net, announce, establish, prefixes } = stage(20);
  announce(establish(), "10.1.0.0/16", "10.2.0.0/16");
  clock.advance(10);
  net.kill(HER);
  clock.advance(5_000);
  announce(establish(), "10.1.0.0/16");
  clock.advance(5_000);
  net.kill(HER);
  clock.advance(9_000);
  assert.equal(prefixes(), 2, "19 s after the first loss");
  clock.advance(2_000);
  assert.equal(prefixes(), 1, "21 s after it, 11 s after the second");
  clock.advance(8_000);
  assert.equal(prefixes(), 1);
  clock.advance(2_000);
  assert.equal(prefixes(), 0);
});
