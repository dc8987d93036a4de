/**
 * A process that owns a kv file and serves it at a Unix socket until it is killed or its standard
 * input ends. Says `serving` when it does.
 *
 *     deno run -A --unstable-kv server_process.ts <file> <socket>
 */
import { listenUnix } from "../../ffi/unix.ts";
import { RpcServer } from "../../mod/rpc/server.ts";
import { openKv } from "../../mod/store/kv.ts";
import { serveStore } from "../../mod/store/serve.ts";

const [path, socket] = Deno.args;
const store = await openKv(path, { socket, waitMs: 10_000, log: { entries: 100_000 } });
const server = new RpcServer({
  methods: serveStore(store),
  onInternalError: (method, error) => console.error("internal error in", method, error),
});
const listener = listenUnix(socket, (stream) => {
  server.accept(stream);
});
Deno.stdout.writeSync(new TextEncoder().encode("serving\n"));
for await (const _ of Deno.stdin.readable);
listener.close();
await server.close();
await store.close();
