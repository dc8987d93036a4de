/**
 * A node in memory for the tests of the CNI path: a store, IPAM on it, a fake kernel, and a server
 * over all three. Faults can be put before or after any single call to store or kernel, IPAM's own
 * calls to the store among them; a "cut" is a process that dies there, and everything after it fails.
 */

import { Ipam } from "../../mod/ipam/ipam.ts";
import type { AllocationBlock } from "../../mod/model/ipam_block.ts";
import { blockPrefix, handlePrefix, resourceKey, resourcePrefix } from "../../mod/model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { namespaceKind } from "../../mod/model/namespace.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { podKind } from "../../mod/model/pod.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import { type JointWrite, type Store, StoreError } from "../../mod/store/store.ts";
import { KernelError } from "../../ffi/errors.ts";
import type { CniDeps, Given } from "../deps.ts";
import type { CniKernel, HostLink, PodNamespace } from "../kernel.ts";
import type { CniReply } from "../request.ts";
import { listEndpoints, placeOf } from "../endpoint_record.ts";
import { CniServer, type Deliver } from "../server.ts";
import { FakeKernel } from "./fake_kernel.ts";

/** Where a fault is to happen. */
export interface Fault {
  /** Counted over all calls to store and kernel, from 0. */
  readonly at: number;
  /** `before`: the call has no effect; `after`: it has, and its answer is lost; `cut`: the process
   * dies before the call; `cut after`: it dies when the call had its effect. */
  readonly mode: "before" | "after" | "cut" | "cut after";
}

/** Counts calls, and lets the one that was named fail. */
export class FaultPoints {
  calls = 0;
  readonly names: string[] = [];
  #dead = false;

  /** `pause` is waited for before each call: others come in between. */
  constructor(
    readonly fault?: Fault,
    readonly pause?: (what: string) => Promise<void> | undefined,
  ) {}

  /** The process has died: nobody hears its answers. */
  get died(): boolean {
    return this.#dead;
  }

  async run<T>(what: string, error: () => Error, call: () => Promise<T>): Promise<T> {
    if (this.#dead) throw error();
    await this.pause?.(what);
    if (this.#dead) throw error();
    const here = this.calls++ === this.fault?.at;
    this.names.push(what);
    if (here && this.fault?.mode === "before") throw error();
    if (here && this.fault?.mode === "cut") {
      this.#dead = true;
      throw error();
    }
    const result = await call();
    if (here && this.fault?.mode === "after") throw error();
    if (here && this.fault?.mode === "cut after") {
      this.#dead = true;
      throw error();
    }
    return result;
  }
}

const storeError = () => new StoreError("unavailable", "the test lets the store fail here");
const kernelError = () => new KernelError(5, "the test lets the kernel fail here");

/** Every call counts, and may be the one that fails. `jointly`: several objects are written in one step. */
export function faultyStore(store: Store, points: FaultPoints, jointly = true): Store {
  const wrap =
    <A extends unknown[], R>(name: string, method: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      points.run(`store ${name} ${String(args[0])}`, storeError, () => method.apply(store, args));
  return {
    get epoch() {
      return store.epoch;
    },
    get: wrap("get", store.get) as Store["get"],
    list: wrap("list", store.list) as Store["list"],
    create: wrap("create", store.create),
    update: wrap("update", store.update),
    put: wrap("put", store.put),
    delete: wrap("delete", store.delete),
    ...(jointly && store.together && {
      together: (writes: readonly JointWrite[], epoch?: number) =>
        points.run(
          `store together ${writes.map(({ key }) => key).join(" ")}`,
          storeError,
          () => store.together!(writes, epoch),
        ),
    }),
    watch: store.watch.bind(store),
    close: () => Promise.resolve(),
  };
}

/** The same of the kernel. */
export function faultyKernel(kernel: CniKernel, points: FaultPoints): CniKernel {
  const run = <T>(what: string, call: () => Promise<T>) =>
    points.run(`kernel ${what}`, kernelError, call);
  const wrap = (netns: PodNamespace): PodNamespace => ({
    path: netns.path,
    link: (name) => run(`link ${name}`, () => netns.link(name)),
    createPair: (plan) => run("createPair", () => netns.createPair(plan)),
    wirePod: (plan) => run("wirePod", () => netns.wirePod(plan)),
    settle: (plan) => run("settle", () => netns.settle(plan)),
    removeLink: (name) => run(`removeLink ${name}`, () => netns.removeLink(name)),
    close: () => netns.close(),
  });
  return {
    openNamespace: async (path: string, missing?: "undefined") => {
      const netns = await run("openNamespace", () => kernel.openNamespace(path, missing!));
      return netns && wrap(netns);
    },
    hostLink: (name) => run(`hostLink ${name}`, () => kernel.hostLink(name)),
    linkOf: (ip) => run("linkOf", () => kernel.linkOf(ip)),
    addressesBeyond: (name) => run("addressesBeyond", () => kernel.addressesBeyond(name)),
    addressesOf: (name) => run("addressesOf", () => kernel.addressesOf(name)),
    hostAddresses: () => run("hostAddresses", () => kernel.hostAddresses()),
    wireHost: (plan) => run("wireHost", () => kernel.wireHost(plan)),
    removeHostLink: (name) => run(`removeHostLink ${name}`, () => kernel.removeHostLink(name)),
    setAlias: (name, alias) => run("setAlias", () => kernel.setAlias(name, alias)),
    missingHostRoutes: (name, ips) => kernel.missingHostRoutes(name, ips),
  } as CniKernel;
}

export interface CallOptions {
  readonly command?: string;
  readonly argv0?: string;
  readonly conf?: Record<string, unknown> | string;
  readonly container?: string;
  readonly ifname?: string;
  /** undefined: one of its own for the container; "": none is given. */
  readonly netns?: string;
  readonly args?: string;
  readonly env?: Record<string, string | undefined>;
  readonly deliver?: Deliver;
}

export const NODE = "n1";

export class World {
  readonly kernel = new FakeKernel();
  readonly log: string[] = [];
  /** What the agent does with a new endpoint; tests replace it. */
  programmed: CniDeps["endpointProgrammed"] = () => Promise.resolve();
  /** As FelixConfiguration says. */
  features = { floatingIps: true, sourceSpoofing: true };
  /** Who has an address without a route to it, as the node knows: host sides, by address. */
  readonly unrouted = new Map<string, HostLink>();
  /** What the node remembers of addresses that the IPAM plugin gave. */
  readonly given = new Map<string, Given>();
  /** How the links of the host looked whenever policy was asked for. */
  #server: CniServer;
  #points = new FaultPoints();

  /** Milliseconds that have gone by; grows with every look at the clock. */
  tick = 0;

  private constructor(readonly store: Store = memoryStore(), readonly node = NODE) {
    this.#server = this.#newServer();
  }

  /** Another node of the same cluster. */
  async otherNode(name: string): Promise<World> {
    await this.store.create(resourceKey(nodeKind, name), {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name },
      spec: {},
    });
    return new World(this.store, name);
  }

  /** A node with one pool of /26 blocks. */
  static async make(pool: Record<string, unknown> = {}, store?: Store): Promise<World> {
    const world = new World(store);
    await world.store.create(resourceKey(nodeKind, NODE), {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: NODE },
      spec: { bgp: { ipv4Address: "192.0.2.11/24" } },
    });
    await world.addPool("pool", { cidr: "10.244.0.0/16", ...pool });
    return world;
  }

  async addPool(name: string, spec: Record<string, unknown>): Promise<void> {
    await this.store.put(resourceKey(ippoolKind, name), {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name },
      spec: { blockSize: String(spec.cidr).includes(":") ? 122 : 26, ...spec },
    });
  }

  /** Where Pods, Namespaces and Kubernetes' Nodes are from the next restart on, if not in the store. */
  kubernetes: Store | undefined;
  /** The store writes several objects in one step; counts from the next restart on. */
  jointly = true;
  /** The store is the Kubernetes API, from the next restart on. */
  podsKnown = false;

  async addPod(
    name: string,
    more: {
      namespace?: string;
      annotations?: Record<string, string>;
      labels?: Record<string, string>;
      spec?: Record<string, unknown>;
    } = {},
  ): Promise<void> {
    const namespace = more.namespace ?? "blue";
    await (this.kubernetes ?? this.store).put(resourceKey(podKind, name, namespace), {
      kind: "Pod",
      apiVersion: "v1",
      metadata: { name, namespace, labels: more.labels, annotations: more.annotations },
      spec: more.spec ?? {},
    });
  }

  async addNamespace(
    name: string,
    annotations: Record<string, string> = {},
    labels: Record<string, string> = {},
  ): Promise<void> {
    await (this.kubernetes ?? this.store).put(resourceKey(namespaceKind, name), {
      kind: "Namespace",
      apiVersion: "v1",
      metadata: { name, annotations, labels },
    });
  }

  /** The node service starts anew over what is there, with or without a fault to come. */
  restart(fault?: Fault, pause?: FaultPoints["pause"]): FaultPoints {
    this.#points = new FaultPoints(fault, pause);
    this.#server = this.#newServer();
    return this.#points;
  }

  #newServer(): CniServer {
    const store = faultyStore(this.store, this.#points, this.jointly);
    const now = () => 1_795_356_000_000 + this.tick++;
    const ipam = new Ipam(store, { now, random: () => 0.5, kubernetes: this.kubernetes });
    return new CniServer({
      store,
      kubernetes: this.kubernetes,
      podsKnown: this.podsKnown,
      ipam,
      leases: ipam,
      features: () => this.features,
      kernel: faultyKernel(this.kernel, this.#points),
      nodeName: this.node,
      now: () => new Date(now()),
      mtu: () => 1450,
      endpointProgrammed: (endpoint, signal) => this.programmed(endpoint, signal),
      unroutedHolder: (ip) => {
        const link = this.unrouted.get(formatIp(ip));
        return this.kernel.in("").some(({ name }) => name === link?.name) ? link : undefined;
      },
      given: (ip) => Promise.resolve(this.given.get(formatIp(ip))),
      programmedTimeout: 50,
      log: (level, message, fields) =>
        this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
    });
  }

  static conf(more: Record<string, unknown> = {}): Record<string, unknown> {
    return {
      cniVersion: "1.0.0",
      name: "net",
      type: "tortie",
      ipam: { type: "tortie-ipam" },
      ...more,
    };
  }

  /** One call; a namespace is made for the container unless one is named. */
  async call(options: CallOptions = {}): Promise<CniReply & { json: any }> {
    const container = options.container ?? "c1";
    const netns = options.netns ?? this.kernel.addNamespace(`/run/netns/${container}`);
    const conf = options.conf ?? World.conf();
    const env: Record<string, string | undefined> = {
      CNI_COMMAND: options.command ?? "ADD",
      CNI_CONTAINERID: container,
      CNI_IFNAME: options.ifname ?? "eth0",
      CNI_NETNS: netns,
      CNI_ARGS: options.args ?? "",
      CNI_PATH: "/opt/cni/bin",
      ...options.env,
    };
    const reply = await this.#server.handle({
      argv0: options.argv0 ?? "/opt/cni/bin/tortie",
      env: Object.fromEntries(Object.entries(env).filter(([, v]) => v !== undefined)) as Record<
        string,
        string
      >,
      stdin: new TextEncoder().encode(typeof conf === "string" ? conf : JSON.stringify(conf)),
    }, options.deliver);
    return { ...reply, json: reply.body === "" ? undefined : JSON.parse(reply.body) };
  }

  /** Every address that is given, with its handle. */
  async allocations(): Promise<{ ip: number; block: string; handle: string; attributes: any }[]> {
    const found = [];
    for (const family of [4, 6] as const) {
      for (
        const { value } of (await this.store.list<AllocationBlock>(blockPrefix(family))).entries
      ) {
        for (const [ip, index] of value.allocations.entries()) {
          if (index === null) continue;
          const attribute = value.attributes[index];
          found.push({
            ip,
            block: value.cidr,
            handle: attribute.handle_id ?? "",
            attributes: attribute.secondary,
          });
        }
      }
    }
    return found;
  }

  async handles(): Promise<string[]> {
    const listing = await this.store.list(handlePrefix);
    return listing.entries.map((e) => e.key.slice(handlePrefix.length));
  }

  async endpoints(): Promise<WorkloadEndpoint[]> {
    const prefix = resourcePrefix(workloadEndpointKind);
    return (await this.store.list<WorkloadEndpoint>(prefix)).entries.map((e) => e.value);
  }

  /** What an attachment leaves, as texts: empty when nothing is left of any. */
  async traces(): Promise<string[]> {
    return [
      ...[...this.kernel.links].map((link) => `link ${link.where}:${link.name}`),
      ...(await listEndpoints(this.store, resourcePrefix(workloadEndpointKind)))
        .map(({ key }) => `endpoint ${placeOf(key)?.name ?? key}`),
      ...(await this.allocations()).map((a) => `address ${a.block}#${a.ip} ${a.handle}`),
      ...(await this.handles()).map((h) => `handle ${h}`),
    ];
  }
}
