/**
 * A pool split into 2^n smaller ones, after `calicoctl ipam split`:
 *
 *     the pool is disabled and marked -> split-<pool>-<i> are created -> the pool is deleted
 *
 * without a look at other pools, and without letting go of blocks: blocks and addresses stay as they
 * are, and belong to the new pools from then on. The mark (an annotation on the old pool) says into how
 * many it is being split and whether it was disabled before. Who finds it goes on where it was cut off,
 * for the same number, or takes it all back first (`undoSplit`).
 */
import {
  addressBits,
  formatPrefix,
  ipFromBigInt,
  ipToBigInt,
  parsePrefix,
  type Prefix,
  prefixSize,
} from "../net/mod.ts";
import { type IPPool, ippoolKind } from "../model/ippool.ts";
import { refuseOtherVersion } from "../store/other_version.ts";
import { resourceName } from "../store/resource_error.ts";
import { ResourceError, type Resources } from "../store/resources.ts";

export const SPLIT_ANNOTATION = "tortie.projectcalico.org/split";

/** Why a pool cannot be split so; the text is the message. */
export class SplitError extends Error {
  override readonly name = "SplitError";
}

interface SplitMark {
  readonly parts: number;
  /** As the pool was before. */
  readonly disabled: boolean;
}

/** The parts of a network, in order; SplitError where it has not so many, or not a power of two. */
export function splitPrefix(
  prefix: Prefix,
  parts: number,
  blockSize: number = addressBits(prefix.ip.family),
): Prefix[] {
  const power = Math.log2(parts);
  if (!Number.isInteger(power) || power < 1) {
    throw new SplitError(`number to split CIDR into is not a valid power of 2: ${parts}`);
  }
  const length = prefix.length + power;
  if (length > blockSize) {
    throw new SplitError(
      `the CIDR ${formatPrefix(prefix)} is not large enough to be split into ${parts} parts` +
        (length <= addressBits(prefix.ip.family)
          ? `: each must hold a block of /${blockSize}`
          : ""),
    );
  }
  const first = ipToBigInt(prefix.ip);
  const size = prefixSize({ ip: prefix.ip, length });
  return Array.from({ length: parts }, (_, i) => ({
    ip: ipFromBigInt(prefix.ip.family, first + size * BigInt(i)),
    length,
  }));
}

/** Names have at most 253 characters; Calico cuts the pool's. */
export function splitName(pool: string, part: number): string {
  const name = `split-${pool}-${part}`;
  return name.length > 253 ? `split-${pool.slice(0, 245)}-${part}` : name;
}

/** The new pools, without what belongs to the old object alone. */
export function splitPools(pool: IPPool, parts: number): IPPool[] {
  const prefix = parsePrefix(pool.spec.cidr);
  if (!prefix) {
    throw new SplitError(`error reading CIDR ${pool.spec.cidr} before attempting to split it`);
  }
  const { labels, annotations } = pool.metadata;
  const { [SPLIT_ANNOTATION]: _, ...kept } = annotations ?? {};
  return splitPrefix(prefix, parts, pool.spec.blockSize).map((part, i) => ({
    kind: pool.kind,
    apiVersion: pool.apiVersion,
    metadata: {
      name: splitName(pool.metadata.name, i),
      ...(labels && { labels }),
      ...(Object.keys(kept).length > 0 && { annotations: kept }),
    },
    spec: { ...pool.spec, cidr: formatPrefix(part), disabled: false },
  } as IPPool));
}

/** The split of a pool that was begun and not ended. */
export function splitMark(pool: IPPool): SplitMark | undefined {
  try {
    const mark = JSON.parse(pool.metadata.annotations?.[SPLIT_ANNOTATION] ?? "");
    return Number.isInteger(mark?.parts)
      ? { parts: mark.parts, disabled: mark.disabled === true }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Splits the pool, or ends its split that was cut off. The new pools. */
export async function splitPool(
  resources: Resources,
  name: string,
  parts: number,
): Promise<IPPool[]> {
  let pool = await poolToSplit(resources, name);
  splitPools(pool, parts); // refuses before anything is written
  const begun = splitMark(pool);
  if (begun && begun.parts !== parts) await undoSplit(resources, name);
  pool = await resources.modify(ippoolKind, name, undefined, (stored: IPPool) => {
    if (splitMark(stored)?.parts === parts && stored.spec.disabled) return undefined;
    return marked(stored, { parts, disabled: stored.spec.disabled });
  }, { unchecked: true });
  const made = splitPools(pool, parts);
  for (const part of made) await createPart(resources, pool, part);
  await resources.delete(ippoolKind, name, undefined, { unsafe: true });
  return made;
}

/** Of another version it is refused: nobody knows what its parts would have to say. */
async function poolToSplit(resources: Resources, name: string): Promise<IPPool> {
  const pool = await resources.mustGet(ippoolKind, name);
  refuseOtherVersion(ippoolKind, resourceName(ippoolKind.kind, name), pool);
  return pool;
}

function marked(pool: IPPool, mark: SplitMark): IPPool {
  const annotations = { ...pool.metadata.annotations, [SPLIT_ANNOTATION]: JSON.stringify(mark) };
  return {
    ...pool,
    metadata: { ...pool.metadata, annotations },
    spec: { ...pool.spec, disabled: true },
  };
}

async function createPart(resources: Resources, pool: IPPool, part: IPPool): Promise<void> {
  try {
    await resources.create(ippoolKind, part as any, { unsafe: true, keepUnknown: true });
  } catch (error) {
    if (!(error instanceof ResourceError && error.kind === "exists")) throw error;
    // Made before the split was cut off, or somebody's who had the name.
    const there = await resources.mustGet(ippoolKind, part.metadata.name);
    if (there.spec.cidr === part.spec.cidr) return;
    throw new SplitError(
      `error using unsafe create to make split pool with cidr ${part.spec.cidr}: IPPool ` +
        `${part.metadata.name} exists with ${there.spec.cidr}; rename or delete it, then run the ` +
        `split of ${pool.metadata.name} again`,
    );
  }
}

/** Takes a split back that was begun and not ended: its pools go, the old one is as it was. */
export async function undoSplit(resources: Resources, name: string): Promise<void> {
  const pool = await poolToSplit(resources, name);
  const begun = splitMark(pool);
  if (!begun) throw new SplitError(`IPPool ${name} is not being split`);
  for (const part of splitPools(pool, begun.parts)) {
    const there = await resources.get(ippoolKind, part.metadata.name);
    if (there?.spec.cidr !== part.spec.cidr) continue;
    await resources.delete(ippoolKind, part.metadata.name, undefined, { unsafe: true });
  }
  await resources.modify(ippoolKind, name, undefined, (stored: IPPool) => {
    const { [SPLIT_ANNOTATION]: mark, ...annotations } = stored.metadata.annotations ?? {};
    if (mark === undefined) return undefined;
    const metadata = { ...stored.metadata, annotations };
    if (Object.keys(annotations).length === 0) {
      delete (metadata as { annotations?: unknown }).annotations;
    }
    return { ...stored, metadata, spec: { ...stored.spec, disabled: begun.disabled } };
  }, { unchecked: true });
}
