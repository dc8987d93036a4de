/**
 * The policies of the cluster by subject (the selector of whom they apply to) and the order in which
 * an endpoint's policies are asked.
 *
 * Order is Calico's (felix/calc/policy_sorter.go): tiers by order, then name, those that do not
 * exist last; in a tier by order, then `name/namespace/kind`. A run of policies with one subject
 * becomes a group, a chain that all endpoints of the subject share. Groups are what makes a further
 * policy for many endpoints cheap, so runs should be long: Kubernetes' policies only allow, hence
 * their order among themselves is free, and they are sorted by subject where no policy of Calico's
 * stands at their order.
 *
 * A group that is all of a subject's policies in its tier and direction is named by these alone: it
 * keeps its name when a policy joins it, and the endpoints' chains stay as they are. A partial one
 * is named by its list.
 */
import { compareCodePoints, type Selector } from "../mod/selector/selector.ts";
import { BUILT_IN_TIERS } from "../mod/model/tier.ts";
import { type Direction, directions, type EffectivePolicy } from "./effective.ts";
import { groupChain, policyChain } from "./names.ts";
import type { SubjectNumber } from "./policy_classes.ts";

/** Policies with one selector. */
export interface Subject {
  readonly number: SubjectNumber;
  readonly selector: Selector;
  /** By key; never empty while it is known. */
  readonly policies: Map<string, EffectivePolicy>;
  /** Sorted policies by `direction/tier`; emptied when a policy changes. */
  readonly lists: Map<string, readonly EffectivePolicy[]>;
}

/** One jump of an endpoint's chain: to a policy, or to a group of them. */
export interface Call {
  readonly chain: string;
  /** In order; more than one: a group. The same array while a whole group stays as it is. */
  readonly policies: readonly EffectivePolicy[];
}

/** What an endpoint is asked in one tier and direction. */
export interface TierCalls {
  readonly tier: string;
  readonly defaultAction: "Deny" | "Pass";
  readonly calls: readonly Call[];
  /** Whether one of the policies has a rule that passes on to the next tier. */
  readonly canPass: boolean;
}

export interface TierInfo {
  readonly order: number;
  readonly defaultAction: "Deny" | "Pass";
}

export class Subjects {
  readonly #bySelector = new Map<string, Subject>();
  readonly #byNumber = new Map<SubjectNumber, Subject>();
  readonly #tiers = new Map<string, TierInfo>();
  #next = 0;

  bySelector(id: string): Subject | undefined {
    return this.#bySelector.get(id);
  }

  byNumber(number: SubjectNumber): Subject {
    return this.#byNumber.get(number)!;
  }

  /** Puts a policy under its selector, in place of one of the same key. */
  add(key: string, policy: EffectivePolicy): Subject {
    const { id } = policy.subject;
    let subject = this.#bySelector.get(id);
    if (!subject) {
      const number = this.#next++;
      subject = { number, selector: policy.subject, policies: new Map(), lists: new Map() };
      this.#bySelector.set(id, subject);
      this.#byNumber.set(number, subject);
    }
    subject.policies.set(key, policy);
    subject.lists.clear();
    return subject;
  }

  remove(subject: Subject, key: string): void {
    subject.policies.delete(key);
    subject.lists.clear();
    if (subject.policies.size > 0) return;
    this.#bySelector.delete(subject.selector.id);
    this.#byNumber.delete(subject.number);
  }

  /** Undefined: the tier's object is gone. */
  setTier(name: string, tier: TierInfo | undefined): void {
    if (tier) this.#tiers.set(name, tier);
    else this.#tiers.delete(name);
  }

  #tier(name: string): TierInfo | undefined {
    return this.#tiers.get(name) ??
      (Object.hasOwn(BUILT_IN_TIERS, name) ? BUILT_IN_TIERS[name] : undefined);
  }

  /** What endpoints of these subjects are asked in one direction, tier by tier. */
  callsOf(numbers: ReadonlySet<SubjectNumber>, direction: Direction): TierCalls[] {
    const byTier = new Map<string, Subject[]>();
    for (const number of numbers) {
      const subject = this.byNumber(number);
      const tiers = new Set<string>();
      for (const policy of subject.policies.values()) {
        if (policy.rules[direction]) tiers.add(policy.id.tier);
      }
      for (const tier of tiers) {
        const list = byTier.get(tier);
        if (list) list.push(subject);
        else byTier.set(tier, [subject]);
      }
    }
    return [...byTier.keys()].sort((a, b) => this.#compareTiers(a, b)).map((tier) => {
      const calls = this.#runs(byTier.get(tier)!, direction, tier);
      return {
        tier,
        defaultAction: this.#tier(tier)?.defaultAction ?? "Deny",
        calls,
        canPass: calls.some((c) => c.policies.some((p) => passes(p, direction))),
      };
    });
  }

  /** Whether a subject has policies in one of the tiers. */
  isIn(number: SubjectNumber, tiers: ReadonlySet<string>): boolean {
    for (const { id } of this.#byNumber.get(number)?.policies.values() ?? []) {
      if (tiers.has(id.tier)) return true;
    }
    return false;
  }

  /** Tiers that do not exist come last. */
  #compareTiers(a: string, b: string): number {
    const [x, y] = [this.#tier(a), this.#tier(b)];
    if (!x !== !y) return x ? -1 : 1;
    const [i, j] = [x?.order ?? Infinity, y?.order ?? Infinity];
    return i !== j ? (i < j ? -1 : 1) : compareCodePoints(a, b);
  }

  #runs(subjects: Subject[], direction: Direction, tier: string): Call[] {
    const lists = subjects.map((subject) => ({
      subject,
      policies: listOf(subject, direction, tier),
    }));
    if (lists.length > 1 && !canStandWhole(lists.map((l) => l.policies))) {
      return this.#mixedRuns(lists, direction, tier);
    }
    lists.sort((a, b) =>
      a.policies[0].order !== b.policies[0].order
        ? (a.policies[0].order < b.policies[0].order ? -1 : 1)
        : compareCodePoints(a.subject.selector.id, b.subject.selector.id)
    );
    return lists.map(({ subject, policies }) => callOf(subject, policies, true, direction, tier));
  }

  /** All policies sorted one by one, then cut where the subject changes. */
  #mixedRuns(
    lists: readonly { subject: Subject; policies: readonly EffectivePolicy[] }[],
    direction: Direction,
    tier: string,
  ): Call[] {
    const all = lists.flatMap(({ subject, policies }) => policies.map((p) => ({ subject, p })))
      .sort((a, b) => comparePolicies(a.p, b.p));
    const calls: Call[] = [];
    for (let start = 0, end = 0; start < all.length; start = end) {
      const { subject } = all[start];
      while (end < all.length && all[end].subject === subject) end++;
      const run = all.slice(start, end).map(({ p }) => p);
      const list = listOf(subject, direction, tier);
      const whole = run.length === list.length;
      calls.push(callOf(subject, whole ? list : run, whole, direction, tier));
    }
    return calls;
  }
}

/** The policies of a subject in a tier that speak of a direction, sorted. Not empty. */
export function listOf(
  subject: Subject,
  direction: Direction,
  tier: string,
): readonly EffectivePolicy[] {
  const key = `${direction}/${tier}`;
  let list = subject.lists.get(key);
  if (!list) {
    list = [...subject.policies.values()]
      .filter((p) => p.id.tier === tier && p.rules[direction])
      .sort(comparePolicies);
    subject.lists.set(key, list);
  }
  return list;
}

function callOf(
  subject: Subject,
  run: readonly EffectivePolicy[],
  whole: boolean,
  direction: Direction,
  tier: string,
): Call {
  if (run.length === 1) return { chain: policyChain(direction, run[0].id), policies: run };
  const { id } = subject.selector;
  const listed = whole ? undefined : run.map((p) => p.id);
  return { chain: groupChain(direction, tier, id, listed), policies: run };
}

/**
 * Whether each list can be asked as a whole, one after the other: each has one order, and those of
 * the same order are all Kubernetes' policies, which only allow.
 */
function canStandWhole(lists: readonly (readonly EffectivePolicy[])[]): boolean {
  const onlyAllow = new Map<number, boolean>();
  for (const list of lists) {
    const { order } = list[0];
    if (list.some((p) => p.order !== order)) return false;
    const free = list.every((p) => p.id.kind === "KubernetesNetworkPolicy");
    const others = onlyAllow.get(order);
    if (others === false || (others === true && !free)) return false;
    onlyAllow.set(order, free);
  }
  return true;
}

/** By order, then by `name/namespace/kind`, as Calico sorts. */
function comparePolicies(a: EffectivePolicy, b: EffectivePolicy): number {
  if (a.order !== b.order) return a.order < b.order ? -1 : 1;
  const name = ({ id }: EffectivePolicy) => `${id.name}/${id.namespace}/${id.kind}`;
  return compareCodePoints(name(a), name(b));
}

/** Whether two versions of a policy mean the same to the chains that lead to it. */
export function samePlace(a: EffectivePolicy, b: EffectivePolicy): boolean {
  return a.subject.id === b.subject.id && a.order === b.order && a.id.tier === b.id.tier &&
    directions.every((d) => !a.rules[d] === !b.rules[d] && passes(a, d) === passes(b, d));
}

function passes(policy: EffectivePolicy, direction: Direction): boolean {
  return policy.rules[direction]?.some((rule) => rule.action === "pass") ?? false;
}
