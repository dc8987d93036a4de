/**
 * Endpoints to which the same policies apply form a class: what hangs on the list of policies alone
 * (order, groups, rules) is worked out once for all of them. Pods of one Deployment are one class,
 * so a policy for ten thousand replicas costs as much thought as one for a single pod.
 *
 * A class is interned by the exact set of policies, never by a hash that could collide. The step
 * from one class to another (a policy more, a policy less) is remembered within one update, so that
 * many endpoints taking the same step cost one look-up each.
 */

/** A small number that stands for a policy while the engine lives. */
export type PolicyNumber = number;

export interface PolicyClass {
  readonly policies: ReadonlySet<PolicyNumber>;
  /** Endpoints in it. */
  users: number;
}

export class PolicyClasses {
  readonly #byKey = new Map<string, PolicyClass>();
  readonly #keys = new Map<PolicyClass, string>();
  readonly #steps = new Map<PolicyClass, Map<string, PolicyClass>>();
  /** Classes that may have nobody in them. */
  readonly #suspects = new Set<PolicyClass>();

  /** The class of an endpoint to which no policy applies. */
  readonly none: PolicyClass = this.#intern(new Set());

  /**
   * The class after some policies came (true) and went (false). It has no user yet: `enter` it.
   */
  after(from: PolicyClass, delta: ReadonlyMap<PolicyNumber, boolean>): PolicyClass {
    if (delta.size === 0) return from;
    const step = [...delta].map(([n, added]) => added ? n : -n - 1).sort((a, b) => a - b).join();
    let steps = this.#steps.get(from);
    if (!steps) this.#steps.set(from, steps = new Map());
    let to = steps.get(step);
    if (!to) {
      const policies = new Set(from.policies);
      for (const [n, added] of delta) {
        if (added) policies.add(n);
        else policies.delete(n);
      }
      to = this.#intern(policies);
      steps.set(step, to);
    }
    return to;
  }

  enter(policyClass: PolicyClass): void {
    policyClass.users++;
  }

  leave(policyClass: PolicyClass): void {
    if (--policyClass.users === 0) this.#suspects.add(policyClass);
  }

  /** Forgets the steps, and classes that nobody is in; returns those. Ends an update. */
  sweep(): PolicyClass[] {
    this.#steps.clear();
    const empty: PolicyClass[] = [];
    for (const policyClass of this.#suspects) {
      if (policyClass.users > 0 || policyClass === this.none) continue;
      empty.push(policyClass);
      this.#byKey.delete(this.#keys.get(policyClass)!);
      this.#keys.delete(policyClass);
    }
    this.#suspects.clear();
    return empty;
  }

  #intern(policies: Set<PolicyNumber>): PolicyClass {
    const key = [...policies].sort((a, b) => a - b).join();
    let found = this.#byKey.get(key);
    if (!found) {
      found = { policies, users: 0 };
      this.#byKey.set(key, found);
      this.#keys.set(found, key);
      this.#suspects.add(found);
    }
    return found;
  }
}
