import assert from "node:assert/strict";
import { RpcClient } from "./client.ts";
import type { Connection } from "./connection.ts";
import { call, RpcDisconnected, RpcError, stream } from "./method.ts";
import { pipe } from "./pipe.ts";
import { RpcServer } from "./server.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

async function withClient(
  run: (client: RpcClient, state: { active: number }, server: Connection) => Promise<void>,
): Promise<void> {
  const state = { active: 0 };
  const server = new RpcServer({
    methods: {
      add: call((params) => {
        const { a, b } = params as { a: number; b: number };
        return a + b;
      }),
      refuse: call(() => {
        throw new RpcError("conflict", "no", { current: 1 });
      }),
      later: call(async (_params, { signal }) => {
        state.active++;
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        state.active--;
      }),
      count: stream(async function* (params) {
        state.active++;
        try {
          const { to, fail } = params as { to: number; fail?: boolean };
          for (let i = 0; i < to; i++) yield { i, pad: "x".repeat(1000) };
          if (fail) throw new RpcError("compacted", "too old");
        } finally {
          state.active--;
        }
      }),
    },
  });
  const [mine, accepted] = pipe();
  const served = server.accept(accepted);
  const client = new RpcClient(mine);
  try {
    await run(client, state, accepted);
  } finally {
    await client.close();
    await served;
    await server.close();
    assert.equal(state.active, 0);
  }
}

Deno.test("calls and streams of one connection run side by side", async () => {
  await withClient(async (client) => {
    const results: unknown[] = [];
    await Promise.all([
      ...Array.from(
        { length: 200 },
        (_, i) => client.call("add", { a: i, b: 1 }).then((sum) => results.push(sum)),
      ),
      ...Array.from({ length: 5 }, async () => {
        let next = 0;
        for await (const event of client.stream("count", { to: 300 })) {
          assert.equal((event as { i: number }).i, next++);
        }
        assert.equal(next, 300);
      }),
    ]);
    assert.equal(results.length, 200);
    await assert.rejects(
      client.call("refuse"),
      (error: RpcError) => error.kind === "conflict" && (error.detail as any).current === 1,
    );
    await assert.rejects(async () => {
      for await (const _ of client.stream("count", { to: 2, fail: true }));
    }, (error: RpcError) => error.kind === "compacted");
  });
});

Deno.test("what is given up ends on the server too", async () => {
  await withClient(async (client, state) => {
    const abort = new AbortController();
    const later = client.call("later", {}, { signal: abort.signal });
    await client.call("add", { a: 1, b: 1 });
    assert.equal(state.active, 1);
    abort.abort(new Error("enough"));
    await assert.rejects(later, /enough/);
    await client.call("add", { a: 1, b: 1 });
    assert.equal(state.active, 0);

    for await (const event of client.stream("count", { to: 1e9 })) {
      if ((event as { i: number }).i === 50) break;
    }
    const stop = new AbortController();
    let seen = 0;
    for await (const _ of client.stream("count", { to: 1e9 }, { signal: stop.signal })) {
      if (++seen === 20) stop.abort();
    }
    assert.equal(seen, 20);
    await client.call("add", { a: 1, b: 1 });
    assert.equal(state.active, 0);
    await assert.rejects(
      client.call("add", {}, { signal: AbortSignal.abort(new Error("before")) }),
    );
  });
});

Deno.test("who stops at the last event of a stream has nothing to cancel", async () => {
  const [mine, server] = pipe();
  const client = new RpcClient(mine);
  const sent: string[] = [];
  const next = async () => {
    const text = new TextDecoder().decode(await server.read());
    sent.push(...text.split("\n").filter((line) => line.startsWith("{")));
  };
  const first = async (isLast?: (event: unknown) => boolean) => {
    const events = client.stream("count", {}, { isLast });
    const event = events.next();
    while (!sent.at(-1)?.includes("count")) await next();
    const { id } = JSON.parse(sent.at(-1)!);
    await server.write(bytes(`{"id":${id},"event":"end"}\n`));
    assert.equal((await event).value, "end");
    await events.return();
    const answer = client.call("add");
    sent.length = 0;
    while (!sent.at(-1)?.includes("add")) await next();
    // An end that comes then is nobody's.
    await server.write(bytes(`{"id":${id},"end":true}\n{"id":${id + 1},"result":1}\n`));
    assert.equal(await answer, 1);
    return sent.splice(0).map((line) => "cancel" in JSON.parse(line));
  };
  assert.deepEqual(await first(), [true, false]);
  assert.deepEqual(await first((event) => event === "more"), [true, false]);
  assert.deepEqual(await first((event) => event === "end"), [false]);
  await client.close();
  server.close();
});

Deno.test("a reader that is slow does not make the server send more than its window", async () => {
  await withClient(async (client) => {
    const slow = client.stream("count", { to: 100 }, { window: 4 });
    assert.equal(((await slow.next()).value as { i: number }).i, 0);
    for (let i = 0; i < 50; i++) assert.equal(await client.call("add", { a: i, b: 0 }), i);
    let last = 0;
    for await (const event of slow) last = (event as { i: number }).i;
    assert.equal(last, 99);
  });
});

Deno.test("a lost connection is told to all, with what is known of their requests", async () => {
  await withClient(async (client, _state, server) => {
    const later = client.call("later");
    const events = client.stream("count", { to: 1e9 }, { window: 2 });
    await events.next();
    await client.call("add", { a: 1, b: 1 });
    server.close();
    await assert.rejects(later, (error: RpcDisconnected) => error.sent);
    await assert.rejects(async () => {
      for await (const _ of events);
    }, RpcDisconnected);
    await client.ended();
    assert.equal(client.alive, false);
    await assert.rejects(client.call("add"), (error: RpcDisconnected) => !error.sent);
    await assert.rejects(client.stream("count").next(), RpcDisconnected);
  });
});

Deno.test("a request that never left was not sent", async () => {
  const [mine, theirs] = pipe();
  const client = new RpcClient({
    ...mine,
    write: () => Promise.reject(new Error("no route")),
  });
  await assert.rejects(client.call("add"), RpcDisconnected);
  const second = new RpcClient(pipe()[0]);
  const pending = second.call("add");
  const closing = second.close();
  await assert.rejects(pending, (error: RpcDisconnected) => !error.sent);
  await closing;
  await client.close();
  theirs.close();
});

Deno.test("a server that talks nonsense is left", async () => {
  for (
    const nonsense of ["hello\n", "{}\n", '{"id":1}\n', '{"id":1,"error":"x"}\n', "\xff\xfe\n"]
  ) {
    const [mine, theirs] = pipe();
    const client = new RpcClient(mine);
    const pending = client.call("add");
    await theirs.read();
    await theirs.write(Uint8Array.from(nonsense, (c) => c.charCodeAt(0)));
    await assert.rejects(pending, RpcDisconnected, nonsense);
    await client.close();
  }
});

Deno.test("answers to nobody are dropped, a protocol error says why", async () => {
  const [mine, theirs] = pipe();
  const client = new RpcClient(mine);
  const pending = client.call("add");
  await theirs.read();
  await theirs.write(bytes('{"id":99,"result":1}\n{"id":1,"result":2}\n'));
  assert.equal(await pending, 2);
  const next = client.call("add");
  await theirs.write(
    bytes('{"id":null,"error":{"kind":"protocol","message":"that was no JSON"}}\n'),
  );
  await assert.rejects(next, /that was no JSON/);
  await client.close();
});
