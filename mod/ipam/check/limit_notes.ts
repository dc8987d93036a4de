/**
 * What today's configuration would not give, and nodes have from before it: addresses borrowed from others'
 * blocks under strict affinity, and more blocks of a family than maxBlocksPerHost. IPAM takes nothing back for that, so
 * it is no fault; who wonders why a limit is passed is told.
 */
import { ownerOf } from "../block.ts";
import type { BlockRecord } from "../block_table.ts";
import { readSettings } from "../facts.ts";
import type { Allocation } from "./allocations.ts";
import type { Passing } from "./finding.ts";

export function limitNotes(
  config: unknown,
  blocks: readonly Pick<BlockRecord, "prefix" | "block">[],
  allocations: readonly Allocation[],
): Passing[] {
  const { config: { strictAffinity, maxBlocksPerHost }, damage } = readSettings(config);
  if (damage) return [];
  const notes: Passing[] = [];
  if (strictAffinity) {
    const lent = Map.groupBy(
      allocations.filter(({ borrowed, attributes }) => borrowed && attributes.node),
      ({ node }) => node,
    );
    for (const [node, list] of lent) {
      const message =
        `node ${node} has ${list.length} addresses of blocks that are not its own, such as ` +
        list[0].address;
      notes.push({ kind: "borrowed", subject: node, message });
    }
  }
  if (maxBlocksPerHost > 0) {
    const owned = new Map<string, number>();
    for (const { prefix, block } of blocks) {
      const owner = ownerOf(block);
      if (owner?.type !== "host") continue;
      const whose = `IPv${prefix.ip.family} blocks of node ${owner.name}`;
      owned.set(whose, (owned.get(whose) ?? 0) + 1);
    }
    for (const [subject, count] of owned) {
      if (count <= maxBlocksPerHost) continue;
      const message = `there are ${count} ${subject}, and maxBlocksPerHost is ${maxBlocksPerHost}`;
      notes.push({ kind: "blocksOverLimit", subject, message });
    }
  }
  return notes;
}
