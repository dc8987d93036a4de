/**
 * An allocation goes from one handle to another without ever being free, and without cooling down: from a
 * pod's earlier sandbox to its next (`cni/take_over.ts`), and for an address that was given because the
 * record of who has it was lost, and of which it turns out then that somebody has it
 * (`cni/live_holders.ts`). Counts follow the rule of `handles.ts`: up in the new one's before the block
 * is written, down in the old one's after it.
 */
import { formatPrefix, ordinalOf } from "../net/mod.ts";
import { addressOf } from "./assign_ip.ts";
import { cleanHandle, holderOf, ordinalsOf } from "./block.ts";
import { reattribute } from "./block_changes.ts";
import { BlockFinder, recount } from "./release.ts";
import { doneInOneEpoch } from "./remembered.ts";
import type { Room } from "./room.ts";
import type { HandOverRequest } from "./types.ts";

/** False where the address is not the handle's any more. */
export function handOver(room: Room, request: HandOverRequest): Promise<boolean> {
  return doneInOneEpoch(room.handles.epoch, () => handOverOnce(room, request));
}

async function handOverOnce(
  room: Room,
  { address, handle: from, to }: HandOverRequest,
): Promise<boolean> {
  const ip = addressOf(address);
  const handle = from === undefined ? undefined : cleanHandle(from);
  const record = await new BlockFinder(room, await room.facts.read()).find(ip);
  if (!record) return false;
  const { prefix } = record;
  const ordinal = Number(ordinalOf(prefix, ip));
  // Read before the block is written, see handles.ts.
  const counted = handle === undefined ? undefined : await room.handles.recent(handle);
  const left = await room.blocks.change<number | undefined>(prefix, (before) => {
    const holder = holderOf(before, ordinal);
    if (!holder || holder.handle !== handle) return { block: before, result: undefined };
    const block = reattribute(before, ordinal, to);
    return {
      block,
      result: handle === undefined ? 0 : ordinalsOf(block, handle).length,
      reserve: { handle: to.handle, count: 1 },
    };
  }, { life: record });
  if (left === undefined) return false;
  const settled = handle === undefined ||
    counted && await room.handles.settle(counted, { [formatPrefix(prefix)]: left });
  if (!settled) await recount(room, handle, prefix);
  // The new one's own record may have outlived the block that it counts in, and counts it twice now.
  await recount(room, to.handle, prefix);
  return true;
}
