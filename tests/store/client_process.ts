/**
 * A process that uses a served store until its standard input ends. As `writer` it increments shared
 * counters by compare-and-swap and makes and deletes objects of its own, and says
 *
 *     inc <counter> <revision>     make <key> <revision>     gone <key> <revision>
 *
 * for each acknowledged write; as `watcher` it says `put <key> <revision>` or `delete <key>
 * <revision>` for each event after revision 1: a watch that ends since another process has opened the
 * store is begun anew from its last event. Any other trouble but a conflict ends it with exit code 1.
 *
 *     deno run -A client_process.ts <socket> writer|watcher <name>
 */
import { remoteStore } from "../../mod/store/remote.ts";
import { StoreError } from "../../mod/store/store.ts";

const [socket, role, name] = Deno.args;
const store = remoteStore(socket, { patienceMs: 15_000 });
const over = new AbortController();
const input = (async () => {
  for await (const _ of Deno.stdin.readable);
  over.abort();
})();

function say(text: string): void {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

async function increment(counter: string): Promise<void> {
  for (;;) {
    const current = await store.get<number>(counter);
    try {
      const revision = current
        ? await store.update(counter, current.value + 1, current.revision)
        : await store.create(counter, 1);
      return say(`inc ${counter} ${revision}`);
    } catch (error) {
      if (!(error instanceof StoreError) || !/conflict|exists/.test(error.kind)) throw error;
    }
  }
}

async function makeAndDelete(key: string): Promise<void> {
  const revision = await store.create(key, { name, pad: "x".repeat(300) });
  say(`make ${key} ${revision}`);
  say(`gone ${key} ${await store.delete(key, revision)}`);
}

if (role === "writer") {
  await Promise.all([0, 1, 2, 3].map(async (lane) => {
    for (let i = 0; !over.signal.aborted; i++) {
      if (lane < 2) await increment(`/counter/${(lane + i) % 3}`);
      else await makeAndDelete(`/own/${name}/${lane}/${i}`);
    }
  }));
} else {
  for (let from = "1"; !over.signal.aborted;) {
    try {
      for await (const event of store.watch("/", { from, signal: over.signal })) {
        from = event.revision;
        say(`${event.type} ${event.key} ${event.revision}`);
      }
    } catch (error) {
      const reopened = error instanceof StoreError && /opened again/.test(error.message);
      if (!reopened) throw error;
    }
  }
}
await input;
await store.close();
