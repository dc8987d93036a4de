/**
 * Carries the collector's actions out. What it decided from its view is asked of the store once more
 * before anything is taken: is there an endpoint, a pod, a node by now? And the release itself names
 * handle and number, so that an address that went on to another stays his.
 */
import { IpamError } from "../ipam/errors.ts";
import type { Ipam } from "../ipam/ipam.ts";
import { parking } from "../ipam/lease_record.ts";
import type { Allocation } from "../ipam/check/allocations.ts";
import { evidenceFor, isNodeGone, leaseOf, type Loose } from "../ipam/check/evidence.ts";
import { freshFacts, isNodeLive } from "../ipam/check/fresh_facts.ts";
import { NODE_KIND } from "../ipam/check/records.ts";
import { questionKey } from "../ipam/questions.ts";
import { resourceKey } from "../model/keys.ts";
import { type Store, StoreError } from "../store/store.ts";
import type { CollectorAction } from "./collector.ts";

export interface PerformParts {
  readonly store: Store;
  readonly ipam: Ipam;
  /** Where pods are read: the store, or the API beside it. */
  readonly pods: Store;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface Performed {
  /** What was done, in words, for the log; undefined: there was nothing to do any more. */
  readonly done?: string;
  readonly released: readonly Allocation[];
}

const NOTHING: Performed = { released: [] };

export async function perform(parts: PerformParts, action: CollectorAction): Promise<Performed> {
  const { ipam } = parts;
  const did = (done: string): Performed => ({ done, released: [] });
  switch (action.do) {
    case "release":
      return await release(parts, action);
    case "removeNode":
      return await removeNode(parts, action);
    case "removeEndpoints":
      return await removeEndpoints(parts, action);
    case "releaseBlock": {
      const released = await ipam.releaseEmptyBlock(action.cidr, action.sequenceNumber);
      return released ? did(`released the empty block ${action.cidr}`) : NOTHING;
    }
    case "mendHandle": {
      const mended = await ipam.mendHandle(action.handle, action.revision);
      return mended === "mended" ? did(`mended handle ${action.handle}`) : NOTHING;
    }
    case "settleAffinity":
      return await ipam.settleAffinity(action.cidr, action.owner)
        ? did(`settled the affinity of ${action.owner.name} for ${action.cidr}`)
        : NOTHING;
    case "sweepCooled": {
      const freed = await ipam.sweepCooled();
      return freed > 0 ? did(`freed ${freed} addresses that have cooled down`) : NOTHING;
    }
    case "ask":
      await ask(parts.store, action);
      return NOTHING;
  }
}

async function release(
  parts: PerformParts,
  { allocations, nodeGone, why }: Extract<CollectorAction, { do: "release" }>,
): Promise<Performed> {
  const facts = await freshFacts(parts, allocations);
  const gone = allocations.every((allocation) => {
    const evidence = evidenceFor(facts, allocation, parts.now());
    if (nodeGone && !isNodeGone(facts, allocation.node)) return false;
    return evidence.is === "gone" || (evidence.is === "nodes" && nodeGone);
  });
  if (!gone) return NOTHING;
  const released: Allocation[] = [], kept: string[] = [];
  for (const allocation of allocations) {
    const { address, handle, sequenceNumber } = allocation;
    if (leaseOf(allocation)?.container !== undefined) {
      // Kept for its ordinal, as after a DEL (`cni/pin_leases.ts`); no node's any more.
      const change = parking(allocation.attributes, parts.now());
      if (await parts.ipam.relabel({ address, handle: handle!, change })) kept.push(address);
      continue;
    }
    try {
      const result = await parts.ipam.releaseIps([{ address, handle, sequenceNumber }]);
      if (result.released.length > 0) released.push(allocation);
    } catch (error) {
      // It went on to another, who has it now.
      if (!(error instanceof IpamError && error.kind === "conflict")) throw error;
    }
  }
  if (kept.length > 0) {
    const [{ handle }] = allocations;
    return {
      done: `keeps ${kept.join(", ")} of handle ${handle} for its ordinal: ${why}`,
      released,
    };
  }
  if (released.length === 0) return NOTHING;
  const addresses = released.map(({ address }) => address).join(", ");
  const of = released[0].handle === undefined
    ? "without a handle"
    : `of handle ${released[0].handle}`;
  return { done: `released ${addresses} ${of}: ${why}`, released };
}

/** Endpoints of a node that is gone, whose pods are gone too. */
async function removeEndpoints(
  { store }: PerformParts,
  { node, endpoints }: Extract<CollectorAction, { do: "removeEndpoints" }>,
): Promise<Performed> {
  if (await isThere(store, node)) return NOTHING;
  const removed = await deleteEndpoints(store, node, endpoints);
  if (removed === 0) return NOTHING;
  const what = removed === 1 ? "1 endpoint" : `${removed} endpoints`;
  return { done: `removed ${what} of node ${node}, which is gone`, released: [] };
}

async function isThere(store: Store, node: string): Promise<boolean> {
  const object = await store.get(resourceKey(NODE_KIND, node));
  return object !== undefined || await isNodeLive(store, node);
}

async function deleteEndpoints(
  store: Store,
  node: string,
  keys: readonly string[],
): Promise<number> {
  let count = 0;
  for (const key of keys) {
    const entry = await store.get<Loose>(key);
    if (entry?.value?.spec?.node !== node) continue;
    await deleteAt(store, key, entry.revision);
    count++;
  }
  return count;
}

/** Blocks in which pods of other nodes have borrowed become nobody's; the rest goes. */
async function removeNode(
  { store, ipam }: PerformParts,
  { node, endpoints, records }: Extract<CollectorAction, { do: "removeNode" }>,
): Promise<Performed> {
  if (await isThere(store, node)) return NOTHING;
  const blocks = await ipam.blocksOf(node);
  let count = blocks.length + await deleteEndpoints(store, node, endpoints);
  await ipam.releaseHostAffinities(node);
  for (const key of records) if (await deleteAt(store, key)) count++;
  // What we may not delete is there the next time, and no news.
  if (count === 0) return NOTHING;
  return { done: `removed what was left of node ${node}`, released: [] };
}

/** That it is gone, or another's by now, is no error; nor that the store has no such keys at all. */
async function deleteAt(store: Store, key: string, revision?: string): Promise<boolean> {
  try {
    await store.delete(key, revision);
    return true;
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind === "unavailable") throw error;
    return false;
  }
}

async function ask(
  store: Store,
  { node, question, revision }: Extract<CollectorAction, { do: "ask" }>,
): Promise<void> {
  const key = questionKey(node);
  try {
    if (!question) await store.delete(key, revision);
    else if (revision === undefined) await store.create(key, question);
    else await store.update(key, question, revision);
  } catch (error) {
    // Another controller was first; what it asked is seen, and put right where it is another question.
    const raced = error instanceof StoreError &&
      ["exists", "conflict", "notFound"].includes(error.kind);
    if (!raced) throw error;
  }
}
