/**
 * Upkeep that no request does: addresses that have cooled down in blocks that nobody asks, handles
 * that count what is not there. Who does it may be cut off anywhere, or run beside anybody.
 */
import { type Family, parseStrictPrefix } from "../net/mod.ts";
import type { Revision } from "../store/store.ts";
import { cleanHandle, ordinalsOf } from "./block.ts";
import { collectCooled } from "./block_changes.ts";
import type { BlockRecord } from "./block_table.ts";
import { giveUpIfUseless } from "./release.ts";
import { unlessDamaged } from "./damage.ts";
import type { Room } from "./room.ts";

/** Frees what has cooled down, in every block. How many addresses. */
export async function sweepCooled(room: Room): Promise<number> {
  const config = await room.config();
  let freed = 0;
  for (const family of [4, 6] as Family[]) {
    for (const record of await room.blocks.list(family)) {
      if (collectCooled(record.block, room.cooldown(config)) === record.block) continue;
      const done = await room.blocks.change(record.prefix, (before) => {
        const block = collectCooled(before, room.cooldown(config));
        return {
          block,
          result: { block, freed: block.unallocated.length - before.unallocated.length },
        };
      });
      if (!done) continue;
      freed += done.freed;
      await giveUpIfUseless(room, record.prefix, done.block);
    }
  }
  return freed;
}

/** The record with what has cooled down freed, written where that is anything; undefined: it changed. */
export async function cooled(room: Room, record: BlockRecord): Promise<BlockRecord | undefined> {
  const block = collectCooled(record.block, room.cooldown(await room.config()));
  return block === record.block ? record : await room.blocks.update(record, block);
}

/**
 * Brings a handle's counts to what the blocks hold; a handle without addresses is deleted. It must
 * still be at `revision`, where one is given: "changed" else. After the rule of `handles.ts`: the
 * blocks are written before the counts, so that an assignment under way is not forgotten.
 */
export async function mendHandle(
  room: Room,
  id: string,
  revision?: Revision,
): Promise<"mended" | "changed" | "gone"> {
  const handle = cleanHandle(id);
  const record = await room.handles.read(id);
  if (!record) return "gone";
  if (revision !== undefined && record.revision !== revision) return "changed";
  const counts: Record<string, number> = {};
  let lost = false;
  for (const cidr of Object.keys(record.counts)) {
    const prefix = parseStrictPrefix(cidr);
    // What a damaged block holds is not known: the count stays.
    counts[cidr] = prefix && await unlessDamaged(
          () =>
            room.blocks.change(
              prefix,
              (block) => ({ block: { ...block }, result: ordinalsOf(block, handle).length }),
            ),
          () => (lost = true, record.counts[cidr]),
        ) || 0;
  }
  const isSo = lost && Object.keys(counts).every((cidr) => counts[cidr] === record.counts[cidr]);
  // Nothing to write: it would only look like news to who waits for that.
  if (isSo) return "changed";
  return await room.handles.settle(record, counts) ? "mended" : "changed";
}
