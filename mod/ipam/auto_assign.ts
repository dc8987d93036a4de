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
import { isEmpty, isOwnedBy } from "./block.ts";
import { collectCooled, take } from "./block_changes.ts";
import { BlockSearch } from "./block_search.ts";
import type { BlockRecord } from "./block_table.ts";
import { inWalkOrder, startOf } from "./candidates.ts";
import { unlessDamaged } from "./damage.ts";
import { blockLimit, IpamError, tooManyRetries } from "./errors.ts";
import type { Facts, Labels } from "./facts.ts";
import { RETRIES } from "./handles.ts";
import { determinePools, selectsNode } from "./pools.ts";
import type { Room } from "./room.ts";
import type { AssignedAddress, AutoAssignRequest, ReadAhead } from "./types.ts";

/** Calico's safeguard where no limit is set. */
const DEFAULT_BLOCK_LIMIT = 20;

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
    const inputs = i === 0 ? request.ahead?.get(family) : undefined;
    const assigner = Assigner.prepare(
      room,
      request,
      family,
      wanted,
      progress,
      await (inputs ?? readInputs(room, request, family)),
    );
    if (await assigner.run()) return;
  }
  throw tooManyRetries(`blocks of ${request.host}`);
}

type About = Pick<AutoAssignRequest, "host" | "namespace" | "use">;

/** What one family of a request follows from, as the store has it now. */
export interface Inputs {
  readonly facts: Facts;
  /** undefined: there is no such node. */
  readonly nodeLabels: Labels | undefined;
  readonly namespaceLabels: Labels;
  readonly affinities: readonly AffinityRecord[];
}

function ownerOf({ host, use }: About): AffinityOwner {
  return use === "LoadBalancer" ? LOAD_BALANCER : { type: "host", name: host };
}

async function readInputs(room: Room, about: About, family: Family): Promise<Inputs> {
  const { host, namespace } = about;
  const owner = ownerOf(about);
  const [facts, nodeLabels, namespaceLabels, affinities] = await Promise.all([
    room.facts.read(),
    owner === LOAD_BALANCER ? {} : room.facts.nodeLabels(host),
    namespace === undefined ? {} : room.facts.namespaceLabels(namespace),
    room.reads.read(
      `affinities ${formatAffinity(owner)} ${family}`,
      () => room.affinities.list(owner, family),
    ),
  ]);
  return { facts, nodeLabels, namespaceLabels, affinities };
}

/** The same ahead of the request. What cannot be read is told to whoever uses it. */
export function readAhead(room: Room, about: About, families: readonly Family[]): ReadAhead {
  return new Map(families.map((family) => {
    const inputs = readInputs(room, about, family);
    inputs.catch(() => {});
    return [family, inputs];
  }));
}

class Assigner {
  /** Blocks that are ours as far as we know, by CIDR: what the limit counts. */
  readonly #own = new Set<string>();

  private constructor(
    readonly room: Room,
    readonly request: AutoAssignRequest,
    readonly wanted: number,
    readonly progress: Progress,
    readonly search: BlockSearch,
    readonly nodeLabels: Labels,
    readonly affinities: readonly AffinityRecord[],
  ) {
    for (const { block } of affinities) {
      if (search.poolOf(block)) this.#own.add(formatPrefix(block));
    }
  }

  static prepare(
    room: Room,
    request: AutoAssignRequest,
    family: Family,
    wanted: number,
    progress: Progress,
    { facts, nodeLabels, namespaceLabels, affinities }: Inputs,
  ): Assigner {
    const { host } = request;
    const owner = ownerOf(request);
    if (facts.configDamage) throw facts.configDamage;
    if (!nodeLabels) {
      throw new IpamError(
        "nodeUnknown",
        `resource does not exist: Node(${host}): addresses are given to known nodes only; create ` +
          `the Node object, or start the node service there anew`,
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
    const search = new BlockSearch(room, facts, owner, family, pools);
    return new Assigner(room, request, wanted, progress, search, nodeLabels, affinities);
  }

  /** False where the pools have changed under us, or the store may have gone back: begin anew. */
  async run(): Promise<boolean> {
    const { epoch } = this.room.handles;
    const began = epoch.now;
    await this.#tidy();
    await this.#takeFromOwn();
    // What was known of our blocks is forgotten: they are looked at again before others are claimed.
    if (this.#short > 0 && epoch.now !== began) return false;
    while (this.#short > 0) {
      const found = await this.#claimInTurn();
      if (found === "stale") return false;
      if (found === "none") break;
      await this.#takeFrom(found);
    }
    if (this.#short === 0 || this.facts.config.strictAffinity) return true;
    return await this.#borrow();
  }

  get #short(): number {
    return this.wanted - this.progress.addresses.length;
  }

  /** Releases empty blocks of ours that we are not to use: strays, and those of pools not for this node. */
  async #tidy(): Promise<void> {
    for (const { block } of this.affinities) {
      if (this.search.poolOf(block)) continue;
      const pool = this.facts.pools.ownerOfBlock(block);
      const leave = pool ? selectsNode(pool, this.nodeLabels) : !this.facts.pools.isStray(block);
      if (leave) continue;
      // Not from memory: another process may have released the last address.
      await this.#unlessDamaged(block, async () => {
        const record = await this.room.blocks.read(block);
        if (record && !isEmpty(record.block)) return;
        await this.room.affinities.release(this.search.owner, block, { mustBeEmpty: true });
      });
    }
  }

  /** First the blocks that seem to have something, then a closer look at those that seem full. */
  async #takeFromOwn(): Promise<void> {
    const seemFull: Prefix[] = [];
    for (const affinity of this.affinities) {
      if (this.#short === 0) return;
      const { block } = affinity;
      if (!this.search.poolOf(block) || this.facts.reservations.coversAll(block)) continue;
      const sound = isConfirmed(affinity.state) &&
        this.room.affinities.proof(this.search.owner, block);
      if (!sound) {
        const loaded = await this.#unlessDamaged(block, () =>
          this.room.locks.hold(
            this.#turn,
            () => this.room.affinities.load(this.search.owner, block),
          ));
        if (loaded?.is === "claimed") await this.#takeFrom(block);
        else if (loaded) this.#own.delete(formatPrefix(block));
        continue;
      }
      const known = this.room.blocks.known(block);
      if (known && this.search.free(known) === 0) seemFull.push(block);
      else await this.#takeFrom(block);
    }
    for (const block of seemFull) {
      if (this.#short === 0) return;
      const record = await this.#unlessDamaged(block, () => this.room.blocks.read(block));
      if (record && this.search.free(record) > 0) await this.#takeFrom(block);
    }
  }

  /** A damaged block has nothing for us, and is named where nothing else has. */
  async #unlessDamaged<T>(block: Prefix, work: () => Promise<T>): Promise<T | undefined> {
    return await unlessDamaged(work, ({ message }) => {
      this.progress.messages.add(message);
      this.search.exhausted.add(formatPrefix(block));
      this.room.affinities.forget(this.search.owner, block);
      this.room.warn(message);
      return undefined;
    });
  }

  /** Takes what there is in a block of ours. */
  async #takeFrom(block: Prefix): Promise<void> {
    const life = this.room.affinities.proof(this.search.owner, block);
    const got = life &&
      await this.#unlessDamaged(block, () => this.#take(block, life, this.search.owner));
    if (got === undefined) this.room.affinities.forget(this.search.owner, block);
    if (!got) this.search.exhausted.add(formatPrefix(block));
  }

  /** How many addresses; undefined where the block is gone, or not `owner`'s where one is given. */
  async #take(
    prefix: Prefix,
    life: BlockRecord,
    owner?: AffinityOwner,
  ): Promise<number | undefined> {
    const { handle, attributes, beside } = this.request;
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
        ...(beside && {
          beside: {
            plan: () => beside.plan(ipAt(prefix, taken.ordinals[0])),
            written: (write) => beside.written(write),
          },
        }),
      };
    }, { guess: true, life });
    const pool = this.facts.pools.ownerOfBlock(prefix)?.name ?? "";
    for (const ordinal of ordinals ?? []) {
      this.progress.addresses.push({ ip: ipAt(prefix, ordinal), block: prefix, pool });
    }
    return ordinals?.length;
  }

  get facts(): Facts {
    return this.search.facts;
  }

  get #turn(): string {
    return `claim ${formatAffinity(this.search.owner)} ${this.search.family}`;
  }

  /** A block of ours that may have something: claimed by another request meanwhile, or by us now. */
  #claimInTurn(): Promise<Prefix | "none" | "stale"> {
    return this.room.locks.hold(this.#turn, async () => {
      for (const record of this.room.affinities.known(this.search.owner)) {
        if (!this.search.poolOf(record.prefix)) continue;
        this.#own.add(formatPrefix(record.prefix));
        if (this.search.isPromising(record)) return record.prefix;
      }
      const limit = this.#limit();
      if (this.#own.size >= limit && await this.#countOwn() >= limit) throw blockLimit(limit);
      if (!this.facts.config.autoAllocateBlocks) {
        throw new IpamError(
          "noFreeAddresses",
          `failed to find or claim a block: the blocks of ${
            formatAffinity(this.search.owner)
          } are full and ` +
            `autoAllocateBlocks is off`,
        );
      }
      const found = await this.search.claim();
      if (found === "none" && this.facts.config.strictAffinity) {
        this.progress.messages.add("No more free affine blocks and strict affinity enabled");
      }
      return found;
    });
  }

  /** As the store has it: another process may have released blocks that we remember as ours. */
  async #countOwn(): Promise<number> {
    const { owner, family } = this.search;
    this.#own.clear();
    for (const { block } of await this.room.affinities.list(owner, family)) {
      if (this.search.poolOf(block)) this.#own.add(formatPrefix(block));
    }
    return this.#own.size;
  }

  #limit(): number {
    const { maxBlocksPerHost: configured } = this.facts.config;
    const limits = [configured, this.request.maxBlocksPerHost ?? 0].filter((limit) => limit > 0);
    if (limits.length > 0) return Math.min(...limits);
    return configured < 0 ? Infinity : DEFAULT_BLOCK_LIMIT;
  }

  /** Takes from blocks of others, as they come. False where one of them is gone: look again. */
  async #borrow(): Promise<boolean> {
    const listing = await this.room.blocks.list(this.search.family);
    const dry: string[] = [];
    let gone = false;
    for (const pool of this.search.pools) {
      const start = startOf(pool, this.search.owner.name, this.room.random);
      for (const record of inWalkOrder(pool, start, listing)) {
        if (this.#short === 0) return true;
        if (this.search.poolOf(record.prefix) !== pool || this.search.free(record) === 0) continue;
        // The listing is younger than the block: nothing in it that overlaps means that it is sound.
        if (listing.some((r) => r !== record && prefixesOverlap(r.prefix, record.prefix))) continue;
        if (this.room.affinities.damagedOver(record.prefix)) continue;
        const got = await unlessDamaged(() => this.#take(record.prefix, record), () => 0);
        if (got === undefined) gone = true;
      }
      if (this.#short > 0) dry.push(formatPrefix(pool.prefix));
    }
    if (this.#short > 0 && gone) return false;
    if (dry.length > 0) this.progress.messages.add(`No IPs available in pools: [${dry.join(" ")}]`);
    return true;
  }
}
