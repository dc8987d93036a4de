/** For tests: what must be true of IPAM's records at any time, whoever crashed where. */
import assert from "node:assert/strict";
import { addToIp, formatIp, formatPrefix, type Prefix } from "../../net/mod.ts";
import type { AllocationBlock } from "../../model/ipam_block.ts";
import type { IpamHandle } from "../../model/ipam_handle.ts";
import {
  affinitiesPrefix,
  blockPrefix,
  handlePrefix,
  parseBlockKey,
  parseHandleKey,
} from "../../model/keys.ts";
import type { Store } from "../../store/store.ts";
import { coolingSince } from "../cooling.ts";

export interface Records {
  blocks: { prefix: Prefix; block: AllocationBlock }[];
  /** By id: counts by CIDR. */
  handles: Map<string, Record<string, number>>;
  /** Keys. */
  affinities: string[];
  /** Address to handle ("" for none). */
  allocated: Map<string, string>;
}

/** Reads all of it, and checks what hangs together within one record and across them. */
export async function checkRecords(store: Store): Promise<Records> {
  const blocks: Records["blocks"] = [];
  const allocated = new Map<string, string>();
  const used = new Map<string, Map<string, number>>();
  for (const family of [4, 6] as const) {
    for (const entry of (await store.list<AllocationBlock>(blockPrefix(family))).entries) {
      const prefix = parseBlockKey(entry.key)!;
      const block = entry.value;
      checkBlock(prefix, block);
      blocks.push({ prefix, block });
      block.allocations.forEach((index, ordinal) => {
        if (index === null) return;
        const attribute = block.attributes[index];
        if (coolingSince(attribute) !== undefined) return;
        const address = formatIp(addToIp(prefix.ip, ordinal));
        assert(!allocated.has(address), `${address} was given twice`);
        const handle = attribute.handle_id ?? "";
        allocated.set(address, handle);
        if (!used.has(handle)) used.set(handle, new Map());
        const counts = used.get(handle)!;
        const cidr = formatPrefix(prefix);
        counts.set(cidr, (counts.get(cidr) ?? 0) + 1);
      });
    }
  }
  const handles: Records["handles"] = new Map();
  for (const entry of (await store.list<IpamHandle>(handlePrefix)).entries) {
    const counts = entry.value.block;
    assert(Object.keys(counts).length > 0, `${entry.key} is empty and should be deleted`);
    for (const count of Object.values(counts)) assert(count > 0, `${entry.key} counts ${count}`);
    handles.set(parseHandleKey(entry.key)!, counts);
  }
  for (const [handle, counts] of used) {
    if (handle === "") continue;
    for (const [cidr, count] of counts) {
      const counted = handles.get(handle)?.[cidr] ?? 0;
      assert(counted >= count, `handle ${handle} counts ${counted} of ${count} in ${cidr}`);
    }
  }
  const affinities = (await store.list(affinitiesPrefix)).entries.map((entry) => entry.key);
  return { blocks, handles, affinities, allocated };
}

/** The invariants of one block. */
export function checkBlock(prefix: Prefix, block: AllocationBlock): void {
  const name = `block ${formatPrefix(prefix)}`;
  assert.equal(block.cidr, formatPrefix(prefix));
  assert.equal(
    block.allocations.length,
    2 ** ((prefix.ip.family === 4 ? 32 : 128) - prefix.length),
  );
  const free = block.allocations.flatMap((index, ordinal) => index === null ? [ordinal] : []);
  assert.deepEqual([...block.unallocated].sort((a, b) => a - b), free, `${name}: free queue`);
  const referred = new Set(block.allocations.filter((index) => index !== null));
  assert.deepEqual(
    [...referred].sort((a, b) => a - b),
    block.attributes.map((_, index) => index),
    `${name}: attributes`,
  );
  const forms = block.attributes.filter((a) => coolingSince(a) === undefined)
    .map((a) => JSON.stringify(a));
  assert.equal(new Set(forms).size, forms.length, `${name}: attributes are not shared`);
  for (const [ordinal, number] of Object.entries(block.sequenceNumberForAllocation)) {
    assert(Number(ordinal) < block.allocations.length);
    assert(BigInt(number) <= BigInt(block.sequenceNumber), `${name}: sequence of ${ordinal}`);
  }
  block.allocations.forEach((index, ordinal) => {
    if (index !== null) assert(String(ordinal) in block.sequenceNumberForAllocation, name);
  });
}
