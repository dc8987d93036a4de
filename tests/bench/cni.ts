/**
 * ADD and DEL: in the service (the call straight over its socket, from a process that runs already),
 * as the whole process that a runtime starts, and the stock ptp and bridge, each with host-local,
 * started alike in the same namespace of the same node, in turns. Then a hundred ADDs at once.
 *
 * What is compared is not the same work: ours writes the address and the endpoint into a datastore
 * that syncs its file, and answers when the pod's policy is in the kernel; host-local writes a file
 * without syncing, and there is no policy. Needs root, the built executable and /usr/lib/cni.
 *
 *     deno task bench cni
 */
import type { Lab } from "../../mod/lab/lab.ts";
import { binary, withLab } from "../cluster/harness.ts";
import {
  type Command,
  ourConf,
  type Plugin,
  Pods,
  type Sandbox,
  stockPlugins,
} from "./pod_calls.ts";
import { ms, type Outcome, ratio, type Spread, spread, type Table, timed } from "./report.ts";

const ROUNDS = 200;
const BURST = 100;

type Name = "service" | "process" | "ptp" | "bridge";

const TITLES: Record<Name, string> = {
  service: "tortie, in the service",
  process: "tortie, whole process",
  ptp: "ptp + host-local",
  bridge: "bridge + host-local",
};

export interface CniFigures {
  readonly calls: Record<Name, Record<Command, Spread>>;
  /** 4 KiB written beside the store's file and synced; an ADD of ours waits for three of these. */
  readonly sync: Spread;
  /** Milliseconds until the last of a hundred had its answer, and of the single calls. */
  readonly burst: Record<"service" | "process" | "bridge", { all: number; single: Spread }>;
}

function plugins(lab: Lab, folder: string): Record<Name, Plugin> {
  const conf = ourConf(lab.node("node1"));
  return {
    service: { name: "service", conf },
    process: { name: "process", path: binary(), conf },
    ...stockPlugins(folder),
  };
}

const isOurs = (name: Name) => name === "service" || name === "process";

export async function measure(rounds = ROUNDS, burst = BURST): Promise<CniFigures> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-cni-" });
  let figures: CniFigures | undefined;
  try {
    await withLab({ subnets: "1" }, async (lab) => {
      const pods = new Pods(lab, lab.node("node1"));
      try {
        const all = plugins(lab, folder);
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
        figures = {
          calls,
          sync: spread(syncs),
          burst: {
            service: await atOnce(pods, all.service, true, burst),
            process: await atOnce(pods, all.process, true, burst),
            bridge: await atOnce(pods, all.bridge, false, burst),
          },
        };
      } finally {
        pods.close();
      }
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
  const names = Object.keys(all) as Name[];
  const times = Object.fromEntries(
    names.map((name) => [name, { ADD: [] as number[], DEL: [] as number[] }]),
  ) as Record<Name, Record<Command, number[]>>;
  const WARM = 5;
  // A round's DELs come some rounds later. The service settles an ADD when its caller has ended well;
  // a caller that lives on, as this process does, it waits out for a quarter of a second.
  const LATER = 5;
  const attached = new Map<Name, Sandbox[]>(names.map((name) => [name, []]));
  const detach = async (name: Name) => {
    const sandbox = attached.get(name)!.shift()!;
    const time = await timed(() => pods.call(all[name], "DEL", sandbox));
    times[name].DEL.push(time);
    await pods.remove(sandbox);
  };
  for (let round = -WARM; round < rounds; round++) {
    await eachRound();
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + WARM + i) % names.length];
      if (attached.get(name)!.length >= LATER) await detach(name);
      const sandbox = await pods.make(isOurs(name));
      const time = await timed(() => pods.call(all[name], "ADD", sandbox));
      if (round >= 0) times[name].ADD.push(time);
      attached.get(name)!.push(sandbox);
    }
  }
  for (const name of names) while (attached.get(name)!.length > 0) await detach(name);
  return Object.fromEntries(
    names.map((name) => [name, { ADD: spread(times[name].ADD), DEL: spread(times[name].DEL) }]),
  ) as CniFigures["calls"];
}

async function atOnce(pods: Pods, plugin: Plugin, ours: boolean, count: number) {
  const sandboxes: Sandbox[] = [];
  for (let i = 0; i < count; i++) sandboxes.push(await pods.make(ours));
  const singles: number[] = [];
  const all = await timed(() =>
    Promise.all(sandboxes.map(async (sandbox) => {
      singles.push(await timed(() => pods.call(plugin, "ADD", sandbox)));
    }))
  );
  for (const sandbox of sandboxes) {
    await pods.call(plugin, "DEL", sandbox);
    await pods.remove(sandbox);
  }
  return { all, single: spread(singles) };
}

function callTable(command: Command, calls: CniFigures["calls"]): Table {
  const { ptp, bridge } = calls;
  return {
    title: `${command}, ${ROUNDS} of each in turns, ms`,
    columns: ["", "min", "p50", "p50/ptp", "p50/bridge", "p99", "p99/ptp", "p99/bridge"],
    rows: (Object.keys(TITLES) as Name[]).map((name) => {
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

export async function run(): Promise<Outcome> {
  const { calls, burst, sync } = await measure();
  const notes = [
    `A write and its fsync on this disk, in turns with these: p50 ${ms(sync.p50)}, p99 ` +
    `${
      ms(sync.p99)
    }. An ADD of ours waits for three (handle, block, endpoint), host-local for none.`,
  ];
  return {
    tables: [{ ...callTable("ADD", calls), notes }, callTable("DEL", calls), {
      title: `${BURST} ADDs at once, ms`,
      columns: ["", "until the last", "ratio to bridge", "single p50", "single p99"],
      rows: (["service", "process", "bridge"] as const).map((name) => [
        TITLES[name],
        ms(burst[name].all),
        ratio(burst[name].all, burst.bridge.all),
        ms(burst[name].single.p50),
        ms(burst[name].single.p99),
      ]),
    }],
  };
}
