/**
 * The difference between a table as it is and as it should be: what has to come, to go and to change.
 * Pure. write_plan.ts makes one transaction of it.
 */
import type { NftBase } from "../../../ffi/nft/objects.ts";
import type { BaseHook, Chain, Family, SetKind } from "../../../policy/rules.ts";
import { type CompiledRule, compileRule } from "./compile.ts";
import { type RuleEdit, ruleEdits } from "./rule_edits.ts";
import type { KernelChain, KernelRule, KernelTable } from "./table.ts";
import { Quarantine } from "./quarantine.ts";
import { CompileError, kernelName } from "./terms.ts";
import type { Changes, Wanted, WantedSet } from "./wanted.ts";

/** Members of a set with their value: "" or a map's verdict. */
export type Members = readonly (readonly [member: string, value: string])[];

export interface SetPlan {
  readonly name: string;
  readonly kind: SetKind;
  /** It is not there, or of another kind and deleted before. */
  readonly create: boolean;
  readonly remove: Members;
  readonly add: Members;
}

export interface ChainPlan {
  /** In the kernel's spelling. */
  readonly name: string;
  /** The message that makes it or changes its policy: undefined where it is as it should be. */
  readonly make?: { readonly base?: NftBase };
  /** Before the steps, all its rules go. */
  readonly flush: boolean;
  readonly edits: readonly RuleEdit[];
  readonly old: readonly KernelRule[];
  readonly compiled: readonly CompiledRule[];
}

/** What one transaction is to do to the table of a family. */
export interface TablePlan {
  readonly table: string;
  readonly family: Family;
  /** `replace`: the whole table is deleted first. */
  readonly make: "no" | "make" | "replace";
  readonly deleteChains: readonly string[];
  readonly deleteSets: readonly string[];
  readonly sets: readonly SetPlan[];
  readonly chains: readonly ChainPlan[];
}

export function isEmptyPlan(plan: TablePlan): boolean {
  return plan.make === "no" && plan.deleteChains.length === 0 && plan.deleteSets.length === 0 &&
    plan.sets.length === 0 && plan.chains.length === 0;
}

/** Members that are compared without a pause. */
const chunk = 1000;

/** Lets others have their turn, where it is time. */
export type Pause = () => Promise<void> | void;

/** The marks of the rules of chains that were compiled: chains are values, and most stay. */
export type MarkCache = WeakMap<Chain, readonly string[]>;

/**
 * Plans of thousands of chains, or of large sets, take a second: `pause` is called again and again. What is planned for must
 * not change meanwhile.
 */
export class Planner {
  #marks: MarkCache = new WeakMap();
  #kinds: ReadonlyMap<string, SetKind> = new Map();
  /** What cannot be made: plans are without it. */
  readonly quarantine = new Quarantine();

  constructor(readonly table: string, readonly family: Family) {}

  /** The plan for a table that was read with all that is in it. */
  planAll(kernel: KernelTable, wanted: Wanted, pause: Pause): Promise<TablePlan> {
    return this.#planAll(kernel, wanted, "no", pause);
  }

  /** Deletes the table and makes it anew, in one transaction. */
  planReplacement(kernel: KernelTable, wanted: Wanted, pause: Pause): Promise<TablePlan> {
    const nothing = { ...kernel, chains: new Map(), sets: new Map() };
    return this.#planAll(nothing, wanted, kernel.exists ? "replace" : "make", pause);
  }

  async #planAll(
    kernel: KernelTable,
    wanted: Wanted,
    make: TablePlan["make"],
    pause: Pause,
  ): Promise<TablePlan> {
    this.#checkKinds(wanted);
    if (this.quarantine.prune(wanted.chains, wanted.sets)) this.forgetMarks();
    const chains: ChainPlan[] = [];
    const deleteChains: string[] = [];
    const wantedChains = new Set<string>();
    for (const chain of wanted.chains.values()) {
      const name = kernelName(chain.name);
      wantedChains.add(name);
      const found = kernel.chains.get(name);
      if (found && !sameHook(found.base, chain.base)) deleteChains.push(name);
      const plan = this.#planChain(chain, found, wanted);
      if (plan) chains.push(plan);
      const turn = pause();
      if (turn) await turn;
    }
    for (const name of kernel.chains.keys()) if (!wantedChains.has(name)) deleteChains.push(name);

    const sets: SetPlan[] = [];
    const deleteSets: string[] = [];
    const wantedSets = new Set<string>();
    for (const set of wanted.sets.values()) {
      const name = kernelName(set.name);
      wantedSets.add(name);
      const found = kernel.sets.get(name);
      if (found && found.kind !== set.kind) deleteSets.push(name);
      const read = found?.kind === set.kind ? found.members : undefined;
      const plan = await planWholeSet(this.#without(set), read, pause);
      if (plan) sets.push(plan);
    }
    for (const name of kernel.sets.keys()) if (!wantedSets.has(name)) deleteSets.push(name);
    const making = make === "no" && (!kernel.exists || kernel.dormant) ? "make" : make;
    const { table, family } = this;
    return { table, family, make: making, deleteChains, deleteSets, sets, chains };
  }

  /**
   * The plan for what changed in a table that we have kept up ourselves. Undefined: the table must be
   * read, because a set changes its kind, or one whose members were left out changes at all, and with it
   * rules that did not change.
   */
  async planChanges(
    kernel: KernelTable,
    wanted: Wanted,
    changes: Changes,
    pause: Pause,
  ): Promise<TablePlan | undefined> {
    const { quarantine } = this;
    for (const name of quarantine.isEmpty ? [] : [...changes.sets, ...changes.members.keys()]) {
      if (!quarantine.hasSet(name)) continue;
      quarantine.releaseSet(name);
      this.forgetMarks();
      return undefined;
    }
    if (!quarantine.isEmpty) quarantine.prune(wanted.chains, wanted.sets);
    const chains: ChainPlan[] = [];
    const deleteChains: string[] = [];
    for (const name of changes.chains) {
      const found = kernel.chains.get(kernelName(name));
      const chain = wanted.chains.get(name);
      if (found && (!chain || !sameHook(found.base, chain.base))) {
        deleteChains.push(kernelName(name));
      }
      const plan = chain && this.#planChain(chain, found, wanted);
      if (plan) chains.push(plan);
      const turn = pause();
      if (turn) await turn;
    }
    const sets: SetPlan[] = [];
    const deleteSets: string[] = [];
    for (const name of changes.sets) {
      const found = kernel.sets.get(kernelName(name));
      const set = wanted.sets.get(name);
      if (set && found) return undefined;
      if (found) deleteSets.push(kernelName(name));
      const plan = set && await planWholeSet(this.#without(set), undefined, pause);
      if (plan) sets.push(plan);
    }
    for (const [name, before] of changes.members) {
      const set = wanted.sets.get(name);
      if (!set || changes.sets.has(name)) continue;
      const remove: [string, string][] = [], add: [string, string][] = [];
      for (const [member, old] of before) {
        const now = set.members.get(member);
        if (now === old) continue;
        if (old !== undefined) remove.push([member, old]);
        if (now !== undefined) add.push([member, now]);
      }
      if (remove.length + add.length === 0) continue;
      sets.push({ name, kind: set.kind, create: false, remove, add });
    }
    const { table, family } = this;
    return { table, family, make: "no", deleteChains, deleteSets, sets, chains };
  }

  /** Chains may be others now than their rules say, or no longer. */
  forgetMarks(): void {
    this.#marks = new WeakMap();
  }

  /** The set, but for what is left out of it. */
  #without(set: WantedSet): WantedSet {
    if (!this.quarantine.hasSet(set.name)) return set;
    const members = [...set.members].filter(([m]) => !this.quarantine.isLeftOut(set.name, m));
    return { ...set, members: new Map(members) };
  }

  /** What stands for a chain, as the kernel is to have it. */
  #compile(chain: Chain, wanted: Wanted): CompiledRule[] {
    const compile = ({ name, rules }: Chain) =>
      rules.map((rule) => compileRule(rule, name, this.family, wanted.kindOf));
    const other = this.quarantine.standIn(chain);
    if (other) return compile(other);
    try {
      return compile(chain);
    } catch (error) {
      if (!(error instanceof CompileError)) throw error;
      if (!this.quarantine.putAside(chain, error.message)) throw error;
      return compile(this.quarantine.standIn(chain)!);
    }
  }

  /** Marks depend on the kinds of the sets that the rules name. */
  #checkKinds(wanted: Wanted): void {
    const kinds = new Map<string, SetKind>();
    let changed = false;
    for (const { name, kind } of wanted.sets.values()) {
      kinds.set(name, kind);
      changed ||= (this.#kinds.get(name) ?? kind) !== kind;
    }
    this.#kinds = kinds;
    if (changed) this.#marks = new WeakMap();
  }

  #planChain(
    chain: Chain,
    found: KernelChain | undefined,
    wanted: Wanted,
  ): ChainPlan | undefined {
    const name = kernelName(chain.name);
    const keeps = found && sameHook(found.base, chain.base) ? found : undefined;
    const base = chain.base && toBase(chain.base);
    const make = !keeps || keeps.base?.policy !== base?.policy ? { base } : undefined;
    const known = this.#marks.get(chain);
    if (!make && keeps && known && sameMarks(keeps.rules, known)) return undefined;
    const compiled = this.#compile(chain, wanted);
    const marks = compiled.map(({ mark }) => mark);
    this.#marks.set(chain, marks);
    if (!make && keeps && sameMarks(keeps.rules, marks)) return undefined;
    const old = keeps?.rules ?? [];
    const edits = ruleEdits(old.map(({ mark }) => mark), marks);
    const deletions = edits.filter(({ edit }) => edit === "delete").length;
    const flush = deletions > 0 && deletions === old.length;
    return {
      name,
      make,
      flush,
      edits: flush ? edits.filter(({ edit }) => edit !== "delete") : edits,
      old,
      compiled,
    };
  }
}

/** Type, hook and priority cannot be changed; a policy can. */
function sameHook(found: NftBase | undefined, wanted: BaseHook | undefined): boolean {
  if (!found || !wanted) return !found && !wanted;
  return found.type === wanted.type && found.hook === wanted.hook &&
    found.priority === wanted.priority;
}

function toBase({ type, hook, priority, policy }: BaseHook): NftBase {
  return { type, hook, priority, policy };
}

function sameMarks(rules: readonly KernelRule[], marks: readonly string[]): boolean {
  return rules.length === marks.length && rules.every(({ mark }, i) => mark === marks[i]);
}

/** All members of a set: against those that were read, or, where it is new, against none. */
async function planWholeSet(
  set: WantedSet,
  read: ReadonlyMap<string, string> | undefined,
  pause: Pause,
): Promise<SetPlan | undefined> {
  const create = read === undefined;
  const remove: [string, string][] = [], add: [string, string][] = [];
  let count = 0;
  const turnIfDue = () => ++count % chunk === 0 ? pause() : undefined;
  for (const [member, value] of read ?? []) {
    if (set.members.get(member) !== value) remove.push([member, value]);
    const turn = turnIfDue();
    if (turn) await turn;
  }
  for (const [member, value] of set.members) {
    if (read?.get(member) !== value) add.push([member, value]);
    const turn = turnIfDue();
    if (turn) await turn;
  }
  const turn = pause();
  if (turn) await turn;
  if (!create && remove.length + add.length === 0) return undefined;
  return { name: set.name, kind: set.kind, create, remove, add };
}

/** The table as it is once the plan is done. */
export function applyPlan(kernel: KernelTable, plan: TablePlan): KernelTable {
  const isNew = plan.make === "replace" || !kernel.exists;
  const chains: Map<string, KernelChain> = isNew ? new Map() : kernel.chains;
  const sets = isNew ? new Map() : kernel.sets;
  for (const name of plan.deleteChains) chains.delete(name);
  for (const name of plan.deleteSets) sets.delete(name);
  for (const { name, make, edits, old, compiled, flush } of plan.chains) {
    const base = make ? make.base : chains.get(name)?.base;
    chains.set(name, { base, rules: editedRules(old, compiled, edits, flush) });
  }
  for (const { name, kind } of plan.sets) {
    sets.set(kernelName(name), { kind, members: undefined });
  }
  // What was read and found right is as wanted, too.
  sets.forEach(({ kind, members }, name) => {
    if (members) sets.set(name, { kind, members: undefined });
  });
  return { exists: true, dormant: false, chains, sets };
}

/** Rules that stay keep their handles; of new ones the kernel has not told us any. */
function editedRules(
  old: readonly KernelRule[],
  compiled: readonly CompiledRule[],
  edits: readonly RuleEdit[],
  flush: boolean,
): KernelRule[] {
  const gone = new Set(edits.filter((e) => e.edit === "delete").map((e) => e.index));
  const isNew = new Set(edits.filter((e) => e.edit !== "delete").map((e) => e.index));
  const stay = flush ? [] : old.filter((_, i) => !gone.has(i));
  let next = 0;
  return compiled.map(({ mark }, i) => isNew.has(i) ? { mark } : stay[next++]);
}
