/**
 * The chains of an endpoint (felix/rules/endpoints.go): connections that were allowed once pass,
 * then tier after tier the policies that apply, then the profiles; what nothing allowed is dropped.
 *
 * A policy's chain returns with the accept or the pass bit set, or with neither: so each further
 * policy of a tier is only asked while both are clear.
 *
 * The kernel checks every chain of the table anew when one rule with a verdict comes in, so the time
 * of any change grows with the number of rules. Therefore an endpoint's own chain holds what is its
 * own and nothing else: what is the same for all (`common`) and the profiles in the end (`tail`) are
 * chains that it jumps to, groups of policies (`subjects.ts`) too, and profiles that can never be
 * reached are left out. Nothing in these rules names an endpoint, so endpoints with the same policies and
 * profiles share the rules themselves (the same array), and who compiles them need do it only once.
 */
import type { Direction, EffectivePolicy } from "./effective.ts";
import { chains, comment, policyChain, policyLabel, profileChain, tailChain } from "./names.ts";
import { cutMark, marks, type PolicyParameters } from "./parameters.ts";
import { clearMark } from "./render_rule.ts";
import type { Match, PolicyId, Rule } from "./rules.ts";
import type { TierCalls } from "./subjects.ts";

const decided = marks.accept | marks.pass;
const accepted: Match = { match: "mark", value: marks.accept, mask: marks.accept };
const undecided: Match & { match: "mark" } = { match: "mark", value: 0, mask: decided };
const notPassed: Match = { match: "mark", value: 0, mask: marks.pass };

/**
 * The rules of `cali-tw-…` (ingress) or `cali-fw-…` (egress). `profiles`: those that have rules; they
 * stand in the tail chain.
 */
export function endpointRules(
  direction: Direction,
  tiers: readonly TierCalls[],
  profiles: readonly string[],
  parameters: PolicyParameters,
): Rule[] {
  const rules: Rule[] = [{
    statements: [{ do: "jump", chain: commonChains[direction] }],
    origin: { is: "static" },
  }];
  for (const [i, tier] of tiers.entries()) {
    rules.push(...tierRules(tier, i === 0, parameters.denyAction));
  }
  if (tiers.some(endsHere)) return rules;
  rules.push(
    profiles.length === 0 ? noProfile(parameters) : {
      statements: [{ do: "goto", chain: tailChain(direction, profiles) }],
      origin: { is: "static" },
    },
  );
  return rules;
}

/** Whether nothing leaves a tier undecided: no profile is asked then. */
export function endsHere(tier: TierCalls): boolean {
  return tier.defaultAction === "Deny" && !tier.canPass;
}

/** Chains that every endpoint's chain begins with. */
export const commonChains: Readonly<Record<Direction, string>> = {
  egress: chains.fromCommon,
  ingress: chains.toCommon,
};

/** What becomes of connections that policy has cut. */
export function cutRule(parameters: PolicyParameters): Rule {
  return {
    statements: [
      { match: "ctmark", value: cutMark, mask: cutMark },
      { do: "counter" },
      { do: parameters.denyAction },
    ],
    comment: "Drop connections that policy no longer allows",
    origin: { is: "static" },
  };
}

/** What holds for all endpoints before any policy. */
export function commonRules(direction: Direction, parameters: PolicyParameters): Rule[] {
  const rules: Rule[] = [cutRule(parameters), {
    statements: [
      { match: "ctstate", states: ["established", "related"] },
      { do: "counter" },
      { do: "accept" },
    ],
    origin: { is: "static" },
  }];
  if (parameters.dropInvalid) {
    rules.push({
      statements: [
        { match: "ctstate", states: ["invalid"] },
        { do: "counter" },
        { do: parameters.denyAction },
      ],
      origin: { is: "static" },
    });
  }
  rules.push({ statements: [clearMark(decided)], origin: { is: "static" } });
  if (direction === "egress") rules.push(...tunnelRules(parameters));
  return rules;
}

/** The end of an endpoint's chain that has profiles: they are asked in order, then it is closed. */
export function tailRules(
  direction: Direction,
  profiles: readonly string[],
  parameters: PolicyParameters,
): Rule[] {
  const rules: Rule[] = [];
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
  rules.push(noProfile(parameters));
  return rules;
}

/** In the place of rules that cannot be made. */
export function closedRule(parameters: PolicyParameters): Rule {
  return {
    statements: [{ do: "counter" }, { do: parameters.denyAction }],
    comment: "Closed: the rules cannot be made",
    origin: { is: "static" },
  };
}

function noProfile(parameters: PolicyParameters): Rule {
  return {
    statements: [{ do: "counter" }, { do: parameters.denyAction }],
    comment: "Drop if no profiles matched",
    origin: { is: "no-profile" },
  };
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

function tierRules(tier: TierCalls, first: boolean, deny: "drop" | "reject"): Rule[] {
  const rules: Rule[] = [];
  if (!first) {
    rules.push({
      statements: [clearMark(marks.pass)],
      comment: comment(`Start of tier ${tier.tier}`),
      origin: { is: "static" },
    });
  }
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
      statements: [...(tier.canPass ? [notPassed] : []), { do: "counter" }, { do: deny }],
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
