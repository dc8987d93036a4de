import { storeConformance } from "./conformance.ts";
import { openKv } from "./kv.ts";
import { forgetHistory, SMALL_LOG } from "./testing.ts";

storeConformance("kv", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kv-" });
  const open = () => openKv(`${folder}/store.kv`, { log: SMALL_LOG });
  let store = await open();
  return {
    store,
    compact: () => forgetHistory(store),
    reopen: async () => store = await open(),
    close: async () => {
      await store.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}, { has: ["reopen"] });
