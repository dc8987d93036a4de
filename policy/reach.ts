/**
 * Whom does a change of the rules concern? A delta names chains and sets; the dispatch maps say which
 * chain each local interface goes through, and jumps lead from there to groups, policies and profiles.
 * An interface is concerned where its walk meets a changed chain, or a rule that asks a changed set.
 */
import { directions } from "./effective.ts";
import { chains } from "./names.ts";
import { dispatchMaps } from "./render_endpoint.ts";
import type { Chain, Family, RulesetDelta, RulesView } from "./rules.ts";

/** Chains and sets of one family that have changed. */
export interface TouchedNames {
  readonly chains: ReadonlySet<string>;
  readonly sets: ReadonlySet<string>;
}

/** What several deltas have touched. */
export class Touched {
  readonly #names: Readonly<Record<Family, { chains: Set<string>; sets: Set<string> }>> = {
    4: { chains: new Set(), sets: new Set() },
    6: { chains: new Set(), sets: new Set() },
  };

  get isEmpty(): boolean {
    return Object.values(this.#names).every(({ chains, sets }) => chains.size + sets.size === 0);
  }

  of(family: Family): TouchedNames {
    return this.#names[family];
  }

  addDelta({ family, chains, sets }: Pick<RulesetDelta, "family" | "chains" | "sets">): void {
    for (const name of chains.keys()) this.#names[family].chains.add(name);
    for (const name of sets.keys()) this.#names[family].sets.add(name);
  }

  /** As if all rules had changed. */
  addEverything(): void {
    for (const { chains } of Object.values(this.#names)) for (const c of shared) chains.add(c);
  }

  add(other: Touched): void {
    for (const family of [4, 6] as const) {
      const { chains, sets } = other.of(family);
      for (const name of chains) this.#names[family].chains.add(name);
      for (const name of sets) this.#names[family].sets.add(name);
    }
  }
}

/** Chains that every packet of a pod goes through before its interface's own. */
const shared: readonly string[] = [
  chains.filterForward,
  chains.forward,
  chains.fromWorkload,
  chains.toWorkload,
];

/** Local interfaces whose rules meet a changed chain or set. */
export function touchedInterfaces(ruleset: RulesView, touched: TouchedNames): Set<string> {
  const result = new Set<string>();
  if (touched.chains.size + touched.sets.size === 0) return result;
  const all = shared.some((name) => touched.chains.has(name));
  // Of chains that several lead to. An interface's own is met once: nothing is kept of it, for this is
  // done at each change, among thousands.
  const known = new Map<string, boolean>();
  const isTouched = (name: string): boolean => {
    const before = known.get(name);
    if (before !== undefined) return before;
    known.set(name, false); // chains do not call themselves; a broken ruleset must not hang us
    const found = isMet(name);
    known.set(name, found);
    return found;
  };
  const isMet = (name: string): boolean => {
    if (touched.chains.has(name)) return true;
    const chain = ruleset.chains.get(name);
    return chain !== undefined && meets(chain, touched.sets, isTouched);
  };
  for (const direction of directions) {
    const map = ruleset.sets.get(dispatchMaps[direction]);
    if (map?.kind !== "verdict-map") continue;
    map.members.forEach((verdict, name) => {
      if (all || ("chain" in verdict && isMet(verdict.chain))) result.add(name);
    });
  }
  return result;
}

function meets(
  chain: Chain,
  sets: ReadonlySet<string>,
  isTouched: (chain: string) => boolean,
): boolean {
  const named = namesIn(chain);
  return named.sets.some((name) => sets.has(name)) || named.chains.some(isTouched);
}

interface Named {
  readonly sets: readonly string[];
  readonly chains: readonly string[];
}

/** Chains are values: what one names is looked up once, and thousands are asked at each change. */
const known = new WeakMap<Chain, Named>();

function namesIn(chain: Chain): Named {
  let named = known.get(chain);
  if (!named) {
    const sets = new Set<string>(), chains = new Set<string>();
    for (const { statements } of chain.rules) {
      for (const s of statements) {
        if ("set" in s) sets.add(s.set);
        else if ("do" in s && "chain" in s) chains.add(s.chain);
      }
    }
    known.set(chain, named = { sets: [...sets], chains: [...chains] });
  }
  return named;
}
