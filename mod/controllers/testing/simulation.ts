/**
 * For tests: a cluster with machines that are what they are, whatever the records say. Containers run on
 * them; records of endpoints, pods and nodes come, go and get lost; the collector works in between. What
 * must never happen is asked of the machines.
 */
import assert from "node:assert/strict";
import { formatIp } from "../../net/mod.ts";
import { Ipam } from "../../ipam/ipam.ts";
import { SoundCluster } from "../../ipam/check/testing/clusters.ts";
import { allocationsOf } from "../../ipam/check/allocations.ts";
import { leaseHandle } from "../../ipam/lease_record.ts";
import { goTimestamp } from "../../ipam/time.ts";
import { answerKey, questionKey, readQuestion } from "../../ipam/questions.ts";
import { felixStatusKey, resourceKey } from "../../model/keys.ts";
import type { Store } from "../../store/store.ts";
import { collect, type Collection, type CollectorAction, type Memory } from "../collector.ts";
import { perform } from "../perform.ts";
import { ClusterView } from "../view.ts";

const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;
const PODS = { plural: "pods", home: "kubernetes", namespaced: true } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;

export const GRACE = 900_000;

/** A container that runs. */
export interface Container {
  readonly pod: string;
  readonly node: string;
  readonly handle: string;
  readonly addresses: readonly string[];
}

/** The view of a store as it is now. */
export async function viewOf(store: Store): Promise<ClusterView> {
  const view = new ClusterView();
  for (const { key, value, revision } of (await store.list("/")).entries) {
    view.apply(key, value, revision);
  }
  return view;
}

export class Simulation extends SoundCluster {
  /** By handle. */
  readonly containers = new Map<string, Container>();
  readonly machines = new Set<string>();
  memory: Memory = new Map();
  /** Milliseconds since the beginning. */
  time = 0;
  #pods = 0;

  /** `statuses`: agents keep a status in the datastore, as on kv and etcd. */
  constructor(readonly podsKnown = false, readonly statuses = true) {
    super();
  }

  override async begin(): Promise<void> {
    await super.begin();
    for (const node of ["n0", "n1", "n2"]) await this.startMachine(node);
  }

  async startMachine(node: string): Promise<void> {
    this.machines.add(node);
    await this.node(node);
    if (this.statuses) await this.store.put(felixStatusKey(node), {});
    await this.store.put(answerKey(node), { asked: "", held: [] });
  }

  /** The machine is gone, and everything that ran there; its records stay. */
  async killMachine(node: string): Promise<void> {
    this.machines.delete(node);
    for (const [handle, container] of this.containers) {
      if (container.node === node) this.containers.delete(handle);
    }
    await this.remove(felixStatusKey(node));
  }

  async deleteNode(node: string): Promise<void> {
    await this.remove(resourceKey(NODES, node));
  }

  /** ADD, as CNI does it; with a Pod object where there is an API. */
  async run(node: string): Promise<Container | undefined> {
    if (!this.machines.has(node)) return undefined;
    const pod = await this.addPod(node, { six: this.#pods++ % 3 === 0 });
    if (!pod) return undefined;
    const container = { pod: pod.name, node, handle: pod.handle, addresses: pod.addresses };
    this.containers.set(pod.handle, container);
    if (this.podsKnown) {
      await this.store.put(this.podKey(container), {
        metadata: { name: pod.name, namespace: "blue" },
        spec: { nodeName: node },
        status: { podIPs: pod.addresses.map((ip) => ({ ip })) },
      });
    }
    return container;
  }

  /** ADD of an ordinal of StatefulSet blue/db, which leases its address (`cni/pin_leases.ts`). */
  async runOrdinal(node: string, ordinal: string): Promise<Container> {
    const pod = `db-${ordinal}`, container = ordinal.padStart(64, "d");
    const handle = leaseHandle("blue", "db", ordinal, "eth0");
    const attributes = {
      container: `net.${container}`,
      keepSeconds: "3600",
      node,
      ordinal,
      statefulset: "blue/db",
      timestamp: goTimestamp(this.now),
    };
    const given = await this.ipam.assign({
      num4: 1,
      host: node,
      handle,
      attributes,
      use: "Workload",
    });
    const addresses = given.map(({ ip }) => formatIp(ip));
    const one = { pod, node, handle, addresses };
    await this.store.put(this.endpointKey(one), {
      metadata: { name: pod, namespace: "blue" },
      spec: {
        orchestrator: "k8s",
        node,
        pod,
        endpoint: "eth0",
        containerID: container,
        ipNetworks: addresses.map((address) => `${address}/32`),
      },
    });
    this.containers.set(handle, one);
    return one;
  }

  podKey(container: Container): string {
    return resourceKey(PODS, container.pod, "blue");
  }

  endpointKey({ node, pod }: Container): string {
    return resourceKey(ENDPOINTS, `${node}-k8s-${pod.replaceAll("-", "--")}-eth0`, "blue");
  }

  /** The container ends, and nobody says so to the datastore. */
  vanish(container: Container): void {
    this.containers.delete(container.handle);
  }

  async remove(key: string): Promise<void> {
    if (await this.store.get(key)) await this.store.delete(key);
  }

  /** Machines that run answer what they are asked, by what runs there. */
  async answer(unseen?: string): Promise<void> {
    for (const node of this.machines) {
      const entry = await this.store.get(questionKey(node));
      if (!entry) continue;
      const here = [...this.containers.values()].filter((c) => c.node === node)
        .flatMap((c) => c.addresses);
      const held = readQuestion(entry.value).addresses.map(({ ip }) => ip)
        .filter((ip) => here.includes(ip));
      await this.store.put(answerKey(node), {
        asked: entry.revision,
        held,
        ...(unseen !== undefined && { unseen }),
      });
    }
  }

  async look(store: Store = this.store): Promise<Collection> {
    return collect(await viewOf(store), this.memory, {
      grace: GRACE,
      podsKnown: this.podsKnown,
      now: this.time,
      wall: this.now,
    });
  }

  /** One turn of the controllers. */
  async turn(store: Store = this.store): Promise<readonly CollectorAction[]> {
    const { actions, memory } = await this.look(store);
    this.memory = memory;
    const ipam = new Ipam(store, { now: () => this.now });
    for (const action of actions) {
      await perform({ store, ipam, pods: store, now: () => this.now }, action);
    }
    return actions;
  }

  wait(ms: number): void {
    this.time += ms;
    this.now += ms;
  }

  /** Turns, answers and time, until there is nothing more to do. */
  async settle(store: Store = this.store): Promise<void> {
    for (let i = 0; i < 12; i++) {
      await this.turn(store);
      await this.answer();
      await this.turn(store);
      this.wait(GRACE + 1000);
    }
    // A node without a Node is asked for a sign of life for ever.
    const { actions } = await this.look();
    const isCall = (a: CollectorAction) => a.do === "ask" && a.question?.at !== undefined;
    assert.deepEqual(actions.filter((a) => !isCall(a)), []);
  }

  /** Every container that runs has its addresses on record, under its handle. */
  async safe(): Promise<void> {
    for (const { handle, addresses } of this.containers.values()) {
      for (const address of addresses) {
        const holder = await this.ipam.assignment(address);
        assert.equal(holder?.handle, handle, `${address} of a container that runs`);
      }
    }
  }

  /** By address. */
  async given(): Promise<string[]> {
    const view = await viewOf(this.store);
    return [...view.blocks.values()].flatMap(allocationsOf).map(({ address }) => address).sort();
  }
}
