/**
 * What the store says at the moment of a request: configuration, reservations, pools, the node's and
 * the namespace's labels. Every request reads them anew, all at once and shared with the requests of
 * the same moment, so a pool that was disabled gives nothing to whoever asks afterwards.
 */
import {
  type IpamConfig,
  ipamConfigFault,
  readIpamConfig,
  type StoredIpamConfig,
} from "../model/ipam_config.ts";
import type { IPReservation } from "../model/ip_reservation.ts";
import {
  ipamConfigKey,
  type KeyKind,
  parseResourceKey,
  resourceKey,
  resourcePrefix,
} from "../model/keys.ts";
import { fingerprint } from "../store/fingerprint.ts";
import type { Entry, Listing, Store } from "../store/store.ts";
import { damagedConfig, isBroken, readRaw } from "./damage.ts";
import type { IpamError } from "./errors.ts";
import { judgePool, type Pool, PoolMap, type UnreadPool } from "./pools.ts";
import { Reservations } from "./reservations.ts";
import { SharedReads } from "./turns.ts";

// Of the kinds only the keys are needed here; their schemas would make every start slower.
const POOLS: KeyKind = { plural: "ippools", home: "calico", namespaced: false };
const RESERVATIONS: KeyKind = { plural: "ipreservations", home: "calico", namespaced: false };
const NODES: KeyKind = { plural: "nodes", home: "calico", namespaced: false };
const NAMESPACES: KeyKind = { plural: "namespaces", home: "kubernetes", namespaced: false };

export type Labels = Readonly<Record<string, string>>;

/** What concerns all requests. */
export interface Facts {
  readonly config: IpamConfig;
  /** Why the configuration is damaged, and the defaults stand for it: nothing new is given then. */
  readonly configDamage?: IpamError;
  readonly reservations: Reservations;
  readonly pools: PoolMap;
}

/** The configuration; the defaults, and what is wrong, where it is damaged. */
export interface Settings {
  readonly config: IpamConfig;
  readonly damage?: IpamError;
}

export function readSettings(stored: unknown): Settings {
  const fault = stored === undefined ? undefined : ipamConfigFault(stored);
  if (fault !== undefined) {
    return { config: readIpamConfig(undefined), damage: damagedConfig(fault) };
  }
  return { config: readIpamConfig(stored as StoredIpamConfig | undefined) };
}

type Labelled = { metadata?: { labels?: Record<string, string> } };

export class FactReader {
  readonly #reads = new SharedReads();
  readonly #poolsRead = new Map<string, { print: number; pool: Pool | string }>();

  constructor(readonly store: Store, readonly kubernetes = store) {}

  read(): Promise<Facts> {
    return this.#reads.read("facts", async () => {
      const [settings, reservations, pools] = await Promise.all([
        this.#settings(),
        this.store.list<IPReservation>(resourcePrefix(RESERVATIONS)),
        this.store.list(resourcePrefix(POOLS)),
      ]);
      return {
        config: settings.config,
        configDamage: settings.damage,
        reservations: new Reservations(
          reservations.entries.flatMap((entry) => entry.value?.spec?.reservedCIDRs ?? []),
        ),
        pools: poolMap(pools, (entry) => this.#pool(entry)),
      };
    });
  }

  settings(): Promise<Settings> {
    return this.#reads.read("config", () => this.#settings());
  }

  /** undefined: there is no such node. */
  nodeLabels(name: string): Promise<Labels | undefined> {
    return this.#reads.read(`node ${name}`, async () => {
      const entry = await this.store.get<Labelled>(resourceKey(NODES, name));
      return entry && (entry.value?.metadata?.labels ?? {});
    });
  }

  /** A namespace without an object has the one label that Kubernetes gives to all. */
  namespaceLabels(name: string): Promise<Labels> {
    return this.#reads.read(`namespace ${name}`, async () => {
      const entry = await this.kubernetes.get<Labelled>(resourceKey(NAMESPACES, name));
      return { "kubernetes.io/metadata.name": name, ...entry?.value?.metadata?.labels };
    });
  }

  async #settings(): Promise<Settings> {
    const entry = await readRaw(this.store, ipamConfigKey);
    return isBroken(entry)
      ? { config: readIpamConfig(undefined), damage: damagedConfig(entry.reason) }
      : readSettings(entry?.value);
  }

  /** By its value: in a store that was put back from a backup a revision may stand for another one. */
  #pool({ key, value }: Entry): Pool | string {
    const print = fingerprint(value);
    let read = this.#poolsRead.get(key);
    if (read?.print !== print) {
      read = { print, pool: judgePool(value) };
      this.#poolsRead.set(key, read);
    }
    return read.pool;
  }
}

/** Of all stored IPPools. */
export function poolMap(
  { entries, broken = [] }: Listing,
  judge: (entry: Entry) => Pool | string = ({ value }) => judgePool(value),
): PoolMap {
  const pools: Pool[] = [];
  const unread: UnreadPool[] = [];
  const nameOf = (key: string) => parseResourceKey(key)?.name ?? key;
  for (const entry of entries) {
    const pool = judge(entry);
    if (typeof pool === "string") unread.push({ name: nameOf(entry.key), why: pool });
    else pools.push(pool);
  }
  for (const { key, reason } of broken) unread.push({ name: nameOf(key), why: reason });
  return new PoolMap(pools, unread);
}
