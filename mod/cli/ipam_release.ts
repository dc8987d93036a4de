/**
 * `ipam release`: one address, or what reports of `ipam check` call leaked. In calicoctl's words and
 * under its conditions: reports of this cluster and this version, one of them up to date, the datastore
 * locked; --force passes over version and lock. Beyond calicoctl, an address that an endpoint, pod, node
 * or container uses is never released from a report, and by itself only with --force; one of which it
 * cannot be shown that nobody uses it (`ipam/check/use.ts`) is released only with --force. Records
 * that a report calls damaged are mended (`ipam/check/mend.ts`).
 */
import { formatIp, parseIp } from "../net/mod.ts";
import { type CheckOptions, checkStore, readCluster } from "../ipam/check/check.ts";
import type { UsedAllocation } from "../ipam/check/address_faults.ts";
import { askedOf, isNodeGone, leaseOf } from "../ipam/check/evidence.ts";
import { freshFacts } from "../ipam/check/fresh_facts.ts";
import {
  commonLeaks,
  readReport,
  releaseLeaks,
  type ReleaseOptions,
  type Report,
} from "../ipam/check/report.ts";
import { mendDamaged } from "../ipam/check/mend.ts";
import { Ipam } from "../ipam/ipam.ts";
import { parseJson } from "../store/json.ts";
import type { Store } from "../store/store.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, flagOption, listOption, textOption } from "./command.ts";
import { locateStore, openStore, withOpen } from "./context.ts";
import { fileReason, readTextOf } from "./files.ts";
import { EXIT, failure, type Io, usageError } from "./io.ts";
import { checkOptions, openApiBeside } from "./kubernetes_beside.ts";
import { visible } from "./visible.ts";

const MOST_NAMES = 20;

export async function run(call: Call): Promise<number> {
  const ip = textOption(call, "ip");
  const files = listOption(call, "fromReport");
  if (ip === undefined && files.length === 0) {
    if (call.program === "calicoctl") {
      // What -c names is looked at first of all.
      await locateStore(call);
      call.io.stderr("nothing is released: give --ip, or --from-report once or more\n");
      return EXIT.ok;
    }
    throw usageError("give --ip ADDRESS, or --from-report FILE once or more");
  }
  if (ip !== undefined && files.length > 0) {
    throw usageError("give --ip or --from-report, not both");
  }
  if (ip !== undefined && !parseIp(ip)) {
    throw usageError(`--ip ${ip} is not an address; want one such as 10.244.1.7`);
  }
  const reports = await Promise.all(files.map((file) => readFile(file, call.io)));
  const opened = await openStore(call);
  return await withOpen(opened, async (store) => {
    const api = await openApiBeside(call, opened.location, { named: true });
    try {
      const how = checkOptions(store, opened.location, api);
      return ip !== undefined
        ? await releaseOne(call, store, formatIp(parseIp(ip)!), how)
        : await releaseReported(call, store, files, reports, how);
    } finally {
      await api?.close();
    }
  });
}

async function releaseOne(
  call: Call,
  store: Store,
  address: string,
  how: CheckOptions,
): Promise<number> {
  const { io } = call;
  const ipam = new Ipam(store);
  const assignment = await ipam.assignment(address);
  if (!assignment) throw failure(`IP address ${address} is not assigned`);
  const hindrance = await hindranceOf(store, address, how);
  if (hindrance && !flagOption(call, "force")) {
    const said = `IP address ${address} ${hindrance.what}`;
    if (call.program !== "calicoctl") {
      throw failure(
        `${said}; ${hindrance.remedy}, or release the address all the same with --force, after which ` +
          "another may be given it",
      );
    }
    io.stderr(`warning: ${said}, and may be given to another from now on\n`);
  }
  const { handle, sequenceNumber } = assignment;
  const { released } = await ipam.releaseIps([{ address, handle, sequenceNumber }]);
  if (released.length === 0) throw failure(`IP address ${address} is not assigned`);
  io.stdout(`Successfully released IP address ${address}\n`);
  return EXIT.ok;
}

/** Why the address is not to be released unasked, as a check says it; undefined: nobody uses it. */
async function hindranceOf(
  store: Store,
  address: string,
  how: CheckOptions,
): Promise<{ what: string; remedy: string } | undefined> {
  const { allocations, users } = await checkStore(store, { ...how, about: new Set([address]) });
  const records = allocations.filter((one) => one.address === address);
  // A lease that is only kept for its ordinal is there to be given back by hand, where nobody has it.
  const isKept = records.every((one) => leaseOf(one) && leaseOf(one)!.container === undefined);
  if (isKept && !users.has(address)) return await keptHindrance(store, records, how);
  const owners = [...new Set(records.flatMap((one) => one.owners))];
  if (owners.length > 0) {
    return { what: `is in use by ${owners.join(" and ")}`, remedy: "delete that first" };
  }
  const unproven = records.flatMap((one) => one.unproven ?? []);
  if (unproven.length === 0) return undefined;
  return {
    what: `may be in use (${unproven.join("; ")})`,
    remedy: "where its node cannot be asked, start the service there and try again",
  };
}

/** Why an address that is kept is not to be released: the word of the node that had it last. */
async function keptHindrance(
  store: Store,
  records: readonly UsedAllocation[],
  how: CheckOptions,
): Promise<{ what: string; remedy: string } | undefined> {
  const facts = await freshFacts({ store, pods: how.kubernetes ?? store }, records);
  for (const one of records) {
    const { node, address } = one;
    if (node === "") continue;
    const word = (await how.ask?.(new Map([[node, [askedOf(one)]]])))?.get(node);
    if (!word) continue;
    if ("held" in word && word.held.has(address)) {
      return { what: `is in use by Container(${node})`, remedy: "delete that first" };
    }
    if ("silent" in word && !word.never && !isNodeGone(facts, node)) {
      return {
        what: `may be in use (${word.silent})`,
        remedy: "where its node cannot be asked, start the service there and try again",
      };
    }
  }
}

async function readFile(file: string, io: Io): Promise<Report> {
  let value: unknown;
  try {
    value = parseJson(await readTextOf(file, io));
  } catch (error) {
    throw failure(`the report ${file} cannot be read: ${fileReason(error)}`);
  }
  const report = readReport(value);
  if (typeof report !== "string") return report;
  throw failure(`the report ${file} is none of \`ipam check\`: ${report}`);
}

async function releaseReported(
  call: Call,
  store: Store,
  files: readonly string[],
  reports: readonly Report[],
  how: CheckOptions,
): Promise<number> {
  const { io } = call;
  const force = flagOption(call, "force");
  const say = (line: string) => io.stdout(`${visible(line)}\n`);
  const cluster = await readCluster(store);
  const { version } = buildInfo();
  reports.forEach((report, i) => {
    if (report.clusterGUID !== cluster.guid) {
      throw failure(
        `cluster does not match the provided report (${files[i]}): mismatched cluster GUID. ` +
          "Refusing to release",
      );
    }
    if (report.version === version) return;
    if (!force) {
      throw failure(
        `the provided report (${files[i]}) was produced using a different version ` +
          `(${report.version}) of ${call.program}. Refusing to release`,
      );
    }
    say(
      `WARNING: Report was produced using a different version of ${call.program}. Ignoring due to ` +
        "--force option",
    );
  });
  if (!reports.some((report) => report.clusterInformationRevision === cluster.revision)) {
    throw failure(
      "the provided reports are all stale - at least one should be up-to-date. Please generate a new " +
        "report while the data store is locked and try again",
    );
  }
  if (!cluster.locked) {
    if (!force) {
      const migrate = `${call.program} datastore migrate`;
      throw failure(
        "data store is not locked. Either lock the data store, or re-run with --force. " +
          `\`${migrate} lock\` locks it; then make the report anew, since one from before the lock ` +
          `is stale, and when all is released, \`${migrate} unlock\``,
      );
    }
    say("WARNING: Data store is not locked. Ignoring due to --force option");
  }
  const leaks = commonLeaks(reports, force);
  const failed = await releaseAddresses(say, store, leaks.addresses, { ...how, force }) +
    await releaseHandles(say, store, leaks.handles) +
    await mendRecords(say, store, leaks.damaged, { ...how, force });
  if (!force) tellUnproven(say, reports, leaks.addresses.length);
  say("You may now unlock the data store.");
  return failed > 0 ? EXIT.failed : EXIT.ok;
}

/** What is passed over unasked, since a report that says of it that it is in use says more than it knows. */
function tellUnproven(
  say: (line: string) => void,
  reports: readonly Report[],
  leaked: number,
): void {
  const unproven = commonLeaks(reports, true).addresses.filter((one) => one.inUse);
  if (unproven.length === 0) return;
  const named = unproven.slice(0, MOST_NAMES).map(({ ip, unproven }) => `${ip} (${unproven})`);
  const others = unproven.length - named.length;
  say(
    `${unproven.length}${leaked > 0 ? " further" : ""} IPs may be in use: ` +
      `${named.join(", ")}${others > 0 ? ` and ${others} more` : ""}: not released; ` +
      "--force releases them all the same.",
  );
}

/** How many could not be released. */
async function releaseAddresses(
  say: (line: string) => void,
  store: Store,
  leaks: ReturnType<typeof commonLeaks>["addresses"],
  how: ReleaseOptions,
): Promise<number> {
  if (leaks.length === 0) {
    say("Report didn't contain any leaked IPs to clean up.");
    return 0;
  }
  say(`Releasing ${leaks.length} old IPs...`);
  const done = await releaseLeaks(store, new Ipam(store), leaks, how);
  say(`Released ${done.released.length} IPs successfully`);
  if (done.cleanedUp.length > 0) {
    say(
      `${done.cleanedUp.length} addresses marked as leaked in the report had already been cleaned up.`,
    );
  }
  for (const { address, by } of done.inUse) say(`${address} is in use by ${by}: not released.`);
  for (const { address, why } of done.unproven) {
    say(
      `${address} may be in use (${why}): not released; --force releases it all the same.`,
    );
  }
  for (const { address, why } of done.failed) {
    say(`An error occurred while releasing ${address}: ${why}.`);
  }
  return done.failed.length;
}

async function releaseHandles(
  say: (line: string) => void,
  store: Store,
  handles: ReturnType<typeof commonLeaks>["handles"],
): Promise<number> {
  if (handles.length === 0) {
    say("Report didn't contain any handles to clean up.");
    return 0;
  }
  say(`Deleting ${handles.length} handles...`);
  say("Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.");
  const ipam = new Ipam(store);
  let keys = "";
  for (const { id, revision } of handles) {
    keys += await ipam.mendHandle(id, revision) === "mended" ? "." : "x";
  }
  say(keys);
  const released = [...keys].filter((key) => key === ".").length;
  say(`Released ${released} handles; ${handles.length - released} skipped; 0 errors.`);
  return 0;
}

/** How many could not be mended. */
async function mendRecords(
  say: (line: string) => void,
  store: Store,
  damaged: ReturnType<typeof commonLeaks>["damaged"],
  how: ReleaseOptions,
): Promise<number> {
  if (damaged.length === 0) return 0;
  say(`Mending ${damaged.length} records that cannot be read...`);
  const done = await mendDamaged(store, new Ipam(store), damaged, how);
  for (const key of done.mended) say(`${key}: mended.`);
  for (const key of done.changed) say(`${key}: changed since the report, left as it is.`);
  for (const { key, why } of done.kept) say(`${key}: not mended: ${why}.`);
  return done.kept.length;
}
