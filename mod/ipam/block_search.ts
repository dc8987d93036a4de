/**
 * The search for a block to claim, after Calico's findUsableBlock: one of ours that we did not know of,
 * else one that does not exist yet, else one that is empty and another's.
 */
import { type Family, formatPrefix, type Prefix, prefixesOverlap } from "../net/mod.ts";
import { type AffinityOwner, formatAffinity } from "../model/keys.ts";
import { freeCount, isEmpty, isOwnedBy } from "./block.ts";
import { collectCooled } from "./block_changes.ts";
import type { BlockRecord } from "./block_table.ts";
import { inWalkOrder, nextFreeBlock, startOf } from "./candidates.ts";
import { unlessDamaged } from "./damage.ts";
import { tooManyRetries } from "./errors.ts";
import type { Facts } from "./facts.ts";
import { RETRIES } from "./handles.ts";
import type { Pool } from "./pools.ts";
import type { Room } from "./room.ts";
import { cooled } from "./sweep.ts";
import { isWithin } from "./time.ts";

/** An empty block is taken from another node only when that one had this long to use it. */
const RECLAIM_AFTER_MS = 60_000;

export class BlockSearch {
  /** Blocks of which a fresh look said that they have nothing for us, by CIDR. */
  readonly exhausted = new Set<string>();

  constructor(
    readonly room: Room,
    readonly facts: Facts,
    readonly owner: AffinityOwner,
    readonly family: Family,
    /** Those that may be used, in the order in which they are tried. */
    readonly pools: readonly Pool[],
  ) {}

  /** The pool whose block this is, where that one may be used. */
  poolOf(block: Prefix): Pool | undefined {
    const pool = this.facts.pools.ownerOfBlock(block);
    return pool && this.pools.includes(pool) ? pool : undefined;
  }

  /** How many addresses automatic assignment may take from the block. */
  free({ prefix, block }: BlockRecord): number {
    const collected = collectCooled(block, this.room.cooldown(this.facts.config));
    return freeCount(collected, this.facts.reservations.inBlock(prefix));
  }

  isPromising(record: BlockRecord): boolean {
    return !this.exhausted.has(formatPrefix(record.prefix)) && this.free(record) > 0;
  }

  /** Claims a block that nobody has, else one that is empty. */
  async claim(): Promise<Prefix | "none" | "stale"> {
    const { blocks, affinities } = this.room;
    // Where nothing is can be guessed from an old listing: the claim finds out.
    let guess = blocks.lastListing(this.family)?.map(({ prefix }) => prefix) ??
      this.room.taken(this.family);
    for (let i = 0; i < RETRIES; i++) {
      const fresh = guess === undefined;
      let candidate: Prefix | undefined;
      if (guess) candidate = this.#unclaimed(guess);
      else {
        const listing = await blocks.list(this.family);
        candidate = this.#lost(listing) ?? this.#unclaimed(listing.map(({ prefix }) => prefix)) ??
          await this.#reclaim(listing);
      }
      guess = undefined;
      if (!candidate) {
        if (!fresh) continue;
        return "none";
      }
      const outcome = await unlessDamaged(
        () => affinities.claim(this.owner, candidate),
        () => ({ is: "taken" as const }),
      );
      switch (outcome.is) {
        case "claimed":
          // Ours since long, it may be: then another round finds out whether it has anything.
          if (this.free(outcome.record) > 0) return candidate;
          this.exhausted.add(formatPrefix(candidate));
          break;
        case "overlaps":
          // Who begins anew must not guess by the same listing again.
          await blocks.list(this.family);
          return "stale";
        case "taken":
        case "gone":
          break;
      }
    }
    throw tooManyRetries(`blocks of ${formatAffinity(this.owner)}`);
  }

  /** A block of ours of which we did not know: another process claimed it, or its affinity was lost. */
  #lost(listing: readonly BlockRecord[]): Prefix | undefined {
    return listing.find((record) =>
      isOwnedBy(record.block, this.owner) && this.poolOf(record.prefix) && this.isPromising(record)
    )?.prefix;
  }

  /** A block that does not exist yet. */
  #unclaimed(known: readonly Prefix[]): Prefix | undefined {
    for (const pool of this.pools) {
      const taken = [
        ...known,
        ...this.room.blocks.damaged(this.family),
        ...this.facts.pools.ceded(pool),
      ];
      const start = startOf(pool, this.owner.name, this.room.random);
      const reserved = this.facts.reservations.ranges(this.family);
      const free = nextFreeBlock(pool, start, taken, reserved);
      if (free) return free;
    }
    return undefined;
  }

  /**
   * Small pools with small blocks would run dry while other nodes sit on empty blocks. Strays that are
   * empty only stand in the way; then any block of ours that was freed can be looked for anew.
   */
  async #reclaim(listing: readonly BlockRecord[]): Promise<Prefix | undefined> {
    const cooldown = this.room.cooldown(this.facts.config);
    const empty = listing.filter(({ block }) => isEmpty(collectCooled(block, cooldown)));
    const strays = empty.filter(({ prefix }) =>
      this.facts.pools.isStray(prefix) &&
      this.pools.some((pool) => prefixesOverlap(pool.prefix, prefix))
    );
    const left = new Set(listing);
    for (const record of strays) {
      if (await this.#release(record)) left.delete(record);
    }
    if (left.size < listing.length) {
      const free = this.#unclaimed([...left].map(({ prefix }) => prefix));
      if (free) return free;
    }
    for (const pool of this.pools) {
      const start = startOf(pool, this.owner.name, this.room.random);
      for (const record of inWalkOrder(pool, start, empty)) {
        if (this.poolOf(record.prefix) !== pool || this.free(record) === 0) continue;
        const claimed = Date.parse(record.block.affinity_claim_time ?? "");
        // Two nodes would fight over a block, each freeing it before the other can use it.
        if (isWithin(RECLAIM_AFTER_MS, claimed, this.room.now())) continue;
        if (await this.#release(record)) return record.prefix;
      }
    }
    return undefined;
  }

  /** Ends whoever's claim on a block that holds at most what has cooled down. */
  async #release(record: BlockRecord): Promise<boolean> {
    const empty = await cooled(this.room, record);
    return empty !== undefined && await this.room.affinities.releaseEmpty(empty);
  }
}
