/**
 * Three members of an etcd while they are killed, paused and compacted: no call and no watch hangs, what
 * was acknowledged is there, and whoever watches ends with what the store holds.
 */
import assert from "node:assert/strict";
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { follow } from "../../mod/store/follow.ts";
import { Resources } from "../../mod/store/resources.ts";
import { type Store, StoreError } from "../../mod/store/store.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { EtcdCluster, type EtcdMember, freePorts } from "./etcd_server.ts";
import { Child } from "./processes.ts";
import { Relay } from "./relay.ts";
import { serveHttp } from "../../mod/node/http_server.ts";
import { sleep, systemClock } from "../../mod/store/clock.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, isSo: () => boolean, withinMs = 30_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!isSo()) {
    assert(performance.now() < end, `${what} within ${withinMs} ms`);
    await pause(20);
  }
}

/** A picture of the store under a prefix, kept by follow. */
function picture(store: Store, prefix: string) {
  const abort = new AbortController();
  const entries = new Map<string, unknown>(), broken = new Map<string, string>();
  const seen = { lists: 0, away: 0 };
  /** Names of what was put. */
  const told: string[] = [];
  const done = follow(store, prefix, {
    put: ({ key, value }) => {
      entries.set(key, value);
      told.push(key.slice(prefix.length));
    },
    delete: (key) => void entries.delete(key),
    broken: (key, reason) => void broken.set(key, reason),
    synced: () => void seen.lists++,
    unavailable: () => void seen.away++,
  }, { signal: abort.signal });
  return {
    entries,
    broken,
    seen,
    told,
    async end() {
      abort.abort();
      await done;
    },
  };
}

async function contents(store: Store, prefix: string): Promise<Map<string, unknown>> {
  const { entries } = await store.list(prefix);
  return new Map(entries.map(({ key, value }) => [key, value]));
}

Deno.test("a member that is paused or killed holds up neither calls nor watches", async () => {
  const cluster = await EtcdCluster.start({ members: 3 });
  try {
    // Each store prefers another member.
    const stores = await Promise.all(
      [0, 0.34, 0.67].map((at) => cluster.open({ random: () => at })),
    );
    const pictures = stores.map((store) => picture(store, "/calico/"));
    await until("first lists", () => pictures.every(({ seen }) => seen.lists > 0));
    const hit = async (
      name: string,
      member: EtcdMember,
      strike: () => unknown,
      heal: () => unknown,
    ) => {
      await strike();
      // Written through a store whose own member is well, or fails over.
      const began = performance.now();
      for (const [i, store] of stores.entries()) {
        for (let tries = 0;; tries++) {
          try {
            await store.put(`/calico/${name}/${i}`, i);
            break;
          } catch (error) {
            assert(error instanceof StoreError && error.kind === "unavailable", String(error));
            assert(tries < 20, `put by ${i}: ${error.message}`);
            await pause(100);
          }
        }
        assert.equal((await store.get(`/calico/${name}/${i}`))?.value, i);
      }
      await until(
        `all see ${name}`,
        () =>
          pictures.every(({ entries }) =>
            [0, 1, 2].every((i) => entries.has(`/calico/${name}/${i}`))
          ),
      );
      assert(performance.now() - began < 25_000, `${name} took too long`);
      await heal();
      await cluster.serves(member);
    };
    for (const [i, member] of cluster.members.entries()) {
      await hit(
        `paused-${i}`,
        member,
        () => member.kill("SIGSTOP"),
        () => member.kill("SIGCONT"),
      );
    }
    const [first] = cluster.members;
    await hit("killed", first, () => first.stop("SIGKILL"), () => first.start());
    for (const one of pictures) assert.equal(one.seen.away, 0, "no watch was given up");
    await Promise.all(pictures.map((one) => one.end()));
    await Promise.all(stores.map((store) => store.close()));
  } finally {
    await cluster.stop();
  }
});

Deno.test("without a majority nothing hangs and everything comes back", async () => {
  const cluster = await EtcdCluster.start({ members: 3 });
  try {
    const store = await cluster.open({ patienceMs: 3000 });
    const before = await store.put("/calico/a", 1);
    const seen = picture(store, "/calico/");
    await until("first list", () => seen.seen.lists > 0);
    const [, second, third] = cluster.members;
    second.kill("SIGSTOP");
    third.kill("SIGSTOP");
    const began = performance.now();
    await Promise.all(
      [store.get("/calico/a"), store.list("/calico/")].map((operation) =>
        assert.rejects(operation, (error: StoreError) => error.kind === "unavailable")
      ),
    );
    await assert.rejects(store.put("/calico/a", 2), (error: StoreError) => {
      assert.match(error.message, /etcd at http:/);
      return error.kind === "unavailable";
    });
    assert(performance.now() - began < 15_000);
    await until("the watch is given up", () => seen.seen.away > 0);
    assert.equal(seen.entries.get("/calico/a"), 1, "what was known is kept");
    second.kill("SIGCONT");
    third.kill("SIGCONT");
    await cluster.serves(second);
    await store.put("/calico/b", 3);
    await until("the watch is back", () => seen.entries.get("/calico/b") === 3);
    assert.notEqual((await store.get("/calico/a"))?.revision, undefined);
    assert(BigInt((await store.list("/calico/")).revision) > BigInt(before));
    await seen.end();
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("killed, paused and compacted under load: all that was acknowledged is there, watchers converge", async () => {
  const cluster = await EtcdCluster.start({ members: 3 });
  try {
    const stores = await Promise.all(
      [0, 0.34, 0.67, 0].map((at) => cluster.open({ random: () => at })),
    );
    const pictures = stores.map((store) => picture(store, "/calico/load/"));
    let writing = true;
    const tally = { acknowledged: 0, conflicts: 0, unknown: 0 };
    /** By key: the newest value that was acknowledged, and values whose fate is not known. */
    const said = new Map<string, { n: number; maybe: Set<number> }>();
    const writers = stores.map(async (store, writer) => {
      for (let n = 1; writing; n++) {
        // Each writer has keys of its own, so that what must be there is known.
        const key = `/calico/load/w${writer}/k${n % 25}`;
        const state = said.get(key) ?? { n: 0, maybe: new Set() };
        said.set(key, state);
        try {
          const known = await store.get<{ n: number }>(key);
          const found = known?.value.n ?? 0;
          assert(
            found === state.n || state.maybe.has(found),
            `${key} holds ${found}, acknowledged was ${state.n}`,
          );
          state.n = found;
          state.maybe.clear();
          state.maybe.add(n);
          if (known) await store.update(key, { n, pad: "x".repeat(n % 400) }, known.revision);
          else await store.create(key, { n });
          state.n = n;
          state.maybe.clear();
          tally.acknowledged++;
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          if (error.kind === "unavailable") tally.unknown++;
          // Its own earlier write, whose outcome it did not hear, was done after it had looked.
          else if (error.kind === "conflict" || error.kind === "exists") tally.conflicts++;
          else throw error;
          await pause(20);
        }
      }
    });
    for (let round = 0; round < 6; round++) {
      const member = cluster.members[round % 3];
      await pause(500);
      await cluster.raw("/v3/kv/compaction", {
        revision: (await stores[0].list("/calico/nothing/")).revision,
      }, cluster.members[(round + 1) % 3]).catch(() => {}); // it may be at a member that is going
      if (round % 2 === 0) {
        await member.stop("SIGKILL");
        await pause(500);
        member.start();
      } else {
        member.kill("SIGSTOP");
        await pause(1500);
        member.kill("SIGCONT");
      }
      await cluster.serves(member);
    }
    writing = false;
    await Promise.all(writers);
    const held = await contents(stores[0], "/calico/load/");
    for (const [key, { n, maybe }] of said) {
      const found = (held.get(key) as { n: number } | undefined)?.n ?? 0;
      assert(found === n || maybe.has(found), `${key}: ${found}, acknowledged ${n}`);
    }
    await until(
      "the pictures are the store",
      () =>
        pictures.every(({ entries }) =>
          entries.size === held.size &&
          [...held].every(([key, value]) =>
            JSON.stringify(entries.get(key)) === JSON.stringify(value)
          )
        ),
    );
    assert(tally.acknowledged > 100, JSON.stringify(tally));
    await Promise.all(pictures.map((one) => one.end()));
    await Promise.all(stores.map((store) => store.close()));
  } finally {
    await cluster.stop();
  }
});

Deno.test("a store that goes back in time is noticed, and listed again", async () => {
  const cluster = await EtcdCluster.start();
  const [member] = cluster.members;
  try {
    const store = await cluster.open();
    await store.put("/calico/kept", 1);
    await store.put("/calico/changed", 1);
    await member.stop("SIGTERM");
    await member.backUp();
    const restore = async () => {
      await member.stop("SIGKILL");
      await member.restore();
      member.start();
      await cluster.serves(member);
    };
    member.start();
    await cluster.serves(member);

    const seen = picture(store, "/calico/");
    await until("first list", () => seen.seen.lists > 0);
    for (let i = 0; i < 20; i++) await store.put("/calico/late", i);
    const stale = await store.put("/calico/changed", 2);
    await until("all of it", () => seen.entries.get("/calico/changed") === 2);
    await restore();
    await until("the past", () => seen.entries.get("/calico/changed") === 1);
    assert(!seen.entries.has("/calico/late"));
    await assert.rejects(
      store.update("/calico/changed", 3, stale),
      (error: StoreError) => error.kind === "conflict",
    );
    // What is written now is told, although its revision is one that was there before.
    await store.put("/calico/new", 1);
    await until("what is new", () => seen.entries.get("/calico/new") === 1);

    // Restored and gone on beyond the revision that was known, before anybody looked.
    const idle = await cluster.open();
    const watch = idle.watch("/calico/", { from: (await idle.list("/calico/")).revision });
    await store.put("/calico/seen", 1);
    assert.equal((await watch.next()).value?.key, "/calico/seen");
    const next = watch.next();
    next.catch(() => {});
    await restore();
    for (let i = 0; i < 40; i++) await cluster.putText("/calico/other", `${i}`);
    await assert.rejects(next, (error: StoreError) => {
      assert.equal(error.kind, "compacted");
      return true;
    });
    await until("the past again", () => seen.entries.get("/calico/other") === 39);
    assert(!seen.entries.has("/calico/seen"));
    await seen.end();
    await idle.close();
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("restored and overtaken before we are back: noticed, though nothing was told since the list", async () => {
  const cluster = await EtcdCluster.start();
  const [member] = cluster.members;
  try {
    const store = await cluster.open();
    for (let i = 0; i < 20; i++) await store.put(`/calico/x/k${i}`, i);
    await member.stop("SIGTERM");
    await member.backUp();
    member.start();
    await cluster.serves(member);
    for (let i = 0; i < 20; i++) await store.put(`/calico/x/late${i}`, i);
    await store.delete("/calico/x/k7");

    const seen = picture(store, "/calico/x/");
    await until("first list", () => seen.seen.lists > 0);
    assert.equal(seen.entries.size, 39);
    await member.stop("SIGKILL");
    await member.restore();
    // At another door, so that our client cannot look before others have gone on.
    const [port] = freePorts(1);
    await member.startAt(`http://127.0.0.1:${port}`);
    const raw = (path: string, body: unknown) =>
      fetch(`http://127.0.0.1:${port}${path}`, { method: "POST", body: JSON.stringify(body) })
        .then((response) => response.json());
    await raw("/v3/kv/put", { key: btoa("/calico/x/gap"), value: btoa("1") });
    await raw("/v3/kv/deleterange", { key: btoa("/calico/x/k3") });
    for (let i = 0; i < 60; i++) {
      await raw("/v3/kv/put", { key: btoa("/elsewhere"), value: btoa(`${i}`) });
    }
    await member.stop("SIGTERM");
    member.start();
    await cluster.serves(member);
    await until("the past", () => seen.entries.has("/calico/x/gap"));
    const wanted = [...Array(20).keys()].filter((i) => i !== 3).map((i) => `/calico/x/k${i}`);
    assert.deepEqual([...seen.entries.keys()].sort(), ["/calico/x/gap", ...wanted].sort());
    await seen.end();
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("restored and overtaken while a process did not run: it lists again when it does", async () => {
  const cluster = await EtcdCluster.start();
  const [member] = cluster.members;
  let child: Child | undefined;
  try {
    await cluster.putText("/calico/x/kept", "1");
    await member.stop("SIGTERM");
    await member.backUp();
    member.start();
    await cluster.serves(member);
    child = new Child("etcd_follower_process.ts", member.url, "/calico/x/");
    assert.equal(await child.next(), "put /calico/x/kept");
    assert.equal(await child.next(), "synced 0");
    await cluster.putText("/calico/x/late", "1");
    assert.equal(await child.next(), "put /calico/x/late");

    Deno.kill(child.pid, "SIGSTOP");
    await member.stop("SIGKILL");
    await member.restore();
    member.start();
    await cluster.serves(member);
    for (let i = 0; i < 40; i++) await cluster.putText("/elsewhere", `${i}`);
    await cluster.putText("/calico/x/new", "1");
    // So long that a silent stream is opened anew at once.
    await pause(31_000);
    Deno.kill(child.pid, "SIGCONT");
    assert.equal(await child.next(), "delete /calico/x/late");
    assert.equal(await child.next(), "put /calico/x/new");
    assert.match((await child.next())!, /^synced [1-9]/);
  } finally {
    child?.kill();
    await child?.rest();
    await child?.ended();
    await cluster.stop();
  }
});

Deno.test("a member that comes back with the same data is listed once, and nothing is told twice", async () => {
  const cluster = await EtcdCluster.start();
  const [member] = cluster.members;
  try {
    const store = await cluster.open();
    for (let i = 0; i < 5; i++) await store.put(`/calico/x/k${i}`, i);
    const seen = picture(store, "/calico/x/");
    await until("first list", () => seen.seen.lists > 0);
    await store.delete("/calico/x/k1");
    await until("the deletion", () => !seen.entries.has("/calico/x/k1"));
    for (let i = 0; i < 2; i++) {
      await member.stop("SIGKILL");
      member.start();
      await cluster.serves(member);
      await store.put("/calico/x/next", i);
      await until("what is new", () => seen.entries.get("/calico/x/next") === i);
      await store.delete(`/calico/x/k${i + 2}`);
      await until("the deletion", () => !seen.entries.has(`/calico/x/k${i + 2}`));
    }
    assert.equal(seen.seen.lists, 3);
    assert.deepEqual(seen.told, ["k0", "k1", "k2", "k3", "k4", "next", "next"]);
    await seen.end();
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("connections to the only endpoint that die without a word are replaced", async () => {
  const cluster = await EtcdCluster.start();
  const [, hostname, port] = /^http:..([^:]+):(\d+)$/.exec(cluster.endpoints[0])!;
  const relay = new Relay({ transport: "tcp", hostname: "127.0.0.1", port: 0 }, {
    transport: "tcp",
    hostname,
    port: Number(port),
  });
  const endpoints = [`http://127.0.0.1:${relay.port}`];
  const store = await openEtcd(cluster.location({ endpoints }));
  const seen = picture(store, "/calico/");
  try {
    await store.put("/calico/a", 0);
    await until("the follower has it", () => seen.entries.get("/calico/a") === 0);
    // What is written at once goes by so many connections.
    const many = (by: Store) =>
      Promise.all(Array.from({ length: 20 }, (_, i) => by.put(`/calico/many/${i}`, i)));
    await many(store);
    // One that was idle for a while finds it out by a sign of life, and no write is in doubt.
    const quiet = await openEtcd(cluster.location({ endpoints }));
    await many(quiet);
    await pause(2500);
    assert(relay.forget() >= 30, "both pools have many of them");
    await quiet.put("/calico/a", 1);
    await quiet.close();
    await until("the follower has it", () => seen.entries.get("/calico/a") === 1, 20_000);
    // In use a moment ago: one request is lost, and no more than one.
    await many(store);
    assert(relay.forget() >= 10, "the pool has many of them");
    await assert.rejects(store.put("/calico/a", 2), /no answer within \d+ ms/);
    await store.put("/calico/a", 3);
    await until("the follower has it", () => seen.entries.get("/calico/a") === 3, 20_000);
  } finally {
    await seen.end();
    await store.close();
    relay.close();
    await cluster.stop();
  }
});

Deno.test("a watch that died without a word is found by what we write, though nothing else is late", async () => {
  const cluster = await EtcdCluster.start();
  const { hostname, port } = new URL(cluster.endpoints[0]);
  const relay = new Relay(
    { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    { transport: "tcp", hostname, port: Number(port) },
  );
  const store = await openEtcd(cluster.location({ endpoints: [`http://127.0.0.1:${relay.port}`] }));
  // One request after the other: the watch takes the one connection, and others find none that is dead.
  const seen = picture(store, "/calico/");
  try {
    await until("it follows", () => seen.seen.lists === 1);
    await pause(500);
    assert.equal(relay.forget(), 1);
    await store.put("/calico/a", 1);
    // Well before a silent stream of a store that moves on is opened anew anyway.
    await until("it is told", () => seen.entries.get("/calico/a") === 1, 15_000);
    assert.equal(seen.seen.lists, 2, "what it missed is listed");
  } finally {
    await seen.end();
    await store.close();
    relay.close();
    await cluster.stop();
  }
});

Deno.test("an etcd whose answers take long is of use, with several endpoints as with one", async () => {
  const cluster = await EtcdCluster.start({ members: 3 });
  let delayMs = 0;
  const doors = cluster.endpoints.map((url) => slowDoor(url, () => delayMs));
  try {
    const endpoints = doors.map((door) => door.url);
    delayMs = 1700;
    const store = await openEtcd(cluster.location({ endpoints }));
    const revision = await store.put("/calico/slow", delayMs);
    assert.equal((await store.get("/calico/slow"))?.revision, revision);
    const watch = store.watch("/calico/", { from: revision });
    const next = watch.next();
    await store.delete("/calico/slow");
    assert.equal((await next).value?.type, "delete");
    await watch.return(undefined);
    await store.close();
  } finally {
    await Promise.all(doors.map((door) => door.close()));
    await cluster.stop();
  }
});

/** Passes requests on to a member, each after a while. */
function slowDoor(target: string, delayMs: () => number) {
  const server = serveHttp({ port: 0, hostname: "127.0.0.1" }, async (request) => {
    const body = await request.text();
    const { signal } = request;
    await sleep(systemClock, delayMs(), signal);
    // Nobody waits for it any more: the test may be over.
    if (signal.aborted) return new Response(null, { status: 502 });
    const { pathname } = new URL(request.url);
    return await fetch(target + pathname, { method: request.method, body }).catch((error) =>
      new Response(String(error), { status: 502 })
    );
  });
  return { url: `http://127.0.0.1:${server.port}`, close: server.close };
}

Deno.test("endpoints of two clusters are not mixed", async () => {
  const [one, other] = await Promise.all([EtcdCluster.start(), EtcdCluster.start()]);
  try {
    const location = one.location({ endpoints: [...one.endpoints, ...other.endpoints] });
    const store = await openEtcd(location, { random: () => 0, patienceMs: 2000 });
    await store.put("/calico/a", 1);
    await one.members[0].freeze();
    await assert.rejects(
      store.get("/calico/a"),
      /it is of another cluster than http:.*endpoints of/,
    );
    await assert.rejects(store.put("/calico/b", 1), (error: StoreError) => {
      return error.kind === "unavailable";
    });
    one.members[0].kill("SIGCONT");
    await one.serves(one.members[0]);
    await store.put("/calico/b", 2);
    assert.equal((await other.texts("/calico/")).size, 0);
    await store.close();
  } finally {
    await Promise.all([one.stop(), other.stop()]);
  }
});

Deno.test("what is not JSON, or half an object, is left out and told; foreign keys are not read", async () => {
  const cluster = await EtcdCluster.start();
  try {
    const store = await cluster.open();
    const resources = new Resources(store);
    const pool = (name: string, cidr: string) => ({
      kind: "IPPool" as const,
      apiVersion: "projectcalico.org/v3" as const,
      metadata: { name },
      spec: { cidr },
    });
    await resources.create(ippoolKind, pool("good", "10.1.0.0/16"));
    const pools = "/calico/resources/v3/projectcalico.org/ippools";
    await cluster.putText("/registry/pods/default/x", "k8s\0\x01binary");
    await cluster.putText("/apisix/x", "{");
    const seen = picture(store, "/");
    await until("first list", () => seen.seen.lists > 0);
    assert([...seen.entries.keys()].every((key) => key.startsWith("/calico/")));

    await cluster.putText(`${pools}/half`, '{"kind":"IPPool","metadata":{"name":"ha');
    await cluster.putText(`${pools}/nospec`, '{"kind":"IPPool","metadata":{"name":"nospec"}}');
    await until("half of it is told", () => seen.broken.has(`${pools}/half`));
    assert.match(seen.broken.get(`${pools}/half`)!, /not JSON/);
    assert(!seen.entries.has(`${pools}/half`));
    // What was good and is overwritten by half an object counts as gone.
    await resources.create(ippoolKind, pool("soon", "10.2.0.0/16"));
    await until("soon", () => seen.entries.has(`${pools}/soon`));
    await cluster.putText(`${pools}/soon`, "{");
    await until("soon is gone", () => !seen.entries.has(`${pools}/soon`));
    assert(!seen.entries.has("/registry/pods/default/x"));

    const list = await resources.list(ippoolKind);
    assert.deepEqual(list.items.map((one) => one.metadata.name), ["good"]);
    assert.deepEqual(list.broken.map(({ key }) => key).sort(), [
      `${pools}/half`,
      `${pools}/nospec`,
      `${pools}/soon`,
    ]);
    await assert.rejects(store.get(`${pools}/half`), (error: StoreError) => {
      assert.equal(error.kind, "invalid");
      assert.match(error.message, /ippools\/half in etcd cannot be read: it is not JSON/);
      return true;
    });
    await assert.rejects(
      store.create(`${pools}/half`, {}),
      (error: StoreError) => error.kind === "exists",
    );
    await assert.rejects(resources.mustGet(ippoolKind, "half"), /delete it, or write it anew/);
    for (const damage of ["{", "", '{"kind":"IPPool","spec":{"cidr":5}}']) {
      for (const write of ["apply", "replace"] as const) {
        await cluster.putText(`${pools}/half`, damage);
        await resources[write](ippoolKind, pool("half", "10.3.0.0/16"));
        assert.equal((await resources.mustGet(ippoolKind, "half")).spec.cidr, "10.3.0.0/16");
      }
      await cluster.putText(`${pools}/half`, damage);
      await resources.delete(ippoolKind, "half");
      assert.equal(await store.get(`${pools}/half`), undefined);
    }
    await cluster.putText(`${pools}/half`, "{");
    await store.delete(`${pools}/half`);
    await resources.create(ippoolKind, pool("half", "10.3.0.0/16"));
    await until("made whole", () => seen.entries.has(`${pools}/half`));
    await seen.end();
    await store.close();
  } finally {
    await cluster.stop();
  }
});
