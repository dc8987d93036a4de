/**
 * The skeleton of a ruleset: what can be in the kernel within a moment, however much the whole is. It
 * is closed. Of the static chains all is there; where these would look for an interface's own chain,
 * the skeleton asks only what holds for all endpoints (`commonRules`): connections that policy has cut
 * stay cut, those that it has allowed live on, everything else from or to a pod is dropped. Translation
 * of addresses goes on, and so does neighbour discovery.
 *
 * It is made of the whole's own rules under the whole's own names, so the way from one to the other is
 * an ordinary difference, for whichever process finds it in the kernel.
 */
import { chains } from "./names.ts";
import type { Chain, Rule, RulesView } from "./rules.ts";

/** By the map that leads to an endpoint's chain: what holds for all of them. */
const commonOf = new Map<string, string>([
  [chains.fromWorkload, chains.fromCommon],
  [chains.toWorkload, chains.toCommon],
]);

export interface Skeleton {
  readonly chains: ReadonlyMap<string, Chain>;
  /** Names of the sets that they use. */
  readonly sets: ReadonlySet<string>;
}

/** The skeleton of these chains: what is reached from the kernel's hooks, but for what maps lead to. */
export function skeletonOf(all: RulesView["chains"]): Skeleton {
  const kept = new Map<string, Chain>();
  const sets = new Set<string>();
  const visit = (chain: Chain | undefined) => {
    if (!chain || kept.has(chain.name)) return;
    const rules = chain.rules.flatMap((rule) => closed(rule, all));
    const same = rules.every((rule, i) => rule === chain.rules[i]);
    kept.set(chain.name, same ? chain : { ...chain, rules });
    for (const { statements } of rules) {
      for (const statement of statements) {
        if ("set" in statement) sets.add(statement.set);
        if ("do" in statement && (statement.do === "jump" || statement.do === "goto")) {
          visit(all.get(statement.chain));
        }
      }
    }
  };
  for (const chain of all.values()) if (chain.base) visit(chain);
  return { chains: kept, sets };
}

/**
 * A rule as it stands in the skeleton. None where it leads to something of an endpoint's own and nothing
 * holds for all: its limits, say.
 */
function closed(rule: Rule, all: RulesView["chains"]): Rule[] {
  const maps = rule.statements.flatMap((s) => "do" in s && s.do === "vmap" ? [s.map] : []);
  if (maps.length === 0) return [rule];
  const chain = commonOf.get(maps[0]);
  if (chain === undefined || !all.has(chain)) return [];
  return [{ statements: [{ do: "jump", chain }], origin: { is: "static" } }];
}
