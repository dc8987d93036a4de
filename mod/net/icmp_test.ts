import assert from "node:assert/strict";
import { echoRequest, readEchoReply } from "./icmp.ts";

Deno.test("an echo request is of the length asked for and has RFC 1071's checksum", () => {
  const bytes = echoRequest(4, 0x1234, 7, 1001);
  assert.equal(bytes.length, 1001);
  assert.equal(bytes[0], 8);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  assert.equal(sum, 0xffff);
  assert.equal(echoRequest(6, 1, 2)[0], 128);
});

Deno.test("a reply is read behind whatever IP header there is, and nothing else is one", () => {
  const reply = (family: 4 | 6, type: number) => {
    const bytes = echoRequest(family, 0x1234, 7);
    bytes[0] = type;
    return bytes;
  };
  assert.deepEqual(readEchoReply(6, reply(6, 129)), { id: 0x1234, sequence: 7 });
  assert.equal(readEchoReply(6, reply(6, 128)), undefined);
  for (const words of [5, 6, 15]) {
    const header = new Uint8Array(words * 4);
    header[0] = 0x40 | words;
    const packet = new Uint8Array([...header, ...reply(4, 0)]);
    assert.deepEqual(readEchoReply(4, packet), { id: 0x1234, sequence: 7 });
    assert.equal(readEchoReply(4, packet.subarray(0, words * 4 + 7)), undefined);
    assert.equal(readEchoReply(4, new Uint8Array([...header, ...reply(4, 8)])), undefined);
  }
  assert.equal(readEchoReply(4, new Uint8Array()), undefined);
});
