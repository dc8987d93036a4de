import { checkClusters, checkTurns } from "../../mod/ipam/testing/clusters.ts";

Deno.test("any cluster, any order, any crash: nothing given twice, lost or leaked", async () => {
  await checkClusters(250);
});

Deno.test("any cluster, one call at a time: nobody is refused what is free", async () => {
  await checkTurns(300);
});
