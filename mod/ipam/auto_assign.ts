/**
 * Automatic assignment for one family, after Calico's ipam.go (autoAssign, findOrClaimBlock):
 *
 *   1. which pools may be used (`pools.ts`), which blocks the node has in them;
 *   2. take from the node's own blocks;
 *   3. while short, claim another block: a free one, else an empty one of another node; a node that
 *      has as many blocks as it may gets an error here, before borrowing is thought of;
 *   4. still short and affinity not strict: borrow from any block of the pools.
 *
 * Requests of one moment run side by side and meet where it counts: their takes from a block are one
 * write (`block_table.ts`), and only one of them claims at a time, the others then find its block.
 */
import { type Family, formatPrefix, ipAt, type Prefix, prefixesOverlap } from "../net/mod.ts";
import { type AffinityOwner, formatAffinity } from "../model/keys.ts";
import { type AffinityRecord, isConfirmed, LOAD_BALANCER } from "./affinities.ts";
import { collectCooled, freeCount, isEmpty, isOwnedBy, ownerOf, take } from "./block.ts";
import type { BlockRecord } from "./block_table.ts";
import { inWalkOrder, nextFreeBlock, startOf } from "./candidates.ts";
import { blockLimit, IpamError, tooManyRetries } from "./errors.ts";
import type { Facts, Labels } from "./facts.ts";
import { RETRIES } from "./handles.ts";
import { determinePools, type Pool, selectsNode } from "./pools.ts";
import type { Room } from "./room.ts";
import type { AssignedAddress, AutoAssignRequest } from "./types.ts";

/** Calico's safeguard where no limit is set. */
const DEFAULT_BLOCK_LIMIT = 20;
/** An empty block is taken from another node only when that one had this long to use it. */
const RECLAIM_AFTER_MS = 60_000;

/** What one family of one request has come to so far. */
export interface Progress {
  readonly addresses: AssignedAddress[];
  readonly messages: Set<string>;
}

/** Adds what it gets to `progress`, also where it then throws. */
export async function autoAssign(
  room: Room,
  request: AutoAssignRequest,
  family: Family,
  wanted: number,
  progress: Progress,
): Promise<void> {
  for (let i = 0; i < RETRIES; i++) {
    const assigner = await Assigner.prepare(room, request, family, wanted, progress);
    if (await assigner.run()) return;
  }
  throw tooManyRetries(`blocks of ${request.host}`);
}

class Assigner {
  /** Blocks of which a fresh look said that they have nothing for us. */
  readonly #exhausted = new Set<string>();

  private constructor(
    readonly room: Room,
    readonly request: AutoAssignRequest,
    readonly family: Family,
    readonly wanted: number,
    readonly progress: Progress,
    readonly owner: AffinityOwner,
    readonly facts: Facts,
    readonly nodeLabels: Labels,
    readonly pools: readonly Pool[],
    readonly affinities: readonly AffinityRecord[],
  ) {}

  static async prepare(
    room: Room,
    request: AutoAssignRequest,
    family: Family,
    wanted: number,
    progress: Progress,
  ): Promise<Assigner> {
    const { host, namespace } = request;
    const virtual = request.use === "LoadBalancer";
    const owner: AffinityOwner = virtual ? LOAD_BALANCER : { type: "host", name: host };
    const [facts, nodeLabels, namespaceLabels, affinities] = await Promise.all([
      room.facts.read(),
      virtual ? {} : room.facts.nodeLabels(host),
      namespace === undefined ? {} : room.facts.namespaceLabels(namespace),
      room.reads.read(
        `affinities ${formatAffinity(owner)} ${family}`,
        () => room.affinities.list(owner, family),
      ),
    ]);
    if (!nodeLabels) {
      throw new IpamError(
        "nodeUnknown",
        `resource does not exist: Node(${host}): addresses are given to known nodes only; create ` +
          `the Node object, or start the node service there`,
      );
    }
    const pools = determinePools(facts.pools, {
      family,
      requested: (family === 4 ? request.pools4 : request.pools6) ?? [],
      use: request.use,
      host,
      nodeLabels,
      namespaceLabels,
    });
    return new Assigner(
      room,
      request,
      family,
      wanted,
      progress,
      owner,
      facts,
      nodeLabels,
      pools,
      affinities,
    );
  }

  /** False where the pools have changed under us: begin anew with fresh facts. */
  async run(): Promise<boolean> {
    await this.#tidy();
    await this.#takeFromOwn();
    while (this.#short > 0) {
      const found = await this.#claimInTurn();
      if (found === "stale") return false;
      if (found === "none") break;
      await this.#takeFrom(found);
    }
    if (this.#short > 0 && !this.facts.config.strictAffinity) await this.#borrow();
    return true;
  }

  get #short(): number {
    return this.wanted - this.progress.addresses.length;
  }

  #poolOf(block: Prefix): Pool | undefined {
    const pool = this.facts.pools.ownerOfBlock(block);
    return pool && this.pools.includes(pool) ? pool : undefined;
  }

  /** Releases empty blocks of ours that we are not to use: strays, and those of pools not for this node. */
  async #tidy(): Promise<void> {
    for (const { block } of this.affinities) {
      if (this.#poolOf(block)) continue;
      const pool = this.facts.pools.ownerOfBlock(block);
      const leave = pool ? selectsNode(pool, this.nodeLabels) : !this.facts.pools.isStray(block);
      if (leave) continue;
      const known = this.room.blocks.known(block) ?? await this.room.blocks.read(block);
      if (known && !isEmpty(known.block)) continue;
      await this.room.affinities.release(this.owner, block, { mustBeEmpty: true });
    }
  }

  /** First the blocks that seem to have something, then a closer look at those that seem full. */
  async #takeFromOwn(): Promise<void> {
    const seemFull: Prefix[] = [];
    for (const affinity of this.affinities) {
      if (this.#short === 0) return;
      const { block } = affinity;
      if (!this.#poolOf(block) || this.facts.reservations.coversAll(block)) continue;
      const sound = isConfirmed(affinity.state) && this.room.affinities.proof(this.owner, block);
      if (!sound) {
        const loaded = await this.room.locks.hold(
          this.#turn,
          () => this.room.affinities.load(this.owner, block),
        );
        if (loaded.is === "claimed") await this.#takeFrom(block);
        continue;
      }
      const known = this.room.blocks.known(block);
      if (known && this.#free(known) === 0) seemFull.push(block);
      else await this.#takeFrom(block);
    }
    for (const block of seemFull) {
      if (this.#short === 0) return;
      const record = await this.room.blocks.read(block);
      if (record && this.#free(record) > 0) await this.#takeFrom(block);
    }
  }

  #free({ prefix, block }: BlockRecord): number {
    const collected = collectCooled(block, this.room.cooldown(this.facts.config));
    return freeCount(collected, this.facts.reservations.inBlock(prefix));
  }

  /** Takes what there is in a block of ours. */
  async #takeFrom(block: Prefix): Promise<void> {
    const life = this.room.affinities.proof(this.owner, block);
    const got = life && await this.#take(block, life, this.owner);
    if (got === undefined) this.room.affinities.forget(this.owner, block);
    if (!got) this.#exhausted.add(formatPrefix(block));
  }

  /** How many addresses; undefined where the block is gone, or not `owner`'s where one is given. */
  async #take(
    prefix: Prefix,
    life: BlockRecord,
    owner?: AffinityOwner,
  ): Promise<number | undefined> {
    const { handle, attributes } = this.request;
    const reserved = this.facts.reservations.inBlock(prefix);
    const cooldown = this.room.cooldown(this.facts.config);
    const wanted = this.#short;
    const ordinals = await this.room.blocks.change(prefix, (block) => {
      if (owner && !isOwnedBy(block, owner)) return { block, result: undefined };
      const taken = take(collectCooled(block, cooldown), wanted, { handle, attributes }, reserved);
      if (taken.ordinals.length === 0) return { block, result: [] };
      return {
        block: taken.block,
        result: taken.ordinals,
        ...(handle !== undefined && { reserve: { handle, count: taken.ordinals.length } }),
      };
    }, { guess: true, life });
    const pool = this.facts.pools.ownerOfBlock(prefix)?.name ?? "";
    for (const ordinal of ordinals ?? []) {
      this.progress.addresses.push({ ip: ipAt(prefix, ordinal), block: prefix, pool });
    }
    return ordinals?.length;
  }

  get #turn(): string {
    return `claim ${formatAffinity(this.owner)} ${this.family}`;
  }

  /** A block of ours that may have something: claimed by another request meanwhile, or by us now. */
  #claimInTurn(): Promise<Prefix | "none" | "stale"> {
    return this.room.locks.hold(this.#turn, async () => {
      const own = new Map<string, Prefix>();
      for (const { block } of this.affinities) {
        if (this.#poolOf(block)) own.set(formatPrefix(block), block);
      }
      for (const record of this.room.affinities.known(this.owner)) {
        if (!this.#poolOf(record.prefix)) continue;
        const cidr = formatPrefix(record.prefix);
        own.set(cidr, record.prefix);
        if (!this.#exhausted.has(cidr) && this.#free(record) > 0) return record.prefix;
      }
      const limit = this.#limit();
      if (own.size >= limit) throw blockLimit(limit);
      if (!this.facts.config.autoAllocateBlocks) {
        throw new IpamError(
          "noFreeAddresses",
          `failed to find or claim a block: the blocks of ${
            formatAffinity(this.owner)
          } are full and ` +
            `autoAllocateBlocks is off`,
        );
      }
      return await this.#claim();
    });
  }

  #limit(): number {
    const { maxBlocksPerHost: configured } = this.facts.config;
    const limits = [configured, this.request.maxBlocksPerHost ?? 0].filter((limit) => limit > 0);
    return limits.length > 0 ? Math.min(...limits) : DEFAULT_BLOCK_LIMIT;
  }

  /** Claims a block that nobody has, else one that is empty. */
  async #claim(): Promise<Prefix | "none" | "stale"> {
    const { blocks, affinities } = this.room;
    // Where nothing is can be guessed from an old listing: the claim finds out.
    let listing = blocks.lastListing(this.family);
    for (let i = 0; i < RETRIES; i++) {
      const fresh = listing === undefined;
      listing ??= await blocks.list(this.family);
      const candidate = fresh
        ? this.#lost(listing) ?? this.#unclaimed(listing) ?? await this.#reclaim(listing)
        : this.#unclaimed(listing);
      listing = undefined;
      if (!candidate) {
        if (!fresh) continue;
        if (this.facts.config.strictAffinity) {
          this.progress.messages.add("No more free affine blocks and strict affinity enabled");
        }
        return "none";
      }
      const outcome = await affinities.claim(this.owner, candidate);
      switch (outcome.is) {
        case "claimed":
          // Ours since long, it may be: then another round finds out whether it has anything.
          if (this.#free(outcome.record) > 0) return candidate;
          this.#exhausted.add(formatPrefix(candidate));
          break;
        case "overlaps":
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
      isOwnedBy(record.block, this.owner) && this.#poolOf(record.prefix) &&
      !this.#exhausted.has(formatPrefix(record.prefix)) && this.#free(record) > 0
    )?.prefix;
  }

  /** A block that does not exist yet. */
  #unclaimed(listing: readonly BlockRecord[]): Prefix | undefined {
    for (const pool of this.pools) {
      const taken = [...listing.map((record) => record.prefix), ...this.facts.pools.ceded(pool)];
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
    const empty = listing.filter((record) => isEmpty(record.block));
    const strays = empty.filter(({ prefix }) =>
      this.facts.pools.isStray(prefix) &&
      this.pools.some((pool) => prefixesOverlap(pool.prefix, prefix))
    );
    const left = new Set(listing);
    for (const record of strays) {
      if (await this.#releaseEmpty(record)) left.delete(record);
    }
    if (left.size < listing.length) {
      const free = this.#unclaimed([...left]);
      if (free) return free;
    }
    for (const pool of this.pools) {
      const start = startOf(pool, this.owner.name, this.room.random);
      for (const record of inWalkOrder(pool, start, empty)) {
        if (this.#poolOf(record.prefix) !== pool || this.#free(record) === 0) continue;
        const claimed = Date.parse(record.block.affinity_claim_time ?? "");
        // Two nodes would fight over a block, each freeing it before the other can use it.
        if (this.room.now() - claimed < RECLAIM_AFTER_MS) continue;
        if (await this.#releaseEmpty(record)) return record.prefix;
      }
    }
    return undefined;
  }

  async #releaseEmpty(record: BlockRecord): Promise<boolean> {
    const owner = ownerOf(record.block);
    if (!owner) return await this.room.blocks.delete(record);
    const { sequenceNumber } = record.block;
    const conditions = { mustBeEmpty: true, sequenceNumber };
    return await this.room.affinities.release(owner, record.prefix, conditions) === "released";
  }

  /** Takes from blocks of others, as they come. */
  async #borrow(): Promise<void> {
    const listing = await this.room.blocks.list(this.family);
    const dry: string[] = [];
    for (const pool of this.pools) {
      const start = startOf(pool, this.owner.name, this.room.random);
      for (const record of inWalkOrder(pool, start, listing)) {
        if (this.#short === 0) return;
        if (this.#poolOf(record.prefix) !== pool || this.#free(record) === 0) continue;
        // The listing is younger than the block: nothing in it that overlaps means that it is sound.
        if (listing.some((r) => r !== record && prefixesOverlap(r.prefix, record.prefix))) continue;
        await this.#take(record.prefix, record);
      }
      if (this.#short > 0) dry.push(formatPrefix(pool.prefix));
    }
    if (dry.length > 0) this.progress.messages.add(`No IPs available in pools: [${dry.join(" ")}]`);
  }
}
