/**
 * Endpoints of this node whose container ended without a DEL (the machine was reset, the runtime lost its
 * state): their WorkloadEndpoint would keep the address for good, since the record of an endpoint is proof
 * of life (`ipam/check/evidence.ts`). Only the node can tell. One is dead where all of this is so, for as
 * long as the controllers wait before they call an address leaked:
 *
 *   - its interface is not there;
 *   - no mark, route, address in any namespace, or memory of the runtime speaks for it
 *     (`held_addresses.ts`), and all of the machine could be looked at;
 *   - there is no Pod of that name, or it is on another node;
 *   - it is still the same container's.
 *
 * Then its record goes, and nothing else: its addresses have no endpoint from now on, and the controllers
 * free them, or keep a lease for its ordinal, after their own time and their own question. An endpoint that
 * names no container was made by hand, and is left alone.
 */
import { durationSeconds } from "../model/duration.ts";
import { resourceKey } from "../model/keys.ts";
import { kubeControllersConfigurationKind } from "../model/kube_controllers_configuration.ts";
import { type Pod, podKind } from "../model/pod.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import type { Clock } from "../store/clock.ts";
import { type Store, StoreError } from "../store/store.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import { formatIp } from "../net/mod.ts";
import { hasContainer, type MachineFacts } from "./held_addresses.ts";
import { Later } from "./later.ts";
import type { Log } from "./log.ts";

export interface DeadEndpointsParts {
  readonly store: Store;
  /** Where Pods are. */
  readonly pods: Store;
  /** The name that Pods have for this node. */
  readonly nodeName: () => string;
  /** This node's, by key, as the agent has them. */
  readonly endpoints: ReadonlyMap<string, WorkloadEndpoint>;
  /** Names of the host's interfaces. */
  readonly links: () => ReadonlySet<string>;
  readonly machine: () => Promise<MachineFacts>;
  /** Why the datastore is locked. */
  readonly locked: () => string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

const PAUSE = 60_000;
/** An ADD writes the endpoint before it makes the interface; no runtime waits so long for one. */
const LEAST_GRACE = 300_000, GRACE = 900_000;

export class DeadEndpoints {
  readonly #parts: DeadEndpointsParts;
  readonly #later: Later;
  #stopped = false;
  /** Since when one looks dead, by key: monotonic milliseconds. */
  #since = new Map<string, { readonly container: string; readonly at: number }>();

  constructor(parts: DeadEndpointsParts) {
    this.#parts = parts;
    this.#later = new Later(() => this.#turn());
  }

  start(): void {
    this.#later.in(PAUSE);
  }

  stop(): void {
    this.#stopped = true;
    this.#later.cancel();
  }

  async #turn(): Promise<void> {
    try {
      await this.look();
    } catch (error) {
      this.#parts.log.debug("cannot look for endpoints without container", { error });
    }
    if (!this.#stopped) this.#later.in(PAUSE);
  }

  /** One look at all of them; removes those that have been dead for long enough. */
  async look(): Promise<void> {
    const { endpoints, clock, log, locked } = this.#parts;
    if (locked() !== undefined) return;
    const suspects = await this.#suspects();
    const before = this.#since;
    this.#since = new Map();
    if (suspects.length === 0) return;
    const grace = await this.#grace();
    for (const key of suspects) {
      const { spec, metadata } = endpoints.get(key)!;
      const container = spec.containerID!;
      const known = before.get(key);
      const since = known?.container === container ? known.at : clock.monotonicMs();
      this.#since.set(key, { container, at: since });
      const endpoint = `${metadata.namespace}/${metadata.name}`;
      if (since !== known?.at) {
        log.warn("an endpoint's container is gone, and nobody has deleted it", {
          endpoint,
          container,
          addresses: spec.ipNetworks,
        });
      }
      if (grace === undefined || clock.monotonicMs() - since < grace) continue;
      if (!await this.#remove(key, container)) continue;
      log.info("removed an endpoint whose container is gone", { endpoint, container });
      this.#since.delete(key);
    }
  }

  /** Keys of those that look dead now. */
  async #suspects(): Promise<string[]> {
    const { endpoints, links, machine } = this.#parts;
    const there = links();
    const bare = [...endpoints].filter(([, { spec }]) =>
      spec.containerID && (spec.orchestrator === "k8s" || spec.orchestrator === "cni") &&
      !there.has(spec.interfaceName ?? "")
    );
    if (bare.length === 0) return [];
    const facts = await machine();
    if (facts.unseen !== undefined) return [];
    const dead: string[] = [];
    for (const [key, endpoint] of bare) {
      if (isHeld(endpoint, facts)) continue;
      if (!await this.#hasPod(endpoint)) dead.push(key);
    }
    return dead;
  }

  async #hasPod({ metadata: { namespace = "default" }, spec }: WorkloadEndpoint): Promise<boolean> {
    if (spec.orchestrator !== "k8s" || !spec.pod) return false;
    const { pods, nodeName } = this.#parts;
    const pod = (await pods.get<Pod>(resourceKey(podKind, spec.pod, namespace)))?.value;
    const own = nodeName();
    return pod !== undefined && (pod?.spec?.nodeName ?? own) === own;
  }

  /** Milliseconds; undefined: the controllers are told to leave leaks alone, and so are we. */
  async #grace(): Promise<number | undefined> {
    const key = resourceKey(kubeControllersConfigurationKind, "default");
    const value = (await this.#parts.store.get<any>(key))?.value;
    const text = value?.spec?.controllers?.node?.leakGracePeriod;
    const seconds = typeof text === "string" ? durationSeconds(text) : undefined;
    if (seconds === undefined) return GRACE;
    return seconds > 0 ? Math.max(seconds * 1000, LEAST_GRACE) : undefined;
  }

  /** False where it is another's by now, or gone. */
  async #remove(key: string, container: string): Promise<boolean> {
    const { store } = this.#parts;
    const entry = await store.get<WorkloadEndpoint>(key);
    if (entry?.value?.spec?.containerID !== container) return false;
    try {
      await store.delete(key, entry.revision);
      return true;
    } catch (error) {
      if (error instanceof StoreError && ["conflict", "notFound"].includes(error.kind)) {
        return false;
      }
      throw error;
    }
  }
}

function isHeld(endpoint: WorkloadEndpoint, facts: MachineFacts): boolean {
  return hasContainer(facts, endpoint.spec.containerID!) ||
    endpointFacts(endpoint).prefixes.some(({ ip }) => facts.addresses.has(formatIp(ip)));
}
