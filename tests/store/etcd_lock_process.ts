/**
 * Sets datastoreReady of the datastore that the environment names: `true` or `false`; or takes
 * ClusterInformation away: `gone`.
 */
import { clusterInformationKind } from "../../mod/model/cluster_information.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { locationFromEnvironment } from "../../mod/store/location.ts";
import { openDatastore } from "../../mod/store/open.ts";
import { Resources } from "../../mod/store/resources.ts";

const store = await openDatastore(locationFromEnvironment((name) => Deno.env.get(name))!);
const [wish] = Deno.args;
if (wish === "gone") await store.delete(resourceKey(clusterInformationKind, "default"));
else {
  const resources = new Resources(store);
  await resources.ensureInitialized();
  await resources.modify(clusterInformationKind, "default", undefined, (cluster) => ({
    ...cluster,
    spec: { ...cluster.spec, datastoreReady: wish === "true" },
  }));
}
await store.close();
