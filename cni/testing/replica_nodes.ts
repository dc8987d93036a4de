/**
 * The nodes of a cluster of pinned replicas: each with its CNI server and its kernel, on one store. Any
 * call may be cut off by a crash, and now and then a service is slow between any two of its own calls to
 * store or kernel, so that others come in between.
 *
 * Whenever a container is wired, in a call that is cut off too, no other on any node may have the address
 * on an interface, and the list must name it.
 */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { formatIp, type Ip, parseIp, sameIp } from "../../mod/net/mod.ts";
import type { Store } from "../../mod/store/store.ts";
import type { CniReply } from "../request.ts";
import { CniServer } from "../server.ts";
import { FakeKernel } from "./fake_kernel.ts";
import { type Fault, FaultPoints, faultyKernel, faultyStore } from "./world.ts";

export interface NodesOptions {
  readonly nodes: number;
  /** All addresses that may be given. */
  readonly allowed: readonly string[];
  /** How many calls of a hundred a crash cuts off. */
  readonly crashes: number;
  readonly seed: number;
  /** Pods are Kubernetes', and then profiles are too. */
  readonly kubernetes: boolean;
}

/** How many calls of a hundred, to store or kernel, wait for a few milliseconds. */
const SLOW = 3;
export const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const confOf = (kubernetes: boolean) =>
  new TextEncoder().encode(JSON.stringify({
    cniVersion: "1.0.0",
    name: "net",
    type: "tortie",
    ipam: { type: "tortie-ipam" },
    ...(kubernetes && { policy: { type: "k8s" } }),
  }));

/** A container on one of the nodes. */
export interface Placed {
  readonly node: number;
  readonly container: string;
}

export class ReplicaNodes {
  readonly #kernels: FakeKernel[] = [];
  readonly #servers: CniServer[] = [];
  /** What must never be, in words. */
  readonly #faults: string[] = [];
  readonly #random: () => number;
  /** Calls that were cut off. */
  crashes = 0;

  constructor(readonly store: Store, readonly options: NodesOptions) {
    this.#random = randomFrom(options.seed);
    for (let i = 0; i < options.nodes; i++) {
      const kernel = new FakeKernel();
      kernel.onWired = (path, addresses) => this.#mustBeAlone(path, addresses);
      this.#kernels.push(kernel);
      this.#servers.push(this.#server(i));
    }
  }

  below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  /** One call; undefined where the service died in it. */
  async call(
    command: "ADD" | "DEL",
    node: number,
    pod: string,
    container: string,
  ): Promise<CniReply | undefined> {
    const path = this.#kernels[node].addNamespace(pathOf(container));
    const crashes = this.below(100) < this.options.crashes;
    const points = this.#points(
      crashes
        ? { at: this.below(40), mode: this.#random() < 0.5 ? "cut" : "cut after" }
        : undefined,
    );
    const server = crashes ? this.#server(node, points) : this.#servers[node];
    const reply = await server.handle({
      argv0: "/opt/cni/bin/tortie",
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: container,
        CNI_IFNAME: "eth0",
        CNI_NETNS: path,
        CNI_PATH: "/opt/cni/bin",
        CNI_ARGS: `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${pod}`,
      },
      stdin: confOf(this.options.kubernetes),
    }, () => Promise.resolve(!points.died));
    assert.deepEqual(this.#faults, []);
    if (!points.died) return reply;
    this.crashes++;
    this.#servers[node] = this.#server(node);
    return undefined;
  }

  /** The namespace is gone, with all that is in it. */
  vanish({ node, container }: Placed): void {
    this.#kernels[node].deleteNamespace(pathOf(container));
  }

  /** Address by address that a namespace has been given: nobody else may have it, and it is one of ours. */
  #mustBeAlone(path: string, addresses: readonly Ip[]): void {
    for (const ip of addresses) {
      const text = formatIp(ip);
      if (!this.options.allowed.includes(text)) this.#faults.push(`${text} is not in the list`);
      for (const other of this.#kernels.flatMap((kernel) => wiredIn(kernel, ip))) {
        if (other !== path) this.#faults.push(`${path} was wired with ${text}, as ${other} is`);
      }
    }
  }

  /** Those of the addresses that a container on the node has on an interface. */
  word(node: number, asked: readonly string[]): string[] {
    return asked.filter((text) => wiredIn(this.#kernels[node], parseIp(text)!).length > 0);
  }

  isWired({ node, container }: Placed, address: string): boolean {
    return wiredIn(this.#kernels[node], parseIp(address)!).includes(pathOf(container));
  }

  /** Now and then a service is slow between any two of its calls, and others are quicker. */
  #points(fault?: Fault): FaultPoints {
    const pause = () => this.below(100) < SLOW ? wait(1 + this.below(4)) : undefined;
    return new FaultPoints(fault, pause);
  }

  /** A node's service over what is there, which dies at a call where that is given. */
  #server(node: number, points = this.#points()): CniServer {
    const store = faultyStore(this.store, points);
    const ipam = new Ipam(store);
    return new CniServer({
      store,
      ipam,
      leases: ipam,
      kernel: faultyKernel(this.#kernels[node], points),
      nodeName: `n${node}`,
      mtu: () => 1450,
      endpointProgrammed: () => Promise.resolve(),
      programmedTimeout: 1000,
    });
  }
}

const pathOf = (container: string) => `/run/netns/${container}`;

/** Namespaces of the machine's containers with the address on an interface. */
function wiredIn(kernel: FakeKernel, ip: Ip): string[] {
  return [...kernel.links].filter((link) =>
    link.where !== "" && link.addresses.some((address) => sameIp(address.ip, ip))
  ).map((link) => link.where);
}

/** The same numbers from the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
