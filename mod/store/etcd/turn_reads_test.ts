import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import type { CallOptions, EtcdClient, Member } from "./client.ts";
import { EtcdFailure } from "./failure.ts";
import type { RangeRequest, RangeResponse, TxnRequest } from "./gateway.ts";
import { FEW_ENTRIES, isNewEnough, MOST_IN_TURN, TurnReads } from "./turn_reads.ts";

const header = { cluster_id: "1", revision: "7" };
const kv = (key: string) => ({ key, value: `value of ${key}`, mod_revision: "3" });

/** An etcd that has every key, refuses the forbidden ones, and notes what it was asked. */
class Etcd {
  readonly asked: string[] = [];
  readonly limits: (number | undefined)[] = [];
  readonly forbidden = new Set<string>();
  failure: Error | undefined;
  release: string | undefined = "3.5.9";
  versions = 0;
  doubts = 0;
  readonly member = { url: "http://a" } as Member;
  /** What is left out at the end of its transactions' answers, and what stands there in its place. */
  lacks = 0;
  instead: unknown[] = [];

  readonly client = {
    call: (path, body, options) => this.#call(path, body, options),
    version: () => (this.versions++, Promise.resolve(this.release)),
    get doubts() {
      return (this as unknown as { of: Etcd }).of.doubts;
    },
    of: this,
  } as Pick<EtcdClient, "call" | "version" | "doubts">;

  async #call<T>(path: string, body: unknown, { before }: CallOptions = {}): Promise<T> {
    await before?.(() => Promise.reject(new Error("nothing is asked before")), this.member);
    const ranges = path === "/v3/kv/range"
      ? [body as RangeRequest]
      : (body as TxnRequest).success.map((one) =>
        (one as { requestRange: RangeRequest }).requestRange
      );
    this.asked.push(ranges.map(({ key }) => key).join(" "));
    this.limits.push(...ranges.map(({ limit }) => limit));
    if (this.failure) throw this.failure;
    if (ranges.some(({ key }) => this.forbidden.has(key))) {
      throw new EtcdFailure("denied", `not ${this.asked.at(-1)}`);
    }
    if (path === "/v3/kv/range") return { header, kvs: [kv(ranges[0].key)] } as T;
    const own = { revision: "6" };
    const all = ranges.map(({ key }) => ({ response_range: { header: own, kvs: [kv(key)] } }));
    const responses = [...all.slice(0, all.length - this.lacks), ...this.instead];
    return { header, succeeded: true, responses } as T;
  }
}

const keyOf = ({ kvs }: RangeResponse) => kvs![0].key;

Deno.test("what one turn asks is one request, and the same is asked once", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const late = Promise.resolve().then(() => reads.read({ key: "c" }));
  const found = await Promise.all([
    reads.read({ key: "a" }),
    reads.read({ key: "b", range_end: "z" }),
    reads.read({ key: "a" }),
    late,
  ]);
  assert.deepEqual(found.map(keyOf), ["a", "b", "a", "c"]);
  for (const one of found) assert.equal(one.header, header);
  assert.deepEqual(etcd.asked, ["a b c"]);
  // A prefix is not its own first key.
  await Promise.all([reads.read({ key: "a" }), reads.read({ key: "a", range_end: "b" })]);
  assert.deepEqual(etcd.asked, ["a b c", "a a"]);
});

Deno.test("one read is a range; who asks while it is on its way asks anew", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const first = reads.read({ key: "a", limit: 500 });
  await setImmediate();
  const second = reads.read({ key: "a", limit: 500 });
  assert.deepEqual([keyOf(await first), keyOf(await second)], ["a", "a"]);
  assert.deepEqual(etcd.asked, ["a", "a"]);
  assert.deepEqual(etcd.limits, [500, 500]);
});

Deno.test("with others a list begins with a few", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const limits = [500, 1, undefined];
  await Promise.all(limits.map((limit, i) => reads.read({ key: `k${i}`, limit })));
  assert.deepEqual(etcd.limits, [FEW_ENTRIES, 1, undefined]);
});

Deno.test("what etcd takes in one request has a limit", async () => {
  assert(MOST_IN_TURN <= 128);
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const keys = Array.from({ length: 2 * MOST_IN_TURN + 1 }, (_, i) => `k${i}`);
  const found = await Promise.all(keys.map((key) => reads.read({ key })));
  assert.deepEqual(found.map(keyOf), keys);
  assert.deepEqual(etcd.asked.map((asked) => asked.split(" ").length).sort(), [
    1,
    MOST_IN_TURN,
    MOST_IN_TURN,
  ]);
});

Deno.test("what is refused together is asked one by one", async () => {
  const etcd = new Etcd();
  etcd.forbidden.add("b");
  const reads = new TurnReads(etcd.client);
  const found = await Promise.allSettled(["a", "b", "c", "b"].map((key) => reads.read({ key })));
  assert.deepEqual(
    found.map((one) => one.status === "fulfilled" ? keyOf(one.value) : one.reason.message),
    ["a", "not b", "c", "not b"],
  );
  assert.deepEqual(etcd.asked, ["a b c", "a", "b", "c"]);
});

Deno.test("what no member could serve is not asked again", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const failures = [
    new EtcdFailure("member", "gone"),
    new EtcdFailure("tls", "unknown"),
    new Error("closed"),
  ];
  for (const failure of failures) {
    etcd.failure = failure;
    const found = await Promise.allSettled(["a", "b"].map((key) => reads.read({ key })));
    assert.deepEqual(found.map((one) => (one as PromiseRejectedResult).reason), [failure, failure]);
  }
  assert.deepEqual(etcd.asked, failures.map(() => "a b"));
});

Deno.test("half an answer says of no key that it is not there", async () => {
  for (const instead of [[], [{}], [{ response_delete_range: {} }]]) {
    const etcd = new Etcd();
    etcd.lacks = 1;
    etcd.instead = instead;
    const reads = new TurnReads(etcd.client);
    const found = await Promise.all(["a", "b"].map((key) => reads.read({ key })));
    assert.deepEqual(found.map(keyOf), ["a", "b"]);
    assert.deepEqual(etcd.asked, ["a b", "a", "b"]);
  }
});

Deno.test("a member is asked once for its version, and again where it may be another", async () => {
  const etcd = new Etcd();
  const reads = new TurnReads(etcd.client);
  const both = () => Promise.all(["a", "b"].map((key) => reads.read({ key })));
  for (
    const [release, doubts, asked] of [
      ["3.5.9", 0, ["a b"]],
      ["3.5.3", 0, ["a b"]],
      ["3.5.3", 1, ["a", "b"]],
      ["3.6.1", 1, ["a", "b"]],
      ["3.6.1", 2, ["a b"]],
    ] as const
  ) {
    Object.assign(etcd, { release, doubts });
    etcd.asked.length = 0;
    assert.deepEqual((await both()).map(keyOf), ["a", "b"]);
    assert.deepEqual(etcd.asked, asked);
  }
  assert.equal(etcd.versions, 3);
});

Deno.test("which servers take a transaction of ranges without harm", () => {
  for (const version of ["3.4.20", "3.4.23", "3.5.7", "3.5.13", "3.6.0", "3.10.0-rc.1", "4.0.0"]) {
    assert(isNewEnough(version), version);
  }
  for (const version of ["3.4.19", "3.5.0", "3.5.6", "3.3.27", "2.3.8", "", "latest", undefined]) {
    assert(!isNewEnough(version), version);
  }
});
