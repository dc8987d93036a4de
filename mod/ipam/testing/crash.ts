/**
 * For tests: a process that dies at each write in turn, before or after the store has done it; on a store
 * that writes one object at a time, and on one that writes several in one step.
 */
import type { Ipam } from "../ipam.ts";
import { checkRecords } from "./checks.ts";
import type { FaultyStore } from "./faulty_store.ts";
import { World } from "./world.ts";

/** Kills `work` at every write it makes, and says how many; `after` says what must be true for the next process. */
export async function killEverywhere(
  prepare: (world: World) => Promise<void>,
  work: (ipam: Ipam, store: FaultyStore) => Promise<unknown>,
  after: (world: World) => Promise<void>,
): Promise<number> {
  await kill(true, prepare, work, after);
  return await kill(false, prepare, work, after);
}

/** How many writes there were. */
async function kill(
  jointly: boolean,
  prepare: (world: World) => Promise<void>,
  work: (ipam: Ipam, store: FaultyStore) => Promise<unknown>,
  after: (world: World) => Promise<void>,
): Promise<number> {
  for (let at = 0;; at++) {
    for (const reached of [false, true]) {
      const world = new World();
      try {
        await prepare(world);
        const { ipam, store } = world.process({ crash: { at, reached }, jointly });
        await Promise.race([store.died, work(ipam, store)]);
        if (!store.dead) return at;
        await checkRecords(world.store);
        await after(world);
        await checkRecords(world.store);
      } finally {
        await world.store.close();
      }
    }
  }
}
