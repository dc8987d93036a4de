import assert from "node:assert/strict";
import { makeHttpClient, proxyWords } from "./http_client.ts";
import { serveHttp } from "../node/http_server.ts";

const NAMES = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

async function within(env: Record<string, string>, run: () => Promise<void>): Promise<void> {
  const names = [...NAMES, "NO_PROXY", "no_proxy"];
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  try {
    for (const name of names) Deno.env.delete(name);
    for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
    await run();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

Deno.test("this machine is spoken to directly, others through the environment's proxy", async () => {
  const at = { port: 0, hostname: "127.0.0.1" };
  const server = serveHttp(at, () => new Response("direct"));
  const proxy = serveHttp(at, ({ url }) => new Response(`proxied ${new URL(url).hostname}`));
  const own = `http://127.0.0.1:${server.port}/`;
  const named = { HTTP_PROXY: `http://me:secret@127.0.0.1:${proxy.port}`, NO_PROXY: "a.b" };
  await within(named, async () => {
    const client = makeHttpClient({ http2: false });
    const get = async (url: string) => await (await fetch(url, { client })).text();
    assert.equal(await get(own), "direct");
    assert.equal(await get(own.replace("127.0.0.1", "localhost")), "direct");
    assert.equal(await get("http://etcd.example/"), "proxied etcd.example");
    assert.equal(Deno.env.get("NO_PROXY"), "a.b");
    assert.equal(Deno.env.get("no_proxy"), undefined);
    assert.equal(proxyWords(own), "");
    const words = proxyWords("http://etcd.example:2379");
    assert.match(words, /HTTP_PROXY names the proxy 127\.0\.0\.1:\d+.*NO_PROXY/);
    assert(!words.includes("secret"));
    assert.equal(proxyWords("https://etcd.example:2379"), "");
    client.close();
  });
  await server.close();
  await proxy.close();
});
