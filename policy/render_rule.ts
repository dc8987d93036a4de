/**
 * Effective rules -> rules of the kernel's language, for one family; with the sets that they need.
 *
 * One effective rule becomes one rule, because the language has sets of networks and lists of port
 * ranges; only where numbers and names of ports stand side by side there is one for each of the two
 * ways to match. Nothing that a list holds grows a rule, however long it is: the kernel takes 128
 * expressions in one (NFT_RULE_MAXEXPRS), and refuses the whole transaction for one more. The result of a policy is a mark (accept or pass) and a return; a denial is final.
 *
 * As Calico does it: a rule that is bound to the other family is left out, also one whose networks
 * are all of the other family; a rule that excludes every address matches nothing.
 */
import { formatPrefix, type Prefix } from "../mod/net/mod.ts";
import { compareCodePoints, parseSelector, type Selector } from "../mod/selector/selector.ts";
import type { Direction, EffectiveRule, IcmpMatch, Side } from "./effective.ts";
import { comment, literalNetsId, namedPortsId, serviceId, setName } from "./names.ts";
import { marks, type PolicyParameters } from "./parameters.ts";
import { protocolName } from "./protocol.ts";
import type { Action, Family, Match, Origin, Rule, Statement } from "./rules.ts";

/** What a set holds, by content; its id is a hash of this. */
export type SetSpec =
  | { readonly is: "selector"; readonly selector: Selector }
  | {
    readonly is: "named-port";
    /** Endpoints that may bring the ports. */
    readonly selector: Selector;
    readonly protocol: number;
    /** Names: a port that bears any of them. */
    readonly ports: ReadonlySet<string>;
  }
  /** Of one family, canonical text. */
  | { readonly is: "nets"; readonly nets: readonly string[] }
  | {
    readonly is: "service";
    readonly namespace: string;
    readonly name: string;
    readonly withPorts: boolean;
  };

/** Rules and the sets they name, by id. */
export interface RenderedRules {
  readonly rules: readonly Rule[];
  readonly sets: ReadonlyMap<string, SetSpec>;
}

const everyEndpoint = parseSelector("");

/** `title`: `knp default/allow-web ingress`, to which the rule's place is added. */
export function renderRules(
  rules: readonly EffectiveRule[],
  family: Family,
  direction: Direction,
  title: string,
  origin: (rule: number) => Origin,
  parameters: PolicyParameters,
): RenderedRules {
  const sets = new Map<string, SetSpec>();
  const result: Rule[] = [];
  for (const rule of rules) {
    const actions = actionsOf(rule, parameters);
    for (const matches of renderMatches(rule, family, direction, sets)) {
      result.push({
        statements: [...matches, ...actions],
        comment: comment(`${title} rule ${rule.index + 1}`),
        origin: origin(rule.index),
      });
    }
  }
  return { rules: result, sets };
}

function actionsOf(rule: EffectiveRule, parameters: PolicyParameters): Action[] {
  const counter: Action = { do: "counter" };
  switch (rule.action) {
    case "allow":
      return [counter, setMark(marks.accept), { do: "return" }];
    case "pass":
      return [counter, setMark(marks.pass), { do: "return" }];
    case "deny":
      return [counter, { do: parameters.denyAction }];
    case "log":
      return [counter, { do: "log", prefix: parameters.logPrefix }];
  }
}

export function setMark(bit: number): Action {
  return { do: "mark", value: bit, mask: bit };
}

export function clearMark(bits: number): Action {
  return { do: "mark", value: 0, mask: bits };
}

/** The ways in which a packet can match: none if it never can in this family. */
function renderMatches(
  rule: EffectiveRule,
  family: Family,
  direction: Direction,
  sets: Map<string, SetSpec>,
): Statement[][] {
  if (rule.family !== undefined && rule.family !== family) return [];
  const icmpProtocol = family === 4 ? 1 : 58;
  if ((rule.icmp || rule.notIcmp) && rule.protocol !== icmpProtocol) return [];

  const head: Match[] = [];
  if (rule.protocol !== undefined) head.push({ match: "protocol", value: rule.protocol });
  if (rule.notProtocol !== undefined) {
    head.push({ match: "protocol", value: rule.notProtocol, not: true });
  }
  if (rule.icmp) head.push(icmpMatch(rule.icmp));
  if (rule.notIcmp) head.push({ ...icmpMatch(rule.notIcmp), not: true });

  const used = new Map<string, SetSpec>();
  const source = renderSide(rule.source, "source", rule, family, direction, used);
  const destination = renderSide(rule.destination, "destination", rule, family, direction, used);
  if (!source || !destination) return [];
  for (const [id, spec] of used) sets.set(id, spec);
  const result: Statement[][] = [];
  for (const from of source.ways) {
    for (const to of destination.ways) {
      result.push([...head, ...source.always, ...destination.always, ...from, ...to]);
    }
  }
  return result;
}

function icmpMatch(icmp: IcmpMatch): Match & { match: "icmp" } {
  return icmp.code === undefined
    ? { match: "icmp", type: icmp.type }
    : { match: "icmp", type: icmp.type, code: icmp.code };
}

/** What always holds, and the ways of which one must hold; undefined: never in this family. */
interface RenderedSide {
  readonly always: readonly Match[];
  readonly ways: readonly (readonly Match[])[];
}

function renderSide(
  side: Side,
  where: "source" | "destination",
  rule: EffectiveRule,
  family: Family,
  direction: Direction,
  sets: Map<string, SetSpec>,
): RenderedSide | undefined {
  const address = where === "source" ? "saddr" : "daddr";
  const port = where === "source" ? "sport" : "dport";
  const use = (id: string, spec: SetSpec): string => {
    sets.set(id, spec);
    return setName(family, id);
  };
  const networks = (list: readonly Prefix[], not: boolean): Match[] | undefined => {
    const own = list.filter((p) => p.ip.family === family);
    if (own.length === 0) return undefined;
    // Every packet of the family has an address of this.
    if (own.some((p) => p.length === 0)) return not ? undefined : [];
    const texts = [...new Set(own.map(formatPrefix))].sort();
    const negate = not ? { not } : {};
    return texts.length === 1 ? [{ match: address, prefix: texts[0], ...negate }] : [{
      match: address,
      set: use(literalNetsId(texts), { is: "nets", nets: texts }),
      ...negate,
    }];
  };

  const always: Match[] = [];
  if (side.nets) {
    const matches = networks(side.nets, false);
    if (!matches) return undefined;
    always.push(...matches);
  }
  // A set of (address, port) of the selected endpoints says all that the selector says.
  const portsSayIt = side.ports !== undefined && side.ports.ranges.length === 0;
  if (side.selector && !portsSayIt) {
    const id = side.selector.id;
    always.push({
      match: address,
      set: use(id, { is: "selector", selector: side.selector }),
    });
  }
  if (side.notNets) {
    const matches = networks(side.notNets, true);
    if (!matches) return undefined;
    always.push(...matches);
  }
  if (side.notSelector) {
    const id = side.notSelector.id;
    always.push({
      match: address,
      set: use(id, { is: "selector", selector: side.notSelector }),
      not: true,
    });
  }
  if (side.service) {
    const withPorts = direction === "egress";
    const { namespace, name } = side.service;
    const set = use(serviceId(namespace, name, withPorts), {
      is: "service",
      namespace,
      name,
      withPorts,
    });
    always.push(withPorts ? { match: "address-port", side: where, set } : { match: address, set });
  }

  /** Names are one set, however many. Rules name ports without a protocol too; TCP is meant then. */
  const named = (names: readonly string[]): Match & { match: "address-port" } => {
    const selector = side.selector ?? everyEndpoint;
    const protocol = rule.protocol ?? 6;
    const sorted = names.toSorted(compareCodePoints);
    const set = use(namedPortsId(selector.id, protocolName(protocol).toLowerCase(), sorted), {
      is: "named-port",
      selector,
      protocol,
      ports: new Set(sorted),
    });
    return { match: "address-port", side: where, set };
  };
  const { ports, notPorts } = side;
  if (notPorts && notPorts.ranges.length > 0) {
    always.push({ match: port, ranges: notPorts.ranges, not: true });
  }
  if (notPorts && notPorts.names.length > 0) {
    always.push({ ...named(notPorts.names), not: true });
  }
  if (!ports) return { always, ways: [[]] };
  const ways: Match[][] = [];
  if (ports.ranges.length > 0) ways.push([{ match: port, ranges: ports.ranges }]);
  if (ports.names.length > 0) ways.push([named(ports.names)]);
  return { always, ways };
}
