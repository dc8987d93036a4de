/** Pools by themselves and beside each other: which cannot be read, which overlap, which replace another. */
import { formatPrefix, prefixesOverlap } from "../../net/mod.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
import type { Entry } from "../../store/store.ts";
import { judgePool, type Pool } from "../pools.ts";
import type { Finding, Passing } from "./finding.ts";
import { identityFault } from "./object_faults.ts";

/** The pools that can be read, what is wrong with them, and which of them another one replaces. */
export function examinePools(
  entries: readonly Entry[],
): { pools: Pool[]; findings: Finding[]; passing: Passing[] } {
  const pools: Pool[] = [];
  const findings: Finding[] = [];
  const passing: Passing[] = [];
  for (const { key, value } of entries) {
    const subject = parseResourceKey(key)?.name ?? key;
    const pool = judgePool(value);
    if (typeof pool !== "string") pools.push(pool);
    const message = typeof pool === "string"
      ? `pool ${subject} cannot be read: ${pool}`
      : poolFault({ key, value }, subject);
    if (message !== undefined) findings.push({ kind: "poolBroken", subject, message });
  }
  pools.forEach((pool, i) => {
    for (const other of pools.slice(i + 1)) {
      if (!prefixesOverlap(pool.prefix, other.prefix)) continue;
      const [shut, open] = pool.closed === undefined ? [other, pool] : [pool, other];
      if (shut.closed !== undefined) {
        // Two that are closed give nothing, neither of them.
        if (open.closed === undefined) passing.push(replaced(shut, open));
        continue;
      }
      findings.push({
        kind: "poolsOverlap",
        subject: `${pool.name} ${other.name}`,
        message: `pool ${pool.name} (${formatPrefix(pool.prefix)}) overlaps pool ${other.name} ` +
          `(${formatPrefix(other.prefix)})`,
      });
    }
  });
  return { pools, findings, passing };
}

function replaced(shut: Pool, open: Pool): Passing {
  return {
    kind: "poolReplaced",
    subject: `${shut.name} ${open.name}`,
    message:
      `pool ${shut.name} (${formatPrefix(shut.prefix)}, blocks of /${shut.blockSize}) gives ` +
      `nothing (${shut.closed}), and pool ${open.name} (${formatPrefix(open.prefix)}, blocks of ` +
      `/${open.blockSize}) gives addresses of its range`,
  };
}

/** Fields of a pool that its readers cannot make sense of, though IPAM gives its addresses. */
function poolFault(entry: Pick<Entry, "key" | "value">, subject: string): string | undefined {
  const identity = identityFault(entry, "IPPool");
  if (identity !== undefined) return `pool ${subject} cannot be read by Calico: ${identity}`;
  const { spec = {} } = entry.value as { spec?: Record<string, unknown> };
  for (const [type, fields] of Object.entries(POOL_FIELDS)) {
    for (const field of fields) {
      const found = spec[field] ?? undefined;
      if (found === undefined || typeof found === type) continue;
      return `pool ${subject} cannot be read by Calico: its ${field} is ${show(found)}`;
    }
  }
}

/** By the type of their values; what decides about IPAM's own reading is judged there (`pools.ts`). */
const POOL_FIELDS = {
  string: ["vxlanMode", "ipipMode", "assignmentMode"],
  boolean: ["natOutgoing", "disableBGPExport"],
} as const;
