/**
 * Objects beside IPAM's own records, of a form that says less than it should: endpoints, pods and nodes
 * that do not tell which addresses they have, pools whose selectors select nobody or that are for no use,
 * reservations that reserve nothing, second objects of one record.
 */
import { parsePrefix } from "../../net/mod.ts";
import { parseBlockKey, parseHandleKey, parseResourceKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
import { isTime } from "../../model/time.ts";
import { isJsonObject } from "../../store/json.ts";
import type { BrokenEntry, Entry } from "../../store/store.ts";
import { type Pool, readSelector } from "../pools.ts";
import type { PoolUse } from "../types.ts";
import { isReadable, type Loose } from "./evidence.ts";
import type { Finding } from "./finding.ts";
import type { IpamRecords } from "./records.ts";

export function objectFaults(records: IpamRecords, pools: readonly Pool[]): Finding[] {
  return [
    ...records.endpoints.filter(({ value }) => !isReadable(value)).map(endpointFault),
    ...[...records.nodes, ...records.pods].filter(({ value }) => !isJsonObject(value)).map(
      objectFault,
    ),
    ...pools.flatMap(selectorFaults),
    ...pools.flatMap(useFaults),
    ...(records.reservations ?? []).flatMap(reservationFaults),
  ];
}

function endpointFault({ key, value }: Entry): Finding {
  const { namespace = "", name = key } = parseResourceKey(key) ?? {};
  const spec = (value as Loose)?.spec;
  const what = isJsonObject(spec)
    ? `its ipNetworks are ${show(spec.ipNetworks)}`
    : "it has no spec";
  return {
    kind: "endpointBroken",
    subject: `${namespace}/${name}`,
    message: `WorkloadEndpoint ${namespace}/${name} cannot be read: ${what}`,
  };
}

function objectFault({ key, value }: Entry): Finding {
  const message = `${key} cannot be read: it is ${show(value)}`;
  return { kind: "objectBroken", subject: key, message };
}

function selectorFaults(pool: Pool): Finding[] {
  return (["nodeSelector", "namespaceSelector"] as const).flatMap((field) => {
    if (pool[field] === "" || readSelector(pool[field])) return [];
    const message = `pool ${pool.name} has the ${field} ${show(pool[field])}, which is none`;
    return [{ kind: "selectorBroken" as const, subject: pool.name, message }];
  });
}

/** All that IPAM gives addresses for. */
const USES: readonly unknown[] = ["Workload", "Tunnel", "LoadBalancer"] satisfies PoolUse[];

function useFaults({ name, uses }: Pool): Finding[] {
  const wrong = uses.filter((use) => !USES.includes(use));
  if (wrong.length === 0) return [];
  const message = `pool ${name} has the allowedUses ${wrong.map(show).join(", ")}, which ` +
    `${wrong.length === 1 ? "is none" : "are none"}`;
  return [{ kind: "usesBroken", subject: name, message }];
}

/**
 * Which entries are objects of Kubernetes that say, under another name, what an object of the right name is
 * there to say. One that has the name of another record is that record, damaged: of a block always, for what
 * it gave is lost; of a handle where it stands alone.
 */
export function twinsOf(
  { handles, broken = [] }: IpamRecords,
): (entry: Entry | BrokenEntry) => boolean {
  const alone = new Set<string>();
  if (broken.length > 0) {
    const known = new Set(handles.map(({ key }) => key));
    for (const { key, speaksOf } of broken) {
      if (parseHandleKey(key) && speaksOf && !known.has(speaksOf)) alone.add(key);
    }
  }
  return (entry) =>
    (entry as BrokenEntry).speaksOf !== undefined && !parseBlockKey(entry.key) &&
    !alone.has(entry.key);
}

export function twinFaults(
  { blocks, affinities, handles, broken = [] }: IpamRecords,
  isTwin: (entry: BrokenEntry) => boolean,
): Finding[] {
  const twins = broken.filter(isTwin);
  if (twins.length === 0) return [];
  const known = new Set([...blocks, ...affinities, ...handles].map(({ key }) => key));
  return twins.map(({ key, reason, speaksOf }) => {
    const there = known.has(speaksOf!)
      ? "which is there too"
      : "and there is no object of that name";
    return { kind: "misnamed", subject: key, message: `${reason}, ${there}` };
  });
}

function reservationFaults({ key, value }: Entry): Finding[] {
  const name = parseResourceKey(key)?.name ?? key;
  const say = (what: string): Finding => ({
    kind: "reservationBroken",
    subject: name,
    message: `IPReservation ${name} ${what}`,
  });
  const { spec } = (value ?? {}) as Loose;
  const identity = identityFault({ key, value }, "IPReservation");
  if (identity !== undefined) return [say(`cannot be read by Calico: ${identity}`)];
  if (isJsonObject(value)) {
    if (spec !== undefined && !isJsonObject(spec)) {
      return [say(`cannot be read: its spec is ${show(spec)}`)];
    }
  }
  const cidrs = spec?.reservedCIDRs;
  if (cidrs === undefined && isJsonObject(value)) return [];
  if (!Array.isArray(cidrs)) return [say(`cannot be read: its reservedCIDRs are ${show(cidrs)}`)];
  const wrong = cidrs.filter((cidr) => typeof cidr !== "string" || !parsePrefix(cidr.trim()));
  return wrong.length > 0 ? [say(`names what is no CIDR: ${wrong.map(show).join(", ")}`)] : [];
}

/** What is wrong with the envelope of an object of Calico's, where there is one: who it says that it is. */
export function identityFault(
  { key, value }: Pick<Entry, "key" | "value">,
  wanted: string,
): string | undefined {
  if (!isJsonObject(value)) return undefined;
  const { kind, apiVersion, metadata } = value;
  const envelope = { kind: [kind, wanted], apiVersion: [apiVersion, API_VERSION] } as const;
  for (const [member, [found, good]] of Object.entries(envelope)) {
    if (found !== undefined && found !== good) return `its ${member} is ${show(found)}`;
  }
  if (metadata === undefined) return "it has no metadata";
  if (!isJsonObject(metadata)) return `its metadata is ${show(metadata)}`;
  if (!metadata.name) return "it has no metadata.name";
  if (metadata.name !== parseResourceKey(key)?.name) {
    return `its metadata.name is ${show(metadata.name)}`;
  }
  for (const [member, isGood, want] of METADATA) {
    const found = metadata[member] ?? undefined;
    if (found !== undefined && !isGood(found)) {
      return `its metadata.${member} is ${show(found)}, no ${want}`;
    }
  }
}

const API_VERSION = "projectcalico.org/v3";

const isText = (value: unknown) => typeof value === "string";
const isTexts = (value: unknown) => isJsonObject(value) && Object.values(value).every(isText);

/** What metadata may hold, where it is there; null is nothing, as in Go. */
const METADATA: readonly (readonly [string, (value: unknown) => boolean, string])[] = [
  ["uid", isText, "text"],
  ["creationTimestamp", (value) => typeof value === "string" && isTime(value), "time"],
  ["labels", isTexts, "map of texts"],
  ["annotations", isTexts, "map of texts"],
];
