/**
 * Messages of real BIRD 2 (`golden/bird2.jsonl`, made by `tests/tools/capture_bgp.ts`): they mean what
 * BIRD's configuration said, and for the same content our encoder writes the same bytes.
 */
import assert from "node:assert/strict";
import { formatIp, formatPrefix } from "../mod/net/mod.ts";
import { formatCommunity, formatId } from "./message/attributes.ts";
import { fromHex, toHex, Writer } from "./message/bytes.ts";
import { describeNotification } from "./message/frame.ts";
import { HEADER_LENGTH, NOTIFICATION, OPEN, ROUTE_REFRESH, UPDATE } from "./message/framer.ts";
import { decodeBody, type Message } from "./message/message.ts";
import { encodeOpen } from "./message/open.ts";
import type { UpdateContext, UpdateResult } from "./message/update.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeEndOfRib,
  writeWithdrawals,
} from "./message/update_encode.ts";
import { keyFamily, prefixOfKey } from "./prefix_key.ts";

interface Line {
  scenario: string;
  from: "bird" | "tortie";
  type: number;
  body: string;
}

const lines: Line[] = (await Deno.readTextFile(new URL("golden/bird2.jsonl", import.meta.url)))
  .trim().split("\n").map((line) => JSON.parse(line));

function contextOf(scenario: string): UpdateContext {
  return {
    asSize: scenario === "two-octet-as" ? 2 : 4,
    internal: !["external-attributes", "two-octet-as"].includes(scenario),
    families: new Set([scenario === "internal-ipv6" ? "ipv6" : "ipv4"]),
  };
}

function decode(line: Line): Message {
  const message = decodeBody(line.type, fromHex(line.body), contextOf(line.scenario));
  assert.ok(message.ok, JSON.stringify(line));
  return message.value;
}

function fromBird(scenario: string, type: number): Message[] {
  return lines.filter((l) => l.scenario === scenario && l.from === "bird" && l.type === type)
    .map(decode);
}

type Accepted = Extract<UpdateResult, { answer: "accept" }>;

function updates(scenario: string): Accepted[] {
  return fromBird(scenario, UPDATE).map((message) => {
    assert.ok(message.type === "update" && message.update.answer === "accept");
    assert.deepEqual(message.update.notes, []);
    return message.update;
  });
}

const names = (keys: readonly (string | number)[]) =>
  keys.map((key) => formatPrefix(prefixOfKey(key))).sort();

Deno.test("BIRD's OPEN", () => {
  const [message] = fromBird("internal-ipv4", OPEN);
  assert.ok(message.type === "open");
  const { as, holdTime, routerId, capabilities } = message.open;
  assert.deepEqual([as, holdTime, formatId(routerId)], [64512, 6, "10.9.0.2"]);
  assert.deepEqual(capabilities.map((c) => c.kind === "unknown" ? c.code : c.kind), [
    "multiprotocol",
    "route-refresh",
    "graceful-restart",
    "four-octet-as",
    "enhanced-route-refresh",
    71,
  ]);
  const restart = capabilities.find((c) => c.kind === "graceful-restart");
  assert.deepEqual(restart, {
    kind: "graceful-restart",
    restarting: false,
    notification: false,
    time: 10,
    families: [{ afi: 1, safi: 1, forwarding: false }],
  });
  const [external] = fromBird("external-attributes", OPEN);
  assert.ok(external.type === "open");
  assert.deepEqual([external.open.headerAs, external.open.as], [23456, 4200000002]);
});

Deno.test("BIRD's routes, withdrawals and End-of-RIB", () => {
  for (
    const [scenario, family, both, gone, hop] of [
      ["internal-ipv4", "ipv4", ["10.245.7.0/26", "10.245.8.0/26"], "10.245.7.0/26", "10.9.0.2"],
      ["internal-ipv6", "ipv6", ["fd45:7::/122", "fd45:8::/122"], "fd45:7::/122", "fd09::2"],
    ] as const
  ) {
    const [routes, end, withdrawal] = updates(scenario);
    assert.deepEqual(names(routes.announced[0].keys), [...both]);
    const { origin, asPath, localPref, nextHop } = routes.announced[0].attributes;
    assert.deepEqual([origin, asPath, localPref, formatIp(nextHop!)], [0, [], 100, hop]);
    assert.equal(end.endOfRib, family);
    assert.deepEqual(names(withdrawal.withdrawn), [gone]);
    assert.equal(withdrawal.endOfRib, undefined);
  }
});

Deno.test("BIRD's attributes over an external session", () => {
  const [{ announced: [{ attributes }] }] = updates("external-attributes");
  assert.equal(attributes.origin, 2);
  assert.deepEqual(attributes.asPath, [{ type: "sequence", asns: [4200000002, 65010, 65010] }]);
  assert.equal(attributes.med, 77);
  assert.equal(attributes.localPref, undefined);
  assert.deepEqual(attributes.communities?.map(formatCommunity), ["65010:5", "65535:1"]);
  assert.deepEqual(attributes.largeCommunities, [[4200000002, 1, 2]]);
  assert.deepEqual(attributes.extendedCommunities, ["0002fc0000000009"]);
});

Deno.test("BIRD without four-octet AS numbers sends the real path beside AS_TRANS", () => {
  const [{ announced: [{ attributes }] }] = updates("two-octet-as");
  assert.deepEqual(attributes.asPath.flatMap((s) => s.asns), [64999, 4200000005]);
});

Deno.test("BIRD's farewell and its wish for a refresh", () => {
  const [farewell] = fromBird("shutdown", NOTIFICATION);
  assert.ok(farewell.type === "notification");
  assert.equal(
    describeNotification(farewell.notification),
    'Cease: Administrative Shutdown ("maintenance at noon")',
  );
  const [refresh] = fromBird("refresh", ROUTE_REFRESH);
  assert.ok(refresh.type === "route-refresh");
  assert.deepEqual([refresh.refresh.family, refresh.refresh.subtype], ["ipv4", 0]);
});

Deno.test("for what BIRD said we would have written the same bytes", () => {
  let compared = 0;
  for (const line of lines) {
    if (line.from !== "bird") continue;
    const message = decode(line);
    if (message.type === "open") {
      assert.equal(toHex(encodeOpen(message.open).subarray(HEADER_LENGTH)), line.body);
      compared++;
    }
    if (message.type !== "update" || message.update.answer !== "accept") continue;
    const { withdrawn, announced, endOfRib } = message.update;
    const out = new Writer();
    if (endOfRib) writeEndOfRib(out, endOfRib);
    if (withdrawn.length > 0) writeWithdrawals(out, keyFamily(withdrawn[0]), withdrawn);
    for (const { attributes, keys } of announced) {
      const encoded = encodeAttributes(attributes, contextOf(line.scenario));
      writeAnnouncements(out, keyFamily(keys[0]), attributes, encoded, keys);
    }
    assert.equal(toHex(out.done().subarray(HEADER_LENGTH)), line.body, JSON.stringify(line));
    compared++;
  }
  assert.ok(compared >= 15, String(compared));
});
