/**
 * Eight nodes that assign and release addresses on one embedded store that `tortie datastore serve`
 * serves, while kill -9 strikes it and those that assign: processes with an IPAM of their own, or services
 * of the built executable that are called as a runtime calls them; beside services `tortie controllers run`
 * collects, and is killed too. What was said is then judged: no address was two handles' at a time, none is
 * lost, and in the end `ipam check` finds nothing, with no help but the controllers'.
 */
import assert from "node:assert/strict";
import { remoteStore } from "../../mod/store/remote.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { NODES } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { Store } from "../../mod/store/store.ts";
import { binary, tool } from "../cluster/harness.ts";
import { ControllersProcess, tortie } from "./controllers_process.ts";
import { assertRecorded, judge, spawnIpam, Speaker, standing } from "./ipam_log.ts";
import { putPools } from "./ipam_pools.ts";
import { NodeServices } from "./node_services.ts";

const NODE_COUNT = 8;
/** Seconds for which the controllers leave alone what looks unused: while calls go on, and at the end. */
const GRACE = 60, LAST_GRACE = 2;

export interface KillOptions {
  /** Addresses to assign in all. */
  readonly total: number;
  /** At least so many kills of the store, and as many of the others. */
  readonly kills: number;
  /** Milliseconds between two. */
  readonly pauseMs: number;
  /** Whether nodes are services of the built executable. */
  readonly services?: boolean;
}

export interface KillVerdict {
  readonly assigned: number;
  /** Those of the pool in which nodes meet. */
  readonly narrow: number;
  readonly unsure: number;
  readonly storeKills: number;
  readonly processKills: number;
  readonly controllersKills: number;
  readonly seconds: number;
}

/** Throws where the log or the records are not as they must be. */
export async function assignUnderKills(options: KillOptions): Promise<KillVerdict> {
  const { total, kills, pauseMs, services: byServices = false } = options;
  const began = performance.now();
  const folder = await Deno.makeTempDir({ prefix: "tortie-kills-" });
  const socket = `${folder}/store.sock`;
  const count = Math.ceil(total / NODE_COUNT), hold = Math.max(10, Math.ceil(count / 10));
  const heard: string[][] = Array.from({ length: NODE_COUNT }, () => []);
  const store = remoteStore(socket, { patienceMs: 60_000 });
  const serve = async () => {
    const script = `exec "$0" datastore serve --path "$1/store.kv" --socket "$2" >>"$1/log" 2>&1`;
    const child = new Deno.Command("/bin/sh", {
      args: ["-c", script, binary(), folder, socket],
      stdin: "null",
    }).spawn();
    await store.get("/calico/nothing");
    return child;
  };
  const made: string[] = [];
  const places = Array.from({ length: byServices ? NODE_COUNT : 0 }, (_, i) => (
    { netns: `k${Deno.pid}n${i}`, ip: `10.20.0.${i + 1}`, pods: `k${Deno.pid}p${i}` }
  ));
  const services = new NodeServices(places, { TORTIE_STORE: socket });
  const work = (i: number) => {
    const way = byServices
      ? { service: { socket: services.socket(i), netns: `/run/netns/${places[i].pods}` } }
      : { socket };
    const before = standing(heard[i]);
    return new Speaker(spawnIpam("--work", { ...way, node: `n${i}`, count, hold, before }));
  };
  const killOne = async (i: number) => {
    if (byServices) return await services.kill(i);
    await speakers[i].kill();
    // What it says of its end is only true of one that lives to the end.
    heard[i].push(...speakers[i].lines.filter((line) => !/^(held|done) /.test(line)));
    speakers[i] = work(i);
  };
  const killServer = async () => {
    server.kill("SIGKILL");
    await server.status;
  };
  let server = await serve();
  let controllers: ControllersProcess | undefined;
  let speakers: Speaker[] = [];
  let storeKills = 0, processKills = 0;
  try {
    await prepare(store);
    if (byServices) {
      for (const netns of places.flatMap((place) => [place.netns, place.pods])) {
        await tool(undefined, "ip", "netns", "add", netns);
        made.push(netns);
      }
      for (const { netns, ip } of places) {
        await tool(netns, "ip", "link", "set", "lo", "up");
        await tool(netns, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
        await tool(netns, "ip", "link", "set", "wire", "up");
        await tool(netns, "ip", "address", "add", `${ip}/24`, "dev", "eth0");
        await tool(netns, "ip", "link", "set", "eth0", "up");
      }
      await services.start();
      controllers = new ControllersProcess({ env: { TORTIE_STORE: socket } });
      await controllers.grace(GRACE);
      controllers.start();
    }
    speakers = Array.from({ length: NODE_COUNT }, (_, i) => work(i));
    const isDone = () => speakers.every(({ done }) => done);
    while (storeKills < kills || processKills < kills || !isDone()) {
      await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.5 + Math.random())));
      for (const { ended, killed } of speakers) if (!killed) await Promise.race([ended, null]);
      if (storeKills <= processKills) {
        await killServer();
        storeKills++;
        server = await serve();
      } else {
        await killOne(processKills++ % NODE_COUNT);
        if (processKills % 3 === 0) await controllers?.kill();
      }
    }
    const logs = speakers.map(({ lines }, i) => [...heard[i], ...lines]);
    const { assigned, narrow, unsure, held } = judge(logs);
    assert(assigned >= total, `${assigned} of ${total} assigned`);
    const { allocated } = await checkRecords(store);
    assertRecorded(allocated, held, byServices);
    await Promise.all(speakers.map((speaker) => speaker.release()));
    const after = await checkRecords(store);
    assert.deepEqual([after.allocated.size, after.handles.size], [0, 0], "all was given back");
    if (controllers) {
      await controllers.kill();
      await controllers.grace(LAST_GRACE);
      await controllers.clean(120_000);
    } else {
      const { code, said } = await tortie({ env: { TORTIE_STORE: socket } }, ["ipam", "check"]);
      assert.equal(code, 0, said);
    }
    const seconds = (performance.now() - began) / 1000;
    const controllersKills = controllers?.kills ?? 0;
    return { assigned, narrow, unsure, storeKills, processKills, controllersKills, seconds };
  } finally {
    await store.close();
    for (const speaker of speakers) await speaker.kill().catch(() => {});
    await controllers?.stop();
    await services.stop();
    for (const netns of made) await tool(undefined, "ip", "netns", "del", netns);
    await killServer();
    await Deno.remove(folder, { recursive: true });
  }
}

async function prepare(store: Store): Promise<void> {
  await putPools(store);
  for (let i = 0; i < NODE_COUNT; i++) {
    await store.put(resourceKey(NODES, `n${i}`), { metadata: { name: `n${i}` } });
  }
}
