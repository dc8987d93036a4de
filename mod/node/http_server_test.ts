import assert from "node:assert/strict";
import { serveHttp } from "./http_server.ts";

const AT = { hostname: "127.0.0.1", port: 0 };

async function ask(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  return connection;
}

Deno.test("a server ends although a request is not answered, and its client hears of it", async () => {
  let asked = () => {}, answer = () => {};
  const hasAsked = new Promise<void>((resolve) => asked = resolve);
  const server = serveHttp(AT, async () => {
    asked();
    await new Promise<void>((resolve) => answer = resolve);
    return new Response("late");
  });
  using connection = await ask(server.port);
  await hasAsked;
  await server.close();
  assert.equal(await connection.read(new Uint8Array(100)), null);
  answer();
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port: server.port }));
});

Deno.test("who is about to be answered is waited for", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let ended = false;
  const server = serveHttp(AT, async () => {
    resolve();
    await new Promise((done) => setTimeout(done, 50));
    ended = true;
    return new Response("late");
  });
  using _connection = await ask(server.port);
  await promise;
  await server.close();
  assert(ended);
});

Deno.test("a server ends although an answer has no end", async () => {
  const server = serveHttp(AT, () =>
    new Response(
      new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode("a")) }),
    ));
  using connection = await ask(server.port);
  await connection.read(new Uint8Array(1000));
  await server.close();
});

Deno.test("what a handler throws is an answer of 500", async () => {
  const server = serveHttp(AT, () => {
    throw new Error("no reason");
  });
  const answer = await fetch(`http://127.0.0.1:${server.port}/`);
  assert.deepEqual([answer.status, await answer.text()], [500, "no reason\n"]);
  await server.close();
});
