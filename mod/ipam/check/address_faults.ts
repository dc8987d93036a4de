/** Addresses beside those who use them: given and used by nobody, used and not given, or by another. */
import {
  formatIp,
  formatPrefix,
  parseCidr,
  parseIp,
  type Prefix,
  prefixContains,
} from "../../net/mod.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { machineAddressesOf, tunnelAddressesOf } from "../../model/node.ts";
import type { Entry } from "../../store/store.ts";
import type { Pool } from "../pools.ts";
import { type Allocation, blockName, GATEWAY_TYPE, WINDOWS_RESERVED } from "./allocations.ts";
import type { Finding, FindingKind, Passing } from "./finding.ts";
import { type Idle, type UseFacts, useOf } from "./use.ts";
import { agrees, describe, holderOf } from "./holders.ts";
import type { AddressUser, Users } from "./users.ts";

/** An allocation, with who uses the address. */
export interface UsedAllocation extends Allocation {
  readonly owners: readonly string[];
  /** Without owners: why it cannot be shown that nobody uses it; undefined where it can. */
  readonly unproven?: string;
  /** A lease of which it is not seen that the container that should use it is there: see `use.ts`. */
  readonly idle?: Idle;
}

/** Whether it is shown that nobody uses the address. */
function isLeaked({ owners, unproven }: UsedAllocation): boolean {
  return owners.length === 0 && unproven === undefined;
}

/** The allocations with their users; a reserved or kept address is in use without anybody's doing. */
export function withUsers(
  allocations: readonly Allocation[],
  users: Users,
  how: UseFacts,
): UsedAllocation[] {
  const served = new Set(
    allocations.filter(({ attributes }) => attributes.type !== GATEWAY_TYPE).map(placeOf),
  );
  return allocations.map((allocation) => {
    const owners = (users.get(allocation.address) ?? []).map((user) => user.name);
    if (owners.length > 0) return { ...allocation, owners };
    const reserve = reserveName(allocation, served);
    if (reserve) return { ...allocation, owners: [reserve] };
    const use = useOf(allocation, how);
    return {
      ...allocation,
      owners: use.is === "used" ? [use.by] : [],
      ...(use.is === "used" && use.idle && { idle: use.idle }),
      ...(use.is === "unproven" && { unproven: use.why }),
    };
  });
}

function placeOf(allocation: Allocation): string {
  return `${allocation.node} ${blockName(allocation)}`;
}

/** `served`: the nodes and blocks in which containers have addresses. */
function reserveName(allocation: Allocation, served: ReadonlySet<string>): string | undefined {
  if (allocation.handle === WINDOWS_RESERVED) return "Reserved for Windows";
  if (allocation.attributes.type !== GATEWAY_TYPE) return undefined;
  return served.has(placeOf(allocation)) ? `Gateway(${allocation.node})` : undefined;
}

/** Addresses of machines, tunnels aside, that pods have been given. */
export function machineFaults(
  allocations: readonly Allocation[],
  nodes: readonly Entry[],
): Finding[] {
  const machines = new Map<string, string>();
  const tunnels = new Set<string>();
  const ipOf = (text: string) => parseCidr(text)?.ip ?? parseIp(text);
  for (const { key, value } of nodes) {
    const name = parseResourceKey(key)?.name ?? key;
    for (const text of machineAddressesOf(value)) {
      const ip = ipOf(text);
      if (ip) machines.set(formatIp(ip), name);
    }
    for (const text of tunnelAddressesOf(value)) {
      const ip = ipOf(text);
      if (ip) tunnels.add(formatIp(ip));
    }
  }
  return allocations.flatMap((one) => {
    const { address, attributes, handle } = one;
    const node = machines.get(address);
    // What a node has given itself is its own.
    const own = tunnels.has(address) || attributes.type !== undefined ||
      handle === WINDOWS_RESERVED;
    if (node === undefined || own) return [];
    const message = `${address} is an address of node ${node}, and given to ${whomOf(one)}`;
    return [{ kind: "nodeAddress" as const, subject: address, message }];
  });
}

export interface AddressCheck {
  readonly findings: Finding[];
  readonly leaked: UsedAllocation[];
  readonly notInPool: string[];
  readonly notAllocated: string[];
  /** Of those that are in no pool, what others than this IPAM have given to workloads. */
  readonly elsewhere: string[];
}

export function examineAddresses(
  allocations: readonly UsedAllocation[],
  users: Users,
  pools: readonly Pool[],
  /** Blocks that cannot be read: whether they gave an address is not known. */
  lost: readonly Prefix[] = [],
): AddressCheck {
  const findings: Finding[] = [];
  const say = (kind: FindingKind, subject: string, what: string) =>
    findings.push({ kind, subject, message: `${subject} ${what}` });
  const given = new Map<string, UsedAllocation[]>();
  for (const allocation of allocations) {
    const list = given.get(allocation.address) ?? [];
    list.push(allocation);
    given.set(allocation.address, list);
  }
  for (const [address, list] of given) {
    if (list.length > 1) {
      say("addressTwice", address, `was given by ${list.map(blockName).join(" and by ")}`);
    }
  }
  const leaked = allocations.filter(isLeaked);
  for (const one of leaked) {
    say("leak", one.address, `is given to ${whomOf(one)}, and nobody uses it`);
  }
  for (const { address, idle, ...one } of allocations) {
    if (idle?.is !== "unused") continue;
    const holder = describe(holderOf(one));
    say("leaseIdle", address, `is given to ${holder}, whose container is gone (${idle.why})`);
  }
  for (const one of allocations) {
    if (one.unproven === undefined) continue;
    say(
      "unproven",
      one.address,
      `is given to ${whomOf(one)}, of whom nothing is seen, and it cannot be shown that nobody ` +
        `uses it (${one.unproven})`,
    );
  }
  const [notInPool, notAllocated, elsewhere]: string[][] = [[], [], []];
  const check = { findings, leaked, notInPool, notAllocated, elsewhere };
  for (const [address, list] of users) {
    const names = list.map((user) => user.name).join(" and ");
    if (list.length > 1) say("usedTwice", address, `is used by ${names}`);
    const records = given.get(address);
    if (records) {
      const ofContainer = list.find(({ pod, containerId }) => pod || containerId);
      if (ofContainer && records.every(({ handle }) => !handle)) {
        say("noHandle", address, `is used by ${ofContainer.name}, and its record has no handle`);
      }
      const holders = records.map(holderOf);
      for (const user of list) {
        if (holders.some((holder) => agrees(holder, user))) continue;
        const what = `is used by ${user.name}${asWhat(user)}, and given to ${describe(holders[0])}`;
        say(WRONG[user.is], address, what);
      }
      continue;
    }
    const ip = parseIp(address)!;
    if (lost.some((prefix) => prefixContains(prefix, ip))) continue;
    if (pools.some((pool) => pool.closed === undefined && prefixContains(pool.prefix, ip))) {
      check.notAllocated.push(address);
      say(
        "notAllocated",
        address,
        `is used by ${names}, lies in an active pool, and is given to nobody`,
      );
    } else {
      check.notInPool.push(address);
      const closed = pools.find((pool) => prefixContains(pool.prefix, ip));
      // Of no pool at all: host-local's, or one that an annotation names beside IPAM.
      if (!closed && list.every(({ name }) => !name.startsWith("Node("))) {
        check.elsewhere.push(address);
        continue;
      }
      const where = closed
        ? `pool ${closed.name} (${formatPrefix(closed.prefix)}) gives nothing`
        : "no pool has it";
      say("notInPool", address, `is used by ${names}, and is in no active pool: ${where}`);
    }
  }
  return check;
}

/** What is told of them, and is no fault of IPAM's. */
export function foreignAddresses(addresses: readonly string[]): Passing[] {
  if (addresses.length === 0) return [];
  const [shown, more] = [addresses.slice(0, 5).join(", "), addresses.length - 5];
  const subject = more > 0 ? `${shown} and ${more} more` : shown;
  const message = `${addresses.length} addresses of workloads are in no pool: ${subject}`;
  return [{ kind: "outsidePools", subject, message }];
}

/** What it is called that the record names another than who uses the address. */
const WRONG: Readonly<Record<AddressUser["is"], FindingKind>> = {
  tunnel: "wrongTunnel",
  endpoint: "wrongUser",
  pod: "wrongUser",
  service: "wrongService",
};

function asWhat({ type }: AddressUser): string {
  return type === undefined ? "" : ` as its ${type}`;
}

function whomOf(record: Allocation): string {
  const holder = holderOf(record);
  const { node, attributes } = record;
  const whom = describe(holder);
  // Where the record does not say it, the block's owner stands for it.
  return node && !attributes.node && !whom.endsWith(` of node ${node}`)
    ? `${whom} of node ${node}`
    : whom;
}
