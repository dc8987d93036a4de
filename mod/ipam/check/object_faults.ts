/**
 * Objects beside IPAM's own records, of a form that says less than it should: endpoints, pods and nodes
 * that do not tell which addresses they have, pools whose selectors select nobody, reservations that
 * reserve nothing.
 */
import { parsePrefix } from "../../net/mod.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
import { isJsonObject } from "../../store/json.ts";
import type { Entry } from "../../store/store.ts";
import { type Pool, readSelector } from "../pools.ts";
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
