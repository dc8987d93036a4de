/**
 * BGPFilter resources as filters of the speaker (Calico's `bgp_<name>_importFilterV4` and its kin). The
 * rules of a peer's filters are tried in order; all conditions of a rule must hold; the first rule
 * that matches accepts or rejects, and whatever no rule matches goes on to what stands behind.
 *
 * A route's priority (Calico v3.32) travels between nodes as LOCAL_PREF = 2147483647 - priority. The
 * `interface` condition speaks of the kernel's routes; the speaker's come from blocks and peers and
 * have none, so such a rule matches nothing, and `filterProblems` says so.
 */
import type { AddressFamily, FilteredRoute, FilterVerdict, RouteFilter } from "../../bgp/config.ts";
import { type Attributes, prependAs } from "../../bgp/message/attributes.ts";
import type { BGPFilter, BGPFilterRule } from "../model/bgp_filter.ts";
import { parseCommunity } from "../model/community.ts";
import { addressBits, parsePrefix, type Prefix, prefixCovers, samePrefix } from "../net/mod.ts";

const NORMAL_PRIORITY = 1024;
const PRIORITY_BASE = 2147483647;

export type Direction = "import" | "export";

/** The rules of one filter for a direction and a family. */
export function rulesOf(
  filter: BGPFilter,
  direction: Direction,
  family: AddressFamily,
): readonly BGPFilterRule[] {
  const { importV4, importV6, exportV4, exportV6 } = filter.spec;
  const rules = direction === "import"
    ? (family === "ipv4" ? importV4 : importV6)
    : (family === "ipv4" ? exportV4 : exportV6);
  return (rules ?? []) as readonly BGPFilterRule[];
}

/** What of a filter has no effect here. */
export function filterProblems(filter: BGPFilter): string[] {
  const problems: string[] = [];
  for (const direction of ["import", "export"] as const) {
    for (const family of ["ipv4", "ipv6"] as const) {
      rulesOf(filter, direction, family).forEach((rule, i) => {
        if (rule.interface === undefined) return;
        problems.push(
          `${direction} rule ${i + 1} for ${family} names the interface ${rule.interface}: ` +
            "routes here have none, so it matches nothing",
        );
      });
    }
  }
  return problems;
}

/** A filter of rules, and of what decides on routes that no rule matches. */
export function routeFilter(
  rules: readonly BGPFilterRule[],
  session: { readonly internal: boolean },
  behind?: RouteFilter,
): RouteFilter | undefined {
  if (rules.length === 0) return behind;
  const compiled = rules.map((rule) => compile(rule, session.internal));
  return {
    id: JSON.stringify([rules, session.internal, behind?.id]),
    judge(route): FilterVerdict {
      for (const { matches, apply, number } of compiled) {
        if (!matches(route)) continue;
        if (rules[number].action === "Reject") {
          return { accept: false, reason: `BGPFilter rule ${number + 1} rejects it` };
        }
        return { accept: true, attributes: apply(route.attributes) };
      }
      return behind ? behind.judge(route) : { accept: true };
    },
  };

  function compile(rule: BGPFilterRule, internal: boolean) {
    return {
      number: rules.indexOf(rule),
      matches: matcher(rule, internal),
      apply: onceEach((attributes) => operate(rule, attributes)),
    };
  }
}

function matcher(rule: BGPFilterRule, internal: boolean): (route: FilteredRoute) => boolean {
  const cidr = rule.cidr === undefined ? undefined : parsePrefix(rule.cidr);
  const wanted = rule.communities?.values.map(parseCommunity) ?? [];
  return (route) => {
    if (rule.interface !== undefined) return false;
    if (rule.source === "RemotePeers" && !route.from) return false;
    if (rule.peerType && (rule.peerType === "iBGP") !== internal) return false;
    if (cidr && !cidrMatches(rule, cidr, route.prefix)) return false;
    if (rule.priority !== undefined && priorityOf(route.attributes) !== rule.priority) return false;
    if (rule.asPathPrefix && !startsWith(route.attributes, rule.asPathPrefix)) return false;
    return wanted.every((community) => community && hasCommunity(route.attributes, community));
  };
}

function cidrMatches(rule: BGPFilterRule, cidr: Prefix, prefix: Prefix): boolean {
  const { min = cidr.length, max = addressBits(cidr.ip.family) } = rule.prefixLength ?? {};
  const inside = prefixCovers(cidr, prefix) && prefix.length >= min && prefix.length <= max;
  switch (rule.matchOperator) {
    case "Equal":
      return samePrefix(cidr, prefix);
    case "NotEqual":
      return !samePrefix(cidr, prefix);
    case "NotIn":
      return !inside;
    default:
      return inside;
  }
}

function priorityOf(attributes: Attributes): number {
  const { localPref } = attributes;
  return localPref === undefined ? NORMAL_PRIORITY : PRIORITY_BASE - localPref;
}

function startsWith(attributes: Attributes, prefix: readonly number[]): boolean {
  const path = attributes.asPath.flatMap((s) => s.type === "sequence" ? s.asns : []);
  return prefix.every((as, i) => path[i] === as);
}

type Parsed = NonNullable<ReturnType<typeof parseCommunity>>;

function hasCommunity(attributes: Attributes, community: Parsed): boolean {
  if (community.size === "standard") {
    const [high, low] = community.parts;
    return attributes.communities?.includes(high * 65536 + low) ?? false;
  }
  const text = community.parts.join(":");
  return attributes.largeCommunities?.some((c) => c.join(":") === text) ?? false;
}

/**
 * A change of attributes that is made once for each object: routes that shared attributes go on
 * sharing them, and so they share UPDATEs.
 */
export function onceEach(
  change: (attributes: Attributes) => Attributes,
): (attributes: Attributes) => Attributes {
  const made = new WeakMap<Attributes, Attributes>();
  return (attributes) => {
    let result = made.get(attributes);
    if (!result) made.set(attributes, result = change(attributes));
    return result;
  };
}

/** The attributes with the communities, as they are or as values of resources. */
export function withCommunities(attributes: Attributes, values: readonly string[]): Attributes {
  let result = attributes;
  for (const value of values) {
    const community = parseCommunity(value);
    if (!community || hasCommunity(result, community)) continue;
    if (community.size === "standard") {
      const [high, low] = community.parts;
      const communities = [...(result.communities ?? []), high * 65536 + low];
      result = { ...result, communities };
    } else {
      const largeCommunities = [...(result.largeCommunities ?? []), community.parts];
      result = { ...result, largeCommunities };
    }
  }
  return result;
}

function operate(rule: BGPFilterRule, attributes: Attributes): Attributes {
  let result = attributes;
  for (const { addCommunity, prependASPath, setPriority } of rule.operations ?? []) {
    if (addCommunity) result = withCommunities(result, [addCommunity.value]);
    if (prependASPath) {
      result = { ...result, asPath: prependAs(result.asPath, prependASPath.prefix) };
    }
    if (setPriority) result = { ...result, localPref: PRIORITY_BASE - setPriority.value };
  }
  return result;
}
