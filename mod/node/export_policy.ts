/**
 * What may be told to BGP peers at all (Calico's `calico_export_to_bgp_peers` and `calico_aggr`):
 *
 *   our own routes           yes: `announce.ts` has chosen them
 *   inside of a block of ours no: the block stands for all of it
 *   inside of a pool         yes, unless the pool has `disableBGPExport`: what a reflector passes on
 *   everything else          no: a router behind one peer is no business of another
 *
 * and which communities go with it (`prefixAdvertisements`).
 */
import type { RouteFilter } from "../../bgp/config.ts";
import { formatPrefix, type Prefix, prefixCovers } from "../net/mod.ts";
import { onceEach, withCommunities } from "./bgp_filter.ts";

export interface ExportFacts {
  readonly pools: readonly { readonly prefix: Prefix; readonly disableBGPExport: boolean }[];
  /** Confirmed blocks of this node. */
  readonly blocks: readonly Prefix[];
  /** Service addresses that reflectors pass on. */
  readonly services?: readonly Prefix[];
  readonly advertisements?: readonly Advertisement[];
}

export interface Advertisement {
  readonly prefix: Prefix;
  /** `65000:100` or `65000:1:2`. */
  readonly communities: readonly string[];
}

export function exportPolicy(facts: ExportFacts): RouteFilter {
  const { pools, blocks, services = [], advertisements = [] } = facts;
  const marks = advertisements.map(({ prefix, communities }) => ({
    prefix,
    mark: onceEach((attributes) => withCommunities(attributes, communities)),
  }));
  const refuse = (reason: string) => ({ accept: false, reason }) as const;
  return {
    id: JSON.stringify([
      pools.map((p) => [formatPrefix(p.prefix), p.disableBGPExport]),
      blocks.map(formatPrefix),
      services.map(formatPrefix),
      advertisements.map((a) => [formatPrefix(a.prefix), a.communities]),
    ]),
    judge({ prefix, attributes, local }) {
      const accepted = {
        accept: true,
        attributes: marks.reduce(
          (made, m) => prefixCovers(m.prefix, prefix) ? m.mark(made) : made,
          attributes,
        ),
      } as const;
      if (local) return accepted;
      if (blocks.some((block) => prefixCovers(block, prefix))) {
        return refuse("it lies in a block of this node");
      }
      if (services.some((service) => prefixCovers(service, prefix))) return accepted;
      const pool = pools.filter((p) => prefixCovers(p.prefix, prefix))
        .sort((a, b) => b.prefix.length - a.prefix.length)[0];
      if (!pool) return refuse("it lies in no pool");
      if (pool.disableBGPExport) return refuse("its pool is not exported (disableBGPExport)");
      return accepted;
    },
  };
}
