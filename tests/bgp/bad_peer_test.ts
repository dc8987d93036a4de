/**
 * Wrong messages from a live peer over real TCP, one after the other on the same speaker: each gets
 * its answer, the peer may come again, and another session does not notice.
 */
import assert from "node:assert/strict";
import { fromHex } from "../../bgp/message/bytes.ts";
import { encodeRouteRefresh } from "../../bgp/message/frame.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { NodeTransport } from "../../mod/node/bgp_transport.ts";
import type { ErrorCase } from "../data/bgp_errors.ts";
import { BAD_MESSAGES } from "./bad_messages.ts";
import { HandMadePeer } from "./hand_made_peer.ts";
import { Ours, run, sleep, until, Wire } from "./harness.ts";

const SHARED = new URL("../../../shared/data/bgp/", import.meta.url);
const US = "10.9.0.1";
const OUR_AS = 65001;
const GOOD = { source: "10.9.0.2", as: 65009, routerId: "10.9.0.2" };
const BAD = { source: "10.9.0.3", as: 65002, routerId: "10.9.0.3" };

/** The MULTI_EXIT_DISC of the route that was announced in order, by which it is known. */
const OF_BEFORE = 7;

/** What every wrong UPDATE speaks of, and what a good one does. */
const SPOKEN_OF = "203.0.113.0/24";
const FINE = "192.0.2.0/24";

class Scene {
  readonly good: HandMadePeer;
  #beat: number | undefined;

  constructor(readonly wire: Wire, readonly ours: Ours) {
    this.good = new HandMadePeer(new NodeTransport(wire.theirs), GOOD, US);
  }

  bad(who = BAD): HandMadePeer {
    return new HandMadePeer(new NodeTransport(this.wire.theirs), who, US);
  }

  /** The peers that the speaker knows; of the bad one's AS. */
  peers(badAs = BAD.as, source = BAD.source): void {
    const peer = (name: string, address: string, remoteAs: number) => ({
      name,
      address: mustIp(address),
      remoteAs,
      source: mustIp(US),
      passive: true,
      families: ["ipv4", "ipv6"] as const,
      errorWait: [0, 0] as const,
    });
    this.ours.speaker.setPeers([
      peer("good", GOOD.source, GOOD.as),
      peer("bad", source, badAs),
    ]);
  }

  status(name: string) {
    return this.ours.speaker.peers().find((p) => p.name === name)!;
  }

  async start(): Promise<void> {
    this.peers();
    this.ours.speaker.start();
    await this.good.call();
    this.good.open();
    this.good.keepalive();
    this.good.announce(["198.51.100.0/24"]);
    await until("the good peer's route", () => this.ours.kernel.has("198.51.100.0/24"));
    this.#beat = setInterval(() => this.good.keepalive(), 10_000);
  }

  /** The other session stands as it did, with its route, and has been told of nothing wrong. */
  unharmed(since: number, after: string): void {
    const { state, since: now, established, prefixes } = this.status("good");
    assert.deepEqual(
      [state, now, established, prefixes.accepted],
      ["Established", since, 1, 1],
      `the good peer after ${after}`,
    );
    assert.ok(this.ours.kernel.has("198.51.100.0/24"), `the good peer's route after ${after}`);
    assert.equal(this.good.ended, undefined, `the good peer after ${after}`);
  }

  /** The wrong peer's connection has ended at our end too: the next call is the next session. */
  async gone(peer: HandMadePeer): Promise<void> {
    peer.close();
    await until("the session to be over", () => {
      const { state, prefixes } = this.status("bad");
      return (state === "Idle" || state === "Active") && prefixes.received === 0;
    }, { step: 5 });
  }

  stop(): void {
    clearInterval(this.#beat);
    this.good.close();
  }
}

async function inScene(test: (scene: Scene) => Promise<void>): Promise<void> {
  const wire = await Wire.open();
  try {
    for (const more of [BAD.source, "10.9.0.4"]) {
      await run("ip", "-n", wire.birdNamespace, "address", "add", `${more}/24`, "dev", "w0");
    }
    const scene = new Scene(wire, new Ours(wire, { as: OUR_AS }));
    try {
      await scene.start();
      await test(scene);
    } finally {
      scene.stop();
    }
  } finally {
    await wire.close();
  }
}

async function bring(peer: HandMadePeer, scene: Scene, to: string): Promise<void> {
  // A call beside a session that has not been seen to end loses to it (RFC 4271 6.8).
  const held = () => ["OpenSent", "OpenConfirm", "Established"].includes(scene.status("bad").state);
  await until("the former session to end", () => !held(), { step: 5 });
  await peer.call();
  if (to === "OpenSent") return;
  peer.open();
  await until("OpenConfirm", () => scene.status("bad").state === "OpenConfirm", { step: 5 });
  if (to === "OpenConfirm") return;
  peer.keepalive();
  // The good peer's route and the ends of both tables: what comes later, comes on request.
  await until("the whole table", () => peer.updates >= 3, { step: 5 });
}

/**
 * What became of a session. It stands if it tells its table again when asked to, and then it shows in
 * the table what became of the message (`Mild`); a message that is longer than what came `waits`.
 */
async function fate(peer: HandMadePeer, scene: Scene, hex: string, state: string) {
  const { updates } = peer;
  const malformed = scene.status("bad").malformed.count;
  peer.send(fromHex(hex));
  const asks = encodeRouteRefresh("ipv4");
  if (state === "Established") peer.send(asks);
  const told = () => peer.notification !== undefined || peer.ended !== undefined;
  const stands = () =>
    state === "Established"
      ? peer.updates > updates
      : state === "OpenSent" && scene.status("bad").state === "OpenConfirm";
  const length = parseInt(hex.slice(32, 36), 16);
  if (length > hex.length / 2 + asks.length && length <= 4096) {
    await sleep(300);
    if (!told() && !stands()) return "waits";
  }
  await until(`an answer to ${hex}`, () => told() || stands(), { step: 5 });
  if (peer.notification) return `${peer.notification}`;
  if (peer.ended) return `ended: ${peer.ended}`;
  const complains = scene.status("bad").malformed.count > malformed;
  const routes = scene.ours.speaker.routes().filter((route) => route.peer === "bad");
  const fresh = routes.filter((route) => route.med !== OF_BEFORE);
  if (fresh.length > 0) {
    if (!fresh.some((route) => route.used)) return "unused";
    return complains ? "discarded" : "accepted";
  }
  if (!complains) return "accepted";
  return routes.some(({ prefix }) => prefix === SPOKEN_OF) ? "ignored" : "withdrawn";
}

const options = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  `${BAD_MESSAGES.length} wrong messages from a live peer`,
  options,
  () =>
    inScene(async (scene) => {
      const { since } = scene.status("good");
      const { kernel } = scene.ours;
      const wrong: string[] = [];
      for (const { what, state, hex, then, by } of BAD_MESSAGES) {
        const peer = scene.bad();
        await bring(peer, scene, state);
        if (state === "Established") {
          peer.announce([SPOKEN_OF], { med: OF_BEFORE });
          await until("a good route first", () => kernel.has(SPOKEN_OF), { step: 5 });
        }
        const became = await fate(peer, scene, hex, state);
        if (became !== `${then}`) wrong.push(`${what} (RFC ${by}): ${became}, not ${then}`);
        if (typeof then === "string") {
          const used = then === "discarded" || then === "ignored";
          const ofOthers = what.includes("IPv6") || what.includes("a route to");
          if (kernel.has(SPOKEN_OF) !== used && !ofOthers) {
            wrong.push(`${what}: its route is ${used ? "lost" : "used"}`);
          }
          // And goes on: the next message is understood.
          peer.announce([FINE]);
          await until(`a route after: ${what}`, () => kernel.has(FINE), { step: 5 });
        }
        await scene.gone(peer);
        for (const prefix of [SPOKEN_OF, FINE]) {
          if (kernel.has(prefix)) wrong.push(`${what}: ${prefix} outlives the session`);
        }
        scene.unharmed(since, what);
      }
      assert.deepEqual(wrong, []);
      // After all of that it may come as if nothing had been.
      const peer = scene.bad();
      await bring(peer, scene, "Established");
      peer.close();
    }),
);

const isReset = (became: string) => /^\d,\d+$/.test(became);

/** Whether what became of a message is what the case asks for. */
const EXPECTED: Record<string, (became: string, test: ErrorCase) => boolean> = {
  "accept": (became) => became === "accepted",
  "treat-as-withdraw": (became) => became === "withdrawn",
  "attribute-discard": (became) => became === "discarded",
  "route-not-used": (became) => became === "unused",
  "session-reset": (became, { notification }) =>
    notification ? became === `${notification}` : isReset(became),
  "afi-safi-disable-or-reset": isReset,
  "accept-or-reset": (became) => became === "accepted" || isReset(became),
  "accept-or-treat-as-withdraw": (became) => became === "accepted" || became === "withdrawn",
  "session-reset-or-treat-as-withdraw": (became) => isReset(became) || became === "withdrawn",
};

/** Vectors whose answer on a stream of messages, and by RFC 7606, is another than the reference's. */
const OTHERWISE: Record<string, { then: string; because: string }> = {
  "bgp-0410": {
    then: "3,2",
    because: "before the overrun, which alone costs the routes (RFC 7606 4), stands a well-known " +
      "attribute that nobody knows, and that resets the session (RFC 4271 6.3)",
  },
  "bgp-0431": {
    then: "1,1",
    because: "the first 28 of its octets are a message; what follows begins with no marker",
  },
  "bgp-0432": {
    then: "3,1",
    because: "the first 27 of its octets are an UPDATE whose attributes do not fit into it",
  },
  "bgp-0439": { then: "waits", because: "it is the beginning of a longer message, no fault yet" },
  "bgp-0453": {
    then: "3,9",
    because: "the prefix stands in MP_UNREACH_NLRI: Optional Attribute Error (RFC 4760 7); " +
      "Invalid Network Field is for the NLRI field",
  },
  "bgp-0457": {
    then: "3,4",
    because: "the first 36 of its octets are an UPDATE whose MP_UNREACH_NLRI has the flags of a " +
      "well-known attribute (RFC 4271 6.3, RFC 7606 5.3)",
  },
  "bgp-0495": {
    then: "3,10",
    because:
      "the overrun alone would cost the routes (RFC 7606 4), but the NLRI field ends inside " +
      "a prefix, so that they are not known (RFC 7606 3 (j), 5.3)",
  },
};

const shared = await (async () => {
  try {
    const lines = async (file: string) =>
      (await Deno.readTextFile(new URL(file, SHARED))).trim().split("\n").map((l) => JSON.parse(l));
    return {
      errors: await lines("rfc-error-handling.jsonl"),
      vectors: await lines("bgp-vectors.jsonl"),
    };
  } catch {
    return undefined;
  }
})();

Deno.test({
  name: shared ? "others' wrong messages from a live peer" : "others' wrong messages: no ../shared",
  ignore: !shared,
  ...options,
  fn: () =>
    inScene(async (scene) => {
      const { since } = scene.status("good");
      const wrong: string[] = [];
      for (const test of shared!.errors as ErrorCase[]) {
        const as = test.session === "ibgp" ? OUR_AS : test.peer_as ?? BAD.as;
        scene.peers(as);
        const peer = scene.bad({ ...BAD, as });
        await bring(peer, scene, test.state);
        const became = await fate(peer, scene, test.hex, test.state);
        if (!EXPECTED[test.expect]?.(became, test)) {
          wrong.push(`${test.id} ${test.text}: ${became}, not ${test.expect}`);
        }
        await scene.gone(peer);
        scene.unharmed(since, test.id);
      }
      scene.peers();
      let asked = 0;
      for (const { id, hex, valid, reference_error } of shared!.vectors) {
        if (valid !== false || !hex) continue;
        asked++;
        const peer = scene.bad();
        await bring(peer, scene, "Established");
        const became = await fate(peer, scene, hex, "Established");
        const { code, subcode, why } = reference_error;
        const then = OTHERWISE[id]?.then ?? `${code},${subcode}`;
        if (became !== then) {
          const { because = "the reference" } = OTHERWISE[id] ?? {};
          wrong.push(`${id} (${why}): ${became}, not ${then} (${because})`);
        }
        await scene.gone(peer);
        scene.unharmed(since, id);
      }
      assert.deepEqual(wrong, []);
      assert.ok(asked >= 15, `${asked} vectors`);
    }),
});

Deno.test(
  "a peer with our router id is refused, and told so to people",
  options,
  () =>
    inScene(async (scene) => {
      const { since } = scene.status("good");
      scene.peers(OUR_AS);
      const twin = scene.bad({ ...BAD, as: OUR_AS, routerId: US });
      await twin.call();
      twin.open();
      await until("a NOTIFICATION", () => twin.notification !== undefined);
      assert.deepEqual(twin.notification, [2, 3]);
      assert.match(scene.status("bad").lastError?.text ?? "", /identifier|router id/i);
      twin.close();
      scene.unharmed(since, "a twin");
    }),
);

Deno.test(
  "hold time 0 and 3, and a peer that says one byte at a time",
  options,
  () =>
    inScene(async (scene) => {
      const { since } = scene.status("good");
      const never = scene.bad();
      await never.call();
      never.open(0);
      never.keepalive();
      await until(
        "a session without a hold time",
        () => scene.status("bad").state === "Established",
      );
      assert.equal(scene.status("bad").holdTime, 0);
      never.close();
      const brief = scene.bad();
      await brief.call();
      brief.open(3);
      brief.keepalive();
      await until("a session of three seconds", () => scene.status("bad").holdTime === 3);
      // And then silence.
      await until("the hold time to be over", () => brief.notification !== undefined);
      assert.deepEqual(brief.notification, [4, 0]);
      brief.close();
      const slow = scene.bad();
      await bring(slow, scene, "Established");
      await slow.trickle(slow.announcement([FINE]));
      await until("its route", () => scene.ours.kernel.has(FINE));
      slow.close();
      scene.unharmed(since, "a slow peer");
    }),
);

Deno.test("a stranger's call is refused, and named", options, () =>
  inScene(async (scene) => {
    const stranger = scene.bad({ ...BAD, source: "10.9.0.4" });
    await assert.rejects(stranger.call(1500), /waited 1500 ms for: .* to take a call/);
    assert.ok(
      scene.ours.log.some((line) => line.includes("10.9.0.4")),
      scene.ours.log.join("\n"),
    );
    // As soon as it is a peer, it is welcome: nothing is started anew for it.
    scene.peers(BAD.as, "10.9.0.4");
    await stranger.call();
    stranger.close();
  }));
