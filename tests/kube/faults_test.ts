/** Faults that a test orders do what they say, and nothing else. */
import assert from "node:assert/strict";
import type { Kube } from "./kube.ts";
import { startKube } from "./kube.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const map = (name: string, data: Record<string, string> = {}) => ({ metadata: { name }, data });

async function made(kube: Kube, ...names: string[]): Promise<void> {
  for (const name of names) assert.equal((await kube.call("POST", MAPS, map(name))).status, 201);
}

const namesOf = (kube: Kube) =>
  kube.all("", "configmaps").map((o) => o.metadata.name).sort().join();

Deno.test("429 has Retry-After, 500 and 503 are Status objects, and a fault wears out", async () => {
  await using kube = await startKube();
  kube.faults.add({ match: (c) => c.verb === "create", status: 429, retryAfter: 7, times: 2 });
  for (let i = 0; i < 2; i++) {
    const { status, headers, body } = await kube.call("POST", MAPS, map("a"));
    assert.equal(status, 429);
    assert.equal(headers.get("retry-after"), "7");
    assert.deepEqual([body.reason, body.details.retryAfterSeconds], ["TooManyRequests", 7]);
  }
  assert.equal((await kube.call("GET", MAPS)).status, 200);
  await made(kube, "a");
  const remove = kube.faults.add({ status: 500 });
  assert.equal((await kube.call("GET", MAPS)).body.reason, "InternalError");
  remove();
  kube.faults.add({ status: 503, times: 1 });
  assert.equal((await kube.call("GET", MAPS)).body.reason, "ServiceUnavailable");
  assert.equal((await kube.call("GET", MAPS)).status, 200);
});

Deno.test("a text is answered as it is, and nothing is done", async () => {
  await using kube = await startKube();
  using client = kube.clientOf({ token: kube.adminToken });
  kube.faults.add({ match: (c) => c.verb === "create", text: `{"half`, times: 1 });
  const { status, body } = await client.call("POST", MAPS, map("a"));
  assert.deepEqual([status, body], [200, `{"half`]);
  assert.equal(namesOf(kube), "");
  kube.faults.add({ text: "{}", status: 404, times: 1 });
  assert.equal((await client.call("GET", MAPS)).status, 404);
  await made(kube, "a");
});

Deno.test("a delay comes before the work", async () => {
  await using kube = await startKube();
  kube.faults.add({ match: (c) => c.verb === "create", delay: 300, times: 1 });
  const started = performance.now();
  const late = kube.call("POST", MAPS, map("a"));
  assert.equal((await kube.call("GET", `${MAPS}/a`)).status, 404);
  assert.equal((await late).status, 201);
  assert.ok(performance.now() - started >= 300);
});

Deno.test("a dropped request does nothing, a dropped answer leaves what was done", async () => {
  await using kube = await startKube();
  kube.faults.add({ match: (c) => c.verb === "create", drop: "request", times: 1 });
  await assert.rejects(kube.call("POST", MAPS, map("a")));
  assert.equal(namesOf(kube), "");
  kube.faults.add({ match: (c) => c.verb === "create", drop: "answer", times: 1 });
  await assert.rejects(kube.call("POST", MAPS, map("b")));
  assert.equal(namesOf(kube), "b");
  assert.equal((await kube.call("POST", MAPS, map("b"))).status, 409);
});

Deno.test("a watch is cut, ended, or ended with ERROR 410", async () => {
  await using kube = await startKube();
  const open = () => kube.watch(`${MAPS}?resourceVersion=${kube.revision}`);
  await using cut = await open();
  kube.cutWatches();
  await assert.rejects(cut.next());
  await using ended = await open();
  kube.endWatches();
  assert.equal(await ended.next(), undefined);
  await using expired = await open();
  kube.expireWatches();
  const event = await expired.next();
  assert.equal(event?.type, "ERROR");
  assert.deepEqual([event!.object.code, event!.object.reason], [410, "Expired"]);
  assert.equal(await expired.next(), undefined);
  assert.equal(kube.watches.length, 0);
});

Deno.test("a watch that is cut by its client is forgotten", async () => {
  await using kube = await startKube();
  const watch = await kube.watch(MAPS);
  assert.equal(kube.watches.length, 1);
  await watch.cancel();
  for (let i = 0; kube.watches.length > 0; i++) {
    assert.ok(i < 1000, "the server still serves it");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
});

Deno.test("after a compaction old revisions are 410: in the stream, as the answer, in lists", async () => {
  await using kube = await startKube();
  const from = kube.revision;
  await made(kube, "a", "b", "c", "d");
  const page = (await kube.call("GET", `${MAPS}?limit=2`)).body;
  assert.deepEqual(page.items.map((i: any) => i.metadata.name), ["a", "b"]);
  await using open = await kube.watch(`${MAPS}?resourceVersion=${kube.revision}`);
  await made(kube, "e");
  kube.compact();
  await using watch = await kube.watch(`${MAPS}?resourceVersion=${from}`);
  const event = await watch.next();
  assert.deepEqual([event?.type, event?.object.code], ["ERROR", 410]);
  assert.match(event!.object.message, /too old resource version/);
  assert.equal(await watch.next(), undefined);
  // A watch that is open goes on.
  await made(kube, "f");
  assert.deepEqual((await open.changes(2)).map((e) => e.object.metadata.name), ["e", "f"]);
  // The list goes on in the latest state, with the token that comes with the 410.
  const token = encodeURIComponent(page.metadata.continue);
  const gone = await kube.call("GET", `${MAPS}?limit=2&continue=${token}`);
  assert.deepEqual([gone.status, gone.body.reason], [410, "Expired"]);
  const fresh = encodeURIComponent(gone.body.metadata.continue);
  const rest = (await kube.call("GET", `${MAPS}?continue=${fresh}`)).body;
  assert.deepEqual(rest.items.map((i: any) => i.metadata.name), ["c", "d", "e", "f"]);
  assert.equal(rest.metadata.resourceVersion, String(kube.revision));
  const exact = `${MAPS}?resourceVersion=${from}&resourceVersionMatch=Exact`;
  assert.equal((await kube.call("GET", exact)).status, 410);
});

Deno.test("410 as the answer itself", async () => {
  await using kube = await startKube({ goneAs: "status" });
  const from = kube.revision;
  await made(kube, "a", "b");
  kube.compact();
  const { status, body } = await kube.call("GET", `${MAPS}?watch=1&resourceVersion=${from}`);
  assert.deepEqual([status, body.reason], [410, "Expired"]);
});

Deno.test("the server goes away and comes back on its port with its state", async () => {
  await using kube = await startKube();
  await made(kube, "a");
  const { port } = kube;
  await using watch = await kube.watch(MAPS);
  assert.equal((await watch.next())?.type, "ADDED");
  await kube.stop();
  await assert.rejects(watch.next());
  await assert.rejects(kube.call("GET", MAPS));
  await kube.start();
  assert.equal(kube.port, port);
  assert.equal((await kube.call("GET", `${MAPS}/a`)).status, 200);
});

Deno.test("it comes back with an older state: revisions go back, later watches hear nothing", async () => {
  await using kube = await startKube();
  await made(kube, "a");
  const old = kube.snapshot();
  await made(kube, "b", "c", "d");
  const later = kube.revision;
  await kube.stop();
  await kube.start(old);
  assert.equal(namesOf(kube), "a");
  const list = (await kube.call("GET", MAPS)).body;
  assert.ok(Number(list.metadata.resourceVersion) < later);
  await using watch = await kube.watch(`${MAPS}?resourceVersion=${later}`);
  await made(kube, "x");
  assert.ok(kube.revision < later);
  assert.ok(await watch.isSilent(200));
  const future = await kube.call("GET", `${MAPS}?resourceVersion=${later}`);
  assert.equal(future.status, 504);
});

Deno.test("a stalled watch is open and silent, and catches up", async () => {
  await using kube = await startKube();
  await using watch = await kube.watch(`${MAPS}?resourceVersion=${kube.revision}`);
  const resume = kube.stallWatches();
  await made(kube, "a", "b");
  assert.ok(await watch.isSilent(200));
  resume();
  assert.deepEqual((await watch.changes(2)).map((e) => e.object.metadata.name), ["a", "b"]);
});

Deno.test("a watch whose client does not read is ended", async () => {
  await using kube = await startKube({ watchBuffer: 50, bookmarks: 0 });
  await using watch = await kube.watch(`${MAPS}?resourceVersion=${kube.revision}`);
  // Larger than what the connection holds.
  const big = { text: "x".repeat(200_000) };
  for (let i = 0; kube.watches.length > 0; i++) {
    assert.ok(i < 500, "the watch is still served");
    assert.equal((await kube.call("POST", MAPS, map(`m${i}`, big))).status, 201);
  }
  assert.equal(kube.watches.length, 0);
  await watch.cancel();
});

Deno.test("bookmarks come between changes with the latest revision of the whole store", async () => {
  await using kube = await startKube({ bookmarks: 0 });
  const query = `?allowWatchBookmarks=true&resourceVersion=${kube.revision}`;
  await using watch = await kube.watch(MAPS + query);
  const secret = { metadata: { name: "s" } };
  await kube.call("POST", "/api/v1/namespaces/default/secrets", secret);
  kube.bookmark();
  const bookmark = await watch.next();
  assert.equal(bookmark?.type, "BOOKMARK");
  assert.equal(bookmark!.object.metadata.resourceVersion, String(kube.revision));
  assert.equal(bookmark!.object.kind, "ConfigMap");
});

Deno.test("connections break and the next request makes new ones", async () => {
  await using kube = await startKube();
  await using watch = await kube.watch(MAPS);
  kube.dropConnections();
  await assert.rejects(watch.next());
  using client = kube.clientOf({ token: kube.adminToken });
  assert.equal((await client.call("GET", MAPS)).status, 200);
});

Deno.test("a cache that lags behind answers with older state where any will do, and there alone", async () => {
  await using kube = await startKube();
  await made(kube, "a");
  const then = String(kube.revision);
  const end = kube.lag();
  await made(kube, "b");
  const listed = async (query: string) => {
    const { items, metadata } = (await kube.call("GET", MAPS + query)).body;
    return [items.map((i: any) => i.metadata.name).join(), metadata.resourceVersion];
  };
  assert.deepEqual(await listed("?resourceVersion=0"), ["a", then]);
  assert.deepEqual(await listed(""), ["a,b", String(kube.revision)]);
  assert.deepEqual(await listed(`?resourceVersion=${kube.revision}`), [
    "a,b",
    String(kube.revision),
  ]);
  assert.equal((await kube.call("GET", `${MAPS}/b?resourceVersion=0`)).status, 404);
  assert.equal((await kube.call("GET", `${MAPS}/b`)).status, 200);
  await using watch = await kube.watch(`${MAPS}?resourceVersion=0`);
  assert.deepEqual((await watch.changes(2)).map((e) => e.object.metadata.name), ["a", "b"]);
  end();
  assert.deepEqual(await listed("?resourceVersion=0"), ["a,b", String(kube.revision)]);
});

Deno.test("an object that nobody would be allowed to write can be put there", async () => {
  await using kube = await startKube();
  const odd = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "Odd", namespace: "default" },
  };
  const { metadata } = kube.put("", "configmaps", odd);
  const { body } = await kube.call("GET", `${MAPS}/Odd`);
  assert.equal(body.metadata.resourceVersion, metadata.resourceVersion);
});
