/**
 * The controllers as a process has them: one watch over the store keeps the view, one lease says who
 * works, and turn by turn what should be done is computed from the view (`collector.ts`,
 * `host_endpoints.ts`, `label_sync.ts`) and done.
 *
 *     store --follow--> view --+
 *                              |--turn--> settings -> status
 *     lease ------------------ +          garbage -> perform
 *                              |          host endpoints, labels -> written
 *     Kubernetes' API --------'           profiles, policies (`derive.ts`) -> written
 *
 * Nothing is kept but since when something is suspected, so that a controller may die anywhere and
 * another begin: at worst a grace period begins anew. While the store is away nothing is done.
 */
import { Ipam } from "../ipam/ipam.ts";
import { allocationsOf } from "../ipam/check/allocations.ts";
import type { Loose } from "../ipam/check/evidence.ts";
import { NODE_WORDS, parseResourceKey, resourceKey, resourcePrefix } from "../model/keys.ts";
import {
  type KubeControllersConfiguration,
  kubeControllersConfigurationKind,
} from "../model/kube_controllers_configuration.ts";
import { kubernetesName, nodeKind } from "../model/node.ts";
import { kubernetesNetworkPolicyKind } from "../model/kubernetes_network_policy.ts";
import { podKind } from "../model/pod.ts";
import { profileKind } from "../model/profile.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { formatPrefix } from "../net/mod.ts";
import type { Report } from "../node/health.ts";
import type { Log } from "../node/log.ts";
import { type Clock, sleep } from "../store/clock.ts";
import { follow } from "../store/follow.ts";
import { ResourceError, Resources } from "../store/resources.ts";
import { type Revision, type Store, StoreError } from "../store/store.ts";
import { collect, type Collection, type Memory } from "./collector.ts";
import { hostEndpointActions, hostEndpointFacts } from "./host_endpoints.ts";
import { type DerivedAction, derivedActions, ordered } from "./derive.ts";
import { nodeActions } from "./label_sync.ts";
import { Lease, type LeaseState } from "./lease.ts";
import { type Counted, poolName } from "./metrics.ts";
import { perform } from "./perform.ts";
import { DEFAULT_SPEC, type Settings, settingsOf, specOf } from "./settings.ts";
import { ClusterView } from "./view.ts";
import { ignoreRaces, writeHostEndpoint } from "./write.ts";

export interface ControllersParts {
  readonly store: Store;
  /** The Kubernetes API beside a datastore that is not Kubernetes: it knows all nodes and pods. */
  readonly api?: Store;
  /** The store itself is the Kubernetes API. */
  readonly podsKnown: boolean;
  readonly log: Log;
  readonly clock: Clock;
  readonly env: (name: string) => string | undefined;
  /** Unique for each process. */
  readonly holder: string;
  readonly leaseSeconds?: number;
}

/** Milliseconds: between two turns at least, after one that failed, and where nothing happens at most. */
const LEAST_PAUSE = 500, FAILED_PAUSE = 5000, LONGEST_PAUSE = 300_000;
/** A turn that lasts so long is stuck. */
const STUCK = 300_000;
const CONFIGURATION = resourceKey(kubeControllersConfigurationKind, "default");

export class Controllers {
  readonly #parts: ControllersParts;
  readonly #view = new ClusterView();
  readonly #apiNodes = new Map<string, Readonly<Record<string, string>>>();
  readonly #originals = new Map([["profiles", new Map()], ["networkpolicies", new Map()]]);
  readonly #ipam: Ipam;
  readonly #resources: Resources;
  readonly #lease: Lease;
  #memory: Memory = new Map();
  #last: Collection | undefined;
  #settings: Settings;
  /** Until the configuration could be read once, nobody knows what is to be taken away. */
  #isConfigured = false;
  #synced = false;
  #apiSynced: boolean;
  #wordsSynced: boolean;
  /** Why nodes cannot be asked. */
  #unasked: string | undefined;
  #outage: string | undefined = "it has not been read yet";
  #errors: string[] = [];
  #underivable: readonly string[] = [];
  #turnBegan: number | undefined;
  #wake: () => void = () => {};
  #dirty = true;
  #told = "";
  readonly #reclaimed = new Map<string, number>();

  constructor(parts: ControllersParts) {
    this.#parts = parts;
    const { store, clock, holder, leaseSeconds: seconds = 15 } = parts;
    this.#ipam = new Ipam(store, { now: () => clock.wallMs() });
    this.#resources = new Resources(store, {
      releasePoolAffinities: (cidr, heirs) => this.#ipam.releasePoolAffinities(cidr, heirs),
      releaseNode: (node, addresses) => this.#ipam.releaseNode(node, addresses),
    });
    const now = () => clock.monotonicMs();
    this.#lease = new Lease(store, { holder, seconds, now, wall: () => clock.wallMs() });
    this.#settings = settingsOf(undefined, parts.env, parts.api !== undefined);
    this.#apiSynced = parts.api === undefined;
    this.#wordsSynced = !parts.podsKnown;
  }

  get settings(): Settings {
    return this.#settings;
  }

  /** The settings are those of the store, or there are none there. */
  get isConfigured(): boolean {
    return this.#synced;
  }

  get leadership(): LeaseState {
    return this.#lease.state;
  }

  /** What the last turn saw. */
  get collection(): Collection | undefined {
    return this.#last;
  }

  /** Runs until the signal; nothing of it is left then but what is on record. */
  async run(signal: AbortSignal): Promise<void> {
    // A part that fails for good takes the others along: the process ends, and begins anew.
    const failed = new AbortController();
    const all = AbortSignal.any([signal, failed.signal]);
    const parts = [this.#follow(all), this.#lead(all), this.#work(all)];
    if (this.#parts.podsKnown) parts.push(this.#followWords(all));
    if (this.#parts.api) parts.push(this.#followApi(this.#parts.api, all));
    for (const part of parts) part.catch(() => failed.abort());
    try {
      await Promise.all(parts);
    } finally {
      await Promise.allSettled(parts);
      await this.#lease.resign();
    }
  }

  #changed(): void {
    this.#dirty = true;
    this.#wake();
  }

  #follow(signal: AbortSignal): Promise<void> {
    const { store, log, clock } = this.#parts;
    return follow(store, "/", {
      put: ({ key, value, revision }) => {
        if (this.#view.apply(key, value, revision) && this.#synced) this.#changed();
      },
      delete: (key, revision) => {
        if (this.#view.apply(key, undefined, revision) && this.#synced) this.#changed();
      },
      broken: (key, reason) => {
        if (this.#view.broken.get(key) !== reason) {
          log.warn("left out what cannot be read", { key, reason });
        }
        this.#view.tellBroken(key, reason);
      },
      synced: () => {
        if (this.#outage !== undefined && this.#synced) log.info("the datastore is back");
        this.#synced = true;
        this.#outage = undefined;
        this.#changed();
      },
      unavailable: (error) => {
        if (this.#outage !== error.message) log.warn("the datastore is away", { error });
        this.#outage = error.message;
      },
    }, { signal, clock });
  }

  /**
   * What nodes are asked and answer, where that is in no list of everything (the Kubernetes API). Who
   * may not read it goes by the Pods alone, as Calico does.
   */
  #followWords(signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.#parts;
    let unheard = "";
    const apply = (key: string, value: unknown, revision: Revision) => {
      if (this.#view.apply(key, value, revision) && this.#wordsSynced) this.#changed();
    };
    return follow(store, NODE_WORDS, {
      put: ({ key, value, revision }) => apply(key, value, revision),
      delete: (key, revision) => apply(key, undefined, revision),
      synced: () => {
        this.#wordsSynced = true;
        this.#unasked = undefined;
        this.#changed();
      },
      unavailable: (error) => {
        this.#wordsSynced = error.kind === "denied";
        if (!this.#wordsSynced) {
          if (unheard !== error.message) log.warn("nodes' answers cannot be read", { error });
          unheard = error.message;
          return;
        }
        if (!this.#unasked) {
          log.warn("nodes cannot be asked; addresses are released by Pods alone", { error });
        }
        this.#unasked = error.message;
        for (const map of [this.#view.questions, this.#view.answers]) map.clear();
        this.#view.remains.forget(NODE_WORDS);
        this.#changed();
      },
    }, { signal, clock });
  }

  /** Nodes, pods, and what copies are derived from, of the API beside the datastore. */
  async #followApi(api: Store, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    const kinds = [nodeKind, podKind, profileKind, kubernetesNetworkPolicyKind];
    const left = new Set<unknown>(kinds);
    let away = "";
    const take = (kind: typeof kinds[number], key: string, value: Loose, revision: Revision) => {
      const { name, namespace } = parseResourceKey(key)!;
      const into = kind === nodeKind ? this.#apiNodes : this.#originals.get(kind.plural);
      const id = namespace === undefined ? name : `${namespace}/${name}`;
      if (!into) this.#view.apply(key, value, revision);
      else if (value === undefined) into.delete(id);
      else into.set(id, kind === nodeKind ? value?.metadata?.labels ?? {} : value);
      if (this.#apiSynced) this.#changed();
    };
    await Promise.all(kinds.map((kind) =>
      follow<Loose>(api, resourcePrefix(kind), {
        put: ({ key, value, revision }) => take(kind, key, value, revision),
        delete: (key, revision) => take(kind, key, undefined, revision),
        broken: (key, reason) => {
          if (kind === podKind) this.#view.tellBroken(key, reason);
        },
        synced: () => {
          left.delete(kind);
          away = "";
          this.#apiSynced = left.size === 0;
          this.#changed();
        },
        unavailable: (error) => {
          if (away !== error.message) log.warn("the Kubernetes API is away", { error });
          away = error.message;
          left.add(kind);
          this.#apiSynced = false;
        },
      }, { signal, clock })
    ));
  }

  /**
   * The API knows none of the nodes that are Kubernetes' by the datastore: it is another cluster's (a
   * KUBECONFIG that was left in the environment), and everything would be taken for gone.
   */
  get #isForeign(): boolean {
    if (!this.#parts.api) return false;
    const theirs = [...this.#view.nodes.values()].flatMap(({ object }) =>
      object ? kubernetesName(object) ?? [] : []
    );
    return theirs.length > 0 && !theirs.some((name) => this.#apiNodes.has(name));
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#parts;
    let told = "";
    while (!signal.aborted) {
      try {
        const before = this.#lease.state;
        const state = await this.#lease.turn();
        const text = state.is === "standby" ? `standing by ${state.leader}` : state.is;
        if (text !== told) tellLeadership(log, state);
        told = text;
        if (state.is !== before.is) this.#changed();
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
      await sleep(clock, this.#lease.pause, signal);
    }
  }

  get #leads(): boolean {
    return this.#lease.state.is !== "standby";
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    while (!signal.aborted) {
      this.#dirty = false;
      let pause = LONGEST_PAUSE;
      if (this.#synced) {
        const { env, api } = this.#parts;
        const { configuration, broken } = this.#view;
        // One that cannot be read changes nothing.
        if (!broken.has(CONFIGURATION)) {
          this.#settings = settingsOf(specOf(configuration), env, api !== undefined);
          this.#isConfigured = true;
        }
      }
      const knows = this.#synced && this.#apiSynced && this.#wordsSynced && !this.#isForeign;
      if (knows && this.#leads && this.#outage === undefined) {
        this.#turnBegan = clock.monotonicMs();
        await this.#turn(signal);
        this.#turnBegan = undefined;
        const next = this.#last?.next;
        if (next !== undefined) {
          pause = Math.min(pause, Math.max(LEAST_PAUSE, next - clock.monotonicMs()));
        }
        if (this.#errors.length > 0) pause = Math.min(pause, FAILED_PAUSE);
      } else {
        // Who does not lead does not suspect either: what he has seen long ago proves nothing.
        this.#memory = new Map();
      }
      await sleep(clock, LEAST_PAUSE, signal);
      if (!this.#dirty) await this.#sleep(pause, signal);
    }
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await sleep(this.#parts.clock, ms, AbortSignal.any([signal, woken.signal]));
    this.#wake = () => {};
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const errors: string[] = [];
    const attempt = async (what: string, work: () => Promise<void>) => {
      // Every step may be the last: the lease is gone, or we are told to end.
      if (signal.aborted || !this.#leads) return;
      try {
        await work();
      } catch (error) {
        const known = error instanceof StoreError || error instanceof ResourceError ||
          (error as Error).name === "IpamError";
        if (!known) throw error;
        errors.push(`${what}: ${(error as Error).message}`);
      }
    };
    await attempt("KubeControllersConfiguration", () => this.#tellStatus());
    if (this.#settings.node && this.#view.ready && this.#isConfigured) {
      await this.#collect(attempt);
      if (!this.#settings.hostEndpointsUnclear) await this.#hostEndpoints(attempt);
      if (this.#parts.api) await this.#nodes(attempt);
    }
    if (this.#parts.api && this.#view.ready && this.#isConfigured) await this.#derive(attempt);
    const news = errors.join("; ");
    if (news !== this.#told && news !== "") {
      this.#parts.log.warn("not all could be done; tried again", { news });
    }
    this.#told = news;
    this.#errors = errors;
  }

  async #collect(attempt: Attempt): Promise<void> {
    const { store, api, podsKnown, clock, log } = this.#parts;
    const collection = collect(this.#view, this.#memory, {
      grace: this.#settings.leakGrace,
      podsKnown: podsKnown || api !== undefined,
      now: clock.monotonicMs(),
      wall: clock.wallMs(),
    });
    this.#memory = collection.memory;
    this.#last = collection;
    const parts = { store, ipam: this.#ipam, pods: api ?? store, now: () => clock.wallMs() };
    for (const action of collection.actions) {
      await attempt(action.do, async () => {
        const { done, released } = await perform(parts, action);
        if (done) log.info("collected", { done });
        for (const { block, node } of released) {
          const pool = poolName(this.#view, formatPrefix(block));
          const labels = `${pool} ${node || "unknown_node"}`;
          this.#reclaimed.set(labels, (this.#reclaimed.get(labels) ?? 0) + 1);
        }
      });
    }
  }

  async #hostEndpoints(attempt: Attempt): Promise<void> {
    const facts = hostEndpointFacts(this.#view);
    for (const action of hostEndpointActions(facts, this.#settings.hostEndpoints)) {
      const name = action.do === "delete" ? action.name : action.endpoint.metadata.name;
      await attempt(`host endpoint ${name}`, () => writeHostEndpoint(this.#resources, action));
    }
  }

  async #nodes(attempt: Attempt): Promise<void> {
    const nodes = (await this.#resources.list(nodeKind)).items;
    for (const action of nodeActions(nodes, this.#apiNodes, this.#settings.syncLabels)) {
      await attempt(`node ${action.name}`, async () => {
        if (action.do === "label") {
          await this.#resources.modify(nodeKind, action.name, undefined, action.change)
            .catch(ignoreRaces);
        } else if (!this.#podsOn(action.name)) {
          await this.#resources.delete(nodeKind, action.name).catch(ignoreRaces);
          this.#parts.log.info("deleted the Node of a machine that has left", {
            node: action.name,
          });
        }
      });
    }
  }

  async #derive(attempt: Attempt): Promise<void> {
    const [profiles, policies] = ["profiles", "networkpolicies"].map((p) =>
      this.#originals.get(p)!
    );
    const pod = (namespace: string, name: string) => this.#view.pod(namespace, name);
    const { actions, faults } = derivedActions(
      { profiles, policies, pod },
      this.#view,
      this.#settings.derives,
    );
    this.#underivable = faults;
    for (const action of actions) {
      const name = action.do === "put" ? action.object.metadata.name : action.name;
      await attempt(`${action.do} ${name}`, () => this.#write(action));
    }
  }

  async #write(action: DerivedAction): Promise<void> {
    const resources = this.#resources;
    switch (action.do) {
      case "put":
        await resources.apply<Loose, Loose>(action.kind as Loose, action.object);
        return;
      case "delete":
        await resources.delete<Loose>(action.kind as Loose, action.name, action.namespace)
          .catch(ignoreRaces);
        return;
      case "label": {
        const { name, namespace, labels } = action;
        await resources.modify(workloadEndpointKind, name, namespace, (stored) => ({
          ...stored,
          metadata: { ...stored.metadata, labels: { ...labels } },
        })).catch(ignoreRaces);
        return;
      }
    }
  }

  #podsOn(node: string): boolean {
    return [...this.#view.blocks.values()].flatMap(allocationsOf).some(({ node: on, attributes }) =>
      on === node && attributes.pod !== undefined &&
      this.#view.pod(attributes.namespace ?? "", attributes.pod)?.spec?.nodeName ===
        (this.#view.kubernetesNode(node) ?? node)
    );
  }

  /** The configuration is there to be edited, and its status says what runs. */
  async #tellStatus(): Promise<void> {
    const { running, environment, faults } = this.#settings;
    for (const fault of faults) {
      if (!this.#faultsTold.has(fault)) this.#parts.log.warn("a setting is passed over", { fault });
      this.#faultsTold.add(fault);
    }
    if (!this.#view.configuration) {
      await this.#resources.create(kubeControllersConfigurationKind, {
        kind: "KubeControllersConfiguration",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: "default" },
        spec: structuredClone(DEFAULT_SPEC) as unknown as KubeControllersConfiguration["spec"],
      }).catch(ignoreRaces);
      return;
    }
    const status = {
      runningConfig: running,
      ...(Object.keys(environment).length > 0 && { environmentVars: { ...environment } }),
    };
    const same = (other: unknown) => ordered(other) === ordered(status);
    if (same(this.#view.configuration.value?.status)) return;
    await this.#resources.modify(
      kubeControllersConfigurationKind,
      "default",
      undefined,
      (stored: KubeControllersConfiguration) =>
        same(stored.status) ? undefined : { ...stored, status } as KubeControllersConfiguration,
      { unchecked: true },
    );
  }

  readonly #faultsTold = new Set<string>();

  liveness(): Report {
    const began = this.#turnBegan;
    if (began !== undefined && this.#parts.clock.monotonicMs() - began > STUCK) {
      return { ok: false, reasons: ["a turn of the controllers has not ended for 5 minutes"] };
    }
    return { ok: true, reasons: [] };
  }

  readiness(): Report {
    if (this.#outage !== undefined) {
      return { ok: false, reasons: [`the datastore cannot be read: ${this.#outage}`] };
    }
    if (!this.#apiSynced) return { ok: false, reasons: ["the Kubernetes API cannot be read"] };
    if (this.#isForeign) {
      const why =
        "the Kubernetes API knows none of this datastore's nodes: it is another cluster's; " +
        "nothing is done until --kubeconfig or KUBECONFIG names the right one";
      return { ok: false, reasons: [why] };
    }
    const { state } = this.#lease;
    const reasons = [
      state.is === "standby" ? `standing by; ${state.leader || "nobody"} leads` : "ready",
    ];
    if (state.is === "unled") reasons.push(`warning: no lease: ${state.why}`);
    if (!this.#view.ready) reasons.push("warning: the datastore is locked; nothing is collected");
    reasons.push(...this.#settings.faults.map((fault) => `warning: ${fault}`));
    reasons.push(...[...this.#view.broken].map(([key, why]) => `warning: ${key}: ${why}`));
    if (this.#unasked) reasons.push(`warning: nodes cannot be asked: ${this.#unasked}`);
    reasons.push(...this.#underivable.map((fault) => `warning: ${fault}`));
    reasons.push(...this.#errors.map((error) => `warning: ${error}`));
    return { ok: true, reasons };
  }

  /** What the metrics are counted from. */
  get counted(): Counted {
    return {
      view: this.#view,
      suspects: this.#last?.suspects ?? [],
      reclaimed: this.#reclaimed,
      leads: this.#lease.state.is === "leader",
    };
  }
}

function tellLeadership(log: Log, state: LeaseState): void {
  switch (state.is) {
    case "leader":
      return log.info("leading");
    case "standby":
      return log.info("standing by", { leader: state.leader });
    case "unled":
      return log.warn("the datastore keeps no lease: working without one", { why: state.why });
  }
}

type Attempt = (what: string, work: () => Promise<void>) => Promise<void>;
