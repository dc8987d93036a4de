/**
 * Endpoints that the same subjects select (the selectors of policies) form a class: what hangs on
 * the list of policies alone is worked out once for all of them. Pods of one Deployment are one
 * class, so a policy for ten thousand replicas costs as much thought as one for a single pod; and a
 * further policy with a selector that is there already moves nobody to another class.
 *
 * A class is interned by the exact set of subjects, never by a hash that could collide. The step
 * from one class to another (a subject more, a subject less) is remembered within one update, so
 * that many endpoints taking the same step cost one look-up each.
 */

/** A small number that stands for a subject while it has policies. */
export type SubjectNumber = number;

export interface PolicyClass {
  readonly subjects: ReadonlySet<SubjectNumber>;
  /** Endpoints in it. */
  users: number;
}

export class PolicyClasses {
  readonly #byKey = new Map<string, PolicyClass>();
  readonly #keys = new Map<PolicyClass, string>();
  readonly #steps = new Map<PolicyClass, Map<string, PolicyClass>>();
  /** Classes that may have nobody in them. */
  readonly #suspects = new Set<PolicyClass>();

  /** The class of an endpoint that nothing selects. */
  readonly none: PolicyClass = this.#intern(new Set());

  /** The class after some subjects came (true) and went (false). `enter` it to keep it. */
  after(from: PolicyClass, delta: ReadonlyMap<SubjectNumber, boolean>): PolicyClass {
    if (delta.size === 0) return from;
    const step = [...delta].map(([n, came]) => came ? n : -n - 1).sort((a, b) => a - b).join();
    let steps = this.#steps.get(from);
    if (!steps) this.#steps.set(from, steps = new Map());
    let to = steps.get(step);
    if (!to) {
      const subjects = new Set(from.subjects);
      for (const [n, came] of delta) {
        if (came) subjects.add(n);
        else subjects.delete(n);
      }
      to = this.#intern(subjects);
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

  /** Forgets the steps, and classes that nobody is in. Ends an update. */
  sweep(): void {
    this.#steps.clear();
    for (const policyClass of this.#suspects) {
      if (policyClass.users > 0 || policyClass === this.none) continue;
      this.#byKey.delete(this.#keys.get(policyClass)!);
      this.#keys.delete(policyClass);
    }
    this.#suspects.clear();
  }

  #intern(subjects: Set<SubjectNumber>): PolicyClass {
    const key = [...subjects].sort((a, b) => a - b).join();
    let found = this.#byKey.get(key);
    if (!found) {
      found = { subjects, users: 0 };
      this.#byKey.set(key, found);
      this.#keys.set(found, key);
      this.#suspects.add(found);
    }
    return found;
  }
}
