import assert from "node:assert/strict";
import type { Connection } from "./connection.ts";
import { concat, encodeCniRequest, encodeWords, parseCniAnswer } from "./framing.ts";
import { call, RpcError, stream } from "./method.ts";
import { pipe } from "./pipe.ts";
import { RpcServer, type RpcServerOptions } from "./server.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const OPENING = "TORTIE1\0rpc\0\0";

/** All that comes until the other side sends no more. */
async function readAll(connection: Connection): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  try {
    for (let chunk; (chunk = await connection.read());) parts.push(chunk);
  } catch { /* Broken is an end too. */ }
  return concat(parts);
}

async function readLines(connection: Connection): Promise<any[]> {
  const text = new TextDecoder().decode(await readAll(connection));
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

/** The lines that come next, so many. */
async function nextLines(connection: Connection, count: number): Promise<any[]> {
  let text = "";
  while (text.split("\n").length <= count) {
    const chunk = await connection.read();
    assert(chunk, `the server ended after ${JSON.stringify(text)}`);
    text += new TextDecoder().decode(chunk);
  }
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

async function withServer(
  options: RpcServerOptions,
  run: (connect: (uid?: number) => Connection, server: RpcServer) => Promise<void>,
): Promise<void> {
  const server = new RpcServer(options);
  const clients: Connection[] = [];
  try {
    await run((uid) => {
      const [client, accepted] = pipe(uid);
      clients.push(client);
      server.accept(accepted);
      return client;
    }, server);
  } finally {
    for (const client of clients) client.close();
    await server.close();
    assert.equal(server.connections, 0);
  }
}

/** Says what it was asked, and keeps account of what is under way. */
function methods() {
  const state = { active: 0, disconnected: 0 };
  return {
    state,
    table: {
      echo: call((params, { peerUid }) => ({ params, peerUid })),
      later: call(async (_params, { signal }) => {
        state.active++;
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        state.active--;
        return "given up";
      }),
      refuse: call(() => {
        throw new RpcError("denied", "not for you", { why: 1 });
      }),
      bug: call(() => {
        throw new TypeError("a bug");
      }),
      ticks: stream(async function* (params, { signal, onDisconnect }) {
        state.active++;
        onDisconnect(() => state.disconnected++);
        try {
          const { count } = params as { count: number };
          for (let i = 0; i < count && !signal.aborted; i++) yield i;
        } finally {
          state.active--;
        }
      }),
      quiet: stream(async function* (_params, { signal }) {
        state.active++;
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        state.active--;
        yield "too late";
      }),
    },
  };
}

Deno.test("calls are answered under their ids, in any order", async () => {
  await withServer({ methods: methods().table }, async (connect) => {
    const client = connect(1000);
    await client.write(bytes(
      OPENING + '{"id":1,"method":"echo","params":{"a":[1]}}\n{"id":2,"method":"refuse"}\n\n' +
        '{"id":3,"method":"bug"}\n{"id":4,"method":"nothing"}\n{"id":5,"method":"constructor"}\n' +
        '{"id":6,"method":"__proto__"}\n',
    ));
    await client.closeWrite();
    const lines = await readLines(client);
    const byId = Object.fromEntries(lines.map((line) => [line.id, line]));
    assert.deepEqual(byId[1].result, { params: { a: [1] }, peerUid: 1000 });
    assert.deepEqual(byId[2].error, { kind: "denied", message: "not for you", detail: { why: 1 } });
    assert.equal(byId[3].error.kind, "internal");
    for (const id of [4, 5, 6]) assert.equal(byId[id].error.kind, "unknownMethod");
    assert.equal(lines.length, 6);
  });
});

Deno.test("bugs of methods are reported to whoever runs the server", async () => {
  const reported: [string, unknown][] = [];
  const onInternalError = (method: string, error: unknown) => reported.push([method, error]);
  await withServer({ methods: methods().table, onInternalError }, async (connect) => {
    const client = connect();
    await client.write(bytes(OPENING + '{"id":1,"method":"bug"}\n{"id":2,"method":"refuse"}\n'));
    await nextLines(client, 2);
  });
  assert.deepEqual(reported.map(([method]) => method), ["bug"]);
});

Deno.test("garbage ends the conversation with a reason, and nothing else", async () => {
  const garbage = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TORTIE1\0shell\0\0",
    "TORTIE1\0\0",
    OPENING + "not json\n",
    OPENING + "[1,2]\n",
    OPENING + "null\n",
    OPENING + '{"id":"one","method":"echo"}\n',
    OPENING + '{"id":1}\n',
    OPENING + '{"id":-1,"method":"echo"}\n',
    OPENING + '{"id":1,"method":"later"}\n{"id":1,"method":"later"}\n',
    OPENING + '{"id":1,"method":"ticks","window":0}\n',
    OPENING + "\xff\n",
    OPENING + "x".repeat(2000),
    "TORTIE1\0cni\0\0",
    "TORTIE1\0cni\0tortie\0NOT A VARIABLE\0\0",
  ];
  for (const text of garbage) {
    const { state, table } = methods();
    await withServer({ methods: table, maxLineBytes: 1000 }, async (connect, server) => {
      const bystander = connect();
      await bystander.write(bytes(OPENING));
      const client = connect();
      await client.write(Uint8Array.from(text, (c) => c.charCodeAt(0)));
      if (text.includes("cni")) await client.closeWrite();
      const answer = new TextDecoder().decode(await readAll(client));
      if (text.includes("cni")) {
        const { exit, body } = parseCniAnswer(bytes(answer));
        assert.equal(exit, 1);
        assert.equal(JSON.parse(new TextDecoder().decode(body)).code, 6);
      } else {
        const last = JSON.parse(answer.trim().split("\n").at(-1)!);
        assert.equal(last.id, null, text);
        assert.equal(last.error.kind, "protocol", text);
      }
      await bystander.write(bytes('{"id":9,"method":"echo"}\n'));
      assert.equal((await nextLines(bystander, 1))[0].id, 9);
      assert.equal(server.connections, 1);
    });
    assert.equal(state.active, 0);
  }
});

Deno.test("half requests and sudden ends leave nothing behind", async () => {
  const starts = [
    "",
    "TORT",
    OPENING,
    OPENING + '{"id":1,"meth',
    OPENING + '{"id":1,"method":"later"}\n',
    OPENING + '{"id":1,"method":"quiet"}\n',
    OPENING + '{"id":1,"method":"ticks","params":{"count":1e9}}\n',
    OPENING + '{"id":1,"method":"ticks","params":{"count":1e9},"window":1}\n',
    "TORTIE1\0cni\0tortie\0CNI_COMMAND=ADD\0\0{",
  ];
  for (const text of starts) {
    for (const end of ["close", "half"] as const) {
      const { state, table } = methods();
      const cni = () => Promise.resolve({ exit: 0, body: "{}" });
      await withServer({ methods: table, cni }, async (connect, server) => {
        const client = connect();
        await client.write(bytes(text));
        for (let i = 0; i < 20; i++) await Promise.resolve();
        if (end === "close") client.close();
        else await client.closeWrite();
        if (end === "half") await readAll(client);
        while (server.connections > 0) await new Promise((resolve) => setTimeout(resolve, 1));
        assert.equal(state.active, 0, text);
      });
      assert.equal(state.active, 0, text);
    }
  }
});

Deno.test("a client that says nothing is not waited for", async () => {
  await withServer({ methods: {}, openingMs: 20 }, async (connect, server) => {
    const silent = connect(), half = connect();
    await half.write(bytes("TORTIE1\0cni\0tortie\0\0"));
    await readAll(silent);
    await readAll(half);
    while (server.connections > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  });
});

Deno.test("a flood of requests that nobody reads the answers of is not taken in", async () => {
  let answered = 0;
  const big = "x".repeat(10_000);
  const table = { big: call(() => (answered++, big)) };
  await withServer({ methods: table }, async (connect) => {
    const client = connect();
    await client.write(bytes(OPENING));
    let sent = 0, stuck = false;
    const flood = (async () => {
      for (; sent < 5000; sent++) {
        await client.write(bytes(`{"id":${sent},"method":"big","params":"${"y".repeat(100)}"}\n`));
      }
    })().catch(() => {});
    for (let last = -1; last !== sent;) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    stuck = sent < 5000;
    assert(stuck, "the server must stop reading");
    assert(answered < 2000, `${answered} answers of 10 kB are held`);
    // It is read on as soon as the answers are.
    let lines = 0;
    while (lines < 5000) {
      for (const byte of (await client.read())!) if (byte === 10) lines++;
    }
    await flood;
    assert.equal(answered, 5000);
  });
});

Deno.test("more requests at once than are allowed are refused as busy", async () => {
  const { table, state } = methods();
  await withServer({ methods: table, maxConcurrent: 3 }, async (connect) => {
    const client = connect();
    const begin = (id: number) => bytes(`{"id":${id},"method":"later"}\n`);
    await client.write(concat([encodeWords(["rpc"]), begin(1), begin(2), begin(3), begin(4)]));
    const [refused] = await nextLines(client, 1);
    assert.equal(refused.id, 4);
    assert.equal(refused.error.kind, "busy");
    assert.equal(state.active, 3);
    await client.write(bytes('{"id":2,"cancel":true}\n'));
    assert.deepEqual(await nextLines(client, 1), [{ id: 2, result: "given up" }]);
    await client.write(begin(5));
    await client.write(bytes('{"id":77,"cancel":true}\n{"id":78,"credit":5}\n'));
    await client.write(bytes('{"id":6,"method":"echo"}\n'));
    assert.equal((await nextLines(client, 1))[0].error.kind, "busy");
    assert.equal(state.active, 3);
  });
  assert.equal(state.active, 0);
});

Deno.test("a stream sends what the window allows, and more with credit", async () => {
  const { table } = methods();
  await withServer({ methods: table }, async (connect) => {
    const client = connect();
    await client.write(bytes(
      OPENING + '{"id":1,"method":"ticks","params":{"count":10},"window":4}\n',
    ));
    assert.deepEqual((await nextLines(client, 4)).map((line) => line.event), [0, 1, 2, 3]);
    // Another conversation goes on beside the waiting stream.
    await client.write(bytes('{"id":2,"method":"echo"}\n'));
    assert.equal((await nextLines(client, 1))[0].id, 2);
    await client.write(bytes('{"id":1,"credit":2}\n'));
    assert.deepEqual((await nextLines(client, 2)).map((line) => line.event), [4, 5]);
    await client.write(bytes('{"id":1,"credit":100}\n'));
    assert.deepEqual(await nextLines(client, 5), [
      ...[6, 7, 8, 9].map((event) => ({ id: 1, event })),
      { id: 1, end: true },
    ]);
  });
});

Deno.test("a CNI request has one answer", async () => {
  const seen: unknown[] = [];
  await withServer({
    methods: {},
    cni: async ({ argv0, env, stdin }, { peerUid }) => {
      seen.push({ argv0, env, stdin: new TextDecoder().decode(stdin), peerUid });
      return { exit: 7, body: "é" };
    },
  }, async (connect) => {
    const client = connect(0);
    const request = encodeCniRequest({
      argv0: "tortie",
      env: { CNI_COMMAND: "ADD" },
      stdin: bytes("{}".repeat(100_000)),
    });
    for (let at = 0; at < request.length; at += 30_000) {
      await client.write(request.subarray(at, at + 30_000));
    }
    await client.closeWrite();
    assert.deepEqual(parseCniAnswer(await readAll(client)), { exit: 7, body: bytes("é") });
  });
  assert.deepEqual(seen, [{
    argv0: "tortie",
    env: { CNI_COMMAND: "ADD" },
    stdin: "{}".repeat(100_000),
    peerUid: 0,
  }]);
});

Deno.test("a CNI request of more than a mebibyte is refused when it has been heard out", async () => {
  const cni = () => Promise.reject(new Error("it must not come so far"));
  await withServer({ methods: {}, cni }, async (connect) => {
    const client = connect();
    const request = { argv0: "tortie", env: {}, stdin: new Uint8Array(3 * 1024 * 1024) };
    const writing = client.write(encodeCniRequest(request)).then(() => client.closeWrite());
    const { exit, body } = parseCniAnswer(await readAll(client));
    await writing;
    assert.equal(exit, 1);
    assert.match(new TextDecoder().decode(body), /"code":6.*1048576/);
  });
});
