import { checkClusters } from "../../mod/ipam/testing/clusters.ts";

Deno.test("20,000 random clusters of IPAM processes that race, collide and crash", async () => {
  await checkClusters(20_000);
});
