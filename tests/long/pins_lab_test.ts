/**
 * Rollouts of five pinned replicas on five addresses by the built executable: nodes with kernels' real
 * network namespaces, plugins that a runtime starts, `tortie controllers run` beside. Node services, the
 * controllers and the store are killed again and again. All the time the namespaces themselves are looked
 * into: no address in two of them, none that is not in the list.
 */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { startNode, startStore } from "../../mod/lab/cluster.ts";
import { namespacePrefix } from "../../mod/lab/layout.ts";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import type { PodManifest } from "../../mod/lab/workloads.ts";
import { pause, tool, withLab } from "../cluster/harness.ts";
import { ControllersProcess } from "../store/controllers_process.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const FIVE = ["10.244.0.20", "10.244.0.21", "10.244.0.22", "10.244.0.40", "10.244.0.41"];
const PINS = "10.244.0.20-10.244.0.22, 10.244.0.40/31";
/** Milliseconds in which a replica must have its address, however many it waits for. */
const PATIENCE = 300_000;

/** What a call that may come in the middle of a kill says is heard, and it is made again. */
async function insist<T>(what: string, run: () => Promise<T>): Promise<T> {
  const end = performance.now() + PATIENCE;
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (performance.now() > end) throw new Error(`${what}: ${(error as Error).message}`);
      await pause(100);
    }
  }
}

/** The addresses in a namespace; none where it is gone. */
async function addressesIn(netns: string): Promise<string[]> {
  const text = await tool(undefined, "ip", "-n", netns, "-o", "-4", "addr", "show", "dev", "eth0")
    .catch(() => "");
  return [...text.matchAll(/inet ([0-9.]+)/g)].map(([, address]) => address);
}

/** Looks into all of the lab's pods' namespaces, again and again. */
class Watch {
  readonly faults: string[] = [];
  looks = 0;
  #over = false;

  constructor(readonly prefix: string) {}

  async run(): Promise<void> {
    while (!this.#over) {
      await this.#look();
      this.looks++;
      await pause(20);
    }
  }

  end(): void {
    this.#over = true;
  }

  async #look(): Promise<void> {
    const all = (await tool(undefined, "ip", "netns", "list")).split("\n")
      .map((line) => line.split(" ")[0]).filter((name) => name.startsWith(this.prefix));
    const owner = new Map<string, string>();
    for (const netns of all) {
      for (const address of await addressesIn(netns)) {
        if (!FIVE.includes(address)) this.faults.push(`${netns} has ${address}`);
        const other = owner.get(address);
        owner.set(address, netns);
        // The other may have lost it before this one got it: it is asked once more.
        if (other === undefined || !(await addressesIn(other)).includes(address)) continue;
        this.faults.push(`${other} and ${netns} have ${address}`);
      }
    }
  }
}

class Rollouts {
  kills = 0;
  #pods: RunningPod[] = [];
  #names = 0;

  constructor(
    readonly lab: Lab,
    readonly kind: "Deployment" | "StatefulSet",
    readonly controllers: ControllersProcess,
  ) {}

  async begin(): Promise<void> {
    this.#pods = await Promise.all(FIVE.map((_, i) => this.#start(this.#name(i))));
  }

  async rollOut(): Promise<void> {
    const before = this.#pods;
    if (this.kind === "Deployment") {
      const stops = before.map((old) => this.#stop(old));
      const starts = before.map((_, i) => this.#start(this.#name(i)));
      await this.#kill();
      [this.#pods] = await Promise.all([Promise.all(starts), Promise.all(stops)]);
    } else {
      for (let i = before.length - 1; i >= 0; i--) {
        await this.#stop(before[i]);
        const starting = this.#start(before[i].name);
        if (i === 2) await this.#kill();
        this.#pods[i] = await starting;
        assert.deepEqual(this.#pods[i].addresses, before[i].addresses, "an ordinal keeps its own");
      }
    }
    const given = this.#pods.flatMap(({ addresses }) => addresses).sort();
    assert.deepEqual(given, FIVE);
    for (const { netns, addresses } of this.#pods) {
      assert.deepEqual(await addressesIn(netns), addresses);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#pods.map((pod) => this.#stop(pod)));
  }

  #name(i: number): string {
    return this.kind === "StatefulSet" ? `web-${i}` : `web-7d4b9c6f88-g${this.#names++}`;
  }

  #start(name: string): Promise<RunningPod> {
    const { nodes } = this.lab.record.layout;
    const manifest: PodManifest = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace: "default",
        annotations: { "tortie.io/ip-pins": PINS },
        ownerReferences: [{
          apiVersion: "apps/v1",
          kind: this.kind === "Deployment" ? "ReplicaSet" : this.kind,
          name: this.kind === "Deployment" ? "web-7d4b9c6f88" : "web",
          uid: "u",
          controller: true,
        }],
      },
      spec: { containers: [{ name: "web" }] },
    };
    return insist(`start of ${name}`, async () => {
      // What a start that failed could not take away itself.
      const rest = this.lab.pods().find((pod) => pod.name === name);
      if (rest) await this.lab.remove(rest);
      const node = nodes[Math.floor(Math.random() * nodes.length)];
      return await this.lab.start(manifest, node, { patience: 5000 });
    });
  }

  async #stop(pod: RunningPod): Promise<void> {
    await pause(Math.random() * 200);
    await insist(`stop of ${pod.name}`, () => this.lab.remove(pod));
  }

  /** kill -9 of a node's service, and now and then of the store or the controllers. */
  async #kill(): Promise<void> {
    const { record } = this.lab;
    await pause(Math.random() * 300);
    const which = this.kills++ % 5;
    if (which === 3) {
      signal(record.processes.store, 9);
      startStore(record);
    } else if (which === 4) {
      await this.controllers.kill();
    } else {
      const node = record.layout.nodes[which % record.layout.nodes.length];
      signal(record.processes[node.name], 9);
      startNode(record, node);
    }
  }
}

for (const [kind, rounds] of [["Deployment", 50], ["StatefulSet", 10]] as const) {
  Deno.test(
    `${rounds} rollouts of a ${kind} by real services that are killed`,
    options,
    async () => {
      await withLab({ subnets: "3" }, async (lab) => {
        const controllers = new ControllersProcess({
          env: { TORTIE_STORE: lab.record.layout.storeSocket },
        });
        const watch = new Watch(`${namespacePrefix(lab.record.layout.name)}pod-`);
        const watching = watch.run();
        try {
          await controllers.grace(2);
          controllers.start();
          const rollouts = new Rollouts(lab, kind, controllers);
          await rollouts.begin();
          for (let i = 0; i < rounds; i++) {
            await rollouts.rollOut();
            assert.deepEqual(watch.faults, []);
          }
          await rollouts.end();
          await controllers.clean(120_000);
          assert.deepEqual(watch.faults, []);
          assert(watch.looks > rounds, `only ${watch.looks} looks`);
          console.log(
            `${rollouts.kills} kills, ${watch.looks} looks into all namespaces`,
          );
        } finally {
          watch.end();
          await watching;
          await controllers.stop();
        }
      });
    },
  );
}
