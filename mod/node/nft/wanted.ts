/**
 * What should be in the table of one family: a ruleset of policy, taken over whole or changed by
 * deltas, and what of it the kernel has not been told yet. Chains are values and kept as they are
 * given; the members of sets are copied, because deltas change them.
 */
import type {
  Chain,
  Family,
  Ruleset,
  RulesetDelta,
  SetChange,
  SetDef,
  SetKind,
} from "../../../policy/rules.ts";
import { verdictText } from "./sets.ts";

/** A set as it should be: members, with a map's verdict as text, else "". */
export interface WantedSet {
  readonly name: string;
  readonly kind: SetKind;
  readonly members: Map<string, string>;
}

/**
 * The members of one set that changed, each with what the kernel holds of it: "" or the verdict, or
 * undefined where it is not there.
 */
export type MemberChanges = Map<string, string | undefined>;

/** What has changed since the kernel was last told. */
export interface Changes {
  readonly chains: Set<string>;
  /** Sets that are new, gone or another kind. */
  readonly sets: Set<string>;
  readonly members: Map<string, MemberChanges>;
}

/** A delta does not follow on what we have: the whole ruleset must be applied. */
export class DeltaGapError extends Error {
  override readonly name = "DeltaGapError";
}

export class Wanted {
  chains: ReadonlyMap<string, Chain> = new Map();
  readonly #sets = new Map<string, WantedSet>();
  #ownChains: Map<string, Chain> | undefined;
  #changes: Changes = noChanges();

  constructor(readonly family: Family) {}

  get sets(): ReadonlyMap<string, WantedSet> {
    return this.#sets;
  }

  readonly kindOf = (set: string): SetKind | undefined => this.#sets.get(set)?.kind;

  /**
   * Takes a whole ruleset over; what differs from the one before counts as changed.
   */
  replace(ruleset: Ruleset): void {
    if (ruleset.family !== this.family) {
      throw new TypeError(`a ruleset of IPv${ruleset.family} was given for IPv${this.family}`);
    }
    for (const name of this.chains.keys()) {
      if (!ruleset.chains.has(name)) this.#changes.chains.add(name);
    }
    for (const [name, chain] of ruleset.chains) {
      if (this.chains.get(name) !== chain) this.#changes.chains.add(name);
    }
    for (const name of [...this.#sets.keys()]) {
      if (!ruleset.sets.has(name)) this.#removeSet(name);
    }
    for (const set of ruleset.sets.values()) this.#putSet(set);
    this.chains = ruleset.chains;
    this.#ownChains = undefined;
  }

  /**
   * Takes one delta in; each must come once, and in their order. Throws DeltaGapError, with nothing
   * changed, where it speaks of a set that we do not have.
   */
  change(delta: RulesetDelta): void {
    if (delta.family !== this.family) {
      throw new TypeError(`a delta of IPv${delta.family} was given for IPv${this.family}`);
    }
    for (const [name, change] of delta.sets) this.#checkSet(name, change);
    const chains = this.#ownChains ??= new Map(this.chains);
    this.chains = chains;
    for (const [name, chain] of delta.chains) {
      if (chain) chains.set(name, chain);
      else chains.delete(name);
      this.#changes.chains.add(name);
    }
    for (const [name, change] of delta.sets) this.#changeSet(name, change);
  }

  /** What changed since the kernel was last told. */
  get changes(): Changes {
    return this.#changes;
  }

  /** The kernel has everything that is wanted now. */
  told(): void {
    this.#changes = noChanges();
  }

  #checkSet(name: string, change: SetChange): void {
    if (change.is !== "members" && change.is !== "verdicts") return;
    const kind = this.kindOf(name);
    const isMap = change.is === "verdicts";
    if (!kind || (kind === "verdict-map") !== isMap) {
      throw new DeltaGapError(
        `the delta of IPv${this.family} changes the set ${name}, which ${
          kind ? `is of kind ${kind}` : "is not there"
        }: apply the whole ruleset`,
      );
    }
  }

  #changeSet(name: string, change: SetChange): void {
    switch (change.is) {
      case "new":
        return this.#putSet(change.set);
      case "gone":
        return this.#removeSet(name);
      case "members":
        for (const member of change.remove) this.#changeMember(name, member, undefined);
        for (const member of change.add) this.#changeMember(name, member, "");
        return;
      case "verdicts":
        for (const member of change.remove) this.#changeMember(name, member, undefined);
        for (const [member, verdict] of change.add) {
          this.#changeMember(name, member, verdictText(verdict));
        }
        return;
    }
  }

  #putSet(set: SetDef): void {
    const { name } = set;
    const found = this.#sets.get(name);
    if (found?.kind !== set.kind) {
      this.#sets.set(name, { name, kind: set.kind, members: membersOf(set) });
      this.#changes.sets.add(name);
      this.#changes.members.delete(name);
      return;
    }
    const members = membersOf(set);
    for (const member of [...found.members.keys()]) {
      if (!members.has(member)) this.#changeMember(name, member, undefined);
    }
    for (const [member, value] of members) this.#changeMember(name, member, value);
  }

  #removeSet(name: string): void {
    if (!this.#sets.delete(name)) return;
    this.#changes.sets.add(name);
    this.#changes.members.delete(name);
  }

  #changeMember(set: string, member: string, value: string | undefined): void {
    const { members } = this.#sets.get(set)!;
    const before = members.get(member);
    if (before === value) return;
    if (value === undefined) members.delete(member);
    else members.set(member, value);
    if (this.#changes.sets.has(set)) return;
    let changes = this.#changes.members.get(set);
    if (!changes) this.#changes.members.set(set, changes = new Map());
    // The kernel knows what stood here before the first change; a change back is none.
    if (!changes.has(member)) changes.set(member, before);
  }
}

function noChanges(): Changes {
  return { chains: new Set(), sets: new Set(), members: new Map() };
}

function membersOf(set: SetDef): Map<string, string> {
  const members = new Map<string, string>();
  if (set.kind === "verdict-map") {
    for (const [name, verdict] of set.members) members.set(name, verdictText(verdict));
  } else {
    for (const member of set.members) members.set(member, "");
  }
  return members;
}
