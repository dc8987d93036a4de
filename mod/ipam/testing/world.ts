/** For tests: a small cluster in a store in memory, with a clock that only moves when told. */
import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustPrefix } from "../../net/mod.ts";
import type { AllocationBlock } from "../../model/ipam_block.ts";
import { blockKey, resourceKey } from "../../model/keys.ts";
import { memoryStore } from "../../store/memory.ts";
import { IpamError, type IpamErrorKind } from "../errors.ts";
import { Ipam } from "../ipam.ts";
import type { AssignedAddress, AutoAssignRequest } from "../types.ts";
import { checkRecords } from "./checks.ts";
import { type Faults, FaultyStore } from "./faulty_store.ts";
import { halfWritable } from "./half_written.ts";

export const POOLS = { plural: "ippools", home: "calico", namespaced: false } as const;
export const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;
const NAMESPACES = { plural: "namespaces", home: "kubernetes", namespaced: false } as const;
const RESERVATIONS = { plural: "ipreservations", home: "calico", namespaced: false } as const;

type Labels = Record<string, string>;

export class World {
  readonly store = halfWritable(memoryStore());
  now = Date.UTC(2026, 10, 22, 12);
  readonly ipam: Ipam;

  constructor() {
    this.ipam = this.process().ipam;
  }

  /** A further process on the same store. */
  process(faults: Faults = {}): { ipam: Ipam; store: FaultyStore } {
    const store = new FaultyStore(this.store, faults);
    return { store, ipam: new Ipam(store, { now: () => this.now += 0.01, random: () => 0.5 }) };
  }

  async node(name: string, labels: Labels = {}): Promise<void> {
    await this.store.put(resourceKey(NODES, name), { metadata: { name, labels } });
  }

  async namespace(name: string, labels: Labels): Promise<void> {
    await this.store.put(resourceKey(NAMESPACES, name), { metadata: { name, labels } });
  }

  async pool(name: string, cidr: string, spec: object = {}, more: object = {}): Promise<void> {
    await this.store.put(resourceKey(POOLS, name), {
      metadata: { name },
      spec: { cidr, ...spec },
      ...more,
    });
  }

  async deletePool(name: string): Promise<void> {
    await this.store.delete(resourceKey(POOLS, name));
  }

  async reserve(...reservedCIDRs: string[]): Promise<void> {
    await this.store.put(resourceKey(RESERVATIONS, "r"), {
      metadata: { name: "r" },
      spec: { reservedCIDRs },
    });
  }

  async configure(changes: Partial<Awaited<ReturnType<Ipam["getIpamConfig"]>>>): Promise<void> {
    await this.ipam.setIpamConfig({ ...await this.ipam.getIpamConfig(), ...changes });
  }

  /** Addresses as texts, all or nothing. */
  async assign(host: string, request: Partial<AutoAssignRequest> = {}): Promise<string[]> {
    const num = request.num6 === undefined ? { num4: 1 } : {};
    return texts(await this.ipam.assign({ ...num, host, use: "Workload", ...request }));
  }

  /** The stored block; undefined where there is none. */
  async block(cidr: string): Promise<AllocationBlock | undefined> {
    return (await this.store.get<AllocationBlock>(blockKey(mustPrefix(cidr))))?.value;
  }

  async blocks(): Promise<string[]> {
    return (await checkRecords(this.store)).blocks.map(({ prefix }) => formatPrefix(prefix));
  }

  /** Of a node: `10.0.0.0/26 confirmed`. */
  async owned(host: string): Promise<string[]> {
    const blocks = await this.ipam.blocksOf(host);
    return blocks.map(({ block, state }) => `${formatPrefix(block)} ${state}`);
  }
}

export function texts(addresses: readonly AssignedAddress[]): string[] {
  return addresses.map(({ ip }) => formatIp(ip));
}

/** The error of a kind that something must fail with. */
export async function fails(
  promise: Promise<unknown>,
  kind: IpamErrorKind,
  message = /./,
): Promise<IpamError> {
  try {
    await promise;
  } catch (error) {
    assert(error instanceof IpamError, `${error}`);
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return error;
  }
  assert.fail(`should have failed: ${kind}`);
}

/** A test in a world of its own, whose records are checked in the end. */
export function inWorld(name: string, test: (world: World) => Promise<void>): void {
  Deno.test(name, async () => {
    const world = new World();
    try {
      await test(world);
      await checkRecords(world.store);
    } finally {
      await world.store.close();
    }
  });
}
