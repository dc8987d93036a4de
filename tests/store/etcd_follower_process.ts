/**
 * A process that follows an etcd until its standard input ends. It says what it is told, one a line:
 *
 *     put <key>     delete <key>     synced <epoch>
 *
 *     deno run -A etcd_follower_process.ts <endpoint> <prefix>
 */
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { follow } from "../../mod/store/follow.ts";

const [endpoint, prefix] = Deno.args;
const store = await openEtcd({ kind: "etcd", endpoints: [endpoint], tls: {} });
const over = new AbortController();
const input = (async () => {
  for await (const _ of Deno.stdin.readable);
  over.abort();
})();

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

await follow(store, prefix, {
  put: ({ key }) => say(`put ${key}`),
  delete: (key) => say(`delete ${key}`),
  synced: () => say(`synced ${store.epoch}`),
}, { signal: over.signal });
await input;
await store.close();
