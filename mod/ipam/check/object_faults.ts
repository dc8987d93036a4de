/**
 * Objects beside IPAM's own records, of a form that says less than it should: endpoints, pods and nodes
 * that do not tell which addresses they have, pools whose selectors select nobody or that are for no use,
 * reservations that reserve nothing, second objects of one record.
 */
import { parsePrefix } from "../../net/mod.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
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

/** Of a record of IPAM in an object of Kubernetes under another name than its own: the key of it. */
export function misnamedOf(entry: Entry | BrokenEntry): string | undefined {
  return (entry as BrokenEntry).speaksOf;
}

/** Objects of Kubernetes that say they are records whose objects have other names. */
export function twinFaults({ blocks, affinities, handles, broken = [] }: IpamRecords): Finding[] {
  const twins = broken.filter((entry) => misnamedOf(entry) !== undefined);
  if (twins.length === 0) return [];
  const known = new Set([...blocks, ...affinities, ...handles].map(({ key }) => key));
  return twins.map((entry) => {
    const there = known.has(misnamedOf(entry)!)
      ? "which is there too"
      : "and there is no object of that name";
    return { kind: "misnamed", subject: entry.key, message: `${entry.reason}, ${there}` };
  });
}

function reservationFaults({ key, value }: Entry): Finding[] {
  const name = parseResourceKey(key)?.name ?? key;
  const say = (what: string): Finding => ({
    kind: "reservationBroken",
    subject: name,
    message: `IPReservation ${name} ${what}`,
  });
  const cidrs = (value as Loose)?.spec?.reservedCIDRs;
  if (cidrs === undefined && isJsonObject(value)) return [];
  if (!Array.isArray(cidrs)) return [say(`cannot be read: its reservedCIDRs are ${show(cidrs)}`)];
  const wrong = cidrs.filter((cidr) => typeof cidr !== "string" || !parsePrefix(cidr.trim()));
  return wrong.length > 0 ? [say(`names what is no CIDR: ${wrong.map(show).join(", ")}`)] : [];
}
