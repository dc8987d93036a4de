/**
 * Eight nodes that assign and release addresses on one etcd of three members, each member on a wire of
 * its own, while members are killed, paused, unplugged and cut off from each other: one at a time, and now
 * and then so many that nothing can be written until they are back. A node is a process with an IPAM of its
 * own, or the built executable's service that is called as a runtime calls it; beside services `tortie
 * controllers run` collects, and is killed too. What was said is then judged: no address was two handles'
 * at a time, none is lost, and in the end `ipam check` finds nothing, with no help but the controllers'.
 */
import assert from "node:assert/strict";
import { tool } from "../cluster/harness.ts";
import { ControllersProcess } from "./controllers_process.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { assertRecorded, judge, spawnIpam, Speaker } from "./ipam_log.ts";
import { NodeServices, type Place } from "./node_services.ts";

const NODES = 8;
const decoder = new TextDecoder();

export interface Verdict {
  readonly assigned: number;
  /** Those of the pool in which nodes meet. */
  readonly narrow: number;
  readonly unsure: number;
  readonly faults: number;
  /** Faults that left no majority of members. */
  readonly losses: number;
  readonly controllersKills: number;
  /** Handles without an address that were left behind, for the controllers. */
  readonly left: number;
  readonly seconds: number;
}

export interface FaultOptions {
  /** Addresses to assign in all. */
  readonly total: number;
  /** How long each fault lasts, and how long there is none before it. */
  readonly faultSeconds: number;
  readonly pauseSeconds: number;
  /** Whether nodes are services of the built executable. */
  readonly services?: boolean;
}

/** A hub with three members and, where they are services, the nodes on it; all else runs in the hub. */
class Wires {
  readonly id = `p${Deno.pid}`;
  readonly hub = `${this.id}h`;
  readonly places = [1, 2, 3].map((i) => ({ netns: `${this.id}m${i}`, ip: `10.99.0.${i}` }));
  readonly nodes: readonly Required<Place>[];

  constructor(services: boolean) {
    this.nodes = Array.from({ length: services ? NODES : 0 }, (_, i) => (
      { netns: `${this.id}n${i}`, ip: `10.99.0.${i + 10}`, pods: `${this.id}q${i}` }
    ));
  }

  async make(): Promise<void> {
    await tool(undefined, "ip", "netns", "add", this.hub);
    await tool(this.hub, "ip", "link", "set", "lo", "up");
    await tool(this.hub, "ip", "link", "add", "br0", "type", "bridge");
    await tool(this.hub, "ip", "address", "add", "10.99.0.100/24", "dev", "br0");
    await tool(this.hub, "ip", "link", "set", "br0", "up");
    for (const { pods } of this.nodes) await tool(undefined, "ip", "netns", "add", pods);
    for (const { netns, ip } of [...this.places, ...this.nodes]) {
      await tool(undefined, "ip", "netns", "add", netns);
      await tool(netns, "ip", "link", "set", "lo", "up");
      const wire = this.wire(netns);
      await tool(this.hub, "ip", "link", "add", wire, "type", "veth", ...[
        ...["peer", "name", "eth0", "netns", netns],
      ]);
      await tool(this.hub, "ip", "link", "set", wire, "master", "br0", "up");
      await tool(netns, "ip", "address", "add", `${ip}/24`, "dev", "eth0");
      await tool(netns, "ip", "link", "set", "eth0", "up");
    }
  }

  wire(netns: string): string {
    return `w${netns.slice(-2)}`;
  }

  /** Takes all packets of a member away, or gives them back. */
  async unplug(i: number, away: boolean): Promise<void> {
    const { netns } = this.places[i];
    await tool(this.hub, "ip", "link", "set", this.wire(netns), away ? "down" : "up");
  }

  /** Cuts a member off from the other members alone: clients still reach it. */
  async cutOff(i: number, away: boolean): Promise<void> {
    const { netns } = this.places[i];
    if (!away) {
      await tool(netns, "nft", "delete", "table", "inet", "cut");
      return;
    }
    const rules = ["input", "output"].map((hook) =>
      `add chain inet cut ${hook} { type filter hook ${hook} priority 0; }\n` +
      `add rule inet cut ${hook} tcp dport 2380 drop\n` +
      `add rule inet cut ${hook} tcp sport 2380 drop\n`
    );
    const file = await Deno.makeTempFile();
    await Deno.writeTextFile(file, `add table inet cut\n${rules.join("")}`);
    await tool(netns, "nft", "-f", file);
    await Deno.remove(file);
  }

  async takeDown(): Promise<void> {
    const pods = this.nodes.map((node) => ({ netns: node.pods }));
    for (const { netns } of [{ netns: this.hub }, ...this.places, ...this.nodes, ...pods]) {
      await tool(undefined, "ip", "netns", "del", netns);
    }
  }
}

/** Seconds for which the controllers leave alone what looks unused: while calls go on, and at the end. */
const GRACE = 60, LAST_GRACE = 2;

interface Records {
  allocated: [address: string, handle: string][];
  handles: string[];
}

async function records(hub: string, endpoints: string[], nodes = 0): Promise<Records> {
  const child = spawnIpam("--check", { endpoints, node: "", count: nodes, hold: 0 }, hub);
  await child.stdin.close();
  const { success, stdout } = await child.output();
  assert(success, "the records are sound");
  return JSON.parse(decoder.decode(stdout));
}

/** Throws where the log or the records are not as they must be. */
export async function assignUnderFaults(options: FaultOptions): Promise<Verdict> {
  const { total, services: byServices = false } = options;
  const wires = new Wires(byServices);
  const began = performance.now();
  let cluster: EtcdCluster | undefined;
  let services: NodeServices | undefined;
  let controllers: ControllersProcess | undefined;
  const speakers: Speaker[] = [];
  try {
    await wires.make();
    cluster = await EtcdCluster.start({ members: 3, places: wires.places });
    const { endpoints } = cluster;
    const empty = await records(wires.hub, endpoints, NODES);
    assert.deepEqual(empty.allocated, []);
    const count = Math.ceil(total / NODES), hold = Math.max(10, Math.ceil(count / 10));
    const datastore = { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: endpoints.join() };
    services = new NodeServices(wires.nodes, datastore);
    await services.start();
    controllers = byServices
      ? new ControllersProcess({ netns: wires.hub, env: datastore })
      : undefined;
    await controllers?.grace(GRACE);
    controllers?.start();
    for (let i = 0; i < NODES; i++) {
      const way = byServices
        ? { service: { socket: services.socket(i), netns: `/run/netns/${wires.nodes[i].pods}` } }
        : { endpoints };
      const options = { ...way, node: `n${i}`, count, hold };
      speakers.push(new Speaker(spawnIpam("--work", options, wires.hub)));
    }
    const ends = Promise.all(speakers.map((speaker) => speaker.ended));
    ends.catch(() => {});
    const failed = ends.then(() => new Promise<never>(() => {}));
    const disturbance = new Disturbance(cluster, wires, controllers, options);
    await Promise.race([disturbance.run(speakers), failed]);

    const { assigned, narrow, unsure, held } = judge(speakers.map(({ lines }) => lines));
    assert(assigned >= total, `${assigned} of ${total} assigned`);
    const then = await records(wires.hub, endpoints);
    assertRecorded(then.allocated, held, byServices);
    await Promise.all(speakers.map((speaker) => speaker.release()));
    const after = await records(wires.hub, endpoints);
    const kept = after.allocated;
    assert(kept.length === 0, `not given back: ${kept.slice(0, 20).join("; ")} (${kept.length})`);
    // A create that a paused member had when we went to another one may come after the deletion: a
    // handle without an address, which the collection of garbage takes away.
    const left = after.handles.length;
    const { faults, losses } = disturbance;
    if (!controllers) assert(left <= faults, `${left} empty handles after ${faults} faults`);
    await controllers?.kill();
    await controllers?.grace(LAST_GRACE);
    await controllers?.clean(180_000);
    const controllersKills = controllers?.kills ?? 0;
    const seconds = (performance.now() - began) / 1000;
    return { assigned, narrow, unsure, faults, losses, controllersKills, left, seconds };
  } finally {
    for (const { child } of speakers) {
      try {
        child.kill("SIGKILL");
      } catch { /* It has ended. */ }
    }
    await controllers?.stop();
    await services?.stop();
    await cluster?.stop();
    await wires.takeDown();
  }
}

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** One fault after the other, until all processes are done. */
class Disturbance {
  faults = 0;
  losses = 0;

  constructor(
    readonly cluster: EtcdCluster,
    readonly wires: Wires,
    readonly controllers: ControllersProcess | undefined,
    readonly options: FaultOptions,
  ) {}

  async run(speakers: readonly Speaker[]): Promise<void> {
    const { members } = this.cluster, { wires } = this;
    const kill = {
      strike: (i: number) => members[i].stop("SIGKILL"),
      heal: async (i: number) => members[i].start(),
    };
    const cut = {
      strike: (i: number) => wires.cutOff(i, true),
      heal: (i: number) => wires.cutOff(i, false),
    };
    const stop = {
      strike: async (i: number) => members[i].kill("SIGSTOP"),
      heal: async (i: number) => members[i].kill("SIGCONT"),
    };
    const unplug = {
      strike: (i: number) => wires.unplug(i, true),
      heal: (i: number) => wires.unplug(i, false),
    };
    const kinds = [
      { ...kill, count: 1 },
      { ...cut, count: 1 },
      { ...kill, count: 2 },
      { ...stop, count: 1 },
      { ...unplug, count: 1 },
      // Each alone: all serve what they have, and none can write.
      { ...cut, count: 3 },
      { ...stop, count: 2 },
    ];
    // Every kind once, however quick they are.
    while (this.faults < kinds.length || !speakers.every(({ done }) => done)) {
      const { strike, heal, count } = kinds[this.faults % kinds.length];
      const hit = Array.from({ length: count }, (_, n) => (this.faults * 2 + 1 + n) % 3);
      await pause(this.options.pauseSeconds);
      for (const i of hit) await strike(i);
      await pause(this.options.faultSeconds);
      for (const i of hit) await heal(i);
      if (this.faults % 3 === 1) await this.controllers?.kill();
      this.faults++;
      if (count > 1) this.losses++;
    }
  }
}
