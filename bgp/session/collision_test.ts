import assert from "node:assert/strict";
import type { Capability } from "../message/capability.ts";
import type { Open } from "../message/open.ts";
import { collide, PATIENCE, SETTLED } from "./collision.ts";
import { negotiate } from "./negotiate.ts";
import { NO_FAILURES, type Session, type SessionConfig } from "./session.ts";

const RESTART: Capability = {
  kind: "graceful-restart",
  restarting: false,
  notification: false,
  time: 9,
  families: [{ afi: 1, safi: 1, forwarding: true }],
};

const config: SessionConfig = {
  localAs: 1,
  remoteAs: 1,
  routerId: 10,
  families: ["ipv4"],
  passive: false,
  holdTime: 90,
  connectRetryTime: 5,
  errorWait: [5, 30],
  sendHoldTime: 480,
  restartTime: 120,
  restarting: false,
  forwarding: true,
};

const open = (routerId: number, ...capabilities: Capability[]): Open => ({
  version: 4,
  headerAs: 1,
  as: 1,
  holdTime: 90,
  routerId,
  capabilities,
});

function other(state: "OpenSent" | "OpenConfirm" | "Established", ...c: Capability[]): Session {
  const result = negotiate(config, open(5, ...c));
  assert.ok(result.ok);
  const failures = NO_FAILURES;
  const negotiated = result.value;
  if (state === "OpenSent") return { state, failures };
  if (state === "OpenConfirm") return { state, negotiated, failures };
  return { state, negotiated, since: 0, failures };
}

const winner = (routerId: number, direction: "in" | "out", session: Session, now = 0) =>
  collide({ open: open(routerId), direction }, { session, connectedAt: 0 }, config, now);

Deno.test("the end with the higher identifier keeps the connection that it opened", () => {
  for (const state of ["OpenSent", "OpenConfirm"] as const) {
    assert.equal(winner(5, "out", other(state)), "fresh"); // we are higher, and it is ours
    assert.equal(winner(5, "in", other(state)), "other");
    assert.equal(winner(20, "in", other(state)), "fresh"); // the peer is higher, and it is its
    assert.equal(winner(20, "out", other(state)), "other");
  }
});

Deno.test("both ends keep the same connection, whichever OPEN comes first", () => {
  // Ends A (identifier 10) and B (20); connection a was opened by A, b by B.
  for (const first of ["a", "b"]) {
    const keptBy = (own: number, peer: number, opened: string) => {
      const direction = first === opened ? "out" : "in";
      const verdict = collide(
        { open: open(peer), direction },
        { session: other("OpenSent"), connectedAt: 0 },
        { ...config, routerId: own },
        0,
      );
      return verdict === "fresh" ? first : first === "a" ? "b" : "a";
    };
    assert.equal(keptBy(10, 20, "a"), "b");
    assert.equal(keptBy(20, 10, "b"), "b");
  }
});

Deno.test("with equal identifiers the higher AS decides (RFC 6286)", () => {
  const external = { ...config, localAs: 1, remoteAs: 2 };
  const verdict = (direction: "in" | "out") =>
    collide(
      { open: open(10), direction },
      { session: other("OpenConfirm"), connectedAt: 0 },
      external,
      0,
    );
  assert.equal(verdict("in"), "fresh");
  assert.equal(verdict("out"), "other");
});

Deno.test("who is not yet connected, or waits in vain, is no rival", () => {
  const failures = NO_FAILURES;
  assert.equal(winner(5, "in", { state: "Connect", attempts: 0, failures }), "fresh");
  assert.equal(winner(5, "in", { state: "Active", attempts: 0, failures }), "fresh");
  assert.equal(winner(5, "in", other("OpenSent"), PATIENCE), "fresh");
});

Deno.test("an established session gives way only to a peer that has started anew", () => {
  assert.equal(winner(20, "in", other("Established"), SETTLED), "other"); // no graceful restart
  assert.equal(winner(20, "in", other("Established", RESTART), SETTLED - 1), "other");
  assert.equal(winner(20, "in", other("Established", RESTART), SETTLED), "fresh");
  const again = (session: Session) =>
    collide(
      { open: open(5, { ...RESTART, restarting: true }), direction: "in" },
      { session, connectedAt: 0 },
      config,
      1,
    );
  assert.equal(again(other("Established", RESTART)), "fresh");
  const restarting = { ...RESTART, restarting: true };
  assert.equal(again(other("Established", restarting)), "other", "the same start, called twice");
});
