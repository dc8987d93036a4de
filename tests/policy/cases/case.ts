/**
 * Our own cases of network policy: a small world of six pods in three namespaces and a host outside,
 * policies, and by hand what must follow from them, in sentences:
 *
 *     deny any -> web                      nobody reaches web
 *     allow api job -> web on tcp/80       but these two do, there
 *     deny out -> db over IPv6
 *
 * Everything is allowed at first, and the last sentence that speaks of a connection counts. Nothing
 * here asks the evaluator: the sentences are what the author of a policy reads in Kubernetes'
 * documentation.
 */
import type { Moment } from "../features.ts";
import type { Probe } from "../packets.ts";
import { type Labels, type LabPod, OUTSIDE, type PolicyManifest } from "../policy_lab.ts";

/** Pods by the short names that sentences use. Neighbours of a block are on different nodes. */
const places: readonly [short: string, key: string, node: string, last: number, labels: Labels][] =
  [
    ["web", "shop/web", "node1", 0x0005, { app: "web", tier: "front" }],
    ["api", "shop/api", "node2", 0x0006, { app: "api", tier: "mid" }],
    ["db", "shop/db", "node1", 0x0086, { app: "db" }],
    ["job", "back/job", "node2", 0x0107, { app: "job", tier: "mid" }],
    ["bapi", "back/api", "node1", 0x0148, { app: "api" }],
    ["x", "lone/x", "node2", 0x0209, {}],
  ];
/** A seventh, which some cases bring and take away. */
export const late: LabPod = podAt("shop/late", "node2", 0x0007, { app: "late" });

/** `http` is another port at back/api, and shop/db has no names. */
function portsOf(key: string): LabPod["ports"] {
  if (key === "shop/db") return [{ containerPort: 80, protocol: "TCP" }];
  const [http, other] = key === "back/api" ? [81, 80] : [80, 81];
  return [
    { name: "http", containerPort: http, protocol: "TCP" },
    { name: "other", containerPort: other, protocol: "TCP" },
    { name: "ask", containerPort: 80, protocol: "UDP" },
    { name: "peer", containerPort: 81, protocol: "SCTP" },
  ];
}

function podAt(key: string, node: string, last: number, labels: Labels): LabPod {
  const [namespace, name] = key.split("/");
  return {
    namespace,
    name,
    labels,
    addresses: [`10.65.${last >> 8}.${last & 255}`, `fd00:65::${last.toString(16)}`],
    node,
    ports: portsOf(key),
  };
}

export const worldPods: readonly LabPod[] = places.map(([, key, node, last, labels]) =>
  podAt(key, node, last, labels)
);
const worldLabels = Object.fromEntries(places.map(([, key, , , labels]) => [key, labels]));
const worldNamespaces: Readonly<Record<string, Labels>> = {
  shop: { team: "a", env: "prod" },
  back: { team: "b", env: "prod" },
  lone: {},
};

/** One moment of a case: what differs from the world, and what must follow. */
export interface Step {
  readonly policies: readonly PolicyManifest[];
  /** Labels that differ, by short name or namespace. */
  readonly pods?: Readonly<Record<string, Labels>>;
  readonly namespaces?: Readonly<Record<string, Labels>>;
  /** Whether the seventh pod is there. */
  readonly late?: boolean;
  readonly expect: readonly string[];
}

export interface OwnCase {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** A case of one step. */
export function one(
  name: string,
  policies: readonly PolicyManifest[],
  ...expect: readonly string[]
): OwnCase {
  return { name, steps: [{ policies, expect }] };
}

/** A NetworkPolicy; `at` is its namespace, and its name after a slash where there are several. */
export function policy(at: string, spec: Readonly<Record<string, unknown>>): PolicyManifest {
  const [namespace, name = "p"] = at.split("/");
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace, name },
    spec: { podSelector: {}, ...spec },
  };
}

export const app = (...values: string[]) => ({
  podSelector: values.length === 1
    ? { matchLabels: { app: values[0] } }
    : { matchExpressions: [{ key: "app", operator: "In", values }] },
});
export const ns = (labels: Labels) => ({ namespaceSelector: { matchLabels: labels } });
export const block = (cidr: string, ...except: string[]) => ({
  ipBlock: except.length > 0 ? { cidr, except } : { cidr },
});
export const where = (key: string, operator: string, ...values: string[]) => ({
  matchExpressions: [values.length > 0 ? { key, operator, values } : { key, operator }],
});

const shortNames = new Map(places.map(([short, key]) => [short, key]));
shortNames.set("late", "shop/late");
const keyOfShort = (short: string) => {
  const key = shortNames.get(short);
  if (!key) throw new Error(`no pod "${short}"`);
  return key;
};

/** The whole state that a step describes. */
export function momentOf(step: Step): Moment {
  const named = Object.entries(step.pods ?? {}).map(([short, l]) => [keyOfShort(short), l]);
  return {
    namespaces: Object.fromEntries(
      Object.entries({ ...worldNamespaces, ...step.namespaces }).map(([name, labels]) => [
        name,
        // As the API server gives it.
        { ...labels, "kubernetes.io/metadata.name": name },
      ]),
    ),
    pods: {
      ...worldLabels,
      ...(step.late ? { "shop/late": late.labels } : {}),
      ...Object.fromEntries(named),
    },
    policies: step.policies,
  };
}

type Protocol = Probe["protocol"];
const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const PORTS = [80, 81];

interface Sentence {
  readonly allow: boolean;
  readonly from: ReadonlySet<string>;
  readonly to: ReadonlySet<string>;
  readonly ports: ReadonlySet<string>;
  readonly family?: 4 | 6;
}

/** Reads `allow|deny CLIENTS -> SERVERS [on PORTS] [over IPv4|IPv6]`; throws where it is none. */
export function readSentence(text: string): Sentence {
  const [, verb, from, to, on, over] =
    /^(allow|deny) (.+?) -> (.+?)(?: on (.+?))?(?: over (IPv4|IPv6))?$/.exec(text) ?? [];
  if (!verb) throw new Error(`"${text}" is no sentence`);
  const sides = (words: string) => {
    const names = words === "any" ? [...shortNames.keys(), "out"] : words.split(" ");
    for (const name of names) if (name !== "out") keyOfShort(name);
    return new Set(names);
  };
  const ports = (on ?? "tcp udp sctp").split(" ").flatMap((word) => {
    const [name, port] = word.split("/");
    const protocol = PROTOCOLS.find((p) => p.toLowerCase() === name);
    if (!protocol || (port && !PORTS.includes(Number(port)))) {
      throw new Error(`"${word}" in "${text}" is no port of these cases`);
    }
    return (port ? [port] : PORTS).map((n) => `${protocol}/${n}`);
  });
  return {
    allow: verb === "allow",
    from: sides(from),
    to: sides(to),
    ports: new Set(ports),
    family: over === undefined ? undefined : over === "IPv4" ? 4 : 6,
  };
}

/** Every connection of a step, in both families, and whether it must get through. */
export function* wantedOf(
  step: Step,
  addressesOf: (key: string) => readonly string[],
  sourcePort: number,
): Generator<[Probe, boolean]> {
  const sentences = step.expect.map(readSentence);
  const sides = [...shortNames].filter(([short]) => short !== "late" || step.late)
    .map(([short, key]): [string, readonly string[]] => [short, addressesOf(key)]);
  sides.push(["out", OUTSIDE]);
  for (const [i, family] of ([4, 6] as const).entries()) {
    for (const [from, sources] of sides) {
      for (const [to, destinations] of sides) {
        if (from === to) continue;
        for (const protocol of PROTOCOLS) {
          for (const port of PORTS) {
            const last = sentences.findLast((s) =>
              s.from.has(from) && s.to.has(to) && s.ports.has(`${protocol}/${port}`) &&
              (s.family ?? family) === family
            );
            yield [{
              source: sources[i],
              destination: destinations[i],
              protocol,
              sourcePort,
              port,
            }, last?.allow ?? true];
          }
        }
      }
    }
  }
}
