/** The controllers' metrics: Calico's gauges of addresses and blocks, by pool and node. */
import { type Allocation, allocationsOf } from "../ipam/check/allocations.ts";
import { PoolMap } from "../ipam/pools.ts";
import { formatPrefix } from "../net/mod.ts";
import type { Metrics } from "../node/health.ts";
import type { ClusterView } from "./view.ts";

export interface Counted {
  readonly view: ClusterView;
  /** Addresses that nobody seems to have. */
  readonly suspects: readonly Allocation[];
  /** Released, by `pool node`. */
  readonly reclaimed: ReadonlyMap<string, number>;
  readonly leads: boolean;
}

/** The pool that a block counts in. */
export function poolName({ blocks, pools }: ClusterView, cidr: string): string {
  const record = blocks.get(cidr);
  return (record && new PoolMap(pools.values()).homeOf(record.prefix.ip)?.name) ?? "no_ippool";
}

export function declareMetrics(metrics: Metrics, counted: () => Counted): void {
  const gauge = (
    name: string,
    help: string,
    count: (counted: Counted) => Iterable<readonly [string, string]>,
  ) =>
    metrics.declare(name, "gauge", help, () => {
      metrics.reset(name);
      for (const [ippool, node] of count(counted())) metrics.add(name, 1, { ippool, node });
    });
  const labels = (view: ClusterView, list: readonly Allocation[]) =>
    list.map(({ block, node }) =>
      [poolName(view, formatPrefix(block)), node || "unknown_node"] as const
    );
  const all = (view: ClusterView) => [...view.blocks.values()].flatMap(allocationsOf);
  gauge(
    "ipam_allocations_in_use",
    "Addresses that are given.",
    ({ view }) => labels(view, all(view)),
  );
  gauge(
    "ipam_allocations_borrowed",
    "Addresses given from another node's block.",
    ({ view }) => labels(view, all(view).filter(({ borrowed, node }) => borrowed && node !== "")),
  );
  gauge(
    "ipam_allocations_gc_candidates",
    "Addresses that nobody seems to have.",
    (c) => labels(c.view, c.suspects),
  );
  gauge(
    "ipam_blocks",
    "Blocks.",
    ({ view }) =>
      [...view.blocks].map(([cidr, { block }]) =>
        [poolName(view, cidr), block.affinity?.replace(/^host:/, "") || "no_affinity"] as const
      ),
  );
  metrics.declare("ipam_allocations_gc_reclamations", "counter", "Addresses released.", () => {
    for (const [text, count] of counted().reclaimed) {
      const [ippool, node] = text.split(" ");
      metrics.set("ipam_allocations_gc_reclamations", count, { ippool, node });
    }
  });
  metrics.declare(
    "tortie_controllers_leading",
    "gauge",
    "1: this process leads.",
    () => metrics.set("tortie_controllers_leading", counted().leads ? 1 : 0),
  );
}
