/** The machine's table (RFC 4271 section 8.2.2), and what holds for every walk through it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Capability } from "../message/capability.ts";
import { protocolError } from "../message/error.ts";
import type { Open } from "../message/open.ts";
import { negotiate } from "./negotiate.ts";
import {
  type Effect,
  NO_FAILURES,
  type Session,
  type SessionConfig,
  type SessionEvent,
  STOPPED,
  type TimerName,
} from "./session.ts";
import { step } from "./step.ts";

const CONFIG: SessionConfig = {
  localAs: 65001,
  remoteAs: 65002,
  routerId: 1,
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
const PASSIVE: SessionConfig = { ...CONFIG, passive: true };

function openOf(extra: Partial<Open> = {}, capabilities: Capability[] = []): Open {
  return {
    version: 4,
    headerAs: 65002,
    as: 65002,
    holdTime: 30,
    routerId: 2,
    capabilities,
    ...extra,
  };
}

const GRACEFUL: Capability = {
  kind: "graceful-restart",
  restarting: false,
  notification: false,
  time: 60,
  families: [{ afi: 1, safi: 1, forwarding: true }],
};

function negotiatedOf(open: Open) {
  const result = negotiate(CONFIG, open);
  assert.ok(result.ok);
  return result.value;
}

const failures = NO_FAILURES;
const idle: Session = { state: "Idle", started: true, closed: false, failures };
const shut: Session = { state: "Idle", started: true, closed: true, failures };
const connect: Session = { state: "Connect", attempts: 3, failures };
const active: Session = { state: "Active", attempts: 3, failures };
const openSent: Session = { state: "OpenSent", failures };
const openConfirm: Session = {
  state: "OpenConfirm",
  negotiated: negotiatedOf(openOf()),
  failures,
};
const established: Session = {
  state: "Established",
  negotiated: negotiatedOf(openOf()),
  since: 0,
  failures,
};
const graceful: Session = {
  state: "Established",
  negotiated: negotiatedOf(openOf({}, [GRACEFUL])),
  since: 0,
  failures,
};

const refused = { kind: "refused", message: "TCP refused: nobody there" } as const;
const closed = { kind: "closed", message: "the peer closed the connection" } as const;
const update: SessionEvent = {
  type: "update",
  update: { answer: "accept", withdrawn: [], announced: [], notes: [] },
};
const cease = { code: 6, subcode: 2, data: new Uint8Array() };
const badAs = { code: 2, subcode: 2, data: new Uint8Array() };

/** An effect in one word or two. */
function short(effect: Effect): string {
  switch (effect.do) {
    case "start-timer":
      return `start ${effect.timer} ${effect.seconds}`;
    case "stop-timer":
      return `stop ${effect.timer}`;
    case "send-notification":
      return `notify ${effect.error.code}/${effect.error.subcode}`;
    case "down":
      return effect.keepRoutes ? "down, keep" : "down, drop";
    default:
      return effect.do;
  }
}

const GIVE_UP = [
  "cancel-connect",
  "close",
  "stop connect-retry",
  "stop hold",
  "stop keepalive",
  "stop send-hold",
];
const STOP = [
  "cancel-connect",
  "close",
  "stop connect-retry",
  "stop hold",
  "stop keepalive",
  "stop send-hold",
  "stop idle-hold",
];
const GREET = ["stop connect-retry", "stop idle-hold", "send-open", "start hold 240"];

type Row = [
  name: string,
  from: Session,
  event: SessionEvent,
  to: Session["state"],
  effects: string[],
  reason?: RegExp,
  config?: SessionConfig,
];

const timer = (name: TimerName): SessionEvent => ({
  type: "timer",
  timer: name,
});
const stop: SessionEvent = {
  type: "stop",
  error: protocolError(6, 2, "bye"),
  reason: "told to stop",
};

const ROWS: Row[] = [
  ["start", STOPPED, { type: "start" }, "Connect", ["connect", "start connect-retry 1"], /calling/],
  ["start, passive", STOPPED, { type: "start" }, "Active", [], /waiting for the peer/, PASSIVE],
  ["call while stopped", STOPPED, { type: "connected", direction: "in" }, "Idle", ["refuse"]],
  ["call in a pause", idle, { type: "connected", direction: "in" }, "OpenSent", GREET, /called/],
  ["call after an error", shut, { type: "connected", direction: "in" }, "Idle", ["refuse"]],
  ["pause over", shut, timer("idle-hold"), "Connect", ["connect", "start connect-retry 1"]],
  ["pause over while stopped", STOPPED, timer("idle-hold"), "Idle", []],
  ["our call taken", connect, { type: "connected", direction: "out" }, "OpenSent", GREET],
  ["called while calling", connect, { type: "connected", direction: "in" }, "OpenSent", [
    "cancel-connect",
    ...GREET,
  ]],
  ["refused", connect, { type: "connect-failed", failure: refused }, "Active", [], /TCP refused/],
  ["no answer", connect, timer("connect-retry"), "Connect", [
    "cancel-connect",
    "connect",
    "start connect-retry 5",
  ], /TCP timeout: no answer in 5 s/],
  ["retry", active, timer("connect-retry"), "Connect", ["connect", "start connect-retry 5"]],
  ["retry, passive", active, timer("connect-retry"), "Active", [], undefined, PASSIVE],
  ["called", active, { type: "connected", direction: "in" }, "OpenSent", GREET],
  ["OPEN", openSent, { type: "open", open: openOf() }, "OpenConfirm", [
    "send-keepalive",
    "start hold 30",
    "start keepalive 10",
  ], /acceptable/],
  ["OPEN, hold time 0", openSent, { type: "open", open: openOf({ holdTime: 0 }) }, "OpenConfirm", [
    "send-keepalive",
    "stop hold",
  ]],
  ["OPEN of another AS", openSent, { type: "open", open: openOf({ as: 65009 }) }, "Idle", [
    "notify 2/2",
    ...GIVE_UP,
    "start idle-hold 5",
  ], /OPEN mismatch: the peer says it is AS 65009, it is configured as AS 65002/],
  [
    "OPEN without our family",
    openSent,
    {
      type: "open",
      open: openOf({}, [{ kind: "multiprotocol", afi: 2, safi: 1 }]),
    },
    "Idle",
    ["notify 2/7", ...GIVE_UP, "start idle-hold 5"],
    /does not carry ipv4/,
  ],
  ["closed before OPEN", openSent, { type: "disconnected", failure: closed }, "Active", [
    "close",
    "stop hold",
    "start connect-retry 5",
  ], /closed the connection before its OPEN/],
  [
    "closed before OPEN, passive",
    openSent,
    { type: "disconnected", failure: closed },
    "Active",
    [
      "close",
      "stop hold",
    ],
    undefined,
    PASSIVE,
  ],
  ["no OPEN", openSent, timer("hold"), "Idle", ["notify 4/0", ...GIVE_UP, "start idle-hold 5"]],
  ["KEEPALIVE too early", openSent, { type: "keepalive" }, "Idle", [
    "notify 5/1",
    ...GIVE_UP,
    "start idle-hold 5",
  ], /KEEPALIVE in state OpenSent/],
  ["UPDATE too early", openConfirm, update, "Idle", [
    "notify 5/2",
    ...GIVE_UP,
    "start idle-hold 5",
  ]],
  ["confirmed", openConfirm, { type: "keepalive" }, "Established", ["start hold 30", "up"]],
  ["keepalive time", openConfirm, timer("keepalive"), "OpenConfirm", [
    "send-keepalive",
    "start keepalive 10",
  ]],
  ["lost before confirmed", openConfirm, { type: "disconnected", failure: closed }, "Idle", [
    ...GIVE_UP,
    "start idle-hold 1",
  ], /before it confirmed/],
  ["the peer minds our AS", openConfirm, { type: "notification", notification: badAs }, "Idle", [
    ...GIVE_UP,
    "start idle-hold 5",
  ], /the peer ended the session: OPEN Message Error: Bad Peer AS/],
  ["collision", openSent, { type: "collision-lost" }, "Idle", ["notify 6/7", ...STOP]],
  ["collision while calling", connect, { type: "collision-lost" }, "Idle", STOP],
  ["UPDATE", established, update, "Established", ["start hold 30", "update"]],
  ["KEEPALIVE", established, { type: "keepalive" }, "Established", ["start hold 30"]],
  ["OPEN again", established, { type: "open", open: openOf() }, "Idle", [
    "notify 5/3",
    ...GIVE_UP,
    "down, drop",
    "start idle-hold 5",
  ]],
  ["silence", graceful, timer("hold"), "Idle", [
    "notify 4/0",
    ...GIVE_UP,
    "down, drop",
    "start idle-hold 5",
  ], /hold timer expired: nothing heard from the peer for 30 s/],
  ["a peer that does not read", graceful, timer("send-hold"), "Idle", [
    "notify 8/0",
    ...GIVE_UP,
    "down, drop",
    "start idle-hold 5",
  ], /the peer has read nothing for 480 s/],
  ["lost", graceful, { type: "disconnected", failure: closed }, "Idle", [
    ...GIVE_UP,
    "down, keep",
    "start idle-hold 1",
  ], /the peer closed the connection/],
  ["Cease", graceful, { type: "notification", notification: cease }, "Idle", [
    ...GIVE_UP,
    "down, drop",
    "start idle-hold 5",
  ], /Administrative Shutdown/],
  [
    "Cease of a new configuration",
    graceful,
    {
      type: "notification",
      notification: { ...cease, subcode: 6 },
    },
    "Idle",
    [
      ...GIVE_UP,
      "down, drop",
      "start idle-hold 1",
    ],
    /Other Configuration Change/,
  ],
  [
    "malformed UPDATE",
    established,
    {
      type: "error",
      error: protocolError(3, 1, "attributes do not fit"),
    },
    "Idle",
    ["notify 3/1", ...GIVE_UP, "down, drop", "start idle-hold 5"],
    /do not fit/,
  ],
  ["told to stop", established, stop, "Idle", ["notify 6/2", ...STOP, "down, drop"], /told/],
  ["told to stop without a word", established, { type: "stop", reason: "quietly" }, "Idle", [
    ...STOP,
    "down, drop",
  ]],
  [
    "told to stop for a moment",
    graceful,
    {
      type: "stop",
      reason: "a new restart time",
      keepRoutes: true,
    },
    "Idle",
    [...STOP, "down, keep"],
  ],
  [
    "another keepalive time",
    established,
    { type: "configured" },
    "Established",
    [
      "start keepalive 2",
    ],
    undefined,
    { ...CONFIG, keepaliveTime: 2 },
  ],
  [
    "another keepalive time before the end of OPEN",
    openConfirm,
    { type: "configured" },
    "OpenConfirm",
    [
      "start keepalive 2",
    ],
    undefined,
    { ...CONFIG, keepaliveTime: 2 },
  ],
  ["the keepalive time that it has", established, { type: "configured" }, "Established", []],
  ["told to stop while calling", connect, stop, "Idle", STOP],
];

Deno.test("what each event does in each state", () => {
  for (const [name, from, event, to, effects, reason, config = CONFIG] of ROWS) {
    const result = step(from, event, { config, now: 1000 });
    assert.equal(result.next.state, to, name);
    assert.deepEqual(result.effects.map(short), effects, name);
    if (reason) assert.match(result.reason ?? "", reason, name);
    if (from.state !== to) assert.ok(result.reason, `${name}: a reason for every transition`);
  }
});

Deno.test("the first calls are repeated soon, later ones at the configured pace", () => {
  let session: Session = STOPPED;
  const pauses: number[] = [];
  const feed = (event: SessionEvent) => {
    const result = step(session, event, { config: CONFIG, now: 0 });
    session = result.next;
    for (const e of result.effects) if (e.do === "start-timer") pauses.push(e.seconds);
  };
  feed({ type: "start" });
  for (let i = 0; i < 5; i++) {
    if (i % 2 === 0) feed({ type: "connect-failed", failure: refused });
    feed(timer("connect-retry"));
  }
  assert.deepEqual(pauses, [1, 2, 4, 5, 5, 5]);
});

Deno.test("the pause after errors grows, and is short again after a quiet time", () => {
  const error: SessionEvent = { type: "error", error: protocolError(3, 1, "bad") };
  let session: Session = established;
  const pauses: number[] = [];
  const fail = (now: number) => {
    const result = step({ ...established, failures: session.failures }, error, {
      config: CONFIG,
      now,
    });
    session = result.next;
    const pause = result.effects.find((e) => e.do === "start-timer" && e.timer === "idle-hold");
    pauses.push((pause as { seconds: number }).seconds);
  };
  for (const now of [0, 10_000, 20_000, 30_000, 40_000]) fail(now);
  fail(400_000);
  assert.deepEqual(pauses, [5, 10, 20, 30, 30, 5]);
});

Deno.test("after a Cease the peer may call at once, after an error it may not", () => {
  const after = (event: SessionEvent) => step(established, event, { config: CONFIG, now: 0 }).next;
  const call: SessionEvent = { type: "connected", direction: "in" };
  const answer = (session: Session) => step(session, call, { config: CONFIG, now: 1 }).next.state;
  assert.equal(answer(after({ type: "notification", notification: cease })), "OpenSent");
  assert.equal(answer(after({ type: "disconnected", failure: closed })), "OpenSent");
  assert.equal(answer(after(timer("hold"))), "OpenSent");
  assert.equal(answer(after({ type: "error", error: protocolError(3, 1, "bad") })), "Idle");
  assert.equal(answer(after(stop)), "Idle");
});

const anyEvent: fc.Arbitrary<SessionEvent> = fc.constantFrom<SessionEvent>(
  { type: "start" },
  stop,
  { type: "stop", reason: "quietly" },
  { type: "stop", reason: "for a moment", keepRoutes: true },
  { type: "configured" },
  timer("connect-retry"),
  timer("hold"),
  timer("keepalive"),
  timer("idle-hold"),
  timer("send-hold"),
  { type: "connected", direction: "out" },
  { type: "connected", direction: "in" },
  { type: "connect-failed", failure: refused },
  { type: "disconnected", failure: closed },
  { type: "error", error: protocolError(1, 1, "bad marker") },
  { type: "open", open: openOf() },
  { type: "open", open: openOf({}, [GRACEFUL]) },
  { type: "open", open: openOf({ as: 9 }) },
  { type: "keepalive" },
  { type: "keepalive" },
  update,
  {
    type: "route-refresh",
    refresh: { afi: 1, safi: 1, subtype: 0, family: "ipv4", data: new Uint8Array() },
  },
  { type: "notification", notification: cease },
  { type: "collision-lost" },
);

Deno.test("on every walk: up and down alternate, and nothing is sent where nobody hears", () => {
  const connected = (session: Session) =>
    ["OpenSent", "OpenConfirm", "Established"].includes(session.state);
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 60 }), fc.boolean(), (events, passive) => {
      let session: Session = STOPPED;
      let up = false;
      let now = 0;
      for (const event of events) {
        const before: Session = session;
        const { next, effects, reason } = step(before, event, {
          config: passive ? PASSIVE : CONFIG,
          now: now += 1000,
        });
        const done = effects.map((effect) => effect.do);
        for (const effect of done) {
          if (effect === "up") {
            assert.equal(up, false);
            up = true;
          }
          if (effect === "down") {
            assert.equal(up, true);
            up = false;
          }
          if (effect === "update") assert.equal(up, true);
        }
        assert.equal(up, next.state === "Established");
        if (before.state !== next.state) assert.ok(reason);
        if (connected(before) && !connected(next)) assert.ok(done.includes("close"));
        const sends = done.some((d) => d.startsWith("send"));
        if (sends) assert.ok(connected(before) || connected(next));
        const notify = done.indexOf("send-notification");
        if (notify >= 0) assert.ok(notify < done.indexOf("close"));
        if (next.state === "Connect") assert.equal(passive, false);
        if (event.type === "stop" && connected(before)) {
          assert.ok(next.state === "Idle" && !next.started);
        }
        session = next;
      }
    }),
    { numRuns: 2000 },
  );
});
