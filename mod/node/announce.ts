/**
 * What this node tells its BGP peers, as Calico's confd and its BIRD filters have it (calico_aggr,
 * calico_export_to_bgp_peers):
 *
 *   each block whose affinity is confirmed and ours           one aggregate
 *   each address of a local endpoint outside those blocks     a /32 or /128: borrowed or fixed
 *                                                             addresses, and blocks of one address
 *
 * and of these only what lies in a pool that is exported (disabled pools are, `disableBGPExport` ones
 * are not). A pending affinity is nobody's yet and is not announced. Pure.
 */
import type { LocalRoute } from "../../bgp/config.ts";
import { addressBits, formatPrefix, type Prefix, prefixCovers, prefixFamily } from "../net/mod.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import type { ClusterState } from "./state.ts";
import { poolFinder } from "./vxlan_plan.ts";

/** Routes of our own, without doubles. */
export function localRoutes(state: ClusterState): LocalRoute[] {
  const poolOf = poolFinder(state.poolPrefixes());
  const exported = (prefix: Prefix) => {
    const pool = poolOf(prefix);
    return pool !== undefined && !pool.spec.disableBGPExport;
  };
  const whole = (prefix: Prefix) => prefix.length === addressBits(prefixFamily(prefix));
  const blocks = state.ownBlocks().filter((block) => !whole(block));
  const routes = new Map<string, LocalRoute>();
  for (const prefix of blocks) {
    if (exported(prefix)) routes.set(formatPrefix(prefix), { prefix, tag: "block" });
  }
  const inBlocks = (prefix: Prefix) => {
    for (const block of blocks) if (prefixCovers(block, prefix)) return true;
    return false;
  };
  // Nearly all of thousands lie in blocks: none of them leaves garbage.
  state.endpoints.forEach((endpoint) => {
    for (const prefix of endpointFacts(endpoint).prefixes) {
      if (inBlocks(prefix) || !exported(prefix)) continue;
      routes.set(formatPrefix(prefix), { prefix, tag: "endpoint" });
    }
  });
  return [...routes.values()];
}
