/** A cool-down from the release to the next use, on any store, beside others who write to the block. */
import assert from "node:assert/strict";
import { formatIp, mustIp, mustPrefix } from "../../net/mod.ts";
import type { AllocationAttribute, AllocationBlock } from "../../model/ipam_block.ts";
import { blockKey } from "../../model/keys.ts";
import type { Store } from "../../store/store.ts";
import { checkStore } from "../check/check.ts";
import { Ipam } from "../ipam.ts";
import { checkRecords } from "./checks.ts";

const CIDR = "10.9.0.0/30", MINUTE = 60_000;

/**
 * The block as Calico v3.32.1 writes it back: what its Go structs do not know is gone (libcalico-go/lib/backend/
 * model/block.go).
 */
export function writtenByCalico332(block: AllocationBlock): AllocationBlock {
  const { cidr, affinity, affinity_claim_time, allocations, unallocated } = block;
  const attributes = block.attributes.map(
    ({ handle_id, secondary, alternateOwnerAttrs }): AllocationAttribute => ({
      ...(handle_id !== undefined && { handle_id }),
      ...(Object.keys(secondary ?? {}).length > 0 && { secondary }),
      ...(Object.keys(alternateOwnerAttrs ?? {}).length > 0 && { alternateOwnerAttrs }),
    }),
  );
  return {
    ...{ cidr, affinity, affinity_claim_time, allocations, unallocated, attributes },
    sequenceNumber: BigInt(block.sequenceNumber) + 1n,
    sequenceNumberForAllocation: block.sequenceNumberForAllocation,
    deleted: false,
  };
}

/** The block as Calico v3.33 marks what cools down: without our second mark. */
export function writtenByCalico333(block: AllocationBlock): AllocationBlock {
  const attributes = block.attributes.map((one) =>
    one.releasedAt ? { releasedAt: one.releasedAt } : one
  );
  return { ...block, attributes };
}

/**
 * Two addresses are given back by handle and by address, and another program writes to their block: they cool
 * down, for the time that is set and no longer, and everybody sees it. The store has an enabled pool 10.9.0.0/29
 * of blocks of four, and a node n1.
 */
export async function coolDown(
  store: Store,
  rewritten: (block: AllocationBlock) => AllocationBlock = (block) => block,
): Promise<void> {
  let now = Date.UTC(2026, 10, 26, 12);
  const ipam = new Ipam(store, { now: () => now });
  await ipam.setIpamConfig({ ...await ipam.getIpamConfig(), ipCooldownSeconds: 60 });
  assert.equal((await new Ipam(store).getIpamConfig()).ipCooldownSeconds, 60);
  const assign = async (handle: string) => {
    const attributes = { node: "n1" };
    const given = await ipam.assign({ num4: 1, host: "n1", handle, attributes, use: "Workload" });
    return formatIp(given[0].ip);
  };
  const [first, second] = [await assign("net.a"), await assign("net.b")];
  assert.deepEqual([first, second], ["10.9.0.0", "10.9.0.1"]);
  await ipam.releaseByHandle("net.a");
  await ipam.releaseIps([{ address: second }]);
  const { value, revision } = (await store.get<AllocationBlock>(blockKey(mustPrefix(CIDR))))!;
  await store.update(blockKey(mustPrefix(CIDR)), rewritten(value), revision);

  const other = new Ipam(store, { now: () => now });
  for (const address of [first, second]) {
    assert.equal(await other.assignment(address), undefined);
    assert.equal(await other.coolsUntil(address), "2026-11-26T12:01:00Z");
  }
  const { allocations } = await checkStore(store, { now: () => now });
  assert.deepEqual(allocations.map(({ address }) => address), []);
  const [{ blocks: [usage] }] = await other.utilization(["10.9.0.0/29"]);
  assert.equal(usage.cooling, 2n);
  assert.deepEqual([await assign("net.c"), await assign("net.d")], ["10.9.0.2", "10.9.0.3"]);
  await assert.rejects(
    other.assignIp({ address: first, host: "n1", handle: "net.e" }),
    /it was given back, and cools down until 2026-11-26T12:01:00Z/,
  );
  now += MINUTE - 1000;
  assert.equal(await other.sweepCooled(), 0);
  now += 2000;
  assert.equal(await other.sweepCooled(), 2);
  assert.equal(await assign("net.e"), formatIp(mustIp(first)));
  await checkRecords(store);
}
