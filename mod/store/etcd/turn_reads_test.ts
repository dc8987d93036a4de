import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { EtcdFailure } from "./failure.ts";
import type { RangeRequest, RangeResponse, TxnRequest } from "./gateway.ts";
import { MOST_IN_TURN, TurnReads } from "./turn_reads.ts";

const header = { cluster_id: "1", revision: "7" };
const kv = (key: string) => ({ key, value: `value of ${key}`, mod_revision: "3" });

/** An etcd that has every key, refuses the forbidden ones, and notes what it was asked. */
class Etcd {
  readonly asked: string[] = [];
  readonly forbidden = new Set<string>();
  failure: Error | undefined;
  /** What is left out at the end of its transactions' answers, and what stands there in its place. */
  lacks = 0;
  instead: unknown[] = [];

  readonly call = <T>(path: string, body: unknown): Promise<T> => {
    const ranges = path === "/v3/kv/range"
      ? [body as RangeRequest]
      : (body as TxnRequest).success.map((one) =>
        (one as { requestRange: RangeRequest }).requestRange
      );
    this.asked.push(ranges.map(({ key }) => key).join(" "));
    if (this.failure) return Promise.reject(this.failure);
    if (ranges.some(({ key }) => this.forbidden.has(key))) {
      return Promise.reject(new EtcdFailure("denied", `not ${this.asked.at(-1)}`));
    }
    if (path === "/v3/kv/range") {
      return Promise.resolve({ header, kvs: [kv(ranges[0].key)] } as T);
    }
    const all = ranges.map(({ key }) => ({ response_range: { kvs: [kv(key)] } }));
    const responses = [...all.slice(0, all.length - this.lacks), ...this.instead];
    return Promise.resolve({ header, succeeded: true, responses } as T);
  };
}

const keyOf = ({ kvs }: RangeResponse) => kvs![0].key;

Deno.test("what one turn asks is one request, and the same is asked once", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.call);
  const late = Promise.resolve().then(() => reads.read({ key: "c" }, "c"));
  const found = await Promise.all([
    reads.read({ key: "a" }, "a"),
    reads.read({ key: "b", range_end: "z" }, "b"),
    reads.read({ key: "a" }, "a"),
    late,
  ]);
  assert.deepEqual(found.map(keyOf), ["a", "b", "a", "c"]);
  for (const one of found) assert.equal(one.header, header);
  assert.deepEqual(etcd.asked, ["a b c"]);
  // A prefix is not its own first key.
  await Promise.all([
    reads.read({ key: "a" }, "a"),
    reads.read({ key: "a", range_end: "b" }, "a"),
  ]);
  assert.deepEqual(etcd.asked, ["a b c", "a a"]);
});

Deno.test("one read is a range; who asks while it is on its way asks anew", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.call);
  const first = reads.read({ key: "a" }, "a");
  await setImmediate();
  const second = reads.read({ key: "a" }, "a");
  assert.deepEqual([keyOf(await first), keyOf(await second)], ["a", "a"]);
  assert.deepEqual(etcd.asked, ["a", "a"]);
});

Deno.test("what etcd takes in one request has a limit", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.call);
  const keys = Array.from({ length: 2 * MOST_IN_TURN + 1 }, (_, i) => `k${i}`);
  const found = await Promise.all(keys.map((key) => reads.read({ key }, key)));
  assert.deepEqual(found.map(keyOf), keys);
  assert.deepEqual(etcd.asked.map((asked) => asked.split(" ").length), [
    MOST_IN_TURN,
    MOST_IN_TURN,
    1,
  ]);
});

Deno.test("what is refused together is asked one by one", async () => {
  const etcd = new Etcd();
  etcd.forbidden.add("b");
  const reads = new TurnReads(etcd.call);
  const found = await Promise.allSettled(
    ["a", "b", "c", "b"].map((key) => reads.read({ key }, key)),
  );
  assert.deepEqual(
    found.map((one) => one.status === "fulfilled" ? keyOf(one.value) : one.reason.message),
    ["a", "not b", "c", "not b"],
  );
  assert.deepEqual(etcd.asked, ["a b c", "a", "b", "c"]);
});

Deno.test("what no member could serve is not asked again", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.call);
  for (const failure of [new EtcdFailure("member", "gone"), new Error("closed")]) {
    etcd.failure = failure;
    const found = await Promise.allSettled(["a", "b"].map((key) => reads.read({ key }, key)));
    assert.deepEqual(found.map((one) => (one as PromiseRejectedResult).reason), [failure, failure]);
  }
  assert.deepEqual(etcd.asked, ["a b", "a b"]);
});

Deno.test("half an answer says of no key that it is not there", async () => {
  for (const instead of [[], [{}], [{ response_delete_range: {} }]]) {
    const etcd = new Etcd();
    etcd.lacks = 1;
    etcd.instead = instead;
    const reads = new TurnReads(etcd.call);
    const found = await Promise.all(["a", "b"].map((key) => reads.read({ key }, key)));
    assert.deepEqual(found.map(keyOf), ["a", "b"]);
    assert.deepEqual(etcd.asked, ["a b", "a", "b"]);
  }
});
