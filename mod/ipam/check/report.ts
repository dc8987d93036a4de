/**
 * The report of a check as a file, in the form of `calicoctl ipam check -o`, and the release of what
 * reports call leaked. A report is about the past: only what all reports say is released, only while it
 * is the very allocation that was meant (handle and number), and only after another look at who uses
 * addresses now. `findings` are ours; calicoctl passes over them.
 */
import { formatIp, parseIp } from "../../net/mod.ts";
import type { Store } from "../../store/store.ts";
import { IpamError } from "../errors.ts";
import type { Ipam } from "../ipam.ts";
import type { UsedAllocation } from "./address_faults.ts";
import { type Check, type CheckOptions, checkStore, type DamagedRecord } from "./check.ts";
import { explain } from "./finding.ts";
import type { LeakedHandle } from "./handle_faults.ts";

export interface ReportedAllocation {
  ip: string;
  handle?: string;
  sequenceNumber?: number | bigint;
  pod?: string;
  namespace?: string;
  node?: string;
  type?: string;
  creationTimestamp?: string;
  inUse: boolean;
  /** Ours: why it cannot be shown that nobody uses it; `inUse` is true then, for calicoctl's sake. */
  unproven?: string;
  borrowed?: boolean;
  owners: string[] | null;
}

export interface Report {
  version: string;
  clusterGUID: string;
  datastoreLocked: boolean;
  clusterInformationRevision: string;
  clusterType: string;
  allocations: Record<string, ReportedAllocation[]>;
  /** Members as Go writes a struct that names none. */
  leakedHandles?: { ID: string; UID: string | null; Revision: string }[];
  /** Records that cannot be read. */
  damagedRecords?: { key: string; revision: string }[];
  findings?: { kind: string; subject: string; message: string }[];
}

export function reportOf(result: Check, version: string): Report {
  const { cluster, findings, handles } = result;
  const leaked = new Set(result.leaked.map(({ address }) => address));
  const allocations: Report["allocations"] = {};
  for (const allocation of result.allocations) {
    const { address } = allocation;
    // Of two looks the second may have seen an assignment that was just begun: no leak, see check.ts.
    const inUse = !leaked.has(address);
    (allocations[address] ??= []).push(reported(allocation, inUse));
  }
  return {
    version,
    clusterGUID: cluster.guid,
    datastoreLocked: cluster.locked,
    clusterInformationRevision: cluster.revision,
    clusterType: cluster.type,
    allocations,
    ...(handles.leaked.length > 0 && {
      leakedHandles: handles.leaked.map(({ id, revision }) => ({
        ID: id,
        UID: null,
        Revision: revision,
      })),
    }),
    ...(result.damaged.length > 0 && { damagedRecords: [...result.damaged] }),
    findings: findings.map((finding) => ({
      kind: finding.kind,
      subject: finding.subject,
      message: explain(finding),
    })),
  };
}

function reported(allocation: UsedAllocation, inUse: boolean): ReportedAllocation {
  const { address, handle, sequenceNumber, attributes, node, borrowed, owners } = allocation;
  const { pod, namespace, type, timestamp } = attributes;
  return {
    ip: address,
    ...(handle && { handle }),
    sequenceNumber,
    ...(pod && { pod }),
    ...(namespace && { namespace }),
    ...(node && { node }),
    ...(type && { type }),
    ...(timestamp && { creationTimestamp: timestamp }),
    inUse,
    ...(allocation.unproven !== undefined && { unproven: allocation.unproven }),
    ...(borrowed && { borrowed }),
    owners: owners.length > 0 ? [...owners] : null,
  };
}

/** Reads a report's JSON; a sentence where it is none. */
export function readReport(value: unknown): Report | string {
  if (typeof value !== "object" || value === null) return "it is not a JSON object";
  const report = value as Partial<Report>;
  for (const name of ["version", "clusterGUID", "clusterInformationRevision"] as const) {
    if (typeof report[name] !== "string") return `its ${name} is missing`;
  }
  const { allocations = {} } = report;
  if (typeof allocations !== "object" || allocations === null) {
    return "its allocations are no object";
  }
  for (const [address, list] of Object.entries(allocations)) {
    const sound = Array.isArray(list) &&
      list.every((one) =>
        typeof one?.inUse === "boolean" && typeof one.ip === "string" && parseIp(one.ip) &&
        (one.sequenceNumber === undefined || isWhole(one.sequenceNumber))
      );
    if (!sound) return `its allocations of ${address} cannot be read`;
  }
  const handles = report.leakedHandles ?? [];
  if (!Array.isArray(handles) || handles.some((h) => typeof h?.ID !== "string")) {
    return "its leakedHandles cannot be read";
  }
  const damagedRecords = report.damagedRecords ?? [];
  const isRecord = (r: { key?: unknown; revision?: unknown } | null) =>
    typeof r?.key === "string" && typeof r.revision === "string";
  if (!Array.isArray(damagedRecords) || !damagedRecords.every(isRecord)) {
    return "its damagedRecords cannot be read";
  }
  return { ...report, allocations, leakedHandles: handles, damagedRecords } as Report;
}

function isWhole(value: unknown): boolean {
  return typeof value === "bigint" || Number.isInteger(value);
}

export interface Leaks {
  readonly addresses: readonly ReportedAllocation[];
  readonly handles: readonly LeakedHandle[];
  readonly damaged: readonly DamagedRecord[];
}

/**
 * What every one of the reports calls leaked, unchanged from one to the next; `unproven`: also what
 * they cannot show to be in use.
 */
export function commonLeaks(reports: readonly Report[], unproven = false): Leaks {
  const wanted = (one: ReportedAllocation) =>
    !one.inUse || (unproven && typeof one.unproven === "string");
  const common = <T>(lists: T[][], id: (item: T) => string): T[] => {
    const [first = [], ...others] = lists;
    const sets = others.map((list) => new Set(list.map(id)));
    return first.filter((item) => sets.every((set) => set.has(id(item))));
  };
  return {
    addresses: common(
      reports.map((r) => Object.values(r.allocations).flat().filter(wanted)),
      (a) => `${a.ip} ${a.handle ?? ""} ${a.sequenceNumber ?? ""}`,
    ),
    handles: common(
      reports.map((r) => (r.leakedHandles ?? []).map((h) => ({ id: h.ID, revision: h.Revision }))),
      (h) => `${h.id} ${h.revision}`,
    ),
    damaged: common(
      reports.map((r) => r.damagedRecords ?? []),
      ({ key, revision }) => `${key} ${revision}`,
    ),
  };
}

export interface ReleasedLeaks {
  readonly released: string[];
  /** Free already, or given anew since the report. */
  readonly cleanedUp: string[];
  /** Somebody uses them, whatever the reports say. */
  readonly inUse: { address: string; by: string }[];
  /** It cannot be shown now that nobody uses them. */
  readonly unproven: { address: string; why: string }[];
  readonly failed: { address: string; why: string }[];
}

export interface ReleaseOptions extends CheckOptions {
  /** Also what cannot be shown to be unused; never what is seen to be used. */
  readonly force?: boolean;
}

/** Releases addresses that are leaked still, by another look at who uses them. */
export async function releaseLeaks(
  store: Store,
  ipam: Ipam,
  leaks: readonly ReportedAllocation[],
  options: ReleaseOptions,
): Promise<ReleasedLeaks> {
  const done: ReleasedLeaks = {
    released: [],
    cleanedUp: [],
    inUse: [],
    unproven: [],
    failed: [],
  };
  const about = new Set(leaks.map(({ ip }) => formatIp(parseIp(ip)!)));
  const looked = await checkStore(store, { ...options, about });
  refuseUnknownUsers(looked);
  const now = Map.groupBy(looked.allocations, ({ address }) => address);
  for (const leak of leaks) {
    const address = formatIp(parseIp(leak.ip)!);
    const current = now.get(address)?.find((a) => isSame(a, leak));
    if (!current) {
      done.cleanedUp.push(address);
      continue;
    }
    if (current.owners.length > 0) {
      done.inUse.push({ address, by: current.owners.join(", ") });
      continue;
    }
    if (current.unproven !== undefined && !options.force) {
      done.unproven.push({ address, why: current.unproven });
      continue;
    }
    const { handle, sequenceNumber } = current;
    try {
      const { unallocated } = await ipam.releaseIps([{ address, handle, sequenceNumber }]);
      (unallocated.length > 0 ? done.cleanedUp : done.released).push(address);
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      // Given anew between the look and the release: not what the report meant.
      if (error.kind === "conflict") done.cleanedUp.push(address);
      else done.failed.push({ address, why: error.message });
    }
  }
  return done;
}

function isSame(a: UsedAllocation, b: ReportedAllocation): boolean {
  return (a.handle ?? "") === (b.handle ?? "") &&
    (b.sequenceNumber === undefined || a.sequenceNumber === BigInt(b.sequenceNumber));
}

/** Who cannot be read may use any address. */
function refuseUnknownUsers({ unreadable }: Check): void {
  if (unreadable.length === 0) return;
  const more = unreadable.length > 1 ? ` and ${unreadable.length - 1} more` : "";
  throw new IpamError(
    "badRecord",
    `nothing is released: which addresses ${unreadable[0]}${more} use cannot be told, since they ` +
      "cannot be read; write them anew, or delete them",
  );
}
