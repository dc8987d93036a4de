/**
 * `ipam check`: what calicoctl's command of that name says, line by line, then every other fault of
 * IPAM's records with what helps. What nobody seems to use is asked of its node. Exit 1 where something was found. The report (`-o`) can be given to
 * `ipam release --from-report`.
 */
import { formatPrefix } from "../net/mod.ts";
import { attributeText, blockName } from "../ipam/check/allocations.ts";
import { type Check, checkStore } from "../ipam/check/check.ts";
import { explain, type Finding, type FindingKind } from "../ipam/check/finding.ts";
import { reportOf } from "../ipam/check/report.ts";
import { formatJson } from "../store/json.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { openStore, withOpen } from "./context.ts";
import { checkOptions, openApiBeside } from "./kubernetes_beside.ts";
import { fileReason, writeTextTo } from "./files.ts";
import { EXIT, failure, type Io } from "./io.ts";
import { visible } from "./visible.ts";

/** Told by calicoctl's own lines; there can be very many of them. */
const COUNTED: readonly FindingKind[] = [
  "leak",
  "notAllocated",
  "notInPool",
  "handleLeaked",
  "handleMissing",
];
/** The report has all of them. */
const MOST_LINES = 200;
const MOST_NODES = 20;

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const say = (line = "") => io.stdout(`${visible(line)}\n`);
  const all = flagOption(call, "showAllIps");
  const problems = all || flagOption(call, "showProblemIps");
  const file = textOption(call, "output");
  const opened = await openStore(call);
  return await withOpen(opened, async (store) => {
    // Another tool's KUBECONFIG may be of any cluster; calicoctl's own command asks for it by that name.
    const named = call.program !== "calicoctl";
    const api = await openApiBeside(call, opened.location, { named });
    say("Checking IPAM for inconsistencies...");
    say();
    let result: Check;
    try {
      result = await checkStore(store, checkOptions(store, opened.location, api));
    } finally {
      await api?.close();
    }
    tellBlocks(result, say, all);
    tellUsers(result, say, all);
    tellNodes(result, say);
    tellAddresses(result, say, problems);
    tellHandles(result, say, problems, all);
    tellOthers(result, say);
    tellPassing(result, say);
    say(`Check complete; found ${result.findings.length} problems.`);
    if (file !== undefined) await writeReport(file, reportOf(result, buildInfo().version), io);
    // calicoctl's exit code tells whether the check could be made, not what it found.
    return result.findings.length > 0 && call.program !== "calicoctl" ? EXIT.failed : EXIT.ok;
  });
}

type Say = (line?: string) => void;

function tellBlocks({ blocks, allocations, pools }: Check, say: Say, all: boolean): void {
  say("Loading all IPAM blocks...");
  say(`Found ${blocks.length} IPAM blocks.`);
  const byBlock = Map.groupBy(allocations, blockName);
  for (const { prefix, block } of blocks) {
    say(` IPAM block ${formatPrefix(prefix)} affinity=${block.affinity ?? "<none>"}:`);
    if (!all) continue;
    for (const allocation of byBlock.get(formatPrefix(prefix)) ?? []) {
      say(`  ${allocation.address} allocated; attrs ${attributeText(allocation)}`);
    }
  }
  say(`IPAM blocks record ${allocations.length} allocations.`);
  say();
  say("Loading all IPAM pools...");
  const active = pools.filter((pool) => pool.closed === undefined);
  for (const pool of active) say(`  ${formatPrefix(pool.prefix)}`);
  say(`Found ${active.length} active IP pools.`);
  say();
}

function tellUsers(result: Check, say: Say, all: boolean): void {
  const { users, tunnelCount, endpointAddressCount, loadBalancerCount } = result;
  const belongs = (wanted: (name: string) => boolean) => {
    if (!all) return;
    for (const [address, list] of users) {
      for (const { name } of list) if (wanted(name)) say(`  ${address} belongs to ${name}`);
    }
  };
  say("Loading all nodes.");
  belongs((name) => name.startsWith("Node("));
  say(`Found ${tunnelCount} node tunnel IPs.`);
  say();
  say("Loading all service load balancer IPs.");
  belongs((name) => !name.includes("("));
  say(`Found ${loadBalancerCount} service load balancer(s).`);
  say();
  say("Loading all workload endpoints.");
  belongs((name) => name.startsWith("Workload(") || name.startsWith("Pod("));
  say(`Found ${endpointAddressCount} workload IPs.`);
  say(`Workloads and nodes are using ${users.size} IPs.`);
  say();
}

function tellNodes({ allocations }: Check, say: Say): void {
  say("Loading all handles");
  say(`Looking for top (up to ${MOST_NODES}) nodes by allocations...`);
  const counts = new Map<string, number>();
  for (const { node } of allocations) counts.set(node, (counts.get(node) ?? 0) + 1);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  for (const [node, count] of sorted.slice(0, MOST_NODES)) {
    say(`  ${node} has ${count} allocations`);
  }
  if (sorted.length > 0) {
    const median = sorted[Math.floor(sorted.length / 2)][1];
    say(`Node with most allocations has ${sorted[0][1]}; median is ${median}`);
  }
  say();
}

function tellAddresses(result: Check, say: Say, problems: boolean): void {
  say("Scanning for IPs that are allocated but not actually in use...");
  if (problems) {
    for (const leak of result.leaked) say(`  ${leak.address} leaked; attrs ${attributeText(leak)}`);
  }
  say(`Found ${result.leaked.length} IPs that are allocated in IPAM but not actually in use.`);
  say("Scanning for IPs that are in use by a workload or node but not allocated in IPAM...");
  if (problems) {
    const tell = (addresses: readonly string[], what: string) => {
      for (const address of addresses) {
        for (const { name } of result.users.get(address) ?? []) {
          say(`  ${address} in use by ${name} ${what}`);
        }
      }
    };
    for (const [address, list] of result.users) {
      if (list.length > 1) say(`  ${address} has multiple owners.`);
    }
    tell(result.notInPool, "is not in any active IP pool.");
    tell(result.notAllocated, "and in active IPAM pool but has no IPAM allocation.");
  }
  say(`Found ${result.notInPool.length} in-use IPs that are not in active IP pools.`);
  say(
    `Found ${result.notAllocated.length} in-use IPs that are in active IP pools but have no ` +
      "corresponding IPAM allocation.",
  );
  say();
}

function tellHandles({ handles }: Check, say: Say, problems: boolean, all: boolean): void {
  say("Scanning for IPAM handles with no matching IPs...");
  if (all) { for (const { id } of handles.leaked) say(`  ${id} doesn't have any active IPs.`); }
  say(
    `Found ${handles.leaked.length} handles with no matching IPs (and ${handles.good} handles with ` +
      "matches).",
  );
  say("Scanning for IPs with missing handle...");
  if (problems) {
    for (const id of handles.missing) say(`  ${id} is in use in a block but doesn't exist.`);
  }
  say(
    `Found ${handles.missing.length} handles mentioned in blocks with no matching handle resource.`,
  );
}

function tellOthers({ findings }: Check, say: Say): void {
  say("Scanning for other inconsistencies...");
  const others = findings.filter((finding: Finding) => !COUNTED.includes(finding.kind));
  for (const finding of others.slice(0, MOST_LINES)) say(`  ${explain(finding)}.`);
  if (others.length > MOST_LINES) {
    say(`  … and ${others.length - MOST_LINES} more; -o FILE has all`);
  }
  say(`Found ${others.length} other inconsistencies.`);
}

/** No problems, so without a word where there is nothing. */
function tellPassing({ passing }: Check, say: Say): void {
  if (passing.length === 0) return;
  say(`For the time being, and no problem (${passing.length}):`);
  for (const one of passing.slice(0, MOST_LINES)) say(`  ${explain(one)}.`);
  if (passing.length > MOST_LINES) say(`  … and ${passing.length - MOST_LINES} more`);
}

async function writeReport(file: string, report: unknown, io: Io): Promise<void> {
  try {
    await writeTextTo(file, `${formatJson(report)}\n`, io);
  } catch (error) {
    throw failure(`the report cannot be written to ${file}: ${fileReason(error)}`);
  }
}
