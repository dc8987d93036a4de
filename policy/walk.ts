/**
 * The walk of a connection through the rules, for people: which tier, policy, profile and rule was
 * asked, what it said, and of a rule that did not match the first thing that did not hold.
 */
import type { Direction } from "./effective.ts";
import type { Run, Step } from "./evaluate.ts";
import { policyLabel } from "./names.ts";
import { marks, toHostComment } from "./parameters.ts";
import { protocolName } from "./protocol.ts";
import type { Match, PolicyId, Rule } from "./rules.ts";

/** One thing that was asked, in order. `text` says it for people. */
export interface WalkStep {
  readonly is: "tier" | "policy" | "rule" | "profile" | "end";
  readonly tier?: string;
  readonly policy?: PolicyId;
  readonly profile?: string;
  /** Place in the object's own list of rules, from 0. */
  readonly rule?: number;
  readonly outcome: "asked" | "no-match" | "allow" | "deny" | "pass" | "log";
  /** What the sets hold that the rule names, in words. */
  readonly sets?: readonly string[];
  readonly text: string;
}

const verbs: Readonly<Record<WalkStep["outcome"], string>> = {
  allow: "allows",
  deny: "denies",
  pass: "passes",
  log: "logs",
  asked: "looks at",
  "no-match": "does not match",
};

/** Puts the run of one side into words. */
export class WalkWriter {
  constructor(
    readonly direction: Direction,
    /** What a set holds, in words. */
    readonly describeSet: (name: string) => string | undefined,
  ) {}

  walk(run: Run): WalkStep[] {
    const walk: WalkStep[] = [];
    let tier: string | undefined;
    for (const step of run.steps) {
      const { origin } = step.rule;
      const here = origin?.is === "policy-call" ? origin.policy.tier : undefined;
      if (here !== undefined && here !== tier) {
        tier = here;
        walk.push({ is: "tier", tier, outcome: "asked", text: `tier ${tier}` });
      }
      const said = this.#say(step);
      if (said) walk.push(said);
    }
    return walk;
  }

  #say(step: Step): WalkStep | undefined {
    const { origin } = step.rule;
    switch (origin?.is) {
      case "policy-call":
        return {
          is: "policy",
          tier: origin.policy.tier,
          policy: origin.policy,
          outcome: "asked",
          text: `policy ${policyLabel(origin.policy)} applies`,
        };
      case "profile-call":
        return {
          is: "profile",
          profile: origin.profile,
          outcome: "asked",
          text: `no policy decided; profile ${origin.profile}`,
        };
      case "policy":
      case "profile": {
        const outcome = step.failed ? "no-match" : outcomeOf(step.rule);
        const sets = this.#setsOf(step.rule);
        const why = step.failed
          ? `does not match: ${this.#phrase(step.failed, false)}`
          : `${verbs[outcome]} it` + this.#because(step.rule);
        return {
          is: "rule",
          ...(origin.is === "policy"
            ? { tier: origin.policy.tier, policy: origin.policy }
            : { profile: origin.profile }),
          rule: origin.rule,
          outcome,
          ...(sets.length > 0 ? { sets } : {}),
          text: `${this.direction} rule ${origin.rule + 1} ${why}`,
        };
      }
      case "tier-end":
        return {
          is: "end",
          tier: origin.tier,
          outcome: "deny",
          text: `no policy of tier ${origin.tier} allows it: denied at the end of the tier`,
        };
      case "no-profile":
        return { is: "end", outcome: "deny", text: "no profile allows it: denied" };
      default:
        if (step.rule.comment === toHostComment) return toHost(step.rule);
        return outcomeOf(step.rule) === "deny"
          ? {
            is: "end",
            outcome: "deny",
            text: step.rule.comment === "Unknown interface"
              ? "the pod's interface has no policy yet: closed"
              : `denied before any policy: ${step.rule.comment ?? "a rule for all packets"}`,
          }
          : undefined;
    }
  }

  #because(rule: Rule): string {
    const matches = rule.statements.filter((s) => "match" in s) as Match[];
    return matches.length === 0
      ? " (it has no conditions)"
      : `: ${matches.map((m) => this.#phrase(m, true)).join(", ")}`;
  }

  #setsOf(rule: Rule): string[] {
    return rule.statements.flatMap((s) =>
      "match" in s && "set" in s ? [this.describeSet(s.set) ?? s.set] : []
    );
  }

  /** A match in words, as it held or did not. */
  #phrase(match: Match, held: boolean): string {
    const is = held !== ("not" in match && match.not === true);
    const verb = is ? "is" : "is not";
    switch (match.match) {
      case "saddr":
      case "daddr": {
        const what = "prefix" in match
          ? match.prefix
          : `{${this.describeSet(match.set) ?? match.set}}`;
        return `${match.match === "saddr" ? "source" : "destination"} ${verb} in ${what}`;
      }
      case "protocol":
        return `protocol ${verb} ${protocolName(match.value)}`;
      case "sport":
      case "dport": {
        const ranges = match.ranges.map(([a, b]) => a === b ? `${a}` : `${a}-${b}`).join(", ");
        return `${match.match === "sport" ? "source port" : "port"} ${verb} in ${ranges}`;
      }
      case "address-port":
        return `${match.side} ${verb} ${this.describeSet(match.set) ?? match.set}`;
      case "icmp":
        return `ICMP type ${verb} ${match.type}${
          match.code === undefined ? "" : `, code ${match.code}`
        }`;
      default:
        return `${match.match} ${held ? "holds" : "does not hold"}`;
    }
  }
}

/** What becomes of a pod's packets to its own host once egress policy let them pass. */
function toHost({ statements }: Rule): WalkStep {
  const action = statements.flatMap((s) => "do" in s && s.do !== "counter" ? [s.do] : [])[0];
  const outcome = action === "drop" || action === "reject" ? "deny" : "allow";
  return {
    is: "end",
    outcome,
    text: `it is for the pod's own node: DefaultEndpointToHostAction ${
      outcome === "deny" ? "denies it" : action === "accept" ? "allows it" : "leaves it to others"
    }`,
  };
}

function outcomeOf(rule: Rule): WalkStep["outcome"] {
  for (const statement of rule.statements) {
    if (!("do" in statement)) continue;
    switch (statement.do) {
      case "drop":
      case "reject":
        return "deny";
      case "log":
        return "log";
      case "mark":
        if (statement.value === marks.accept) return "allow";
        if (statement.value === marks.pass) return "pass";
    }
  }
  return "asked";
}
