/**
 * A node service that follows 10,000 endpoints of other nodes, on each datastore: its memory and the
 * processor time that it takes to read them at its start, to hear of changes, and to do nothing. On kv
 * it is the node service itself that keeps and serves the store.
 *
 *     deno task bench follow
 */
import { binary, pause, tool, until } from "../cluster/harness.ts";
import { World } from "../cluster/world.ts";
import { ETCD_NOTE, EtcdCluster } from "../store/etcd_server.ts";
import { type DatastoreName, kubernetesProcess, NAMES, untilFile } from "./datastores.ts";
import { memoryOf } from "./memory.ts";
import { ms, type Outcome } from "./report.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const CHANGES = 1000, IDLE_SECONDS = 20;
const TICKS = 100; // USER_HZ of every Linux that Deno runs on.

export interface FollowFigures {
  readonly datastore: DatastoreName;
  /** MB resident: with none, and after a start with all of them. */
  readonly emptyMb: number;
  readonly fullMb: number;
  readonly peakMb: number;
  /** Seconds of processor: to be up and have read all, for a thousand changes, and in one idle minute. */
  readonly startCpu: number;
  readonly changesCpu: number;
  readonly idleCpu: number;
}

export async function measure(datastore: DatastoreName, endpoints: number): Promise<FollowFigures> {
  const env: Record<string, string> = {};
  const world = new World(env);
  const ends: (() => Promise<unknown>)[] = [() => world.close()];
  const socket = `${world.folder}/run/tortie.sock`;
  const fill = (...words: string[]) =>
    tool(world.node, Deno.execPath(), ...[
      ...RUN_MODULE,
      ...[new URL("fill_process.ts", import.meta.url).pathname, ...words],
    ]);
  try {
    await world.namespace(world.node);
    await tool(world.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
    await tool(world.node, "ip", "link", "set", "wire", "up");
    await tool(world.node, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
    await tool(world.node, "ip", "link", "set", "eth0", "up");
    let named: Record<string, string> = { TORTIE_STORE: socket };
    if (datastore === "etcd") {
      const cluster = await EtcdCluster.start({ netns: world.node, deferred: true });
      ends.unshift(() => cluster.stop());
      cluster.members[0].start();
      named = cluster.env;
    } else if (datastore === "kubernetes") {
      const server = kubernetesProcess(world.folder, world.node);
      ends.unshift(() => (server.kill("SIGTERM"), server.status));
      await untilFile(`${world.folder}/ca.crt`);
      named = { DATASTORE_TYPE: "kubernetes", KUBECONFIG: `${world.folder}/kubeconfig` };
    }
    if (datastore !== "kv") Object.assign(env, named);
    // Inherited by the processes that write.
    for (const [name, value] of Object.entries(named)) Deno.env.set(name, value);
    if (datastore === "kubernetes") await fill("node", "node1");
    const start = async () => {
      await world.start({ CALICO_IPV4POOL_CIDR: "10.244.0.0/16", WAIT_FOR_DATASTORE: "true" });
      await until("it runs", 120_000, async () => (await world.status()).ready === true);
      const pid = Number(await Deno.readTextFile(`${world.folder}/run/node.pid`));
      await quiet(pid);
      return pid;
    };
    const empty = await memoryOf(await start(), 0);
    await fill("put", "0", `${endpoints}`, "0");
    await world.end();
    const pid = await start();
    const startCpu = await cpuOf(pid);
    const full = await memoryOf(pid, 0);
    await fill("put", "0", `${CHANGES}`, "1");
    await quiet(pid);
    const changed = await cpuOf(pid);
    await pause(IDLE_SECONDS * 1000);
    const idleCpu = (await cpuOf(pid) - changed) * 60 / IDLE_SECONDS;
    return {
      datastore,
      emptyMb: empty.resident,
      fullMb: full.resident,
      peakMb: full.peak,
      startCpu,
      changesCpu: changed - startCpu,
      idleCpu,
    };
  } finally {
    for (const name of ["TORTIE_STORE", "DATASTORE_TYPE", "ETCD_ENDPOINTS", "KUBECONFIG"]) {
      Deno.env.delete(name);
    }
    for (const end of ends) await end();
  }
}

/** Seconds that the process has had of processors. */
async function cpuOf(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Until it has nothing to do: three seconds with less than a twentieth of a processor. */
async function quiet(pid: number): Promise<void> {
  for (let i = 0; i < 60; i++) {
    const before = await cpuOf(pid);
    await pause(3000);
    if (await cpuOf(pid) - before < 0.15) return;
  }
  throw new Error("the node service does not come to rest");
}

export async function run(endpoints = 10_000): Promise<Outcome> {
  binary();
  const figures: FollowFigures[] = [];
  for (const name of NAMES) figures.push(await measure(name, endpoints));
  return {
    tables: [{
      title: `A node service that follows ${endpoints} endpoints of other nodes`,
      columns: [
        ...["datastore", "MB with none", "MB with all", "MB at most"],
        ...["CPU s to start", `CPU s for ${CHANGES} changes`, "CPU s an idle minute"],
      ],
      rows: figures.map((f) => [
        f.datastore,
        ...[f.emptyMb, f.fullMb, f.peakMb, f.startCpu, f.changesCpu, f.idleCpu].map(ms),
      ]),
      notes: [
        "On kv the node service keeps the store itself, and serves it to who writes.",
        ETCD_NOTE,
      ],
    }],
  };
}

if (import.meta.main) {
  const { tables } = await run(Number(Deno.args[0] ?? 10_000));
  console.log(JSON.stringify(tables, undefined, 1));
}
