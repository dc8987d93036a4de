/**
 * What the kernel does to a packet is what the evaluator says: random worlds, policies of both kinds,
 * pairs of addresses, TCP, UDP and SCTP, both families. One engine and one table go from world to
 * world by deltas, as a node does.
 */
import fc from "fast-check";
import type { NftClient } from "../../ffi/nft/client.ts";
import { openNftClient } from "../../ffi/nft/socket.ts";
import { NftDataplane } from "../../mod/node/nft/dataplane.ts";
import { openNftDataplane } from "../../mod/node/nft/open.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import { PolicyView } from "../../policy/explain.ts";
import type { Change, PolicyObject } from "../../policy/inputs.ts";
import {
  calicoSpec,
  connections,
  entity,
  k8sExpressions,
  type K8sPeer,
  k8sPeer,
  type K8sPort,
  k8sPort,
  k8sSpec,
  labels,
  objectsOf,
  portList,
  tier,
  world,
} from "../../policy/testing/random_worlds.ts";
import { calico, calicoPolicy, kubernetesPolicy } from "../../policy/testing.ts";
import type { RulesetDelta } from "../../policy/rules.ts";
import { Coverage } from "./coverage.ts";
import { families, type Probe, type Topology } from "./topology.ts";

export const OWN_SEED = 20_261;
/** `POLICY_SEED` asks for other worlds. */
export const seed = Number(Deno.env.get("POLICY_SEED") ?? OWN_SEED);

const kubernetes = fc.array(fc.tuple(fc.constantFrom("n1", "n2"), k8sSpec), {
  minLength: 1,
  maxLength: 4,
}).map((list) => list.map(([ns, spec], i) => kubernetesPolicy(ns, `k${i}`, { ...spec })));
const calicos = fc.tuple(
  fc.record({ t1: tier, t2: tier }),
  labels,
  fc.array(
    fc.tuple(fc.constantFrom("n1", "n2", ""), fc.constantFrom("c1", "c2", "c3"), calicoSpec),
    { minLength: 1, maxLength: 4 },
  ),
).map(([tiers, setLabels, list]): PolicyObject[] => [
  ...Object.entries(tiers).map(([name, spec]) => calico("Tier", name, spec)),
  calico("GlobalNetworkSet", "outside", { nets: ["192.0.2.0/24"] }, setLabels),
  ...list.map(([ns, name, spec]) =>
    calicoPolicy(ns, name, {
      ...JSON.parse(JSON.stringify(spec)),
      ...(ns === "" ? {} : { namespaceSelector: undefined }),
    })
  ),
]);
/** Policies that hang on one thing alone, so that a fault in it shows. */
const peers = fc.oneof(
  k8sPeer.map((peer) => [peer]),
  k8sExpressions.map((podSelector): K8sPeer[] => [{ podSelector, namespaceSelector: {} }]),
  k8sExpressions.map((namespaceSelector): K8sPeer[] => [{ namespaceSelector }]),
  // Both families' addresses in and out of an except.
  fc.constantFrom<K8sPeer[]>(
    [
      { ipBlock: { cidr: "0.0.0.0/0", except: ["10.0.0.0/25"] } },
      { ipBlock: { cidr: "::/0", except: ["fd00::/121"] } },
    ],
    [{ ipBlock: { cidr: "10.0.0.0/24", except: ["10.0.0.64/26", "10.0.0.250/32"] } }],
    [{ ipBlock: { cidr: "fd00::/120", except: ["fd00::40/122", "fd00::fa/128"] } }],
  ),
);
const ports = fc.oneof(
  k8sPort.map((port) => [port]),
  fc.constantFrom<K8sPort[]>(
    [{ port: 60, endPort: 80 }],
    [{ port: 81, endPort: 90, protocol: "SCTP" }],
    [{ port: 79, endPort: 81, protocol: "UDP" }, { protocol: "TCP" }],
  ),
);
const sharp = fc.tuple(
  fc.constantFrom("n1", "n2"),
  fc.constantFrom("ingress", "egress"),
  fc.oneof(
    { weight: 2, arbitrary: peers.map((list) => ({ peers: list })) },
    { weight: 2, arbitrary: ports.map((list) => ({ ports: list })) },
    { weight: 1, arbitrary: fc.record({ peers, ports }) },
  ),
).map(([ns, direction, rule]: [string, string, { peers?: K8sPeer[]; ports?: K8sPort[] }]) => [
  kubernetesPolicy(ns, "sharp", {
    podSelector: {},
    policyTypes: [direction === "ingress" ? "Ingress" : "Egress"],
    [direction]: [{
      [direction === "ingress" ? "from" : "to"]: rule.peers,
      ports: rule.ports,
    }],
  }),
]);
/** Both directions, each with another condition: what is taken for the other shows. */
const twoWays = fc.tuple(fc.constantFrom("n1", "n2"), peers, peers)
  .map(([ns, from, to]: [string, K8sPeer[], K8sPeer[]]) => [
    kubernetesPolicy(ns, "two-ways", {
      podSelector: {},
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from }],
      egress: [{ to }],
    }),
  ]);
/** A range of ports that is all that a direction's rule asks, at the ports that are asked. */
const sharpRange = fc.tuple(
  fc.constantFrom("n1", "n2"),
  fc.constantFrom("ingress", "egress"),
  fc.constantFrom("TCP", "UDP", "SCTP"),
  fc.constantFrom([60, 80], [79, 80], [79, 81], [60, 79]),
).map(([ns, direction, protocol, [port, endPort]]) => [
  kubernetesPolicy(ns, "range", {
    podSelector: {},
    policyTypes: [direction === "ingress" ? "Ingress" : "Egress"],
    [direction]: [{ ports: [{ port, endPort, protocol }] }],
  }),
]);
/** The same of Calico's: one rule over all pods, of one condition. */
const sharpCalico = fc.tuple(
  labels,
  fc.constantFrom("ingress", "egress"),
  fc.constantFrom("Allow", "Deny", "Pass"),
  fc.oneof(
    fc.tuple(fc.constantFrom("source", "destination"), entity)
      .map(([side, condition]) => ({ [side]: condition })),
    fc.record({
      protocol: fc.constantFrom("TCP", "UDP", "SCTP"),
      destination: fc.tuple(fc.constantFrom("ports", "ports", "notPorts"), portList)
        .map(([field, list]) => ({ [field]: list })),
    }),
    fc.constantFrom("TCP", "SCTP")
      .map((protocol) => ({ protocol, destination: { ports: ["http"] } })),
    fc.constant({ notProtocol: "TCP" }),
  ),
).map(([setLabels, direction, action, condition]): PolicyObject[] => [
  calico("GlobalNetworkSet", "outside", { nets: ["192.0.2.0/24"] }, setLabels),
  calicoPolicy("", "sharp", {
    types: [direction === "ingress" ? "Ingress" : "Egress"],
    [direction]: [{ action, ...condition }, ...(action === "Deny" ? [{ action: "Allow" }] : [])],
  }),
]);
// Every kind of value as likely as the others: small ones alone would come up at first.
const sceneOf = (policies: fc.Arbitrary<PolicyObject[]>) =>
  fc.noBias(fc.record({
    w: world,
    policies,
    // Not every pair in every world: more worlds in as many cases. No divisor of the six ports, so
    // that each has its turn.
    every: fc.constantFrom(5, 7),
  }));
const scene = sceneOf(fc.oneof(kubernetes, calicos, sharp, sharp, sharpCalico));
/** For faults: more of what shows them, at any seed. */
const sharpScene = sceneOf(
  fc.oneof(kubernetes, calicos, sharp, sharp, sharpCalico, twoWays, sharpRange),
);

const keyOf = (o: PolicyObject) =>
  `${o.apiVersion} ${o.kind} ${o.metadata?.namespace} ${o.metadata?.name}`;

/** The changes that lead from the present objects to others. */
function changesTo(present: Map<string, PolicyObject>, wanted: PolicyObject[]): Change[] {
  const next = new Map(wanted.map((o) => [keyOf(o), o]));
  const changes: Change[] = wanted.map((put) => ({ put }));
  for (const [key, { apiVersion, kind, metadata }] of present) {
    if (next.has(key)) continue;
    const { namespace, name } = metadata!;
    changes.push({ remove: { apiVersion, kind: kind!, namespace, name: name! } });
  }
  present.clear();
  for (const [key, object] of next) present.set(key, object);
  return changes;
}

export interface Result {
  asked: number;
  allowed: number;
  /** The first packet that went another way than the evaluator says, in words. */
  mismatch?: string;
  /** What those cases have met, up to the mismatch. */
  coverage: Coverage;
}

/** A number from 0 up to `count`, which differs from world to world and is the same in each run. */
export type Pick = (count: number) => number;

/** What goes wrong, once in each world. */
export interface Fault {
  /** On the way to the kernel: the deltas of both families. */
  readonly spoil?: (deltas: readonly RulesetDelta[], pick: Pick) => RulesetDelta[];
  /** In the kernel, once it has what it should. */
  readonly afterwards?: (client: NftClient, pick: Pick) => Promise<void>;
}

/** Walks through worlds until packets and evaluator differ, or `enough` cases were asked. */
export async function walk(
  { node, probe }: Topology,
  enough: { worlds?: number; cases?: number },
  fault: Fault = {},
): Promise<Result> {
  let commits = 0;
  // One that hears nothing looks at the table with its next change alone: it does not mend the fault
  // before it is seen.
  const dataplane = fault.afterwards ? new NftDataplane(openNftClient(node)) : openNftDataplane({
    netns: node,
    onEvent: ({ event }) => void (event === "committed" && commits++),
  });
  const other = openNftClient(node);
  const result: Result = { asked: 0, allowed: 0, coverage: new Coverage() };
  try {
    const engine = new PolicyEngine({ nodeName: "node1" });
    const present = new Map<string, PolicyObject>();
    const anyFault = fault.spoil ?? fault.afterwards;
    const scenes = fc.sample(anyFault ? sharpScene : scene, {
      numRuns: enough.worlds ?? 300,
      seed,
    });
    const numbers = fc.sample(fc.noBias(fc.nat()), { numRuns: scenes.length, seed });
    for (const [i, { w, policies, every }] of scenes.entries()) {
      if (enough.cases !== undefined && result.asked >= enough.cases) break;
      engine.update(changesTo(present, [...objectsOf(w), ...policies]));
      const deltas = families.map((family) => engine.changes(family)).filter((d) => !!d);
      const pick = (count: number) => numbers[i] % count;
      await dataplane.update(fault.spoil?.(deltas, pick) ?? deltas);
      await fault.afterwards?.(other, pick);
      if (!fault.afterwards && i % 20 === 0) {
        const before = commits;
        await dataplane.resync();
        if (commits !== before) {
          result.mismatch = `world ${i}: what the kernel lists was not read as what was sent to it`;
          return result;
        }
      }
      const view = new PolicyView(engine);
      const probes: Probe[] = [];
      const expected = new Set<Probe>();
      let turn = i;
      for (const family of families) {
        for (const c of connections(w, family)) {
          if (c.source === c.destination || turn++ % every !== 0) continue;
          // A port that no connection before had: each packet begins one.
          const p: Probe = { ...c, sourcePort: (i % 2 === 0 ? 20_000 : 40_000) + i };
          probes.push(p);
          const explanation = view.explain(question(p));
          result.coverage.observe(policies, explanation);
          if (explanation.allowed) expected.add(p);
        }
      }
      const arrived = await probe(probes, [...expected]);
      for (const p of probes) {
        result.asked++;
        if (expected.has(p)) result.allowed++;
        if (arrived.has(p) === expected.has(p)) continue;
        const { egress, ingress } = view.explain(question(p));
        result.mismatch = `world ${i}: ${p.source} -> ${p.destination} ${p.protocol}/${p.port} ` +
          `${arrived.has(p) ? "arrived" : "did not arrive"}, though the evaluator says\n` +
          [egress, ingress].flatMap((s) => s?.walk.map((x) => x.text) ?? []).join("\n") +
          `\n${JSON.stringify(policies)}`;
        return result;
      }
    }
    return result;
  } finally {
    other.close();
    await dataplane.close();
  }
}

function question(p: Probe) {
  return {
    from: { ip: p.source },
    to: { ip: p.destination },
    protocol: p.protocol,
    port: p.port,
    sourcePort: p.sourcePort,
  };
}
