/**
 * Pools beside what is stored (Calico's clientv3/ippool.go): a pool keeps its CIDR and block size, and
 * a pool that is deleted is disabled first and lets go of its blocks.
 *
 * Two pools that are enabled may not overlap. One that is disabled gives nothing, so another may have
 * its range: that is how a cluster comes to another block size (or CIDR) under running pods, for which
 * Calico's way is to delete them all:
 *
 *     disable the old pool -> create the new one over its range -> pods come and go -> delete the old one
 *
 * IPAM lets the old blocks drain and claims around them. Their nodes keep them when the old pool is
 * deleted, since another pool has the range: their pods stay reachable.
 *
 * kubectl writes crd.projectcalico.org/v1 without any of these checks.
 */
import {
  formatPrefix,
  mustPrefix,
  parsePrefix,
  type Prefix,
  prefixCovers,
  prefixesOverlap,
  prefixFamily,
} from "../net/mod.ts";
import { type IPPool, ippoolKind } from "../model/ippool.ts";
import { blockPrefix, parseBlockKey } from "../model/keys.ts";
import type { Issue } from "../model/kind.ts";
import { isJsonObject } from "./json.ts";
import type { StoreRules } from "./resource_rules.ts";
import type { Resources } from "./resources.ts";

export const poolRules: StoreRules<IPPool> = {
  async check(resources, pool, old, mode) {
    const cidr = parsePrefix(pool.spec.cidr);
    if (!cidr) return [{ path: "spec.cidr", message: `"${pool.spec.cidr}" is not a CIDR` }];
    const issues = old ? changedPool(pool, old) : [];
    if (mode.unsafe || mode.crd) return issues;
    const opened = !pool.spec.disabled && (!old || old.spec.disabled);
    if (old && !opened) return issues;
    const others = await overlapping(resources, pool.metadata.name, cidr);
    const rival = pool.spec.disabled ? undefined : others.find((p) => !p.spec.disabled);
    if (rival) issues.push(overlapIssue(pool, rival, old !== undefined));
    if (old) return issues;
    const allowed = others.filter(({ spec }) => spec.disabled || pool.spec.disabled);
    const block = await blockOfOtherSize(resources, cidr, pool, allowed);
    if (block) {
      issues.push({
        path: "spec.blockSize",
        message: `${pool.spec.blockSize} does not fit the block ${formatPrefix(block)}, which is ` +
          "still in use; use its size, release its addresses, or first create a pool of that size " +
          "over it with disabled: true: then its addresses may stay until they are released",
      });
    }
    return issues;
  },

  async beforeDelete(resources, pool, mode) {
    // New addresses must end before the blocks are let go, or a node claims one behind our back.
    if (!pool.spec.disabled) {
      pool = await resources.update(ippoolKind, {
        ...pool,
        spec: { ...pool.spec, disabled: true },
      }, { unchecked: true });
    }
    if (mode.unsafe) return pool;
    const cidr = mustPrefix(pool.spec.cidr);
    const heirs = (await overlapping(resources, pool.metadata.name, cidr))
      .map(({ spec }) => mustPrefix(spec.cidr));
    await resources.options.releasePoolAffinities?.(cidr, heirs);
    return pool;
  },

  // Nobody assigns from a pool that cannot be read. Its blocks are let go where its CIDR can be.
  async beforeDeleteDamaged(resources, { metadata }, { value }) {
    const spec = isJsonObject(value) && isJsonObject(value.spec) ? value.spec : {};
    const cidr = typeof spec.cidr === "string" ? parsePrefix(spec.cidr) : undefined;
    if (!cidr) return;
    const heirs = await overlapping(resources, metadata.name, cidr);
    await resources.options.releasePoolAffinities?.(
      cidr,
      heirs.map((p) => mustPrefix(p.spec.cidr)),
    );
  },

  cutOff({ metadata: { name }, spec: { disabled } }) {
    const state = disabled ? "is" : "may be";
    return `pool ${name} is not deleted, and ${state} disabled by now: delete it again, or enable it ` +
      "(spec.disabled: false)";
  },
};

/** All other pools that overlap a range. */
async function overlapping(resources: Resources, name: string, cidr: Prefix): Promise<IPPool[]> {
  return (await resources.list(ippoolKind)).items.filter((other) => {
    const range = parsePrefix(other.spec.cidr);
    return other.metadata.name !== name && range && prefixesOverlap(cidr, range);
  });
}

function overlapIssue(pool: IPPool, rival: IPPool, stored: boolean): Issue {
  const remedy = `disable ${rival.metadata.name} first (its pods keep their addresses)`;
  return {
    path: stored ? "spec.disabled" : "spec.cidr",
    message: `${pool.spec.cidr} of pool ${pool.metadata.name} overlaps with ` +
      `${rival.spec.cidr} of pool ${rival.metadata.name}; ` +
      (stored ? remedy : `choose a range that is free, or ${remedy}`),
  };
}

function changedPool(pool: IPPool, old: IPPool): Issue[] {
  const issues: Issue[] = [];
  if (old.spec.cidr !== pool.spec.cidr) {
    issues.push({
      path: "spec.cidr",
      message: `${pool.spec.cidr} is not allowed: a pool's CIDR cannot be changed (it is ` +
        `${old.spec.cidr}); ${anotherPool(old)}`,
    });
  }
  if (old.spec.blockSize !== pool.spec.blockSize) {
    issues.push({
      path: "spec.blockSize",
      message: `${pool.spec.blockSize} is not allowed: a pool's block size cannot be changed (it ` +
        `is ${old.spec.blockSize}); ${anotherPool(old)}`,
    });
  }
  const wasLoadBalancer = old.spec.allowedUses.includes("LoadBalancer");
  if (wasLoadBalancer && pool.spec.allowedUses.some((use) => use !== "LoadBalancer")) {
    issues.push({
      path: "spec.allowedUses",
      message: "a LoadBalancer pool cannot be changed to another use; create another pool",
    });
  }
  return issues;
}

function anotherPool({ metadata: { name } }: IPPool): string {
  return `disable ${name}, create another pool (also over its range, under another name), and delete ` +
    `${name} when you like: pods keep their addresses`;
}

/** A block in the range that would be none of the pool's, and that no pool which may overlap it has. */
async function blockOfOtherSize(
  resources: Resources,
  cidr: Prefix,
  pool: IPPool,
  allowed: readonly IPPool[],
): Promise<Prefix | undefined> {
  const known = allowed.map(({ spec }) => mustPrefix(spec.cidr));
  const { entries, broken = [] } = await resources.store.list(blockPrefix(prefixFamily(cidr)));
  // One that cannot be read has addresses of pods all the same.
  for (const { key } of [...entries, ...broken]) {
    const block = parseBlockKey(key);
    if (!block || block.length === pool.spec.blockSize || !prefixesOverlap(block, cidr)) continue;
    if (!known.some((range) => prefixCovers(range, block))) return block;
  }
  return undefined;
}
