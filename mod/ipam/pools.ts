/**
 * Which pool gives which addresses, and to whom.
 *
 * Calico refuses pools that overlap; objects written past its checks may overlap or nest all the
 * same, so ownership is decided here and every reader comes to the same answer:
 *
 * - A pool takes part where it is enabled: not disabled, not being deleted, and its status does not
 *   say Allocatable=False.
 * - Of the pools that take part, the longest prefix that holds an address owns it (equal prefixes:
 *   the older pool, then the one first by name).
 * - A block is a pool's where it has the pool's block size and the pool owns all of its addresses.
 *   Any other block that lies in a pool is a *stray*: it was made before a narrower pool or another
 *   block size existed. It keeps what it has given, gives nothing more and goes when it is empty;
 *   until then the pools claim around it.
 *
 * What the requester may use of these is `determinePools`, after Calico's ipam.go of that name.
 */
import {
  type Family,
  type Ip,
  parsePrefix,
  type Prefix,
  prefixContains,
  prefixCovers,
  prefixesOverlap,
  prefixOf,
  samePrefix,
} from "../net/mod.ts";
import type { IPPool } from "../model/ippool.ts";
import { show } from "../model/show.ts";
import { parseSelector, type Selector, SelectorError } from "../selector/selector.ts";
import { isJsonObject } from "../store/json.ts";
import { IpamError } from "./errors.ts";
import type { PoolUse } from "./types.ts";

/** A pool as IPAM needs it. */
export interface Pool {
  readonly name: string;
  /** Host bits of the stored CIDR masked away. */
  readonly prefix: Prefix;
  /** Prefix length of its blocks. */
  readonly blockSize: number;
  /** Why it gives nothing; undefined where it is enabled. */
  readonly closed?: string;
  readonly uses: readonly string[];
  /** Empty: all nodes, all namespaces. */
  readonly nodeSelector: string;
  readonly namespaceSelector: string;
  /** Used without being named. */
  readonly automatic: boolean;
  /** RFC 3339. */
  readonly created: string;
}

type StoredPool = {
  metadata?: Partial<IPPool["metadata"]>;
  spec?: Partial<IPPool["spec"]>;
  status?: IPPool["status"];
};

/** A stored IPPool that is none: nobody knows what it would give, and it gives nothing. */
export interface UnreadPool {
  readonly name: string;
  readonly why: string;
}

/** Reads a stored IPPool with Calico's defaults; undefined where it is none, or one of its members is. */
export function readPool(value: unknown): Pool | undefined {
  const read = judgePool(value);
  return typeof read === "string" ? undefined : read;
}

/** The same; why it is none, in words that follow the pool's name. */
export function judgePool(value: unknown): Pool | string {
  if (!isJsonObject(value)) return `it is ${show(value)}`;
  const { status, ...pool } = value as StoredPool;
  const spec = pool.spec ?? {}, metadata = pool.metadata ?? {};
  for (const member of ["name", "creationTimestamp"] as const) {
    if (!isText(metadata[member])) return `its metadata.${member} is ${show(metadata[member])}`;
  }
  for (const member of ["cidr", "nodeSelector", "namespaceSelector"] as const) {
    if (!isText(spec[member])) return `its ${member} is ${show(spec[member])}`;
  }
  if (!spec.cidr) return "it has no cidr";
  const prefix = spec.cidr.includes("/") ? parsePrefix(spec.cidr) : undefined;
  if (!prefix) return `its cidr is ${show(spec.cidr)}`;
  if (!metadata.name) return "it has no metadata.name";
  const [standard, shortest, longest] = prefix.ip.family === 4 ? [26, 20, 32] : [122, 116, 128];
  const blockSize = spec.blockSize || standard;
  if (!Number.isInteger(blockSize) || blockSize < shortest || blockSize > longest) {
    return `its blockSize is ${show(blockSize)}`;
  }
  // Calico reads no such pool, and nobody knows what was meant.
  if (spec.disabled !== undefined && spec.disabled !== null && typeof spec.disabled !== "boolean") {
    return `its disabled is ${show(spec.disabled)}`;
  }
  const uses = spec.allowedUses ?? [];
  if (!Array.isArray(uses)) return `its allowedUses are ${show(uses)}`;
  const conditions = Array.isArray(status?.conditions) ? status.conditions : [];
  return {
    name: metadata.name,
    prefix,
    blockSize,
    closed: spec.disabled
      ? "it is disabled"
      : metadata.deletionTimestamp
      ? "it is being deleted"
      : conditions.some((c) => c?.type === "Allocatable" && c.status === "False")
      ? "its status says that it is not allocatable"
      : blockSize < prefix.length
      ? `its blocks (/${blockSize}) are larger than itself`
      : undefined,
    uses: uses.length > 0 ? uses : ["Workload", "Tunnel"],
    nodeSelector: spec.nodeSelector ?? "",
    namespaceSelector: spec.namespaceSelector ?? "",
    automatic: spec.assignmentMode !== "Manual",
    created: metadata.creationTimestamp ?? "",
  };
}

function isText(value: unknown): boolean {
  return value === undefined || value === null || typeof value === "string";
}

/** The pools of one moment, and who owns what. */
export class PoolMap {
  /** By name. */
  readonly all: readonly Pool[];
  readonly enabled: readonly Pool[];
  /** Enabled, the one that owns first: longest prefix, oldest, first name. */
  readonly #ranked: readonly Pool[];

  constructor(pools: Iterable<Pool>, readonly unread: readonly UnreadPool[] = []) {
    this.all = [...pools].sort((a, b) => compareText(a.name, b.name));
    this.enabled = this.all.filter((p) => p.closed === undefined);
    this.#ranked = [...this.enabled].sort((a, b) =>
      b.prefix.length - a.prefix.length || compareText(a.created, b.created) ||
      compareText(a.name, b.name)
    );
  }

  /** The enabled pool that an address belongs to. */
  ownerOfAddress(ip: Ip): Pool | undefined {
    return this.#ranked.find((pool) => prefixContains(pool.prefix, ip));
  }

  /** The enabled pool whose block this is; undefined for strays and for blocks outside of all pools. */
  ownerOfBlock(block: Prefix): Pool | undefined {
    const first = this.#ranked.find((pool) => prefixesOverlap(pool.prefix, block));
    const owns = first && first.blockSize === block.length && prefixCovers(first.prefix, block);
    return owns ? first : undefined;
  }

  /** Whether the block touches enabled pools and is no block of them. */
  isStray(block: Prefix): boolean {
    return this.enabled.some((p) => prefixesOverlap(p.prefix, block)) && !this.ownerOfBlock(block);
  }

  /** The parts of a pool's range that other enabled pools own. A closed pool owns nothing. */
  ceded(pool: Pool): Prefix[] {
    const rank = this.#ranked.indexOf(pool);
    return (rank < 0 ? this.#ranked : this.#ranked.slice(0, rank))
      .filter((other) => prefixesOverlap(other.prefix, pool.prefix))
      .map((other) => other.prefix);
  }

  /** The longest pool of any state that holds an address: whose statistics it counts in. */
  homeOf(ip: Ip): Pool | undefined {
    const open = (pool: Pool) => pool.closed === undefined ? 0 : 1;
    return this.all.filter((pool) => prefixContains(pool.prefix, ip))
      .sort((a, b) => b.prefix.length - a.prefix.length || open(a) - open(b))[0];
  }
}

/** The block of the pool that holds an address. */
export function blockOf(pool: Pool, ip: Ip): Prefix {
  return prefixOf(ip, pool.blockSize);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

type Labels = Readonly<Record<string, string>>;

export interface PoolQuestion {
  readonly family: Family;
  /** Names or CIDRs; empty: any that is meant for the node and the namespace. */
  readonly requested: readonly string[];
  readonly use: PoolUse;
  /** Named in messages. */
  readonly host: string;
  readonly nodeLabels: Labels;
  /** No namespace: no labels. */
  readonly namespaceLabels: Labels;
}

/**
 * The pools that a request may use, in the order in which they are tried. Requested pools are taken
 * in the order asked, whatever their selectors and assignmentMode. IpamError where there are none.
 */
export function determinePools(pools: PoolMap, question: PoolQuestion): Pool[] {
  const { family, requested, use, host } = question;
  const open = pools.enabled.filter((p) => p.prefix.ip.family === family);
  const named = requested.map((text) => requestedPool(pools, text, family));
  // It may be the one that would give the address.
  const unread = pools.unread.length > 0 ? `; ${unreadWords(pools.unread)}` : "";
  if (open.length === 0 && unread !== "") {
    throw new IpamError(
      "badRecord",
      `cannot find a qualified ippool: of IPv${family} none is enabled of those that can be read${unread}`,
    );
  }
  if (open.length === 0) {
    throw new IpamError(
      "noPools",
      `cannot find a qualified ippool: there is no enabled IPv${family} pool`,
    );
  }
  const meant = named.length > 0
    ? [...new Set(named)]
    : open.filter((p) =>
      p.automatic && selects(p, "nodeSelector", question.nodeLabels) &&
      selects(p, "namespaceSelector", question.namespaceLabels)
    );
  if (meant.length === 0) {
    const broken = open.filter((p) =>
      !readSelector(p.nodeSelector) || !readSelector(p.namespaceSelector)
    );
    throw new IpamError(
      "noPools",
      `no configured Calico pools for node ${host}: no enabled automatic IPv${family} pool's ` +
        `selectors match the node and the namespace` +
        (broken.length > 0
          ? `; the selectors of ${broken.map((p) => p.name).join(", ")} cannot be read`
          : "") +
        unread,
    );
  }
  const useful = meant.filter((p) => p.uses.includes(use));
  if (useful.length === 0) {
    throw new IpamError(
      "noPools",
      `cannot find a qualified ippool, no pools match the required use (${use}): of ` +
        meant.map((p) => `${p.name} (${p.uses.join()})`).join(", ") + unread,
    );
  }
  return useful;
}

/** What is wrong with them, and what helps. */
export function unreadWords(unread: readonly UnreadPool[]): string {
  return unread.map(({ name, why }) =>
    `IPPool ${name} cannot be read: ${why}; write it anew, or delete it`
  ).join("; ");
}

/** Whether the pool's nodeSelector matches a node's labels. */
export function selectsNode(pool: Pool, labels: Labels): boolean {
  return selects(pool, "nodeSelector", labels);
}

/** Whether the pool's namespaceSelector matches a namespace's labels. */
export function selectsNamespace(pool: Pool, labels: Labels): boolean {
  return selects(pool, "namespaceSelector", labels);
}

function requestedPool(pools: PoolMap, text: string, family: Family): Pool {
  const cidr = text.includes("/") ? parsePrefix(text) : undefined;
  const pool = cidr
    ? pools.enabled.find((p) => samePrefix(p.prefix, cidr)) ??
      pools.all.find((p) => samePrefix(p.prefix, cidr))
    : pools.all.find((p) => p.name === text);
  const unread = cidr ? pools.unread : pools.unread.filter(({ name }) => name === text);
  if (!pool && unread.length > 0) {
    throw new IpamError(
      "badRecord",
      `the given pool (${text}) is not known: ${unreadWords(unread)}`,
    );
  }
  const familyAsked = cidr?.ip.family ?? pool?.prefix.ip.family;
  if (familyAsked !== undefined && familyAsked !== family) {
    const other = family === 4 ? 6 : 4;
    throw new IpamError(
      "poolFamily",
      `provided IPv${family} IPPools list contains one or more IPv${other} IPPools: ${text}`,
    );
  }
  if (!pool) {
    throw new IpamError(
      "poolUnknown",
      cidr
        ? `the given pool (${text}) does not exist, or is not enabled: no IPPool has this CIDR`
        : `error parsing pool "${text}": it is neither a CIDR nor the name of an IPPool`,
    );
  }
  if (pool.closed) {
    throw new IpamError(
      "poolDisabled",
      `the given pool (${text}) does not exist, or is not enabled: ${pool.closed}`,
    );
  }
  return pool;
}

/** A selector that cannot be read selects nothing: one broken pool must not close the others. */
function selects(
  pool: Pool,
  field: "nodeSelector" | "namespaceSelector",
  labels: Labels,
): boolean {
  return pool[field] === "" || (readSelector(pool[field])?.matches(labels) ?? false);
}

const readSelectors = new Map<string, Selector | undefined>();

/** undefined where it is none. */
export function readSelector(text: string): Selector | undefined {
  if (readSelectors.has(text)) return readSelectors.get(text);
  let selector: Selector | undefined;
  try {
    selector = parseSelector(text);
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error;
  }
  if (readSelectors.size > 1000) readSelectors.clear();
  readSelectors.set(text, selector);
  return selector;
}
