/**
 * Fills the small disk that is mounted at the folder with a store's file, makes room, goes on and
 * opens the file again. Says each step as a line of JSON. The folder holds a file `ballast`.
 *
 *     deno run -A --unstable-kv full_disk_process.ts <folder>
 */
import { openKv } from "../../mod/store/kv.ts";
import type { StoreError } from "../../mod/store/store.ts";

const [folder] = Deno.args;
let store = await openKv(`${folder}/store.kv`);
const outcome = (promise: Promise<string>) =>
  promise.catch((error: StoreError) => ({ kind: error.kind, message: error.message }));

let acknowledged = 0, refusal: unknown;
while (typeof refusal !== "object" && acknowledged < 10_000) {
  refusal = await outcome(store.put(`/k/${acknowledged}`, "x".repeat(5000)));
  if (typeof refusal === "string") acknowledged++;
}
const whileFull = (await store.list("/k/")).entries.length;
const largeWhileFull = await outcome(store.put("/large", "x".repeat(1_000_000)));
await Deno.remove(`${folder}/ballast`);
const afterwards = await outcome(store.put("/after", 1));
const large = await outcome(store.put("/large", "y".repeat(1_000_000)));
await store.close();
store = await openKv(`${folder}/store.kv`);
const reopened = (await store.list("/k/")).entries.length;
const largeReopened = (await store.get<string>("/large"))?.value.length;
await store.close();
console.log(JSON.stringify({
  ...{ acknowledged, refusal, whileFull, largeWhileFull, afterwards, large },
  ...{ reopened, largeReopened },
}));
