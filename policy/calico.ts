/**
 * Calico's own policies and profiles -> effective policy (libcalico-go's update processors).
 *
 * What cannot be understood fails closed: an Allow or Log rule that cannot be read is left out; in
 * place of a Deny or Pass rule stands a rule that denies everything. A policy whose own selector
 * cannot be read is left out whole, since nobody knows whom it meant. Every such case is a problem
 * in words, for the node's status.
 */
import { parsePrefix, type Prefix } from "../mod/net/mod.ts";
import { parseSelector, Selector } from "../mod/selector/selector.ts";
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
import {
  type CalicoPolicyObject,
  type EntityRuleObject,
  labelsOf,
  listOf,
  type ProfileObject,
  type RuleObject,
  textOf,
} from "./inputs.ts";
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

/** Order of policies that have none: after all others. */
export const NO_ORDER = Infinity;

/** A policy that does not apply to workloads, or that cannot be read: why. */
export interface Unreadable {
  readonly problem?: string;
}

/**
 * A NetworkPolicy or GlobalNetworkPolicy. Policies that act before connection tracking or address
 * translation (doNotTrack, preDNAT) concern host endpoints alone: `problem` is absent then.
 */
export function calicoPolicy(
  object: CalicoPolicyObject,
  kind: "NetworkPolicy" | "GlobalNetworkPolicy",
): EffectivePolicy | Unreadable {
  const spec = object.spec ?? {};
  if (kind === "GlobalNetworkPolicy" && (spec.doNotTrack || spec.preDNAT)) return {};
  const namespace = kind === "NetworkPolicy" ? object.metadata?.namespace ?? "" : "";
  const problems: string[] = [];
  let subject: Selector;
  try {
    subject = subjectOf(spec, namespace);
  } catch (error) {
    return { problem: `it applies to nothing: ${(error as Error).message}` };
  }
  const rules: { [D in Direction]?: readonly EffectiveRule[] } = {};
  for (const direction of policyTypes(spec)) {
    rules[direction] = calicoRules(listOf(spec[direction]), direction, namespace, problems);
  }
  return {
    id: {
      kind,
      namespace,
      name: object.metadata?.name ?? "",
      tier: textOf(spec.tier) || "default",
    },
    order: typeof spec.order === "number" ? spec.order : NO_ORDER,
    subject,
    rules,
    problems,
  };
}

function subjectOf(spec: NonNullable<CalicoPolicyObject["spec"]>, namespace: string): Selector {
  let node = nodeOf(spec.selector);
  if (namespace !== "") node = both(node, inNamespace(namespace));
  else {
    const namespaces = nodeOf(spec.namespaceSelector);
    node = both(node, namespaces && namespaceNode(namespaces));
  }
  const accounts = nodeOf(spec.serviceAccountSelector);
  node = both(node, accounts && serviceAccountNode(accounts));
  return node ? new Selector(node) : parseSelector("");
}

/** Given types, else Ingress unless there are egress rules alone, and Egress if there are any. */
function policyTypes(spec: NonNullable<CalicoPolicyObject["spec"]>): Direction[] {
  const given = listOf(spec.types).map((t) => textOf(t).toLowerCase());
  if (given.length > 0) return directions.filter((d) => given.includes(d));
  const egress = listOf(spec.egress).length > 0;
  const ingress = listOf(spec.ingress).length > 0;
  return egress ? (ingress ? ["ingress", "egress"] : ["egress"]) : ["ingress"];
}

/** A Profile. */
export function calicoProfile(object: ProfileObject): EffectiveProfile {
  const problems: string[] = [];
  const rules: Rules = {
    ingress: calicoRules(listOf(object.spec?.ingress), "ingress", "", problems),
    egress: calicoRules(listOf(object.spec?.egress), "egress", "", problems),
  };
  return {
    name: object.metadata?.name ?? "",
    labels: labelsOf(object.spec?.labelsToApply),
    rules,
    problems,
  };
}

function calicoRules(
  rules: readonly RuleObject[],
  direction: Direction,
  namespace: string,
  problems: string[],
): EffectiveRule[] {
  const result: EffectiveRule[] = [];
  rules.forEach((rule, index) => {
    try {
      result.push(calicoRule(rule, direction, namespace, index));
    } catch (error) {
      const closed = rule?.action === "Deny" || rule?.action === "Pass";
      problems.push(
        `${direction} rule ${index + 1} ` +
          `${closed ? "denies everything" : "is left out"}: ${(error as Error).message}`,
      );
      if (closed) result.push(everything("deny", index));
    }
  });
  return result;
}

const actions: Readonly<Record<string, RuleAction>> = {
  Allow: "allow",
  Deny: "deny",
  Pass: "pass",
  Log: "log",
};

/** Throws an Error whose message says what cannot be read. */
function calicoRule(
  rule: RuleObject,
  direction: Direction,
  namespace: string,
  index: number,
): EffectiveRule {
  if (rule === null || typeof rule !== "object") throw new Error("it is no object");
  const action = Object.hasOwn(actions, rule.action ?? "") ? actions[rule.action!] : undefined;
  if (!action) throw new Error(`action "${rule.action}" is none of Allow, Deny, Log, Pass`);
  if (rule.http) throw new Error("http matches are not enforced by this node");
  const protocol = optional(rule.protocol, readProtocol);
  const source = side(rule.source ?? {}, "source", direction, namespace, protocol);
  const destination = side(
    rule.destination ?? {},
    "destination",
    direction,
    namespace,
    protocol,
  );
  const family = rule.ipVersion === 4 || rule.ipVersion === 6 ? rule.ipVersion : undefined;
  if (rule.ipVersion !== undefined && rule.ipVersion !== null && !family) {
    throw new Error(`ipVersion ${rule.ipVersion} is neither 4 nor 6`);
  }
  return {
    action,
    family,
    protocol,
    notProtocol: optional(rule.notProtocol, readProtocol),
    icmp: optional(rule.icmp, (icmp) => readIcmp(icmp, protocol)),
    notIcmp: optional(rule.notICMP, (icmp) => readIcmp(icmp, protocol)),
    source,
    destination,
    index,
  };
}

function side(
  entity: EntityRuleObject,
  where: "source" | "destination",
  direction: Direction,
  namespace: string,
  protocol: number | undefined,
): Side {
  const at = <T>(read: () => T): T => {
    try {
      return read();
    } catch (error) {
      throw new Error(`${where}: ${(error as Error).message}`);
    }
  };
  return at(() => ({
    nets: optional(entity.nets, readNets),
    notNets: optional(entity.notNets, readNets),
    selector: entitySelector({
      selector: nodeOf(entity.selector),
      namespaceSelector: nodeOf(entity.namespaceSelector),
      serviceAccounts: entity.serviceAccounts && {
        names: listOf(entity.serviceAccounts.names),
        selector: nodeOf(entity.serviceAccounts.selector),
      },
      hasNotSelector: !!entity.notSelector,
    }, namespace),
    notSelector: entity.notSelector ? parseSelector(entity.notSelector) : undefined,
    ports: optional(entity.ports, (ports) => readPorts(ports, protocol)),
    notPorts: optional(entity.notPorts, (ports) => readPorts(ports, protocol)),
    service: optional(entity.services, (service) => {
      if (!service.name) throw new Error("services has no name");
      if ((where === "source") !== (direction === "ingress")) {
        throw new Error(`services cannot stand in the ${where} of an ${direction} rule`);
      }
      return { namespace: service.namespace || namespace, name: service.name };
    }),
  }));
}

/** Absent, null and the empty list all mean: not asked. */
function optional<T, R>(value: T | null | undefined, read: (value: T) => R): R | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) && value.length === 0) return undefined;
  return read(value);
}

function readProtocol(value: string | number): number {
  const protocol = protocolNumber(value);
  if (protocol === undefined) throw new Error(`"${value}" is not a protocol`);
  return protocol;
}

export function readNets(nets: readonly string[]): Prefix[] {
  return nets.map((text) => {
    const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
    if (!prefix) throw new Error(`"${text}" is not a CIDR`);
    return prefix;
  });
}

function readPorts(ports: readonly (number | string)[], protocol: number | undefined): PortMatch {
  const ranges: PortRange[] = [];
  const names: string[] = [];
  for (const port of ports) {
    const read = parsePort(port);
    if (read === undefined) throw new Error(`"${port}" is not a port, a range "a:b" or a name`);
    if (typeof read === "string") names.push(read);
    else ranges.push(read);
  }
  if (protocol !== undefined ? !portProtocols.has(protocol) : ranges.length > 0) {
    throw new Error("ports need protocol TCP, UDP or SCTP");
  }
  return { ranges: normalizeRanges(ranges), names: [...new Set(names)] };
}

function readIcmp(
  icmp: { readonly type?: number; readonly code?: number },
  protocol: number | undefined,
): IcmpMatch | undefined {
  if (icmp.type === undefined || icmp.type === null) {
    if (icmp.code === undefined || icmp.code === null) return undefined;
    throw new Error("an ICMP code needs a type");
  }
  const isByte = (n: unknown) => Number.isInteger(n) && (n as number) >= 0 && (n as number) <= 255;
  if (!isByte(icmp.type) || !(icmp.code === undefined || icmp.code === null || isByte(icmp.code))) {
    throw new Error(`${JSON.stringify(icmp)} is not an ICMP type and code`);
  }
  if (protocol !== 1 && protocol !== 58) {
    throw new Error("ICMP fields need protocol ICMP or ICMPv6");
  }
  return icmp.code === undefined || icmp.code === null
    ? { type: icmp.type }
    : { type: icmp.type, code: icmp.code };
}
