import assert from "node:assert/strict";
import { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import { getElements, intervalElements } from "./elements.ts";
import { explainRefusals, TransactionError } from "./errors.ts";
import { getSubject } from "./objects.ts";
import { accept, counter, ip, jump, lookup, saddr, set } from "./testing.ts";
import { Transaction } from "./transaction.ts";
import { commentUserdata, readComment } from "./userdata.ts";
import { NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFT_MSG_NEWSETELEM } from "./wire.ts";

const chain = (name: string) => ({ family: "ip" as const, table: "calico", name });

function address(i: number): Uint8Array {
  return new Uint8Array([10, i >> 16 & 255, i >> 8 & 255, i & 255]);
}

Deno.test("long lists of elements go out in messages under 64 KiB, each element once", () => {
  for (const count of [1, 2000, 100_000]) {
    const elements = Array.from(
      { length: count },
      (_, i) => intervalElements(address(4 * i), address(4 * i + 3)),
    ).flat();
    const datagram = new Transaction().addElements(set("many"), elements).finish();
    let at = 0, messages = 0;
    for (const m = new MessageCursor(datagram); m.next();) {
      if (m.type !== NFT_MSG_NEWSETELEM) continue;
      messages++;
      assert(m.end - m.start < 0x10000);
      assert.deepEqual(getSubject(m), { family: "ip", table: "calico", name: "many" });
      getElements(m, (element) => {
        assert.deepEqual(element.key, elements[at].key);
        assert.equal(element.flags, elements[at].flags);
        at++;
      });
    }
    assert.equal(at, 2 * count);
    assert.equal(messages, Math.ceil(2 * count / Math.ceil(2 * count / messages)));
  }
});

Deno.test("no elements are no message", () => {
  const tx = new Transaction().addElements(set("none"), []).deleteElements(set("none"), []);
  assert.equal(tx.messages, 0);
});

Deno.test("a batch begins, ends, and is numbered by whoever sends it", () => {
  let sequence = 7;
  const tx = new Transaction({ generation: 99, nextSequence: () => sequence++ });
  tx.addTable({ family: "ip", name: "calico" }).addChain(chain("c"));
  assert.equal(tx.messages, 2);
  assert.equal(tx.first, 7);
  const datagram = tx.finish();
  const types: number[] = [], numbers: number[] = [];
  let generation: number | undefined;
  for (const m = new MessageCursor(datagram); m.next();) {
    types.push(m.type);
    numbers.push(m.sequence);
    if (m.type !== NFNL_MSG_BATCH_BEGIN) continue;
    // The resource id says which subsystem the batch is for.
    assert.equal(m.be16(2), 10);
    for (const a = new AttributeCursor(m.bytes(4)); a.next();) generation = a.be32();
  }
  assert.deepEqual([types[0], types.at(-1)], [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END]);
  assert.deepEqual(numbers, [7, 8, 9, 10]);
  assert.equal(generation, 99);
  assert.throws(() => tx.addChain(chain("late")), /finished/);
  assert.equal(tx.finish().length, datagram.length);
});

Deno.test("a refusal says what it was about and what is likely wrong", () => {
  const rule = (...expressions: Parameters<Transaction["addRule"]>[0]["expressions"]) => ({
    family: "ip6" as const,
    table: "calico",
    chain: "cali-pi",
    expressions,
  });
  const tx = new Transaction()
    .addTable({ family: "ip6", name: "calico" })
    .addRule(rule(saddr, lookup("cali60s-x", 1), counter, jump("cali-pi-y")))
    .addRule(rule(accept))
    .addElements(set("nets"), intervalElements(ip("10.0.0.0"), ip("10.0.0.3")))
    .deleteChain(chain("c"));
  // Messages 0 and 6 are the batch's own.
  const refusals = explainRefusals(tx.finish(), [
    { sequence: 2, errno: 2 },
    { sequence: 3, errno: 31 },
    { sequence: 4, errno: 17 },
    { sequence: 5, errno: 16, attributeOffset: 32 },
    { sequence: 77, errno: 12 },
  ]);
  assert.deepEqual(refusals.map(({ code, subject, hint }) => [code, subject, hint]), [
    [
      "ENOENT",
      "add rule in chain cali-pi of table ip6 calico",
      "one of set cali60s-x, chain cali-pi-y is missing",
    ],
    [
      "EMLINK",
      "add rule in chain cali-pi of table ip6 calico",
      "chains call one another in a circle, or more than 16 deep",
    ],
    [
      "EEXIST",
      "add elements of set nets of table ip calico",
      "an element is there already with another value, or intervals overlap",
    ],
    ["EBUSY", "delete chain c of table ip calico", undefined],
    ["ENOMEM", "message 77", undefined],
  ]);
  const error = new TransactionError(refusals);
  assert.equal(error.code, "ENOENT");
  assert.equal(
    error.message,
    "nf_tables transaction refused: add rule in chain cali-pi of table ip6 calico: no such file or " +
      "object (ENOENT; one of set cali60s-x, chain cali-pi-y is missing); and 4 more refusals",
  );
});

Deno.test("comments are read as they were written; too long ones are refused", () => {
  for (const comment of ["", "cali:0123456789abcdef;", "ein Käse", "x".repeat(127)]) {
    assert.equal(readComment(commentUserdata(comment)), comment);
  }
  assert.throws(() => commentUserdata("x".repeat(128)), RangeError);
  assert.throws(() => commentUserdata("ä".repeat(64)), RangeError);
  assert.equal(readComment(undefined), "");
  // Another record before it; one that lies about its length.
  assert.equal(readComment(new Uint8Array([9, 2, 1, 1, 0, 3, 104, 105, 0])), "hi");
  assert.equal(readComment(new Uint8Array([0, 200, 104, 105])), "");
});
