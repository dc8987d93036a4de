/**
 * IPAM by itself: assignments a second on a warm block, one after the other and a hundred at once, and
 * what each costs in store operations, on each driver (`DRIVERS`). Then a pool of which nearly every
 * block is somebody's: how long the claim of one of the last takes.
 *
 *     deno run -A --unstable-kv tests/bench/ipam.ts [DRIVER…]
 */
import { Ipam } from "../../mod/ipam/ipam.ts";
import { type DatastoreName, makeNode, startDatastore } from "./datastores.ts";
import { measureHostLocal } from "./host_local.ts";
import { FaultyStore } from "../../mod/ipam/testing/faulty_store.ts";
import { newBlock } from "../../mod/ipam/block.ts";
import { affinityKey, blockKey, resourceKey } from "../../mod/model/keys.ts";
import { mustPrefix } from "../../mod/net/mod.ts";
import { openKv } from "../../mod/store/kv.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import type { Store } from "../../mod/store/store.ts";

export interface IpamFigures {
  store: string;
  /** One after the other: assign and release by handle, each a second. */
  assignsPerSecond: number;
  releasesPerSecond: number;
  /** Store operations of one warm assignment, of one warm release. */
  assign: { reads: number; writes: number };
  release: { reads: number; writes: number };
  /** A hundred assignments at once. */
  burst: { milliseconds: number; reads: number; writes: number };
  /** One claim in a pool with this many blocks, nearly all of them taken. */
  fullPool: { blocks: number; milliseconds: number };
}

const WORKLOAD = { num4: 1, host: "n1", use: "Workload" as const };

export async function measure(name: string, store: Store, rounds = 500): Promise<IpamFigures> {
  const put = (plural: string, object: string, spec: object) =>
    store.put(resourceKey({ plural, home: "calico", namespaced: false }, object), {
      metadata: { name: object },
      spec,
    });
  await put("nodes", "n1", {});
  await put("ippools", "p", { cidr: "10.0.0.0/16", blockSize: 24 });
  const counted = new FaultyStore(store);
  const ipam = new Ipam(counted);
  await ipam.assign({ ...WORKLOAD, handle: "warm" });

  const operations = async (work: () => Promise<unknown>) => {
    counted.reads = counted.writes = 0;
    const start = performance.now();
    await work();
    const { reads, writes } = counted;
    return { milliseconds: performance.now() - start, reads, writes };
  };
  let assigning = 0, releasing = 0;
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    await ipam.assign({ ...WORKLOAD, handle: `r${i}` });
    const middle = performance.now();
    await ipam.releaseByHandle(`r${i}`);
    assigning += middle - start;
    releasing += performance.now() - middle;
  }
  const assign = await operations(() => ipam.assign({ ...WORKLOAD, handle: "one" }));
  const release = await operations(() => ipam.releaseByHandle("one"));
  const burst = await operations(() =>
    Promise.all(
      Array.from({ length: 100 }, (_, i) => ipam.assign({ ...WORKLOAD, handle: `b${i}` })),
    )
  );
  return {
    store: name,
    assignsPerSecond: Math.round(rounds / assigning * 1000),
    releasesPerSecond: Math.round(rounds / releasing * 1000),
    assign: { reads: assign.reads, writes: assign.writes },
    release: { reads: release.reads, writes: release.writes },
    burst,
    fullPool: await fullPool(store, put),
  };
}

/** 1,024 blocks, all but one claimed by others. */
async function fullPool(
  store: Store,
  put: (plural: string, object: string, spec: object) => Promise<unknown>,
): Promise<IpamFigures["fullPool"]> {
  await put("ippools", "full", { cidr: "10.1.0.0/16", blockSize: 26, assignmentMode: "Manual" });
  // Written as claims leave them: the claims of all the others are not what is measured.
  const owner = { type: "host" as const, name: "others" };
  for (let i = 0; i < 1024; i++) {
    const block = mustPrefix(`10.1.${i >> 2}.${(i & 3) * 64}/26`);
    await store.create(affinityKey(owner, block), { state: "confirmed", deleted: false });
    await store.create(blockKey(block), newBlock(block, owner, Date.now()));
  }
  await new Ipam(store).releaseAffinity("10.1.77.64/26", "others");
  const start = performance.now();
  await new Ipam(store).assign({ ...WORKLOAD, pools4: ["full"] });
  return { blocks: 1024, milliseconds: performance.now() - start };
}

/** A store that is measured, and how to be rid of it. */
export interface Driver {
  open(): Promise<{ readonly store: Store; close(): Promise<void> }>;
}

async function inFolder(open: (folder: string) => Promise<Store>) {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-" });
  const store = await open(folder);
  return {
    store,
    async close() {
      await store.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

export const DRIVERS: Readonly<Record<string, Driver>> = {
  memory: { open: () => inFolder(() => Promise.resolve(memoryStore())) },
  kv: { open: () => inFolder((folder) => openKv(`${folder}/bench.kv`)) },
  etcd: { open: () => served("etcd") },
  kubernetes: { open: () => served("kubernetes") },
};

/** A server in a process of its own. */
async function served(name: DatastoreName) {
  const datastore = await startDatastore(name);
  const store = await datastore.open();
  await makeNode(store, "n1");
  return {
    store,
    async close() {
      await store.close();
      await datastore.close();
    },
  };
}

export async function measureDriver(name: string, rounds?: number): Promise<IpamFigures> {
  const driver = DRIVERS[name];
  if (!driver) throw new Error(`no driver "${name}"; there are ${Object.keys(DRIVERS).join(", ")}`);
  const { store, close } = await driver.open();
  try {
    return await measure(name, store, rounds);
  } finally {
    await close();
  }
}

if (import.meta.main) {
  for (const name of Deno.args.length > 0 ? Deno.args : Object.keys(DRIVERS)) {
    console.log(JSON.stringify(await measureDriver(name), null, 1));
  }
  console.log(JSON.stringify({ store: "host-local", ...await measureHostLocal() }, null, 1));
}
