/** The conformance suite on a kv file that another part of the program serves at its socket. */
import { denoConnection } from "../../mod/rpc/connect.ts";
import { RpcServer } from "../../mod/rpc/server.ts";
import { storeConformance } from "../../mod/store/conformance.ts";
import { openKv } from "../../mod/store/kv.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { serveStore } from "../../mod/store/serve.ts";
import { forgetHistory, SMALL_LOG } from "../../mod/store/testing.ts";
import type { Store } from "../../mod/store/store.ts";
import { Relay } from "./relay.ts";

storeConformance("kv at a socket", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kv-" });
  const [path, broken] = [`${folder}/tortie.sock`, `${folder}/relay.sock`];
  const serve = async () => {
    const store = await openKv(`${folder}/store.kv`, { log: SMALL_LOG });
    const server = new RpcServer({ methods: serveStore(store) });
    const listener = Deno.listen({ transport: "unix", path });
    (async () => {
      for await (const conn of listener) server.accept(denoConnection(conn));
    })().catch(() => {}); // closed
    return {
      store,
      async close() {
        listener.close();
        await server.close();
        await store.close();
        await Deno.remove(path).catch(() => {}); // gone with the listener
      },
    };
  };
  let served = await serve();
  const relay = new Relay({ transport: "unix", path: broken }, { transport: "unix", path });
  const open = () => remoteStore(broken, { patienceMs: 5000 });
  const opened = [open()];
  return {
    store: opened[0],
    compact: () => forgetHistory(served.store),
    breakConnection: (when: "now" | "answer") => relay.breakConnection(when),
    outage: async () => {
      await relay.goAway();
      return () => Promise.resolve(relay.comeBack());
    },
    async backUp() {
      const names = ["store.kv", "store.kv-wal", "store.kv-shm"];
      await served.close();
      const copies = names.map((name) => Deno.readFile(`${folder}/${name}`).catch(() => undefined));
      const files = await Promise.all(copies);
      served = await serve();
      return async (others: (store: Store) => Promise<void>) => {
        await relay.goAway();
        await served.close();
        for (const [i, name] of names.entries()) {
          const path = `${folder}/${name}`;
          if (files[i]) await Deno.writeFile(path, files[i]);
          else await Deno.remove(path).catch(() => {}); // not there
        }
        served = await serve();
        const other = remoteStore(path);
        await others(other);
        await other.close();
        relay.comeBack();
      };
    },
    async reopen() {
      await served.close();
      served = await serve();
      opened.push(open());
      return opened.at(-1)!;
    },
    async close() {
      for (const store of opened) await store.close();
      relay.close();
      await served.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}, { has: ["breakConnection", "outage", "backUp", "reopen", "knownOutcome"] });
