/**
 * A node that goes by the datastore alone, and shares no kernel with the others: assigns an address of each
 * family for so many containers, and prints them, a line for each container. In the network namespace of the
 * datastore that the environment says.
 */
import { Ipam } from "../../mod/ipam/ipam.ts";
import { NODES, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { locationFromEnvironment } from "../../mod/store/location.ts";
import { openDatastore } from "../../mod/store/open.ts";
import { remoteStore } from "../../mod/store/remote.ts";

const [host, count] = Deno.args;
const socket = Deno.env.get("TORTIE_STORE");
const store = socket
  ? remoteStore(socket)
  : await openDatastore(locationFromEnvironment((name) => Deno.env.get(name))!);
await store.put(resourceKey(NODES, host), { metadata: { name: host } });
const ipam = new Ipam(store);
for (let i = 0; i < Number(count); i++) {
  const request = { num4: 1, num6: 1, host, handle: `net.${host}-${i}`, use: "Workload" } as const;
  console.log(texts(await ipam.assign({ ...request, attributes: { node: host } })).join(" "));
}
await store.close();
