/**
 * VERSION, ADD and DEL as whole processes, as a runtime starts them: our executable with its native front
 * door in both variants and without it, and the stock ptp and bridge, each with host-local, started alike
 * in the same namespace of the same node, in turns; beside them the same call straight over the service's
 * socket, from a process that runs already. Then a hundred ADDs at once. On kv as a node has it (the service
 * opens the file itself), on kv that another process serves, as in a lab, and on etcd.
 *
 * What is compared is not the same work: ours writes the address and the endpoint into a datastore
 * that syncs its file, and answers when the pod's policy is in the kernel; host-local writes a file
 * without syncing, and there is no policy. Needs root, the built executable and /usr/lib/cni.
 *
 *     deno task bench cni
 */
import { build } from "../../installer/build/build.ts";
import { endProcess, nodeSocket, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { type RemoteStore, remoteStore } from "../../mod/store/remote.ts";
import { Resources } from "../../mod/store/resources.ts";
import { withLab } from "../cluster/harness.ts";
import { ETCD_NOTE, EtcdCluster } from "../store/etcd_server.ts";
import { EtcdPods } from "./etcd_pods.ts";
import {
  type Command,
  frontPlugin,
  ourConf,
  type Plugin,
  Pods,
  type Sandbox,
  stockPlugins,
} from "./pod_calls.ts";
import { ms, type Outcome, ratio, type Spread, spread, type Table, timed } from "./report.ts";

const ROUNDS = 300;
const BURST = 100;
/** Bursts of each plugin, in turns. */
const BURSTS = 3;

/** ADD by the front door: its median beside bridge's, and until the last of a burst has its answer. */
const GOAL = { ratio: 0.5, burst: 500 };

const TITLES = {
  service: "tortie, in the service",
  front: "tortie, front door",
  loaded: "tortie, front door, `--loaded`",
  deno: "tortie, no front door",
  ptp: "ptp + host-local",
  bridge: "bridge + host-local",
};
type Name = keyof typeof TITLES;
const NAMES = Object.keys(TITLES) as Name[];
const PROCESSES = NAMES.filter((name) => name !== "service");

const DATASTORES = ["kv", "kv of another process", "etcd"] as const;
type Datastore = typeof DATASTORES[number];

export interface CniFigures {
  readonly calls: Record<Name, Record<Command, Spread>>;
  /** 4 KiB written beside the store's file and synced; an ADD of ours waits for one of these on kv. */
  readonly sync: Spread;
  /** Milliseconds until the last of a hundred had its answer, and of the single calls. */
  readonly burst: Record<Name, { all: number; single: Spread }>;
}

/** The variants of our executable, made for this run. */
interface Binaries {
  readonly front: string;
  readonly loaded: string;
  readonly plain: string;
}

function plugins(
  lab: Lab,
  folder: string,
  { front, loaded, plain }: Binaries,
): Record<Name, Plugin> {
  const node = lab.node("node1");
  const conf = ourConf(node);
  return {
    service: { name: "service", conf },
    front: frontPlugin(node, "front", front),
    loaded: frontPlugin(node, "loaded", loaded),
    deno: { name: "deno", path: plain, conf },
    ...stockPlugins(folder),
  };
}

const isOurs = (name: Name) => name !== "ptp" && name !== "bridge";

/** The node goes on with a kv of its own; the datastore as others see it. */
async function moveToOwnKv(lab: Lab): Promise<RemoteStore> {
  const node = lab.node("node1");
  const { processes, env } = lab.record;
  await endProcess(processes.node1);
  await endProcess(processes.store!);
  // An empty TORTIE_STORE is none.
  Object.assign(env, { TORTIE_STORE: "", DATASTORE_TYPE: "kv" });
  startNode(lab.record, node);
  await waitReady(lab.record);
  return remoteStore(nodeSocket(node));
}

/** The node goes on with etcd as its datastore. */
async function moveToEtcd(lab: Lab): Promise<EtcdCluster> {
  const node = lab.node("node1");
  const etcd = await EtcdCluster.start({ netns: node.namespace, deferred: true });
  try {
    etcd.members[0].start();
    await endProcess(lab.record.processes.node1);
    // An empty TORTIE_STORE is none: the lab's own store stands aside.
    Object.assign(lab.record.env, {
      ...etcd.env,
      TORTIE_STORE: "",
      WAIT_FOR_DATASTORE: "true",
    });
    startNode(lab.record, node);
    await waitReady(lab.record);
    return etcd;
  } catch (error) {
    await etcd.stop();
    throw error;
  }
}

async function measure(
  datastore: Datastore,
  binaries: Binaries,
  rounds = ROUNDS,
  burst = BURST,
): Promise<CniFigures> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-cni-" });
  let figures: CniFigures | undefined;
  let etcd: EtcdCluster | undefined;
  try {
    await withLab({ subnets: "1" }, async (lab) => {
      if (datastore === "etcd") etcd = await moveToEtcd(lab);
      const own = datastore === "kv" ? await moveToOwnKv(lab) : undefined;
      await using closing = new AsyncDisposableStack();
      closing.defer(() => etcd?.stop());
      closing.defer(() => own?.close());
      const inEtcd = etcd && new EtcdPods(lab.node("node1"), etcd);
      closing.defer(() => inEtcd?.stop());
      const pods = new Pods(lab, lab.node("node1"), inEtcd ?? (own && new Resources(own)));
      closing.defer(() => pods.close());
      const all = plugins(lab, folder, binaries);
      const syncs: number[] = [];
      using disk = await Deno.open(`${lab.record.layout.directory}/sync`, {
        create: true,
        write: true,
      });
      const block = new Uint8Array(4096);
      const calls = await inTurns(pods, all, rounds, async () => {
        syncs.push(
          await timed(async () => {
            await disk.write(block);
            await disk.sync();
          }),
        );
      });
      const bursts = {} as Record<Name, Burst>;
      for (const name of NAMES) bursts[name] = { all: [], single: [] };
      for (let i = 0; i < BURSTS * NAMES.length; i++) {
        const name = NAMES[(i + Math.floor(i / NAMES.length)) % NAMES.length];
        await atOnce(pods, all[name], isOurs(name), burst, bursts[name]);
      }
      figures = {
        calls,
        sync: spread(syncs),
        burst: Object.fromEntries(
          NAMES.map((name) => [name, {
            all: spread(bursts[name].all).p50,
            single: spread(bursts[name].single),
          }]),
        ) as CniFigures["burst"],
      };
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  return figures!;
}

async function inTurns(
  pods: Pods,
  all: Record<Name, Plugin>,
  rounds: number,
  eachRound: () => Promise<void>,
) {
  const times = Object.fromEntries(
    NAMES.map((
      name,
    ) => [name, { ADD: [] as number[], DEL: [] as number[], VERSION: [] as number[] }]),
  ) as Record<Name, Record<Command, number[]>>;
  const WARM = 5;
  // A round's DELs come some rounds later. The service settles an ADD when its caller has ended well;
  // a caller that lives on, as this process does, it waits out for a quarter of a second.
  const LATER = 5;
  const attached = new Map<Name, Sandbox[]>(NAMES.map((name) => [name, []]));
  const detach = async (name: Name) => {
    const sandbox = attached.get(name)!.shift()!;
    const time = await timed(pods.prepare(all[name], "DEL", sandbox));
    times[name].DEL.push(time);
    await pods.remove(sandbox);
  };
  for (let round = -WARM; round < rounds; round++) {
    await eachRound();
    for (let i = 0; i < NAMES.length; i++) {
      const name = NAMES[(round + WARM + i) % NAMES.length];
      if (attached.get(name)!.length >= LATER) await detach(name);
      const sandbox = await pods.make(isOurs(name));
      const version = await timed(pods.prepare(all[name], "VERSION", sandbox));
      const time = await timed(pods.prepare(all[name], "ADD", sandbox));
      if (round >= 0) times[name].ADD.push(time), times[name].VERSION.push(version);
      attached.get(name)!.push(sandbox);
    }
  }
  for (const name of NAMES) while (attached.get(name)!.length > 0) await detach(name);
  return Object.fromEntries(
    NAMES.map((name) => {
      const { ADD, DEL, VERSION } = times[name];
      return [name, { ADD: spread(ADD), DEL: spread(DEL), VERSION: spread(VERSION) }];
    }),
  ) as CniFigures["calls"];
}

/** Milliseconds of whole bursts, and of their single calls. */
interface Burst {
  readonly all: number[];
  readonly single: number[];
}

async function atOnce(pods: Pods, plugin: Plugin, ours: boolean, count: number, into: Burst) {
  const sandboxes: Sandbox[] = [];
  for (let i = 0; i < count; i++) sandboxes.push(await pods.make(ours));
  const calls = sandboxes.map((sandbox) => pods.prepare(plugin, "ADD", sandbox));
  const all = await timed(() =>
    Promise.all(calls.map(async (call) => void into.single.push(await timed(call))))
  );
  for (const sandbox of sandboxes) {
    await pods.call(plugin, "DEL", sandbox);
    await pods.remove(sandbox);
  }
  into.all.push(all);
}

/** What the goals say of one datastore. */
function verdicts(on: string, { calls, burst }: CniFigures): string[] {
  return (["front", "loaded"] as const).flatMap((name) => {
    const found = calls[name].ADD.p50 / calls.bridge.ADD.p50;
    const { all } = burst[name];
    return [
      `${found <= GOAL.ratio ? "PASS" : "FAIL"}: ${TITLES[name]}, ADD${on}: p50 is ` +
      `${found.toFixed(2)} of bridge's (at most ${GOAL.ratio})`,
      `${all <= GOAL.burst ? "PASS" : "FAIL"}: ${TITLES[name]}, ${BURST} ADDs at once${on}: ` +
      `${ms(all)} ms (at most ${GOAL.burst})`,
    ];
  });
}

function callTable(command: Command, on: string, calls: CniFigures["calls"]): Table {
  const { ptp, bridge } = calls;
  return {
    title: `${command}${on}, ${ROUNDS} of each in turns, ms`,
    columns: ["", "min", "p50", "p50/ptp", "p50/bridge", "p99", "p99/ptp", "p99/bridge"],
    rows: (command === "VERSION" ? PROCESSES : NAMES).map((name) => {
      const { min, p50, p99 } = calls[name][command];
      return [
        TITLES[name],
        ms(min),
        ms(p50),
        ratio(p50, ptp[command].p50),
        ratio(p50, bridge[command].p50),
        ms(p99),
        ratio(p99, ptp[command].p99),
        ratio(p99, bridge[command].p99),
      ];
    }),
  };
}

function burstTable(on: string, burst: CniFigures["burst"]): Table {
  return {
    title: `${BURST} ADDs at once${on}, ms, the middle one of ${BURSTS} in turns`,
    columns: ["", "until the last", "ratio to bridge", "single p50", "single p99"],
    rows: NAMES.map((name) => [
      TITLES[name],
      ms(burst[name].all),
      ratio(burst[name].all, burst.bridge.all),
      ms(burst[name].single.p50),
      ms(burst[name].single.p99),
    ]),
  };
}

export async function run(): Promise<Outcome> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-cni-" });
  try {
    const binaries = {
      front: `${folder}/front`,
      loaded: `${folder}/loaded`,
      plain: `${folder}/plain`,
    };
    await build({ output: binaries.front });
    await build({ output: binaries.loaded, front: "loaded" });
    await build({ output: binaries.plain, front: "none" });
    const tables: Table[] = [], failed: string[] = [];
    for (const datastore of DATASTORES) {
      const { calls, burst, sync } = await measure(datastore, binaries);
      const on = ` on ${datastore}`;
      const notes = datastore === "kv"
        ? [
          `A write and its fsync on this disk, in turns with these: p50 ${ms(sync.p50)}, p99 ` +
          `${ms(sync.p99)}. An ADD of ours waits for one (address and endpoint), ` +
          "host-local for none.",
        ]
        : datastore === "etcd"
        ? ["The etcd runs in the node's own namespace.", ETCD_NOTE]
        : [];
      if (datastore === "kv") tables.push(callTable("VERSION", "", calls));
      tables.push(
        { ...callTable("ADD", on, calls), notes },
        callTable("DEL", on, calls),
        { ...burstTable(on, burst), notes: verdicts(on, { calls, burst, sync }) },
      );
      failed.push(...verdicts(on, { calls, burst, sync }).filter((v) => v.startsWith("FAIL")));
    }
    return { tables, failed };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
