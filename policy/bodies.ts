/**
 * The rules of endpoints. Endpoints of one policy class with the same profiles share one body: the
 * rules of their two chains, the groups and the profile chains that these jump to.
 *
 * A body is planned anew when something that it hangs on changes, but its rules are only made anew
 * (and its endpoints' chains touched) if the plan differs: a policy that joins a group changes the
 * group's chain alone.
 */
import type { Attempts } from "./attempts.ts";
import { type Direction, directions, type EffectivePolicy } from "./effective.ts";
import type { Output } from "./output.ts";
import type { PolicyParameters } from "./parameters.ts";
import type { PolicyClass } from "./policy_classes.ts";
import { tailChain } from "./names.ts";
import { closedRule, endpointRules, endsHere, groupRules, tailRules } from "./render_endpoint.ts";
import type { Rule } from "./rules.ts";
import type { Call, Subjects, TierCalls } from "./subjects.ts";

export interface Body {
  readonly policyClass: PolicyClass;
  /** Names, in order. */
  readonly profiles: readonly string[];
  /** Interfaces whose chains these are. */
  readonly interfaces: Map<string, number>;
  /** What the rules were made of, as text. */
  plan: string;
  rules: Readonly<Record<Direction, readonly Rule[]>>;
  groups: ReadonlyMap<string, { readonly direction: Direction; readonly call: Call }>;
  /** The tail chain of each direction, by its name. */
  tails: ReadonlyMap<string, Tail>;
}

/** The end of a body: the profiles that are asked there. */
interface Tail {
  readonly direction: Direction;
  readonly profiles: readonly string[];
}

/** The chain of a group: how many bodies jump to it, and what it holds. */
interface Group {
  users: number;
  policies: readonly EffectivePolicy[];
}

/** What bodies need to know of the engine. */
export interface BodyContext {
  readonly subjects: Subjects;
  readonly output: Output;
  readonly attempts: Attempts;
  readonly parameters: PolicyParameters;
  /** Whether a profile has rules in a direction. */
  hasRules(profile: string, direction: Direction): boolean;
  /** A profile's chain gets its first user or loses its last. */
  profileUsed(direction: Direction, profile: string): void;
  /** The rules of a body changed. */
  changed(body: Body): void;
}

export class Bodies {
  readonly #context: BodyContext;
  /** What a body has whose rules cannot be made: a chain without rules would let all pass. */
  readonly #closed: Body["rules"];
  readonly #bodies = new Map<PolicyClass, Map<string, Body>>();
  readonly #dirty = new Set<Body>();
  readonly #groups = new Map<string, Group>();
  /** Chain of a tail -> how many bodies go to it. */
  readonly #tailUsers = new Map<string, number>();
  /** `ingress/kns.default` -> how many tails jump to the profile's chain. */
  readonly #profileUsers = new Map<string, number>();

  constructor(context: BodyContext) {
    this.#context = context;
    const rules = [closedRule(context.parameters)];
    this.#closed = { ingress: rules, egress: rules };
  }

  /** The body of a class with these profiles, with one more endpoint in it. */
  enter(policyClass: PolicyClass, profiles: readonly string[], interfaceName: string): Body {
    let bodies = this.#bodies.get(policyClass);
    if (!bodies) this.#bodies.set(policyClass, bodies = new Map());
    const key = profiles.join("\n");
    let body = bodies.get(key);
    if (!body) {
      body = {
        policyClass,
        profiles,
        interfaces: new Map(),
        plan: "",
        rules: this.#closed,
        groups: new Map(),
        tails: new Map(),
      };
      bodies.set(key, body);
      this.#dirty.add(body);
    }
    body.interfaces.set(interfaceName, (body.interfaces.get(interfaceName) ?? 0) + 1);
    return body;
  }

  leave(body: Body, interfaceName: string): void {
    const claims = body.interfaces.get(interfaceName)! - 1;
    if (claims > 0) body.interfaces.set(interfaceName, claims);
    else body.interfaces.delete(interfaceName);
    // Whether it was the last is seen in `render`: another endpoint may still come in.
    if (body.interfaces.size === 0) this.#dirty.add(body);
  }

  /** Marks the bodies for which the test holds: something that they hang on changed. */
  touch(test: (body: Body) => boolean): void {
    for (const bodies of this.#bodies.values()) {
      for (const body of bodies.values()) if (test(body)) this.#dirty.add(body);
    }
  }

  isProfileUsed(direction: Direction, profile: string): boolean {
    return this.#profileUsers.has(`${direction}/${profile}`);
  }

  /** Plans what is marked, and brings rules, groups and profiles to it. */
  render(): void {
    const { attempts, changed } = this.#context;
    for (const body of this.#dirty) {
      // They come and go; the body is the same.
      const names = () => `interfaces ${[...body.interfaces.keys()].join(", ")}`;
      if (attempts.run("making their rules", names, "", () => this.#render(body), body)) {
        this.#dirty.delete(body);
        continue;
      }
      body.plan = "";
      body.rules = this.#closed;
      changed(body);
    }
  }

  #render(body: Body): void {
    const { groups, tails } = body;
    if (body.interfaces.size === 0) {
      const bodies = this.#bodies.get(body.policyClass);
      bodies?.delete(body.profiles.join("\n"));
      if (bodies?.size === 0) this.#bodies.delete(body.policyClass);
      body.groups = new Map();
      body.tails = new Map();
    } else this.#plan(body);

    for (const [chain, { direction, call }] of body.groups) {
      const group = this.#groups.get(chain) ?? { users: 0, policies: [] };
      this.#groups.set(chain, group);
      if (!groups.has(chain)) group.users++;
      if (sameItems(group.policies, call.policies)) continue;
      group.policies = call.policies;
      this.#context.output.setBoth(chain, {
        name: chain,
        rules: groupRules(direction, call.policies),
      });
    }
    for (const chain of groups.keys()) {
      if (body.groups.has(chain) || --this.#groups.get(chain)!.users > 0) continue;
      this.#groups.delete(chain);
      this.#context.output.setBoth(chain, undefined);
    }
    for (const [chain, tail] of body.tails) {
      if (!tails.has(chain) && count(this.#tailUsers, chain, 1) === 1) this.#openTail(chain, tail);
    }
    for (const [chain, tail] of tails) {
      if (!body.tails.has(chain) && count(this.#tailUsers, chain, -1) === 0) {
        this.#closeTail(chain, tail);
      }
    }
  }

  #openTail(chain: string, { direction, profiles }: Tail): void {
    const rules = tailRules(direction, profiles, this.#context.parameters);
    this.#context.output.setBoth(chain, { name: chain, rules });
    for (const profile of profiles) {
      if (count(this.#profileUsers, `${direction}/${profile}`, 1) === 1) {
        this.#context.profileUsed(direction, profile);
      }
    }
  }

  #closeTail(chain: string, { direction, profiles }: Tail): void {
    this.#context.output.setBoth(chain, undefined);
    for (const profile of profiles) {
      if (count(this.#profileUsers, `${direction}/${profile}`, -1) === 0) {
        this.#context.profileUsed(direction, profile);
      }
    }
  }

  #plan(body: Body): void {
    const { subjects, parameters, hasRules } = this.#context;
    const tiers = {} as Record<Direction, TierCalls[]>;
    const profiles = {} as Record<Direction, string[]>;
    const groups = new Map<string, { direction: Direction; call: Call }>();
    const tails = new Map<string, Tail>();
    let plan = "";
    for (const direction of directions) {
      tiers[direction] = subjects.callsOf(body.policyClass.subjects, direction);
      for (const { tier, defaultAction, canPass, calls } of tiers[direction]) {
        plan += `${tier} ${defaultAction} ${canPass}\n`;
        for (const call of calls) {
          plan += `${call.chain}\n`;
          if (call.policies.length > 1) groups.set(call.chain, { direction, call });
        }
      }
      profiles[direction] = tiers[direction].some(endsHere)
        ? []
        : body.profiles.filter((p) => hasRules(p, direction));
      if (profiles[direction].length > 0) {
        tails.set(tailChain(direction, profiles[direction]), {
          direction,
          profiles: profiles[direction],
        });
      }
      plan += `${profiles[direction].join("\n")}\n\n`;
    }
    const rules = plan === body.plan ? undefined : {
      ingress: endpointRules("ingress", tiers.ingress, profiles.ingress, parameters),
      egress: endpointRules("egress", tiers.egress, profiles.egress, parameters),
    };
    // What fails before this is tried again with nothing counted.
    body.groups = groups;
    body.tails = tails;
    if (!rules) return;
    body.plan = plan;
    body.rules = rules;
    this.#context.changed(body);
  }
}

/** Counts up or down; what falls to 0 is forgotten. */
function count(users: Map<string, number>, key: string, step: 1 | -1): number {
  const now = (users.get(key) ?? 0) + step;
  if (now > 0) users.set(key, now);
  else users.delete(key);
  return now;
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a === b || (a.length === b.length && a.every((item, i) => item === b[i]));
}
