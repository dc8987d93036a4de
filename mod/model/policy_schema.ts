/**
 * What Calico's policies have in common, enforced and staged: the spec's fields, the columns of their
 * tables, and the rules that tie fields together.
 */
import * as v from "valibot";
import type { Column, Issue } from "./kind.ts";
import type { Metadata } from "./resource.ts";
import { float, LABEL, NAME, nameText, oneOf, selectorText } from "./fields.ts";
import { column, goPointer, nameColumn } from "./columns.ts";
import { type Rule, ruleSchema } from "./rule.ts";
import { ruleIssues } from "./rule_check.ts";
import { show } from "./show.ts";

const rules = v.optional(v.array(ruleSchema));

/** Fields of NetworkPolicy's spec. */
export const policyEntries = {
  tier: v.optional(nameText, "default"),
  /** Absent: after all that have one. */
  order: v.optional(float),
  ingress: rules,
  egress: rules,
  /** Absent or empty: all. */
  selector: v.optional(selectorText),
  /** Never empty after reading: Ingress unless there are egress rules alone, Egress where there are such. */
  types: v.optional(v.array(oneOf("Ingress", "Egress")), () => []),
  serviceAccountSelector: v.optional(selectorText),
  performanceHints: v.optional(v.array(oneOf("AssumeNeededOnEveryNode"))),
};

/** The part of a policy's spec that is checked here. */
interface PolicySpec {
  tier: string;
  order?: number;
  ingress?: Rule[];
  egress?: Rule[];
  selector?: string;
  types: ("Ingress" | "Egress")[];
  serviceAccountSelector?: string;
  namespaceSelector?: string;
  performanceHints?: string[];
  doNotTrack?: boolean;
  preDNAT?: boolean;
  applyOnForward?: boolean;
}
interface Policy {
  metadata: Metadata;
  spec: PolicySpec;
}

export const policyColumns: Column<Policy>[] = [
  nameColumn as Column,
  column("TIER", (p) => p.spec.tier),
];
export const widePolicyColumns: Column<Policy>[] = [
  ...policyColumns,
  column("ORDER", (p) => goPointer(p.spec.order)),
  column("SELECTOR", (p) => p.spec.selector ?? ""),
];

/** Fills in `types`: Ingress alone unless there are egress rules only, both where there are both. */
export function completePolicy({ spec }: Policy): void {
  if (spec.types.length > 0) return;
  const egress = (spec.egress?.length ?? 0) > 0;
  const ingress = (spec.ingress?.length ?? 0) > 0 || !egress;
  spec.types = [...(ingress ? ["Ingress" as const] : []), ...(egress ? ["Egress" as const] : [])];
}

/** Rules of a NetworkPolicy: `name`, `tier.name`, `knp.default.…`, `ossg.default.…`. */
export function networkPolicyIssues(policy: Policy): Issue[] {
  const { name } = policy.metadata;
  const issues: Issue[] = [];
  const prefixed = /^(?:knp|ossg)\.default\.(.+)$/.exec(name);
  if (!isOneOrTwoLabels(name) && !(prefixed && NAME.test(prefixed[1]))) {
    issues.push(nameIssue(name));
  }
  return [...issues, ...specIssues(policy.spec, false)];
}

/** Rules of a GlobalNetworkPolicy. */
export function globalPolicyIssues(policy: Policy): Issue[] {
  const { name } = policy.metadata;
  const { spec } = policy;
  const issues: Issue[] = isOneOrTwoLabels(name) ? [] : [nameIssue(name)];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (spec.preDNAT && spec.doNotTrack) say("preDNAT", "cannot stand beside doNotTrack");
  if ((spec.preDNAT || spec.doNotTrack) && !spec.applyOnForward) {
    say(spec.preDNAT ? "preDNAT" : "doNotTrack", "needs applyOnForward: true");
  }
  if (spec.preDNAT && (spec.egress?.length ?? 0) > 0) {
    say("egress", "is not allowed in a preDNAT policy, which sees incoming traffic alone");
  }
  if (spec.preDNAT && spec.types.includes("Egress") && (spec.egress?.length ?? 0) === 0) {
    say("types", "Egress is not allowed in a preDNAT policy, which sees incoming traffic alone");
  }
  return [...issues, ...specIssues(spec, true)];
}

function specIssues(spec: PolicySpec, global: boolean): Issue[] {
  const issues: Issue[] = [];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (new Set(spec.types).size !== spec.types.length) {
    say("types", `${show(spec.types)} repeats one; want each at most once`);
  }
  const hints = spec.performanceHints ?? [];
  if (new Set(hints).size !== hints.length) say("performanceHints", `${show(hints)} repeats one`);
  for (const field of ["selector", "serviceAccountSelector", "namespaceSelector"] as const) {
    if (spec[field]?.includes("global(")) {
      say(
        field,
        `${show(spec[field])} is not allowed: global() is for the namespaceSelector of a rule's ` +
          "source or destination",
      );
    }
  }
  return [
    ...issues,
    ...ruleIssues(spec.ingress, { direction: "ingress", global }),
    ...ruleIssues(spec.egress, { direction: "egress", global }),
  ];
}

function isOneOrTwoLabels(name: string): boolean {
  const labels = name.split(".");
  return name.length <= 253 && labels.length <= 2 && labels.every((label) => LABEL.test(label));
}

function nameIssue(name: string): Issue {
  return {
    path: "metadata.name",
    message:
      `${show(name)} is not allowed: want lower-case letters, digits and '-', with at most ` +
      "one '.' (tier.name), in all at most 253",
  };
}
