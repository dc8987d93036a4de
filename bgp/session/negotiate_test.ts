import assert from "node:assert/strict";
import type { Capability } from "../message/capability.ts";
import { HEADER_LENGTH } from "../message/framer.ts";
import { decodeOpen, encodeOpen, type Open } from "../message/open.ts";
import { negotiate, openOf } from "./negotiate.ts";
import type { Negotiated, SessionConfig } from "./session.ts";

const CONFIG: SessionConfig = {
  localAs: 4200000001,
  remoteAs: 4200000001,
  routerId: 1,
  families: ["ipv4", "ipv6"],
  passive: false,
  holdTime: 90,
  connectRetryTime: 5,
  errorWait: [5, 30],
  sendHoldTime: 480,
  restartTime: 120,
  restarting: true,
  forwarding: true,
};

/** Our OPEN as the peer reads it. */
function sent(config: SessionConfig): Open {
  const read = decodeOpen(encodeOpen(openOf(config)).subarray(HEADER_LENGTH));
  assert.ok(read.ok);
  return read.value;
}

function agreed(config: SessionConfig, open: Open): Negotiated {
  const result = negotiate(config, open);
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
}

Deno.test("two of us agree on everything", () => {
  const open = sent({ ...CONFIG, routerId: 2 });
  assert.equal(open.headerAs, 23456);
  const result = agreed(CONFIG, open);
  assert.equal(result.internal, true);
  assert.deepEqual([result.holdTime, result.keepaliveTime, result.asSize], [90, 30, 4]);
  assert.deepEqual([...result.families], ["ipv4", "ipv6"]);
  assert.equal(result.routeRefresh && result.enhancedRouteRefresh, true);
  assert.equal(result.restart!.time, 120);
  assert.equal(result.restart!.restarting, true);
  assert.deepEqual([...result.restart!.families], [
    ["ipv4", { forwarding: true }],
    ["ipv6", { forwarding: true }],
  ]);
});

Deno.test("where we offer nothing, nothing is agreed on, whatever the peer offers", () => {
  const config = { ...CONFIG, withoutCapabilities: true };
  assert.equal(openOf(config).capabilities.length, 0);
  assert.deepEqual([...encodeOpen(openOf(config)).subarray(HEADER_LENGTH)].at(-1), 0);
  const result = agreed(config, sent({ ...CONFIG, routerId: 2 }));
  assert.deepEqual([...result.families], ["ipv4"]);
  assert.equal(result.asSize, 2);
  assert.equal(result.routeRefresh || result.enhancedRouteRefresh, false);
  assert.equal(result.restart, undefined);
});

Deno.test("a peer with less", () => {
  const plain = (extra: Partial<Open>, capabilities: Capability[] = []): Open => ({
    version: 4,
    headerAs: 65002,
    as: 65002,
    holdTime: 9,
    routerId: 2,
    capabilities,
    ...extra,
  });
  const config = { ...CONFIG, remoteAs: 65002 };
  const bare = agreed(config, plain({}));
  assert.deepEqual([...bare.families], ["ipv4"]);
  assert.deepEqual([bare.asSize, bare.holdTime, bare.keepaliveTime], [2, 9, 3]);
  assert.equal(bare.internal, false);
  assert.equal(bare.restart, undefined);
  assert.equal(bare.routeRefresh, false);
  const six = agreed(config, plain({}, [{ kind: "multiprotocol", afi: 2, safi: 1 }]));
  assert.deepEqual([...six.families], ["ipv6"]);
  assert.equal(agreed(config, plain({ holdTime: 0 })).holdTime, 0);
  assert.equal(agreed({ ...config, keepaliveTime: 2 }, plain({})).keepaliveTime, 2);
  assert.equal(agreed({ ...config, keepaliveTime: 60 }, plain({})).keepaliveTime, 3);
  assert.equal(
    agreed({ ...config, restartTime: false }, sent({ ...CONFIG, localAs: 65002 })).restart,
    undefined,
  );
});

Deno.test("router IDs: one of our own is refused within the AS alone (RFC 6286)", () => {
  const same = negotiate(CONFIG, sent(CONFIG));
  assert.ok(!same.ok);
  assert.deepEqual([same.error.code, same.error.subcode], [2, 3]);
  assert.match(same.error.text, /our own router ID 0\.0\.0\.1/);
  const other = { ...CONFIG, localAs: 65002 };
  assert.ok(negotiate({ ...CONFIG, remoteAs: 65002 }, sent(other)).ok);
});
