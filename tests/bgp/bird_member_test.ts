/**
 * Real BIRD 2 as a member of our nodes' mesh, in the way of a Calico node that has not been moved yet:
 * what it announces is in every node's kernel for as long as it announces it, what we announce is in
 * its table and its kernel, and packets flow both ways while either side is killed and comes back. It
 * comes, goes and moves as its Node object does, and no other session notices.
 */
import assert from "node:assert/strict";
import { identify, isAlive, signal } from "../../ffi/process.ts";
import { addBirdMember, type BirdMember, type BirdOptions } from "../../mod/lab/bird.ts";
import { askNode, netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import { findLab, listProcesses } from "../../mod/lab/record.ts";
import { Pinger } from "../../mod/lab/probe.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import type { RouteStatus } from "../../bgp/config.ts";
import { LabError } from "../../mod/lab/workloads.ts";
import { formatIp, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { Netns, pause, pod, tool, until, withLab } from "../cluster/harness.ts";

const SIGCONT = 18, SIGSTOP = 19;
const PROGRAM = "/usr/sbin/bird";

function missing(): string | undefined {
  try {
    Deno.statSync(PROGRAM);
  } catch {
    return `${PROGRAM} is not installed`;
  }
}

const reason = missing();
const options = { sanitizeResources: false, sanitizeOps: false, ignore: reason !== undefined };
const title = "real BIRD 2 is a member of the mesh";

const BLOCK4 = "10.244.200.0/26", BLOCK6 = "fd00:10:244:0:c8::/122";
const MORE4 = "10.244.200.64/26", MORE6 = "fd00:10:244:0:c9::/122";
/** Where BIRD sits at first. */
const SEAT = ["10.10.1.40", "fd00:10:10:1::40"];
const all = [BLOCK4, BLOCK6, MORE4, MORE6].map(mustPrefix);
const blocks = (...texts: string[]) => texts.map((text) => ({ block: mustPrefix(text) }));

/** Next hops of what a namespace's kernel has learned by BGP (protocol 81; BIRD's own 12), by prefix. */
async function learned(netns: string, protocol: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const family of ["-4", "-6"]) {
    const text = await tool(netns, "ip", "-j", family, "route", "show", "proto", protocol);
    for (const { dst, gateway, type } of JSON.parse(text)) {
      if (type === undefined || type === "unicast") found.set(dst, gateway);
    }
  }
  return found;
}

class Mesh {
  constructor(readonly lab: Lab, readonly bird: BirdMember, readonly pods: RunningPod[]) {}

  get nodes() {
    return this.lab.record.layout.nodes;
  }

  /** Prefixes that are in a node's kernel now, for all nodes at once. */
  async kernels(): Promise<Map<string, string>[]> {
    return await Promise.all(this.nodes.map((n) => learned(n.namespace, "81")));
  }

  /** Milliseconds until every node's kernel has these of BIRD's blocks and no others of them. */
  settled(what: string, wanted: readonly string[], limit = 15_000): Promise<number> {
    return until(
      `${what}: BIRD's ${wanted.join(", ") || "nothing"} in all kernels`,
      limit,
      async () => {
        const seen = await this.kernels();
        return seen.every((k) =>
          [BLOCK4, BLOCK6, MORE4, MORE6].every((b) => k.has(b) === wanted.includes(b))
        );
      },
    );
  }

  status(): Promise<NodeStatus[]> {
    return Promise.all(this.nodes.map((n) => askNode<NodeStatus>(n, "node.status")));
  }

  /** Sessions with BIRD that are up, of all nodes. */
  async birdSessions(): Promise<number> {
    const own = this.bird.addresses.map((a) => a.replace(/\/.*/, ""));
    return (await this.status()).flatMap((s) => s.peers)
      .filter((p) => own.includes(p.address) && p.state === "Established").length;
  }

  sessionsUp(what: string): Promise<number> {
    return until(
      `${what}: all sessions with BIRD`,
      20_000,
      async () => await this.birdSessions() === 2 * this.nodes.length,
    );
  }

  birdc(...words: string[]): Promise<string> {
    return tool(undefined, "birdc", "-s", this.bird.control, ...words);
  }

  /** Processes, and the sessions between our nodes with the times for which they stand. */
  async picture() {
    const ours = this.nodes.flatMap((n) => n.addresses.map((a) => a.replace(/\/.*/, "")));
    return (await this.status()).map(({ node, pid, peers }) => [
      node,
      pid,
      ...peers.filter((p) => ours.includes(p.address))
        .map((p) => [p.address, p.state, p.established, p.since]).sort(),
    ]);
  }

  /**
   * Pings every 10 ms, both ways and by both families, between each pod and the hosts behind BIRD. The
   * returned function ends them, and tells what was lost.
   */
  traffic(pods = this.pods): () => Promise<{ sent: number; lost: Record<string, number[]> }> {
    const pingers: [string, Pinger][] = [];
    const add = (namespace: string, from: string, to: string) => {
      using netns = Netns.open(netnsPath(namespace));
      const pinger = new Pinger(mustIp(to), netns);
      pinger.start(10);
      pingers.push([`${from} -> ${to}`, pinger]);
    };
    for (const p of pods) {
      for (const host of this.bird.hosts.slice(0, 2)) add(p.netns, p.name, formatIp(host));
      for (const address of p.addresses) add(this.bird.place.namespace, "behind BIRD", address);
    }
    return async () => {
      const ended = await Promise.all(
        pingers.map(async ([way, p]) => [way, await p.stop()] as const),
      );
      return {
        sent: ended.reduce((n, [, { sent }]) => n + sent, 0),
        lost: Object.fromEntries(
          ended.flatMap(([way, { lost }]) => lost.length > 0 ? [[way, lost]] : []),
        ),
      };
    };
  }
}

/**
 * The router between the subnets is told the ways across it, as a user would tell it: from the second
 * subnet to BIRD's blocks, from the first to node3's pod. It knows no way from the first subnet back into
 * it, so that a route that is missing there is not made good by it.
 */
async function tellRouter(lab: Lab, behind: RunningPod): Promise<void> {
  const router = lab.record.layout.routerNamespace;
  const nodes = lab.node(behind.node).addresses.map((a) => a.replace(/\/.*/, ""));
  for (const [i, family] of ["-4", "-6"].entries()) {
    const ip = (...words: string[]) => tool(router, "ip", family, ...words);
    await ip("rule", "add", "iif", "br2", "lookup", "200");
    await ip("route", "add", [BLOCK4, BLOCK6][i], "via", SEAT[i], "table", "200");
    await ip("route", "add", behind.addresses[i], "via", nodes[i]);
  }
}

const env = { TORTIE_BGP_HOLD_TIME: "6" };
const name = reason === undefined ? title : `${title} (skipped: ${reason})`;

Deno.test(name, options, async (t) => {
  let left: BirdMember | undefined;
  await withLab({ subnets: "2,1", families: "IPv4,IPv6", env }, async (lab) => {
    const { record } = lab;
    const pods: RunningPod[] = [];
    for (const n of [1, 2, 3]) pods.push((await lab.run(pod(`p${n}`), { node: `node${n}` }))[0]);
    await t.step("a member that cannot be is refused, and leaves nothing", async () => {
      const netns = await tool(undefined, "ip", "netns", "list");
      const refused = (options: Partial<BirdOptions>, why: RegExp) =>
        assert.rejects(
          addBirdMember(lab, { program: PROGRAM, blocks: [], ...options }),
          (e) => e instanceof LabError && why.test(e.message),
        );
      await refused({ program: "bird" }, /"bird" is not the path of a program/);
      await refused({ program: "/nowhere/bird" }, /no program at \/nowhere\/bird/);
      await refused({ name: "Bird 1" }, /name "Bird 1" is not allowed/);
      await refused({ host: 11 }, /node1 has the address 10\.10\.1\.11/);
      await refused({ host: 300 }, /no host number 300/);
      await refused({ name: "node1" }, /has a member "node1" already/);
      const [{ blocks: [taken] }] = await new Mesh(lab, undefined!, pods).status();
      await refused({ blocks: [mustPrefix(taken)] }, /is another node's/);
      await refused({ blocks: [mustPrefix("192.168.7.0/26")] }, /192\.168\.7\.0\/26/);
      assert.equal(await tool(undefined, "ip", "netns", "list"), netns);
      assert.doesNotMatch((await lab.tortie(["get", "nodes", "-o", "name"])).stdout, /bird/);
    });

    const gateway = () => tool(record.layout.routerNamespace, "cat", "/sys/class/net/br1/address");
    const mac = await gateway();
    const bird = await addBirdMember(lab, {
      program: PROGRAM,
      blocks: all,
      holdTime: 6,
      restartTime: 30,
    });
    bird.configure({ announce: blocks(BLOCK4, BLOCK6) });
    const mesh = new Mesh(lab, bird, pods);
    await tellRouter(lab, pods[2]);
    const { namespace } = bird.place;

    assert.equal(await gateway(), mac, "who joins does not change the gateway's address");

    await t.step("its blocks are in every kernel when it announces them, not before", async () => {
      await until(
        "our nodes know of BIRD",
        5000,
        async () =>
          (await mesh.status()).every(({ peers }) => peers.some((p) => p.address === "10.10.1.40")),
      );
      const before = await mesh.kernels();
      assert.ok(
        before.every((k) => !k.has(BLOCK4) && !k.has(BLOCK6)),
        "its affinity alone is no route",
      );
      await bird.start();
      await mesh.sessionsUp("BIRD is started");
      await mesh.settled("BIRD is started", [BLOCK4, BLOCK6]);
      const [k1, k2, k3] = await mesh.kernels();
      for (const k of [k1, k2]) {
        assert.deepEqual([k.get(BLOCK4), k.get(BLOCK6)], ["10.10.1.40", "fd00:10:10:1::40"]);
      }
      assert.deepEqual([k3.get(BLOCK4), k3.get(BLOCK6)], ["10.10.2.1", "fd00:10:10:2::1"]);
    });

    await t.step(
      "our blocks are in its table and in its kernel, and pings go both ways",
      async () => {
        const ours = (await mesh.status()).flatMap((s) => s.blocks);
        assert.equal(ours.length, 6, ours.join());
        await until("all of them in BIRD's kernel", 10_000, async () => {
          const kernel = await learned(namespace, "bird");
          return ours.every((block) => kernel.has(block));
        });
        const table = await mesh.birdc("show", "route", "primary");
        for (const block of ours) assert.ok(table.includes(`${block} `), `${block} in\n${table}`);
        const end = mesh.traffic();
        await pause(500);
        const { sent, lost } = await end();
        assert.deepEqual(lost, {}, `of ${sent}`);
        assert.ok(sent > 100);
      },
    );

    await t.step(
      "what it announces no more is withdrawn, and the rest is not touched",
      async () => {
        const before = await mesh.picture();
        const end = mesh.traffic();
        bird.configure({ announce: blocks(BLOCK4, BLOCK6, MORE4, MORE6) });
        await mesh.settled("two more", [BLOCK4, BLOCK6, MORE4, MORE6]);
        bird.configure({ announce: blocks(BLOCK4, BLOCK6) });
        await mesh.settled("two less", [BLOCK4, BLOCK6]);
        const { sent, lost } = await end();
        assert.deepEqual(lost, {}, `of ${sent}`);
        bird.configure({ announce: [] });
        await mesh.settled("none", []);
        assert.equal(await mesh.birdSessions(), 6, "the sessions stand");
        assert.deepEqual(await mesh.picture(), before);
        bird.configure({ announce: blocks(BLOCK4, BLOCK6) });
        await mesh.settled("again", [BLOCK4, BLOCK6]);
      },
    );

    await t.step(
      "announced with other attributes, a route is replaced and never missing",
      async () => {
        await tool(namespace, "ip", "addr", "add", "10.10.1.45/24", "dev", "eth0");
        await tool(namespace, "ip", "addr", "add", "fd00:10:10:1::45/64", "dev", "eth0", "nodad");
        const end = mesh.traffic();
        const hops = ["10.10.1.45", "fd00:10:10:1::45"];
        bird.configure({
          announce: [BLOCK4, BLOCK6].map((text, i) => ({
            block: mustPrefix(text),
            nextHop: mustIp(hops[i]),
            med: 77,
            localPref: 150,
          })),
        });
        await until("the other next hops", 10_000, async () => {
          const [k1, k2] = await mesh.kernels();
          return [k1, k2].every((k) => k.get(BLOCK4) === hops[0] && k.get(BLOCK6) === hops[1]);
        });
        const [route] = await askNode<RouteStatus[]>(mesh.nodes[0], "bgp.routes", {
          prefix: BLOCK4,
        });
        assert.deepEqual(
          [route.prefix, route.nextHop, route.med, route.localPref],
          [BLOCK4, hops[0], 77, 150],
        );
        bird.configure({ announce: blocks(BLOCK4, BLOCK6) });
        await until(
          "the former next hops",
          10_000,
          async () => (await mesh.kernels())[0].get(BLOCK6) === "fd00:10:10:1::40",
        );
        const { sent, lost } = await end();
        assert.deepEqual(lost, {}, `of ${sent}`);
      },
    );

    await t.step("kill -9 of BIRD, and a restart: routes stay, and no ping is lost", async () => {
      const before = await mesh.picture();
      const end = mesh.traffic();
      await bird.kill();
      await until("all sessions with BIRD end", 5000, async () => await mesh.birdSessions() === 0);
      const [{ peers }] = await mesh.status();
      const away = peers.find((p) => p.address === "10.10.1.40")!;
      assert.equal(away.prefixes.stale, 1);
      assert.ok(away.staleUntil! > Date.now() + 20_000);
      await pause(500);
      await mesh.settled("BIRD is away", [BLOCK4, BLOCK6], 1000);
      await bird.start();
      await mesh.sessionsUp("BIRD is back");
      await until(
        "nothing is stale",
        10_000,
        async () =>
          (await mesh.status()).every(({ peers }) => peers.every((p) => p.prefixes.stale === 0)),
      );
      await mesh.settled("BIRD is back", [BLOCK4, BLOCK6]);
      const { sent, lost } = await end();
      assert.deepEqual(lost, {}, `of ${sent}`);
      assert.deepEqual(await mesh.picture(), before);
    });

    await t.step(
      "killed, and back with less to say: only that goes which it has not said",
      async () => {
        await bird.kill();
        bird.configure({ announce: blocks(BLOCK4, MORE6) });
        await pause(300);
        await mesh.settled("BIRD is away", [BLOCK4, BLOCK6], 1000);
        await bird.start();
        await mesh.settled("BIRD is back", [BLOCK4, MORE6]);
        bird.configure({ announce: blocks(BLOCK4, BLOCK6) });
        await mesh.settled("as before", [BLOCK4, BLOCK6]);
        await mesh.sessionsUp("as before");
      },
    );

    await t.step("kill -9 of a node's service: no ping from behind BIRD is lost", async () => {
      const end = mesh.traffic();
      const service = identify((await askNode<NodeStatus>(mesh.nodes[0], "node.status")).pid)!;
      signal(service, 9);
      await until("it is gone", 2000, () => !isAlive(service));
      await pause(500);
      const block = (await tool(mesh.nodes[0].namespace, "ip", "route", "show", "proto", "80"))
        .match(/blackhole (\S+)/)![1];
      assert.equal((await learned(namespace, "bird")).get(block), "10.10.1.11", "BIRD keeps it");
      startNode(record, mesh.nodes[0]);
      await waitReady(record, { mesh: true });
      await mesh.sessionsUp("node1 is back");
      await until("End-of-RIB from BIRD", 10_000, async () => {
        const [{ peers }] = await mesh.status();
        return peers.every((p) => p.endOfRib.length === 1);
      });
      const { sent, lost } = await end();
      assert.deepEqual(lost, {}, `of ${sent}`);
      assert.equal((await learned(namespace, "bird")).get(block), "10.10.1.11");
      await mesh.settled("node1 is back", [BLOCK4, BLOCK6]);
    });

    await t.step(
      "another restart time: new sessions on all sides, and no ping is lost",
      async () => {
        const sessions = async () =>
          (await mesh.status()).flatMap(({ node, peers }) =>
            peers.map((p) => ({ ...p, key: `${node} ${p.address}` }))
          );
        const before = new Map((await sessions()).map((p) => [p.key, p.established]));
        const end = mesh.traffic();
        using netns = Netns.open(netnsPath(mesh.pods[0].netns));
        const toTheOther = new Pinger(mustIp(mesh.pods[1].addresses[0]), netns);
        toTheOther.start(10);
        await lab.apply(JSON.stringify({
          apiVersion: "projectcalico.org/v3",
          kind: "BGPConfiguration",
          metadata: { name: "default" },
          spec: { nodeMeshMaxRestartTime: "77s" },
        }));
        await until(
          "each has been told, and has told its table",
          30_000,
          async () =>
            (await sessions()).every((p) =>
              p.state === "Established" && p.established > before.get(p.key)! &&
              p.endOfRib.length === 1 && p.prefixes.stale === 0 &&
              // BIRD's own is BIRD's to say.
              (p.address.endsWith(":40") || p.address.endsWith(".40") || p.restartTime === 77)
            ),
        );
        await mesh.settled("as before", [BLOCK4, BLOCK6]);
        const { sent, lost } = await end();
        assert.deepEqual(lost, {}, `of ${sent}`);
        assert.deepEqual((await toTheOther.stop()).lost, []);
      },
    );

    await t.step("it comes, goes and moves as its Node object does", async () => {
      const before = await mesh.picture();
      await bird.deregister();
      const gone = await mesh.settled("its Node is deleted", [], 5000);
      assert.ok(gone < 5000);
      assert.ok(
        (await mesh.status()).every(({ peers }) =>
          peers.every((p) => p.address !== "10.10.1.40" && p.address !== "fd00:10:10:1::40")
        ),
      );
      await until(
        "BIRD has lost our blocks too",
        5000,
        async () => (await learned(namespace, "bird")).size === 0,
      );
      await bird.register();
      await mesh.sessionsUp("its Node is back");
      await mesh.settled("its Node is back", [BLOCK4, BLOCK6]);

      await bird.move(42);
      await mesh.sessionsUp("it has moved");
      await until("routes lead to its other address", 10_000, async () => {
        const [k1, k2] = await mesh.kernels();
        return [k1, k2].every((k) =>
          k.get(BLOCK4) === "10.10.1.42" && k.get(BLOCK6) === "fd00:10:10:1::42"
        );
      });
      assert.ok(
        (await mesh.status()).every(({ peers }) => peers.every((p) => p.address !== "10.10.1.40")),
      );
      const end = mesh.traffic();
      await pause(300);
      assert.deepEqual((await end()).lost, {});
      assert.deepEqual(await mesh.picture(), before, "no service and no other session restarted");
    });

    await t.step("silent for the hold time: we tell it so, and its routes go at once", async () => {
      const process = record.processes.bird;
      const began = performance.now();
      signal(process, SIGSTOP);
      try {
        await mesh.settled("BIRD is silent", [], 12_000);
      } finally {
        signal(process, SIGCONT);
      }
      assert.ok(performance.now() - began > 3000, "not before the hold time");
      const [{ peers }] = await mesh.status();
      const silent = peers.find((p) => p.address === "10.10.1.42")!;
      assert.match(silent.lastError!.text, /hold timer/i);
      await mesh.sessionsUp("BIRD speaks again");
      await mesh.settled("BIRD speaks again", [BLOCK4, BLOCK6]);
    });

    await t.step("SIGTERM (NOTIFICATION): its routes go at once", async () => {
      const sessions = await mesh.birdSessions();
      assert.equal(sessions, 6);
      await bird.stop();
      await mesh.settled("BIRD is stopped", [], 3000);
      const [{ peers }] = await mesh.status();
      const told = peers.find((p) => p.address === "10.10.1.42")!;
      assert.match(told.lastError!.text, /Cease/);
      assert.equal(told.staleUntil, undefined);
    });

    await t.step("killed and not restarted: its routes go after its restart time", async () => {
      bird.configure({ restartTime: 6 });
      await bird.start();
      await mesh.sessionsUp("BIRD restarts within 6 s");
      await mesh.settled("BIRD restarts within 6 s", [BLOCK4, BLOCK6]);
      const killed = performance.now();
      await bird.kill();
      await pause(4000);
      await mesh.settled("within the restart time", [BLOCK4, BLOCK6], 1000);
      await mesh.settled("after the restart time", [], 10_000);
      const seconds = (performance.now() - killed) / 1000;
      assert.ok(seconds > 5.9, `after ${seconds} s`);
    });

    await t.step("without graceful restart, kill -9: its routes go at once", async () => {
      bird.configure({ restartTime: "off" });
      await bird.start();
      await mesh.sessionsUp("BIRD without graceful restart");
      await mesh.settled("BIRD without graceful restart", [BLOCK4, BLOCK6]);
      await bird.kill();
      await mesh.settled("BIRD is killed", [], 3000);
    });

    await t.step("the lab knows its process, and it leaves no trace", async () => {
      await bird.start();
      const process = findLab(record.layout.name)!.processes.bird;
      assert.ok(listProcesses(record.layout.directory).some((p) => p.pid === process.pid));
      await bird.remove();
      assert.ok(!isAlive(process));
      assert.ok(!(await tool(undefined, "ip", "netns", "list")).includes(namespace));
      assert.ok(!listProcesses(record.layout.directory).some((p) => p.pid === process.pid));
      const { stdout } = await lab.tortie(["get", "nodes", "-o", "name"]);
      assert.doesNotMatch(stdout, /bird/);
      await bird.remove(); // a second time is no error
      left = await addBirdMember(lab, { program: PROGRAM, blocks: all });
      await left.start();
    });
  });
  assert.ok(left && !left.running, "the lab is down, and the member with it");
  assert.ok(!(await tool(undefined, "ip", "netns", "list")).includes(left.place.namespace));
});
