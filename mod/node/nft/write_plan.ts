/**
 * A plan as the messages of one transaction. The only question to the kernel is for the handles of the
 * rules of a chain that is to be changed in its middle.
 *
 * Order in the transaction: nothing may be named before it is there, nothing may go while it is named.
 * So: members and rules go, then sets, then chains; sets and chains come, then members, then rules.
 * What changes its kind (a set from addresses to networks, a chain from one hook to another) goes and
 * comes under the same name.
 */
import type { NftElement } from "../../../ffi/nft/elements.ts";
import type { RulePlace, Transaction } from "../../../ffi/nft/transaction.ts";
import { commentUserdata, setUserdata } from "../../../ffi/nft/userdata.ts";
import {
  NFT_SET_ANONYMOUS,
  NFT_SET_CONSTANT,
  NFT_SET_INTERVAL,
  nftTypes,
} from "../../../ffi/nft/wire.ts";
import type { CompiledRule } from "./compile.ts";
import type { ChainPlan, Members, SetPlan, TablePlan } from "./plan.ts";
import { memberElements, setDefinition } from "./sets.ts";
import { anonymousName, CompileError, kernelName, nftFamily } from "./terms.ts";

/** The handles of the rules of a chain, in their order. */
export type HandleReader = (chain: string) => readonly number[];

/** Members that are written without a pause: a millisecond's work. */
const chunk = 1000;

/** Something that is to be in a set and is no member of it. */
export interface NoMember {
  readonly set: string;
  readonly member: string;
  readonly why: string;
}

/**
 * Writes a plan's messages; gives back the members that cannot be said, which are not written. `handles` is asked where a rule that we made must be named; `pause` is
 * called again and again between members of large sets.
 */
export async function writePlan(
  tx: Transaction,
  plan: TablePlan,
  handles: HandleReader,
  pause: () => Promise<void> | void,
): Promise<NoMember[]> {
  const { table, family: ipFamily } = plan;
  const wrong: NoMember[] = [];
  const family = nftFamily(ipFamily);
  const setRef = (name: string, id?: number) => ({ family, table, name: kernelName(name), id });
  const elements = ({ name, kind }: SetPlan, members: Members, values: boolean): NftElement[] =>
    members.flatMap(([member, value]) => {
      try {
        return memberElements(
          name,
          kind,
          ipFamily,
          member,
          values && value !== "" ? value : undefined,
        );
      } catch (error) {
        if (!(error instanceof CompileError)) throw error;
        wrong.push({ set: name, member, why: error.message });
        return [];
      }
    });
  const inChunks = async (members: Members, write: (part: Members) => void) => {
    for (let from = 0; from < members.length; from += chunk) {
      write(members.length <= chunk ? members : members.slice(from, from + chunk));
      const turn = pause();
      if (turn) await turn;
    }
  };

  if (plan.make === "replace") tx.deleteTable({ family, name: table });
  if (plan.make !== "no") tx.addTable({ family, name: table, flags: 0 });

  for (const set of plan.sets) {
    if (set.create) continue;
    await inChunks(
      set.remove,
      (part) => tx.deleteElements(setRef(set.name), elements(set, part, false)),
    );
  }
  const chainHandles = new Map<string, readonly number[]>();
  const handleOf = ({ name, old }: ChainPlan, index: number): number => {
    const known = old[index].handle;
    if (known !== undefined) return known;
    let read = chainHandles.get(name);
    if (!read) chainHandles.set(name, read = handles(name));
    return read[index];
  };
  for (const name of plan.deleteChains) tx.flushChain({ family, table, name });
  for (const chain of plan.chains) {
    if (chain.flush) tx.flushChain({ family, table, name: chain.name });
    for (const step of chain.edits) {
      if (step.edit !== "delete") continue;
      tx.deleteRule({ family, table, chain: chain.name, handle: handleOf(chain, step.index) });
    }
  }
  for (const name of plan.deleteSets) tx.deleteSet(setRef(name));
  for (const name of plan.deleteChains) tx.deleteChain({ family, table, name });

  const ids = new Map<string, number>();
  for (const { name, kind, create } of plan.sets) {
    if (!create) continue;
    const id = tx.nextSetId();
    ids.set(name, id);
    tx.addSet(setDefinition(table, ipFamily, name, kind, id));
  }
  for (const { name, make } of plan.chains) {
    if (make) tx.addChain({ family, table, name, base: make.base });
  }
  for (const set of plan.sets) {
    const ref = setRef(set.name, ids.get(set.name));
    await inChunks(set.add, (part) => tx.addElements(ref, elements(set, part, true)));
  }
  for (const chain of plan.chains) {
    for (const step of chain.edits) {
      if (step.edit === "delete") continue;
      const place: RulePlace = step.edit === "append"
        ? "append"
        : { before: handleOf(chain, step.before) };
      addRule(tx, plan, chain.name, chain.compiled[step.index], place);
    }
  }
  return wrong;
}

function addRule(
  tx: Transaction,
  { table, family: ipFamily }: TablePlan,
  chain: string,
  rule: CompiledRule,
  place: RulePlace,
): void {
  const family = nftFamily(ipFamily);
  const ids = rule.anonymous.map(({ hasIntervals, elements }) => {
    const set = { family, table, name: anonymousName, id: tx.nextSetId() };
    tx.addSet({
      ...set,
      flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | (hasIntervals ? NFT_SET_INTERVAL : 0),
      keyType: nftTypes.inet_service,
      keyLength: 2,
      size: elements.length,
      userdata: setUserdata("network"),
    });
    tx.addElements(set, elements);
    return set.id;
  });
  const expressions = ids.length === 0
    ? rule.expressions
    : rule.expressions.map((e) =>
      e.kind === "lookup" && e.setId !== undefined ? { ...e, setId: ids[e.setId - 1] } : e
    );
  const userdata = commentUserdata(rule.comment);
  tx.addRule({ family, table, chain, expressions, userdata }, place);
}
