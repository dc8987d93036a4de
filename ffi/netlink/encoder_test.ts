import assert from "node:assert/strict";
import fc from "fast-check";
import { AttributeCursor, MessageCursor } from "./decoder.ts";
import { MessageEncoder } from "./encoder.ts";

const hex = (bytes: Uint8Array) => bytes.toHex();

Deno.test("encoder: header, integers in both orders, text, flag, padding", () => {
  const m = new MessageEncoder(16);
  m.begin(0x18, 0x605, 7).putU8(2).putU8(24).putBe16(0x1234).putU32(0xfffffffe)
    .attrU8(1, 255).attrU16(2, 0xabcd).attrU32(3, 0x80000000).attrBe16(4, 4789)
    .attrBe32(5, -100).attrString(6, "eth0").attrText(7, "veth").attrFlag(8)
    .attrBytes(9, [1, 2, 3]).end();
  assert.equal(
    hex(m.finish()),
    "60000000" + "1800" + "0506" + "07000000" + "00000000" +
      "02181234" + "feffffff" +
      "05000100ff000000" + "06000200cdab0000" + "0800030000000080" + "0600040012b50000" +
      "08000500ffffff9c" + "090006006574683000000000" + "0800070076657468" + "04000800" +
      "0700090001020300",
  );
});

Deno.test("encoder: nests count what is in them, and 64-bit numbers need no alignment", () => {
  const m = new MessageEncoder();
  m.begin(1, 0, 1).openNested(4).attrBe64(1, 1n).open(2).attrU64(3, 2n).close().close().end();
  assert.equal(
    hex(m.finish()).slice(32),
    "20000480" + "0c0001000000000000000001" + "10000200" + "0c0003000200000000000000",
  );
});

Deno.test("encoder: the second message starts aligned, and reset starts over", () => {
  const m = new MessageEncoder(8);
  m.begin(1, 0, 1).attrBytes(1, [9]).end().begin(2, 0, 2).end();
  assert.equal(m.length, 16 + 8 + 16);
  m.reset().begin(3, 0, 3).end();
  assert.equal(hex(m.finish()), "10000000" + "03000000" + "03000000" + "00000000");
});

Deno.test("encoder: what was in the buffer before does not show in the padding", () => {
  const m = new MessageEncoder(64);
  m.begin(1, 0, 1).attrBytes(1, new Uint8Array(20).fill(0xff)).end();
  m.reset().begin(1, 0, 1).attrBytes(1, [1]).attrString(2, "ab").attrU8(3, 4).end();
  assert.equal(
    hex(m.finish()).slice(32),
    "0500010001000000" + "0700020061620000" + "0500030004000000",
  );
});

Deno.test("encoder: misuse and attributes that cannot be said are told", () => {
  const m = new MessageEncoder();
  assert.throws(() => m.end(), TypeError);
  assert.throws(() => m.close(), TypeError);
  m.begin(1, 0, 1);
  assert.throws(() => m.begin(1, 0, 2), TypeError);
  assert.throws(() => m.finish(), TypeError);
  assert.throws(() => m.attrBytes(1, new Uint8Array(65532)), RangeError);
  m.open(1);
  assert.throws(() => m.end(), TypeError);
  for (let i = 0; i < 3; i++) m.attrBytes(1, new Uint8Array(30000));
  assert.throws(() => m.close(), RangeError);
});

type Tree = { type: number; bytes: number[] } | { type: number; inner: Tree[] };
const tree: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    fc.record(
      { type: fc.integer({ min: 1, max: 0x3fff }), bytes: fc.array(fc.nat(255)) },
      { noNullPrototype: true },
    ),
    fc.record(
      { type: fc.integer({ min: 1, max: 0x3fff }), inner: fc.array(tie("tree")) },
      { noNullPrototype: true },
    ),
  ),
})).tree;

function write(m: MessageEncoder, node: Tree): void {
  if ("bytes" in node) return void m.attrBytes(node.type, node.bytes);
  m.openNested(node.type);
  for (const inner of node.inner) write(m, inner);
  m.close();
}
function read(cursor: AttributeCursor): Tree[] {
  const nodes: Tree[] = [];
  while (cursor.next()) {
    const { type } = cursor;
    nodes.push(
      cursor.isNested
        ? { type, inner: read(cursor.nested()) }
        : { type, bytes: [...cursor.bytes()] },
    );
  }
  return nodes;
}

Deno.test("any messages of any attributes are read as they were written", () => {
  fc.assert(fc.property(fc.array(fc.array(tree)), (messages) => {
    const m = new MessageEncoder(16);
    messages.forEach((nodes, i) => {
      m.begin(i, i, i).putU32(i);
      for (const node of nodes) write(m, node);
      m.end();
    });
    const cursor = new MessageCursor(m.finish());
    const got: Tree[][] = [];
    while (cursor.next()) {
      assert.deepEqual([cursor.type, cursor.flags, cursor.sequence, cursor.u32(0)], [
        got.length,
        got.length,
        got.length,
        got.length,
      ]);
      got.push(read(cursor.attributes(4)));
    }
    assert.deepEqual(got, messages);
  }));
});

Deno.test("any text goes through as UTF-8 up to its NUL", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (text) => {
    fc.pre(!text.includes("\0"));
    const m = new MessageEncoder(16).begin(1, 0, 1).attrString(1, text).attrU32(2, 5).end();
    const cursor = new MessageCursor(m.finish());
    assert.ok(cursor.next());
    const attributes = cursor.attributes(0);
    assert.ok(attributes.next());
    assert.equal(attributes.string(), text);
    assert.ok(attributes.next());
    assert.equal(attributes.u32(), 5);
  }));
});

/** Messages that are whole but for some bytes, which say anything. */
const damaged = fc.tuple(
  fc.array(tree, { minLength: 1 }),
  fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 8 }),
  fc.nat(40),
).map(([nodes, damage, cut]) => {
  const m = new MessageEncoder().begin(1, 0, 1).putU32(0);
  for (const node of nodes) write(m, node);
  const bytes = new Uint8Array(m.end().finish());
  for (const [at, value] of damage) bytes[at % bytes.length] = value;
  return bytes.subarray(0, Math.max(0, bytes.length - cut));
});

Deno.test("a reader meets damaged messages without throwing and never leaves them", () => {
  let walked = 0;
  fc.assert(
    fc.property(damaged, (bytes) => {
      // Within a larger buffer, whose rest must not be read.
      const around = new Uint8Array(bytes.length + 64).fill(0x41);
      around.set(bytes, 32);
      const cursor = new MessageCursor(around.subarray(32, 32 + bytes.length));
      while (cursor.next()) {
        assert.ok(cursor.end <= bytes.length);
        cursor.u8(0), cursor.u16(2), cursor.be16(2), cursor.u32(8), cursor.bytes(4);
        const walk = (attributes: AttributeCursor, depth: number) => {
          while (attributes.next()) {
            walked++;
            assert.ok(attributes.end <= bytes.length);
            attributes.u8(), attributes.u16(), attributes.u32(), attributes.u64();
            attributes.be16(), attributes.beI32(), attributes.be64(), attributes.string();
            if (depth < 4) walk(attributes.nested(), depth + 1);
          }
        };
        walk(cursor.attributes(4), 0);
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(walked > 500, `only ${walked} attributes were met`);
});
