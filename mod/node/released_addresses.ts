/**
 * Forgets the tracked connections of addresses that pods of this node have lost, so that no packet of
 * a former pod's peers counts as part of a connection with the next one (Felix does it when the route
 * of an address goes). Stale entries of UDP live as long as somebody sends.
 *
 * An address is a pod's for the time of one lease: one container, one interface. Its connections go
 * when that lease is over, and only then:
 *
 *   - an endpoint that merely changes (labels, ports, its object written anew) keeps its lease;
 *   - an endpoint whose object is gone while its interface is still there has lost nothing yet: CNI
 *     takes the interface away first, so this was somebody's hand, and may be undone;
 *   - an address that has gone on to another container is cleared before that one's policy is called
 *     in place, hence before its interface is up: all that is tracked is its predecessor's. Where the
 *     interface is up already (this process was not there when it happened) nobody can tell whose the
 *     connections are, and they stay.
 *
 * Clearing takes the kernel 10 ms and more, and policy waits for the next holders' alone: what nobody has
 * now is cleared beside all else.
 *
 * What the former process of this node had seen is the beginning (`seed`), so that pods which went
 * while nobody ran are cleared after too.
 */
import type { Flow } from "../../ffi/conntrack.ts";
import { inTurns } from "../../ffi/nft/client.ts";
import { resourceKey } from "../model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { formatIp, type Ip } from "../net/mod.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import { type FlowTable, wishesOf } from "./flow_cutter.ts";
import type { Log } from "./log.ts";

/** The kernel's table of connections, as far as it is needed here (ffi's Conntrack). */
export interface ForgettingTable extends Pick<FlowTable, "visitFlows" | "count"> {
  forget(flows: readonly Flow[]): number;
}

/** Of a clearing that somebody waits for. */
const ATTEMPTS = 3;

interface Lease {
  readonly ip: Ip;
  readonly container: string;
  readonly interfaceName: string;
}

export interface ReleasedAddressesParts {
  readonly reading: ForgettingTable;
  readonly writing: ForgettingTable;
  /** Whether an interface is up; undefined: it is not there. */
  readonly isUp: (interfaceName: string) => boolean | undefined;
  readonly log: Log;
  /** Clearing failed that nobody waits for: it goes on with the next call of `settle`. */
  readonly onFailure?: () => void;
}

export class ReleasedAddresses {
  readonly #parts: ReleasedAddressesParts;
  /** By address. */
  readonly #leases = new Map<string, Lease>();
  #endpoints: ReadonlyMap<string, WorkloadEndpoint>;
  /** Leases that are over by the datastore's word, and not cleared after yet. */
  readonly #over = new Map<string, Lease>();
  /** The clearing that nobody waits for; it never rejects. */
  #clearing: Promise<void> | undefined;
  /** It failed: the next one is waited for, so that the caller hears of it and tries again. */
  #troubled = false;

  /** `seed`: endpoints of this node as a former process has seen them. */
  constructor(parts: ReleasedAddressesParts, seed: Iterable<WorkloadEndpoint> = []) {
    this.#parts = parts;
    this.#endpoints = new Map([...seed].map((endpoint) => [keyOf(endpoint), endpoint]));
    for (const endpoint of this.#endpoints.values()) {
      for (const [address, lease] of leasesOf(endpoint)) this.#leases.set(address, lease);
    }
  }

  /**
   * Takes the endpoints of this node as they are now, by key; the same map: nothing has changed. Resolves
   * when addresses that have gone on to another container are clear.
   */
  async settle(endpoints: ReadonlyMap<string, WorkloadEndpoint>): Promise<void> {
    if (endpoints !== this.#endpoints) this.#take(endpoints);
    const due = this.#due();
    if (due.size === 0) return;
    const isWaitedFor = this.#troubled || [...due.keys()].some((a) => this.#leases.has(a));
    if (!isWaitedFor) {
      this.#clearing ??= this.#clearAside().finally(() => this.#clearing = undefined);
      return;
    }
    await this.#clearing;
    await this.#clearNow();
    this.#troubled = false;
  }

  /** Who waits has his interface up a moment later, and then nobody can tell whose the connections are. */
  async #clearNow(): Promise<void> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#clear(this.#due());
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** Resolves when nothing is being cleared, with what has become due meanwhile. */
  async idle(): Promise<void> {
    await this.#clearing;
  }

  async #clearAside(): Promise<void> {
    try {
      for (let due = this.#due(); due.size > 0; due = this.#due()) await this.#clear(due);
    } catch {
      this.#troubled = true;
      this.#parts.onFailure?.();
    }
  }

  /** What is to be cleared, of all that is over. */
  #due(): Map<string, Ip> {
    const due = new Map<string, Ip>();
    for (const [address, lease] of this.#over) {
      switch (this.#judge(lease, this.#leases.get(address))) {
        case "not over":
        case "too late":
          this.#over.delete(address);
          break;
        case "clear":
          due.set(address, lease.ip);
          break;
        case "wait":
          break;
      }
    }
    return due;
  }

  async #clear(due: ReadonlyMap<string, Ip>): Promise<void> {
    if (due.size === 0) return;
    const forgotten = await this.#forget([...due.values()]);
    for (const address of due.keys()) this.#over.delete(address);
    this.#parts.log.debug("connections of addresses forgotten that pods have lost", {
      addresses: due.size,
      connections: forgotten,
    });
  }

  /** Only what has changed is read: one pod more must not cost what thousands weigh. */
  #take(endpoints: ReadonlyMap<string, WorkloadEndpoint>): void {
    const former = this.#endpoints;
    this.#endpoints = endpoints;
    const gone = new Map<string, Lease>();
    former.forEach((endpoint, key) => {
      if (endpoints.get(key) === endpoint) return;
      for (const [address, lease] of leasesOf(endpoint)) {
        if (this.#leases.get(address) !== lease) continue;
        gone.set(address, lease);
        this.#leases.delete(address);
      }
    });
    endpoints.forEach((endpoint, key) => {
      if (former.get(key) === endpoint && gone.size === 0) return;
      for (const [address, lease] of leasesOf(endpoint)) {
        // One that two claimed is the other's now.
        if (former.get(key) === endpoint && !gone.has(address)) continue;
        const before = this.#leases.get(address);
        if (before && before !== lease && !gone.has(address)) gone.set(address, before);
        this.#leases.set(address, lease);
      }
    });
    for (const [address, lease] of gone) {
      if (!isSame(lease, this.#leases.get(address))) this.#over.set(address, lease);
    }
  }

  #judge(lease: Lease, now: Lease | undefined): "not over" | "too late" | "clear" | "wait" {
    const { isUp } = this.#parts;
    if (isSame(lease, now)) return "not over";
    if (now) return isUp(now.interfaceName) ? "too late" : "clear";
    // The name is the pod's, and may have gone on to its next container.
    const reused = [...this.#leases.values()].some((l) =>
      l.interfaceName === lease.interfaceName && l.container !== lease.container
    );
    return reused || isUp(lease.interfaceName) === undefined ? "clear" : "wait";
  }

  async #forget(addresses: readonly Ip[]): Promise<number> {
    const { reading, writing } = this.#parts;
    let count = 0;
    const visit = (flows: Flow[]) => {
      count += writing.forget(flows);
    };
    for (const wish of wishesOf(addresses, await reading.count())) {
      await reading.visitFlows(wish, visit, inTurns());
    }
    return count;
  }
}

function isSame(a: Lease, b: Lease | undefined): boolean {
  return a.container === b?.container && a.interfaceName === b.interfaceName;
}

function keyOf({ metadata: { name, namespace } }: WorkloadEndpoint): string {
  return resourceKey(workloadEndpointKind, name, namespace ?? "default");
}

/** An endpoint that changes is another object. */
const known = new WeakMap<WorkloadEndpoint, readonly (readonly [string, Lease])[]>();

function leasesOf(endpoint: WorkloadEndpoint): readonly (readonly [string, Lease])[] {
  let leases = known.get(endpoint);
  if (!leases) {
    const { containerID = "", interfaceName = "" } = endpoint.spec;
    leases = endpointFacts(endpoint).prefixes.map(({ ip }) =>
      [formatIp(ip), { ip, container: containerID, interfaceName }] as const
    );
    known.set(endpoint, leases);
  }
  return leases;
}
