/**
 * Calico's own policies and profiles -> effective policy (libcalico-go's update processors).
 *
 * What cannot be understood fails closed: an Allow or Log rule that is misread, or has a field that is
 * not known, is left out; in place of any other stands a rule that denies everything, and in place of
 * a list that is none, or of both where the types are misread. Where types that are not given would
 * hang on a rule that is misread, both directions count. A policy whose subject or place (selectors,
 * tier, order) is misread applies to nothing, as in Felix, since nobody knows whom it meant: it denies
 * nothing, and it allows nothing. Names of fields are read in any case, as Go reads them. Every such
 * case is a problem in words that names the field, for the node's status and for `policy explain`.
 */
import { parsePrefix, type Prefix } from "../mod/net/mod.ts";
import {
  isSelectorValue,
  parseSelector,
  Selector,
  type SelectorNode,
} from "../mod/selector/selector.ts";
import { show } from "../mod/model/show.ts";
import {
  type Direction,
  directions,
  type EffectivePolicy,
  type EffectiveProfile,
  type EffectiveRule,
  everything,
  type IcmpMatch,
  normalizeRanges,
  type PortMatch,
  type RuleAction,
  type Rules,
  type Side,
} from "./effective.ts";
import type { CalicoPolicyObject, ProfileObject } from "./inputs.ts";
import { parsePort, protocolNumber } from "./protocol.ts";
import { portProtocols, type PortRange } from "./rules.ts";
import {
  both,
  entitySelector,
  inNamespace,
  namespaceNode,
  nodeOf,
  serviceAccountNode,
} from "./selectors.ts";
import {
  attempt,
  inAnyCase,
  itemsOf,
  type Members,
  membersOf,
  Misread,
  onlyKnown,
  unknownField,
  unknownOf,
  wordOf,
  wordsOf,
} from "./stored_fields.ts";
import { textLabels } from "./stored_object.ts";

/** Order of policies that have none: after all others. */
export const NO_ORDER = Infinity;

/** A policy that does not apply to workloads, or that cannot be read: why. */
interface Unreadable {
  readonly problem?: string;
}

/** Fields of a policy's spec. */
const specFields = [
  ...["tier", "order", "selector", "namespaceSelector", "serviceAccountSelector", "types"],
  ...["ingress", "egress", "doNotTrack", "preDNAT", "applyOnForward", "performanceHints"],
];

/**
 * A NetworkPolicy or GlobalNetworkPolicy. Policies that act before connection tracking or address
 * translation (doNotTrack, preDNAT) concern host endpoints alone: `problem` is absent then.
 */
export function calicoPolicy(
  object: CalicoPolicyObject,
  kind: "NetworkPolicy" | "GlobalNetworkPolicy",
): EffectivePolicy | Unreadable {
  const namespace = kind === "NetworkPolicy" ? object.metadata?.namespace ?? "" : "";
  const problems: string[] = [];
  const head = attempt(() => {
    const spec = inAnyCase(membersOf(object.spec, "spec") ?? {}, specFields);
    const flag = (field: string) => {
      const value = spec[field] ?? false;
      if (typeof value !== "boolean") {
        throw new Misread(`spec.${field}`, `${show(value)} is not true or false`);
      }
      return value;
    };
    if (kind === "GlobalNetworkPolicy" && (flag("doNotTrack") || flag("preDNAT"))) return undefined;
    // Beyond 2^53 the datastore's reader gives whole numbers as bigint; an order is a double.
    const order = typeof spec.order === "bigint" ? Number(spec.order) : spec.order ?? NO_ORDER;
    if (typeof order !== "number") throw new Misread("spec.order", `${show(order)} is no number`);
    return {
      spec,
      order,
      tier: wordOf(spec.tier, "spec.tier") || "default",
      subject: subjectOf(spec, namespace),
    };
  });
  if ("misread" in head) return { problem: `it applies to nothing: ${head.misread}` };
  if (!head.value) return {};
  const { spec, order, tier, subject } = head.value;
  for (const field of unknownOf(spec, specFields)) {
    problems.push(`spec.${field}: ${unknownField(field, specFields)}; it is passed over`);
  }
  const types = attempt(() => givenTypes(spec));
  if ("misread" in types) problems.push(`${types.misread}; it denies everything`);
  // Also of a direction that does not count it is told what is misread.
  const misread: string[] = [];
  const read = Object.fromEntries(
    directions.map((d) => [d, calicoRules(spec[d], d, namespace, misread)]),
  ) as Record<Direction, EffectiveRule[]>;
  problems.push(...misread);
  const rules: { [D in Direction]?: readonly EffectiveRule[] } = {};
  for (
    const direction of "misread" in types
      ? directions
      : types.value ?? (misread.length > 0 ? directions : impliedTypes(read))
  ) {
    rules[direction] = "misread" in types ? [everything("deny")] : read[direction];
  }
  return {
    id: { kind, namespace, name: object.metadata?.name ?? "", tier },
    order,
    subject,
    rules,
    problems,
  };
}

function subjectOf(spec: Members, namespace: string): Selector {
  const text = (field: string) => selectorOf(spec[field], `spec.${field}`);
  let node = text("selector");
  if (namespace !== "") node = both(node, inNamespace(namespace));
  else {
    const namespaces = text("namespaceSelector");
    node = both(node, namespaces && namespaceNode(namespaces));
  }
  const accounts = text("serviceAccountSelector");
  node = both(node, accounts && serviceAccountNode(accounts));
  return node ? new Selector(node) : parseSelector("");
}

/** The tree of a selector's text; undefined for an absent or empty one. */
function selectorOf(value: unknown, path: string): SelectorNode | undefined {
  const text = wordOf(value, path);
  try {
    return nodeOf(text);
  } catch (error) {
    throw new Misread(path, (error as Error).message);
  }
}

/** undefined where none are given. */
function givenTypes(spec: Members): readonly Direction[] | undefined {
  const given = (wordsOf(spec.types, "spec.types") ?? []).map((word, i) => {
    const type = directions.find((d) => d === word.toLowerCase());
    if (!type) throw new Misread(`spec.types[${i}]`, `${show(word)} is neither Ingress nor Egress`);
    return type;
  });
  return given.length > 0 ? directions.filter((d) => given.includes(d)) : undefined;
}

/** Ingress unless there are egress rules alone, and Egress if there are any. */
function impliedTypes(rules: Record<Direction, readonly EffectiveRule[]>): readonly Direction[] {
  if (rules.egress.length === 0) return ["ingress"];
  return rules.ingress.length > 0 ? directions : ["egress"];
}

const profileFields = ["ingress", "egress", "labelsToApply"];

/** A Profile. */
export function calicoProfile(object: ProfileObject): EffectiveProfile {
  const problems: string[] = [];
  const name = object.metadata?.name ?? "";
  const read = attempt(() => inAnyCase(membersOf(object.spec, "spec") ?? {}, profileFields));
  if ("misread" in read) {
    problems.push(`${read.misread}; it denies everything`);
    return { name, labels: [], rules: closed, problems };
  }
  const spec = read.value;
  for (const field of unknownOf(spec, profileFields)) {
    problems.push(`spec.${field}: ${unknownField(field, profileFields)}; it is passed over`);
  }
  const rules: Rules = {
    ingress: calicoRules(spec.ingress, "ingress", "", problems),
    egress: calicoRules(spec.egress, "egress", "", problems),
  };
  const { labels, closes } = textLabels(spec.labelsToApply, "spec.labelsToApply", problems);
  return { name, labels: Object.entries(labels), rules, problems, closes };
}

const closed: Rules = { ingress: [everything("deny")], egress: [everything("deny")] };

function calicoRules(
  value: unknown,
  direction: Direction,
  namespace: string,
  problems: string[],
): EffectiveRule[] {
  const path = `spec.${direction}`;
  const list = attempt(() => itemsOf(value, path) ?? []);
  if ("misread" in list) {
    problems.push(`${list.misread}; it denies everything`);
    return [everything("deny")];
  }
  return list.value.flatMap((item, index): EffectiveRule[] => {
    const at = `${path}[${index}]`;
    const read = attempt(() => calicoRule(item, at, direction, namespace, index));
    if ("value" in read) return [read.value];
    // Only a rule that is known to allow can be left out.
    const allows = isAllowing(item);
    problems.push(
      `${read.misread}; the rule ${allows ? "is left out" : "denies everything instead"}`,
    );
    return allows ? [] : [everything("deny", index)];
  });
}

function isAllowing(rule: unknown): boolean {
  if (rule === null || typeof rule !== "object") return false;
  const { action } = inAnyCase(rule as Members, ruleFields);
  return action === "Allow" || action === "Log";
}

const actions: Readonly<Record<string, RuleAction>> = {
  Allow: "allow",
  Deny: "deny",
  Pass: "pass",
  Log: "log",
};
const ruleFields = [
  ...["action", "ipVersion", "protocol", "icmp", "notProtocol", "notICMP", "source"],
  ...["destination", "http", "metadata"],
];

function calicoRule(
  value: unknown,
  path: string,
  direction: Direction,
  namespace: string,
  index: number,
): EffectiveRule {
  const rule = known(value, ruleFields, path);
  if (!rule) throw new Misread(path, "null is no rule");
  const action = typeof rule.action === "string" && Object.hasOwn(actions, rule.action)
    ? actions[rule.action]
    : undefined;
  if (!action) {
    throw new Misread(
      `${path}.action`,
      `${show(rule.action)} is none of Allow, Deny, Log, Pass`,
    );
  }
  if (rule.http) throw new Misread(`${path}.http`, "is not enforced by this node");
  const protocol = protocolOf(rule.protocol, `${path}.protocol`);
  const side = (where: "source" | "destination") =>
    sideOf(rule[where], `${path}.${where}`, where, direction, namespace, protocol);
  const source = side("source"), destination = side("destination");
  const family = rule.ipVersion ?? undefined;
  if (family !== undefined && family !== 4 && family !== 6) {
    throw new Misread(`${path}.ipVersion`, `${show(family)} is neither 4 nor 6`);
  }
  return {
    action,
    family,
    protocol,
    notProtocol: protocolOf(rule.notProtocol, `${path}.notProtocol`),
    icmp: icmpOf(rule.icmp, `${path}.icmp`, protocol),
    notIcmp: icmpOf(rule.notICMP, `${path}.notICMP`, protocol),
    source,
    destination,
    index,
  };
}

/** An object of which every field is known, in any case; undefined where it is absent. */
function known(value: unknown, fields: readonly string[], path: string): Members | undefined {
  const members = membersOf(value, path);
  if (!members) return undefined;
  const read = inAnyCase(members, fields);
  onlyKnown(read, fields, path);
  return read;
}

const entityFields = [
  ...["nets", "notNets", "selector", "notSelector", "namespaceSelector", "ports", "notPorts"],
  ...["serviceAccounts", "services"],
];

function sideOf(
  value: unknown,
  path: string,
  where: "source" | "destination",
  direction: Direction,
  namespace: string,
  protocol: number | undefined,
): Side {
  const entity = known(value, entityFields, path) ?? {};
  const at = (field: string) => `${path}.${field}`;
  const accounts = known(entity.serviceAccounts, ["names", "selector"], at("serviceAccounts"));
  const service = known(entity.services, ["name", "namespace"], at("services"));
  const notSelector = selectorOf(entity.notSelector, at("notSelector"));
  const names = wordsOf(accounts?.names, at("serviceAccounts.names"));
  const wrong = names?.find((name) => !isSelectorValue(name));
  if (wrong !== undefined) {
    throw new Misread(at("serviceAccounts.names"), `${show(wrong)} is not an account's name`);
  }
  if (service && (where === "source") !== (direction === "ingress")) {
    throw new Misread(at("services"), `cannot stand in the ${where} of an ${direction} rule`);
  }
  return {
    nets: netsOf(entity.nets, at("nets")),
    notNets: netsOf(entity.notNets, at("notNets")),
    selector: entitySelector({
      selector: selectorOf(entity.selector, at("selector")),
      namespaceSelector: selectorOf(entity.namespaceSelector, at("namespaceSelector")),
      serviceAccounts: accounts && {
        names,
        selector: selectorOf(accounts.selector, at("serviceAccounts.selector")),
      },
      hasNotSelector: notSelector !== undefined,
    }, namespace),
    notSelector: notSelector && new Selector(notSelector),
    ports: portsOf(entity.ports, at("ports"), protocol),
    notPorts: portsOf(entity.notPorts, at("notPorts"), protocol),
    service: service && {
      namespace: wordOf(service.namespace, at("services.namespace")) || namespace,
      name: serviceName(service.name, at("services.name")),
    },
  };
}

function serviceName(value: unknown, path: string): string {
  const name = wordOf(value, path);
  if (!name) throw new Misread(path, "is missing");
  return name;
}

function protocolOf(value: unknown, path: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  const protocol = protocolNumber(value as string | number);
  if (!protocol) throw new Misread(path, `${show(value)} is not a protocol`);
  return protocol;
}

/** An empty list asks nothing, as an absent one. */
function some<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list && list.length > 0 ? list : undefined;
}

function netsOf(value: unknown, path: string): readonly Prefix[] | undefined {
  return some(itemsOf(value, path))?.map((text, i) => {
    const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
    if (!prefix) throw new Misread(`${path}[${i}]`, `${show(text)} is not a CIDR`);
    return prefix;
  });
}

function portsOf(
  value: unknown,
  path: string,
  protocol: number | undefined,
): PortMatch | undefined {
  const list = some(itemsOf(value, path));
  if (!list) return undefined;
  const ranges: PortRange[] = [];
  const names: string[] = [];
  list.forEach((port, i) => {
    const read = parsePort(port as number | string);
    if (read === undefined || typeof read !== "string" && read[0] < 1) {
      throw new Misread(`${path}[${i}]`, `${show(port)} is not a port, a range "a:b" or a name`);
    }
    if (typeof read === "string") names.push(read);
    else ranges.push(read);
  });
  if (protocol !== undefined ? !portProtocols.has(protocol) : ranges.length > 0) {
    throw new Misread(path, "need protocol TCP, UDP or SCTP");
  }
  return { ranges: normalizeRanges(ranges), names: [...new Set(names)] };
}

function icmpOf(
  value: unknown,
  path: string,
  protocol: number | undefined,
): IcmpMatch | undefined {
  const icmp = known(value, ["type", "code"], path);
  const type = icmp?.type ?? undefined, code = icmp?.code ?? undefined;
  if (type === undefined) {
    if (code !== undefined) throw new Misread(`${path}.code`, "needs a type beside it");
    return undefined;
  }
  const isByte = (n: unknown): n is number =>
    typeof n === "number" && Number.isInteger(n) && n >= 0 && n <= 255;
  if (!isByte(type)) throw new Misread(`${path}.type`, `${show(type)} is no number up to 255`);
  if (code !== undefined && !isByte(code)) {
    throw new Misread(`${path}.code`, `${show(code)} is no number up to 255`);
  }
  if (protocol !== 1 && protocol !== 58) {
    throw new Misread(path, "needs protocol ICMP or ICMPv6");
  }
  return code === undefined ? { type } : { type, code };
}
