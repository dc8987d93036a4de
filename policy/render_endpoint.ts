/**
 * The chains of an endpoint (felix/rules/endpoints.go): connections that were allowed once pass,
 * then tier after tier the policies that apply, then the profiles; what nothing allowed is dropped.
 *
 * A policy's chain returns with the accept or the pass bit set, or with neither: so each further
 * policy of a tier is only asked while both are clear. Groups of policies (`subjects.ts`) have
 * chains that endpoints share. Nothing in these rules names an endpoint, so endpoints with the same policies and profiles share the rules
 * themselves (the same array), and who compiles them need do it only once.
 */
import type { Direction, EffectivePolicy } from "./effective.ts";
import { chains, comment, policyChain, policyLabel, profileChain } from "./names.ts";
import { marks, type PolicyParameters } from "./parameters.ts";
import { clearMark } from "./render_rule.ts";
import type { Match, PolicyId, Rule } from "./rules.ts";
import type { TierCalls } from "./subjects.ts";

const decided = marks.accept | marks.pass;
const accepted: Match = { match: "mark", value: marks.accept, mask: marks.accept };
const undecided: Match & { match: "mark" } = { match: "mark", value: 0, mask: decided };
const notPassed: Match = { match: "mark", value: 0, mask: marks.pass };

/** The rules of `cali-tw-…` (ingress) or `cali-fw-…` (egress). `profiles`: those that have rules. */
export function endpointRules(
  direction: Direction,
  tiers: readonly TierCalls[],
  profiles: readonly string[],
  parameters: PolicyParameters,
): Rule[] {
  const deny = parameters.denyAction;
  const rules: Rule[] = [{
    statements: [
      { match: "ctstate", states: ["established", "related"] },
      { do: "counter" },
      { do: "accept" },
    ],
    origin: { is: "static" },
  }];
  if (parameters.dropInvalid) {
    rules.push({
      statements: [{ match: "ctstate", states: ["invalid"] }, { do: "counter" }, { do: deny }],
      origin: { is: "static" },
    });
  }
  rules.push({ statements: [clearMark(decided)], origin: { is: "static" } });
  if (direction === "egress") rules.push(...tunnelRules(parameters));
  for (const tier of tiers) rules.push(...tierRules(tier, deny));
  for (const profile of profiles) {
    rules.push({
      statements: [{ do: "jump", chain: profileChain(direction, profile) }],
      origin: { is: "profile-call", profile },
    }, {
      statements: [accepted, { do: "return" }],
      comment: "Return if profile accepted",
      origin: { is: "static" },
    });
  }
  rules.push({
    statements: [{ do: "counter" }, { do: deny }],
    comment: "Drop if no profiles matched",
    origin: { is: "no-profile" },
  });
  return rules;
}

/** A tunnel that a pod makes itself would hide from egress policy where it goes. */
function tunnelRules(parameters: PolicyParameters): Rule[] {
  const rules: Rule[] = [];
  if (!parameters.allowVxlanFromWorkloads) {
    const { vxlanPort } = parameters;
    rules.push({
      statements: [
        { match: "protocol", value: 17 },
        { match: "dport", ranges: [[vxlanPort, vxlanPort]] },
        { do: "counter" },
        { do: parameters.denyAction },
      ],
      comment: "Drop VXLAN encapped packets originating in workloads",
      origin: { is: "static" },
    });
  }
  if (!parameters.allowIpipFromWorkloads) {
    rules.push({
      statements: [
        { match: "protocol", value: 4 },
        { do: "counter" },
        { do: parameters.denyAction },
      ],
      comment: "Drop IPinIP encapped packets originating in workloads",
      origin: { is: "static" },
    });
  }
  return rules;
}

function tierRules(tier: TierCalls, deny: "drop" | "reject"): Rule[] {
  const rules: Rule[] = [{
    statements: [clearMark(marks.pass)],
    comment: comment(`Start of tier ${tier.tier}`),
    origin: { is: "tier-start", tier: tier.tier },
  }];
  tier.calls.forEach(({ chain, policies }, i) => {
    const guard = i === 0 ? [] : [undecided];
    rules.push(
      policies.length === 1 ? policyCall(chain, policies[0].id, guard) : {
        statements: [...guard, { do: "jump", chain }],
        origin: { is: "group-call", tier: tier.tier },
      },
    );
  });
  rules.push({
    statements: [accepted, { do: "return" }],
    comment: "Return if policy accepted",
    origin: { is: "static" },
  });
  if (tier.defaultAction === "Deny") {
    rules.push({
      statements: [notPassed, { do: "counter" }, { do: deny }],
      comment: comment(`End of tier ${tier.tier}. Drop if no policies passed packet`),
      origin: { is: "tier-end", tier: tier.tier },
    });
  }
  return rules;
}

function policyCall(chain: string, policy: PolicyId, guard: readonly Match[]): Rule {
  return {
    statements: [...guard, { do: "jump", chain }],
    comment: comment(policyLabel(policy)),
    origin: { is: "policy-call", policy },
  };
}

/** After so many policies a group asks whether one has decided, and returns. */
const RETURN_STRIDE = 5;

/** The chain of a group of policies. */
export function groupRules(direction: Direction, policies: readonly EffectivePolicy[]): Rule[] {
  const rules: Rule[] = [];
  policies.forEach(({ id }, i) => {
    const first = i % RETURN_STRIDE === 0;
    if (first && i > 0) {
      rules.push({
        statements: [{ ...undecided, not: true }, { do: "return" }],
        comment: "Return on verdict",
        origin: { is: "static" },
      });
    }
    rules.push(policyCall(policyChain(direction, id), id, first ? [] : [undecided]));
  });
  return rules;
}

/** Name and verdict of the dispatch maps' entry for an interface. */
export const dispatchMaps: Readonly<Record<Direction, string>> = {
  egress: chains.fromWorkload,
  ingress: chains.toWorkload,
};
