/**
 * The node service comes up on a node with 250 pods (wired by CNI, each selected by a policy of its own
 * whose set has 100 addresses): how long from the start of the process until it is ready and the kernel
 * holds all, and its resident memory then.
 *
 *   cold   the kernel has lost our tables and our routes; the service makes them anew
 *   warm   the kernel has them, as after an update of the service; it reads them and changes nothing
 *
 * The peer for the table alone is `nft -f` with the same two tables as text, on the same kernel.
 *
 *     deno task bench cold-start
 */
import { endProcess, netnsPath, startNode } from "../../mod/lab/cluster.ts";
import { NftEvents } from "../../ffi/nft/events.ts";
import { openNftListener } from "../../ffi/nft/socket.ts";
import { Netns } from "../../ffi/netns.ts";
import { reactor } from "../../ffi/reactor.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { kubernetesPolicy } from "../../policy/testing.ts";
import { binary, httpGet, pause, tool, until, withLab } from "../cluster/harness.ts";
import { memoryOf } from "./memory.ts";
import { ourConf, Pods } from "./pod_calls.ts";
import { PolicyWorld, putAll } from "./policy_world.ts";
import { ms, type Outcome, type Spread, spread, timed } from "./report.ts";

const PODS = 250, ADDRESSES = 100, ROUNDS = 10;

interface Start {
  /** Milliseconds from the start of the process: to readiness, to the last commit of the table. */
  readonly ready: number;
  readonly table: number;
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

export async function measure(pods = PODS): Promise<ColdStartFigures> {
  binary();
  let figures: ColdStartFigures | undefined;
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const node = lab.node("node1");
    const { namespace } = node;
    const netns = Netns.open(netnsPath(namespace));
    const store = remoteStore(lab.record.layout.storeSocket);
    const sandboxes = new Pods(lab, node);
    let last = 0;
    const listener = openNftListener(netns);
    const events = new NftEvents(listener);
    const registration = reactor().add(listener.fd, { read: true }, () => {
      events.drain(-1, {
        changed: () => {},
        committed: () => last = performance.now(),
        lost: () => last = performance.now(),
      });
    });
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
      const routes = async () =>
        (await tool(namespace, "ip", "route")).split("\n").filter((l) => l.includes("proto 80"))
          .sort().join("\n");
      // Chains and elements are listed in the order in which the kernel came to have them.
      const words = (text: string) => text.split(/[\s,]+/).sort().join(" ");
      const full = await listing(), wholeRoutes = await routes();
      const rules = full.split("\n").filter((l) => /counter|jump|accept|drop/.test(l)).length;

      const start = async (damage: () => Promise<void>): Promise<Start> => {
        await endProcess(lab.record.processes.node1);
        await damage();
        await pause(200);
        last = 0;
        const began = performance.now();
        startNode(lab.record, node);
        await until("ready", 60_000, async () => {
          return (await httpGet(namespace, 9099, "/readiness")).status === 200;
        });
        const ready = performance.now() - began;
        const { pid } = lab.record.processes.node1;
        await until("routes as before", 60_000, async () => await routes() === wholeRoutes);
        await pause(2000);
        if (words(await listing()) !== words(full)) throw new Error("the tables are not as before");
        const { resident, peak } = await memoryOf(pid, pods);
        return { ready, table: last === 0 ? 0 : last - began, resident, peak };
      };
      const cold: Start[] = [], warm: Start[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        warm.push(await start(async () => {}));
        cold.push(
          await start(async () => {
            await tool(namespace, "nft", "flush", "ruleset");
            await tool(namespace, "ip", "route", "flush", "proto", "80");
          }),
        );
      }
      await endProcess(lab.record.processes.node1);
      const file = `${lab.record.layout.directory}/ruleset.nft`;
      await Deno.writeTextFile(file, full);
      const times: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        await tool(namespace, "nft", "flush", "ruleset");
        times.push(await timed(() => tool(namespace, "nft", "-f", file)));
      }
      figures = { rules, cold, warm, nft: spread(times) };
    } finally {
      registration.close();
      events.close();
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
      ...[middle((s) => s.table), most((s) => s.table)],
      ...[middle((s) => s.resident), most((s) => s.peak)],
    ];
  };
  return {
    tables: [{
      title: `Start of the node service with ${PODS} pods, ${PODS} policies of ${ADDRESSES} ` +
        `addresses (${rules} rules in both families); from the process's start`,
      columns: [
        ...["", "ready ms", "at most", "last commit ms", "at most"],
        ...["resident MB", "peak MB"],
      ],
      rows: [
        row("cold: no table, no routes", cold),
        row("warm: all there, nothing changed", warm),
        ["nft -f, the table alone", "", "", ms(nft.p50), ms(nft.p99), "", ""],
      ],
      notes: [
        `${ROUNDS} starts of each. Ready is told when the first turn is done: the table is whole ` +
        "then. A last commit of 0: none was needed.",
      ],
    }],
  };
}
