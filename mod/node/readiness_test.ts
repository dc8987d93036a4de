import assert from "node:assert/strict";
import type { AgentReport } from "./agent.ts";
import { type Facts, readiness } from "./readiness.ts";

const well: AgentReport = {
  synced: true,
  ready: true,
  locked: undefined,
  store: { ok: true },
  lostMilliseconds: 0,
  errors: [],
  idleMilliseconds: 0,
  busy: false,
};

const report = (facts: Partial<Facts>) =>
  readiness({ agent: well, faults: [], warnings: () => [], ...facts });

Deno.test("a short outage is a warning, a long one makes the node unready", () => {
  const lost = { ...well, store: { ok: false, error: "no answer within 15 s" } };
  assert.deepEqual(report({ warnings: () => ["a peer is down"] }), {
    ok: true,
    reasons: ["ready", "warning: a peer is down"],
  });
  assert.deepEqual(report({ agent: { ...lost, lostMilliseconds: 30_000 } }), {
    ok: true,
    reasons: ["ready", "warning: the datastore is away: no answer within 15 s"],
  });
  const long = report({ agent: { ...lost, lostMilliseconds: 125_000 } });
  assert.equal(long.ok, false);
  assert.match(long.reasons[0], /the datastore is away: no answer within 15 s; for 125 s nothing/);
});

Deno.test("what is waited for comes first, and a fault of the kernel is told beside it", () => {
  const first = (facts: Partial<Facts>) => report(facts).reasons[0];
  assert.equal(first({ waiting: "waiting for x" }), "waiting for x");
  const unread = { ...well, ready: false, synced: false, store: { ok: false, error: "not now" } };
  assert.match(first({ agent: unread }), /has not been read yet: not now/);
  assert.match(first({ agent: undefined }), /has not been read yet/);
  assert.match(first({ agent: { ...unread, locked: "by hand" } }), /locked \(by hand\); unlock/);
  assert.match(first({ agent: { ...well, ready: false } }), /the state yet: first turn/);
  assert.deepEqual(report({ faults: ["a table is gone"] }), {
    ok: false,
    reasons: ["a table is gone"],
  });
});
