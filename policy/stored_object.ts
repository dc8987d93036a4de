/**
 * The step before the engine takes a stored object: names of fields, labels, and the specs of sets and
 * tiers are put into the form that the rest of the engine expects. Policies and profiles have rules,
 * which their own readers judge (`calico.ts`, `kubernetes_reading.ts`).
 *
 * Fields of Calico's kinds are known in any case, as to Go's reader. What leaves no doubt is read: a lone
 * net as a list of one, spaces about a net, a tier's order as a text of digits, a label that is a whole
 * number or a truth value. All else that is misread is named, and counts for as little as it can: a label
 * is there, so that nobody passes for one without it, with a value that equals none; and what bears it
 * closes, which is to say that nothing is allowed to it or to what inherits from it but by a policy. A
 * set's net has no such side: an empty set is too small in an Allow rule and in a Deny rule alike.
 */
import { parsePrefix } from "../mod/net/mod.ts";
import { show } from "../mod/model/show.ts";
import type { InputKind, ObjectMeta, PolicyObject } from "./inputs.ts";
import {
  attempt,
  inAnyCase,
  itemsOf,
  type Members,
  membersOf,
  Misread,
  unknownField,
  unknownOf,
} from "./stored_fields.ts";

/** An object in the form that the engine expects, and what of it could not be understood. */
export interface StoredReading {
  readonly object: PolicyObject;
  readonly problems: readonly string[];
  /** Its labels are not all known: without a policy nothing is allowed to what bears them. */
  readonly closes: boolean;
}

/** Names of fields of an object or of each of a list, and what is below them. */
interface Names {
  readonly fields: readonly string[];
  readonly below?: Readonly<Record<string, Names>>;
}

const objectFields = ["apiVersion", "kind", "metadata", "spec"];
const setFields = ["nets"];
const tierFields = ["order", "defaultAction"];
const limits = ["Bandwidth", "Burst", "PacketRate", "PacketBurst", "MaxConnections"];

function namesOf(spec?: Names): Names {
  const metadata: Names = { fields: ["name", "namespace", "labels", "annotations"] };
  return { fields: objectFields, below: spec ? { metadata, spec } : { metadata } };
}

/** Of Calico's kinds, those of specs that no reader of their own knows. */
const calicoNames: Partial<Record<InputKind, Names>> = {
  NetworkPolicy: namesOf(),
  GlobalNetworkPolicy: namesOf(),
  Profile: namesOf(),
  NetworkSet: namesOf({ fields: setFields }),
  GlobalNetworkSet: namesOf({ fields: setFields }),
  Tier: namesOf({ fields: tierFields }),
  WorkloadEndpoint: namesOf({
    fields: [
      ...["orchestrator", "node", "pod", "endpoint", "serviceAccountName", "ipNetworks"],
      ...["profiles", "interfaceName", "ports", "allowSpoofedSourcePrefixes", "ipNATs"],
      "qosControls",
    ],
    below: {
      ports: { fields: ["name", "protocol", "port"] },
      ipNATs: { fields: ["internalIP", "externalIP"] },
      qosControls: { fields: ["ingress", "egress"].flatMap((d) => limits.map((l) => d + l)) },
    },
  }),
  IPPool: namesOf({ fields: ["cidr", "natOutgoing", "vxlanMode", "ipipMode", "allowedUses"] }),
  Node: namesOf({
    fields: ["bgp", "ipv4VXLANTunnelAddr", "ipv6VXLANTunnelAddr", "addresses"],
    below: {
      bgp: { fields: ["ipv4Address", "ipv6Address", "ipv4IPIPTunnelAddr"] },
      addresses: { fields: ["address", "type"] },
    },
  }),
};
/** Kinds whose labels policy asks for. */
export const labelledKinds: ReadonlySet<InputKind> = new Set<InputKind>([
  ...["WorkloadEndpoint", "NetworkSet", "GlobalNetworkSet", "Namespace", "Pod"] as const,
  "ServiceAccount",
]);

/** The object with the names of its fields as they should be. */
export function withKnownNames(kind: InputKind, stored: object): PolicyObject & Members {
  const names = calicoNames[kind];
  return (names ? rename(stored, names) : stored) as PolicyObject & Members;
}

/** The value itself where all names are as they should be. */
function rename(value: unknown, names: Names): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    const items = value.map((item) => rename(item, names));
    return items.every((item, i) => item === value[i]) ? value : items;
  }
  let members = value as Members;
  if (Object.keys(members).some((field) => differsByCase(field, names.fields))) {
    members = inAnyCase(members, names.fields);
  }
  for (const [field, below] of Object.entries(names.below ?? {})) {
    const read = rename(members[field], below);
    if (read !== members[field]) members = { ...members, [field]: read };
  }
  return members;
}

export function readStored(kind: InputKind, stored: PolicyObject): StoredReading {
  const problems: string[] = [];
  let object = withKnownNames(kind, stored);
  if (calicoNames[kind]) {
    // What is there under both names.
    for (const field of Object.keys(object)) {
      if (differsByCase(field, objectFields)) {
        problems.push(`${field}: ${unknownField(field, objectFields)}; it is passed over`);
      }
    }
  }
  let closes = false;
  if (labelledKinds.has(kind)) {
    // To Kubernetes' reader it is another field; what was meant by it is not known.
    const misnamed = calicoNames[kind]
      ? []
      : Object.keys(object).filter((field) => differsByCase(field, ["metadata"]));
    for (const field of misnamed) {
      problems.push(`${field}: ${unknownField(field, objectFields)}; ${CLOSES}`);
    }
    const labels = readLabels(object.metadata, problems, kind.endsWith("Set"));
    closes = labels.closes || misnamed.length > 0;
    if (labels.read) {
      object = { ...object, metadata: { ...object.metadata, labels: labels.read } };
    }
  }
  if (kind === "NetworkSet" || kind === "GlobalNetworkSet") {
    object = { ...object, spec: { nets: netsOf(specOf(object, setFields, problems), problems) } };
  }
  if (kind === "Tier") {
    object = { ...object, spec: tierOf(specOf(object, tierFields, problems), problems) };
  }
  return { object, problems, closes };
}

function differsByCase(field: string, known: readonly string[]): boolean {
  return !known.includes(field) && known.some((k) => k.toLowerCase() === field.toLowerCase());
}

/** A value that no selector can name: a text of a selector has one kind of quotes within, not both. */
const EQUALS_NONE = `'"`;

/** Labels of an object; `read` where it has to take their place. */
function readLabels(
  metadata: ObjectMeta | undefined,
  problems: string[],
  isSet: boolean,
): { readonly read?: Record<string, string>; readonly closes: boolean } {
  const before = problems.length;
  let misnamed = false;
  for (const field of Object.keys(metadata ?? {})) {
    if (!differsByCase(field, ["labels"])) continue;
    misnamed = !isSet;
    problems.push(
      `metadata.${field}: ${unknownField(field, ["labels"])}${isSet ? "" : `; ${CLOSES}`}`,
    );
  }
  const { labels, closes } = textLabels(metadata?.labels, "metadata.labels", problems, isSet);
  return { read: problems.length > before ? labels : undefined, closes: closes || misnamed };
}

const CLOSES = "nothing is allowed to what has it but by a policy";

/** Labels as texts. `isSet`: of a set, to which nothing can be closed. */
export function textLabels(
  value: unknown,
  path: string,
  problems: string[],
  isSet = false,
): { readonly labels: Record<string, string>; readonly closes: boolean } {
  const labels: Record<string, string> = {};
  let closes = false;
  const misread = (why: string) => {
    problems.push(isSet ? why : `${why}; ${CLOSES}`);
    closes = !isSet;
  };
  const members = attempt(() => membersOf(value, path) ?? {});
  if ("misread" in members) {
    misread(members.misread);
    return { labels, closes };
  }
  if (Object.values(members.value).every((given) => typeof given === "string")) {
    return { labels: members.value as Record<string, string>, closes };
  }
  for (const [label, given] of Object.entries(members.value)) {
    let text: string;
    if (typeof given === "string") text = given;
    else if (given === null || isPlain(given)) {
      // To Go null is the empty text here.
      text = given === null ? "" : String(given);
      problems.push(`${path}.${label}: ${show(given)} is not a text; it is read as ${show(text)}`);
    } else {
      text = EQUALS_NONE;
      misread(`${path}.${label}: ${show(given)} is not a text; it equals no value`);
    }
    Object.defineProperty(labels, label, {
      value: text,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return { labels, closes };
}

/** What has one text alone. A fraction has not: 1.10 came here as 1.1. */
function isPlain(value: unknown): boolean {
  return typeof value === "boolean" || typeof value === "bigint" || Number.isSafeInteger(value);
}

/** The members of a spec; what is not known of them is named. */
function specOf(object: Members, known: readonly string[], problems: string[]): Members {
  const read = attempt(() => membersOf(object.spec, "spec") ?? {});
  if ("misread" in read) {
    problems.push(`${read.misread}; it is passed over`);
    return {};
  }
  for (const field of unknownOf(read.value, known)) {
    problems.push(`spec.${field}: ${unknownField(field, known)}; it is passed over`);
  }
  return read.value;
}

function netsOf({ nets }: Members, problems: string[]): string[] {
  const lone = typeof nets === "string" && parsePrefix(nets.trim()) !== undefined;
  if (lone) problems.push(`spec.nets: ${show(nets)} is not a list; it is read as a list of one`);
  const list = attempt(() => itemsOf(lone ? [nets] : nets, "spec.nets") ?? []);
  if ("misread" in list) {
    problems.push(`${list.misread}; the set is empty`);
    return [];
  }
  return list.value.flatMap((item, i) => {
    const text = typeof item === "string" ? item.trim() : undefined;
    if (text === undefined || !parsePrefix(text)) {
      problems.push(`spec.nets[${i}]: ${show(item)} is no net; it is left out`);
      return [];
    }
    if (text !== item) {
      problems.push(`spec.nets[${i}]: ${show(item)} has spaces about it; it is read without them`);
    }
    return [text];
  });
}

function tierOf(spec: Members, problems: string[]): { order?: number; defaultAction: string } {
  const order = attempt(() => orderOf(spec.order, problems));
  if ("misread" in order) {
    problems.push(`${order.misread}; the tier comes after all that have an order`);
  }
  const action = spec.defaultAction ?? "Deny";
  if (action !== "Deny" && action !== "Pass") {
    problems.push(`spec.defaultAction: ${show(action)} is neither Deny nor Pass; it is Deny`);
  }
  return {
    ..."value" in order && order.value !== undefined ? { order: order.value } : {},
    defaultAction: action === "Pass" ? "Pass" : "Deny",
  };
}

function orderOf(value: unknown, problems: string[]): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number") return value;
  // Beyond 2^53 the datastore's reader gives whole numbers as bigint; an order is a double.
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "string" && /^\s*-?\d+(\.\d+)?\s*$/.test(value)) {
    problems.push(`spec.order: ${show(value)} is a text; it is read as the number`);
    return Number(value);
  }
  throw new Misread("spec.order", `${show(value)} is no number`);
}
