/**
 * What is in the table of one family, as far as the reconciler cares: chains with the marks of their
 * rules, sets with their members. It is read from the kernel once, and then kept up by what we commit,
 * until somebody else touches the table.
 */
import { inTurns, type NftClient } from "../../../ffi/nft/client.ts";
import type { NftBase } from "../../../ffi/nft/objects.ts";
import type { NftSet } from "../../../ffi/nft/set.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import type { Family, SetKind } from "../../../policy/rules.ts";
import { readMark } from "./compile.ts";
import { isSameSet, readMembers, setDefinition } from "./sets.ts";
import { nftFamily } from "./terms.ts";

export interface KernelRule {
  /** "" for a rule that is not ours. */
  readonly mark: string;
  /** Undefined for a rule that we made and of which the kernel has not been asked since. */
  readonly handle?: number;
}

export interface KernelChain {
  readonly base?: NftBase;
  readonly rules: readonly KernelRule[];
}

export interface KernelSet {
  /** Undefined: not one of our kinds. */
  readonly kind: SetKind | undefined;
  /**
   * Its members as they were read. Undefined once they were told to be as wanted: then they are, and
   * two copies of a hundred thousand addresses are spared.
   */
  readonly members: ReadonlyMap<string, string> | undefined;
}

/** A table as it was read, or as we left it. */
export interface KernelTable {
  readonly exists: boolean;
  /** Switched off by somebody (flag dormant). */
  readonly dormant: boolean;
  readonly chains: Map<string, KernelChain>;
  readonly sets: Map<string, KernelSet>;
}

export function emptyTable(): KernelTable {
  return { exists: false, dormant: false, chains: new Map(), sets: new Map() };
}

const NFT_TABLE_F_DORMANT = 1;
const kinds: readonly SetKind[] = ["addr", "net", "addr-port", "verdict-map"];

export interface TableReading {
  readonly table: KernelTable;
  /** The generation when the reading began. */
  readonly generation: number;
  /** No commit fell into it. */
  readonly whole: boolean;
}

/**
 * Reads a table with everything in it. Lets the event loop live meanwhile. `despiteCommits`: the
 * caller hears of commits (see Reading).
 */
export async function readTable(
  client: NftClient,
  name: string,
  family: Family,
  despiteCommits: boolean,
): Promise<TableReading> {
  const reading = { pause: inTurns(), despiteCommits };
  const found = await client.snapshot({ family: nftFamily(family), name }, reading);
  const rules = new Map<string, KernelRule[]>();
  for (const { chain, handle, userdata } of found.rules) {
    let list = rules.get(chain);
    if (!list) rules.set(chain, list = []);
    list.push({ mark: readMark(readComment(userdata)), handle });
  }
  const chains = new Map<string, KernelChain>();
  for (const chain of found.chains) {
    chains.set(chain.name, { base: chain.base, rules: rules.get(chain.name) ?? [] });
  }
  const sets = new Map<string, KernelSet>();
  for (const set of found.sets) {
    const kind = kindOf(set, name, family);
    const members = kind && readMembers(kind, family, await client.elementsInTurns(set, reading));
    sets.set(set.name, { kind, members });
  }
  const table = {
    exists: found.table !== undefined,
    dormant: ((found.table?.flags ?? 0) & NFT_TABLE_F_DORMANT) !== 0,
    chains,
    sets,
  };
  const whole = found.whole && client.generation() === found.generation;
  return { table, generation: found.generation, whole };
}

function kindOf(set: NftSet, table: string, family: Family): SetKind | undefined {
  return kinds.find((kind) => isSameSet(set, setDefinition(table, family, set.name, kind)));
}
