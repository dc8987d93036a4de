/**
 * Wrong messages from a live peer over real TCP, one after the other on the same speaker: each gets
 * its answer, the peer may come again, and another session does not notice.
 */
import assert from "node:assert/strict";
import { fromHex, Writer } from "../../bgp/message/bytes.ts";
import { encodeRouteRefresh } from "../../bgp/message/frame.ts";
import { encodeAttributes, writeAnnouncements } from "../../bgp/message/update_encode.ts";
import { keyFamily, keyOf } from "../../bgp/prefix_key.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
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

/** One UPDATE with routes of a peer's own. */
function announcement(as: number, nextHop: string, ...prefixes: string[]): Uint8Array {
  const out = new Writer();
  const attributes = {
    origin: 0 as const,
    asPath: [{ type: "sequence" as const, asns: [as] }],
    nextHop: mustIp(nextHop),
  };
  const keys = prefixes.map((text) => keyOf(mustPrefix(text)));
  const encoded = encodeAttributes(attributes, { asSize: 4 });
  writeAnnouncements(out, keyFamily(keys[0]), attributes, encoded, keys);
  return out.done();
}

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
    this.good.send(announcement(GOOD.as, GOOD.source, "198.51.100.0/24"));
    await until("the good peer's route", () => this.ours.kernel.has("198.51.100.0/24"));
    this.#beat = setInterval(() => this.good.keepalive(), 10_000);
  }

  /** The other session stands as it did, with its route. */
  unharmed(since: number, after: string): void {
    const { state, since: now } = this.status("good");
    assert.deepEqual([state, now], ["Established", since], `the good peer after ${after}`);
    assert.ok(this.ours.kernel.has("198.51.100.0/24"), `the good peer's route after ${after}`);
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
  await until("OpenConfirm", () => scene.status("bad").state === "OpenConfirm");
  if (to === "OpenConfirm") return;
  peer.keepalive();
  await until("Established", () => scene.status("bad").state === "Established");
}

/** What became of a session: a NOTIFICATION, or it stands; a cut-off message waits for its rest. */
async function fate(peer: HandMadePeer, scene: Scene, state: string): Promise<string> {
  const before = peer.updates;
  // One that stands tells its table again when it is asked to.
  if (state === "Established") peer.send(encodeRouteRefresh("ipv4"));
  const told = () => peer.notification !== undefined || peer.ended !== undefined;
  const stands = () =>
    state === "Established"
      ? peer.updates > before
      : ["OpenConfirm", "Established"].includes(scene.status("bad").state);
  const settled = () => told() || (state === "Established" && stands());
  for (let i = 0; i < (state === "Established" ? 400 : 60) && !settled(); i++) await sleep(5);
  if (peer.notification) return `${peer.notification}`;
  if (peer.ended) return `ended: ${peer.ended}`;
  return stands() ? "stands" : "waits";
}

const NOTIFIED = /^\d+,\d+$/;

/** What should have become of a session instead; undefined where it is as the case says. */
function judged(
  { expect, notification, state }: ErrorCase,
  became: string,
  { malformed, routes }: { malformed: number; routes: number },
): string | undefined {
  const stands = became === "stands";
  const reset = NOTIFIED.test(became);
  const right: Record<string, boolean> = {
    "accept": stands,
    "attribute-discard": stands && malformed > 0 && routes > 0,
    "treat-as-withdraw": stands && malformed > 0 && routes === 0,
    "accept-or-treat-as-withdraw": stands && (malformed > 0) === (routes === 0),
    "route-not-used": stands && routes === 0,
    "session-reset": notification ? became === `${notification}` : reset,
    "afi-safi-disable-or-reset": reset,
    "session-reset-or-treat-as-withdraw": reset || (stands && malformed > 0 && routes === 0),
    "accept-or-reset": stands || reset,
  };
  if (right[expect]) return undefined;
  return `${expect} ${notification ?? ""} in ${state} (${malformed} malformed, ${routes} routes)`;
}

const options = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  `${BAD_MESSAGES.length} wrong messages from a live peer`,
  options,
  () =>
    inScene(async (scene) => {
      const { since } = scene.status("good");
      const wrong: string[] = [];
      for (const { what, state, hex, then, by } of BAD_MESSAGES) {
        const peer = scene.bad();
        await bring(peer, scene, state);
        peer.send(fromHex(hex));
        const became = await fate(peer, scene, state);
        if (became !== `${then}`) wrong.push(`${what} (RFC ${by}): ${became}, not ${then}`);
        if (then === "stands") {
          // And goes on: the next message is understood, the wrong one's route is not there.
          if (scene.ours.kernel.has("203.0.113.0/24")) wrong.push(`${what}: its route is used`);
          peer.send(announcement(BAD.as, BAD.source, "192.0.2.0/24"));
          await until(`a route after: ${what}`, () => scene.ours.kernel.has("192.0.2.0/24"));
        }
        peer.close();
        await until("its routes to go", () => !scene.ours.kernel.has("192.0.2.0/24"));
        scene.unharmed(since, what);
      }
      assert.deepEqual(wrong, []);
      // After all of that it may come as if nothing had been.
      const peer = scene.bad();
      await bring(peer, scene, "Established");
      peer.close();
    }),
);

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
        await until("the routes of the one before to go", () => scene.ours.kernel.size === 1);
        await bring(peer, scene, test.state);
        const malformed = scene.status("bad").malformed.count;
        peer.send(fromHex(test.hex));
        const became = await fate(peer, scene, test.state);
        const fault = judged(test, became, {
          malformed: scene.status("bad").malformed.count - malformed,
          routes: scene.ours.kernel.size - 1,
        });
        if (fault) wrong.push(`${test.id} ${test.text}: ${became}, not ${fault}`);
        peer.close();
        scene.unharmed(since, test.id);
      }
      scene.peers();
      let asked = 0;
      for (const { id, hex, valid } of shared!.vectors) {
        if (valid !== false || !hex) continue;
        asked++;
        const peer = scene.bad();
        await bring(peer, scene, "Established");
        const { count } = scene.status("bad").malformed;
        peer.send(fromHex(hex));
        const became = await fate(peer, scene, "Established");
        const withdrawn = became === "stands" && scene.status("bad").malformed.count > count;
        // One that is cut off is no message yet: nobody can say more of it than that it is waited for.
        const whole = parseInt(hex.slice(32, 36), 16) * 2 <= hex.length;
        const right = NOTIFIED.test(became) || withdrawn || (!whole && became === "waits");
        if (!right) wrong.push(`${id}: ${became}`);
        peer.close();
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
      await slow.trickle(announcement(BAD.as, BAD.source, "192.0.2.0/24"));
      await until("its route", () => scene.ours.kernel.has("192.0.2.0/24"));
      slow.close();
      scene.unharmed(since, "a slow peer");
    }),
);

Deno.test("a stranger's call is refused, and named", options, () =>
  inScene(async (scene) => {
    const stranger = scene.bad({ ...BAD, source: "10.9.0.4" });
    await assert.rejects(
      Promise.race([
        stranger.call(),
        sleep(1500).then(() => Promise.reject(new Error("nobody answers"))),
      ]),
    );
    assert.ok(
      scene.ours.log.some((line) => line.includes("10.9.0.4")),
      scene.ours.log.join("\n"),
    );
    // As soon as it is a peer, it is welcome: nothing is started anew for it.
    scene.peers(BAD.as, "10.9.0.4");
    await stranger.call();
    stranger.close();
  }));
