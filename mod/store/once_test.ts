import assert from "node:assert/strict";
import { Relay } from "../../tests/store/relay.ts";
import { sentOnce } from "./once.ts";
import { serveHttp } from "../node/http_server.ts";

Deno.test("a request whose answer is lost was sent once, and its sender hears of it", async () => {
  const got: string[] = [];
  const server = serveHttp({ port: 0, hostname: "127.0.0.1" }, async (request) => {
    got.push(await request.text());
    return new Response("done");
  });
  const local = { transport: "tcp", hostname: "127.0.0.1" } as const;
  const relay = new Relay({ ...local, port: 0 }, { ...local, port: server.port });
  const client = Deno.createHttpClient({ http2: false });
  const post = async (text: string) => {
    const url = `http://127.0.0.1:${relay.port}/`;
    return await (await fetch(url, { method: "POST", body: sentOnce(text), client })).text();
  };
  try {
    assert.equal(await post("a"), "done");
    relay.breakConnection("answer");
    await assert.rejects(post("ß"), /connection closed|reset|broke/);
    assert.equal(await post("c"), "done");
    assert.deepEqual(got, ["a", "ß", "c"]);
  } finally {
    client.close();
    relay.close();
    await server.close();
  }
});
