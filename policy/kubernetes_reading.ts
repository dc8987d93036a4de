/**
 * Reads a stored NetworkPolicy of Kubernetes, for all who need to know what it says: the node's rules,
 * `policy explain` and `matrix`, and the copy that the controllers write for Calico.
 *
 * The rule for what cannot be understood: never more is allowed than the API server's own strict
 * reading would allow. A peer or a port that is misread takes its rule or itself away, a list of rules
 * that is none holds none, a policy whose policyTypes are misread allows its pods nothing in either
 * direction, and one whose podSelector is misread allows every pod of its namespace nothing. Each is
 * told by its field.
 *
 * Names of fields are read with their case, as the API server does. A field that is not known counts as
 * misread in rules, peers, ports and selectors; beside them, in the spec, it is passed over (a newer
 * API server's), unless it is one of the known ones in another case: then that one is misread.
 */
import { parseCidr, type Prefix } from "../mod/net/mod.ts";
import { isLabelKey, isLabelValue } from "../mod/model/fields.ts";
import { compareCodePoints, type SelectorNode } from "../mod/selector/selector.ts";
import { show } from "../mod/model/show.ts";
import { type Direction, directions, normalizeRanges, type Side } from "./effective.ts";
import type { KubernetesPolicyObject } from "./inputs.ts";
import { parsePort, protocolNumber } from "./protocol.ts";
import type { PortRange } from "./rules.ts";
import { ORCHESTRATOR_LABEL } from "./selectors.ts";
import {
  attempt,
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

export interface KubernetesReading {
  /** Its pods, by their labels and as pods of Kubernetes; the namespace is not in it. */
  readonly subject: SelectorNode;
  /** By direction; absent: the policy says nothing about it. */
  readonly rules: { readonly [D in Direction]?: readonly ReadRule[] };
  /** What could not be understood and what that does, each with the path of its field. */
  readonly problems: readonly string[];
}

export interface ReadRule {
  /** Place in the object's own list. */
  readonly index: number;
  /** Ports by protocol, sorted by its name; undefined: any protocol, or all its ports. */
  readonly ports: ReadonlyMap<number | undefined, Side["ports"]>;
  /** undefined: everybody. */
  readonly peers?: readonly ReadPeer[];
}

export type ReadPeer =
  | { readonly is: "block"; readonly cidr: Prefix; readonly except: readonly Prefix[] }
  | {
    readonly is: "pods";
    readonly pods: SelectorNode;
    /** Absent: the policy's own namespace. */
    readonly namespaces?: SelectorNode;
  };

const specFields = ["podSelector", "policyTypes", "ingress", "egress"] as const;
type SpecField = typeof specFields[number];
const selectorFields = ["matchLabels", "matchExpressions"];

export function readKubernetesPolicy(object: KubernetesPolicyObject): KubernetesReading {
  const problems: string[] = [];
  const given = attempt(() => membersOf(object.spec, "spec") ?? {});
  if ("misread" in given) return closed(given.misread);
  const spec = given.value;

  const inOtherCase = new Map<SpecField, string>();
  for (const field of unknownOf(spec, specFields)) {
    const meant = specFields.find((f) => f.toLowerCase() === field.toLowerCase());
    if (meant) inOtherCase.set(meant, field);
    else problems.push(`spec.${field}: ${unknownField(field, specFields)}; it is passed over`);
  }
  /** Reads a field of the spec. */
  const field = <T>(name: SpecField, read: (value: unknown, path: string) => T) =>
    attempt(() => {
      const other = inOtherCase.get(name);
      if (other !== undefined) {
        throw new Misread(`spec.${other}`, unknownField(other, specFields));
      }
      return read(spec[name], `spec.${name}`);
    });

  const rules: { [D in Direction]?: readonly ReadRule[] } = {};
  const subject = field("podSelector", (value, path) => podNode(labelTerms(value, path)));
  const types = field("policyTypes", policyTypes);
  if ("misread" in types) problems.push(`${types.misread}; it allows nothing in either direction`);
  for (const direction of directions) {
    const list = field(direction, itemsOf);
    if ("misread" in list) problems.push(`${list.misread}; it allows nothing`);
    const asked = "misread" in types || types.value?.includes(direction) ||
      types.value === undefined &&
        (direction === "ingress" || "misread" in list || (list.value ?? []).length > 0);
    // Also of a direction that does not count it is told what is misread.
    const read = "misread" in list
      ? []
      : (list.value ?? []).flatMap((rule, i) => readRule(rule, direction, i, problems));
    if (asked) rules[direction] = "misread" in subject || "misread" in types ? [] : read;
  }
  if ("value" in subject) return { subject: subject.value, rules, problems };
  return {
    subject: podNode([]),
    rules,
    problems: [`${subject.misread}; ${EVERY_POD}`, ...problems],
  };
}

const EVERY_POD = "it selects every pod of its namespace and allows nothing";

function closed(problem: string): KubernetesReading {
  return {
    subject: podNode([]),
    rules: { ingress: [], egress: [] },
    problems: [`${problem}; ${EVERY_POD}`],
  };
}

/** undefined where none are given. As the API server fills them in: Ingress, and Egress with rules. */
function policyTypes(value: unknown, path: string): Direction[] | undefined {
  const given = wordsOf(value, path) ?? [];
  const types = given.map((type, i): Direction => {
    if (type === "Ingress") return "ingress";
    if (type === "Egress") return "egress";
    throw new Misread(`${path}[${i}]`, `${show(type)} is neither Ingress nor Egress`);
  });
  return types.length > 0 ? types : undefined;
}

function readRule(
  value: unknown,
  direction: Direction,
  index: number,
  problems: string[],
): ReadRule[] {
  const path = `spec.${direction}[${index}]`;
  const side = direction === "ingress" ? "from" : "to";
  const read = attempt(() => {
    const rule = membersOf(value, path);
    if (!rule) throw new Misread(path, "null is no rule");
    onlyKnown(rule, ["ports", side], path);
    return {
      ports: portsByProtocol(itemsOf(rule.ports, `${path}.ports`) ?? [], `${path}.ports`),
      peers: itemsOf(rule[side], `${path}.${side}`) ?? [],
    };
  });
  if ("misread" in read) {
    problems.push(`${read.misread}; the rule allows nothing`);
    return [];
  }
  const { ports, peers } = read.value;
  if (peers.length === 0) return [{ index, ports }];
  const understood: ReadPeer[] = [];
  peers.forEach((peer, i) => {
    const one = attempt(() => readPeer(peer, `${path}.${side}[${i}]`));
    if ("value" in one) understood.push(one.value);
    else problems.push(`${one.misread}; the peer allows nothing`);
  });
  // Without peers it would be everybody's.
  return understood.length > 0 ? [{ index, ports, peers: understood }] : [];
}

function readPeer(value: unknown, path: string): ReadPeer {
  const peer = membersOf(value, path) ?? {};
  onlyKnown(peer, ["podSelector", "namespaceSelector", "ipBlock"], path);
  const block = membersOf(peer.ipBlock, `${path}.ipBlock`);
  const pods = membersOf(peer.podSelector, `${path}.podSelector`);
  const namespaces = membersOf(peer.namespaceSelector, `${path}.namespaceSelector`);
  if (block) {
    if (pods || namespaces) throw new Misread(`${path}.ipBlock`, "stands beside a selector");
    onlyKnown(block, ["cidr", "except"], `${path}.ipBlock`);
    return {
      is: "block",
      cidr: cidrOf(block.cidr, `${path}.ipBlock.cidr`),
      except: (itemsOf(block.except, `${path}.ipBlock.except`) ?? [])
        .map((except, i) => cidrOf(except, `${path}.ipBlock.except[${i}]`)),
    };
  }
  if (!pods && !namespaces) {
    throw new Misread(path, "names neither podSelector nor namespaceSelector nor ipBlock");
  }
  return {
    is: "pods",
    pods: podNode(labelTerms(pods, `${path}.podSelector`)),
    namespaces: namespaces && labelNode(labelTerms(namespaces, `${path}.namespaceSelector`)),
  };
}

function cidrOf(value: unknown, path: string): Prefix {
  const read = typeof value === "string" ? parseCidr(value) : undefined;
  if (!read) throw new Misread(path, `${show(value)} is not a CIDR`);
  return read.prefix;
}

/** No ports: any protocol. A port without number: every port of its protocol. */
function portsByProtocol(
  ports: readonly unknown[],
  path: string,
): Map<number | undefined, Side["ports"]> {
  if (ports.length === 0) return new Map([[undefined, undefined]]);
  const found = new Map<string, { ranges: PortRange[]; names: string[] } | "all">();
  ports.forEach((value, i) => {
    const { protocol, port } = readPort(value, `${path}[${i}]`);
    const match = found.get(protocol) ?? { ranges: [], names: [] };
    if (match === "all") return;
    if (typeof port === "string") match.names.push(port);
    else if (port) match.ranges.push(port);
    found.set(protocol, port === undefined ? "all" : match);
  });
  return new Map(
    [...found].sort(([a], [b]) => compareCodePoints(a, b)).map(([name, match]) => [
      protocolNumber(name),
      match === "all"
        ? undefined
        : { ranges: normalizeRanges(match.ranges), names: [...new Set(match.names)] },
    ]),
  );
}

/** `port` undefined: all of them. */
function readPort(
  value: unknown,
  path: string,
): { protocol: string; port: PortRange | string | undefined } {
  const entry: Members | undefined = membersOf(value, path);
  if (!entry) throw new Misread(path, "null is no port");
  onlyKnown(entry, ["protocol", "port", "endPort"], path);
  const protocol = wordOf(entry.protocol, `${path}.protocol`) ?? "TCP";
  if (!/^(TCP|UDP|SCTP)$/.test(protocol)) {
    throw new Misread(`${path}.protocol`, `${show(protocol)} is none of TCP, UDP and SCTP`);
  }
  const end = entry.endPort ?? undefined;
  const port = entry.port ?? undefined;
  if (port === undefined) {
    if (end !== undefined) throw new Misread(`${path}.endPort`, "stands without port");
    return { protocol, port };
  }
  const read = typeof port === "number" || typeof port === "string" ? parsePort(port) : undefined;
  // A text is a port's name, and in a name is a letter; 0 is no port.
  const isName = typeof read === "string" && /[a-zA-Z]/.test(read);
  if (!isName && (typeof port !== "number" || read === undefined || port < 1)) {
    throw new Misread(`${path}.port`, `${show(port)} is neither a port nor the name of one`);
  }
  if (end === undefined) return { protocol, port: read };
  if (typeof port !== "number" || typeof end !== "number") {
    throw new Misread(`${path}.endPort`, `${show(end)} and port ${show(port)} are not two numbers`);
  }
  const range = parsePort(`${port}:${end}`);
  if (range === undefined) {
    throw new Misread(`${path}.endPort`, `${show(end)} is no port from ${port} on`);
  }
  return { protocol, port: range };
}

/** A podSelector: pods of Kubernetes, and what it says of them. */
function podNode(terms: SelectorNode[]): SelectorNode {
  const orchestrator: SelectorNode = { is: "==", label: ORCHESTRATOR_LABEL, value: "k8s" };
  return terms.length === 0 ? orchestrator : { is: "&&", nodes: [orchestrator, ...terms] };
}

function labelNode(terms: SelectorNode[]): SelectorNode {
  if (terms.length === 0) return { is: "all" };
  return terms.length === 1 ? terms[0] : { is: "&&", nodes: terms };
}

/** Sets are named by the text of selectors: what Kubernetes allows cannot read as something else there. */
function labelName(value: unknown, path: string): string {
  if (typeof value === "string" && isLabelKey(value)) return value;
  throw new Misread(path, `${show(value)} is not a label name`);
}

function labelValue(value: unknown, path: string): string {
  if (typeof value === "string" && isLabelValue(value)) return value;
  throw new Misread(path, `${show(value)} is not a label value`);
}

/** matchLabels by sorted keys, then matchExpressions in their order. */
function labelTerms(value: unknown, path: string): SelectorNode[] {
  const selector = membersOf(value, path) ?? {};
  onlyKnown(selector, selectorFields, path);
  const labels = membersOf(selector.matchLabels, `${path}.matchLabels`) ?? {};
  const terms: SelectorNode[] = Object.entries(labels)
    .sort(([a], [b]) => compareCodePoints(a, b))
    .map(([label, value]) => {
      const at = `${path}.matchLabels.${label}`;
      return { is: "==", label: labelName(label, at), value: labelValue(value, at) };
    });
  const expressions = itemsOf(selector.matchExpressions, `${path}.matchExpressions`) ?? [];
  return [
    ...terms,
    ...expressions.map((one, i) => expressionNode(one, `${path}.matchExpressions[${i}]`)),
  ];
}

function expressionNode(value: unknown, path: string): SelectorNode {
  const expression = membersOf(value, path) ?? {};
  onlyKnown(expression, ["key", "operator", "values"], path);
  const label = labelName(expression.key, `${path}.key`), { operator } = expression;
  const list = (itemsOf(expression.values, `${path}.values`) ?? [])
    .map((value, i) => labelValue(value, `${path}.values[${i}]`));
  const values = [...new Set(list)].sort(compareCodePoints);
  // NotIn of nothing would hold of everybody.
  const isSet = operator === "In" || operator === "NotIn";
  if (isSet && values.length === 0) {
    throw new Misread(`${path}.values`, `is empty: ${operator} needs a value`);
  }
  if (values.length > 0 && (operator === "Exists" || operator === "DoesNotExist")) {
    throw new Misread(`${path}.values`, `stands beside operator ${operator}`);
  }
  switch (operator) {
    case "In":
      return { is: "in", label, values };
    case "NotIn":
      return { is: "not in", label, values };
    case "Exists":
      return { is: "has", label };
    case "DoesNotExist":
      return { is: "!", node: { is: "has", label } };
    default:
      throw new Misread(
        `${path}.operator`,
        `${show(operator)} is none of In, NotIn, Exists, DoesNotExist`,
      );
  }
}
