/**
 * Eight nodes that assign and release addresses on one etcd of three members, each member on a wire of
 * its own, while members are killed, paused, unplugged and cut off from each other. A node is a process
 * with an IPAM of its own, or the built executable's service that is called as a runtime calls it. What
 * was said is then judged: no address was two handles' at a time, none is lost.
 */
import assert from "node:assert/strict";
import { binary, tool } from "../cluster/harness.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { assertRecorded, judge, spawnIpam, Speaker } from "./ipam_log.ts";
import { NodeServices, type Place } from "./node_services.ts";

const NODES = 8;
const decoder = new TextDecoder();

export interface Verdict {
  readonly assigned: number;
  readonly unsure: number;
  readonly faults: number;
  /** Handles without an address that were left behind. */
  readonly left: number;
  readonly seconds: number;
}

export interface FaultOptions {
  /** Addresses to assign in all. */
  readonly total: number;
  /** How long each fault lasts. */
  readonly faultSeconds: number;
  /** Whether nodes are services of the built executable. */
  readonly services?: boolean;
}

/** A hub with three members and, where they are services, the nodes on it; all else runs in the hub. */
class Wires {
  readonly id = `p${Deno.pid}`;
  readonly hub = `${this.id}h`;
  readonly places = [1, 2, 3].map((i) => ({ netns: `${this.id}m${i}`, ip: `10.99.0.${i}` }));
  readonly nodes: readonly Place[];

  constructor(services: boolean) {
    this.nodes = Array.from({ length: services ? NODES : 0 }, (_, i) => (
      { netns: `${this.id}n${i}`, ip: `10.99.0.${i + 10}` }
    ));
  }

  async make(): Promise<void> {
    await tool(undefined, "ip", "netns", "add", this.hub);
    await tool(this.hub, "ip", "link", "set", "lo", "up");
    await tool(this.hub, "ip", "link", "add", "br0", "type", "bridge");
    await tool(this.hub, "ip", "address", "add", "10.99.0.100/24", "dev", "br0");
    await tool(this.hub, "ip", "link", "set", "br0", "up");
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
    for (const { netns } of [{ netns: this.hub }, ...this.places, ...this.nodes]) {
      await tool(undefined, "ip", "netns", "del", netns);
    }
  }
}

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
  const { total, faultSeconds, services: byServices = false } = options;
  const wires = new Wires(byServices);
  const began = performance.now();
  let cluster: EtcdCluster | undefined;
  let services: NodeServices | undefined;
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
    for (let i = 0; i < NODES; i++) {
      const service = { socket: services.socket(i), netns: `/run/netns/${wires.hub}` };
      const way = byServices ? { service } : { endpoints };
      const options = { ...way, node: `n${i}`, count, hold };
      speakers.push(new Speaker(spawnIpam("--work", options, wires.hub)));
    }
    const ends = Promise.all(speakers.map((speaker) => speaker.ended));
    ends.catch(() => {});
    const failed = ends.then(() => new Promise<never>(() => {}));
    const faults = await Promise.race([disturb(cluster, wires, speakers, faultSeconds), failed]);

    const { assigned, unsure, held } = judge(speakers.map(({ lines }) => lines));
    assert(assigned >= total, `${assigned} of ${total} assigned`);
    const then = await records(wires.hub, endpoints);
    assertRecorded(then.allocated, held, byServices);
    await Promise.all(speakers.map((speaker) => speaker.release()));
    const after = await records(wires.hub, endpoints);
    const kept = after.allocated;
    assert(kept.length === 0, `not given back: ${kept.slice(0, 20).join("; ")} (${kept.length})`);
    // A create that a paused member had when we went to another one may come after the deletion: a
    // handle without an address, which the collection of garbage takes away. They must be few.
    const left = after.handles.length;
    assert(left <= faults, `${left} empty handles after ${faults} faults: ${after.handles}`);
    if (byServices) await assertClean(wires.hub, endpoints, left);
    return { assigned, unsure, faults, left, seconds: (performance.now() - began) / 1000 };
  } finally {
    for (const { child } of speakers) {
      try {
        child.kill("SIGKILL");
      } catch { /* It has ended. */ }
    }
    await services?.stop();
    await cluster?.stop();
    await wires.takeDown();
  }
}

/** `ipam check` finds nothing but these empty handles, and nothing when they were released. */
async function assertClean(hub: string, endpoints: readonly string[], left: number): Promise<void> {
  const folder = await Deno.makeTempDir();
  const report = `${folder}/report.json`;
  const command = async (...words: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command("ip", {
      args: ["netns", "exec", hub, binary(), ...words],
      env: { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: endpoints.join() },
    }).output();
    return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
  };
  try {
    const first = await command("ipam", "check", "-o", report);
    assert.equal(first.code, left === 0 ? 0 : 1, first.said);
    if (left === 0) return;
    const { findings } = JSON.parse(await Deno.readTextFile(report));
    assert.equal(findings.length, left, first.said);
    await command("ipam", "release", "--from-report", report, "--force");
    const last = await command("ipam", "check");
    assert.equal(last.code, 0, last.said);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** One fault after the other, until all processes are done; how many there were. */
async function disturb(
  cluster: EtcdCluster,
  wires: Wires,
  speakers: readonly Speaker[],
  faultSeconds: number,
): Promise<number> {
  const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const kinds = [
    {
      strike: (i: number) => cluster.members[i].stop("SIGKILL"),
      heal: async (i: number) => cluster.members[i].start(),
    },
    { strike: (i: number) => wires.cutOff(i, true), heal: (i: number) => wires.cutOff(i, false) },
    {
      strike: async (i: number) => cluster.members[i].kill("SIGSTOP"),
      heal: async (i: number) => cluster.members[i].kill("SIGCONT"),
    },
    { strike: (i: number) => wires.unplug(i, true), heal: (i: number) => wires.unplug(i, false) },
  ];
  let faults = 0;
  // Every kind once, however quick they are.
  while (faults < kinds.length || !speakers.every(({ done }) => done)) {
    const kind = kinds[faults % kinds.length], i = (faults * 2 + 1) % 3;
    await pause(1);
    await kind.strike(i);
    await pause(faultSeconds);
    await kind.heal(i);
    faults++;
  }
  return faults;
}
