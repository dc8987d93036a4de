/** The controllers as one process, on a store in memory and a clock that is moved by hand. */
import assert from "node:assert/strict";
import { Metrics } from "../node/health.ts";
import type { Log } from "../node/log.ts";
import { HALF_WRITTEN } from "../ipam/testing/half_written.ts";
import { clusterInformationKind } from "../model/cluster_information.ts";
import { hostEndpointKind } from "../model/host_endpoint.ts";
import { kubeControllersConfigurationKind } from "../model/kube_controllers_configuration.ts";
import { nodeKind } from "../model/node.ts";
import { resourceKey } from "../model/keys.ts";
import { podKind } from "../model/pod.ts";
import { memoryStore } from "../store/memory.ts";
import { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
import { ManualClock } from "../store/testing.ts";
import { Controllers } from "./controllers.ts";
import { LEASE_KEY } from "./lease.ts";
import { declareMetrics } from "./metrics.ts";
import { Simulation } from "./testing/simulation.ts";

/** Milliseconds; shorter than Calico's, since every second of the manual clock costs some. */
const GRACE = 30_000;

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

class Run {
  readonly clock = new ManualClock();
  readonly cluster = new Simulation();
  readonly resources = new Resources(this.cluster.store);
  /** While set, the store answers nothing. */
  away = false;
  readonly #running: { stop: AbortController; ended: Promise<void> }[] = [];

  start(holder = "a", more: { api?: Store; env?: Record<string, string> } = {}): Controllers {
    const controllers = new Controllers({
      store: this.#store(),
      api: more.api,
      podsKnown: false,
      log: silent,
      clock: this.clock,
      env: (name) => more.env?.[name],
      holder,
    });
    const stop = new AbortController();
    this.#running.push({ stop, ended: controllers.run(stop.signal) });
    return controllers;
  }

  #store(): Store {
    const { store } = this.cluster;
    return new Proxy(store, {
      get: (target, name) => {
        const member = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          if (!this.away) return member.apply(target, args);
          const error = new StoreError("unavailable", "nobody is there");
          if (name !== "watch") return Promise.reject(error);
          return { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }) };
        };
      },
    });
  }

  /** Time passes, for the controllers and on record, in steps. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 5000) {
      this.cluster.wait(Math.min(5000, left));
      await this.clock.advance(Math.min(5000, left));
    }
  }

  /** As a process that is told to end. */
  async stop(): Promise<void> {
    for (const { stop } of this.#running) stop.abort();
    await Promise.all(this.#running.splice(0).map(({ ended }) => ended));
  }
}

function test(name: string, body: (run: Run) => Promise<void>, grace = true): void {
  Deno.test(name, async () => {
    const run = new Run();
    try {
      await run.cluster.begin();
      if (grace) {
        await run.resources.create(kubeControllersConfigurationKind, {
          kind: "KubeControllersConfiguration",
          apiVersion: "projectcalico.org/v3",
          metadata: { name: "default" },
          spec: { controllers: { node: { leakGracePeriod: "30s" } } },
        });
      }
      await body(run);
    } finally {
      await run.stop();
      await run.cluster.store.close();
    }
  });
}

test("the configuration is made, told in its status, and followed", async (run) => {
  const controllers = run.start();
  await run.pass(5000);
  const read = () => run.resources.mustGet(kubeControllersConfigurationKind, "default");
  const { spec, status } = await read();
  assert.equal(spec.controllers.node?.leakGracePeriod, "15m0s");
  assert.equal(status?.runningConfig?.controllers?.node?.leakGracePeriod, "15m0s");
  await run.resources.modify(kubeControllersConfigurationKind, "default", undefined, (stored) => ({
    ...stored,
    spec: { ...stored.spec, controllers: { node: { leakGracePeriod: "10s" } } },
  }));
  await run.pass(5000);
  assert.equal(controllers.settings.leakGrace, 10_000);
  assert.equal((await read()).status?.runningConfig?.controllers?.node?.leakGracePeriod, "10s");
  const { resourceVersion } = (await read()).metadata;
  await run.pass(60_000);
  assert.equal((await read()).metadata.resourceVersion, resourceVersion, "it is written once");
}, false);

test("a leak is asked for and released; the metrics and probes say so", async (run) => {
  const { cluster } = run;
  const controllers = run.start();
  const metrics = new Metrics();
  declareMetrics(metrics, () => controllers.counted);
  await run.pass(2000);
  const [leaked, kept] = [(await cluster.run("n0"))!, (await cluster.run("n0"))!];
  cluster.vanish(leaked);
  await cluster.remove(cluster.endpointKey(leaked));
  await run.pass(GRACE + 10_000);
  assert.notEqual(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  assert.match(metrics.text(), /ipam_allocations_gc_candidates\{ippool="four",node="n0"\} 1/);
  await cluster.answer();
  await run.pass(5000);
  assert.equal(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  await cluster.safe();
  assert.match(metrics.text(), /ipam_allocations_gc_reclamations\{ippool="four",node="n0"\} 1/);
  assert.match(metrics.text(), /ipam_allocations_in_use\{ippool="four",node="n0"\} 1/);
  assert.deepEqual(controllers.readiness(), { ok: true, reasons: ["ready"] });
  assert.equal(controllers.liveness().ok, true);
  assert(kept);
});

test("while the datastore is locked nothing is collected", async (run) => {
  const { cluster } = run;
  const leaked = (await cluster.run("n0"))!;
  cluster.vanish(leaked);
  await cluster.remove(cluster.endpointKey(leaked));
  const lock = (locked: boolean) =>
    run.resources.modify(clusterInformationKind, "default", undefined, (info) => ({
      ...info,
      spec: { ...info.spec, datastoreReady: !locked },
    }));
  await lock(true);
  const controllers = run.start();
  await run.pass(2 * GRACE);
  assert.match(controllers.readiness().reasons.join(), /the datastore is locked/);
  await cluster.answer();
  await run.pass(GRACE);
  assert.notEqual(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  await lock(false);
  await run.pass(GRACE + 5000);
  await cluster.answer();
  await run.pass(5000);
  assert.equal(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
});

test("while an endpoint cannot be read, what it may have is not taken for nobody's", async (run) => {
  const { cluster } = run;
  const leaked = (await cluster.run("n0"))!;
  cluster.vanish(leaked);
  await cluster.store.put(cluster.endpointKey(leaked), HALF_WRITTEN);
  // By its name it is another's: it keeps nobody else from being released.
  const other = (await cluster.run("n0"))!;
  cluster.vanish(other);
  await cluster.remove(cluster.endpointKey(other));
  const controllers = run.start();
  for (let i = 0; i < 3; i++) {
    await run.pass(GRACE);
    await cluster.answer();
  }
  assert.match(controllers.readiness().reasons.join(), /workloadendpoints\/.* not JSON/);
  assert.notEqual(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  await run.pass(5000);
  assert.equal(await cluster.ipam.assignment(other.addresses[0]), undefined);
  await cluster.store.delete(cluster.endpointKey(leaked));
  // One whose name says nothing may have any address.
  const nameless = cluster.endpointKey(leaked).replace(/[^/]+$/, "x");
  await cluster.store.put(nameless, HALF_WRITTEN);
  await run.pass(2 * GRACE);
  await cluster.answer();
  await run.pass(GRACE);
  assert.notEqual(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  await cluster.store.delete(nameless);
  await run.pass(GRACE + 5000);
  await cluster.answer();
  await run.pass(5000);
  assert.equal(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
});

test("an outage is survived; what was suspected before it is looked at anew", async (run) => {
  const { cluster } = run;
  const leaked = (await cluster.run("n0"))!;
  cluster.vanish(leaked);
  await cluster.remove(cluster.endpointKey(leaked));
  const controllers = run.start();
  await run.pass(GRACE / 2);
  run.away = true;
  // The watch that is open does not notice by itself; a store that restarts ends it.
  await run.pass(60_000);
  await run.stop();
  const again = run.start("b");
  await run.pass(30_000);
  assert.equal(again.readiness().ok, false);
  assert.match(again.readiness().reasons[0], /nobody is there|not been read/);
  run.away = false;
  await run.pass(60_000);
  assert.equal(again.readiness().ok, true);
  assert.equal(again.leadership.is, "leader");
  await run.pass(GRACE);
  await cluster.answer();
  await run.pass(10_000);
  assert.equal(await cluster.ipam.assignment(leaked.addresses[0]), undefined);
  assert(controllers);
});

test("of two one works; the other takes over when it is told to end", async (run) => {
  const first = run.start("a");
  await run.pass(2000);
  const second = run.start("b");
  await run.pass(5000);
  assert.equal(first.leadership.is, "leader");
  assert.deepEqual(second.leadership, { is: "standby", leader: "a" });
  assert.match(second.readiness().reasons[0], /standing by; a leads/);
  assert.equal(second.collection, undefined);
  await run.stop();
  assert.equal(await run.cluster.store.get(LEASE_KEY), undefined, "given up on the way out");
  const third = run.start("c");
  await run.pass(2000);
  assert.equal(third.leadership.is, "leader");
});

test("host endpoints come, change and go with their nodes and the setting", async (run) => {
  await run.resources.ensureInitialized();
  run.start("a", { env: { AUTO_HOST_ENDPOINTS: "enabled" } });
  await run.pass(3000);
  const list = async () =>
    (await run.resources.list(hostEndpointKind)).items.map(({ metadata, spec }) =>
      `${metadata.name} ${spec.interfaceName} ${spec.expectedIPs?.join() ?? ""}`
    );
  assert.deepEqual(await list(), ["n0-auto-hep * ", "n1-auto-hep * ", "n2-auto-hep * "]);
  await run.resources.modify(nodeKind, "n1", undefined, (node) => ({
    ...node,
    spec: { bgp: { ipv4Address: "192.0.2.1/24" } },
  }));
  await run.cluster.deleteNode("n2");
  await run.pass(3000);
  assert.deepEqual(await list(), ["n0-auto-hep * ", "n1-auto-hep * 192.0.2.1"]);
  await run.stop();
  run.start("b");
  await run.pass(3000);
  assert.deepEqual(await list(), []);
});

test("with the Kubernetes API beside the datastore: labels, nodes that leave, pods", async (run) => {
  const { cluster } = run;
  const api = memoryStore();
  try {
    const tell = (name: string, labels: object) =>
      api.put(resourceKey(nodeKind, name), { metadata: { name, labels }, spec: {} });
    for (const name of ["n0", "n1", "n2"]) {
      await run.resources.modify(nodeKind, name, undefined, (node) => ({
        ...node,
        spec: { orchRefs: [{ nodeName: name, orchestrator: "k8s" }] },
      }));
      await tell(name, { zone: "a" });
    }
    const [gone, there] = [(await cluster.run("n0"))!, (await cluster.run("n0"))!];
    for (const container of [gone, there]) {
      await cluster.remove(cluster.endpointKey(container));
      await api.put(resourceKey(podKind, container.pod, "blue"), {
        metadata: { name: container.pod, namespace: "blue" },
        spec: { nodeName: "n0" },
        status: { podIPs: container.addresses.map((ip) => ({ ip })) },
      });
    }
    run.start("a", { api });
    await run.pass(3000);
    const labels = async (name: string) =>
      (await run.resources.get(nodeKind, name))?.metadata.labels;
    assert.deepEqual(await labels("n1"), { zone: "a" });
    await tell("n1", { zone: "b" });
    await cluster.killMachine("n2");
    await api.delete(resourceKey(nodeKind, "n2"));
    await api.delete(resourceKey(podKind, gone.pod, "blue"));
    cluster.vanish(gone);
    await run.pass(GRACE + 5000);
    await cluster.answer();
    await run.pass(5000);
    assert.deepEqual(await labels("n1"), { zone: "b" });
    assert.equal(await labels("n2"), undefined);
    assert.equal(await cluster.ipam.assignment(gone.addresses[0]), undefined);
    await cluster.safe();
  } finally {
    await run.stop();
    await api.close();
  }
});

for (
  const [what, damaged] of Object.entries({
    "half-written": HALF_WRITTEN,
    "of a field that is something else": {
      kind: "KubeControllersConfiguration",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "default" },
      spec: { prometheusMetricsPort: "9094" },
    },
    "of a word that is none": {
      kind: "KubeControllersConfiguration",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "default" },
      spec: { controllers: { node: { hostEndpoint: { autoCreate: 5 } } } },
    },
  })
) {
  test(
    `a configuration that is ${what} takes away nothing, not from a new process either`,
    async (run) => {
      const { resources, cluster: { store } } = run;
      const key = resourceKey(kubeControllersConfigurationKind, "default");
      const names = async () =>
        (await resources.list(hostEndpointKind)).items.map(({ metadata }) => metadata.name);
      const configuration = (autoCreate: string) => ({
        kind: "KubeControllersConfiguration",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: "default" },
        spec: { controllers: { node: { hostEndpoint: { autoCreate } } } },
      });
      await store.put(key, configuration("Enabled"));
      run.start();
      await run.pass(5000);
      const before = await names();
      assert(before.length > 0);
      await store.put(key, damaged);
      await run.pass(10_000);
      assert.deepEqual(await names(), before);
      await run.stop();
      await run.pass(60_000);
      run.start("b");
      await run.pass(30_000);
      assert.deepEqual(await names(), before);
      await store.put(key, configuration("Disabled"));
      await run.pass(5000);
      assert.deepEqual(await names(), []);
    },
    false,
  );
}
