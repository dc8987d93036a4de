import assert from "node:assert/strict";
import { fromHex, toHex } from "./bytes.ts";
import {
  decodeNotification,
  decodeRouteRefresh,
  describeNotification,
  encodeKeepalive,
  encodeNotification,
  encodeRouteRefresh,
  shutdownData,
} from "./frame.ts";

const MARKER = "ff".repeat(16);

Deno.test("the short messages", () => {
  assert.equal(toHex(encodeKeepalive()), `${MARKER}001304`);
  assert.equal(toHex(encodeRouteRefresh("ipv6", 1)), `${MARKER}00170500020101`);
  const data = new Uint8Array([1, 2]);
  assert.equal(
    toHex(encodeNotification({ code: 6, subcode: 2, data })),
    `${MARKER}001703` + "06020102",
  );
  assert.equal(
    encodeNotification({ code: 1, subcode: 1, data: new Uint8Array(5000) }).length,
    4096,
  );
  const refresh = decodeRouteRefresh(fromHex("0001000102"));
  assert.ok(refresh.ok);
  const { family, subtype, data: rest } = refresh.value;
  assert.deepEqual([family, subtype, toHex(rest)], ["ipv4", 0, "02"]);
  const other = decodeRouteRefresh(fromHex("00190046"));
  assert.ok(other.ok && other.value.family === undefined);
  const long = decodeRouteRefresh(fromHex("0001010100"));
  assert.ok(!long.ok && long.error.code === 7 && long.error.subcode === 1);
});

Deno.test("NOTIFICATIONs in words, with the shutdown text", () => {
  const words = (hex: string) => describeNotification(decodeNotification(fromHex(hex)));
  assert.equal(words("0400"), "Hold Timer Expired");
  assert.equal(words("0202"), "OPEN Message Error: Bad Peer AS");
  assert.equal(words("0263"), "OPEN Message Error: subcode 99");
  assert.equal(words("6301"), "error 99/1");
  assert.equal(
    words("0602" + "05" + toHex(new TextEncoder().encode("hello"))),
    'Cease: Administrative Shutdown ("hello")',
  );
  // A length beyond the data, none at all, and control characters for a terminal.
  assert.equal(words("0602ff6161"), "Cease: Administrative Shutdown");
  assert.equal(words("0604"), "Cease: Administrative Reset");
  assert.equal(words("0602031b5b31"), 'Cease: Administrative Shutdown ("\ufffd[1")');
});

Deno.test("a shutdown text is cut after a whole character", () => {
  assert.equal(toHex(shutdownData("ab")), "026162");
  const data = shutdownData("ü".repeat(200));
  assert.equal(data.length, 255);
  assert.equal(data[0], 254);
  assert.equal(new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(1)), "ü".repeat(127));
});
