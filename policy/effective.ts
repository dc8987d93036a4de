/**
 * Effective policy: what a policy, profile or Kubernetes NetworkPolicy means once its selectors are
 * put together (namespace, service account, the policy's own scope) and its texts are read. All
 * kinds end in this one form; `render_rule.ts` turns it into rules of the kernel's language.
 */
import type { Prefix } from "../mod/net/mod.ts";
import type { Selector } from "../mod/selector/selector.ts";
import type { Family, PolicyId, PortRange } from "./rules.ts";

export type Direction = "ingress" | "egress";
export const directions: readonly Direction[] = ["ingress", "egress"];

export type RuleAction = "allow" | "deny" | "pass" | "log";

/** Numbers or names: any of them. */
export interface PortMatch {
  /** Sorted, disjoint, inclusive. */
  readonly ranges: readonly PortRange[];
  readonly names: readonly string[];
}

/** What one side of a connection must be like. Absent: anything. All that is there must hold. */
export interface Side {
  readonly nets?: readonly Prefix[];
  readonly notNets?: readonly Prefix[];
  readonly selector?: Selector;
  readonly notSelector?: Selector;
  readonly ports?: PortMatch;
  readonly notPorts?: PortMatch;
  /** A ready endpoint of the service; as destination with the service's ports. */
  readonly service?: { readonly namespace: string; readonly name: string };
}

export interface IcmpMatch {
  readonly type: number;
  readonly code?: number;
}

export interface EffectiveRule {
  readonly action: RuleAction;
  readonly family?: Family;
  readonly protocol?: number;
  readonly notProtocol?: number;
  readonly icmp?: IcmpMatch;
  readonly notIcmp?: IcmpMatch;
  readonly source: Side;
  readonly destination: Side;
  /** Place of the rule in the object's own list, from 0 (one of Kubernetes' may give several). */
  readonly index: number;
}

/** Rules by direction; absent: the policy says nothing about that direction. */
export type Rules = { readonly [D in Direction]?: readonly EffectiveRule[] };

export interface EffectivePolicy {
  readonly id: PolicyId;
  /** Infinity where the policy has none. */
  readonly order: number;
  /** The endpoints it applies to. */
  readonly subject: Selector;
  readonly rules: Rules;
  /** What of the object could not be read, in words. */
  readonly problems: readonly string[];
}

export interface EffectiveProfile {
  readonly name: string;
  /** What its endpoints inherit. */
  readonly labels: readonly (readonly [string, string])[];
  readonly rules: Rules;
  readonly problems: readonly string[];
  /** Its labels are not all known: without a policy nothing is allowed to its endpoints. */
  readonly closes?: boolean;
}

/** A rule that matches everything. */
export function everything(action: RuleAction, index = 0): EffectiveRule {
  return { action, source: {}, destination: {}, index };
}

/** One key for a policy, whatever its kind. */
export function policyKey(id: Pick<PolicyId, "kind" | "namespace" | "name">): string {
  return `${id.kind}/${id.namespace}/${id.name}`;
}

/** Sorts, and joins ranges that overlap or touch. */
export function normalizeRanges(ranges: readonly PortRange[]): PortRange[] {
  const sorted = ranges.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
  const joined: [number, number][] = [];
  for (const [first, last] of sorted) {
    const previous = joined.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else joined.push([first, last]);
  }
  return joined;
}
