/**
 * Pools beside what is stored: they may not overlap and fit the blocks that are there (unless kubectl
 * writes them as crd.projectcalico.org/v1, where nothing looks at other objects; IPAM lets blocks of
 * another size drain, and claims around them), and they keep their CIDR and block size. A pool that is deleted is disabled first and lets go
 * of its blocks (Calico's clientv3/ippool.go).
 */
import {
  formatPrefix,
  mustPrefix,
  parsePrefix,
  type Prefix,
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
    const issues: Issue[] = [];
    const cidr = parsePrefix(pool.spec.cidr);
    if (!cidr) return [{ path: "spec.cidr", message: `"${pool.spec.cidr}" is not a CIDR` }];
    if (old) return changedPool(pool, old);
    if (!mode.unsafe && !mode.crd) {
      for (const other of (await resources.list(ippoolKind)).items) {
        const otherCidr = parsePrefix(other.spec.cidr);
        if (other.metadata.name === pool.metadata.name || !otherCidr) continue;
        if (!prefixesOverlap(cidr, otherCidr)) continue;
        issues.push({
          path: "spec.cidr",
          message: `${pool.spec.cidr} of pool ${pool.metadata.name} overlaps with ` +
            `${other.spec.cidr} of pool ${other.metadata.name}; choose a range that is free`,
        });
      }
    }
    const block = mode.unsafe || mode.crd
      ? undefined
      : await blockOfOtherSize(resources, cidr, pool);
    if (block) {
      issues.push({
        path: "spec.blockSize",
        message: `${pool.spec.blockSize} does not fit the block ${formatPrefix(block)}, which is ` +
          "still in use; use its size or release its addresses",
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
    await resources.options.releasePoolAffinities?.(mustPrefix(pool.spec.cidr));
    return pool;
  },

  // Nobody assigns from a pool that cannot be read. Its blocks are let go where its CIDR can be.
  async beforeDeleteDamaged(resources, _pool, { value }) {
    const spec = isJsonObject(value) && isJsonObject(value.spec) ? value.spec : {};
    const cidr = typeof spec.cidr === "string" ? parsePrefix(spec.cidr) : undefined;
    if (cidr) await resources.options.releasePoolAffinities?.(cidr);
  },
};

function changedPool(pool: IPPool, old: IPPool): Issue[] {
  const issues: Issue[] = [];
  if (old.spec.cidr !== pool.spec.cidr) {
    issues.push({
      path: "spec.cidr",
      message: `${pool.spec.cidr} is not allowed: a pool's CIDR cannot be changed (it is ` +
        `${old.spec.cidr}); create another pool`,
    });
  }
  if (old.spec.blockSize !== pool.spec.blockSize) {
    issues.push({
      path: "spec.blockSize",
      message: `${pool.spec.blockSize} is not allowed: a pool's block size cannot be changed (it ` +
        `is ${old.spec.blockSize}); create another pool`,
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

async function blockOfOtherSize(
  resources: Resources,
  cidr: Prefix,
  pool: IPPool,
): Promise<Prefix | undefined> {
  const { entries } = await resources.store.list(blockPrefix(prefixFamily(cidr)));
  for (const { key } of entries) {
    const block = parseBlockKey(key);
    if (block && block.length !== pool.spec.blockSize && prefixesOverlap(block, cidr)) return block;
  }
  return undefined;
}
