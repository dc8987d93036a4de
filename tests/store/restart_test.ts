/**
 * Several processes on one store through its socket, while the process that serves it is killed with
 * -9 and started again under them. No client may see any of it: no error, no write lost, none done
 * twice, no event missed or told twice.
 */
import assert from "node:assert/strict";
import { openKv } from "../../mod/store/kv.ts";
import { Child } from "./processes.ts";

const RESTARTS = 30;
const WRITERS = 4;

Deno.test(`kv: ${RESTARTS} times kill -9 of the server under ${WRITERS} writers and a watcher`, async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-restart-" });
  const file = `${folder}/store.kv`, socket = `${folder}/store.sock`;
  const children: Child[] = [];
  const start = (program: string, ...args: string[]) => {
    const child = new Child(program, ...args);
    children.push(child);
    return child;
  };
  const serve = async () => {
    const server = start("server_process.ts", file, socket);
    assert.equal(await server.next(), "serving");
    return server;
  };
  try {
    let server = await serve();
    const writers = Array.from(
      { length: WRITERS },
      (_, i) => start("client_process.ts", socket, "writer", `w${i}`),
    );
    const watcher = start("client_process.ts", socket, "watcher", "watcher");
    const said = writers.map((writer) => writer.rest());
    const told: string[] = [];
    const telling = (async () => {
      for (let line; (line = await watcher.next()) !== undefined;) told.push(line);
    })();
    for (let i = 0; i < RESTARTS; i++) {
      await pause(20 + Math.random() * 150);
      server.kill();
      server = await serve();
    }
    await pause(200);
    for (const writer of writers) assert.equal((await writer.ended()).code, 0, "a writer failed");
    const lines = (await Promise.all(said)).flat().map((line) => line.split(" "));
    const last = Math.max(...lines.map(([, , revision]) => Number(revision)));
    const end = Date.now() + 20_000;
    while (Number(told.at(-1)?.split(" ")[2] ?? 0) < last) {
      assert(Date.now() < end, `the watcher came to ${told.at(-1)}, the writers to ${last}`);
      await pause(20);
    }
    assert.equal((await watcher.ended()).code, 0, "the watcher failed");
    await telling;
    assert.equal((await server.ended()).code, 0, "the server failed");

    // Every acknowledged write is an event of its own revision, and there are no others.
    const acknowledged = lines.map(([what, key, revision]) =>
      `${what === "gone" ? "delete" : "put"} ${key} ${revision}`
    );
    assert.equal(new Set(acknowledged).size, acknowledged.length);
    const revisionOf = (line: string) => Number(line.split(" ")[2]);
    assert.deepEqual(told, acknowledged.toSorted((a, b) => revisionOf(a) - revisionOf(b)));
    told.forEach((line, i) => assert.equal(revisionOf(line), i + 2, "no gap, nothing twice"));
    const store = await openKv(file, { waitMs: 5000 });
    const { entries } = await store.list<number>("/");
    await store.close();
    const increments = lines.filter(([what]) => what === "inc");
    for (const { key, value } of entries) {
      assert.equal(value, increments.filter(([, counter]) => counter === key).length, key);
    }
    assert.equal(entries.length, 3);
    assert(lines.length > 10 * RESTARTS, `only ${lines.length} writes`);
    console.log(`${RESTARTS} restarts under ${lines.length} writes of ${WRITERS} processes`);
  } finally {
    for (const child of children) {
      child.kill();
      await child.rest();
      await child.ended();
    }
    await Deno.remove(folder, { recursive: true });
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
