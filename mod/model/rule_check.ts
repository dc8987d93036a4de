/**
 * What Calico asks of a rule beyond its shape: which fields go together. Used by policies and
 * profiles (libcalico-go/lib/validator/v3 and the CEL rules of api/pkg/apis/projectcalico/v3).
 */
import { parseStrictPrefix } from "../net/mod.ts";
import type { Issue } from "./kind.ts";
import type { EntityRule, Rule } from "./rule.ts";
import { hasPorts, isNamedPort, protocolNumber } from "./fields.ts";
import { show } from "./show.ts";

export interface RuleContext {
  readonly direction: "ingress" | "egress";
  /** In a GlobalNetworkPolicy a service's namespace must be given. */
  readonly global?: boolean;
  /**
   * Calico checks a profile's rules alone, not how they stand in their direction; nor has it the limits
   * and rules for it that stand in the definitions of custom resources, of which a profile is none.
   */
  readonly profile?: boolean;
}

/** Faults of the rules of one direction; paths begin with `spec.ingress[0]` and so on. */
export function ruleIssues(rules: readonly Rule[] | undefined, context: RuleContext): Issue[] {
  return (rules ?? []).flatMap((rule, i) =>
    oneRule(rule, `spec.${context.direction}[${i}]`, context)
  );
}

const ICMP = 1;
const ICMPV6 = 58;

function oneRule(rule: Rule, path: string, context: RuleContext): Issue[] {
  const issues: Issue[] = [];
  const say = (at: string, message: string) =>
    issues.push({ path: at === "" ? path : `${path}.${at}`, message });

  checkPorts(rule, say);
  checkIcmp(rule, context, say);
  checkFamilies(rule, say);
  for (const side of ["source", "destination"] as const) {
    checkEntity(rule[side], context, (at, message) => say(`${side}${at && `.${at}`}`, message));
  }
  checkServices(rule, context, say);
  if (rule.http) {
    if (rule.action !== "Allow") say("http", "is only allowed in rules with action Allow");
    const named = !context.profile || typeof rule.protocol === "string";
    if (rule.protocol !== undefined && !(protocolNumber(rule.protocol) === 6 && named)) {
      say("http", `is only allowed with protocol TCP or none, not ${rule.protocol}`);
    }
    if (context.direction === "egress" && !context.profile) {
      say("http", "is not allowed in egress rules");
    }
    checkHttp(rule.http, context, say);
  }
  return issues;
}

type Say = (path: string, message: string) => void;

function checkPorts(rule: Rule, say: Say): void {
  for (const side of ["source", "destination"] as const) {
    for (const field of ["ports", "notPorts"] as const) {
      const ports = rule[side][field] ?? [];
      if (ports.length === 0) continue;
      if (rule.protocol === undefined ? !ports.every(isNamedPort) : !hasPorts(rule.protocol)) {
        say(
          `${side}.${field}`,
          `${show(ports)} needs protocol TCP, UDP or SCTP in the rule` +
            (rule.protocol === undefined ? "" : `, not ${rule.protocol}`),
        );
      }
    }
  }
}

function checkIcmp(rule: Rule, { profile }: RuleContext, say: Say): void {
  // Of a profile's rule Calico's validator takes the names alone.
  const number = rule.protocol === undefined || profile && typeof rule.protocol === "number"
    ? undefined
    : protocolNumber(rule.protocol);
  if (rule.icmp && number !== ICMP && number !== ICMPV6) {
    say("icmp", "needs protocol ICMP or ICMPv6 in the rule");
  }
  for (const field of ["icmp", "notICMP"] as const) {
    const match = rule[field];
    if (match && match.code !== undefined && match.type === undefined) {
      say(`${field}.code`, `${match.code} needs a type beside it`);
    }
  }
  for (const field of ["protocol", "notProtocol"] as const) {
    const value = rule[field];
    if (value === undefined || rule.ipVersion === undefined) continue;
    // Calico's rule is of the names: the numbers may stand beside either version.
    const version = typeof value === "string"
      ? { [ICMP]: 4, [ICMPV6]: 6 }[protocolNumber(value)]
      : undefined;
    if (version !== undefined && version !== rule.ipVersion) {
      say(field, `${value} needs ipVersion ${version}, not ${rule.ipVersion}`);
    }
  }
}

function checkFamilies(rule: Rule, say: Say): void {
  const seen = new Set<number>();
  for (const side of ["source", "destination"] as const) {
    for (const field of ["nets", "notNets"] as const) {
      const at = `${side}.${field}`;
      for (const net of rule[side][field] ?? []) {
        const prefix = parseStrictPrefix(net);
        if (!prefix) {
          say(at, `"${net}" is not allowed: want a CIDR with its prefix length, such as ${net}/32`);
          continue;
        }
        seen.add(prefix.ip.family);
        if (field === "notNets" && prefix.length === 0) {
          say(at, `"${net}" would exclude every address, so that nothing matches`);
        }
        if (rule.ipVersion !== undefined && prefix.ip.family !== rule.ipVersion) {
          say(at, `"${net}" does not agree with ipVersion ${rule.ipVersion} of the rule`);
        }
      }
      if (seen.size > 1) {
        say(at, "mixes IPv4 and IPv6 with the other CIDRs of the rule; make two rules");
        seen.clear();
      }
    }
  }
}

function checkEntity(entity: EntityRule, { profile }: RuleContext, say: Say): void {
  if (entity.selector?.includes("global(") && !profile) {
    say("selector", "may not use global(): it is for namespaceSelector alone");
  }
  const namespaces = entity.namespaceSelector;
  if (namespaces?.includes("global(") && namespaces.replaceAll(/\s/g, "") !== "global()") {
    say(
      "namespaceSelector",
      `${show(namespaces)} joins global() with other terms; it must be alone`,
    );
  }
  const services = entity.services;
  if (!services) return;
  if (!services.name) say("services.name", "is missing");
  const others = [
    "selector",
    "notSelector",
    "namespaceSelector",
    "nets",
    "notNets",
    "serviceAccounts",
  ] as const;
  for (const other of others) {
    const value = entity[other];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    say("services", `cannot stand beside ${other}`);
  }
}

function checkServices(rule: Rule, context: RuleContext, say: Say): void {
  const { direction, profile } = context;
  const wrong = direction === "ingress" ? "destination" : "source";
  const right = direction === "ingress" ? "source" : "destination";
  if (rule[wrong].services && !profile) {
    say(`${wrong}.services`, `is not allowed in the ${wrong} of ${direction} rules`);
  }
  const services = rule[right].services;
  if (services && context.global && !services.namespace) {
    say(
      `${right}.services.namespace`,
      "is missing: a global policy must name the service's namespace",
    );
  }
  const { ports, notPorts } = rule.destination;
  if (rule.destination.services && (ports?.length || notPorts?.length)) {
    say("destination.ports", "cannot stand beside services, which bring their own ports");
  }
}

/** As many methods, and paths, a rule of a policy may have. */
const MOST_HTTP = 20;

function checkHttp(http: NonNullable<Rule["http"]>, { profile }: RuleContext, say: Say): void {
  const methods = http.methods ?? [];
  for (const field of ["methods", "paths"] as const) {
    const { length } = http[field] ?? [];
    if (length > MOST_HTTP && !profile) {
      say(`http.${field}`, `has ${length} items; want at most ${MOST_HTTP}`);
    }
  }
  if (new Set(methods).size !== methods.length) say("http.methods", `${show(methods)} repeats one`);
  (http.paths ?? []).forEach((match, i) => {
    const path = match.exact ?? match.prefix;
    if (match.exact && match.prefix) say(`http.paths[${i}]`, "has both exact and prefix; want one");
    else if (!path) say(`http.paths[${i}]`, "is empty; want exact or prefix");
    else if (!path.startsWith("/") || /[? #]/.test(path)) {
      say(
        `http.paths[${i}]`,
        `${show(path)} is not allowed: want a path that begins with / and has no '?', '#' or blank`,
      );
    }
  });
}
