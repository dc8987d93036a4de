/**
 * `ipam show`: how full pools and blocks are, who has an address, which addresses are borrowed (given
 * in a block that is another node's), and the settings. Numbers as calicoctl prints them: five
 * significant digits and whole per cents.
 */
import { formatIp, formatPrefix, ipAt, mustPrefix, parseIp, type Prefix } from "../net/mod.ts";
import { blockPrefix, parseBlockKey } from "../model/keys.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { legibleBlock } from "../ipam/block.ts";
import { coolingSince } from "../ipam/cooling.ts";
import { damagedBlock } from "../ipam/damage.ts";
import { leaseOf } from "../ipam/check/evidence.ts";
import type { Holder } from "../ipam/errors.ts";
import type { Store } from "../store/store.ts";
import type { PoolUtilization, Usage } from "../ipam/utilization.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { withStore } from "./context.ts";
import { EXIT, usageError } from "./io.ts";
import { boxed } from "./tables.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const format = textOption(call, "output") ?? "ps";
  if (!["ps", "json"].includes(format)) throw usageError(`-o ${format}: want ps or json`);
  const json = format === "json";
  const ip = textOption(call, "ip");
  if (ip !== undefined && !parseIp(ip)) {
    throw usageError(`--ip ${ip} is not an address; want one such as 10.244.1.7`);
  }
  const warn = (message: string) => io.stderr(`warning: ${message}\n`);
  return await withStore(call, async (store) => {
    if (ip !== undefined) io.stdout(await showIp(store, ip, json));
    else if (flagOption(call, "showConfiguration")) io.stdout(await showConfiguration(store, json));
    else if (flagOption(call, "showBorrowed")) io.stdout(await showBorrowed(store, warn, json));
    else {
      io.stdout(await showUsage(store, warn, flagOption(call, "showBlocks"), json));
    }
    return EXIT.ok;
  });
}

async function ipamOf(store: Store, warn?: (message: string) => void) {
  const { Ipam } = await import("../ipam/ipam.ts");
  return new Ipam(store, { warn });
}

async function showIp(store: Store, ip: string, json: boolean): Promise<string> {
  const address = formatIp(parseIp(ip)!);
  const ipam = await ipamOf(store);
  const assignment = await ipam.assignment(address);
  const coolsUntil = assignment ? undefined : await ipam.coolsUntil(address);
  const { handle, attributes = {} } = assignment ?? {};
  const alternate = assignment?.alternateAttributes ?? {};
  if (json) {
    return jsonText({
      ip: address,
      inUse: assignment !== undefined,
      ...(coolsUntil && { coolsUntil }),
      ...(assignment && {
        handle: handle ?? null,
        block: formatPrefix(assignment.block),
        attributes,
        ...(Object.keys(alternate).length > 0 && { alternateAttributes: alternate }),
      }),
    });
  }
  if (!assignment) {
    const cools = coolsUntil ? `: it was given back, and cools down until ${coolsUntil}` : "";
    return `${address} is not assigned${cools}\n`;
  }
  return [
    `IP ${address} ${stateOf(assignment)}`,
    `Handle ID: ${handle ?? "<none>"}`,
    ...attributeLines("Active Owner Attributes", attributes, "No Active Owner attributes defined"),
    ...attributeLines("Alternate Owner Attributes", alternate),
  ].map((line) => `${line}\n`).join("");
}

/** A lease outlives its pods: then nobody uses the address, and it is somebody's all the same. */
function stateOf(holder: Holder): string {
  const lease = leaseOf(holder);
  if (!lease || lease.container !== undefined) return "is in use";
  if (!lease.keptUntil) {
    return `is used by nobody, and kept for ${lease.name} for ever: its record does not say until when; ` +
      `\`tortie ipam release --ip\` gives it back`;
  }
  return Date.parse(lease.keptUntil) <= Date.now()
    ? `is used by nobody: its lease for ${lease.name} was over at ${lease.keptUntil}`
    : `is used by nobody, and kept for ${lease.name} until ${lease.keptUntil}`;
}

function attributeLines(
  title: string,
  attributes: Readonly<Record<string, string>>,
  none?: string,
): string[] {
  const entries = Object.entries(attributes).sort();
  if (entries.length === 0) return none === undefined ? [] : [none];
  return [`${title}:`, ...entries.map(([key, value]) => `  ${key}: ${value}`)];
}

async function showUsage(
  store: Store,
  warn: (message: string) => void,
  blocks: boolean,
  json: boolean,
): Promise<string> {
  const pools = await (await ipamOf(store, warn)).utilization();
  if (json) return jsonText(pools.map((pool) => poolJson(pool, blocks)));
  const rows: string[][] = [];
  // Calico shows what IPReservations cover, and what cools down, where there is any.
  const columns = {
    reserved: pools.some(({ usage }) => usage !== undefined && usage.reserved > 0n),
    cooling: pools.some((pool) => pool.blocks.some((block) => block.cooling > 0n)),
  };
  for (const pool of pools) {
    if (pool.usage) rows.push(usageRow("IP Pool", pool.usage, columns));
    if (blocks) {
      for (const block of pool.blocks) rows.push(usageRow("Block", block, columns));
    }
  }
  const headings = [
    "GROUPING",
    "CIDR",
    "IPS TOTAL",
    "IPS IN USE",
    ...(columns.reserved ? ["IPS RESERVED"] : []),
    "IPS FREE",
    ...(columns.cooling ? ["IPS COOLING"] : []),
  ];
  return boxed([headings, ...rows]);
}

function usageRow(
  grouping: string,
  usage: Usage,
  columns: { reserved: boolean; cooling: boolean },
): string[] {
  const part = (n: bigint) => `${number(n)} (${percent(n, usage.capacity)}%)`;
  return [
    grouping,
    formatPrefix(usage.cidr),
    number(usage.capacity),
    part(usage.inUse),
    ...(columns.reserved ? [part(usage.reserved)] : []),
    part(usage.available),
    ...(columns.cooling ? [part(usage.cooling)] : []),
  ];
}

/** As %.5g: five significant digits, an exponent from 100000 on. */
export function number(n: bigint): string {
  if (n < 100_000n) return String(n);
  const [mantissa, exponent] = Number(n).toExponential(4).split("e+");
  return `${mantissa.replace(/\.?0+$/, "")}e+${exponent.padStart(2, "0")}`;
}

/** Whole per cents, halves to the even neighbour, as %.f. */
function percent(n: bigint, of: bigint): string {
  if (of === 0n) return "0";
  const thousandth = Number(n * 100_000n / of);
  const whole = Math.floor(thousandth / 1000);
  const rest = thousandth - whole * 1000;
  const up = rest > 500 || (rest === 500 && whole % 2 === 1);
  return String(whole + (up ? 1 : 0));
}

function poolJson(pool: PoolUtilization, blocks: boolean): unknown {
  const usage = (u: Usage) => ({
    cidr: formatPrefix(u.cidr),
    capacity: count(u.capacity),
    inUse: count(u.inUse),
    reserved: count(u.reserved),
    free: count(u.available),
    ...(u.cooling > 0n && { cooling: count(u.cooling) }),
  });
  return {
    name: pool.name ?? null,
    ...(pool.usage && usage(pool.usage)),
    ...(blocks && {
      blocks: pool.blocks.map((block) => ({ ...usage(block), affinity: block.affinity })),
    }),
  };
}

/** A number where it is exact, else a text: a /64 has more addresses than a number can count. */
function count(n: bigint): number | string {
  return n <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(n) : String(n);
}

async function showConfiguration(store: Store, json: boolean): Promise<string> {
  const config = await (await ipamOf(store)).getIpamConfig();
  if (json) return jsonText(config);
  return boxed([
    ["PROPERTY", "VALUE"],
    ["StrictAffinity", String(config.strictAffinity)],
    ["AutoAllocateBlocks", String(config.autoAllocateBlocks)],
    ["MaxBlocksPerHost", String(config.maxBlocksPerHost)],
    ["KubeVirtVMAddressPersistence", config.kubeVirtVMAddressPersistence],
    ["IPCooldownSeconds", String(config.ipCooldownSeconds)],
  ]);
}

interface Borrowed {
  readonly ip: string;
  readonly node: string;
  readonly block: string;
  readonly owner: string;
  readonly type: string;
  readonly allocatedTo: string;
}

async function showBorrowed(
  store: Store,
  warn: (message: string) => void,
  json: boolean,
): Promise<string> {
  const borrowed: Borrowed[] = [];
  let without = 0;
  for (const family of [4, 6] as const) {
    const { entries, broken = [] } = await store.list(blockPrefix(family));
    const unknown = (prefix: Prefix, why: string) =>
      warn(damagedBlock(prefix, `${why}; what is borrowed in it is not known`).message);
    for (const { key, reason } of broken) {
      const prefix = parseBlockKey(key);
      if (prefix) unknown(prefix, reason);
    }
    for (const { key, value } of entries) {
      const prefix = parseBlockKey(key);
      if (!prefix) continue;
      const { block, fault } = legibleBlock(value, prefix);
      if (fault !== undefined || !block) {
        unknown(prefix, fault ?? "");
        continue;
      }
      const found = borrowedOf(block);
      borrowed.push(...found.borrowed);
      without += found.without;
    }
  }
  if (json) return jsonText(borrowed);
  const note = without === 0
    ? ""
    : `\nNote: found ${without} IP allocations without an explicit node association. ` +
      "Unable to determine if they are borrowed.\n";
  return boxed([
    ["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"],
    ...borrowed.map((b) => [b.ip, b.node, b.block, b.owner, b.type, b.allocatedTo]),
  ]) + note;
}

/** Addresses of a block that a node has which is not the block's, and those that name no node. */
function borrowedOf(block: AllocationBlock): { borrowed: Borrowed[]; without: number } {
  const owner = (block.affinity ?? "").replace(/^[^:]*:/, "");
  const prefix = mustPrefix(block.cidr);
  const borrowed: Borrowed[] = [];
  let without = 0;
  block.allocations.forEach((index, ordinal) => {
    // Who had it is not on record any more while it cools down.
    if (index === null || coolingSince(block.attributes[index] ?? {}) !== undefined) return;
    const facts = block.attributes[index]?.secondary ?? {};
    if (facts.node === undefined) without++;
    else if (facts.node !== owner) {
      borrowed.push({
        ip: formatIp(ipAt(prefix, ordinal)),
        node: facts.node,
        block: block.cidr,
        owner,
        type: facts["vmi-name"] ? "vmi" : facts.pod ? "pod" : facts.type ?? "",
        allocatedTo: facts["vmi-name"] ?? facts.pod
          ? `${facts.namespace ?? ""}/${facts["vmi-name"] ?? facts.pod}`
          : "",
      });
    }
  });
  return { borrowed, without };
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
