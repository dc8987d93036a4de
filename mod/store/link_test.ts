/** The remote store when things go wrong that a well-behaved server never does; time by hand. */

import assert from "node:assert/strict";
import type { Connection } from "../rpc/connection.ts";
import { call, type Methods, stream } from "../rpc/method.ts";
import { pipe } from "../rpc/pipe.ts";
import { RpcServer } from "../rpc/server.ts";
import type { LocalStore } from "./local.ts";
import { memoryStore } from "./memory.ts";
import { RemoteStore } from "./remote.ts";
import { serveStore } from "./serve.ts";
import { StoreError, type WatchEvent } from "./store.ts";
import { ManualClock, settle } from "./testing.ts";

/** A remote store on servers that come and go as the test says. */
class Scene {
  readonly clock = new ManualClock();
  attempts = 0;
  connect: () => Promise<Connection> = () => Promise.reject(new Error("nobody listens"));
  readonly store = new RemoteStore(() => (this.attempts++, this.connect()), {
    clock: this.clock,
    random: () => 1,
    patienceMs: 10_000,
    pingMs: 5000,
  });
  readonly #servers: RpcServer[] = [];
  #ends: Connection[] = [];
  /** Called in place of each answer of the server, when set; the greeting passes. */
  #lose: (() => void) | undefined;

  serve(methods: Methods): RpcServer {
    const server = new RpcServer({ methods });
    this.#servers.push(server);
    this.connect = async () => {
      const [client, accepted] = this.#ends = pipe();
      server.accept({
        ...accepted,
        write: (bytes) => {
          if (!this.#lose || new TextDecoder().decode(bytes).includes('"store":')) {
            return accepted.write(bytes);
          }
          const lose = this.#lose;
          this.#lose = undefined;
          lose();
          return Promise.reject(new Error("lost"));
        },
      });
      return client;
    };
    return server;
  }

  /** The next answer is lost with its connection; meanwhile something may happen. */
  loseAnswer(meanwhile: () => void = () => {}): void {
    this.#lose = () => {
      this.breakNow();
      meanwhile();
    };
  }

  breakNow(): void {
    for (const end of this.#ends) end.close();
  }

  async close(...stores: LocalStore[]): Promise<void> {
    await this.store.close();
    for (const server of this.#servers) await server.close();
    for (const store of stores) await store.close();
    assert.equal(this.clock.pending, 0, "no timer is left behind");
  }
}

/** What the promise came to, as soon as the clock has moved so far, and when that was. */
async function within(clock: ManualClock, ms: number, promise: Promise<unknown>) {
  const began = clock.monotonicMs();
  let result: { value?: unknown; error?: StoreError; ms: number } | undefined;
  promise.then(
    (value) => result = { value, ms: clock.monotonicMs() - began },
    (error) => result = { error, ms: clock.monotonicMs() - began },
  );
  await settle();
  for (let passed = 0; !result && passed < ms; passed += 250) await clock.advance(250);
  assert(result, `nothing came of it within ${ms} ms`);
  return result;
}

Deno.test("where nobody serves, every operation ends in time, and the attempts are few", async () => {
  const scene = new Scene();
  const { store, clock } = scene;
  const operations = [
    store.get("/a"),
    store.list("/"),
    store.put("/a", 1),
    store.watch("/", { from: "1" })[Symbol.asyncIterator]().next(),
  ].map((operation) => within(clock, 11_000, operation));
  for (const { error, ms } of await Promise.all(operations)) {
    assert.equal(error?.kind, "unavailable");
    assert.match(error!.message, /nobody listens/);
    assert.doesNotMatch(error!.message, /unknown/, "nothing was sent, so nothing was done");
    assert(ms >= 10_000 && ms <= 10_500, `${ms}`);
  }
  assert(scene.attempts < 40, `${scene.attempts} attempts in ten seconds`);
  await scene.close();
});

Deno.test("a store that comes late is waited for", async () => {
  const scene = new Scene();
  const served = memoryStore();
  const reading = within(scene.clock, 20_000, scene.store.create("/a", 1));
  await scene.clock.advance(7000);
  scene.serve(serveStore(served));
  assert.equal((await reading).value, "2");
  await scene.close(served);
});

Deno.test("a server that never greets counts as none", async () => {
  const scene = new Scene();
  scene.serve({ "store.hello": call(() => new Promise(() => {})) });
  const { error, ms } = await within(scene.clock, 30_000, scene.store.get("/a"));
  assert.equal(error?.kind, "unavailable");
  assert(ms <= 10_500);
  // Its method never returns; only the connections can be ended.
  await scene.store.close();
});

Deno.test("a call that is never answered ends in time, a write with its outcome unknown", async () => {
  const scene = new Scene();
  const served = memoryStore();
  const hang = call((_params, { signal }) =>
    new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()))
  );
  scene.serve({ ...serveStore(served), "store.get": hang, "store.put": hang });
  const [read, written] = await Promise.all([
    within(scene.clock, 11_000, scene.store.get("/a")),
    within(scene.clock, 11_000, scene.store.put("/a", 1)),
  ]);
  assert.equal(read.error?.kind, "unavailable");
  assert.match(read.error!.message, /did not answer store.get within 10000 ms/);
  assert.equal(written.error?.kind, "unavailable");
  assert.match(written.error!.message, /outcome .* is unknown/);
  await scene.close(served);
});

Deno.test("a list that stops coming ends in time", async () => {
  const scene = new Scene();
  const served = memoryStore();
  const half = stream(async function* (_params, { signal }) {
    yield { entries: [] };
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  });
  scene.serve({ ...serveStore(served), "store.list": half });
  const { error } = await within(scene.clock, 11_000, scene.store.list("/"));
  assert.equal(error?.kind, "unavailable");
  await scene.close(served);
});

Deno.test("a watched server that hangs is found out, and the watch ends in time", async () => {
  const scene = new Scene();
  const served = memoryStore();
  let hanging = false;
  const methods = serveStore(served);
  const unlessHanging = (name: string) =>
    call((params, context) => {
      if (!hanging) return methods[name].run(params, context);
      const { signal } = context;
      return new Promise((resolve) => signal.addEventListener("abort", resolve));
    });
  scene.serve({
    ...methods,
    "store.ping": unlessHanging("store.ping"),
    "store.hello": unlessHanging("store.hello"),
  });
  const events: WatchEvent[] = [];
  const watching = (async () => {
    for await (const event of scene.store.watch("/", { from: "1" })) events.push(event);
  })();
  await settle();
  await served.put("/a", 1);
  await scene.clock.advance(60_000);
  assert.equal(events.length, 1, "an hour of silence is no trouble while the server lives");
  hanging = true;
  const { error, ms } = await within(scene.clock, 40_000, watching);
  assert.equal(error?.kind, "unavailable");
  assert(ms <= 26_000, `${ms}`);
  await scene.close(served);
});

Deno.test("another store in the place of the first is not taken for it", async () => {
  const scene = new Scene();
  const first = memoryStore(), second = memoryStore();
  scene.serve(serveStore(first));
  for (let i = 0; i < 5; i++) await second.put("/other", i);
  await scene.store.put("/a", 1);
  const watching = (async () => {
    for await (const _ of scene.store.watch("/", { from: "2" }));
  })();
  await settle();
  scene.loseAnswer(() => scene.serve(serveStore(second)));
  const written = within(scene.clock, 11_000, scene.store.put("/a", 2));
  const watched = within(scene.clock, 11_000, watching);
  const { error } = await written;
  assert.equal(error?.kind, "unavailable");
  assert.match(error!.message, /unknown/);
  assert.equal((await watched).error?.kind, "compacted");
  assert.equal(await second.get("/a"), undefined, "the write was for the other store");
  await scene.close(first, second);
});

Deno.test("a lost answer that the log no longer tells is reported as unknown", async () => {
  const scene = new Scene();
  const served = memoryStore({ log: { entries: 10 } });
  scene.serve(serveStore(served));
  await scene.store.get("/a");
  let filled: Promise<unknown> | undefined;
  scene.loseAnswer(() => {
    filled = Promise.all(Array.from({ length: 20 }, (_, i) => served.put("/filler", i)));
  });
  const { error } = await within(scene.clock, 11_000, scene.store.put("/a", 1));
  await filled;
  assert.equal(error?.kind, "unavailable");
  assert.match(error!.message, /unknown/);
  await scene.close(served);
});

Deno.test("what a broken connection still held is not carried out behind its repetition", async () => {
  const served = memoryStore();
  const server = new RpcServer({ methods: serveStore(served) });
  const text = (line: string) => new TextEncoder().encode(line);
  const [old, oldAccepted] = pipe();
  server.accept(oldAccepted);
  await old.write(
    text('TORTIE1\0rpc\0\0{"id":1,"method":"store.hello","params":{"client":"c"}}\n'),
  );
  await old.read();
  const [next, nextAccepted] = pipe();
  server.accept(nextAccepted);
  await next.write(
    text('TORTIE1\0rpc\0\0{"id":1,"method":"store.hello","params":{"client":"c"}}\n'),
  );
  await next.read();
  await old.write(text('{"id":2,"method":"store.put","params":{"key":"/a","value":1}}\n')).catch(
    () => {},
  );
  await settle();
  assert.equal(await served.get("/a"), undefined);
  assert.equal(server.connections, 1);
  old.close();
  next.close();
  await server.close();
  await served.close();
});

Deno.test("an older server is named as the reason", async () => {
  const scene = new Scene();
  const served = memoryStore();
  const { "store.get": _, ...methods } = serveStore(served);
  scene.serve(methods);
  const { error } = await within(scene.clock, 1000, scene.store.get("/a"));
  assert.equal(error?.kind, "unavailable");
  assert.match(error!.message, /no method "store.get"; is it an older version/);
  await scene.close(served);
});

Deno.test("parameters that no client of ours sends are refused, not believed", async () => {
  const served = memoryStore();
  const server = new RpcServer({ methods: serveStore(served) });
  const wrong: [string, string][] = [
    ["store.get", "{}"],
    ["store.get", "[]"],
    ["store.get", '"k"'],
    ["store.get", '{"key":7}'],
    ["store.get", '{"key":""}'],
    ["store.put", '{"key":"/a"}'],
    ["store.put", '{"key":"/a","value":1,"ttlSeconds":"x"}'],
    ["store.put", '{"key":"/a","text":"{"}'],
    ["store.put", '{"key":"/a","value":1,"writeId":7}'],
    ["store.update", '{"key":"/a","value":1}'],
    ["store.delete", '{"key":"/a","revision":7}'],
    ["store.list", '{"prefix":7}'],
    ["store.watch", '{"prefix":"/"}'],
    ["store.watch", '{"prefix":"/","from":"now"}'],
    ["store.hello", "{}"],
  ];
  for (const [method, params] of wrong) {
    const [client, accepted] = pipe();
    server.accept(accepted);
    await client.write(new TextEncoder().encode(
      `TORTIE1\0rpc\0\0{"id":1,"method":"${method}","params":${params}}\n`,
    ));
    const answer = JSON.parse(new TextDecoder().decode(await client.read()));
    assert.equal(answer.error?.kind, "invalid", `${method} ${params}: ${JSON.stringify(answer)}`);
    client.close();
  }
  assert.equal(served.revision, 1);
  await server.close();
  await served.close();
});
