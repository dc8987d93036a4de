/**
 * What is in the table of one family, as far as the reconciler cares: chains with the marks of their
 * rules, sets with their members. It is read from the kernel once, and then kept up by what we commit,
 * until somebody else touches the table.
 */
import { inTurns, type NftClient } from "../../../ffi/nft/client.ts";
import type { NftBase } from "../../../ffi/nft/objects.ts";
import type { NftSet } from "../../../ffi/nft/set.ts";
import {
  NFT_SET_ANONYMOUS,
  NFT_TABLE_F_DORMANT,
  NFT_TABLE_F_OWNER,
} from "../../../ffi/nft/wire.ts";
import type { Family, SetKind } from "../../../policy/rules.ts";
import type { RuleReader } from "./rule_reader.ts";
import { isSameSet, readMembers, setDefinition } from "./sets.ts";
import { nftFamily } from "./terms.ts";

export interface KernelRule {
  /** "" for a rule that is not ours, or is not any more what its mark stands for. */
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
  /**
   * The port id of the socket that alone may change it (flag owner), which is not ours: then nothing
   * of it was read.
   */
  readonly owner?: number;
  readonly chains: Map<string, KernelChain>;
  readonly sets: Map<string, KernelSet>;
}

export function emptyTable(): KernelTable {
  return { exists: false, dormant: false, chains: new Map(), sets: new Map() };
}

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
  reader: RuleReader,
): Promise<TableReading> {
  const reading = { pause: inTurns(), despiteCommits };
  const generation = client.generation();
  const named = { family: nftFamily(family), name };
  const found = client.table(named);
  const chains = new Map<string, KernelChain>();
  const sets = new Map<string, KernelSet>();
  const flags = found?.flags ?? 0;
  const owner = (flags & NFT_TABLE_F_OWNER) !== 0 ? found?.owner ?? 0 : undefined;
  if (found && owner === undefined) {
    const inTable = client.chains(named);
    const all = client.sets(named);
    for (const set of all) {
      if (set.flags & NFT_SET_ANONYMOUS) continue; // belongs to its rule
      let kind = kindOf(set, name, family);
      const elements = kind ? await client.elementsInTurns(set, reading) : [];
      // What a member does beside being one is not known: such a set is made anew.
      if (elements.some(({ strange }) => strange)) kind = undefined;
      sets.set(set.name, { kind, members: kind && readMembers(kind, family, elements) });
    }
    await reader.begin(client, found, all, (set) => sets.get(set)?.kind, reading);
    const read = await client.rulesInTurns(named, (head, expressions) => {
      const { chain, handle } = head;
      return { chain, rule: { mark: reader.mark(head, expressions), handle } };
    }, reading);
    const rules = Map.groupBy(read, ({ chain }) => chain);
    for (const { name, base } of inTable) {
      chains.set(name, { base, rules: rules.get(name)?.map(({ rule }) => rule) ?? [] });
    }
    reader.end();
  }
  const table = {
    exists: found !== undefined,
    dormant: (flags & NFT_TABLE_F_DORMANT) !== 0,
    owner,
    chains,
    sets,
  };
  return { table, generation, whole: client.generation() === generation };
}

function kindOf(set: NftSet, table: string, family: Family): SetKind | undefined {
  return kinds.find((kind) => isSameSet(set, setDefinition(table, family, set.name, kind)));
}
