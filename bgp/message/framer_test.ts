import assert from "node:assert/strict";
import fc from "fast-check";
import { frame } from "./frame.ts";
import { Framer, KEEPALIVE, NOTIFICATION, OPEN, UPDATE } from "./framer.ts";
import type { ProtocolError } from "./error.ts";

function read(pieces: Uint8Array[]) {
  const messages: [number, Uint8Array][] = [];
  let error: ProtocolError | undefined;
  const framer = new Framer({
    onMessage: (type, body) => messages.push([type, body.slice()]),
    onError: (e) => {
      assert.equal(error, undefined, "one error ends the stream");
      error = e;
    },
  });
  for (const piece of pieces) framer.push(piece);
  return { messages, error };
}

function join(parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

Deno.test("messages come out whole however the stream is cut", () => {
  const message = fc.oneof(
    fc.constant([KEEPALIVE, new Uint8Array(0)] as [number, Uint8Array]),
    fc.uint8Array({ minLength: 4, maxLength: 300 }).map((b) => [UPDATE, b] as [number, Uint8Array]),
    fc.uint8Array({ minLength: 2, maxLength: 30 })
      .map((b) => [NOTIFICATION, b] as [number, Uint8Array]),
  );
  fc.assert(fc.property(
    fc.array(message, { maxLength: 12 }),
    fc.array(fc.nat(400), { maxLength: 40 }),
    (messages, cuts) => {
      const stream = join(messages.map(([type, body]) => frame(type, body)));
      const pieces: Uint8Array[] = [];
      let at = 0;
      for (const cut of cuts) {
        pieces.push(stream.subarray(at, at += cut));
      }
      pieces.push(stream.subarray(at));
      const got = read(pieces);
      assert.equal(got.error, undefined);
      assert.deepEqual(got.messages, messages);
    },
  ));
});

Deno.test("what is wrong with a header", () => {
  const header = (length: number, type: number, marker = 0xff) =>
    new Uint8Array([...Array(16).fill(marker), length >> 8, length & 255, type]);
  const cases: [string, Uint8Array, number, number, number[]][] = [
    ["marker", header(19, KEEPALIVE, 0xfe), 1, 1, []],
    ["18 octets", header(18, KEEPALIVE), 1, 2, [0, 18]],
    ["4097 octets", header(4097, UPDATE), 1, 2, [16, 1]],
    ["type 0", header(19, 0), 1, 3, [0]],
    ["type 6", header(19, 6), 1, 3, [6]],
    ["KEEPALIVE of 20", header(20, KEEPALIVE), 1, 2, [0, 20]],
    ["OPEN of 28", header(28, OPEN), 1, 2, [0, 28]],
    ["UPDATE of 22", header(22, UPDATE), 1, 2, [0, 22]],
    ["NOTIFICATION of 20", header(20, NOTIFICATION), 1, 2, [0, 20]],
  ];
  for (const [name, bytes, code, subcode, data] of cases) {
    const { messages, error } = read([join([frame(KEEPALIVE, new Uint8Array(0)), bytes])]);
    assert.equal(messages.length, 1, name);
    assert.deepEqual([error?.code, error?.subcode], [code, subcode], name);
    assert.deepEqual([...error!.data], data, name);
  }
});

Deno.test("a stopped framer hands over nothing more of what it has", () => {
  let count = 0;
  const framer: Framer = new Framer({
    onMessage: () => {
      count++;
      framer.stop();
    },
    onError: () => assert.fail(),
  });
  const keepalive = frame(KEEPALIVE, new Uint8Array(0));
  framer.push(join([keepalive, keepalive, keepalive]));
  framer.push(keepalive);
  assert.equal(count, 1);
});
