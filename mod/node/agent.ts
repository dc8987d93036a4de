/**
 * The agent (Felix's part): follows the datastore, computes what this node should be, and brings the
 * kernel to it, turn by turn.
 *
 *     follow --changes--> pending --turn--> engine.update -> dataplane (policy, one transaction)
 *                                      |-> connections of addresses that endpoints have lost
 *                                      |-> kernel (links, sysctls, routes, neighbours)
 *                                      |-> speaker (peers, announcements)
 *                                      '-> whoever waits for an endpoint to be programmed
 *
 * While the datastore is locked (ClusterInformation `default` has datastoreReady false, as during a
 * migration), changes are taken in but no turn runs: the kernel stays as it is until it is unlocked,
 * which only datastoreReady true does. That the object is gone says nothing: a lock that was seen stays.
 *
 * One turn runs at a time and takes everything that came meanwhile. What fails is tried again after a
 * pause of its own that grows (`retries.ts`): turns that something else starts meanwhile pass it over,
 * even if it was the failed attempt that started them. It is said once, then ever more seldom
 * (`repeats.ts`). Nothing that is in the kernel is taken out because something else could not be put in.
 * Policy comes first in a turn: an interface that is new is closed until its rules are there, because
 * the rules of the table drop what comes from an interface that they do not know.
 */
import {
  clusterInformationKind,
  lockReason,
  unreadableCluster,
} from "../model/cluster_information.ts";
import { resourceKey } from "../model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { type Clock, systemClock } from "../store/clock.ts";
import { printJson } from "../store/json.ts";
import { follow } from "../store/follow.ts";
import type { Entry, Store, StoreError } from "../store/store.ts";
import type { Change } from "../../policy/inputs.ts";
import type { PolicyEngine } from "../../policy/engine.ts";
import { inTurns } from "../../ffi/nft/client.ts";
import { ClaimedAddresses } from "./claimed_addresses.ts";
import type { Log } from "./log.ts";
import { policyChange } from "./policy_change.ts";
import { feed } from "./policy_feed.ts";
import type { Failure } from "./reconciler.ts";
import { Repeats } from "./repeats.ts";
import { Retries } from "./retries.ts";
import type { ClusterState, Topic } from "./state.ts";

/** The policy dataplane: `mod/node/nft`. */
export interface PolicyDataplane {
  /** Applies what has changed since the last call (or all of it at first): one transaction a family. */
  apply(engine: PolicyEngine): Promise<void>;
  /** Reads the kernel and mends what differs. */
  resync(engine: PolicyEngine): Promise<void>;
}

/** Links, addresses, routes, neighbours, sysctls: `kernel.ts`. */
export interface NodeKernel {
  /**
   * Plans anew what the topics, or changes of its own, concern, and mends the differences that are
   * due; gives back what could not be mended yet.
   */
  apply(state: ClusterState, topics: ReadonlySet<Topic>): Promise<Failure[]>;
  /** Reads everything anew. */
  resync(): void;
}

/** The BGP side: `bgp.ts`. */
export interface BgpService {
  /** Takes the state in, as far as the topics concern BGP. */
  update(state: ClusterState, topics: ReadonlySet<Topic>): void;
}

export interface AgentParts {
  readonly store: Store;
  readonly state: ClusterState;
  readonly engine: PolicyEngine;
  readonly dataplane: PolicyDataplane;
  readonly kernel: NodeKernel;
  readonly bgp?: BgpService;
  /** Forgets connections of addresses that endpoints have lost: `released_addresses.ts`. */
  readonly released?: { settle(endpoints: ReadonlyMap<string, WorkloadEndpoint>): Promise<void> };
  readonly log: Log;
  /** Seconds between two full looks at the kernel; 0: none. */
  readonly resyncSeconds?: () => number;
  /** Sees every object as it is read. */
  readonly snapshot?: {
    note(key: string, entry: Entry | undefined): void;
    complete(): void;
  };
  /** Absent: the machine's. */
  readonly clock?: Clock;
  /** Called after each turn, with what went wrong in it. */
  readonly onTurn?: (report: TurnReport) => void;
}

export interface TurnReport {
  readonly topics: ReadonlySet<Topic>;
  readonly milliseconds: number;
  readonly errors: readonly string[];
}

/** The parts of a turn that wait when they have failed, by the names that errors have. */
type Part = "policy" | "kernel" | "bgp" | "connections of released addresses";
const CONNECTIONS: Part = "connections of released addresses";

/** Seconds between two full looks at the kernel, where nobody says otherwise (Felix: 90 s). */
const RESYNC = 90;

/** For health and status. */
export interface AgentReport {
  readonly synced: boolean;
  readonly ready: boolean;
  /** Why, where the datastore is locked. */
  readonly locked: string | undefined;
  readonly store: { ok: boolean; error?: string };
  /** For how long the datastore could not be followed; 0: it is followed. */
  readonly lostMilliseconds: number;
  readonly errors: readonly string[];
  readonly idleMilliseconds: number;
  readonly busy: boolean;
}

interface Waiter {
  readonly endpoint: WorkloadEndpoint;
  resolve(): void;
}

const CLUSTER = resourceKey(clusterInformationKind, "default");

export class Agent {
  readonly #parts: AgentParts;
  readonly #abort = new AbortController();
  readonly #pause = inTurns();
  readonly #claims: ClaimedAddresses;
  #changes: Change[] = [];
  /** Those of a turn in which policy failed to take them in. */
  #untaken: Change[] = [];
  #topics = new Set<Topic>();
  #wanted = false;
  #resync = true;
  #running: Promise<void> | undefined;
  readonly #clock: Clock;
  readonly #retries: Retries;
  readonly #repeats: Repeats;
  /** Takes back the next turn for what has failed. */
  #cancelRetry = () => {};
  /** What a part of a turn has failed to take in. */
  #missed = { kernel: new Set<Topic>(), bgp: new Set<Topic>() };
  readonly #waiters = new Map<string, Set<Waiter>>();
  /** What turns have put into the kernel, by endpoint key. */
  #programmed: ReadonlyMap<string, WorkloadEndpoint> = new Map();
  /** The endpoints as they were at the beginning of the last turn that had to do with them. */
  #endpoints: ReadonlyMap<string, WorkloadEndpoint> | undefined;
  #synced = false;
  /** Why the datastore is locked. */
  #locked: string | undefined;
  #store: { ok: boolean; error?: string; sinceMs?: number } = { ok: false, error: "not read yet" };
  #errors: readonly string[] = [];
  #lastTurn: number;
  #firstTurn = false;
  #following: Promise<void> | undefined;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#claims = new ClaimedAddresses(parts.state);
    this.#clock = parts.clock ?? systemClock;
    this.#retries = new Retries(this.#clock);
    this.#repeats = new Repeats(this.#clock);
    this.#lastTurn = this.#clock.monotonicMs();
  }

  start(): void {
    const { store, state, log } = this.#parts;
    this.#following = follow(store, "/", {
      put: (entry) => this.#guarded(entry.key, () => this.#put(entry)),
      delete: (key, revision) => this.#guarded(key, () => this.#delete(key, revision)),
      broken: (key, reason) => {
        const before = state.broken.get(key);
        state.tellBroken(key, reason);
        this.#tellBroken(key, before);
        if (key === CLUSTER) this.#lock(unreadableCluster(reason));
      },
      synced: () => {
        if (this.#synced && !this.#store.ok) log.info("the datastore is back");
        this.#synced = true;
        this.#store = { ok: true };
        this.#parts.snapshot?.complete();
        this.#want();
      },
      unavailable: (error: StoreError) => this.#lost(error),
    }, { signal: this.#abort.signal });
    this.#following.catch((error) => {
      log.error("following the datastore failed", { error });
      this.#lost(error);
    });
    this.#scheduleResync();
  }

  /** Why it has not been started yet: what everybody is told who asks. */
  waits(why: string): void {
    if (!this.#synced) this.#store = { ...this.#store, error: why };
  }

  /** Each cause is logged once; the kernel stays as it is. */
  #lost(error: Error): void {
    const { ok, error: before, sinceMs = this.#clock.monotonicMs() } = this.#store;
    if (ok || before !== error.message) {
      this.#parts.log.warn("datastore lost; the kernel stays as it is", { error });
    }
    this.#store = { ok: false, error: error.message, sinceMs };
  }

  /** Whatever one change does to us, the next ones are followed: a node is never deaf for a bad key. */
  #guarded(key: string, take: () => Promise<void> | void): Promise<void> | void {
    try {
      return take();
    } catch (error) {
      this.#parts.log.error("a change of the datastore could not be taken", { key, error });
      this.#parts.state.broken.set(key, (error as Error).message);
    }
  }

  /** Stops following; the kernel keeps what it has. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#cancelRetry();
    this.#cancelResync();
    await this.#following?.catch(() => {}); // logged in start
    await this.#running;
  }

  #cancelResync = () => {};

  #scheduleResync(): void {
    const seconds = this.#parts.resyncSeconds?.() ?? RESYNC;
    // Spread, so that the nodes of a cluster do not all look at the same time.
    const pause = (seconds || RESYNC) * 1000 * (0.95 + Math.random() / 10);
    this.#cancelResync = this.#clock.after(pause, () => {
      if (seconds > 0) this.resync();
      this.#scheduleResync();
    });
  }

  /** Looks at the whole kernel again in the next turn. */
  resync(): void {
    this.#resync = true;
    this.#want();
  }

  /** Something outside the datastore has changed (a link, a route, a peer): plan again. */
  touch(...topics: Topic[]): void {
    for (const topic of topics) this.#topics.add(topic);
    this.#want();
  }

  #put(entry: Entry): Promise<void> | void {
    if (entry.key === CLUSTER) this.#lock(lockReason(entry.value));
    const concerns = this.#take(this.#claims.take(entry));
    // The first list is long, and probes do not wait for its end.
    if (!this.#synced) return this.#pause();
    if (concerns) this.#want();
  }

  /** Whether there is anything to do for it: not for what every pod of the cluster changes in IPAM. */
  #take(entry: Entry): boolean {
    this.#parts.snapshot?.note(entry.key, entry);
    return this.#changed(entry.key, entry.value, entry.revision);
  }

  #changed(key: string, value: unknown, revision: string): boolean {
    const { state } = this.#parts;
    const before = state.broken.get(key);
    const topics = state.apply(key, value, revision);
    this.#tellBroken(key, before);
    for (const topic of topics) this.#topics.add(topic);
    const change = policyChange(key, value);
    if (change) this.#changes.push(change);
    const reviewed = this.#reviewClaims(key);
    return topics.length > 0 || change !== undefined || reviewed;
  }

  /** Once for each reason. */
  #tellBroken(key: string, before: string | undefined): void {
    const reason = this.#parts.state.broken.get(key);
    if (reason === undefined || reason === before) return;
    this.#parts.log.warn("left out what cannot be read", { key, reason });
  }

  /** What IPAM says of an address may come after the endpoint. */
  #reviewClaims(blockKey: string): boolean {
    const { revision } = this.#parts.state;
    const entries = this.#claims.review(blockKey);
    for (const entry of entries) this.#take({ ...entry, revision });
    return entries.length > 0;
  }

  #lock(why: string | undefined): void {
    if (why === this.#locked) return;
    this.#locked = why;
    const { log } = this.#parts;
    if (why) log.warn(`datastore locked (${why}); the kernel stays as it is`);
    else {
      log.info("datastore unlocked");
      this.#want();
    }
  }

  #delete(key: string, revision: string): void {
    this.#parts.snapshot?.note(key, undefined);
    this.#claims.forget(key);
    if (this.#changed(key, undefined, revision) && this.#synced) this.#want();
  }

  #want(): void {
    if (this.#wanted || this.#abort.signal.aborted) return;
    this.#wanted = true;
    queueMicrotask(() => {
      this.#running ??= this.#turns().finally(() => this.#running = undefined);
    });
  }

  async #turns(): Promise<void> {
    while (this.#wanted && !this.#abort.signal.aborted) {
      this.#wanted = false;
      // Before the first list is complete, a turn would take away what is only not read yet.
      if (!this.#synced || this.#locked) return;
      await this.#turn();
    }
  }

  async #turn(): Promise<void> {
    const { engine, state, onTurn } = this.#parts;
    const began = this.#clock.monotonicMs();
    const [changes, topics, resync] = [this.#changes, this.#topics, this.#resync];
    this.#changes = [];
    this.#topics = new Set();
    this.#resync = false;
    // What this turn will have programmed when it ends, as of now.
    // A copy of thousands is not made for a change of something else.
    if (!this.#endpoints || topics.has("endpoints")) this.#endpoints = new Map(state.endpoints);
    const endpoints = this.#endpoints;
    const errors: string[] = [];
    const policyRetried = this.#retries.trial("policy") && !this.#retries.waiting("policy");
    /** One part: passed over where it waits for another attempt and `news` brings nothing new. */
    const part = async (name: Part, news: boolean, run: () => Promise<void> | void) => {
      const waiting = news ? undefined : this.#retries.waiting(name);
      if (waiting) return void errors.push(`${name}: ${waiting.error.message}`);
      try {
        await run();
        this.#retries.forget(name);
      } catch (error) {
        this.#retries.failed(name, error as Error);
        errors.push(`${name}: ${(error as Error).message}`);
      }
    };
    await part("policy", changes.length > 0 || resync, async () => {
      const { dataplane, released } = this.#parts;
      // Nobody sends them again; those that were taken in say the same once more.
      const all = this.#untaken = this.#untaken.concat(changes);
      await feed(engine, all, state.nodeName, inTurns());
      this.#untaken = [];
      // What was left by one that failed, nobody knows.
      if (resync || policyRetried) await dataplane.resync(engine);
      else await dataplane.apply(engine);
      this.#firstTurn = true;
      const others = topics.has("endpoints") || resync;
      await part(CONNECTIONS, others, () => released?.settle(endpoints));
      // Who waits, waits for policy alone.
      this.#settle(endpoints);
    });
    let due = Infinity;
    const missed = this.#missed;
    for (const topic of topics) for (const set of [missed.kernel, missed.bgp]) set.add(topic);
    await part("kernel", topics.size > 0 || resync, async () => {
      const { kernel } = this.#parts;
      if (resync) kernel.resync();
      for (const failure of await kernel.apply(state, missed.kernel)) {
        errors.push(`${failure.kind} ${failure.key}: ${failure.error.message}`);
        due = Math.min(due, failure.due ?? Infinity);
      }
      missed.kernel = new Set();
    });
    await part("bgp", topics.size > 0, () => {
      this.#parts.bgp?.update(state, missed.bgp);
      missed.bgp = new Set();
    });
    const failing: Part[] = ["policy", "kernel", "bgp"];
    // Looked at only where policy is in place.
    if (!this.#retries.trial("policy")) failing.push(CONNECTIONS);
    for (const name of failing) due = Math.min(due, this.#retries.trial(name)?.due ?? Infinity);
    this.#errors = errors;
    this.#lastTurn = this.#clock.monotonicMs();
    this.#complain(errors);
    this.#cancelRetry();
    if (due < Infinity) {
      this.#cancelRetry = this.#clock.after(due - this.#lastTurn, () => this.touch());
    }
    onTurn?.({ topics, milliseconds: this.#lastTurn - began, errors });
  }

  #complain(errors: readonly string[]): void {
    const { log } = this.#parts;
    const { say, more } = this.#repeats.hear(errors);
    for (const complaint of say) log.warn("not done yet, will be tried again", { ...complaint });
    if (more > 0) log.warn("as many others are not done yet", { more });
  }

  #settle(endpoints: ReadonlyMap<string, WorkloadEndpoint>): void {
    this.#programmed = endpoints;
    for (const [key, waiters] of [...this.#waiters]) {
      const endpoint = endpoints.get(key);
      for (const waiter of endpoint ? [...waiters] : []) {
        if (sameAttachment(waiter.endpoint, endpoint!)) waiter.resolve();
      }
    }
  }

  /**
   * Resolves when the rules of this endpoint, and of everything that was written before it, are in
   * the kernel: it was written to the datastore, so the watch brings it after all that came earlier.
   */
  programmed(endpoint: WorkloadEndpoint, signal: AbortSignal): Promise<void> {
    const { name, namespace } = endpoint.metadata;
    const key = resourceKey(workloadEndpointKind, name, namespace);
    const done = this.#programmed.get(key);
    if (done && sameAttachment(done, endpoint)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(key) ?? new Set();
      this.#waiters.set(key, waiters);
      const end = () => {
        waiters.delete(waiter);
        if (waiters.size === 0) this.#waiters.delete(key);
        signal.removeEventListener("abort", abort);
      };
      const abort = () => {
        end();
        const why = this.#locked
          ? `the datastore is locked (${this.#locked}) until \`tortie datastore migrate unlock\``
          : this.#errors[0] ?? (this.#store.ok ? "it took too long" : this.#store.error);
        reject(new Error(`the policy of endpoint ${namespace}/${name} is not in place: ${why}`));
      };
      const waiter: Waiter = {
        endpoint,
        resolve: () => {
          end();
          resolve();
        },
      };
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort);
      waiters.add(waiter);
    });
  }

  /** Keys of the endpoints whose rules are in the kernel. */
  get programmedEndpoints(): ReadonlyMap<string, WorkloadEndpoint> {
    return this.#programmed;
  }

  /** For health and status. */
  report(): AgentReport {
    return {
      synced: this.#synced,
      ready: this.#synced && this.#firstTurn,
      locked: this.#locked,
      store: { ok: this.#store.ok, error: this.#store.error },
      lostMilliseconds: this.#store.sinceMs === undefined
        ? 0
        : this.#clock.monotonicMs() - this.#store.sinceMs,
      errors: this.#errors,
      idleMilliseconds: this.#clock.monotonicMs() - this.#lastTurn,
      busy: this.#running !== undefined,
    };
  }
}

/** Whether both describe the same attachment of the same pod, with the same addresses. */
function sameAttachment(a: WorkloadEndpoint, b: WorkloadEndpoint): boolean {
  return a.spec.containerID === b.spec.containerID &&
    a.spec.interfaceName === b.spec.interfaceName &&
    printJson(a.spec.ipNetworks ?? []) === printJson(b.spec.ipNetworks ?? []);
}
