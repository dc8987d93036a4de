import { checkClusters } from "./testing/clusters.ts";

Deno.test("any cluster, any order, any crash: nothing given twice, lost or leaked", async () => {
  await checkClusters(400);
});
