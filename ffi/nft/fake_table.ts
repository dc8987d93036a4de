/**
 * Tables of the fake nf_tables kernel (fake.ts) as values, and the kernel's rules about them: what is in
 * use, which intervals overlap, what goes with what.
 */
import { NLM_F_EXCL } from "../netlink/constants.ts";
import { compareElements, isEnd, type NftElement } from "./elements.ts";
import type { NftBase, NftRule } from "./objects.ts";
import type { NftSet } from "./set.ts";
import { NFT_SET_ANONYMOUS, NFT_SET_MAP, type NftFamily } from "./wire.ts";

export const ENOENT = 2,
  EBUSY = 16,
  EEXIST = 17,
  EINVAL = 22,
  EMLINK = 31,
  ERESTART = 85,
  EOPNOTSUPP = 95;

export interface FakeRule extends NftRule {
  readonly handle: number;
}

export interface FakeChain {
  readonly name: string;
  readonly base?: NftBase;
  readonly rules: readonly FakeRule[];
}

export interface FakeSet {
  readonly set: NftSet;
  readonly elements: ReadonlyMap<string, NftElement>;
}

export interface FakeTable {
  readonly family: NftFamily;
  readonly name: string;
  /** 1 dormant. */
  readonly flags: number;
  readonly chains: ReadonlyMap<string, FakeChain>;
  readonly sets: ReadonlyMap<string, FakeSet>;
}

/** What a message is refused with. */
export class Refusal {
  constructor(readonly errno: number, readonly offset?: number) {}
}

export type Tables = ReadonlyMap<string, FakeTable>;

export interface ChangingTable {
  family: NftFamily;
  name: string;
  flags: number;
  chains: Map<string, FakeChain>;
  sets: Map<string, FakeSet>;
}

export function tableKey(family: NftFamily, name: string): string {
  return `${family} ${name}`;
}

/** A map key for an element: its bytes, and whether it ends an interval. */
export function elementKey(element: NftElement): string {
  const end = isEnd(element) ? "e" : "";
  return element.key.join() + end + (element.keyEnd ? `-${element.keyEnd.join()}` : "");
}

export function addElement(
  table: ChangingTable,
  set: NftSet,
  elements: Map<string, NftElement>,
  element: NftElement,
  flags: number,
): Refusal | undefined {
  if (element.key.length !== set.keyLength) return new Refusal(EINVAL);
  if (set.flags & NFT_SET_MAP && !element.data && !isEnd(element)) return new Refusal(EINVAL);
  const verdict = element.data?.verdict;
  if (verdict && "chain" in verdict && !table.chains.has(verdict.chain)) {
    return new Refusal(ENOENT);
  }
  const key = elementKey(element);
  const old = elements.get(key);
  if (old) {
    if (flags & NLM_F_EXCL) return new Refusal(EEXIST);
    const sameData = JSON.stringify(old.data?.verdict) === JSON.stringify(verdict);
    return sameData ? undefined : new Refusal(EEXIST);
  }
  elements.set(key, element);
}

/** Whether the elements of a set of one field are beginnings and ends by turns. */
export function areIntervals(set: FakeSet): boolean {
  const sorted = [...set.elements.values()].sort(compareElements);
  let open = false;
  for (const [i, element] of sorted.entries()) {
    // nft puts an end before the first beginning.
    if (isEnd(element) ? !open && i > 0 : open) return false;
    open = !isEnd(element);
  }
  return true;
}

/** Chains to which the rules of a chain lead, by jump, goto or map. */
export function chainTargets(chain: FakeChain, table: FakeTable): string[] {
  const targets: string[] = [];
  for (const rule of chain.rules) {
    for (const expression of rule.expressions) {
      if (expression.kind === "immediate") {
        const { verdict } = expression.data;
        if (verdict && "chain" in verdict) targets.push(verdict.chain);
      } else if (expression.kind === "lookup" && expression.dreg === 0) {
        for (const { data } of table.sets.get(expression.set)?.elements.values() ?? []) {
          if (data?.verdict && "chain" in data.verdict) targets.push(data.verdict.chain);
        }
      }
    }
  }
  return targets;
}

export function isTarget(table: ChangingTable, name: string): boolean {
  for (const chain of table.chains.values()) {
    // Rules of the chain itself go with it.
    if (chain.name === name) continue;
    for (const rule of chain.rules) {
      for (const expression of rule.expressions) {
        const verdict = expression.kind === "immediate" ? expression.data.verdict : undefined;
        if (verdict && "chain" in verdict && verdict.chain === name) return true;
      }
    }
  }
  for (const { elements } of table.sets.values()) {
    for (const { data } of elements.values()) {
      if (data?.verdict && "chain" in data.verdict && data.verdict.chain === name) return true;
    }
  }
  return false;
}

export function isLookedUp(table: ChangingTable, name: string): boolean {
  for (const chain of table.chains.values()) {
    for (const rule of chain.rules) {
      if (rule.expressions.some((e) => e.kind === "lookup" && e.set === name)) return true;
    }
  }
  return false;
}

/** An anonymous set goes with the rule that was made with it. */
export function dropUnusedAnonymous(table: ChangingTable, made = new Map<number, string>()): void {
  const pending = new Set(made.values());
  for (const { set } of [...table.sets.values()]) {
    if (!(set.flags & NFT_SET_ANONYMOUS) || pending.has(set.name)) continue;
    if (!isLookedUp(table, set.name)) table.sets.delete(set.name);
  }
}
