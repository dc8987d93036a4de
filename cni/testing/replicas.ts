/**
 * A cluster that rolls a pinned workload out again and again: several nodes on one store
 * (`replica_nodes.ts`), and a controller and kubelets that do what Kubernetes' do. Calls are cut off by
 * crashes, pods move between nodes, replacements come before or after those that they replace.
 *
 * The nodes see to it that no two containers are wired with one address. Besides, an answer of ADD is
 * held against the containers whose DEL has not been answered and that are still wired; after each
 * rollout every replica has its address, in its namespace and on record.
 *
 * Some containers vanish without a DEL, as when a machine is reset, and their pods with them: nobody but
 * the controllers gives their addresses back. They belong to another room, and run beside (`nodesWord`).
 */

import assert from "node:assert/strict";
import type { AllocationBlock } from "../../mod/model/ipam_block.ts";
import { blockPrefix, resourceKey, resourcePrefix } from "../../mod/model/keys.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { formatIp, ipAt, mustPrefix } from "../../mod/net/mod.ts";
import type { Store } from "../../mod/store/store.ts";
import { ApiInStore, type ReplicaApi } from "./replica_api.ts";
import { type Placed, ReplicaNodes, wait } from "./replica_nodes.ts";

export interface ReplicaOptions {
  readonly kind: "Deployment" | "StatefulSet";
  readonly replicas: number;
  readonly nodes: number;
  /** Of the annotation. */
  readonly pins: string;
  /** All addresses that may be given. */
  readonly allowed: readonly string[];
  readonly spare?: string;
  /** How many calls of a hundred a crash cuts off. */
  readonly crashes: number;
  /** How many containers of a hundred vanish without a DEL; then the controllers must run beside. */
  readonly vanishing?: number;
  readonly seed: number;
  /** Where Nodes and Pods are made that the store does not take. */
  readonly api?: ReplicaApi;
}

interface Replica extends Placed {
  readonly pod: string;
  readonly address: string;
}

export class ReplicaCluster {
  readonly #nodes: ReplicaNodes;
  /** Address -> container, from the answer of ADD until that of DEL. */
  readonly #running = new Map<string, Placed>();
  readonly #api: ReplicaApi;
  #containers = 0;
  #generation = 0;
  /** Refusals with code 11. */
  waits = 0;
  vanished = 0;
  adds = 0;

  private constructor(readonly store: Store, readonly options: ReplicaOptions) {
    this.#api = options.api ?? new ApiInStore(store);
    this.#nodes = new ReplicaNodes(store, { ...options, kubernetes: options.api !== undefined });
  }

  get crashes(): number {
    return this.#nodes.crashes;
  }

  /** Those of the addresses that a container on the node has on an interface: what its service says. */
  nodesWord(node: string, asked: readonly string[]): string[] {
    return this.#nodes.word(Number(node.slice(1)), asked);
  }

  #below(n: number): number {
    return this.#nodes.below(n);
  }

  static async make(store: Store, options: ReplicaOptions): Promise<ReplicaCluster> {
    const cluster = new ReplicaCluster(store, options);
    for (let i = 0; i < options.nodes; i++) {
      await cluster.#api.putNode({
        kind: "Node",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: `n${i}` },
        spec: {},
        status: {},
      });
    }
    await store.create(resourceKey(ippoolKind, "pool"), {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "pool" },
      spec: { cidr: "10.244.0.0/24", blockSize: 28 },
    });
    return cluster;
  }

  /** A pod comes up, as kubelet brings it there: a new sandbox for each attempt. */
  async #start(pod: string, node: number): Promise<Replica> {
    const { kind, pins, spare } = this.options;
    await this.#api.putPod({
      kind: "Pod",
      apiVersion: "v1",
      metadata: {
        name: pod,
        namespace: "blue",
        annotations: {
          "tortie.io/ip-pins": pins,
          ...(spare && { "tortie.io/ip-pins-spare": spare }),
        },
        ownerReferences: [{
          apiVersion: "apps/v1",
          kind: kind === "Deployment" ? "ReplicaSet" : kind,
          name: kind === "Deployment" ? "web-7d4b9c6f88" : "web",
          uid: "u",
          controller: true,
        }],
      },
      spec: { nodeName: `n${node}`, containers: [{ name: "web", image: "web" }] },
      status: {},
    });
    for (;;) {
      const container = `c${this.#containers++}`;
      const reply = await this.#nodes.call("ADD", node, pod, container);
      if (reply?.exit === 0) {
        const address: string = JSON.parse(reply.body).ips[0].address.split("/")[0];
        assert.ok(this.options.allowed.includes(address), `${address} is not in the list`);
        const other = this.#running.get(address);
        // Who has nothing on his interface any more may be just before the answer of his DEL.
        const has = other && this.#nodes.isWired(other, address);
        assert.ok(!has, `${address} is ${other?.container}'s and was given to ${container}`);
        this.#running.set(address, { node, container });
        this.adds++;
        return { pod, node, container, address };
      }
      if (reply) {
        const { code, msg } = JSON.parse(reply.body);
        assert.equal(code, 11, msg);
        this.waits++;
      }
      // Kubelet takes the failed sandbox away, sooner or later.
      await this.#delete(pod, node, container);
      await wait(this.#below(2));
    }
  }

  async #delete(pod: string, node: number, container: string): Promise<void> {
    for (;;) {
      const reply = await this.#nodes.call("DEL", node, pod, container);
      if (reply) assert.equal(reply.exit, 0, reply.body);
      if (reply) break;
      // The service begins anew first.
      await wait(this.#below(10));
    }
    this.#nodes.vanish({ node, container });
  }

  async #stop({ pod, node, container, address }: Replica): Promise<void> {
    if (this.#below(100) < (this.options.vanishing ?? 0)) await this.#vanish(pod, node, container);
    else await this.#delete(pod, node, container);
    if (this.#running.get(address)?.container === container) this.#running.delete(address);
    await this.#api.deletePod(pod, "blue");
  }

  /** Nobody asks for a DEL; the node takes the endpoint off the record, as it does (`dead_endpoints.ts`). */
  async #vanish(pod: string, node: number, container: string): Promise<void> {
    this.vanished++;
    this.#nodes.vanish({ node, container });
    // There the endpoint is the Pod, and goes with it.
    if (this.options.api) return;
    const { entries } = await this.store.list<WorkloadEndpoint>(
      resourcePrefix(workloadEndpointKind, "blue"),
    );
    for (const { key, value, revision } of entries) {
      if (value.spec.pod === pod) await this.store.delete(key, revision);
    }
  }

  /** The first replicas. */
  async start(): Promise<Replica[]> {
    return await Promise.all(
      Array.from(
        { length: this.options.replicas },
        (_, i) => this.#start(this.#name(i), this.#any()),
      ),
    );
  }

  /** Replaces every replica, in Kubernetes' order for the kind. */
  async rollOut(before: readonly Replica[]): Promise<Replica[]> {
    const after = await this.#replace(before);
    assert.equal(after.length, this.options.replicas);
    const recorded = new Map((await this.allocations()).map((one) => [one.address, one]));
    for (const replica of after) {
      const { address, container } = replica;
      assert.ok(
        this.#nodes.isWired(replica, address),
        `${container} has ${address} on its interface`,
      );
      const { handle, attributes } = recorded.get(address) ?? {};
      const holder = attributes?.container ?? handle;
      assert.ok(
        holder?.includes(container),
        `${address} is on record as ${container}'s: ${holder}`,
      );
    }
    return after;
  }

  async #replace(before: readonly Replica[]): Promise<Replica[]> {
    this.#generation++;
    const { kind, spare } = this.options;
    if (kind === "StatefulSet") {
      const after = [...before];
      // From the last ordinal to the first: the next one begins when its pod is gone.
      for (let i = before.length - 1; i >= 0; i--) {
        await this.#stop(before[i]);
        after[i] = await this.#start(before[i].pod, this.#any());
        assert.equal(after[i].address, before[i].address, "an ordinal keeps its address");
      }
      return after;
    }
    if (spare) {
      // maxSurge 1, maxUnavailable 0: a replacement is there before one goes.
      const after: Replica[] = [];
      for (const [i, old] of before.entries()) {
        after.push(await this.#start(this.#name(i), this.#any()));
        await this.#stop(old);
      }
      return after;
    }
    // All at once, some before and some after those that go: they wait for one another.
    const stops = before.map(async (old) => {
      await wait(this.#below(3));
      await this.#stop(old);
    });
    const starts = before.map((_, i) => this.#start(this.#name(i), this.#any()));
    const [after] = await Promise.all([Promise.all(starts), Promise.all(stops)]);
    return after;
  }

  async stop(replicas: readonly Replica[]): Promise<void> {
    await Promise.all(replicas.map((replica) => this.#stop(replica)));
  }

  #name(i: number): string {
    return this.options.kind === "StatefulSet"
      ? `web-${i}`
      : `web-7d4b9c6f88-g${this.#generation}r${i}x`;
  }

  #any(): number {
    return this.#below(this.options.nodes);
  }

  /** Addresses on record with their handles and attributes. */
  async allocations(): Promise<
    { address: string; handle: string; attributes: Record<string, string> }[]
  > {
    const { entries } = await this.store.list<AllocationBlock>(blockPrefix(4));
    return entries.flatMap(({ value: block }) =>
      block.allocations.flatMap((index, ordinal) =>
        index === null ? [] : [{
          address: formatIp(ipAt(mustPrefix(block.cidr), ordinal)),
          handle: block.attributes[index].handle_id ?? "",
          attributes: block.attributes[index].secondary ?? {},
        }]
      )
    );
  }
}
