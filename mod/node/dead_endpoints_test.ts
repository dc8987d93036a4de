/** An endpoint whose container ended without a DEL goes; one that anything speaks for does not. */
import assert from "node:assert/strict";
import { resourceKey } from "../model/keys.ts";
import { kubeControllersConfigurationKind } from "../model/kube_controllers_configuration.ts";
import { podKind } from "../model/pod.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { memoryStore } from "../store/memory.ts";
import type { Store } from "../store/store.ts";
import { ManualClock } from "../store/testing.ts";
import { DeadEndpoints } from "./dead_endpoints.ts";
import type { MachineFacts } from "./held_addresses.ts";
import type { Log } from "./log.ts";

const MINUTE = 60_000;
const KEY = resourceKey(workloadEndpointKind, "n1-k8s-web-eth0", "blue");

class Machine {
  readonly store: Store = memoryStore();
  readonly clock = new ManualClock();
  readonly endpoints = new Map<string, WorkloadEndpoint>();
  readonly links = new Set<string>();
  facts: MachineFacts = { containers: new Set(), addresses: new Set(), cached: [] };
  locked: string | undefined;
  warnings: string[] = [];
  readonly #dead: DeadEndpoints;

  constructor() {
    const note = (message: string) => void this.warnings.push(message);
    const log = { debug() {}, info: note, warn: note, error: note } as Log;
    this.#dead = new DeadEndpoints({
      store: this.store,
      pods: this.store,
      nodeName: () => "machine-1",
      endpoints: this.endpoints,
      links: () => this.links,
      machine: () => Promise.resolve(this.facts),
      locked: () => this.locked,
      clock: this.clock,
      log,
    });
  }

  async put(spec: Record<string, unknown> = {}): Promise<void> {
    const endpoint = {
      metadata: { name: "n1-k8s-web-eth0", namespace: "blue" },
      spec: {
        orchestrator: "k8s",
        node: "n1",
        pod: "web",
        endpoint: "eth0",
        containerID: "c1",
        interfaceName: "cali1",
        ipNetworks: ["10.0.0.1/32"],
        ...spec,
      },
    } as unknown as WorkloadEndpoint;
    this.endpoints.set(KEY, endpoint);
    await this.store.put(KEY, endpoint);
  }

  /** A look every minute; whether the endpoint is still on record then. */
  async pass(minutes: number): Promise<boolean> {
    for (let i = 0; i < minutes; i++) {
      await this.#dead.look();
      await this.clock.advance(MINUTE);
    }
    await this.#dead.look();
    return await this.store.get(KEY) !== undefined;
  }
}

Deno.test("an endpoint whose container is gone goes after the grace period, and is told before", async () => {
  const machine = new Machine();
  await machine.put();
  assert.equal(await machine.pass(14), true);
  assert.deepEqual(machine.warnings, [
    "an endpoint's container is gone, and nobody has deleted it",
  ]);
  assert.equal(await machine.pass(1), false);
  await machine.store.close();
});

const alive: [string, (machine: Machine) => unknown][] = [
  ["its interface", (m) => m.links.add("cali1")],
  ["a mark", (m) => m.facts = { ...m.facts, containers: new Set(["c1"]) }],
  [
    "an address in some namespace",
    (m) => m.facts = { ...m.facts, addresses: new Set(["10.0.0.1"]) },
  ],
  ["the runtime's memory", (m) => m.facts = { ...m.facts, cached: ["net-c1-eth0"] }],
  ["what could not be looked at", (m) => m.facts = { ...m.facts, unseen: "no processes" }],
  [
    "its Pod",
    (m) => m.store.put(resourceKey(podKind, "web", "blue"), { spec: { nodeName: "machine-1" } }),
  ],
  ["a Pod that no scheduler names", (m) => m.store.put(resourceKey(podKind, "web", "blue"), {})],
  ["a datastore that is locked", (m) => m.locked = "datastoreReady is false"],
  ["that it names no container", (m) => m.put({ containerID: undefined })],
  [
    "the setting that leaves leaks alone",
    (m) =>
      m.store.put(resourceKey(kubeControllersConfigurationKind, "default"), {
        spec: { controllers: { node: { leakGracePeriod: "0s" } } },
      }),
  ],
];
for (const [what, make] of alive) {
  Deno.test(`an endpoint stays for ${what}`, async () => {
    const machine = new Machine();
    await machine.put();
    await make(machine);
    assert.equal(await machine.pass(20), true);
    await machine.store.close();
  });
}

Deno.test("the time begins anew with a new container, or when it was seen alive; an ADD has its time", async () => {
  const machine = new Machine();
  await machine.store.put(resourceKey(kubeControllersConfigurationKind, "default"), {
    spec: { controllers: { node: { leakGracePeriod: "1s" } } },
  });
  await machine.put();
  await machine.pass(3);
  await machine.put({ containerID: "c2" });
  assert.equal(await machine.pass(4), true);
  machine.links.add("cali1");
  await machine.pass(1);
  machine.links.clear();
  assert.equal(await machine.pass(4), true);
  // Another's by now, of which the agent has not heard.
  await machine.store.put(KEY, { spec: { containerID: "c3" } });
  assert.equal(await machine.pass(5), true);
  await machine.store.put(KEY, machine.endpoints.get(KEY));
  await machine.store.put(resourceKey(podKind, "web", "blue"), { spec: { nodeName: "n2" } });
  assert.equal(await machine.pass(1), false, "its Pod is on another node");
  await machine.store.close();
});
