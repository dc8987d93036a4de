/** When and what the node reports into the datastore: the clock around `reporter.ts`. */
import type { Resources } from "../store/resources.ts";
import type { Store } from "../store/store.ts";
import { type ApiParts, endpointState } from "./api.ts";
import type { Log } from "./log.ts";
import {
  type EndpointState,
  fillNodeStatus,
  type NodeFacts,
  Reporter,
  statusKeyOf,
} from "./reporter.ts";

export interface ReportsParts
  extends Omit<ApiParts, "engine" | "paths" | "tables" | "unrouted" | "registration"> {
  readonly store: Store;
  readonly resources: Resources;
  readonly log: Log;
}

/** Milliseconds between two looks at what has to be reported (Felix's EndpointReportingDelay). */
const LOOK = 1000;
/** Seconds, where a CalicoNodeStatus names no period. */
const STATUS_PERIOD = 10;

export class Reports {
  readonly #parts: ReportsParts;
  readonly #reporter: Reporter;
  #timer: number | undefined;
  #stopped = false;
  #failing = false;
  /** When the next one is due, by performance.now(). */
  #processDue = 0;
  readonly #statusDue = new Map<string, number>();

  constructor(parts: ReportsParts) {
    this.#parts = parts;
    this.#reporter = new Reporter(parts.store, parts.config.nodeName);
  }

  start(): void {
    this.#timer = setTimeout(() => this.#look(), 0);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      await this.#report();
      this.#failing = false;
    } catch (error) {
      // Told once; the datastore is away, and the next report says it all.
      if (!this.#failing && !this.#stopped) this.#parts.log.warn("cannot report", { error });
      this.#failing = true;
    }
    if (!this.#stopped) this.#timer = setTimeout(() => this.#look(), LOOK);
  }

  async #report(): Promise<void> {
    const { felix, agent, state, config } = this.#parts;
    if (!agent.report().ready) return;
    const now = performance.now();
    const parameters = felix();
    if (parameters.reportingInterval > 0 && now >= this.#processDue) {
      this.#processDue = now + parameters.reportingInterval * 1000;
      await this.#reporter.process(parameters.reportingTtl);
    }
    if (parameters.endpointReporting) {
      const states = new Map<string, EndpointState>();
      for (const [key, endpoint] of state.endpoints) {
        states.set(statusKeyOf(config.nodeName, endpoint), endpointState(this.#parts, key));
      }
      await this.#reporter.endpoints(states);
    } else await this.#reporter.withdrawEndpoints();
    for (const [name, { spec }] of state.nodeStatuses) {
      const period = spec.updatePeriodSeconds ?? STATUS_PERIOD;
      // A period of 0 asks for no (further) report.
      if (spec.node !== config.nodeName || period === 0) continue;
      if (now < (this.#statusDue.get(name) ?? 0)) continue;
      this.#statusDue.set(name, now + period * 1000);
      await fillNodeStatus(this.#parts.resources, name, this.#facts());
    }
  }

  #facts(): NodeFacts {
    const { bgp, info, started } = this.#parts;
    return {
      peers: bgp?.peers() ?? [],
      routes: bgp?.routes() ?? [],
      routerId: bgp?.routerId() ?? "",
      version: info.version,
      bootTime: started,
      bgp: bgp !== undefined,
    };
  }
}
