/** Refusals as a 6.18 kernel sent them, byte for byte. */
import assert from "node:assert/strict";
import { readAcknowledgement, toKernelError } from "./acknowledgement.ts";
import { MessageCursor } from "./decoder.ts";

function read(hex: string) {
  const cursor = new MessageCursor(Uint8Array.fromHex(hex.replaceAll(/\s/g, "")));
  assert.ok(cursor.next());
  return readAcknowledgement(cursor);
}

Deno.test("an acknowledgement", () => {
  assert.deepEqual(
    read(`240000000200000140f0026bd66b0000 00000000 7c0000001000050640f0026b00000000`),
    { sequence: 0x6b02f040, errno: 0 },
  );
});

Deno.test("a refusal with the whole request in it, and words behind", () => {
  const ack = read(`680000000200000240f0026b336c0000 9bffffff
    340000001800050640f0026b00000000 02180000fe030001000000000800 01000a4d000008000500ac1fff01
    0800040005000000 200001004e657874686f702068617320696e76616c6964206761746577617900`);
  assert.equal(
    toKernelError(ack, "add route 10.77.0.0/24 via 172.31.255.1").message,
    "add route 10.77.0.0/24 via 172.31.255.1: network is unreachable " +
      "(ENETUNREACH): Nexthop has invalid gateway",
  );
});

Deno.test("a refusal with words, offset and the policy that was broken", () => {
  const ack = read(`680000000200000309000000873c0000 deffffff 44000000100005060900000000000000
    27000100417474726962757465206661696c656420706f6c6963792076616c69646174696f6e00 00
    0800020020000000 14000480 080007000f000000 080001000b000000`);
  assert.deepEqual(ack, {
    sequence: 9,
    errno: 34,
    detail: "Attribute failed policy validation (length at most 15)",
    attributeOffset: 32,
  });
});

Deno.test("a refusal without words", () => {
  const ack = read(`24000000020000010b000000873c0000 fdffffff 24000000190005000b00000000000000`);
  assert.equal(
    toKernelError(ack, "delete route").message,
    "delete route: no such process or route (ESRCH)",
  );
});

Deno.test("a refusal that is cut off in its words is still a refusal", () => {
  const ack = read(
    `2c0000000200000309000000873c0000 deffffff 44000000100005060900000000000000 2700010041747472`,
  );
  assert.deepEqual([ack.errno, ack.detail], [34, undefined]);
});
