/** What the parts of IPAM work with: the store and its tables, the time, chance, and turns. */
import { systemClock } from "../store/clock.ts";
import type { Family, Prefix } from "../net/mod.ts";
import type { Store } from "../store/store.ts";
import { Affinities } from "./affinities.ts";
import type { IpamConfig } from "../model/ipam_config.ts";
import type { Cooldown } from "./cooling.ts";
import { BlockTable } from "./block_table.ts";
import { FactReader } from "./facts.ts";
import { Handles } from "./handles.ts";
import { Locks, SharedReads } from "./turns.ts";

export interface IpamOptions {
  /** Milliseconds since 1970, fractions welcome. */
  readonly now?: () => number;
  /** A number from [0, 1). */
  readonly random?: () => number;
  /**
   * Blocks that somebody knows of who follows them anyway: where none is, a new one is tried first. It may
   * be out of date. undefined: nothing is known.
   */
  readonly taken?: (family: Family) => readonly Prefix[] | undefined;
  /** Told of damaged records that were passed over. */
  readonly warn?: (message: string) => void;
  /** Where Namespaces are, if not in the store: the Kubernetes API beside an etcd. */
  readonly kubernetes?: Store;
}

export class Room {
  readonly now: () => number;
  readonly random: () => number;
  readonly warn: (message: string) => void;
  readonly taken: (family: Family) => readonly Prefix[] | undefined;
  readonly handles: Handles;
  readonly blocks: BlockTable;
  readonly affinities: Affinities;
  readonly facts: FactReader;
  readonly locks = new Locks();
  readonly reads = new SharedReads();

  constructor(readonly store: Store, options: IpamOptions) {
    this.now = options.now ?? (() => systemClock.wallMs());
    this.random = options.random ?? chance;
    this.warn = options.warn ?? (() => {});
    this.taken = options.taken ?? (() => undefined);
    this.handles = new Handles(store);
    this.blocks = new BlockTable(store, this.handles);
    this.affinities = new Affinities(store, this.blocks, this.now);
    this.facts = new FactReader(store, options.kubernetes);
  }

  /** For what gives nothing: a damaged configuration keeps nobody from giving back. */
  async config(): Promise<IpamConfig> {
    const { config, damage } = await this.facts.settings();
    if (damage) this.warn(damage.message);
    return config;
  }

  cooldown(config: { ipCooldownSeconds: number }): Cooldown {
    return { seconds: config.ipCooldownSeconds, now: this.now() };
  }
}

function chance(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
}
