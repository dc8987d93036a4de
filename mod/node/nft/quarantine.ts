/**
 * What of a ruleset cannot be made, so that it does not hold up all the rest: one transaction makes the
 * table, and the kernel takes it whole or not at all.
 *
 *   a chain   of policies, profiles, groups or endpoints whose rules cannot be said (CompileError), or that
 *             the kernel refuses time and again: in its place stands one that drops. Who jumps to it is
 *             as closed as if the policy denied everything.
 *   members   of a set that are none, or all of a set's that the kernel refuses: they are left out. Where
 *             a rule asks for them only to allow, that closes. A chain with any other rule that names the
 *             set (one that denies, or that asks for who is not in it) drops, as above.
 *
 * The chains that are the same on every node are not put aside: who is no endpoint goes through them, too,
 * and nothing in them comes out of policies. What is here is tried again when the chain or the set is
 * another, and what the kernel refused also with each new look at the whole. Pure.
 */
import { policyLabel, servesEndpointsAlone } from "../../../policy/names.ts";
import { marks } from "../../../policy/parameters.ts";
import type { Chain, Rule } from "../../../policy/rules.ts";
import type { WantedSet } from "./wanted.ts";

interface PutAside {
  readonly chain: Chain;
  readonly why: string;
  /** The kernel has refused it: that may end by itself. */
  readonly refused: boolean;
}

interface LeftOut {
  readonly set: WantedSet;
  readonly why: string;
  /** Undefined: all. */
  readonly members: ReadonlySet<string> | undefined;
}

export class Quarantine {
  /** By policy's names. */
  readonly #chains = new Map<string, PutAside>();
  readonly #sets = new Map<string, LeftOut>();

  get isEmpty(): boolean {
    return this.#chains.size + this.#sets.size === 0;
  }

  /** What stands in the place of a chain; undefined: itself. */
  standIn(chain: Chain): Chain | undefined {
    const aside = this.#chains.get(chain.name);
    if (aside?.chain === chain) return closed(chain);
    if (aside) this.#chains.delete(chain.name);
    if (this.#sets.size === 0 || !servesEndpointsAlone(chain.name)) return undefined;
    const opens = chain.rules.some((rule) => [...this.#sets.keys()].some((s) => needs(rule, s)));
    return opens ? closed(chain) : undefined;
  }

  /** Puts a chain aside; false: it is none that may be. */
  putAside(chain: Chain, why: string, refused = false): boolean {
    if (!servesEndpointsAlone(chain.name) || this.#chains.get(chain.name)?.chain === chain) {
      return false;
    }
    this.#chains.set(chain.name, { chain, why, refused });
    return true;
  }

  /** Leaves members of a set out; false: they are out already. */
  leaveOut(set: WantedSet, why: string, members: Iterable<string> | undefined): boolean {
    const before = this.#sets.get(set.name);
    if (before?.set === set && before.members === undefined) return false;
    const known = before?.set === set ? before.members! : [];
    const all = members && new Set([...known, ...members]);
    this.#sets.set(set.name, { set, why, members: all });
    return true;
  }

  isLeftOut(set: string, member: string): boolean {
    const left = this.#sets.get(set);
    return left !== undefined && (left.members?.has(member) ?? true);
  }

  hasSet(name: string): boolean {
    return this.#sets.has(name);
  }

  /** A set is to be tried as it is now. */
  releaseSet(name: string): void {
    this.#sets.delete(name);
  }

  /** Forgets chains and sets that are no more, or others now. Whether a set was among them. */
  prune(chains: ReadonlyMap<string, Chain>, sets: ReadonlyMap<string, WantedSet>): boolean {
    let any = false;
    for (const [name, { chain }] of this.#chains) {
      if (chains.get(name) !== chain) this.#chains.delete(name);
    }
    for (const [name, { set, members }] of this.#sets) {
      const still = sets.get(name) === set &&
        (members === undefined || [...members].some((member) => set.members.has(member)));
      if (!still) any = this.#sets.delete(name);
    }
    return any;
  }

  /** What the kernel refused is to be tried again. Whether there is any. */
  releaseRefused(): boolean {
    let any = false;
    for (const [name, { refused }] of this.#chains) if (refused) any = this.#chains.delete(name);
    for (const [name, { members }] of this.#sets) if (!members) any = this.#sets.delete(name);
    return any;
  }

  /** For people, sorted. */
  words(): string[] {
    const chains = [...this.#chains].map(([name, { chain, why }]) =>
      `${ownerOf(chain)}chain ${name} cannot be made: what comes to it is dropped (${why})`
    );
    const sets = [...this.#sets].map(([name, { members, why }]) =>
      `set ${name} is without ${members ? [...members].slice(0, 3).join(", ") : "its members"}${
        members && members.size > 3 ? ` and ${members.size - 3} more` : ""
      }: chains that would allow more without them drop (${why})`
    );
    return [...chains, ...sets].sort();
  }
}

/** Whether a rule would let more through if the set had fewer members. */
function needs({ statements }: Rule, set: string): boolean {
  const named = statements.filter((s) => "match" in s && "set" in s && s.set === set);
  if (named.length === 0) return false;
  const allows = statements.some((s) => "do" in s && s.do === "mark" && s.value === marks.accept);
  return !allows || named.some((s) => "not" in s && s.not === true);
}

function closed({ name }: Chain): Chain {
  const comment = "Closed: these rules cannot be made";
  return {
    name,
    rules: [{
      statements: [{ do: "counter" }, { do: "drop" }],
      comment,
      origin: { is: "static" },
    }],
  };
}

/** `policy gnp x, `, where the chain is of one. */
function ownerOf({ rules }: Chain): string {
  for (const { origin } of rules) {
    if (origin?.is === "policy") return `policy ${policyLabel(origin.policy)}: `;
    if (origin?.is === "profile") return `profile ${origin.profile}: `;
  }
  return "";
}
