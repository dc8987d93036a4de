/**
 * Which of several routes to a prefix is the best (RFC 4271 section 9.1.2, RFC 4456 section 9), as a
 * table of rules: each leaves those that are best by one measure. Whoever is left after the last rule
 * wins. The explanation of a decision is the same walk, with the rule noted at which a route fell out.
 *
 * Before the rules that only break ties, those left are equally good: with multipath all their next
 * hops are used.
 */
import { compareIp, formatIp } from "../../mod/net/mod.ts";
import { asPathLength, formatId, neighbourAs, ORIGIN_NAMES } from "../message/attributes.ts";
import type { Route } from "./route.ts";

export interface DecisionContext {
  /** Interior cost of the route's next hop; undefined: it cannot be reached. */
  metric(route: Route): number | undefined;
  readonly multipath: boolean;
}

interface Rule {
  /** "a lower MED": what the winner has. */
  readonly wins: string;
  /** The measure of a route, for people. */
  show(route: Route, context: DecisionContext): string;
  keep(routes: Route[], context: DecisionContext): Route[];
  /** Only breaks ties: what it drops is as good as what stays. */
  readonly tie?: boolean;
}

/** Keeps those of the least measure. */
function least(
  wins: string,
  measure: (route: Route, context: DecisionContext) => number,
  show: (route: Route, context: DecisionContext) => string = (r, c) => String(measure(r, c)),
  tie = false,
): Rule {
  return {
    wins,
    show,
    tie,
    keep(routes, context) {
      let low = Infinity;
      for (const route of routes) low = Math.min(low, measure(route, context));
      return routes.filter((route) => measure(route, context) === low);
    },
  };
}

const DEFAULT_LOCAL_PREF = 100;
const localPref = (route: Route) => route.attributes.localPref ?? DEFAULT_LOCAL_PREF;
const med = (route: Route) => route.attributes.med ?? 0;
const identifier = (route: Route) => route.attributes.originatorId ?? route.source.routerId;

const RULES: readonly Rule[] = [
  least(
    "a route of our own",
    (r) => r.source.kind === "local" ? 0 : 1,
    (r) => r.source.kind === "local" ? "own" : "learned",
  ),
  least("a higher local preference", (r) => -localPref(r), (r) => String(localPref(r))),
  least("a shorter AS path", (r) => asPathLength(r.attributes.asPath)),
  least(
    "a better origin",
    (r) => r.attributes.origin,
    (r) => ORIGIN_NAMES[r.attributes.origin],
  ),
  {
    // Only between routes of one neighbouring AS: a MED means nothing to others.
    wins: "a lower MED",
    show: (r) => String(med(r)),
    keep: (routes) =>
      routes.filter((route) => {
        const as = neighbourAs(route.attributes.asPath);
        return !routes.some((other) =>
          med(other) < med(route) && neighbourAs(other.attributes.asPath) === as
        );
      }),
  },
  least(
    "an external peer",
    (r) => r.source.internal ? 1 : 0,
    (r) => r.source.internal ? "internal" : "external",
  ),
  least("a nearer next hop", (r, c) => c.metric(r) ?? Infinity),
  least("a lower router ID", identifier, (r) => formatId(identifier(r)), true),
  least("a shorter cluster list", (r) => r.attributes.clusterList?.length ?? 0, undefined, true),
  {
    wins: "a lower peer address",
    show: (r) => r.source.address ? formatIp(r.source.address) : r.source.name,
    tie: true,
    keep: (routes) => [
      routes.reduce((a, b) => {
        const order = a.source.address && b.source.address
          ? compareIp(a.source.address, b.source.address)
          : 0;
        return order < 0 || (order === 0 && a.source.name <= b.source.name) ? a : b;
      }),
    ],
  },
];

export interface Decision {
  readonly best?: Route;
  /** Learned routes that are equally good, the best first; empty where the best is our own. */
  readonly used: readonly Route[];
}

const NOTHING: Decision = { used: [] };

/** Why a route is out of the question; undefined where it takes part. */
export function unusable(route: Route, context: DecisionContext): string | undefined {
  if (route.blocked !== undefined) return route.blocked;
  if (route.source.kind === "peer" && context.metric(route) === undefined) {
    const hop = route.attributes.nextHop;
    return `the next hop ${hop ? formatIp(hop) : "(none)"} cannot be reached`;
  }
  return undefined;
}

/** Decides; `why` is filled with a reason for every route, where it is given. */
export function decide(
  routes: readonly Route[],
  context: DecisionContext,
  why?: Map<Route, string>,
): Decision {
  if (routes.length === 1 && !why) {
    const [route] = routes;
    if (unusable(route, context) !== undefined) return NOTHING;
    return { best: route, used: route.source.kind === "local" ? NOTHING.used : routes };
  }
  let left: Route[] = [];
  for (const route of routes) {
    const reason = unusable(route, context);
    if (reason === undefined) left.push(route);
    else why?.set(route, reason);
  }
  if (left.length === 0) return NOTHING;
  let equal: Route[] | undefined;
  let last: { rule: Rule; loser: Route } | undefined;
  for (const rule of RULES) {
    if (rule.tie) equal ??= left;
    if (left.length === 1) {
      if (equal) break;
      continue;
    }
    const kept = rule.keep(left, context);
    if (why && kept.length < left.length) {
      for (const route of left) {
        if (kept.includes(route)) continue;
        const [lost, won] = [rule.show(route, context), rule.show(kept[0], context)];
        why.set(route, `another has ${rule.wins} (${won} against ${lost})`);
        last = { rule, loser: route };
      }
    }
    left = kept;
  }
  const best = left[0];
  if (why) {
    why.set(
      best,
      last
        ? `has ${last.rule.wins} (${last.rule.show(best, context)} against ${
          last.rule.show(last.loser, context)
        })`
        : "the only usable route",
    );
  }
  if (best.source.kind === "local") return { best, used: [] };
  if (!context.multipath || !equal || equal.length === 1) return { best, used: left };
  return { best, used: distinctHops([best, ...equal.filter((route) => route !== best)]) };
}

/** One route for each next hop. */
function distinctHops(routes: Route[]): Route[] {
  return routes.filter((route, i) => {
    const hop = route.attributes.nextHop;
    return i === routes.findIndex((other) =>
      hop === other.attributes.nextHop ||
      (hop && other.attributes.nextHop && compareIp(hop, other.attributes.nextHop) === 0)
    );
  });
}
