/**
 * Wrong messages on a live session, against a whole speaker of ours: brought to the state that the
 * case names by well-formed messages over a fake transport, given the case's bytes, and judged by
 * what it sends, whether the session stands, and what its table holds.
 */
import { mustIp } from "../../mod/net/mod.ts";
import { fromHex } from "../../bgp/message/bytes.ts";
import { decodeMessage } from "../../bgp/message/message.ts";
import { encodeKeepalive } from "../../bgp/message/frame.ts";
import { Framer } from "../../bgp/message/framer.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import { Speaker } from "../../bgp/speaker.ts";
import { FakeClock, FakeNet } from "../../bgp/testing/fake_net.ts";
import type { Connection } from "../../bgp/transport.ts";

import type { Verdict } from "./bgp.ts";

export interface ErrorCase {
  id: string;
  text: string;
  hex: string;
  expect: string;
  notification?: [number, number];
  decoded_nlri?: string[];
  session: "ebgp" | "ibgp";
  state: "OpenSent" | "OpenConfirm" | "Established";
  peer_as?: number;
}

const US = mustIp("192.0.2.2");
const PEER = mustIp("192.0.2.1");
const PEER_AS = 65002;

/** What the speaker did. */
interface Outcome {
  state: string;
  notification?: [number, number];
  /** Usable routes, with what of the attributes the cases ask for. */
  routes: { prefix: string; localPref?: number; usable: boolean }[];
  malformed: number;
}

function play(test: ErrorCase): Outcome {
  const clock = new FakeClock();
  const net = new FakeNet(clock);
  const peerAs = test.peer_as ?? PEER_AS;
  const speaker = new Speaker({
    as: test.session === "ibgp" ? peerAs : 65001,
    routerId: US,
    listen: [{ family: 4, port: 179 }],
  }, { transport: net.transport(US), clock });
  speaker.setPeers([{
    name: "peer",
    address: PEER,
    source: US,
    remoteAs: peerAs,
    passive: true,
    families: ["ipv4", "ipv6"],
  }]);
  speaker.start();
  const got: number[] = [];
  let notification: [number, number] | undefined;
  let connection: Connection | undefined;
  net.transport(PEER).connect({ remote: { address: US, port: 179 }, timeout: 1000 }, {
    onConnected: (c) => {
      connection = c;
      const framer = new Framer({
        onMessage: (type, body) => {
          got.push(type);
          if (type === 3) notification = [body[0], body[1]];
        },
        onError: (error) => {
          throw new Error(`our speaker sent garbage: ${error.text}`);
        },
      });
      c.start({ onData: (b) => framer.push(b), onDrain: () => {}, onEnd: () => {} });
    },
    onFailed: (failure) => {
      throw new Error(failure.message);
    },
  });
  clock.advance(10);
  if (test.state !== "OpenSent") {
    connection!.send(encodeOpen({
      as: peerAs,
      holdTime: 90,
      routerId: 0xc0000201,
      capabilities: [
        { kind: "multiprotocol", afi: 1, safi: 1 },
        { kind: "multiprotocol", afi: 2, safi: 1 },
        { kind: "route-refresh" },
        { kind: "four-octet-as", as: peerAs },
      ],
    }));
    clock.advance(10);
  }
  if (test.state === "Established") {
    connection!.send(encodeKeepalive());
    clock.advance(10);
  }
  const before = speaker.peers()[0].state;
  if (before !== test.state) throw new Error(`could not bring the session to ${test.state}`);
  connection!.send(fromHex(test.hex));
  clock.advance(10);
  const [status] = speaker.peers();
  const routes = speaker.routes().map(({ prefix, localPref, used, best }) => ({
    prefix,
    localPref,
    usable: used || best,
  }));
  speaker.stop({ graceful: true });
  return { state: status.state, notification, routes, malformed: status.malformed.count };
}

/** States that a session goes on from; after an acceptable OPEN it is in OpenConfirm. */
const LATER: Record<string, string[]> = {
  OpenSent: ["OpenConfirm", "Established"],
  OpenConfirm: ["OpenConfirm", "Established"],
  Established: ["Established"],
};

export function judgeError(test: ErrorCase): Verdict {
  const outcome = play(test);
  const alive = LATER[test.state].includes(outcome.state) && !outcome.notification;
  const reset = outcome.notification !== undefined && outcome.state === "Idle";
  const usable = outcome.routes.filter((route) => route.usable);
  const announces = carriesRoutes(test.hex);
  const accepted = alive && (announces ? usable.length > 0 : outcome.malformed === 0);
  const withdrawn = alive && outcome.malformed > 0 && usable.length === 0;
  const told = `state ${outcome.state}, NOTIFICATION ${outcome.notification ?? "none"}, ${
    JSON.stringify(outcome.routes)
  }, ${outcome.malformed} malformed`;
  const must = (right: boolean) => right ? undefined : `${test.expect} expected: ${told}`;
  switch (test.expect) {
    case "accept":
      if (test.decoded_nlri) {
        const have = usable.map((route) => route.prefix).join();
        if (have !== test.decoded_nlri.join()) return `prefixes ${have}`;
      }
      return must(accepted);
    case "treat-as-withdraw":
      return must(withdrawn);
    case "accept-or-treat-as-withdraw":
      return must(accepted || withdrawn);
    case "attribute-discard":
      return must(
        alive && outcome.malformed > 0 && usable.length > 0 &&
          (!test.text.startsWith("LOCAL_PREF") || usable[0].localPref === undefined),
      );
    case "route-not-used":
      return must(alive && usable.length === 0);
    case "session-reset":
      if (test.notification && `${test.notification}` !== `${outcome.notification}`) {
        return `NOTIFICATION ${test.notification} expected: ${told}`;
      }
      return must(reset);
    case "session-reset-or-treat-as-withdraw":
      return must(reset || withdrawn);
    case "afi-safi-disable-or-reset":
      return must(reset);
    case "accept-or-reset":
      return must(alive || reset);
    default:
      return { skipped: `the expectation "${test.expect}" is not known` };
  }
}

/** Whether the case's UPDATE announces a prefix at all. */
function carriesRoutes(hex: string): boolean {
  const bytes = fromHex(hex);
  if (bytes[18] !== 2) return false;
  const message = decodeMessage(bytes, {
    asSize: 4,
    internal: false,
    families: new Set(["ipv4", "ipv6"]),
  });
  return message.ok && message.value.type === "update" &&
    message.value.update.answer === "accept" && message.value.update.announced.length > 0;
}

/**
 * Bytes from a live peer, as they are: whatever they say, the session either stands or has ended with
 * a NOTIFICATION, and the speaker goes on. What is wrong, in words; undefined for nothing.
 */
export function survives(id: string, hex: string): string | undefined {
  for (const session of ["ebgp", "ibgp"] as const) {
    for (const state of ["OpenSent", "Established"] as const) {
      const outcome = play({ id, hex, text: "", expect: "", session, state });
      // A NOTIFICATION of the peer's is not answered by one.
      const told = outcome.notification !== undefined || hex.slice(36, 38) === "03";
      if (!told && !LATER[state].includes(outcome.state) && outcome.state !== "OpenSent") {
        return `in ${state}: ${outcome.state} without a NOTIFICATION`;
      }
    }
  }
  return undefined;
}
