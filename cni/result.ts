/**
 * The result of ADD: one form inside, seven outside.
 *
 *     0.1.0, 0.2.0          ip4 { ip, gateway, routes }, ip6 { … }, dns
 *     0.3.0, 0.3.1, 0.4.0   interfaces, ips [{ version, interface, address, gateway }], routes, dns
 *     1.0.0, 1.1.0          the same without ips[].version; 1.1.0 adds mtu to interfaces and more
 *                           fields to routes
 *
 * `prevResult` comes in the form of the configuration's cniVersion. It is untrusted: what we read from
 * it is checked (code 7), and what we do not know in it is kept, so that a result passes through us as
 * the plugin before us wrote it.
 */

import { parseCidr, parseIp } from "../mod/net/mod.ts";
import { CniCode, CniError } from "./errors.ts";
import { shorten } from "./environment.ts";
import { atLeast, type CniVersion } from "./versions.ts";

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  /** Bytes; printed from 1.1.0. */
  readonly mtu?: number;
  /** Path of the network namespace; undefined: on the host. */
  readonly sandbox?: string;
}

export interface ResultIp {
  /** With prefix length: `10.244.1.7/32`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string;
  /** What 1.1.0 allows beside: mtu, advmss, priority, table, scope. */
  readonly more?: Readonly<Record<string, unknown>>;
}

export interface CniResult {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Readonly<Record<string, unknown>>;
}

/** The result as an object of that version, ready for JSON. */
export function formatResult(result: CniResult, version: CniVersion): Record<string, unknown> {
  if (!atLeast(version, "0.3.0")) return formatOld(result, version);
  const current = atLeast(version, "1.0.0");
  const latest = atLeast(version, "1.1.0");
  return {
    cniVersion: version,
    // An IPAM plugin knows no interfaces, and must then not print the key.
    ...(result.interfaces.length > 0 && {
      interfaces: result.interfaces.map((i) => ({
        name: i.name,
        ...(i.mac !== undefined && { mac: i.mac }),
        ...(latest && i.mtu !== undefined && { mtu: i.mtu }),
        ...(i.sandbox !== undefined && { sandbox: i.sandbox }),
      })),
    }),
    ips: result.ips.map((ip) => ({
      ...(!current && { version: ip.address.includes(":") ? "6" : "4" }),
      ...(ip.interface !== undefined && { interface: ip.interface }),
      address: ip.address,
      ...(ip.gateway !== undefined && { gateway: ip.gateway }),
    })),
    ...(result.routes.length > 0 && {
      routes: result.routes.map((r) => ({
        dst: r.dst,
        ...(r.gw !== undefined && { gw: r.gw }),
        ...(latest && r.more),
      })),
    }),
    dns: result.dns,
  };
}

function formatOld(result: CniResult, version: CniVersion): Record<string, unknown> {
  const out: Record<string, unknown> = { cniVersion: version };
  for (const [key, isV6] of [["ip4", false], ["ip6", true]] as const) {
    const ip = result.ips.find((i) => i.address.includes(":") === isV6);
    if (!ip) continue;
    const routes = result.routes.filter((r) => r.dst.includes(":") === isV6);
    out[key] = {
      ip: ip.address,
      ...(ip.gateway !== undefined && { gateway: ip.gateway }),
      ...(routes.length > 0 && {
        routes: routes.map((r) => ({ dst: r.dst, ...(r.gw !== undefined && { gw: r.gw }) })),
      }),
    };
  }
  out.dns = result.dns;
  return out;
}

/**
 * `prevResult` of a configuration with that cniVersion. CniError `configuration` where it is not a
 * result of that version.
 */
export function parseResult(value: unknown, version: CniVersion): CniResult {
  const fields = asObject(value, "prevResult");
  if (!atLeast(version, "0.3.0")) return parseOld(fields);
  const interfaces = list(fields.interfaces, "prevResult.interfaces").map((item, n) => {
    const where = `prevResult.interfaces[${n}]`;
    const entry = asObject(item, where);
    return {
      name: text(entry.name, `${where}.name`) ?? "",
      mac: text(entry.mac, `${where}.mac`) || undefined,
      mtu: integer(entry.mtu, `${where}.mtu`),
      sandbox: text(entry.sandbox, `${where}.sandbox`) || undefined,
    };
  });
  const ips = list(fields.ips, "prevResult.ips").map((item, n) => {
    const where = `prevResult.ips[${n}]`;
    const entry = asObject(item, where);
    const index = integer(entry.interface, `${where}.interface`);
    if (index !== undefined && (index < 0 || index >= interfaces.length)) {
      throw wrong(`${where}.interface`, `${index} names no interface of the result`);
    }
    return {
      address: cidr(entry.address, `${where}.address`),
      gateway: address(entry.gateway, `${where}.gateway`),
      interface: index,
    };
  });
  return {
    interfaces,
    ips,
    routes: parseRoutes(fields.routes, "prevResult.routes"),
    dns: fields.dns === undefined || fields.dns === null
      ? {}
      : asObject(fields.dns, "prevResult.dns"),
  };
}

function parseOld(fields: Record<string, unknown>): CniResult {
  const ips: ResultIp[] = [];
  const routes: ResultRoute[] = [];
  for (const key of ["ip4", "ip6"]) {
    if (fields[key] === undefined || fields[key] === null) continue;
    const entry = asObject(fields[key], `prevResult.${key}`);
    ips.push({
      address: cidr(entry.ip, `prevResult.${key}.ip`),
      gateway: address(entry.gateway, `prevResult.${key}.gateway`),
    });
    routes.push(...parseRoutes(entry.routes, `prevResult.${key}.routes`));
  }
  return {
    interfaces: [],
    ips,
    routes,
    dns: fields.dns === undefined || fields.dns === null
      ? {}
      : asObject(fields.dns, "prevResult.dns"),
  };
}

/** Routes of a result or of a configuration; `where` is named in errors. */
export function parseRoutes(value: unknown, where: string): ResultRoute[] {
  return list(value, where).map((item, n) => {
    const { dst, gw, ...more } = asObject(item, `${where}[${n}]`);
    return {
      dst: cidr(dst, `${where}[${n}].dst`),
      gw: address(gw, `${where}[${n}].gw`),
      ...(Object.keys(more).length > 0 && { more }),
    };
  });
}

/** What came before, and ours behind it, with the indexes of our interfaces moved. */
export function appendResult(before: CniResult, ours: CniResult): CniResult {
  const offset = before.interfaces.length;
  return {
    interfaces: [...before.interfaces, ...ours.interfaces],
    ips: [
      ...before.ips,
      ...ours.ips.map((ip) =>
        ip.interface === undefined ? ip : { ...ip, interface: ip.interface + offset }
      ),
    ],
    routes: [...before.routes, ...ours.routes],
    dns: { ...ours.dns, ...before.dns },
  };
}

function asObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(where, "is not an object");
  }
  return value as Record<string, unknown>;
}

function list(value: unknown, where: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(where, "is not a list");
  return value;
}

function text(value: unknown, where: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw wrong(where, "is not a text");
  return value;
}

function integer(value: unknown, where: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw wrong(where, "is not a whole number");
  }
  return value;
}

function cidr(value: unknown, where: string): string {
  const found = text(value, where) ?? "";
  if (!parseCidr(found)) {
    throw wrong(where, `${JSON.stringify(shorten(found))} is not an address with prefix length`);
  }
  return found;
}

function address(value: unknown, where: string): string | undefined {
  const found = text(value, where);
  if (found === undefined || found === "") return undefined;
  if (!parseIp(found)) throw wrong(where, `${JSON.stringify(shorten(found))} is not an IP address`);
  return found;
}

function wrong(where: string, what: string): CniError {
  return new CniError(CniCode.configuration, `Network configuration: ${where} ${what}.`);
}
