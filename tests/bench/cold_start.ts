/**
 * The node service comes up on a node with 250 pods (wired by CNI, each selected by a policy of its own
 * whose set has 100 addresses; addresses of both families): how long from the start of the process until it
 * is ready, until the last change of tables, routes and neighbours, and its resident memory then. Ready is
 * believed of no start: at that moment the kernel is asked whether it holds all, and afterwards whether
 * anything has changed still; a start that was ready too early fails the run.
 *
 *   cold   the kernel has lost our tables, routes and neighbours; the service makes them anew
 *   warm   the kernel has them, as after an update of the service; it reads them and changes nothing
 *
 * The peer for the table alone is `nft -f` with the same two tables as text, on the same kernel.
 *
 *     deno task bench cold-start
 */
import { endProcess, netnsPath, startNode } from "../../mod/lab/cluster.ts";
import { Netns } from "../../ffi/netns.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { kubernetesPolicy } from "../../policy/testing.ts";
import { binary, httpGet, pause, tool, until, withLab } from "../cluster/harness.ts";
import { KernelWatch, type Lasts } from "./kernel_watch.ts";
import { memoryOf } from "./memory.ts";
import { ourConf, Pods } from "./pod_calls.ts";
import { PolicyWorld, putAll } from "./policy_world.ts";
import { ms, type Outcome, type Spread, spread, timed } from "./report.ts";

const PODS = 250, ADDRESSES = 100, ROUNDS = 10;

interface Start {
  /** Milliseconds from the start of the process to readiness. */
  readonly ready: number;
  /** To the last change; 0: none was needed. */
  readonly lasts: Lasts;
  /** MB. */
  readonly resident: number;
  readonly peak: number;
}

export interface ColdStartFigures {
  readonly rules: number;
  readonly cold: readonly Start[];
  readonly warm: readonly Start[];
  readonly nft: Spread;
}

export async function measure(pods = PODS, rounds = ROUNDS): Promise<ColdStartFigures> {
  binary();
  let figures: ColdStartFigures | undefined;
  await withLab({ subnets: "1", families: "IPv4,IPv6", mesh: false }, async (lab) => {
    const node = lab.node("node1");
    const { namespace } = node;
    const netns = Netns.open(netnsPath(namespace));
    const store = remoteStore(lab.record.layout.storeSocket);
    const sandboxes = new Pods(lab, node);
    const watch = new KernelWatch(netns);
    try {
      const world = new PolicyWorld({ endpoints: pods, policies: pods, addresses: ADDRESSES });
      await putAll(store, world.objects().filter((o) => o.metadata?.namespace === "far"));
      await putAll(
        store,
        Array.from({ length: pods }, (_, i) => {
          const policy = world.policy(i) as unknown as { spec: Record<string, unknown> };
          const podSelector = { matchLabels: { bench: `${i}` } };
          return kubernetesPolicy("default", `np${i}`, { ...policy.spec, podSelector });
        }),
      );
      const service = { name: "tortie", conf: ourConf(node) };
      for (let i = 0; i < pods; i++) {
        await sandboxes.call(service, "ADD", await sandboxes.make(true, { bench: `${i}` }));
      }
      await pause(2000);
      const listing = async () =>
        await tool(namespace, "nft", "-s", "list", "table", "ip", "calico") +
        await tool(namespace, "nft", "-s", "list", "table", "ip6", "calico");
      // Chains and elements are listed in the order in which the kernel came to have them.
      const words = (text: string) => text.split(/[\s,]+/).sort().join(" ");
      const full = await listing(), whole = watch.held();
      if (watch.ipv6Routes() < pods || whole.neighbours.length < 2 * pods) {
        throw new Error("the pods have not addresses of both families");
      }
      const rules = full.split("\n").filter((l) => /counter|jump|accept|drop/.test(l)).length;

      const start = async (damage: () => Promise<void>): Promise<Start> => {
        await endProcess(lab.record.processes.node1);
        await damage();
        await pause(200);
        watch.begin();
        const began = performance.now();
        startNode(lab.record, node);
        await until("ready", 60_000, async () => {
          return (await httpGet(namespace, 9099, "/readiness")).status === 200;
        });
        const held = watch.held();
        watch.lasts(); // what has come until now is stamped so
        const ready = performance.now();
        if (JSON.stringify(held) !== JSON.stringify(whole)) {
          throw new Error("ready, and the kernel lacks routes or neighbours");
        }
        const { pid } = lab.record.processes.node1;
        await pause(2000);
        const lasts = watch.lasts();
        if (lasts.commit > ready) throw new Error("ready, and the tables were changed afterwards");
        if (words(await listing()) !== words(full)) throw new Error("the tables are not as before");
        if (JSON.stringify(watch.held()) !== JSON.stringify(whole)) {
          throw new Error("routes or neighbours are not as before");
        }
        // The notification may be taken out of its socket a moment after the kernel was asked.
        const since = (time: number) => time === 0 ? 0 : Math.min(time, ready) - began;
        const { resident, peak } = await memoryOf(pid, pods);
        return {
          ready: ready - began,
          lasts: {
            commit: since(lasts.commit),
            route: since(lasts.route),
            neighbour: since(lasts.neighbour),
          },
          resident,
          peak,
        };
      };
      const cold: Start[] = [], warm: Start[] = [];
      for (let round = 0; round < rounds; round++) {
        const again = await start(async () => {});
        if (Math.max(...Object.values(again.lasts)) > 0) {
          throw new Error("a start beside a whole kernel has changed it");
        }
        warm.push(again);
        cold.push(
          await start(async () => {
            await tool(namespace, "nft", "flush", "ruleset");
            for (const family of ["-4", "-6"]) {
              await tool(namespace, "ip", family, "route", "flush", "proto", "80");
            }
            watch.forgetNeighbours();
            const { routes, neighbours } = watch.held();
            if (routes.length + neighbours.length > 0) throw new Error("something is left");
          }),
        );
      }
      await endProcess(lab.record.processes.node1);
      const file = `${lab.record.layout.directory}/ruleset.nft`;
      await Deno.writeTextFile(file, full);
      const times: number[] = [];
      for (let round = 0; round < rounds; round++) {
        await tool(namespace, "nft", "flush", "ruleset");
        times.push(await timed(() => tool(namespace, "nft", "-f", file)));
      }
      figures = { rules, cold, warm, nft: spread(times) };
    } finally {
      watch.close();
      sandboxes.close();
      await store.close();
      netns.close();
    }
  });
  return figures!;
}

export async function run(): Promise<Outcome> {
  const { rules, cold, warm, nft } = await measure();
  const row = (name: string, starts: readonly Start[]) => {
    const middle = (of: (s: Start) => number) => ms(spread(starts.map(of)).p50);
    const most = (of: (s: Start) => number) => ms(Math.max(...starts.map(of)));
    return [
      name,
      ...[middle((s) => s.ready), most((s) => s.ready)],
      ...[middle((s) => s.lasts.commit), most((s) => s.lasts.commit)],
      ...[middle((s) => s.lasts.route), most((s) => s.lasts.route)],
      ...[middle((s) => s.lasts.neighbour), most((s) => s.lasts.neighbour)],
      ...[middle((s) => s.resident), most((s) => s.peak)],
    ];
  };
  return {
    tables: [{
      title: `Start of the node service with ${PODS} pods, ${PODS} policies of ${ADDRESSES} ` +
        `addresses (${rules} rules in both families); from the process's start`,
      columns: [
        ...["", "ready ms", "at most", "last commit ms", "at most"],
        ...["last route ms", "at most", "last neighbour ms", "at most"],
        ...["resident MB", "peak MB"],
      ],
      rows: [
        row("cold: no table, routes, neighbours", cold),
        row("warm: all there, nothing changed", warm),
        ["nft -f, the table alone", "", "", ms(nft.p50), ms(nft.p99), "", "", "", "", "", ""],
      ],
      notes: [
        `${ROUNDS} starts of each. When it said that it was ready the kernel was asked, and held all ` +
        "routes and neighbours of both families; no commit came later. 0: nothing was changed.",
      ],
    }],
  };
}
