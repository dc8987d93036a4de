/**
 * Finds every inconsistency of IPAM's records, among themselves and beside nodes, endpoints, pods and
 * pools. Pure: records of a moment in, findings out. `checkStore` reads twice and tells what was wrong
 * both times, because an assignment under way looks like a fault to who comes in the middle of it. What
 * seems unused is asked of its node between the two looks (`use.ts`).
 *
 *     block_faults    one block by itself            owner_faults     blocks, affinities, nodes, pools
 *     handle_faults   handles and blocks             address_faults   addresses and their users
 *     record_faults   one record of an address       object_faults    objects beside IPAM's records
 *     pool_faults     pools
 */
import { formatPrefix, type Prefix } from "../../net/mod.ts";
import { lockReason } from "../../model/cluster_information.ts";
import { ipamConfigFault, type StoredIpamConfig } from "../../model/ipam_config.ts";
import { parseBlockKey, parseHandleKey, parseResourceKey } from "../../model/keys.ts";
import { tunnelAddressesOf } from "../../model/node.ts";
import type { BrokenEntry, Entry, Revision, Store } from "../../store/store.ts";
import type { AskNodes, NodeWords } from "../ask_nodes.ts";
import type { StoredBlock } from "../block_table.ts";
import { isBroken, readRaw } from "../damage.ts";
import type { Pool } from "../pools.ts";
import {
  examineAddresses,
  foreignAddresses,
  machineFaults,
  type UsedAllocation,
  withUsers,
} from "./address_faults.ts";
import { allocationsOf } from "./allocations.ts";
import { brokenBlock, examineBlock } from "./block_faults.ts";
import { type Finding, findingId, type Passing } from "./finding.ts";
import { examineHandles, type LeakedHandle } from "./handle_faults.ts";
import { affinityFaults, nodeFaults, placeFaults } from "./owner_faults.ts";
import { examinePools } from "./pool_faults.ts";
import { limitNotes } from "./limit_notes.ts";
import { objectFaults, twinFaults, twinsOf } from "./object_faults.ts";
import { recordFaults } from "./record_faults.ts";
import {
  CLUSTER_KEY,
  factsOf,
  type IpamRecords,
  POOL_KIND,
  readRecords,
  RESERVATION_KIND,
  sortRecords,
} from "./records.ts";
import { questionsAbout } from "./use.ts";
import { type Users, usersOf } from "./users.ts";

export interface ClusterFacts {
  readonly guid: string;
  readonly type: string;
  readonly revision: Revision;
  /** Nobody but us writes: `datastoreReady` is false. */
  readonly locked: boolean;
}

export interface Check {
  readonly findings: readonly Finding[];
  /** What will pass by itself, and is no fault. */
  readonly passing: readonly Passing[];
  readonly cluster: ClusterFacts;
  /** Blocks that can be read. */
  readonly blocks: readonly StoredBlock[];
  readonly pools: readonly Pool[];
  readonly allocations: readonly UsedAllocation[];
  readonly users: Users;
  readonly tunnelCount: number;
  readonly endpointAddressCount: number;
  readonly loadBalancerCount: number;
  readonly leaked: readonly UsedAllocation[];
  readonly notAllocated: readonly string[];
  readonly notInPool: readonly string[];
  readonly handles: {
    readonly leaked: LeakedHandle[];
    readonly good: number;
    readonly missing: string[];
  };
  /** Records of IPAM that cannot be read and that a release from a report mends. */
  readonly damaged: readonly DamagedRecord[];
  /** Blocks of which nobody knows what is in them. */
  readonly lost: readonly Prefix[];
  /** Keys of records that would say who uses addresses, and cannot be read. */
  readonly unreadable: readonly string[];
}

export interface DamagedRecord {
  readonly key: string;
  readonly revision: Revision;
}

export interface CheckOptions {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Where Pods and Services are, if that is another store. */
  readonly kubernetes?: Store;
  /** Every pod has its record: the store, or the one beside it, is the Kubernetes API. */
  readonly podsKnown?: boolean;
  /** Without it no node is asked, and what only a node could tell stays unproven. */
  readonly ask?: AskNodes;
  /** Only about these addresses are nodes asked; about all without it. */
  readonly about?: ReadonlySet<string>;
}

/** Checks a store that others may be writing to. */
export async function checkStore(store: Store, options: CheckOptions): Promise<Check> {
  const { now, kubernetes = store, podsKnown = kubernetes !== store, ask, about } = options;
  const records = await readRecords(store, kubernetes);
  const silence: NodeWords = new Map();
  const first = check(records, now(), { podsKnown });
  const doubtful = first.allocations.filter(({ owners, idle, address }) =>
    (owners.length === 0 || idle !== undefined) && (about?.has(address) ?? true)
  );
  if (first.findings.length === 0 && doubtful.length === 0) return first;
  const how = { facts: factsOf(records), podsKnown, words: silence, now: now() };
  const words = await ask?.(questionsAbout(doubtful, how)) ?? silence;
  const second = check(await readRecords(store, kubernetes), now(), { podsKnown, words });
  return confirmed(first, second);
}

/** The second look, without what only that one found. */
export function confirmed(first: Check, second: Check): Check {
  const seen = new Set(first.findings.map(findingId));
  // What was doubtful, and by the word of its node is a leak, or is not, was suspected both times.
  for (const { kind, subject } of first.findings) {
    if (kind === "unproven") seen.add(findingId({ kind: "leak", subject }));
    if (kind === "leak") seen.add(findingId({ kind: "unproven", subject }));
  }
  for (const { address, idle } of first.allocations) {
    if (idle) seen.add(findingId({ kind: "leaseIdle", subject: address }));
  }
  const findings = second.findings.filter((finding) => seen.has(findingId(finding)));
  const left = new Set(findings.map(findingId));
  const stays = (kind: Finding["kind"], subject: string) => left.has(findingId({ kind, subject }));
  const { handles, damaged } = second;
  const outside = new Set(first.notInPool);
  const keys = new Set(findings.map(({ key }) => key));
  return {
    ...second,
    findings,
    leaked: second.leaked.filter(({ address }) => stays("leak", address)),
    notAllocated: second.notAllocated.filter((address) => stays("notAllocated", address)),
    notInPool: second.notInPool.filter((address) => outside.has(address)),
    handles: {
      ...handles,
      leaked: handles.leaked.filter(({ id }) => stays("handleLeaked", id)),
      missing: handles.missing.filter((id) => stays("handleMissing", id)),
    },
    damaged: damaged.filter(({ key }) => keys.has(key)),
  };
}

/** Checks the records of one moment. `now` in milliseconds since 1970. */
export function check(
  records: IpamRecords,
  now: number,
  { podsKnown = false, words = new Map() }: { podsKnown?: boolean; words?: NodeWords } = {},
): Check {
  const findings: Finding[] = [];
  const blocks: StoredBlock[] = [];
  const lost: Prefix[] = [];
  const isTwin = twinsOf(records);
  const sound = (entry: Entry | BrokenEntry) => !isTwin(entry);
  const broken = sortRecords(records.broken ?? []);
  for (const entry of [...records.blocks, ...broken.blocks]) {
    const { key, revision } = entry;
    const prefix = parseBlockKey(key);
    if (!prefix) {
      if (!isTwin(entry)) {
        findings.push({ kind: "strangeRecord", subject: key, message: `${key} names no block` });
      }
      continue;
    }
    const examined = isBroken(entry)
      ? { findings: [brokenBlock(prefix, key, entry.reason)] }
      : examineBlock(prefix, key, entry.value, now);
    findings.push(...examined.findings);
    if ("block" in examined && examined.block) {
      blocks.push({ prefix, block: examined.block, revision });
    } else lost.push(prefix);
  }
  const poolCheck = examinePools(records.pools);
  const { pools } = poolCheck;
  const places = placeFaults(blocks, pools);
  const users = usersOf(records);
  const facts = factsOf(records);
  const how = { facts, podsKnown, words, now };
  const allocations = withUsers(blocks.flatMap(allocationsOf), users, how);
  const handles = examineHandles(
    [...records.handles, ...broken.handles.filter(sound)]
      .filter(({ key }) => parseHandleKey(key) !== undefined),
    allocations,
    new Set(blocks.map(({ prefix }) => formatPrefix(prefix))),
    new Set(lost.map(formatPrefix)),
  );
  const addresses = examineAddresses(allocations, users, pools, lost);
  // As arguments of one call they would be too many in a large cluster.
  const all: Finding[] = [
    ...findings,
    ...affinityFaults(
      [...records.affinities, ...broken.affinities.filter(sound)],
      blocks,
      lost,
    ),
    ...twinFaults(records, isTwin),
    ...poolCheck.findings,
    ...places.findings,
    ...nodeFaults(facts, records.affinities, blocks, allocations),
    ...handles.findings,
    ...addresses.findings,
    ...recordFaults(allocations, users),
    ...machineFaults(allocations, records.nodes),
    ...objectFaults(records, pools),
    ...configFaults({
      config: records.config ?? broken.config,
      strange: [...records.strange, ...broken.strange],
    }),
    ...(records.others ?? []).map(otherFault),
  ];
  const named = new Set(all.map(({ key }) => key));
  const damaged = [records, broken]
    .flatMap((some) => [...some.blocks, ...some.affinities, ...some.handles])
    .filter(({ key }) => named.has(key)).map(({ key, revision }) => ({ key, revision }));
  return {
    findings: all,
    passing: [
      ...poolCheck.passing,
      ...places.passing,
      ...foreignAddresses(addresses.elsewhere),
      ...limitNotes(records.config?.value, blocks, allocations),
    ],
    cluster: clusterOf(records),
    blocks,
    pools,
    allocations,
    users,
    tunnelCount: records.nodes.flatMap(({ value }) => tunnelAddressesOf(value)).length,
    endpointAddressCount: [...users.values()].flat()
      .filter(({ name }) => name.startsWith("Workload(")).length,
    loadBalancerCount:
      records.services.filter(({ value }) => (value as any)?.spec?.type === "LoadBalancer").length,
    leaked: addresses.leaked,
    notAllocated: addresses.notAllocated,
    notInPool: addresses.notInPool,
    handles,
    damaged,
    lost,
    unreadable: (records.others ?? []).map(({ key }) => key).filter(isUser),
  };
}

/** Whether the record says which addresses somebody uses. */
function isUser(key: string): boolean {
  const plural = parseResourceKey(key)?.plural;
  const not: (string | undefined)[] = [
    POOL_KIND.plural,
    RESERVATION_KIND.plural,
    "clusterinformations",
  ];
  return !not.includes(plural);
}

function otherFault({ key, reason }: BrokenEntry): Finding {
  const at = parseResourceKey(key);
  if (at?.plural === POOL_KIND.plural) {
    const message = `pool ${at.name} (${key}) cannot be read: ${reason}`;
    return { kind: "poolBroken", subject: at.name, message };
  }
  if (at?.plural === RESERVATION_KIND.plural) {
    const message = `IPReservation ${at.name} (${key}) cannot be read: ${reason}`;
    return { kind: "reservationBroken", subject: at.name, message };
  }
  const kind = isUser(key) ? "userBroken" : "strangeRecord";
  return { kind, subject: key, message: `${key} cannot be read: ${reason}` };
}

function configFaults(
  { config, strange }: {
    config?: Entry | BrokenEntry;
    strange: readonly (Entry | BrokenEntry)[];
  },
): Finding[] {
  const findings: Finding[] = strange.map(({ key }) => ({
    kind: "strangeRecord" as const,
    subject: key,
    message: `${key} is no record of IPAM`,
  }));
  if (!config) return findings;
  const subject = config.key;
  const fault = isBroken(config) ? config.reason : ipamConfigFault(config.value);
  if (fault !== undefined) {
    const message = `the IPAM configuration (${subject}) cannot be read: ${fault}`;
    return [...findings, { kind: "configBroken", subject, message }];
  }
  const value = (config as Entry).value as StoredIpamConfig;
  const wrong = Number(value.maxBlocksPerHost) > 0 && !value.strict_affinity
    ? "has maxBlocksPerHost without strictAffinity"
    : !value.auto_allocate_blocks && !value.strict_affinity
    ? "has neither strictAffinity nor autoAllocateBlocks"
    : undefined;
  if (wrong) {
    const message = `the IPAM configuration ${wrong}`;
    findings.push({ kind: "configContradicts", subject, message });
  }
  return findings;
}

export async function readCluster(store: Store): Promise<ClusterFacts> {
  const info = await readRaw(store, CLUSTER_KEY);
  return clusterOf({ cluster: isBroken(info) ? undefined : info });
}

function clusterOf({ cluster }: Pick<IpamRecords, "cluster">): ClusterFacts {
  const spec = (cluster?.value as any)?.spec ?? {};
  return {
    guid: spec.clusterGUID ?? "",
    type: spec.clusterType ?? "",
    revision: cluster?.revision ?? "",
    locked: cluster !== undefined && lockReason(cluster.value) !== undefined,
  };
}
