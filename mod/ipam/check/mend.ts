/**
 * Mends records of IPAM that cannot be read. Handles and affinities say nothing that the blocks do not
 * say, and are made anew, handles when all blocks can be read. A block is the only one who knows whom it
 * gave what, so its record is deleted only when nobody uses an address of it: no endpoint, pod, node or
 * service, and no handle that counts some there, or might if it could be read (`force`: but for the
 * handles). Whoever leaves is let go meanwhile (`release.ts`).
 */
import { formatPrefix, parseIp, type Prefix, prefixContains, samePrefix } from "../../net/mod.ts";
import { parseAffinityKey, parseBlockKey, parseHandleKey } from "../../model/keys.ts";
import { type Store, StoreError } from "../../store/store.ts";
import { cleanHandle } from "../block.ts";
import { IpamError } from "../errors.ts";
import type { Ipam } from "../ipam.ts";
import { type Check, check, type DamagedRecord } from "./check.ts";
import { countsOf } from "./handle_faults.ts";
import { type IpamRecords, readRecords } from "./records.ts";
import type { ReleaseOptions } from "./report.ts";

export interface Mended {
  /** Keys of records that were made anew, or deleted. */
  readonly mended: string[];
  /** Written or deleted by somebody since the report. */
  readonly changed: string[];
  readonly kept: { key: string; why: string }[];
}

export async function mendDamaged(
  store: Store,
  ipam: Ipam,
  damaged: readonly DamagedRecord[],
  { now: clock, kubernetes = store, force = false }: ReleaseOptions,
): Promise<Mended> {
  const done: Mended = { mended: [], changed: [], kept: [] };
  const records = await readRecords(store, kubernetes);
  const now = check(records, clock());
  for (const record of damaged) {
    const { key, revision } = record;
    const current = now.damaged.some((one) => one.key === key && one.revision === revision);
    if (!current) {
      done.changed.push(key);
      continue;
    }
    try {
      const kept = await mendOne(store, ipam, record, now, records, force);
      if (kept === undefined) done.mended.push(key);
      else done.kept.push({ key, why: kept });
    } catch (error) {
      const isRaced = error instanceof StoreError &&
        (error.kind === "conflict" || error.kind === "notFound");
      if (isRaced) done.changed.push(key);
      else if (error instanceof IpamError) done.kept.push({ key, why: error.message });
      else throw error;
    }
  }
  return done;
}

/** Why it stays; undefined: it is mended. */
async function mendOne(
  store: Store,
  ipam: Ipam,
  { key, revision }: DamagedRecord,
  now: Check,
  records: IpamRecords,
  force: boolean,
): Promise<string | undefined> {
  const block = parseBlockKey(key);
  if (block) {
    const why = whoUses(block, now) ??
      (force ? undefined : whoCounts(block, now, records.handles));
    if (why !== undefined) return why;
    await store.delete(key, revision);
    for (const entry of records.affinities) {
      const affinity = parseAffinityKey(entry.key);
      if (affinity && samePrefix(affinity.block, block)) {
        await ipam.settleAffinity(block, affinity.owner);
      }
    }
    return undefined;
  }
  const affinity = parseAffinityKey(key);
  if (affinity) {
    await ipam.settleAffinity(affinity.block, affinity.owner);
    return undefined;
  }
  const lost = now.damaged.find((one) => parseBlockKey(one.key));
  if (await ipam.mendHandle(parseHandleKey(key)!, revision) === "changed" && lost) {
    return `what it has in ${lost.key} cannot be told, since that cannot be read; mend that first`;
  }
  return undefined;
}

function whoUses(block: Prefix, { users, unreadable }: Check): string | undefined {
  if (unreadable.length > 0) {
    return `which addresses ${unreadable[0]} uses cannot be told, since it cannot be read`;
  }
  for (const [address, list] of users) {
    const ip = parseIp(address);
    if (ip && list.length > 0 && prefixContains(block, ip)) {
      return `${address} is in use by ${list[0].name}; delete that first`;
    }
  }
  return undefined;
}

function whoCounts(
  block: Prefix,
  { damaged, allocations }: Check,
  handles: IpamRecords["handles"],
): string | undefined {
  const cidr = formatPrefix(block);
  const damagedId = damaged.map(({ key }) => parseHandleKey(key)).find((id) => id !== undefined);
  if (damagedId !== undefined) {
    return `whether handle ${damagedId} has addresses of it cannot be told, since that cannot be read; ` +
      `end its container first, or give --force where nobody has an address of ${cidr}`;
  }
  const counting = handles.filter(({ value }) => (countsOf(value)?.get(cidr) ?? 0) > 0)
    .map(({ key }) => parseHandleKey(key) ?? key);
  if (counting.length === 0) return undefined;
  // An attempt that failed at this block leaves a count there, and its container has an address elsewhere.
  const elsewhere = new Map(
    allocations.flatMap(({ handle, address, ip: { family } }) =>
      handle !== undefined && family === block.ip.family ? [[handle, address]] : []
    ),
  );
  const sole = counting.find((id) => !elsewhere.has(cleanHandle(id)));
  if (sole !== undefined) {
    return `handle ${sole} has addresses of it; end its container first, or give --force where that is gone`;
  }
  const [id] = counting;
  return `handle ${id} counts addresses of it, and has ${
    elsewhere.get(cleanHandle(id))
  } of another block: ` +
    "what it counts here may be left of an attempt that failed; end no container for it, and give --force " +
    `where nobody has an address of ${cidr}`;
}
