/**
 * Writes to the datastore that its environment names, from a process beside it:
 *
 *     deno run -A fill_process.ts node NAME            a node of Kubernetes
 *     deno run -A fill_process.ts put FROM TO ROUND    endpoints
 */
import { makeNode, openFrom, putEndpoints } from "./datastores.ts";

const store = await openFrom(Deno.env.toObject());
const [mode, ...rest] = Deno.args;
if (mode === "node") await makeNode(store, rest[0]);
else {
  const [from, to, round] = rest.map(Number);
  await putEndpoints(store, from, to, round);
}
await store.close();
