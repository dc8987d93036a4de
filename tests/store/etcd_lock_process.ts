/** Sets datastoreReady of the datastore that the environment names: `true` or `false`. */
import { clusterInformationKind } from "../../mod/model/cluster_information.ts";
import { locationFromEnvironment } from "../../mod/store/location.ts";
import { openDatastore } from "../../mod/store/open.ts";
import { Resources } from "../../mod/store/resources.ts";

const store = await openDatastore(locationFromEnvironment((name) => Deno.env.get(name))!);
await new Resources(store).modify(clusterInformationKind, "default", undefined, (cluster) => ({
  ...cluster,
  spec: { ...cluster.spec, datastoreReady: Deno.args[0] === "true" },
}));
await store.close();
