import assert from "node:assert/strict";
import { StoreError, type WatchEvent } from "../store.ts";
import { ManualClock, settle } from "../testing.ts";
import { EtcdClient } from "./client.ts";
import { encodeText } from "./gateway.ts";
import { watchRange } from "./watch.ts";
import { type HttpServer, serveHttp } from "../../node/http_server.ts";

/** A member whose connections may die without a word: what comes by them is not answered any more. */
class FakeMember {
  revision = 5;
  /** With the next answer all watches end. */
  endsWatches = false;
  /** The start_revision of each watch that was opened. */
  readonly opened: string[] = [];
  readonly #ports = new Set<number>();
  readonly #dead = new Set<number>();
  readonly #streams = new Map<ReadableStreamDefaultController<Uint8Array>, number>();
  readonly #over = new AbortController();
  readonly #server: HttpServer;

  constructor() {
    const at = { hostname: "127.0.0.1", port: 0 };
    this.#server = serveHttp(
      at,
      (request, { remoteAddr }) => this.#answer(request, (remoteAddr as Deno.NetAddr).port),
    );
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  /** What is connected now is dead; with `streams` false, watches go on and all else is dead. */
  forget(streams: boolean): void {
    const watching = new Set(this.#streams.values());
    for (const port of this.#ports) if (streams || !watching.has(port)) this.#dead.add(port);
  }

  /** Something is written, and told to whoever is alive. */
  write(name: string): void {
    const kv = { key: encodeText(`/calico/${name}`), mod_revision: String(++this.revision) };
    for (const [stream, port] of this.#streams) {
      if (!this.#dead.has(port)) this.#tell(stream, { events: [{ kv }] });
    }
  }

  #header() {
    return { cluster_id: "1", member_id: "1", revision: String(this.revision), raft_term: "1" };
  }

  #tell(stream: ReadableStreamDefaultController<Uint8Array>, more: object): void {
    const line = JSON.stringify({ result: { header: this.#header(), ...more } });
    stream.enqueue(new TextEncoder().encode(`${line}\n`));
  }

  async #answer(request: Request, port: number): Promise<Response> {
    this.#ports.add(port);
    const body = await request.json();
    if (this.#dead.has(port)) await new Promise((resolve) => this.#onEnd(request, resolve));
    if (!request.url.endsWith("/v3/watch")) {
      if (this.endsWatches) { for (const stream of this.#streams.keys()) stream.close(); }
      this.endsWatches = false;
      return Response.json({ header: this.#header() });
    }
    this.opened.push(body.create_request.start_revision);
    let end = () => {};
    return new Response(
      new ReadableStream<Uint8Array>({
        start: (stream) => {
          this.#streams.set(stream, port);
          this.#tell(stream, { created: true });
          this.#onEnd(request, end = () => void this.#streams.delete(stream));
        },
        cancel: () => end(),
      }),
    );
  }

  #onEnd(request: Request, run: (event: Event) => void): void {
    for (const signal of [request.signal, this.#over.signal]) signal.addEventListener("abort", run);
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#server.close();
  }
}

const PATIENCE = 1000;

async function scene(
  run: (s: {
    member: FakeMember;
    clock: ManualClock;
    /** A request finds the dead connection that it is given. */
    late: () => Promise<void>;
    told: string[];
    failure: () => unknown;
    /** Time passes, so much at most, until it is so. */
    until: (what: string, isSo: () => boolean, withinMs?: number) => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  const member = new FakeMember(), clock = new ManualClock();
  const client = new EtcdClient({ kind: "etcd", endpoints: [member.url], tls: {} }, {
    patienceMs: PATIENCE,
    clock,
  });
  const read = () => client.call("/v3/kv/range", {});
  const abort = new AbortController();
  const told: string[] = [];
  let failure: unknown;
  const following = (async () => {
    const events: AsyncGenerator<WatchEvent> = watchRange(client, "/calico/", {
      from: 5n,
      signal: abort.signal,
      patienceMs: 60_000,
    });
    for await (const { key } of events) told.push(key);
  })().catch((error) => failure = error);
  const until = async (what: string, isSo: () => boolean, withinMs = 0) => {
    const end = clock.monotonicMs() + withinMs;
    for (const began = performance.now(); !isSo();) {
      assert(
        performance.now() - began < 20_000 && (withinMs === 0 || clock.monotonicMs() < end),
        what,
      );
      if (withinMs > 0) await clock.advance(20);
      else await settle();
    }
  };
  try {
    await read();
    await until("it watches", () => member.opened.length === 1);
    member.write("a");
    await until("a is told", () => told.length === 1);
    const late = async () => {
      await clock.advance(10);
      const lost = assert.rejects(read(), /no answer within 1000 ms/);
      await settle();
      await clock.advance(PATIENCE);
      await lost;
      // The next one is answered, by other connections.
      await read();
    };
    await run({ member, clock, late, told, failure: () => failure, until });
  } finally {
    abort.abort();
    client.close();
    await following;
    await member.stop();
  }
}

Deno.test("a stream of connections that died without a word is lost with them, whatever answers new ones", () =>
  scene(async ({ member, late, failure, until }) => {
    member.forget(true);
    await late();
    member.write("b");
    await until("the watch is lost", () => failure() !== undefined, 10_000);
    assert(failure() instanceof StoreError);
    assert.equal((failure() as StoreError).kind, "compacted");
    assert.match(String(failure()), /a request was not answered in time, and the watch beside it/);
  }));

Deno.test("a stream that speaks after a late request is alive: it goes on among the new connections", () =>
  scene(async ({ member, clock, late, told, failure, until }) => {
    member.forget(false);
    await late();
    member.write("b");
    await until("b is told", () => told.length === 2);
    await until("it is opened anew", () => member.opened.length === 2, 10_000);
    assert.deepEqual(member.opened, ["6", "8"], "behind what was told");
    member.write("c");
    await until("c is told", () => told.length === 3);
    await clock.advance(20_000);
    assert.deepEqual(told, ["/calico/a", "/calico/b", "/calico/c"]);
    assert.equal(member.opened.length, 2, "once");
    assert.equal(failure(), undefined);
  }));

/** In steps that leave a member the time to answer. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 200) await clock.advance(Math.min(left, 200));
}

/** Its data was put back from a copy, and others have written since. */
function overtake(member: FakeMember): void {
  member.revision += 300;
}

Deno.test("who did not run while the store may have been put back lists again, though nothing looks broken", () =>
  scene(async ({ member, clock, failure, until }) => {
    await pass(clock, 10_000);
    overtake(member);
    clock.leap(40_000);
    await until("the watch is lost", () => failure() !== undefined, 10_000);
    assert.equal((failure() as StoreError).kind, "compacted");
    assert.match(String(failure()), /this process did not run for \d+ ms or more/);
    assert.deepEqual(member.opened, ["6", "7"]);
  }));

Deno.test("a silent stream that ended while its member was asked is not taken for one that we closed", () =>
  scene(async ({ member, clock, failure, until }) => {
    await pass(clock, 28_000);
    assert.equal(member.opened.length, 1);
    overtake(member);
    member.endsWatches = true;
    await until("the watch is lost", () => failure() !== undefined, 10_000);
    assert.equal((failure() as StoreError).kind, "compacted");
    assert.match(String(failure()), /it ended the watch/);
  }));

Deno.test("a silent stream of a store that moves on is opened anew, and goes on", () =>
  scene(async ({ member, clock, told, failure, until }) => {
    overtake(member);
    await pass(clock, 29_000);
    assert.equal(member.opened.length, 1);
    await until("it is opened anew", () => member.opened.length === 2, 5000);
    member.write("b");
    await until("b is told", () => told.length === 2);
    await pass(clock, 20_000);
    assert.equal(failure(), undefined);
    assert.equal(member.opened.length, 2, "once");
  }));
