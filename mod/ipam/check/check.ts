/**
 * Finds every inconsistency of IPAM's records, among themselves and beside nodes, endpoints, pods and
 * pools. Pure: records of a moment in, findings out. `checkStore` reads twice and tells what was wrong
 * both times, because an assignment under way looks like a fault to who comes in the middle of it.
 *
 *     block_faults    one block by itself            owner_faults     blocks, affinities, nodes, pools
 *     handle_faults   handles and blocks             address_faults   addresses and their users
 */
import { formatPrefix } from "../../net/mod.ts";
import { parseBlockKey, parseHandleKey, parseResourceKey } from "../../model/keys.ts";
import type { Revision, Store } from "../../store/store.ts";
import type { BlockRecord } from "../block_table.ts";
import type { Pool } from "../pools.ts";
import { examineAddresses, type UsedAllocation, withUsers } from "./address_faults.ts";
import { allocationsOf } from "./allocations.ts";
import { examineBlock } from "./block_faults.ts";
import { type Finding, findingId } from "./finding.ts";
import { examineHandles, type LeakedHandle } from "./handle_faults.ts";
import { affinityFaults, examinePools, nodeFaults, placeFaults } from "./owner_faults.ts";
import { type IpamRecords, readRecords } from "./records.ts";
import { tunnelAddresses, type Users, usersOf } from "./users.ts";

export interface ClusterFacts {
  readonly guid: string;
  readonly type: string;
  readonly revision: Revision;
  /** Nobody but us writes: `datastoreReady` is false. */
  readonly locked: boolean;
}

export interface Check {
  readonly findings: readonly Finding[];
  readonly cluster: ClusterFacts;
  /** Blocks that can be read. */
  readonly blocks: readonly BlockRecord[];
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
}

/**
 * Checks a store that others may be writing to. `kubernetes`: where Pods and Services are, if that is
 * another one.
 */
export async function checkStore(
  store: Store,
  now: () => number,
  kubernetes: Store = store,
): Promise<Check> {
  const first = check(await readRecords(store, kubernetes), now());
  if (first.findings.length === 0) return first;
  const second = check(await readRecords(store, kubernetes), now());
  return confirmed(first, second);
}

/** The second look, without what only that one found. */
export function confirmed(first: Check, second: Check): Check {
  const seen = new Set(first.findings.map(findingId));
  const findings = second.findings.filter((finding) => seen.has(findingId(finding)));
  const stays = (kind: Finding["kind"], subject: string) =>
    findings.some((f) => f.kind === kind && f.subject === subject);
  const { handles } = second;
  return {
    ...second,
    findings,
    leaked: second.leaked.filter(({ address }) => stays("leak", address)),
    notAllocated: second.notAllocated.filter((address) => stays("notAllocated", address)),
    notInPool: second.notInPool.filter((address) => stays("notInPool", address)),
    handles: {
      ...handles,
      leaked: handles.leaked.filter(({ id }) => stays("handleLeaked", id)),
      missing: handles.missing.filter((id) => stays("handleMissing", id)),
    },
  };
}

/** Checks the records of one moment. `now` in milliseconds since 1970. */
export function check(records: IpamRecords, now: number): Check {
  const findings: Finding[] = [];
  const blocks: BlockRecord[] = [];
  for (const { key, value, revision } of records.blocks) {
    const prefix = parseBlockKey(key);
    if (!prefix) {
      findings.push({ kind: "strangeRecord", subject: key, message: `${key} names no block` });
      continue;
    }
    const examined = examineBlock(prefix, value, now);
    findings.push(...examined.findings);
    if (examined.block) blocks.push({ prefix, block: examined.block, revision });
  }
  const { pools, findings: poolFindings } = examinePools(records.pools);
  const users = usersOf(records);
  const allocations = withUsers(blocks.flatMap(allocationsOf), users, now);
  const nodes = new Set(records.nodes.map(({ key }) => parseResourceKey(key)?.name ?? ""));
  const cidrs = new Set(blocks.map(({ prefix }) => formatPrefix(prefix)));
  const handles = examineHandles(
    records.handles.filter(({ key }) => parseHandleKey(key) !== undefined),
    allocations,
    cidrs,
  );
  const addresses = examineAddresses(allocations, users, pools);
  findings.push(
    ...affinityFaults(records.affinities, blocks),
    ...poolFindings,
    ...placeFaults(blocks, pools),
    ...nodeFaults(nodes, records.affinities, blocks, allocations),
    ...handles.findings,
    ...addresses.findings,
    ...configFaults(records),
  );
  return {
    findings,
    cluster: clusterOf(records),
    blocks,
    pools,
    allocations,
    users,
    tunnelCount: records.nodes.flatMap(({ value }) => tunnelAddresses(value)).length,
    endpointAddressCount: [...users.values()].flat()
      .filter(({ name }) => name.startsWith("Workload(")).length,
    loadBalancerCount:
      records.services.filter(({ value }) => (value as any)?.spec?.type === "LoadBalancer").length,
    leaked: addresses.leaked,
    notAllocated: addresses.notAllocated,
    notInPool: addresses.notInPool,
    handles,
  };
}

function configFaults({ config, strange }: IpamRecords): Finding[] {
  const findings: Finding[] = strange.map(({ key }) => ({
    kind: "strangeRecord" as const,
    subject: key,
    message: `${key} is no record of IPAM`,
  }));
  const value = config?.value as Record<string, unknown> | null | undefined;
  if (!config) return findings;
  const wrong = typeof value !== "object" || value === null
    ? "is no object"
    : value.maxBlocksPerHost && !value.strict_affinity
    ? "has maxBlocksPerHost without strictAffinity"
    : !value.auto_allocate_blocks && !value.strict_affinity
    ? "has neither strictAffinity nor autoAllocateBlocks"
    : undefined;
  if (wrong) {
    const message = `the IPAM configuration ${wrong}`;
    findings.push({ kind: "configBroken", subject: config.key, message });
  }
  return findings;
}

function clusterOf({ cluster }: IpamRecords): ClusterFacts {
  const spec = (cluster?.value as any)?.spec ?? {};
  return {
    guid: spec.clusterGUID ?? "",
    type: spec.clusterType ?? "",
    revision: cluster?.revision ?? "",
    locked: spec.datastoreReady === false,
  };
}
