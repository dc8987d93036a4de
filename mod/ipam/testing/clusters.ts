/**
 * Random clusters: pools that nest and overlap and come and go, several processes a host, requests
 * side by side in any order of their store operations, conflicts that are none, crashes at any write.
 * After every round all records must be sound; in the end everything can be released, and given again.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatIp,
  ipAt,
  mustIp,
  mustPrefix,
  type Prefix,
  prefixContains,
  prefixesOverlap,
} from "../../net/mod.ts";
import { resourceKey } from "../../model/keys.ts";
import { memoryStore } from "../../store/memory.ts";
import { type Store, StoreError } from "../../store/store.ts";
import { fnv1 } from "../candidates.ts";
import { IpamError } from "../errors.ts";
import { Ipam } from "../ipam.ts";
import { type Pool, PoolMap, readPool } from "../pools.ts";
import { checkRecords } from "./checks.ts";
import { type Faults, FaultyStore } from "./faulty_store.ts";

const HOSTS = ["h0", "h1", "h2"];
const HANDLES = ["a", "b", "c", "d"];
const POOLS = { plural: "ippools", home: "calico", namespaced: false } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;

interface PoolSpec {
  name: string;
  cidr: string;
  blockSize: number;
  disabled: boolean;
  allocatable: boolean;
}

type Action =
  | {
    do: "auto";
    process: number;
    host: string;
    num: number;
    handle?: string;
    pools?: string[];
    limit?: number;
  }
  | { do: "assign"; process: number; host: string; offset: number; handle?: string }
  | { do: "release"; process: number; nth: number; checkHandle: boolean }
  | { do: "releaseHandle"; process: number; handle: string }
  | { do: "claim"; process: number; host: string; pool: number }
  | { do: "releaseHost"; process: number; host: string; mustBeEmpty: boolean }
  | { do: "pool"; pool: PoolSpec }
  | { do: "deletePool"; name: string }
  | { do: "strict"; strict: boolean };

/** Pools in 10.0.0.0/26: few addresses, so that they run out and overlap often. */
const poolSpec: fc.Arbitrary<PoolSpec> = fc
  .record({
    name: fc.constantFrom("p0", "p1", "p2"),
    length: fc.integer({ min: 26, max: 30 }),
    at: fc.nat(63),
    wider: fc.nat(3),
    disabled: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
    allocatable: fc.integer({ min: 0, max: 7 }).map((n) => n !== 0),
  })
  .map(({ name, length, at, wider, disabled, allocatable }) => {
    const base = at - at % 2 ** (32 - length);
    const blockSize = Math.min(32, length + wider);
    return { name, cidr: `10.0.0.${base}/${length}`, blockSize, disabled, allocatable };
  });

const process = fc.nat(2);
const host = fc.constantFrom(...HOSTS);
const handle = fc.option(fc.constantFrom(...HANDLES), { nil: undefined, freq: 8 });

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("auto" as const),
      process,
      host,
      handle,
      num: fc.integer({ min: 1, max: 4 }),
      limit: fc.option(fc.integer({ min: 1, max: 2 }), { nil: undefined, freq: 3 }),
      pools: fc.option(fc.subarray(["p0", "p1", "p2"], { minLength: 1 }), { nil: undefined }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("assign" as const),
      process,
      host,
      handle,
      offset: fc.nat(63),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("release" as const),
      process,
      nth: fc.nat(20),
      checkHandle: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("releaseHandle" as const),
      process,
      handle: fc.constantFrom(...HANDLES),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("claim" as const), process, host, pool: fc.nat(2) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("releaseHost" as const),
      process,
      host,
      mustBeEmpty: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pool" as const), pool: poolSpec }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("deletePool" as const),
      name: fc.constantFrom("p0", "p1", "p2"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("strict" as const), strict: fc.boolean() }),
  },
);

interface FaultPlan {
  /** Picks the writes at which a conflict is injected, one in three; 0 none. */
  conflicts: number;
  crash?: Faults["crash"];
  /** Its store writes several objects in one step. */
  jointly?: boolean;
}

const faults: fc.Arbitrary<FaultPlan> = fc.record({
  conflicts: fc.oneof(fc.constant(0), fc.integer({ min: 1 })),
  crash: fc.option(fc.record({ at: fc.nat(25), reached: fc.boolean() }), { nil: undefined }),
  jointly: fc.boolean(),
});

class Cluster {
  time = Date.UTC(2026, 10, 22);
  processes: { ipam: Ipam; store: FaultyStore }[] = [];
  /** Addresses whose giving was answered and whose release was not asked for: address to handle. */
  readonly held = new Map<string, string | undefined>();

  constructor(
    readonly store: Store,
    readonly scheduler: fc.Scheduler,
    readonly faults: readonly FaultPlan[],
    /** One call at a time: then each refusal can be held against the records. */
    readonly inTurn: boolean,
  ) {
    faults.forEach((f) => this.start(f));
  }

  start(f: FaultPlan): void {
    const store = new FaultyStore(this.store, {
      gate: (label) => this.scheduler.schedule(Promise.resolve(), label),
      conflict: (n) => f.conflicts > 0 && fnv1(`${f.conflicts} ${n}`) % 3 === 0,
      crash: f.crash,
      jointly: f.jointly,
    });
    this.processes.push({ store, ipam: new Ipam(store, { now: () => this.time += 0.5 }) });
  }

  /** New processes take the places of those that died. */
  raiseTheDead(): void {
    this.processes.forEach((process, i) => {
      if (!process.store.dead) return;
      this.start({ conflicts: 0 });
      this.processes[i] = this.processes.pop()!;
    });
  }

  async pools(): Promise<Pool[]> {
    const { entries } = await this.store.list(
      "/calico/resources/v3/projectcalico.org/ippools/",
    );
    return entries.flatMap((entry) => readPool(entry.value) ?? []);
  }

  async putPool({ name, cidr, blockSize, disabled, allocatable }: PoolSpec): Promise<void> {
    const status = allocatable
      ? undefined
      : { conditions: [{ type: "Allocatable", status: "False" }] };
    await this.store.put(resourceKey(POOLS, name), {
      metadata: { name },
      spec: { cidr, blockSize, disabled },
      status,
    });
  }

  /** Runs one action; the refusals that IPAM may give are fine. */
  async act(action: Action, busy: ReadonlySet<string>): Promise<void> {
    if (action.do === "pool") return await this.putPool(action.pool);
    if (action.do === "deletePool") {
      return await this.store.delete(resourceKey(POOLS, action.name)).then(() => {}, () => {});
    }
    if (action.do === "strict") {
      const config = await new Ipam(this.store).getIpamConfig();
      return await new Ipam(this.store).setIpamConfig({ ...config, strictAffinity: action.strict });
    }
    const { ipam, store } = this.processes[action.process];
    if (store.dead) return;
    await Promise.race([store.died, this.call(ipam, action, busy)]);
  }

  async call(
    ipam: Ipam,
    action: Exclude<Action, { do: "pool" | "deletePool" | "strict" }>,
    busy: ReadonlySet<string>,
  ): Promise<void> {
    const hold = (addresses: string[], handle?: string) => {
      for (const address of addresses) {
        assert(!this.held.has(address), `${address} was given while it was held`);
        if (!busy.has(handle ?? "")) this.held.set(address, handle);
      }
    };
    try {
      switch (action.do) {
        case "auto": {
          const { host, num, handle, pools, limit } = action;
          const request = { num4: num, host, handle, pools4: pools, use: "Workload" as const };
          const { v4, error } = await ipam.autoAssign({ ...request, maxBlocksPerHost: limit });
          hold(v4.addresses.map((a) => formatIp(a.ip)), handle);
          const dry = v4.messages.some((m) => m.startsWith("No IPs available"));
          if (this.inTurn && dry && v4.addresses.length < num) {
            await this.checkDry(pools);
          }
          if (this.inTurn && limit && error instanceof IpamError && error.kind === "blockLimit") {
            const owned = (await new Ipam(this.store).blocksOf(host)).length;
            assert(owned >= limit, `${host} may have ${limit} blocks, has ${owned}, and gets none`);
          }
          if (error) throw error;
          return;
        }
        case "assign": {
          const { host, handle, offset } = action;
          const address = formatIp(ipAt(mustPrefix("10.0.0.0/26"), offset));
          try {
            await ipam.assignIp({ address, host, handle });
          } catch (error) {
            if (this.inTurn && error instanceof IpamError && error.kind === "addressTaken") {
              const { allocated } = await checkRecords(this.store);
              assert(allocated.has(address), `${address} is free, and was called taken`);
            }
            throw error;
          }
          return hold([address], handle);
        }
        case "release": {
          const address = [...this.held.keys()][action.nth % Math.max(1, this.held.size)];
          if (address === undefined) return;
          const handle = this.held.get(address);
          this.held.delete(address);
          // Without its handle only where nobody else releases it: it may be another's by then.
          const named = handle !== undefined && (action.checkHandle || busy.has(handle));
          const { unallocated } = await ipam.releaseIps([{ address, ...(named && { handle }) }]);
          if (this.inTurn) assert.deepEqual(unallocated, [], `${address} was held`);
          return;
        }
        case "releaseHandle":
          for (const [address, handle] of this.held) {
            if (handle === action.handle) this.held.delete(address);
          }
          await ipam.releaseByHandle(action.handle);
          return;
        case "claim": {
          const pool = (await this.pools())[action.pool];
          if (pool) await ipam.claimAffinity(pool.prefix, action.host);
          return;
        }
        case "releaseHost":
          return await ipam.releaseHostAffinities(action.host, {
            mustBeEmpty: action.mustBeEmpty,
          });
      }
    } catch (error) {
      if (!(error instanceof IpamError || error instanceof StoreError)) throw error;
      // Nothing but the injected conflicts may exhaust a hundred tries, and they don't.
      assert(!error.message.startsWith("Max retries"), error.message);
      assert(!(error instanceof StoreError), `${error.message}`);
      assert.notEqual((error as IpamError).kind, "badRecord");
    }
  }

  /** Nothing can be borrowed from the pools: who was told so was told the truth. */
  async checkDry(names: readonly string[] | undefined): Promise<void> {
    const map = new PoolMap(await this.pools());
    const { blocks } = await checkRecords(this.store);
    for (const { prefix, block } of blocks) {
      const pool = map.ownerOfBlock(prefix);
      if (!pool || (names && !names.includes(pool.name))) continue;
      if (blocks.some((b) => b.prefix !== prefix && prefixesOverlap(b.prefix, prefix))) continue;
      assert.deepEqual(block.unallocated, [], `${block.cidr} has addresses, and none was given`);
    }
  }

  async check(): Promise<void> {
    const { allocated } = await checkRecords(this.store);
    for (const [address, handle] of this.held) {
      assert.equal(allocated.get(address), handle ?? "", `${address} was lost`);
    }
  }
}

/** Everything can be released, leaves nothing, and can be given again. */
async function checkEnd(store: Store): Promise<void> {
  let time = Date.UTC(2026, 10, 23);
  const ipam = new Ipam(store, { now: () => time += 1 });
  for (const handle of HANDLES) await ipam.releaseByHandle(handle);
  const { allocated, handles } = await checkRecords(store);
  assert.deepEqual([...handles.keys()], [], "handles are left");
  for (const [address, handle] of allocated) assert.equal(handle, "", `${address} is leaked`);
  const left = [...allocated.keys()].map((address) => ({ address }));
  const { unallocated } = await ipam.releaseIps(left);
  assert.deepEqual(unallocated, []);
  for (const host of HOSTS) await ipam.releaseHostAffinities(host);
  const { blocks, affinities } = await checkRecords(store);
  // Blocks of which the affinity was lost to a crash are empty, and are found again by those who claim.
  for (const { block } of blocks) assert(block.attributes.length === 0);
  assert.deepEqual(affinities, []);
  await ipam.setIpamConfig({
    strictAffinity: false,
    autoAllocateBlocks: true,
    maxBlocksPerHost: 0,
    kubeVirtVMAddressPersistence: "Enabled",
    ipCooldownSeconds: 0,
  });
  const { entries } = await store.list("/calico/resources/v3/projectcalico.org/ippools/");
  const pools = new PoolMap(entries.flatMap((entry) => readPool(entry.value) ?? []));
  for (const pool of pools.enabled) await checkWholePool(ipam, pools, pool);
  await checkRecords(store);
}

/** A pool gives exactly the addresses of its blocks that it owns whole. */
async function checkWholePool(ipam: Ipam, pools: PoolMap, pool: Pool): Promise<void> {
  const { v4 } = await ipam.autoAssign({
    num4: 64,
    host: "h0",
    handle: `all-${pool.name}`,
    pools4: [pool.name],
    use: "Workload",
    maxBlocksPerHost: 100,
  });
  const got = v4.addresses.map((a) => formatIp(a.ip)).sort();
  const want: string[] = [];
  for (let i = 0; i < 64; i++) {
    const ip = ipAt(mustPrefix("10.0.0.0/26"), i);
    const block: Prefix = mustPrefix(`${formatIp(ip)}/${pool.blockSize}`);
    if (prefixContains(pool.prefix, ip) && pools.ownerOfBlock(block) === pool) {
      want.push(formatIp(ip));
    }
  }
  assert.deepEqual(got, want.sort(), `pool ${pool.name}`);
  assert(got.every((address) => prefixContains(pool.prefix, mustIp(address))));
}

function busyHandles(round: readonly Action[]): Set<string> {
  return new Set(round.flatMap((a) => a.do === "releaseHandle" ? [a.handle] : []));
}

/** Fails with the smallest cluster, and the order of operations, in which a rule is broken. */
export async function checkClusters(runs: number): Promise<void> {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(poolSpec, { minLength: 1, maxLength: 3 }),
      fc.array(faults, { minLength: 3, maxLength: 3 }),
      fc.array(fc.array(action, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 }),
      (scheduler, pools, faults, rounds) => runCluster(scheduler, pools, faults, rounds),
    ),
    { numRuns: runs },
  );
}

/**
 * Processes that remember what the others have long changed: calls one after the other, no faults.
 * No refusal may come from an old copy.
 */
export async function checkTurns(runs: number): Promise<void> {
  const sound = [{ conflicts: 0 }, { conflicts: 0 }, { conflicts: 0 }];
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(poolSpec, { minLength: 1, maxLength: 2 }),
      fc.array(action.map((one) => [one]), { minLength: 4, maxLength: 24 }),
      (scheduler, pools, rounds) => runCluster(scheduler, pools, sound, rounds, true),
    ),
    { numRuns: runs },
  );
}

async function runCluster(
  scheduler: fc.Scheduler,
  pools: readonly PoolSpec[],
  faults: readonly FaultPlan[],
  rounds: readonly Action[][],
  inTurn = false,
): Promise<void> {
  const store = memoryStore();
  try {
    const cluster = new Cluster(store, scheduler, faults, inTurn);
    for (const pool of pools) await cluster.putPool(pool);
    for (const name of HOSTS) await store.put(resourceKey(NODES, name), { metadata: { name } });
    for (const round of rounds) {
      const busy = busyHandles(round);
      await scheduler.waitFor(Promise.all(round.map((a) => cluster.act(a, busy))));
      await cluster.check();
      cluster.raiseTheDead();
    }
    await checkEnd(store);
  } finally {
    await store.close();
  }
}
