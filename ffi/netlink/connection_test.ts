import assert from "node:assert/strict";
import { KernelError } from "../errors.ts";
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "./constants.ts";
import { Connection } from "./connection.ts";
import { MessageEncoder } from "./encoder.ts";
import { fakeKernel, type FakeReply, type FakeRequest } from "./fake.ts";

const GET = 18, NEW = 16;
const empty = () => {};
const object = (n: number): FakeReply => ({ type: NEW, payload: [n] });

/** The error that `work` must throw. */
function refusal(work: () => unknown): KernelError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof KernelError, String(error));
    return error;
  }
  assert.fail("nothing was refused");
}

Deno.test("request: asks for an acknowledgement and hands over what came before it", () => {
  const kernel = fakeKernel(() => [object(1), object(2)]);
  const seen: number[] = [];
  new Connection(kernel).request("get", GET, 0, (m) => m.putU32(5), (m) => seen.push(m.u8(0)));
  assert.deepEqual(seen, [1, 2]);
  assert.equal(kernel.requests[0].flags, NLM_F_REQUEST | NLM_F_ACK);
  assert.deepEqual([...kernel.requests[0].payload], [5, 0, 0, 0]);
});

Deno.test("request: a refusal is an error with the kernel's words", () => {
  const kernel = fakeKernel(
    () => [{ error: 101, text: "Nexthop has invalid gateway", offset: 28 }],
  );
  const error = refusal(() => new Connection(kernel).request("add route", 24, 0, empty));
  assert.deepEqual(
    [error.errno, error.code, error.detail, error.attributeOffset, error.operation],
    [101, "ENETUNREACH", "Nexthop has invalid gateway", 28, "add route"],
  );
  assert.match(
    error.message,
    /^add route: network is unreachable \(ENETUNREACH\): Nexthop has invalid gateway$/,
  );
});

Deno.test("request: answers to something else are passed over", () => {
  const kernel = fakeKernel((request: FakeRequest) => [
    { type: NEW, payload: [7], sequence: request.sequence + 100 },
    object(1),
  ]);
  const seen: number[] = [];
  new Connection(kernel).request("get", GET, 0, empty, (m) => seen.push(m.u8(0)));
  assert.deepEqual(seen, [1]);
});

Deno.test("request: a lost answer is neither success nor refusal", () => {
  const kernel = fakeKernel(() => [{ overflow: true }, object(1)]);
  const error = refusal(() => new Connection(kernel).request("add", NEW, 0, empty));
  assert.equal(error.code, "ENOBUFS");
  assert.match(error.message, /may be done or not/);
});

Deno.test("request: an answer behind an overflow is found", () => {
  const kernel = fakeKernel(() => [{ overflow: true }, object(9), { cut: true }, object(1)]);
  const seen: number[] = [];
  new Connection(kernel).request("get", GET, 0, empty, (m) => seen.push(m.u8(0)));
  assert.deepEqual(seen, [1]);
});

Deno.test("dump: over several datagrams, to its end", () => {
  const kernel = fakeKernel(() => [object(1), { cut: true }, object(2), object(3), { cut: true }]);
  const got = new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0) || undefined);
  assert.deepEqual(got, [1, 2, 3]);
  assert.equal(kernel.requests[0].flags, NLM_F_REQUEST | NLM_F_DUMP);
});

Deno.test("dump: what was read of an interrupted one is thrown away, and it is taken again", () => {
  let attempt = 0;
  const kernel = fakeKernel(() =>
    ++attempt < 3
      ? [object(1), { cut: true }, { interrupted: true }, object(99)]
      : [object(1), object(2)]
  );
  assert.deepEqual(new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0)), [1, 2]);
  assert.equal(attempt, 3);
});

Deno.test("dump: the DONE alone may say that it was interrupted", () => {
  let attempt = 0;
  const kernel = fakeKernel(() =>
    ++attempt === 1 ? [object(1), { interrupted: true }] : [object(2)]
  );
  assert.deepEqual(new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0)), [2]);
});

Deno.test("dump: interrupted five times, it is given up with EINTR", () => {
  let attempts = 0;
  const kernel = fakeKernel(() => {
    attempts++;
    return [{ interrupted: true }, object(1)];
  });
  const error = refusal(() =>
    new Connection(kernel).dump("list links", GET, empty, (m) => m.u8(0))
  );
  assert.equal(error.code, "EINTR");
  assert.match(error.message, /^list links: .*5 attempts/);
  assert.equal(attempts, 5);
});

Deno.test("dump: lost datagrams in the middle, and a lost end", () => {
  for (
    const lost of [
      [object(1), { overflow: true }, object(2), { cut: true }, object(3)],
      [object(1), { overflow: true }],
      [{ overflow: true }, object(1), { cut: true }],
    ] as FakeReply[][]
  ) {
    let attempt = 0;
    const kernel = fakeKernel(() => ++attempt === 1 ? lost : [object(4), object(5)]);
    assert.deepEqual(new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0)), [4, 5]);
    assert.equal(attempt, 2);
  }
});

Deno.test("dump: lost five times, it is given up with ENOBUFS", () => {
  const kernel = fakeKernel(() => [object(1), { overflow: true }]);
  const error = refusal(() => new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0)));
  assert.equal(error.code, "ENOBUFS");
  assert.equal(kernel.requests.length, 5);
});

Deno.test("dump: an error may stand within DONE", () => {
  const kernel = fakeKernel(() => [object(1), { error: 2, text: "FIB table does not exist" }]);
  const error = refusal(() => new Connection(kernel).dump("list", GET, empty, (m) => m.u8(0)));
  assert.deepEqual([error.code, error.detail], ["ENOENT", "FIB table does not exist"]);
});

Deno.test("exchange: refusals by sequence number, the rest is done", () => {
  const kernel = fakeKernel((request) => request.payload[0] === 2 ? [{ error: 17 }] : []);
  const connection = new Connection(kernel);
  const m = new MessageEncoder();
  const first = connection.nextSequences(3);
  m.begin(NEW, NLM_F_REQUEST, first).putU32(1).end();
  m.begin(NEW, NLM_F_REQUEST, first + 1).putU32(2).end();
  m.begin(NEW, NLM_F_REQUEST | NLM_F_ACK, first + 2).putU32(3).end();
  const { refused, done, lost } = connection.exchange(m.finish(), first + 2);
  assert.deepEqual(refused.map((r) => [r.sequence - first, r.errno]), [[1, 17]]);
  assert.deepEqual([...done], [first + 2]);
  assert.equal(lost, false);
  assert.equal(kernel.datagrams.length, 1);
});

Deno.test("exchange: an answer that never comes is lost", () => {
  const connection = new Connection(fakeKernel(() => [{ overflow: true }]));
  const m = new MessageEncoder().begin(NEW, NLM_F_REQUEST | NLM_F_ACK, 1).end();
  assert.deepEqual(connection.exchange(m.finish(), 1), {
    refused: [],
    done: new Set(),
    lost: true,
  });
});

Deno.test("while an asynchronous request is under way the connection is not to be used", async () => {
  const connection = new Connection(fakeKernel(() => []));
  const pending = connection.requestAsync("delete", 17, 0, empty);
  assert.throws(() => connection.request("get", GET, 0, empty), TypeError);
  await pending;
  connection.request("get", GET, 0, empty);
});

Deno.test("sequence numbers never are 0, also after four thousand million", () => {
  const connection = new Connection(fakeKernel(() => []));
  connection.nextSequences(0xfffffffe);
  assert.equal(connection.nextSequence(), 0xffffffff);
  assert.equal(connection.nextSequence(), 1);
  connection.nextSequences(0xfffffff0);
  assert.equal(connection.nextSequences(100), 1);
});
