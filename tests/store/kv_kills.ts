/**
 * Several processes that assign and release addresses on one embedded store that another serves, while
 * kill -9 strikes the one that serves and those that assign. What they said is then judged: no address
 * was two handles' at a time, none is lost, and `ipam check` finds nothing at the end.
 */
import assert from "node:assert/strict";
import { remoteStore } from "../../mod/store/remote.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { NODES, POOLS } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { Store } from "../../mod/store/store.ts";
import { command } from "../cli/harness.ts";
import { judge, spawnIpam, Speaker, standing } from "./ipam_log.ts";
import { Child } from "./processes.ts";

const PROCESSES = 4;

export interface KillOptions {
  /** Addresses to assign in all. */
  readonly total: number;
  /** At least so many kills of the store, and as many of the others. */
  readonly kills: number;
  /** Milliseconds between two. */
  readonly pauseMs: number;
}

export interface KillVerdict {
  readonly assigned: number;
  readonly unsure: number;
  readonly storeKills: number;
  readonly processKills: number;
  readonly seconds: number;
}

/** Throws where the log or the records are not as they must be. */
export async function assignUnderKills(options: KillOptions): Promise<KillVerdict> {
  const { total, kills, pauseMs } = options;
  const began = performance.now();
  const folder = await Deno.makeTempDir({ prefix: "tortie-kills-" });
  const socket = `${folder}/store.sock`;
  const count = Math.ceil(total / PROCESSES), hold = Math.max(10, Math.ceil(count / 10));
  const heard: string[][] = Array.from({ length: PROCESSES }, () => []);
  const serve = async () => {
    const child = new Child("server_process.ts", `${folder}/store.kv`, socket);
    assert.equal(await child.next(), "serving");
    return child;
  };
  const work = (i: number) => {
    const before = standing(heard[i]);
    return new Speaker(
      spawnIpam("--work", { socket, node: `n${i}`, count, hold, before }),
    );
  };
  let server = await serve();
  const store = remoteStore(socket, { patienceMs: 30_000 });
  let speakers: Speaker[] = [];
  let storeKills = 0, processKills = 0;
  try {
    await prepare(store);
    speakers = Array.from({ length: PROCESSES }, (_, i) => work(i));
    const isDone = () => speakers.every(({ done }) => done);
    while (storeKills < kills || processKills < kills || !isDone()) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.5 + Math.random())));
      for (const { ended, killed } of speakers) if (!killed) await Promise.race([ended, null]);
      if (storeKills <= processKills) {
        server.kill();
        await server.rest();
        await server.ended();
        storeKills++;
        server = await serve();
      } else {
        const i = processKills++ % PROCESSES;
        await speakers[i].kill();
        // What it says of its end is only true of one that lives to the end.
        heard[i].push(...speakers[i].lines.filter((line) => !/^(held|done) /.test(line)));
        speakers[i] = work(i);
      }
    }
    const logs = speakers.map(({ lines }, i) => [...heard[i], ...lines]);
    const { assigned, unsure, held } = judge(logs);
    assert(assigned >= total, `${assigned} of ${total} assigned`);
    const { allocated } = await checkRecords(store);
    assert.deepEqual(new Map([...allocated].sort()), new Map([...held].sort()));
    await Promise.all(speakers.map((speaker) => speaker.release()));
    const after = await checkRecords(store);
    assert.deepEqual([after.allocated.size, after.handles.size], [0, 0], "all was given back");
    const check = await command(["ipam", "check"], { env: { TORTIE_STORE: socket } });
    assert.equal(check.exit, 0, check.out + check.err);
    const seconds = (performance.now() - began) / 1000;
    return { assigned, unsure, storeKills, processKills, seconds };
  } finally {
    await store.close();
    for (const speaker of speakers) await speaker.kill().catch(() => {});
    server.kill();
    await server.rest();
    await server.ended();
    await Deno.remove(folder, { recursive: true });
  }
}

async function prepare(store: Store): Promise<void> {
  await store.put(resourceKey(POOLS, "p"), {
    metadata: { name: "p" },
    spec: { cidr: "10.0.0.0/12", blockSize: 26 },
  });
  for (let i = 0; i < PROCESSES; i++) {
    await store.put(resourceKey(NODES, `n${i}`), { metadata: { name: `n${i}` } });
  }
}
